//! The messages of one turn of a shard to another shard.

use std::sync::Arc;

use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::directory::run::{Run, is_packable, is_same_origin};

/// The messages of one turn of a shard to another shard, in order. Consecutive small QoS 0 messages from one publisher for one Session
/// become one run of bytes.
#[derive(Debug, Default)]
pub struct ShardBatch {
    messages: Vec<ShardMessage>,
    weight: usize,
}

impl ShardBatch {
    /// Whether it has no messages.
    pub const fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Appends a message.
    pub fn push(&mut self, message: ShardMessage) {
        self.weight += message.weight();
        if !self.packs(&message) {
            self.messages.push(message);
        }
    }

    /// The weight of the messages: see [`ShardMessage::weight`].
    pub const fn weight(&self) -> usize {
        self.weight
    }

    /// Takes the messages.
    pub fn take(&mut self) -> impl Iterator<Item = ShardMessage> + '_ {
        self.weight = 0;
        self.messages.drain(..)
    }

    /// Appends a message to the last run, or makes a run of it and the last message, if that is possible.
    fn packs(&mut self, message: &ShardMessage) -> bool {
        let ShardMessageKind::Deliver { to, sequenced, origin } = &message.0 else { return false };
        let Some(last) = self.messages.last_mut().filter(|_| is_packable(sequenced)) else { return false };
        if let ShardMessageKind::Deliver { to: last_to, sequenced: first, origin: last_origin } = &last.0
            && is_packable(first)
            && Arc::ptr_eq(last_to, to)
            && is_same_origin(*last_origin, *origin)
            && first.routed == sequenced.routed
            && first.delivery.message.topic == sequenced.delivery.message.topic
        {
            let mut run = Run::new(last_to, *origin, first);
            run.push(first);
            last.0 = ShardMessageKind::DeliverRun(Box::new(run));
        }
        let ShardMessageKind::DeliverRun(run) = &mut last.0 else { return false };
        let continues = run.continues_with(to, sequenced, *origin);
        if continues {
            run.push(sequenced);
        }
        continues
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::broker::directory::run::PACKED_MAX;
    use crate::broker::ids::{ConnectionId, Origin};
    use crate::broker::publish::delivery::SequencedDelivery;
    use crate::codec::{ClientId, Message, Qos};
    use crate::routing::{Access, Location, SessionKey, ShardId, Subscriber};
    use crate::session::{Delivery, DeliveryPlace};
    use crate::timestamp::Timestamp;
    use crate::topic::TopicName;

    fn subscriber(key: u64) -> Arc<Subscriber> {
        let location = Location { shard: ShardId(1), slot: 0 };
        let client_id = ClientId::from("c");
        Arc::new(Subscriber::new(SessionKey(key), client_id, location, Arc::new(Access::everything())))
    }

    fn copy(topic: &str, payload: Bytes) -> SequencedDelivery {
        let delivery = Delivery {
            message: Arc::new(Message::new(TopicName::new(topic.into()).unwrap(), payload)),
            qos: Qos::AtMostOnce,
            retain: false,
            expires_at: Timestamp::NEVER,
            matched: None,
            place: DeliveryPlace::Memory,
        };
        SequencedDelivery { sequence: None, delivery, routed: 7 }
    }

    fn deliver(to: &Arc<Subscriber>, publisher: u32, sequenced: SequencedDelivery) -> ShardMessage {
        let origin = Some(Origin::new(ShardId(0), ConnectionId { slot: publisher, generation: 0 }));
        ShardMessage(ShardMessageKind::Deliver { to: Arc::clone(to), sequenced, origin })
    }

    #[test]
    fn small_messages_from_one_publisher_for_one_session_become_one_message() {
        let (a, b) = (subscriber(1), subscriber(2));
        let mut batch = ShardBatch::default();
        for (to, publisher, topic) in [
            (&a, 1, "t"),
            (&a, 1, "t"),
            (&a, 1, "t"),
            (&b, 1, "t"),
            (&a, 1, "t"),
            (&a, 2, "t"),
            (&a, 2, "t"),
            (&a, 2, "u"),
        ] {
            batch.push(deliver(to, publisher, copy(topic, "p".into())));
        }
        batch.push(ShardMessage(ShardMessageKind::Pause(ConnectionId { slot: 0, generation: 0 })));
        batch.push(deliver(&a, 2, copy("u", "p".into())));
        assert_eq!(batch.weight(), 10);
        let weights: Vec<usize> = batch.take().map(|message| message.weight()).collect();
        assert_eq!(weights, [3, 1, 1, 2, 1, 1, 1]);
        assert!(batch.is_empty());
        assert_eq!(batch.weight(), 0);
    }

    #[test]
    fn a_run_has_the_copies_in_order() {
        let to = subscriber(1);
        let payloads: Vec<Bytes> = (0..=255_u8).map(|number| vec![number; usize::from(number) * 4].into()).collect();
        let mut batch = ShardBatch::default();
        for payload in &payloads {
            batch.push(deliver(&to, 1, copy("a/b", payload.clone())));
        }
        assert!(payloads.iter().skip(1).all(Bytes::is_unique), "nothing is shared with the sender");
        let mut messages = batch.take();
        let Some(ShardMessage(ShardMessageKind::DeliverRun(run))) = messages.next() else { panic!("no run") };
        assert!(messages.next().is_none());
        assert_eq!((run.messages(), run.origin().map(|origin| origin.connection.slot)), (payloads.len(), Some(1)));
        let (receiver, copies) = run.into_copies();
        assert!(Arc::ptr_eq(&receiver, &to));
        let copies: Vec<SequencedDelivery> = copies.collect();
        assert_eq!(copies.len(), payloads.len());
        for (received, payload) in copies.iter().zip(payloads) {
            let sent = copy("a/b", payload);
            assert_eq!((received.sequence, &received.delivery, received.routed), (None, &sent.delivery, 7));
        }
    }

    #[test]
    fn what_a_run_would_lose_stays_a_message_of_its_own() {
        let to = subscriber(1);
        let changes: [fn(&mut SequencedDelivery); 6] = [
            |copy| copy.sequence = Some(1),
            |copy| copy.routed = 8,
            |copy| copy.delivery.retain = true,
            |copy| copy.delivery.expires_at = Timestamp::default(),
            |copy| copy.delivery.place = DeliveryPlace::Record,
            |copy| Arc::make_mut(&mut copy.delivery.message).payload = vec![0; PACKED_MAX + 1].into(),
        ];
        for change in changes {
            let mut batch = ShardBatch::default();
            batch.push(deliver(&to, 1, copy("t", "p".into())));
            let mut other = copy("t", "p".into());
            change(&mut other);
            batch.push(deliver(&to, 1, other));
            batch.push(deliver(&to, 1, copy("t", "p".into())));
            assert_eq!(batch.take().count(), 3);
        }
    }
}
