//! SUBSCRIBE and UNSUBSCRIBE.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::Connection;
use crate::broker::directory::SubscriptionTerms;
use crate::broker::filter_request::{FilterPacket, FilterRequest};
use crate::broker::ids::ConnectionId;
use crate::broker::mount::{mount_filters, mount_subscriptions};
use crate::broker::operator::query::RefusedAction;
use crate::broker::operator::refusals::Refused;
use crate::broker::persistence::record::Record;
use crate::broker::publish::ingress::Denial;
use crate::broker::publish::refusal::Refusal;
use crate::broker::report::Report;
use crate::broker::retained::replay::{Granted, Replay};
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::name::is_stream;
use crate::broker::timers::Timer;
use crate::codec::{
    Matched, Qos, ReasonCode, RetainHandling, ServerPacket, Suback, Subscribe, Subscription, SubscriptionId,
    SubscriptionOptions, Unsuback,
};
use crate::routing::{Access, Coverage, SubscribeOutcome};
use crate::session::{self, Ticket};
use crate::topic::{Filter, TopicFilter, Unmountable};

impl Shard {
    /// Handles a SUBSCRIBE or UNSUBSCRIBE packet. If it has many filters, the rest follows in later events, and its client is paused meanwhile.
    pub(super) fn on_filters(&mut self, slot: usize, packet: FilterPacket, turn: &mut Turn<'_>) {
        let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) else { return };
        let mut request = FilterRequest::new(id, packet);
        self.handle_part(slot, &mut request, turn);
        if request.is_complete() {
            return self.answer_filters(slot, request, turn);
        }
        self.pause(id, PauseReason::ManyFilters, turn);
        self.filter_requests.push_back(request);
        self.timers.set(turn.now + FILTERS_PAUSE, Timer::Filters);
    }

    /// Handles the next part of the packet that waits longest, and answers the packet if it was the last one.
    pub(super) fn resume_filters(&mut self, turn: &mut Turn<'_>) {
        while let Some(mut request) = self.filter_requests.pop_front() {
            let id = request.connection;
            let Some(slot) = self.connection(id).and_then(Connection::session) else { continue };
            let before = self.pipeline.last();
            self.handle_part(slot, &mut request, turn);
            if request.is_complete() {
                self.resume(id, PauseReason::ManyFilters, turn);
                self.answer_filters(slot, request, turn);
                self.bound_responses(slot, turn);
            } else {
                self.filter_requests.push_back(request);
            }
            self.pause_for_store(id, before, turn);
            break;
        }
        if !self.filter_requests.is_empty() {
            self.timers.set(turn.now + FILTERS_PAUSE, Timer::Filters);
        }
    }

    fn handle_part(&mut self, slot: usize, request: &mut FilterRequest, turn: &mut Turn<'_>) {
        let (id, part) = (request.connection, request.next_part());
        let (mut reason_codes, wait) = match &request.packet {
            // Repeated filters count as well, so that the cost of a packet is bounded.
            FilterPacket::Subscribe(subscribe) if part.start >= self.subscriptions_max(slot) => {
                (vec![ReasonCode::QuotaExceeded; subscribe.subscriptions.len() - part.start], None)
            }
            FilterPacket::Subscribe(subscribe) => self.subscribe_part(slot, (id, subscribe, part), turn),
            FilterPacket::Unsubscribe(unsubscribe) => {
                let filters = self.rewrite_filters(id, unsubscribe.filters.get(part).unwrap_or_default());
                self.unsubscribe_part(slot, &filters, turn)
            }
        };
        request.reason_codes.append(&mut reason_codes);
        request.wait = request.wait.max(wait);
    }

    /// Sends SUBACK or UNSUBACK when the records of all parts are stable.
    fn answer_filters(&mut self, slot: usize, request: FilterRequest, turn: &mut Turn<'_>) {
        let Some(request) = self.hold_for_cells(request, turn) else { return };
        self.answer_told(slot, request, turn);
    }

    /// The same when all other cells know the filters.
    pub(super) fn answer_told(&mut self, slot: usize, request: FilterRequest, turn: &mut Turn<'_>) {
        let FilterRequest { connection: id, packet, reason_codes, wait } = request;
        let packet = match packet {
            FilterPacket::Subscribe(subscribe) => {
                let why = self.why_first_refused((slot, id), &subscribe, &reason_codes);
                let mut packet = ServerPacket::Suback(Box::new(Suback::new(subscribe.packet_id, reason_codes)));
                if let (Some(why), Some(connection)) = (why, self.connection(id)) {
                    connection.terms().explain(&mut packet, &why);
                }
                packet
            }
            FilterPacket::Unsubscribe(unsubscribe) => {
                let unsuback = Unsuback::new(unsubscribe.packet_id, reason_codes); // never an error
                ServerPacket::Unsuback(Box::new(unsuback))
            }
        };
        self.drive(slot, session::Event::Respond { packet, wait }, turn);
        self.replay(slot, turn);
    }

    /// Handles a part of the subscriptions of a packet. Returns their Reason Codes and the ticket of their record.
    pub(super) fn subscribe_part(
        &mut self,
        slot: usize,
        (id, subscribe, part): (ConnectionId, &Subscribe, Range<usize>),
        turn: &mut Turn<'_>,
    ) -> (Vec<ReasonCode>, Option<Ticket>) {
        let requested = subscribe.subscriptions.get(part.clone()).unwrap_or_default();
        let rewritten = self.rewrite_subscriptions(id, requested, turn);
        let mount_point = self.connection(id).and_then(|connection| connection.access.mount_point());
        let (requested, faults) = mount_subscriptions(mount_point, &rewritten.subscriptions);
        let mut answers = Vec::with_capacity(requested.len());
        let (subscriptions_max, mut stored) = (self.subscriptions_max(slot), None);
        for (place, subscription) in (part.start..).zip(&*requested) {
            let answer = if rewritten.is_unfit(place - part.start) {
                Err(ReasonCode::TopicFilterInvalid)
            } else if place < subscriptions_max && !self.is_memory_short() && is_stream(&subscription.filter) {
                // It is not in the index, whether it is granted or not.
                let (reason_code, ticket) = self.subscribe_stream((slot, id), (subscription, subscribe), turn);
                stored = stored.max(ticket);
                Err(reason_code)
            } else if place < subscriptions_max && !self.is_memory_short() {
                let fault = faults.get(place - part.start).copied().flatten();
                self.check_subscribe(id, (subscription, fault), turn).map(|()| self.grant(id, subscription))
            } else {
                Err(ReasonCode::QuotaExceeded)
            };
            answers.push(answer);
        }
        self.subscribe(slot, &mut answers, subscribe.subscription_id);
        self.interest_changed(turn);
        for (subscription, _) in requested.iter().zip(&answers).filter(|(_, answer)| is_beyond_quota(answer)) {
            self.note_quota(id, subscription, turn);
        }
        self.wake_for_change(slot, turn);
        let reason_code = |answer: &Result<Subscription, ReasonCode>| {
            answer.as_ref().map_or_else(|reason_code| *reason_code, |granted| granted_code(granted.options.qos))
        };
        let reason_codes: Vec<ReasonCode> = answers.iter().map(reason_code).collect();
        if self.detail.is_on() {
            let filters = requested.iter().map(|subscription| &subscription.filter);
            let report = |client, answers| Report::Subscribed { client, answers };
            self.report_filters(slot, filters.zip(reason_codes.iter().copied()), report, turn);
        }
        if self.settings.client_events {
            let filters = requested.iter().map(|subscription| &subscription.filter);
            self.announce_filters(slot, "subscribed", filters.zip(reason_codes.iter().copied()), turn.now);
        }
        let subscriptions = last_of_each_filter(answers.into_iter().flatten());
        let subscription_id = subscribe.subscription_id;
        let wait = if subscriptions.is_empty() {
            stored
        } else {
            let message_id = subscribe.user_properties.contains("message-id", "true");
            if message_id && let Some(entry) = self.sessions.get_mut(slot) {
                entry.session.want_message_ids();
            }
            let record = |key| Record::Subscribed { key, subscriptions, subscription_id, message_id };
            self.persist_for(slot, record, turn).or_else(|| self.fence(slot, turn))
        };
        let wait = wait.max(self.take_group_wait(slot));
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.replays.wait_for(wait.unwrap_or_default());
        }
        (reason_codes, wait)
    }

    /// Notes a subscription that exceeds a limit.
    #[cold]
    fn note_quota(&mut self, id: ConnectionId, subscription: &Subscription, turn: &Turn<'_>) {
        let (action, reason_code) = (RefusedAction::Subscribe, ReasonCode::QuotaExceeded);
        let (filter, reason) = (subscription.filter.to_string(), self.why_refused(id, subscription, reason_code));
        let refused = Refused { action, reason_code, rule: None, reason: Some(&reason), topic: Some(&filter) };
        self.note_refusal(id, refused, turn);
    }

    /// The granted subscription: its QoS is at most Maximum QoS. A bridge has no options to ask for No Local and Retain As Published, so its
    /// subscriptions have both; No Local is not allowed on a Shared Subscription. [MQTT-3.8.3-4]
    fn grant(&self, id: ConnectionId, subscription: &Subscription) -> Subscription {
        let Subscription { filter, options } = subscription;
        let is_bridge = self.connection(id).is_some_and(|connection| connection.identity.is_bridge);
        let options = SubscriptionOptions {
            qos: options.qos.min(self.announced_qos(id)), // [MQTT-3.8.4-7]
            no_local: options.no_local || (is_bridge && filter.share.is_none()),
            retain_as_published: options.retain_as_published || is_bridge,
            ..*options
        };
        Subscription { filter: filter.detached(), options }
    }

    /// Checks the topic limits and the access rules; reports a denial. Returns the Reason Code of the refusal as an error. `fault`: why there
    /// is no such filter below the mount point of the client.
    fn check_subscribe(
        &mut self,
        id: ConnectionId,
        (subscription, fault): (&Subscription, Option<Unmountable>),
        turn: &mut Turn<'_>,
    ) -> Result<(), ReasonCode> {
        let filter = &subscription.filter;
        let Some(connection) = self.connection(id) else { return Err(ReasonCode::UnspecifiedError) };
        let judged = match fault {
            Some(fault) => Err(Refusal { reason_code: ReasonCode::TopicFilterInvalid, ..Refusal::unmountable(fault) }),
            None => self.judge_filter(&connection.access, filter),
        };
        let (reason_code, rule) = match judged {
            Ok(Coverage::Whole | Coverage::Part) => return Ok(()),
            Err(Refusal { reason_code, rule, .. }) => (reason_code, rule),
        };
        let topic = filter.to_string().into();
        self.report_denied(id, Denial { packet: "SUBSCRIBE", topic, reason_code, rule }, turn);
        Err(reason_code)
    }

    /// Whether a client with these access rules may subscribe to a filter, by the topic limits and the rules.
    pub(super) fn judge_filter(&self, access: &Access, filter: &Filter) -> Result<Coverage, Refusal> {
        let text = filter.topic_filter.as_str();
        if filter.is_exclusive && !self.settings.exclusive_subscriptions {
            let refusal = Refusal::by_limit("exclusive subscriptions are switched off");
            return Err(Refusal { reason_code: ReasonCode::TopicFilterInvalid, ..refusal });
        }
        if filter.share.is_some() && self.shared.cell.as_ref().is_some_and(|cell| !cell.has_room_for(filter)) {
            let refusal = Refusal::by_limit("the cell has too many Shared Subscriptions");
            return Err(Refusal { reason_code: ReasonCode::QuotaExceeded, ..refusal });
        }
        if !self.within_limits(text) {
            let refusal = Refusal::by_limit(self.topic_fault(text).unwrap_or_default());
            return Err(Refusal { reason_code: ReasonCode::TopicFilterInvalid, ..refusal });
        }
        access.subscribe(filter).map_err(Refusal::by_access)
    }

    /// Adds or replaces the granted subscriptions, and begins the replays of retained messages to them. The answer for a subscription that exceeds
    /// `subscriptions_per_session_max` is changed to a refusal. [MQTT-3.8.4-3] [MQTT-3.8.4-4]
    fn subscribe(
        &mut self,
        slot: usize,
        answers: &mut [Result<Subscription, ReasonCode>],
        subscription_id: Option<SubscriptionId>,
    ) {
        let streams = self.stream_count(slot);
        let Some(entry) = self.sessions.get_mut(slot) else { return };
        // Locked before the change, see `accept`: a concurrent retained message is either routed to the new subscriptions or found by their cursors.
        let retained = self.shared.retained();
        let requested: Vec<_> = answers.iter().flatten().map(|subscription| (subscription, subscription_id)).collect();
        let terms = SubscriptionTerms {
            strategy: self.settings.share_strategy,
            subscriptions_max: entry.session.limits().subscriptions_max.saturating_sub(streams),
        };
        let outcomes = self.shared.directory.subscribe(&entry.subscriber, &requested, terms);
        for (answer, outcome) in answers.iter_mut().filter(|answer| answer.is_ok()).zip(&outcomes) {
            if outcome.is_none() {
                *answer = Err(ReasonCode::QuotaExceeded);
            }
        }
        let mut wanted: BTreeMap<TopicFilter, (usize, Granted)> = BTreeMap::new();
        for (Subscription { filter, options }, outcome) in answers.iter().flatten().zip(outcomes.into_iter().flatten())
        {
            if filter.share.is_some() {
                entry.has_shares = true;
                continue; // a Shared Subscription gets no retained messages
            }
            let is_wanted = match options.retain_handling {
                RetainHandling::Send => true,                                  // [MQTT-3.3.1-9]
                RetainHandling::SendIfNew => outcome == SubscribeOutcome::New, // [MQTT-3.3.1-10]
                RetainHandling::DoNotSend => false,                            // [MQTT-3.3.1-11]
            };
            let matched = Matched::new(subscription_id.into_iter().collect(), None);
            let granted = Granted { qos: options.qos, no_local: options.no_local, matched };
            match (is_wanted, wanted.get_mut(&filter.topic_filter)) {
                (true, None) => _ = wanted.insert(filter.topic_filter.clone(), (1, granted)),
                (_, Some(earlier)) => *earlier = (earlier.0 + usize::from(is_wanted), granted),
                (false, None) => entry.replays.set_granted(&filter.topic_filter, granted),
            }
        }
        if retained.is_empty() {
            return;
        }
        for (filter, (times, granted)) in wanted {
            entry.replays.begin(filter, Replay::new(granted, retained.cursor(), times - 1));
        }
    }

    /// Handles a part of the filters of an UNSUBSCRIBE packet. Returns their Reason Codes and the ticket of their record.
    fn unsubscribe_part(
        &mut self,
        slot: usize,
        filters: &[Filter],
        turn: &mut Turn<'_>,
    ) -> (Vec<ReasonCode>, Option<Ticket>) {
        let Some(entry) = self.sessions.get(slot) else { return (Vec::new(), None) };
        let (key, filters) = (entry.subscriber.key, &*mount_filters(entry.owner.mount_point(), filters));
        let mut existed = self.shared.directory.unsubscribe(key, filters);
        self.unsubscribe_streams(slot, filters, &mut existed, turn);
        self.unsubscribe_groups(slot, filters, &mut existed, turn);
        let code = |existed: &bool| if *existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted };
        let reason_codes: Vec<ReasonCode> = existed.iter().map(code).collect(); // [MQTT-3.10.4-1]
        let removed = filters.iter().zip(&existed).filter(|(_, existed)| **existed);
        let removed: Vec<Filter> = removed.map(|(filter, _)| filter.detached()).collect();
        if self.detail.is_on() {
            let report = |client, answers| Report::Unsubscribed { client, answers };
            self.report_filters(slot, filters.iter().zip(reason_codes.iter().copied()), report, turn);
        }
        if self.settings.client_events {
            self.announce_filters(slot, "unsubscribed", filters.iter().zip(reason_codes.iter().copied()), turn.now);
        }
        if removed.is_empty() {
            return (reason_codes, None);
        }
        if let Some(entry) = self.sessions.get_mut(slot) {
            removed.iter().for_each(|filter| entry.replays.cancel(filter));
        }
        if removed.iter().any(|filter| filter.share.is_some()) {
            self.interest_changed(turn);
        }
        self.wake_for_change(slot, turn);
        let wait = self.persist_for(slot, |key| Record::Unsubscribed { key, filters: removed }, turn);
        (reason_codes, wait)
    }
}

impl Shard {
    /// Maximum QoS of the CONNACK of a client.
    fn announced_qos(&self, id: ConnectionId) -> Qos {
        let slot = self.connection(id).and_then(Connection::session);
        slot.and_then(|slot| self.sessions.get(slot))
            .map_or(self.settings.maximum_qos, |entry| entry.session.maximum_qos())
    }

    /// The greatest number of subscriptions of the Session in `slot`.
    fn subscriptions_max(&self, slot: usize) -> usize {
        self.sessions.get(slot).map_or(0, |entry| entry.session.limits().subscriptions_max)
    }
}

fn is_beyond_quota(answer: &Result<Subscription, ReasonCode>) -> bool {
    matches!(answer, Err(ReasonCode::QuotaExceeded))
}

/// The last subscription to each filter of one packet, which replaces the earlier ones.
fn last_of_each_filter(subscriptions: impl Iterator<Item = Subscription>) -> Vec<Subscription> {
    let mut last: Vec<Subscription> = subscriptions.collect();
    if last.len() > 1 {
        last.reverse();
        let mut seen = HashSet::with_capacity_and_hasher(last.len(), RandomState::default());
        last.retain(|subscription| seen.insert(subscription.filter.ordinary()));
        last.reverse();
    }
    last
}

/// The Reason Code of a granted subscription.
const fn granted_code(qos: Qos) -> ReasonCode {
    match qos {
        Qos::AtMostOnce => ReasonCode::GrantedQos0,
        Qos::AtLeastOnce => ReasonCode::GrantedQos1,
        Qos::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}

/// The delay before the next part of a packet with many filters, so that other events are handled first.
const FILTERS_PAUSE: Duration = Duration::from_millis(1);
