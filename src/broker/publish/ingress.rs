//! Handles a PUBLISH from a client: checks it, accepts it, and answers it.

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::batch::topic::{ONLY_BATCHES, is_batch};
use crate::broker::connection::disconnect::Ending;
use crate::broker::connection::state::Connection;
use crate::broker::delayed::accept::Postponed;
use crate::broker::directory::room_waiters::Position;
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::mount::mount_application;
use crate::broker::operator::query::RefusedAction;
use crate::broker::operator::refusals::Refused;
use crate::broker::publish::blocked::{BlockedMessage, WaitsFor};
use crate::broker::publish::deduplicate::{DeduplicationVerdict, PublisherName};
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::refusal::Refusal;
use crate::broker::publish::sys::{SysPublisher, check_sys, is_sys};
use crate::broker::receipts::request::ReceiptRequest;
use crate::broker::report::Report;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{PacketId, Qos, ReasonCode};
use crate::session::{self, Application, Ticket};
use crate::topic::{TopicName, Unmountable};

/// A PUBLISH or SUBSCRIBE that is denied, for the log.
#[derive(Debug)]
pub(in crate::broker) struct Denial {
    pub(in crate::broker) packet: &'static str,
    pub(in crate::broker) topic: ByteString,
    pub(in crate::broker) reason_code: ReasonCode,
    /// The access rule, or the limit.
    pub(in crate::broker) rule: ByteString,
}

/// The answer to a message at QoS 1 or 2.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct PublishAnswer {
    pub(in crate::broker) reason_code: ReasonCode,
    /// The ticket that it waits for.
    pub(in crate::broker) wait: Option<Ticket>,
    /// Whether a message with the same `dedup-id` was accepted before.
    pub(in crate::broker) duplicate: bool,
}

impl Shard {
    /// Handles PUBLISH of the client in `slot`.
    pub(in crate::broker) fn on_publish(&mut self, slot: usize, mut application: Application, turn: &mut Turn<'_>) {
        self.counters.message_received(application.qos, application.message.payload.len());
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(id) = entry.connection else { return };
        if entry.subscriber.is_link() {
            if let Some(blocked) = self.publish_of_cell((slot, id), application, turn) {
                self.block(id, blocked, Position::Back, turn);
            }
            return;
        }
        if self.is_for_batches(&application.message.topic) {
            if let Some(blocked) = self.publish_batch(slot, application, turn) {
                self.block(id, blocked, Position::Back, turn);
            }
            return;
        }
        if !self.settings.rewrite_rules.is_empty()
            && let Err(refusal) = self.rewrite_publish(id, &mut application, turn)
        {
            return self.refuse_publish(slot, &application, refusal, turn);
        }
        if let Some(mount_point) = self.connection(id).and_then(|connection| connection.access.mount_point())
            && let Err(fault) = mount_application(mount_point, &mut application, self.settings.delayed_publish)
        {
            return self.refuse_unmountable(slot, id, (&application, fault), turn);
        }
        if let Some(blocked) = self.publish(slot, application, turn) {
            self.block(id, blocked, Position::Back, turn);
        }
    }

    /// Refuses a message to a topic that the mount point of its client has not.
    #[cold]
    fn refuse_unmountable(
        &mut self,
        slot: usize,
        id: ConnectionId,
        (application, fault): (&Application, Unmountable),
        turn: &mut Turn<'_>,
    ) {
        let refusal = Refusal::unmountable(fault);
        let (topic, reason_code) = (application.message.topic.as_str().into(), refusal.reason_code);
        self.report_denied(id, Denial { packet: "PUBLISH", topic, reason_code, rule: refusal.rule.clone() }, turn);
        self.refuse_publish(slot, application, refusal, turn);
    }

    /// Accepts a message that the client may publish now, and answers it. Returns the message if it can be neither accepted nor refused now.
    pub(in crate::broker) fn publish(
        &mut self,
        slot: usize,
        mut application: Application,
        turn: &mut Turn<'_>,
    ) -> Option<Box<BlockedMessage>> {
        let id = self.sessions.get(slot)?.connection?;
        let checked = self.final_publish(id, &mut application, turn);
        let (postponed, receipt) = match checked {
            Ok(checked) => checked,
            Err(refusal) => {
                self.refuse_publish(slot, &application, refusal, turn);
                return None;
            }
        };
        let entry = self.sessions.get(slot)?;
        let publisher = Publisher {
            key: Some(entry.subscriber.key),
            slot: Some(slot),
            client_id: application.retain.then(|| entry.subscriber.client_id.clone()),
            owner: application.retain.then(|| entry.owner.clone()),
            origin: Some(Origin::new(self.id, id)),
            received: application.packet_id.map(|packet_id| (slot, packet_id)),
            deduplicated: None,
            instead_of: None,
            receipt: None,
            is_link: false,
        };
        let (packet_id, qos, retain) = (application.packet_id, application.qos, application.retain);
        let published = if self.detail.is_on() { self.describe(id, &application) } else { None };
        let (verdict, duplicate) = self.accept_once(id, (publisher, receipt), (application, postponed.as_ref()), turn);
        let connection = self.connection(id)?;
        let can_refuse = connection.version.has_properties();
        let explains = connection.wants_details();
        let (reason_code, wait) = match verdict {
            Verdict::Answer { reason_code, wait } => (reason_code, wait),
            Verdict::Full(blocked) if can_refuse && packet_id.is_some() => {
                self.refuse_full(slot, &blocked, turn);
                return None;
            }
            Verdict::Full(blocked) | Verdict::Pending(blocked) => {
                return Some(match postponed {
                    Some(postponed) => postponed.undo(blocked),
                    None => blocked,
                });
            }
        };
        if let Some(published) = published {
            self.report_published(published, reason_code, duplicate, turn);
        }
        let packet_id = packet_id?;
        if reason_code == ReasonCode::QuotaExceeded && (postponed.is_some() || !can_refuse) {
            let limit = postponed.map_or("no room for its retained message", |_| self.delayed_limit);
            if can_refuse {
                let sentence = ByteString::from(format!("no room for a delayed message ({limit})"));
                self.drive(slot, session::Event::Refused { packet_id, qos, reason_code, sentence }, turn);
            } else {
                self.end_for_limit(slot, (qos, packet_id), (reason_code, limit), turn);
            }
            return None;
        }
        let is_for_cells = retain && self.shared.cell.is_some();
        let wait = if is_for_cells && duplicate { self.fence_repeat(slot, turn).max(wait) } else { wait };
        self.answer_publish(slot, (packet_id, qos, explains), PublishAnswer { reason_code, wait, duplicate }, turn);
        if is_for_cells && duplicate {
            self.hold_repeat(slot, turn);
        } else if is_for_cells {
            self.hold_for_copies(slot, id, turn);
        }
        None
    }

    /// Answers an accepted message, or one that is refused by its Reason Code alone. `explains`: its client wants to know what was done.
    #[inline(always)]
    pub(in crate::broker) fn answer_publish(
        &mut self,
        slot: usize,
        (packet_id, qos, explains): (PacketId, Qos, bool),
        answer: PublishAnswer,
        turn: &mut Turn<'_>,
    ) {
        let PublishAnswer { reason_code, wait, duplicate } = answer;
        if let Some(ticket) = wait {
            self.wait_for(slot, ticket);
        }
        if explains && !duplicate && !reason_code.is_error() {
            return self.answer_in_detail(slot, (packet_id, qos), (reason_code, wait), turn);
        }
        self.drive_inlined(slot, session::Event::Answered { packet_id, qos, reason_code, wait, duplicate }, turn);
    }

    /// Replaces the topic of a message by the one to which it is published in the end, and checks the client's right to that. Reports a refusal.
    #[inline]
    fn final_publish(
        &mut self,
        id: ConnectionId,
        application: &mut Application,
        turn: &mut Turn<'_>,
    ) -> Result<(Option<Postponed>, Option<Box<ReceiptRequest>>), Refusal> {
        let postponed = match self.take_delay(application) {
            Ok(postponed) => postponed,
            Err(refusal) => {
                let (topic, reason_code) = (application.message.topic.as_str().into(), refusal.reason_code);
                let rule = refusal.rule.clone();
                self.report_denied(id, Denial { packet: "PUBLISH", topic, reason_code, rule }, turn);
                return Err(refusal);
            }
        };
        self.check_publish(id, application, turn)?;
        match self.receipt_request(id, application, 0) {
            Ok(receipt) => Ok((postponed, receipt)),
            Err(refusal) => Err(self.receipt_refused(id, application, refusal, turn)),
        }
    }

    /// Accepts a message unless it is a duplicate by its `dedup-id`. The `bool` tells whether it is one.
    fn accept_once(
        &mut self,
        id: ConnectionId,
        (mut publisher, receipt): (Publisher, Option<Box<ReceiptRequest>>),
        (application, postponed): (Application, Option<&Postponed>),
        turn: &mut Turn<'_>,
    ) -> (Verdict, bool) {
        let wants_look_up = application.packet_id.is_some() && !application.message.properties.is_empty();
        if wants_look_up && let Some(name) = self.connection(id).map(PublisherName::of) {
            match self.look_up(&name, &publisher, &application, turn) {
                DeduplicationVerdict::Accept(entry) => publisher.deduplicated = entry.map(Box::new),
                DeduplicationVerdict::Duplicate(wait) => {
                    return (Verdict::Answer { reason_code: ReasonCode::Success, wait }, true);
                }
                DeduplicationVerdict::Pending => {
                    let blocked = BlockedMessage { application, waits_for: WaitsFor::Deduplication };
                    return (Verdict::Pending(Box::new(blocked)), false);
                }
                DeduplicationVerdict::Refuse(reason_code) => {
                    return (Verdict::Answer { reason_code, wait: None }, false);
                }
            }
        }
        publisher.receipt = receipt; // not for a duplicate
        let verdict = match postponed {
            None => self.accept(&publisher, application, turn),
            Some(postponed) => self.postpone(&publisher, application, postponed.seconds, turn),
        };
        let (accepted, wait) = match &verdict {
            Verdict::Answer { reason_code, wait } => (!reason_code.is_error(), *wait),
            Verdict::Full(_) | Verdict::Pending(_) => (false, None),
        };
        self.settle(publisher.deduplicated, accepted, wait, turn);
        (verdict, false)
    }

    /// Ends the connection of a client of 3.1 or 3.1.1, instead of the answer to a QoS 1 or 2 message that a limit of the broker refuses.
    pub(in crate::broker) fn end_for_limit(
        &mut self,
        slot: usize,
        (qos, packet_id): (Qos, PacketId),
        (reason_code, limit): (ReasonCode, &str),
        turn: &mut Turn<'_>,
    ) {
        let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) else { return };
        self.withdraw(slot, qos, packet_id, turn);
        self.end_connection(id, Ending::by_limit(reason_code, limit), turn);
    }

    /// Removes the Packet Identifier of a QoS 2 message that is not answered, because the connection ends.
    pub(in crate::broker) fn withdraw(&mut self, slot: usize, qos: Qos, packet_id: PacketId, turn: &mut Turn<'_>) {
        if qos == Qos::ExactlyOnce {
            self.drive(slot, session::Event::Withdrawn(packet_id), turn);
        }
    }

    /// Checks the topic limits, the access rules and the rules for `$SYS`; reports a refusal.
    fn check_publish(
        &mut self,
        id: ConnectionId,
        application: &Application,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let topic = &application.message.topic;
        let Some(connection) = self.connection(id) else { return Err(Refusal::by_rule(String::new())) };
        let judged = self.judge_publish(connection.sys_publisher(), topic, application.message.payload.len());
        let Err(refusal) = judged else { return Ok(()) };
        let (topic, reason_code, rule) = (topic.as_str().into(), refusal.reason_code, refusal.rule.clone());
        self.report_denied(id, Denial { packet: "PUBLISH", topic, reason_code, rule }, turn);
        Err(refusal)
    }

    /// Whether a client may publish to a topic, by the topic limits, the access rules and the rules for `$SYS`.
    #[inline]
    pub(in crate::broker) fn judge_publish(
        &self,
        publisher: SysPublisher<'_>,
        topic: &TopicName,
        payload_bytes: usize,
    ) -> Result<(), Refusal> {
        if !self.within_limits(topic.as_str()) {
            return Err(Refusal::by_limit(self.topic_fault(topic.as_str()).unwrap_or_default()));
        }
        if topic.as_str().starts_with('$') {
            if is_sys(topic) {
                return check_sys(publisher, topic, payload_bytes);
            }
            if self.is_for_batches(topic) {
                return Err(Refusal::by_limit(ONLY_BATCHES));
            }
        }
        publisher.access.publish(topic).map_err(Refusal::by_access)
    }

    /// Whether a topic is that of batches.
    #[inline]
    pub(in crate::broker) fn is_for_batches(&self, topic: &TopicName) -> bool {
        is_batch(topic) && self.settings.batch_messages_max > 0
    }

    /// Counts and reports a denial.
    pub(in crate::broker) fn report_denied(&mut self, id: ConnectionId, denial: Denial, turn: &mut Turn<'_>) {
        self.counters.denied += 1;
        let client = self.connection(id).map(Connection::label).unwrap_or_default();
        let Denial { packet, topic, reason_code, rule } = denial;
        let action = if packet == "SUBSCRIBE" { RefusedAction::Subscribe } else { RefusedAction::Publish };
        let refused = Refused { action, reason_code, rule: Some(&rule), reason: None, topic: Some(&topic) };
        self.operator.refused(turn.now, &client, refused);
        turn.actions.push(Action::Report(Box::new(Report::Denied { client, packet, topic, reason_code, rule })));
    }

    /// Notes a refusal that is answered to a client and neither reported nor counted.
    pub(in crate::broker) fn note_refusal(&mut self, id: ConnectionId, refused: Refused<'_>, turn: &Turn<'_>) {
        let client = self.connection(id).map(Connection::label).unwrap_or_default();
        self.operator.refused(turn.now, &client, refused);
    }

    /// Whether a Topic Name or Topic Filter is within the limits of length and levels.
    pub(in crate::broker) fn within_limits(&self, topic: &str) -> bool {
        let settings = &self.settings;
        // A topic of n bytes has at most n + 1 levels, so the levels of short topics need not be counted.
        topic.len() <= settings.topic_length_max
            && (topic.len() < settings.topic_levels_max || levels(topic) <= settings.topic_levels_max)
    }
}

/// The number of levels of a Topic Name or Topic Filter. The parts are short enough for a count in a byte, which many bytes at a time are
/// added to.
fn levels(topic: &str) -> usize {
    let separators = |part: &[u8]| usize::from(part.iter().fold(0_u8, |count, byte| count + u8::from(*byte == b'/')));
    1 + topic.as_bytes().chunks(usize::from(u8::MAX)).map(separators).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_counted_in_topics_of_any_length() {
        for topic in ["", "/", "a", "a/b", "//a/", &"/".repeat(65_535), &"/".repeat(255), &"a/".repeat(256)] {
            assert_eq!(levels(topic), topic.split('/').count(), "{} bytes", topic.len());
        }
    }
}
