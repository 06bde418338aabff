//! From a PUBLISH to its receivers.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::connection::Connection;
use super::event::ConnectionId;
use super::forward::{Origin, Said, ShardMessage};
use super::shard::Turn;
use super::{Action, DropReason, Record, Report, Shard};
use crate::codec::{ClientId, Message, PacketId, Qos, ReasonCode, SubscriptionId};
use crate::routing::{Location, Retained, SessionKey, Subscriber};
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

/// Messages whose record is not stable yet.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) ticket: Ticket,
    origin: Option<Origin>,
    deliveries: Vec<(Arc<Subscriber>, u64, Delivery)>,
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
        self.report_denied(id, "PUBLISH", topic.as_str(), reason_code, rule, turn);
        Err(reason_code)
    }

    pub(super) fn report_denied(
        &mut self,
        id: ConnectionId,
        packet: &'static str,
        topic: &str,
        reason_code: ReasonCode,
        rule: bytestring::ByteString,
        turn: &mut Turn<'_>,
    ) {
        self.counters.denied += 1;
        let client = self.connection(id).map(Connection::label).unwrap_or_default();
        let report = Report::Denied { client, packet, topic: topic.into(), reason_code, rule };
        turn.actions.push(Action::Report(Box::new(report)));
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
        let Application { topic, qos, retain, message_expiry_interval, properties, payload, .. } = application;
        let mut message = Message { topic, payload, properties };
        // What is kept must not keep the read buffer, of which it is a small part.
        let kept = retain || (qos > Qos::AtMostOnce && !(route.receivers.is_empty() && route.shares.is_empty()));
        if kept && message.payload.len() < DETACH_BYTES {
            message = message.detached();
        }
        let message = Arc::new(message);
        let expires_at = message_expiry_interval.map(|seconds| turn.now + Duration::from_secs(u64::from(seconds)));
        if retain && !self.retain(&message, qos, expires_at, publisher) {
            self.counters.dropped(DropReason::RetainedFull, 1);
            if qos > Qos::AtMostOnce {
                return (ReasonCode::QuotaExceeded, None);
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
        let kept = Kept { message, qos, expires_at, retain };
        (reason_code, self.persist_accepted(publisher, kept, durable, turn))
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
            Some(sequence) if to.is_durable() => distribution.durable.push((Arc::clone(to), sequence, delivery)),
            sequence => self.deliver(to, sequence, delivery, distribution.origin, turn),
        }
    }

    /// Makes a record of an accepted message, if anything of it must outlive the process.
    fn persist_accepted(
        &mut self,
        publisher: &Publisher,
        kept: Kept,
        deliveries: Vec<(Arc<Subscriber>, u64, Delivery)>,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let received = publisher
            .received
            .filter(|_| kept.qos == Qos::ExactlyOnce)
            .and_then(|(slot, id)| self.sessions.get(slot).filter(|entry| entry.is_durable()).map(|e| (e, id)))
            .map(|(entry, packet_id)| (entry.subscriber.key, packet_id));
        // What the broker itself retains is made anew after a restart.
        let retain = kept.retain && publisher.key.is_some();
        if deliveries.is_empty() && received.is_none() && !retain {
            return None;
        }
        let receivers = deliveries.iter().map(|(to, sequence, delivery)| (to.key, *sequence, delivery.qos)).collect();
        let record = Record::Accepted {
            publisher: received,
            message: kept.message,
            qos: kept.qos,
            expires_at: kept.expires_at,
            retain,
            receivers,
        };
        let ticket = self.persist(record, turn);
        if !deliveries.is_empty() {
            self.outstanding.push_back(Outstanding { ticket, origin: publisher.origin, deliveries });
        }
        Some(ticket)
    }

    /// Sets or clears the retained message of a topic. `false` if there is no room for it. [MQTT-3.3.1-5] [MQTT-3.3.1-6]
    fn retain(&self, message: &Arc<Message>, qos: Qos, expires_at: Option<Timestamp>, publisher: &Publisher) -> bool {
        let mut retained = self.shared.retained_mut();
        if message.payload.is_empty() {
            retained.clear(&message.topic);
            return true;
        }
        let client_id = publisher.client_id.clone();
        retained.set(Retained { message: Arc::clone(message), qos, expires_at, publisher: client_id }).is_ok()
    }

    /// The record of these messages is stable: their receivers get them.
    pub(super) fn deliver_outstanding(&mut self, outstanding: Outstanding, turn: &mut Turn<'_>) {
        for (to, sequence, delivery) in outstanding.deliveries {
            self.deliver(&to, Some(sequence), delivery, outstanding.origin, turn);
        }
    }

    /// Gives a message to its receiver: here, on another shard, or on its way here.
    pub(super) fn deliver(
        &mut self,
        to: &Arc<Subscriber>,
        sequence: Option<u64>,
        delivery: Delivery,
        origin: Option<Origin>,
        turn: &mut Turn<'_>,
    ) {
        let location = to.location();
        let slot = location.slot as usize;
        if location.slot == Location::ENDED {
            self.give_up(to, delivery, turn);
        } else if location.shard != self.id {
            let said = Said::Deliver { to: Arc::clone(to), sequence, delivery, origin };
            turn.actions.push(Action::Forward { shard: location.shard, message: ShardMessage(said) });
        } else if location.slot == Location::ARRIVING {
            match sequence {
                Some(sequence) => self.early.entry(to.key).or_default().push((Arc::clone(to), sequence, delivery)),
                None => self.counters.dropped(DropReason::NotConnected, 1),
            }
        } else if self.session(slot, to.key).is_none() {
            self.give_up(to, delivery, turn);
        } else if sequence.is_none() && self.is_overrun(slot) {
            self.count_dropped(slot, DropReason::SlowReceiver, turn);
        } else {
            let event = match sequence {
                Some(sequence) => session::Event::Deliver(sequence, delivery),
                None => session::Event::DeliverQos0(delivery),
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
        sequence: Option<u64>,
        delivery: Delivery,
        origin: Option<Origin>,
        turn: &mut Turn<'_>,
    ) {
        if sequence.is_none() && to.location().shard != self.id {
            return self.counters.dropped(DropReason::NotConnected, 1);
        }
        self.deliver(to, sequence, delivery, origin, turn);
    }

    /// Gives a retained message to a new subscription of the Session in `slot`.
    pub(super) fn deliver_retained(&mut self, slot: usize, delivery: Delivery, turn: &mut Turn<'_>) {
        let Some(to) = self.sessions.get(slot).map(|entry| Arc::clone(&entry.subscriber)) else { return };
        let kept = Kept {
            message: Arc::clone(&delivery.message),
            qos: delivery.qos,
            expires_at: delivery.expires_at,
            retain: false,
        };
        let mut distribution = Distribution { origin: None, durable: Vec::new(), receivers: 0 };
        self.distribute(&mut distribution, &to, delivery, turn);
        let publisher = Publisher { key: None, client_id: None, origin: None, received: None };
        self.persist_accepted(&publisher, kept, distribution.durable, turn);
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
            retain: false,
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
    durable: Vec<(Arc<Subscriber>, u64, Delivery)>,
    receivers: usize,
}

/// What the record of an accepted message holds beside its receivers.
struct Kept {
    message: Arc<Message>,
    qos: Qos,
    expires_at: Option<Timestamp>,
    retain: bool,
}

/// From this size on, a payload is most of the buffer it was read into: it stays there.
const DETACH_BYTES: usize = 16_384;
