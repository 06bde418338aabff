//! SUBSCRIBE, UNSUBSCRIBE, and the retained messages that a new subscription gets.

use std::sync::Arc;

use crate::broker::counters::DropReason;
use crate::broker::ids::ConnectionId;
use crate::broker::persistence::record::Record;
use crate::broker::publish::ingress::Denial;
use crate::broker::retained::replay::Replay;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{
    Matched, Qos, ReasonCode, RetainHandling, ServerPacket, Suback, Subscribe, Subscription, SubscriptionId,
    SubscriptionOptions, Unsuback, Unsubscribe,
};
use crate::routing::{Coverage, Retained, SubscribeOutcome};
use crate::session::{self, Delivery, DeliveryPlace};
use crate::timestamp::Timestamp;

impl Shard {
    pub(super) fn on_subscribe(&mut self, slot: usize, subscribe: &Subscribe, turn: &mut Turn<'_>) {
        let Some(id) = self.sessions.get(slot).and_then(|entry| entry.connection) else { return };
        let mut granted = Vec::new();
        let mut reason_codes = Vec::with_capacity(subscribe.subscriptions.len());
        let mut replays = Vec::new();
        for subscription in &subscribe.subscriptions {
            let reason_code = match self.check_subscribe(id, subscription, turn) {
                Ok(()) => {
                    let options = SubscriptionOptions {
                        qos: subscription.options.qos.min(self.settings.maximum_qos), // [MQTT-3.8.4-7]
                        ..subscription.options
                    };
                    let subscription = Subscription { filter: subscription.filter.detached(), options };
                    match self.subscribe(turn.now, slot, &subscription, subscribe.subscription_id) {
                        Ok(retained) => {
                            replays.extend(retained);
                            granted.push(subscription);
                            granted_code(options.qos)
                        }
                        Err(reason_code) => reason_code,
                    }
                }
                Err(reason_code) => reason_code,
            };
            reason_codes.push(reason_code);
        }
        let subscription_id = subscribe.subscription_id;
        let wait = if granted.is_empty() {
            None
        } else {
            let message_id =
                subscribe.user_properties.iter().any(|(name, value)| &**name == "message-id" && &**value == "true");
            if message_id && let Some(entry) = self.sessions.get_mut(slot) {
                entry.session.want_message_ids();
            }
            let subscriptions = granted;
            let record = |key| Record::Subscribed { key, subscriptions, subscription_id, message_id };
            self.persist_for(slot, record, turn)
        };
        let suback = Suback { packet_id: subscribe.packet_id, reason_codes, reason_string: None };
        let packet = ServerPacket::Suback(Box::new(suback));
        self.drive(slot, session::Event::Respond { packet, wait }, turn);
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.replays.extend(replays, wait.unwrap_or_default());
        }
        self.replay(slot, turn);
    }

    /// Whether the client may subscribe to this.
    fn check_subscribe(
        &mut self,
        id: ConnectionId,
        subscription: &Subscription,
        turn: &mut Turn<'_>,
    ) -> Result<(), ReasonCode> {
        let filter = &subscription.filter;
        let (reason_code, rule) = if self.within_limits(filter.topic_filter.as_str()) {
            let Some(connection) = self.connection(id) else { return Err(ReasonCode::UnspecifiedError) };
            match connection.access.subscribe(filter) {
                Ok(Coverage::Whole | Coverage::Part) => return Ok(()),
                Err(denied) => (ReasonCode::NotAuthorized, denied.to_string().into()),
            }
        } else {
            (ReasonCode::TopicFilterInvalid, "beyond topic_length_max or topic_levels_max".into())
        };
        let topic = filter.to_string().into();
        self.report_denied(id, Denial { packet: "SUBSCRIBE", topic, reason_code, rule }, turn);
        Err(reason_code)
    }

    /// Makes or replaces one subscription, and finds the retained messages it is to get. [MQTT-3.8.4-3] [MQTT-3.8.4-4]
    fn subscribe(
        &mut self,
        now: Timestamp,
        slot: usize,
        subscription: &Subscription,
        id: Option<SubscriptionId>,
    ) -> Result<Vec<Replay>, ReasonCode> {
        let Some(entry) = self.sessions.get_mut(slot) else { return Err(ReasonCode::UnspecifiedError) };
        let key = entry.subscriber.key;
        let Subscription { filter, options } = subscription;
        let outcome = {
            let mut index = self.shared.index_mut();
            if index.subscription_count_of(key) >= self.settings.subscriptions_per_session_max
                && !index.is_subscribed(key, filter)
            {
                return Err(ReasonCode::QuotaExceeded);
            }
            index.subscribe(&entry.subscriber, subscription, id, self.settings.share_strategy)
        };
        if filter.share.is_some() {
            entry.has_shares = true;
            return Ok(Vec::new()); // no retained messages for a Shared Subscription
        }
        let wanted = match options.retain_handling {
            RetainHandling::Send => true,                                  // [MQTT-3.3.1-9]
            RetainHandling::SendIfNew => outcome == SubscribeOutcome::New, // [MQTT-3.3.1-10]
            RetainHandling::DoNotSend => false,                            // [MQTT-3.3.1-11]
        };
        if !wanted {
            return Ok(Vec::new());
        }
        entry.forget_replays(filter);
        let access = entry.subscriber.access();
        let client_id = &entry.subscriber.client_id;
        let own = |retained: &Retained| options.no_local && retained.publisher.as_ref() == Some(client_id);
        let matching = self.shared.retained().matching(&filter.topic_filter, now);
        let matching = matching.in_order().filter(|one| !own(one) && access.receive(&one.message.topic));
        let matched = Matched::new(id.into_iter().collect(), None);
        let filter = Arc::new(filter.clone());
        let replay = |retained: Arc<Retained>| Replay {
            filter: Arc::clone(&filter),
            qos: retained.qos.min(options.qos),
            retained,
            matched: matched.clone(),
        };
        Ok(matching.map(replay).collect())
    }

    /// Sends retained messages to a new subscription, as fast as the client takes them. Those that need a record go to the store some at a
    /// time, because they are not in the queue, and don't count there, until it is stable.
    pub(super) fn replay(&mut self, slot: usize, turn: &mut Turn<'_>) {
        let (mut recorded, mut bytes, mut last) = (0, 0, None);
        while recorded < REPLAYS_RECORDED_MAX && bytes < self.settings.outgoing_bytes_max / 2 {
            let Some(replay) = self.next_replay(slot, recorded) else { break };
            let Some(delivery) = self.replayed(replay, turn.now) else { continue };
            let length = delivery.message.payload.len();
            if let Some(ticket) = self.deliver_retained(slot, delivery, turn) {
                recorded += 1;
                bytes += length;
                last = Some(ticket);
            }
        }
        let Some(ticket) = last else { return };
        self.wait_for(slot, ticket);
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.replays.wait_for(ticket);
        }
    }

    /// The next retained message for the Session in `slot`, if its client takes one now. So many are on their way through the store.
    fn next_replay(&mut self, slot: usize, recorded: usize) -> Option<Replay> {
        let entry = self.sessions.get(slot).filter(|entry| !entry.replays.is_empty())?;
        let connection = entry.connection.and_then(|id| self.connection(id))?;
        let ready = entry.session.is_open()
            && self.pipeline.is_stable(entry.replays.after())
            && entry.session.unsent() == 0
            && entry.session.queued().0 + recorded < self.settings.queued_messages_max
            && connection.buffered < self.settings.outgoing_bytes_max / 2;
        if !ready {
            return None;
        }
        let entry = self.sessions.get_mut(slot)?;
        entry.replays.pop_front()
    }

    /// What goes out for a retained message. One that was replaced meanwhile is left out: the client got the new one.
    fn replayed(&mut self, replay: Replay, now: Timestamp) -> Option<Delivery> {
        let Replay { retained, qos, matched, .. } = replay;
        if retained.expires_at.is_some_and(|at| at <= now) {
            self.counters.dropped(DropReason::Expired, 1);
            return None;
        }
        retained.current.is().then(|| Delivery {
            message: Arc::clone(&retained.message),
            qos,
            retain: true, // [MQTT-3.3.1-8]
            expires_at: retained.expires_at.unwrap_or(Timestamp::NEVER),
            matched,
            place: DeliveryPlace::Memory,
        })
    }

    pub(super) fn on_unsubscribe(&mut self, slot: usize, unsubscribe: &Unsubscribe, turn: &mut Turn<'_>) {
        let Some(key) = self.sessions.get(slot).map(|entry| entry.subscriber.key) else { return };
        let mut removed = Vec::new();
        let mut reason_codes = Vec::with_capacity(unsubscribe.filters.len());
        {
            let mut index = self.shared.index_mut();
            for filter in &unsubscribe.filters {
                // [MQTT-3.10.4-1]
                let existed = index.unsubscribe(key, filter);
                reason_codes.push(if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted });
                if existed {
                    removed.push(filter.detached());
                }
            }
        }
        if let Some(entry) = self.sessions.get_mut(slot) {
            removed.iter().for_each(|filter| entry.forget_replays(filter));
            let subscriber = Arc::clone(&entry.subscriber);
            self.wake_all_for(&subscriber, turn); // their messages may not be for it any more
        }
        let wait = if removed.is_empty() {
            None
        } else {
            self.persist_for(slot, |key| Record::Unsubscribed { key, filters: removed }, turn)
        };
        let unsuback = Unsuback { packet_id: unsubscribe.packet_id, reason_codes, reason_string: None };
        let packet = ServerPacket::Unsuback(Box::new(unsuback));
        self.drive(slot, session::Event::Respond { packet, wait }, turn);
    }
}

/// The Reason Code of a granted subscription.
const fn granted_code(qos: Qos) -> ReasonCode {
    match qos {
        Qos::AtMostOnce => ReasonCode::GrantedQos0,
        Qos::AtLeastOnce => ReasonCode::GrantedQos1,
        Qos::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}

/// Retained messages for one Session that are on their way through the store at a time.
const REPLAYS_RECORDED_MAX: usize = 64;
