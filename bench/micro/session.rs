//! Micro-benchmarks of one Session, per message.
#![expect(clippy::unwrap_used, reason = "the input is our own, and a failed setup must abort the benchmark")]

use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::Arc;

use criterion::Criterion;
use oncemq::codec::{
    Ack, ClientPacket, Connack, Message, PacketId, ProtocolVersion, Publish, Qos, ReasonCode, ServerPacket,
};
use oncemq::session::{Action, Delivery, DeliveryPlace, Event, Limits, Link, QueueHead, Session};
use oncemq::timestamp::Timestamp;
use oncemq::topic::TopicName;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    publishing(&mut criterion);
    delivering(&mut criterion);
    criterion.final_summary();
}

/// From PUBLISH to its last acknowledgement, including the owner's part.
fn publishing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    for (qos, level) in LEVELS {
        let mut client = Client::connected();
        group.bench_function(format!("qos{level}"), |bencher| {
            bencher.iter(|| {
                let packet_id = (qos != Qos::AtMostOnce).then(|| client.next_id());
                let publish = Publish { qos, packet_id, ..Publish::new(client.topic.clone(), client.payload.clone()) };
                client.handle(Event::Packet(ClientPacket::Publish(publish)));
                let Some(packet_id) = packet_id else { return };
                let reason_code = ReasonCode::Success;
                client.handle(Event::Answered { packet_id, qos, reason_code, wait: None, duplicate: false });
                if qos == Qos::ExactlyOnce {
                    client.handle(Event::Packet(ClientPacket::Pubrel(ack(packet_id))));
                    client.handle(Event::Respond { packet: ServerPacket::Pubcomp(ack(packet_id)), wait: None });
                }
            });
        });
    }
    group.finish();
}

/// From delivering a message to the client's last acknowledgement.
fn delivering(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deliver");
    for (qos, level) in LEVELS {
        let mut client = Client::connected();
        let mut sequence = 0;
        group.bench_function(format!("qos{level}"), |bencher| {
            bencher.iter(|| {
                let delivery = client.delivery(qos);
                if qos == Qos::AtMostOnce {
                    client.handle(Event::DeliverQos0(delivery));
                    return;
                }
                sequence += 1;
                client.handle(Event::Room(ROOM));
                let packet_id = client.handle_delivery(sequence, delivery);
                if qos == Qos::AtLeastOnce {
                    client.handle(Event::Packet(ClientPacket::Puback(ack(packet_id))));
                } else {
                    client.handle(Event::Packet(ClientPacket::Pubrec(ack(packet_id))));
                    client.handle(Event::Respond { packet: ServerPacket::Pubrel(ack(packet_id)), wait: None });
                    client.handle(Event::Packet(ClientPacket::Pubcomp(ack(packet_id))));
                }
            });
        });
    }
    group.finish();
}

/// A Session and the state that its owner keeps.
struct Client {
    session: Session,
    actions: Vec<Action>,
    topic: TopicName,
    payload: bytes::Bytes,
    message: Arc<Message>,
    last_id: u16,
}

impl Client {
    fn connected() -> Self {
        let limits = Limits {
            receive_maximum: 1_024,
            validate_payload_format: true,
            queued_messages_max: 100_000,
            queued_bytes_max: 64 << 20,
            subscriptions_max: usize::MAX,
            inflight_bytes_max: usize::MAX,
            drops_oldest: true,
            queue_head: QueueHead::default(),
            has_dead_letters: false,
            refused: Default::default(),
            is_memory_short: false,
            keeps_expired: false,
        };
        let topic = TopicName::new("bench/site7/device123/temperature".into()).unwrap();
        let payload = bytes::Bytes::from(vec![0; 64]);
        let message = Arc::new(Message::new(topic.clone(), payload.clone()));
        let session = Session::new(Arc::new(limits), 1);
        let mut client = Self { session, actions: Vec::new(), topic, payload, message, last_id: 0 };
        let link = Link::new(ProtocolVersion::V5, NonZeroU16::new(256).unwrap());
        let connack = Box::new(Connack::accepted(false));
        client.handle(Event::Connected { link: Box::new(link), connack, wait: None });
        client
    }

    fn handle(&mut self, event: Event) {
        self.session.handle(Timestamp(1), event, &mut self.actions);
        black_box(&self.actions);
        self.actions.clear();
    }

    /// Delivers a message and returns its Packet Identifier.
    fn handle_delivery(&mut self, sequence: u64, delivery: Delivery) -> PacketId {
        self.session.handle(Timestamp(1), Event::Deliver(sequence, delivery), &mut self.actions);
        let sent = self.actions.iter().find_map(|action| {
            let Action::Send(ServerPacket::Publish(publish)) = action else { return None };
            publish.packet_id
        });
        self.actions.clear();
        sent.unwrap()
    }

    fn delivery(&self, qos: Qos) -> Delivery {
        Delivery {
            message: Arc::clone(&self.message),
            qos,
            retain: false,
            expires_at: Timestamp::NEVER,
            matched: None,
            place: DeliveryPlace::Memory,
        }
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        PacketId::new(self.last_id).unwrap()
    }
}

fn ack(packet_id: PacketId) -> Ack {
    Ack::new(packet_id, ReasonCode::Success)
}

const LEVELS: [(Qos, u8); 3] = [(Qos::AtMostOnce, 0), (Qos::AtLeastOnce, 1), (Qos::ExactlyOnce, 2)];
/// More bytes than are sent between two acknowledgements.
const ROOM: usize = 1 << 20;
