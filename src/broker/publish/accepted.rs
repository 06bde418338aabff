//! An accepted message, from which the copies for its receivers are made.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::record::RetainedChange;
use crate::broker::publish::resolved::Resolved;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::table::TopicStreams;
use crate::codec::{Message, MessageId, Qos, UNCOPIED_PAYLOAD_MIN};
use crate::routing::{self, Route, StreamSequences};
use crate::session::{Application, Delivery, DeliveryPlace};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// An accepted message: the fields of its record without the receivers.
#[derive(Debug)]
pub(in crate::broker) struct AcceptedMessage {
    pub(in crate::broker) message: Arc<Message>,
    pub(in crate::broker) qos: Qos,
    /// RETAIN.
    pub(in crate::broker) retain: bool,
    pub(in crate::broker) expires_at: Option<Timestamp>,
    pub(in crate::broker) retained: RetainedChange,
    pub(in crate::broker) level: Durability,
    /// The streams that it enters.
    pub(in crate::broker) streams: TopicStreams,
    /// Its sequences in them, for a retained message, for groups, and for a publisher that wants to know them.
    pub(in crate::broker) sequences: Option<Arc<StreamSequences>>,
}

impl AcceptedMessage {
    /// A new message. `id`: its identity, at QoS 1 and 2, and whether its journey is noted. With its route comes whether it enters the queues of links. On the path of each message, and inlined, so that its
    /// fields are not copied.
    #[inline(always)]
    pub(in crate::broker) fn new(
        application: Application,
        id: Option<(MessageId, bool)>,
        (resolved, is_for_cells): (&Resolved, bool),
        now: Timestamp,
    ) -> Self {
        let Application { mut message, qos, retain, message_expiry_interval, is_topic_copied, .. } = application;
        // A small message that is stored in memory must not keep a large read buffer alive. At QoS 1 and 2 the decoder has copied the content.
        let Route { receivers, shares } = &*resolved.route;
        let is_kept = retain
            || is_for_cells
            || (qos > Qos::AtMostOnce && !(receivers.is_empty() && shares.is_empty() && resolved.streams().is_empty()));
        if id.is_some() || is_kept {
            let message = Arc::make_mut(&mut message);
            message.qos = qos;
            (message.id, message.is_noted) = id.map_or((None, false), |(id, is_noted)| (Some(id), is_noted));
            if is_kept && !is_topic_copied {
                message.topic = resolved.kept_topic(&message.topic);
            }
            if is_kept && qos == Qos::AtMostOnce && message.payload.len() < UNCOPIED_PAYLOAD_MIN {
                message.detach();
            }
        }
        let expires_at = message_expiry_interval.map(|seconds| now + Duration::from_secs(u64::from(seconds)));
        let (retained, level, streams) = (RetainedChange::None, Durability::PowerLoss, TopicStreams::new());
        Self { message, qos, retain, expires_at, retained, level, streams, sequences: None }
    }

    /// A duplicate (`dedup-id`), of which only the Packet Identifier is recorded: it has no content.
    pub(in crate::broker) fn without_content(application: &Application) -> Self {
        Self::empty(application.message.topic.detached(), application.qos)
    }

    /// Stands for a message that another cell may accept. It has no content and no receivers.
    pub(in crate::broker) fn of_permit() -> Self {
        Self::empty(TopicName::unresolved(), Qos::AtLeastOnce)
    }

    fn empty(topic: TopicName, qos: Qos) -> Self {
        Self {
            message: Arc::new(Message::new(topic, "")),
            qos,
            retain: false,
            expires_at: None,
            retained: RetainedChange::None,
            level: Durability::PowerLoss,
            streams: TopicStreams::new(),
            sequences: None,
        }
    }

    /// A message that was accepted before and is delivered to one more receiver.
    pub(in crate::broker) fn of_delivery(delivery: &Delivery) -> Self {
        Self {
            message: Arc::clone(&delivery.message),
            qos: delivery.message.qos,
            retain: false,
            expires_at: Some(delivery.expires_at).filter(|at| *at != Timestamp::NEVER),
            retained: RetainedChange::None,
            level: Durability::PowerLoss,
            streams: TopicStreams::new(),
            sequences: None,
        }
    }

    /// Sets the durability of its record, and the streams that it enters. `is_told`: whether its publisher or groups want to know its sequences.
    #[inline]
    pub(in crate::broker) fn enter(&mut self, level: Durability, (streams, is_told): (&[StreamNumber], bool)) {
        self.level = level;
        if !streams.is_empty() {
            self.streams.extend_from_slice(streams);
            self.sequences = (self.retain || is_told).then(Arc::default);
        }
    }

    /// Sets the durability of its record.
    pub(in crate::broker) fn with_level(self, level: Durability) -> Self {
        Self { level, ..self }
    }

    /// A copy for another shard with its own reference count, because a count that two cores change causes cache line contention.
    pub(in crate::broker) fn unshared_copy(&self) -> Self {
        let message = Arc::new(Message::clone(&self.message));
        let (retained, streams) = (RetainedChange::None, TopicStreams::new());
        Self { message, retained, streams, sequences: None, ..*self }
    }

    /// The copy for a receiver with the subscription `granted`.
    pub(in crate::broker) fn delivery(&self, granted: &routing::Delivery) -> Delivery {
        let (message, retained, streams) = (Arc::clone(&self.message), RetainedChange::None, TopicStreams::new());
        Self { message, retained, streams, sequences: None, ..*self }.into_delivery(granted)
    }

    /// The copy for the only receiver, which has the subscription `granted`.
    #[inline]
    pub(in crate::broker) fn into_delivery(self, granted: &routing::Delivery) -> Delivery {
        Delivery {
            message: self.message,
            qos: self.qos.min(granted.qos), // [MQTT-3.8.4-8]
            retain: self.retain && granted.retain_as_published,
            expires_at: self.expires_at.unwrap_or(Timestamp::NEVER),
            matched: granted.matched.clone(),
            place: DeliveryPlace::Memory,
        }
    }
}
