//! Publishes Will Messages.

use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::action::Action;
use crate::broker::counters::DropReason;
use crate::broker::operator::drops::Lost;
use crate::broker::operator::query::RefusedAction;
use crate::broker::operator::refusals::Refused;
use crate::broker::persistence::record::InsteadOf;
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::publish::refusal::Refusal;
use crate::broker::report::{ClientLabel, Report, WillOutcome};
use crate::broker::shard::{Shard, Turn};
use crate::codec::{ClientId, Will};
use crate::session::Application;

impl Shard {
    /// Publishes the Will of the Session in `slot`, and removes it from the Session. [MQTT-3.1.2-8] [MQTT-3.1.2-10]
    pub(in crate::broker) fn publish_will(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let Some(will) = entry.will.take() else { return };
        let (access, refused) = (entry.subscriber.access(), entry.will_refusal.take());
        let target = self.final_topic(&will.topic);
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        let (seconds, topic) = match target {
            Ok(target) => target,
            Err(refusal) => return self.refuse_will(slot, &will, (DropReason::WillRefused, refusal), turn),
        };
        let denied = access.publish(&topic).err();
        let refusal = refused.map(|refusal| (DropReason::WillRefused, *refusal));
        let denied = denied.map(|denied| (DropReason::NotAuthorized, Refusal::by_rule(denied.to_string())));
        if let Some((reason, refusal)) = refusal.or(denied) {
            return self.refuse_will(slot, &will, (reason, refusal), turn);
        }
        let publisher = Publisher {
            key: Some(entry.subscriber.key),
            slot: Some(slot),
            client_id: Some(entry.subscriber.client_id.clone()),
            owner: will.retain.then(|| entry.owner.clone()),
            origin: None,
            received: None,
            deduplicated: None,
            instead_of: entry.stored.then_some(InsteadOf::Will(entry.subscriber.key)),
            is_link: false,
            receipt: None, // a Will is not a PUBLISH of a client, which could take the receipt
        };
        let reported = self.detail.is_on().then(|| will.clone());
        let qos = will.qos;
        let application = application(Will { topic: topic.clone(), ..*will });
        let verdict = match seconds {
            0 => self.accept(&publisher, application, turn),
            _ => self.postpone(&publisher, application, seconds, turn),
        };
        let outcome = match verdict {
            Verdict::Answer { reason_code, .. } if !reason_code.is_error() => {
                WillOutcome::Published { receivers: self.receivers }
            }
            Verdict::Answer { .. } | Verdict::Full(_) | Verdict::Pending(_) => {
                self.counters.dropped(DropReason::WillRefused, 1);
                if let Some(entry) = self.sessions.get_mut(slot) {
                    entry.incidents.add_dropped(DropReason::WillRefused);
                }
                let client_id = publisher.client_id.as_ref().map_or("", ClientId::as_str);
                let (topic, qos, reason) = (Some(topic.as_str()), Some(qos), DropReason::WillRefused);
                self.note_lost(Lost { topic, qos, ..Lost::several(client_id, 1, reason) }, turn);
                WillOutcome::Discarded { cause: "a receiver's queue or the store has no room for it" }
            }
        };
        if let Some(will) = reported {
            self.report_will(slot, &will, outcome, turn);
        }
    }

    /// Discards the Will of the Session in `slot`, because its client may not publish it any more.
    pub(in crate::broker) fn discard_will(&mut self, slot: usize, rule: &'static str, turn: &mut Turn<'_>) {
        if let Some(will) = self.sessions.get_mut(slot).and_then(|entry| entry.will.take()) {
            self.refuse_will(slot, &will, (DropReason::NotAuthorized, Refusal::by_rule(rule)), turn);
        }
    }

    /// Counts and reports a Will of the Session in `slot` that is not published.
    fn refuse_will(&mut self, slot: usize, will: &Will, (reason, refusal): (DropReason, Refusal), turn: &mut Turn<'_>) {
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        entry.incidents.add_dropped(reason);
        let client_id = Some(entry.subscriber.client_id.clone());
        self.counters.dropped(reason, 1);
        let Refusal { reason_code, rule, .. } = refusal;
        let (client, topic) =
            (ClientLabel { client_id, ..ClientLabel::default() }, ByteString::from(will.topic.as_str()));
        let action = RefusedAction::Publish;
        let refused = Refused { action, reason_code, rule: Some(&rule), reason: None, topic: Some(&topic) };
        self.operator.refused(turn.now, &client, refused);
        let report = Report::Denied { client, packet: "Will", topic, reason_code, rule };
        turn.actions.push(Action::Report(Box::new(report)));
    }
}

/// The message of a Will.
fn application(will: Will) -> Application {
    Application {
        message: Arc::new(will.message()),
        is_topic_copied: true,
        qos: will.qos,
        retain: will.retain,
        packet_id: None,
        message_expiry_interval: will.message_expiry_interval,
    }
}
