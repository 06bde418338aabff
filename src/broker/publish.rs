//! From a PUBLISH to its receivers.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use smallvec::SmallVec;

use super::connection::Connection;
use super::end::Ending;
use super::event::ConnectionId;
use super::forward::{Origin, Said, ShardMessage};
use super::record::{Addressed, RetainedChange};
use super::session_slot::SessionSlot;
use super::shard::Turn;
use super::{Action, DropReason, Record, Report, Shard, StoreRoom};
use crate::codec::{ClientId, Message, PacketId, Qos, ReasonCode, SubscriptionId};
use crate::routing::{Location, Retained, RetainedFull, Route, SessionKey, Subscriber};
use crate::session::{self, Application, Delivery, Ticket};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// Who a message comes from.
#[derive(Debug)]
pub(super) struct Publisher {
    /// Its Session, for No Local.
    pub(super) key: Option<SessionKey>,
    pub(super) client_id: Option<ClientId>,
    /// Its connection, to be held up when a receiver doesn't keep up.
    pub(super) origin: Option<Origin>,
    /// The slot of its Session and the Packet Identifier, at QoS 1 and 2.
    pub(super) received: Option<(usize, PacketId)>,
}

/// A PUBLISH or SUBSCRIBE that is not granted, for the log.
#[derive(Debug)]
pub(super) struct Denial {
    pub(super) packet: &'static str,
    pub(super) topic: ByteString,
    pub(super) reason_code: ReasonCode,
    /// The access rule, or the limit.
    pub(super) rule: ByteString,
}

/// A message on its way to one receiver.
#[derive(Debug)]
pub(super) struct Parcel {
    /// Its place in the receiver's queue, at QoS 1 and 2.
    pub(super) sequence: Option<u64>,
    pub(super) delivery: Delivery,
}

/// Messages whose record is not stable yet.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) ticket: Ticket,
    origin: Option<Origin>,
    deliveries: Arc<Vec<Addressed>>,
}

impl Shard {
    /// A client published.
    pub(super) fn on_publish(&mut self, slot: usize, application: Application, turn: &mut Turn<'_>) {
        self.counters.message_received(application.qos, application.payload.len());
        let Some(entry) = self.sessions.get(slot) else { return };
        let Some(id) = entry.connection else { return };
        let publisher = Publisher {
            key: Some(entry.subscriber.key),
            client_id: application.retain.then(|| entry.subscriber.client_id.clone()),
            origin: Some(Origin { shard: self.id, connection: id }),
            received: application.packet_id.map(|packet_id| (slot, packet_id)),
        };
        let (packet_id, qos) = (application.packet_id, application.qos);
        let (reason_code, wait) = match self.check_publish(id, &application, turn) {
            Ok(()) => self.accept(&publisher, application, turn),
            Err(reason_code) => (reason_code, None),
        };
        let Some(connection) = self.connection(id) else { return };
        if reason_code == ReasonCode::QuotaExceeded && packet_id.is_some() && !connection.version.has_properties() {
            // 3.1.1 can't refuse one message, and an acknowledgement would be a lie.
            return self.end_connection(id, Ending::told(reason_code, "no room for its message"), turn);
        }
        if let Some(packet_id) = packet_id {
            if let Some(ticket) = wait {
                self.wait_for(slot, ticket);
            }
            self.drive(slot, session::Event::Answered { packet_id, qos, reason_code, wait }, turn);
        }
    }

    /// Whether the client may publish this.
    fn check_publish(
        &mut self,
        id: ConnectionId,
        application: &Application,
        turn: &mut Turn<'_>,
    ) -> Result<(), ReasonCode> {
        let topic = &application.topic;
        let (reason_code, rule) = if self.accepts_topic(topic) {
            let Some(connection) = self.connection(id) else { return Err(ReasonCode::UnspecifiedError) };
            match connection.access.publish(topic) {
                Ok(()) => return Ok(()),
                Err(denied) => (ReasonCode::NotAuthorized, denied.to_string().into()),
            }
        } else {
            (
                ReasonCode::TopicNameInvalid,
                "beyond topic_length_max or topic_levels_max, or a topic of the broker".into(),
            )
        };
        let topic = topic.as_str().into();
        self.report_denied(id, Denial { packet: "PUBLISH", topic, reason_code, rule }, turn);
        Err(reason_code)
    }

    /// Counts a denial, and tells the operator.
    pub(super) fn report_denied(&mut self, id: ConnectionId, denial: Denial, turn: &mut Turn<'_>) {
        self.counters.denied += 1;
        let client = self.connection(id).map(Connection::label).unwrap_or_default();
        let Denial { packet, topic, reason_code, rule } = denial;
        turn.actions.push(Action::Report(Box::new(Report::Denied { client, packet, topic, reason_code, rule })));
    }

    /// Whether clients may publish to a topic: within the limits, and not one of the broker's own.
    pub(super) fn accepts_topic(&self, topic: &TopicName) -> bool {
        self.within_limits(topic.as_str()) && !topic.as_str().starts_with("$SYS/")
    }

    /// Whether a Topic Name or Topic Filter is within the limits of length and levels.
    pub(super) fn within_limits(&self, topic: &str) -> bool {
        let settings = &self.settings;
        // A level has at least its separator: most topics need no counting.
        topic.len() <= settings.topic_length_max
            && (topic.len() < settings.topic_levels_max || topic.split('/').count() <= settings.topic_levels_max)
    }

    /// Takes ownership of a message: it becomes the retained one of its topic if it says so, and goes to all who want it. Returns
    /// the Reason Code for its acknowledgement, and what must be stable first.
    pub(super) fn accept(
        &mut self,
        publisher: &Publisher,
        application: Application,
        turn: &mut Turn<'_>,
    ) -> (ReasonCode, Option<Ticket>) {
        let route = self.routes.route(&self.shared, &application.topic);
        if self.store_room == StoreRoom::None && self.needs_store(publisher, &application, &route) {
            return (ReasonCode::QuotaExceeded, None);
        }
        let Application { topic, qos, retain, message_expiry_interval, properties, payload, .. } = application;
        let mut message = Message { topic, payload, properties };
        // What is kept must not keep the read buffer, of which it is a small part.
        let kept = retain || (qos > Qos::AtMostOnce && !(route.receivers.is_empty() && route.shares.is_empty()));
        if kept && message.payload.len() < DETACH_BYTES {
            message = message.detached();
        }
        let message = Arc::new(message);
        let expires_at = message_expiry_interval.map(|seconds| turn.now + Duration::from_secs(u64::from(seconds)));
        let mut kept = Kept { message: Arc::clone(&message), qos, expires_at, retained: RetainedChange::None };
        if retain {
            match self.retain(&kept, publisher) {
                Ok(change) => kept.retained = change,
                Err(_) => {
                    self.counters.dropped(DropReason::RetainedFull, 1);
                    if qos > Qos::AtMostOnce {
                        return (ReasonCode::QuotaExceeded, None);
                    }
                    // What the topic had is not its last message any more. [MQTT-3.3.1-7 of 3.1.1]
                    kept.retained = self.clear_retained(&message.topic);
                }
            }
        }
        let mut distribution = Distribution { origin: publisher.origin, durable: Vec::new(), receivers: 0 };
        let mut give = |shard: &mut Self, to: &Arc<Subscriber>, delivery| {
            shard.distribute(&mut distribution, to, delivery, turn);
        };
        let deliver = |granted: Qos, rap: bool, ids: &SmallVec<[SubscriptionId; 2]>, share| Delivery {
            message: Arc::clone(&message),
            qos: qos.min(granted), // [MQTT-3.8.4-8]
            retain: retain && rap,
            expires_at,
            subscription_ids: ids.clone(),
            share,
        };
        for receiver in &route.receivers {
            if let Some(granted) = receiver.delivery(publisher.key) {
                let delivery = deliver(granted.qos, granted.retain_as_published, &granted.subscription_ids, None);
                give(self, &receiver.subscriber, delivery);
            }
        }
        for share in &route.shares {
            let Some(receiver) = share.choose(publisher.key, &message.topic, None) else { continue };
            if let Some(granted) = receiver.delivery(None) {
                let filter = Some(Arc::clone(share.filter()));
                let delivery = deliver(granted.qos, granted.retain_as_published, &granted.subscription_ids, filter);
                give(self, &receiver.subscriber, delivery);
            }
        }
        let Distribution { durable, receivers, .. } = distribution;
        let reason_code = if receivers == 0 { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success };
        (reason_code, self.persist_accepted(publisher, kept, durable, turn))
    }

    /// Whether a message at QoS 1 or 2 can't be acknowledged without a record.
    fn needs_store(&self, publisher: &Publisher, application: &Application, route: &Route) -> bool {
        let is_received = |(slot, _)| self.sessions.get(slot).is_some_and(SessionSlot::is_durable);
        application.qos > Qos::AtMostOnce
            && (application.retain
                || publisher.received.is_some_and(is_received)
                || !route.shares.is_empty()
                || route.receivers.iter().any(|receiver| receiver.subscriber.is_durable()))
    }

    /// One message to one receiver: at once, or when its record is stable.
    fn distribute(
        &mut self,
        distribution: &mut Distribution,
        to: &Arc<Subscriber>,
        delivery: Delivery,
        turn: &mut Turn<'_>,
    ) {
        distribution.receivers += 1;
        let sequence = (delivery.qos > Qos::AtMostOnce).then(|| to.take_sequence());
        match sequence {
            Some(sequence) if to.is_durable() => {
                distribution.durable.push(Addressed { to: Arc::clone(to), sequence, delivery })
            }
            sequence => self.deliver(to, Parcel { sequence, delivery }, distribution.origin, turn),
        }
    }

    /// Makes a record of an accepted message, if anything of it must outlive the process.
    fn persist_accepted(
        &mut self,
        publisher: &Publisher,
        kept: Kept,
        deliveries: Vec<Addressed>,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let received = publisher
            .received
            .filter(|_| kept.qos == Qos::ExactlyOnce)
            .and_then(|(slot, id)| self.sessions.get(slot).filter(|entry| entry.is_durable()).map(|e| (e, id)))
            .map(|(entry, packet_id)| (entry.subscriber.key, packet_id));
        // What the broker itself retains is made anew after a restart.
        let retained = if publisher.key.is_some() { kept.retained } else { RetainedChange::None };
        if deliveries.is_empty() && received.is_none() && retained == RetainedChange::None {
            return None;
        }
        let deliveries = Arc::new(deliveries);
        let receivers = Arc::clone(&deliveries);
        let record = Record::Accepted {
            publisher: received,
            message: kept.message,
            qos: kept.qos,
            expires_at: kept.expires_at,
            retained,
            receivers,
        };
        let ticket = self.persist(record, turn);
        if !deliveries.is_empty() {
            self.outstanding.push_back(Outstanding { ticket, origin: publisher.origin, deliveries });
        }
        Some(ticket)
    }

    /// Sets or clears the retained message of a topic, if there is room for it. [MQTT-3.3.1-5] [MQTT-3.3.1-6]
    fn retain(&self, kept: &Kept, publisher: &Publisher) -> Result<RetainedChange, RetainedFull> {
        let Kept { message, qos, expires_at, .. } = kept;
        if message.payload.is_empty() {
            return Ok(self.clear_retained(&message.topic));
        }
        let mut retained = self.shared.retained_mut();
        let replaces = retained.get(&message.topic).map(|before| before.number);
        let number = self.shared.next_retained();
        let publisher = publisher.client_id.clone();
        retained.set(Retained {
            message: Arc::clone(message),
            qos: *qos,
            expires_at: *expires_at,
            publisher: publisher.clone(),
            number,
        })?;
        Ok(RetainedChange::Set { number, replaces, publisher })
    }

    /// Clears the retained message of a topic, if it has one.
    fn clear_retained(&self, topic: &TopicName) -> RetainedChange {
        let mut retained = self.shared.retained_mut();
        let Some(number) = retained.get(topic).map(|before| before.number) else { return RetainedChange::None };
        retained.clear(topic);
        RetainedChange::Cleared { number }
    }

    /// The record of these messages is stable: their receivers get them.
    pub(super) fn deliver_outstanding(&mut self, outstanding: Outstanding, turn: &mut Turn<'_>) {
        for Addressed { to, sequence, delivery } in Arc::unwrap_or_clone(outstanding.deliveries) {
            let parcel = Parcel { sequence: Some(sequence), delivery };
            self.deliver(&to, parcel, outstanding.origin, turn);
        }
    }

    /// Gives a message to its receiver: here, on another shard, or on its way here.
    pub(super) fn deliver(
        &mut self,
        to: &Arc<Subscriber>,
        parcel: Parcel,
        origin: Option<Origin>,
        turn: &mut Turn<'_>,
    ) {
        let location = to.location();
        let slot = location.slot as usize;
        if location.slot == Location::ENDED {
            self.give_up(to, parcel.delivery, turn);
        } else if location.shard != self.id {
            let said = Said::Deliver { to: Arc::clone(to), parcel, origin };
            turn.actions.push(Action::Forward { shard: location.shard, message: ShardMessage(said) });
        } else if location.slot == Location::ARRIVING {
            if parcel.sequence.is_some() {
                self.early.entry(to.key).or_default().push((Arc::clone(to), parcel));
            } else {
                self.counters.dropped(DropReason::NotConnected, 1);
            }
        } else if self.session(slot, to.key).is_none() {
            self.give_up(to, parcel.delivery, turn);
        } else if parcel.sequence.is_none() && self.is_overrun(slot) {
            self.count_dropped(slot, DropReason::SlowReceiver, turn);
        } else {
            let event = match parcel.sequence {
                Some(sequence) => session::Event::Deliver(sequence, parcel.delivery),
                None => session::Event::DeliverQos0(parcel.delivery),
            };
            self.drive(slot, event, turn);
            self.hold_up(slot, origin, turn);
        }
    }

    /// A message came too late for its Session, which has ended: it goes to another member of its share, or nowhere.
    fn give_up(&mut self, to: &Subscriber, delivery: Delivery, turn: &mut Turn<'_>) {
        if !self.hand_on(to.key, delivery, turn) {
            self.counters.dropped(DropReason::SessionEnded, 1);
        }
    }

    /// A message that another shard sent: at QoS 0, one that would have to go on is dropped instead, because it would come behind later ones.
    pub(super) fn on_delivery_forwarded(
        &mut self,
        to: &Arc<Subscriber>,
        parcel: Parcel,
        origin: Option<Origin>,
        turn: &mut Turn<'_>,
    ) {
        if parcel.sequence.is_none() && to.location().shard != self.id {
            return self.counters.dropped(DropReason::NotConnected, 1);
        }
        self.deliver(to, parcel, origin, turn);
    }

    /// Gives a retained message to a new subscription of the Session in `slot`. Returns what must be stable before it is there.
    pub(super) fn deliver_retained(&mut self, slot: usize, delivery: Delivery, turn: &mut Turn<'_>) -> Option<Ticket> {
        let to = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber))?;
        let kept = Kept {
            message: Arc::clone(&delivery.message),
            qos: delivery.qos,
            expires_at: delivery.expires_at,
            retained: RetainedChange::None,
        };
        let mut distribution = Distribution { origin: None, durable: Vec::new(), receivers: 0 };
        self.distribute(&mut distribution, &to, delivery, turn);
        let publisher = Publisher { key: None, client_id: None, origin: None, received: None };
        self.persist_accepted(&publisher, kept, distribution.durable, turn)
    }

    /// Gives a message of a Session that has ended to another member of its share. `false` if there is none.
    pub(super) fn hand_on(&mut self, from: SessionKey, delivery: Delivery, turn: &mut Turn<'_>) -> bool {
        let Some(filter) = delivery.share.clone() else { return false };
        let Some(share) = self.shared.index().share(&filter, &delivery.message.topic) else { return false };
        let Some(receiver) = share.choose(None, &delivery.message.topic, Some(from)) else { return false };
        let Some(granted) = receiver.delivery(None) else { return false };
        let delivery = Delivery {
            qos: delivery.qos.min(granted.qos),
            subscription_ids: granted.subscription_ids.clone(),
            ..delivery
        };
        let kept = Kept {
            message: Arc::clone(&delivery.message),
            qos: delivery.qos,
            expires_at: delivery.expires_at,
            retained: RetainedChange::None,
        };
        let mut distribution = Distribution { origin: None, durable: Vec::new(), receivers: 0 };
        self.distribute(&mut distribution, &receiver.subscriber, delivery, turn);
        let publisher = Publisher { key: None, client_id: None, origin: None, received: None };
        self.persist_accepted(&publisher, kept, distribution.durable, turn);
        true
    }
}

/// One message on its way to all its receivers.
struct Distribution {
    origin: Option<Origin>,
    /// Those that wait for the record.
    durable: Vec<Addressed>,
    receivers: usize,
}

/// What the record of an accepted message holds beside its receivers.
struct Kept {
    message: Arc<Message>,
    qos: Qos,
    expires_at: Option<Timestamp>,
    retained: RetainedChange,
}

/// From this size on, a payload is most of the buffer it was read into: it stays there.
const DETACH_BYTES: usize = 16_384;
