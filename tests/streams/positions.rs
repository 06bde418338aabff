//! A durable consumer of a stream: its position, and what it is sent, through `kill -9`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;

use wire::{Connect, PUBACK, Publish, Received, SUBACK, Version, Wire, acknowledge};

use super::deadline::PATIENCE;
use super::{Broker, flood};

/// A client that keeps no number: the broker has its position.
#[derive(Debug, Default)]
struct Consumer {
    /// The payloads in the order of their first copies, and the Packet Identifier of each.
    got: Vec<String>,
    packet_ids: BTreeMap<String, u16>,
    repeats: usize,
}

impl Consumer {
    /// Connects, subscribes, and takes messages until it has `count` of them. It leaves the last ones unacknowledged.
    fn consume(&mut self, address: SocketAddr, filter: &str, count: usize) {
        let mut wire = Wire::open(address, PATIENCE).unwrap();
        wire.send(&Connect::durable(Version::V5, "consumer").bytes());
        let connack = wire.receive(PATIENCE);
        assert!(matches!(&connack, Received::Packet(connack) if connack.reason_code() == 0), "{connack:?}");
        wire.send(&Version::V5.subscribe(1, filter, 1));
        let mut unacknowledged = Vec::new();
        let mut is_subscribed = false;
        while self.got.len() < count || !is_subscribed {
            let Received::Packet(packet) = wire.receive(PATIENCE) else {
                panic!("{} of {count} messages came", self.got.len())
            };
            if packet.kind() == SUBACK {
                is_subscribed = true;
                continue;
            }
            let publish = Publish::parse(Version::V5, &packet).unwrap_or_else(|| panic!("{packet:?}"));
            self.take(&publish);
            unacknowledged.push(publish.packet_id);
            if unacknowledged.len() > UNACKNOWLEDGED {
                wire.send(&acknowledge(PUBACK, unacknowledged.remove(0)));
            }
        }
    }

    fn take(&mut self, publish: &Publish) {
        assert_eq!(publish.qos, 1);
        let text = String::from_utf8_lossy(&publish.payload).into_owned();
        let payload = text.trim_start_matches('<').trim_end_matches('>').to_owned();
        match self.packet_ids.get(&payload) {
            None => {
                self.packet_ids.insert(payload.clone(), publish.packet_id);
                self.got.push(payload);
            }
            Some(before) => {
                assert!(publish.dup && *before == publish.packet_id, "{payload} came again: {publish:?}");
                self.repeats += 1;
            }
        }
    }
}

#[test]
fn a_durable_consumer_misses_nothing_and_gets_repeats_with_dup_alone_through_kill_9() {
    let mut broker = Broker::start("power-loss", "[[streams]]\nname = \"orders\"\ntopic = \"orders/#\"\n");
    let (mut consumer, mut sent) = (Consumer::default(), 0);
    for round in 1..=4 {
        let (address, first) = (broker.mqtt, sent);
        let publisher = thread::spawn(move || flood(address, 1, first));
        let filter = if round == 1 { "$stream/orders@earliest" } else { "$stream/orders" };
        consumer.consume(address, filter, round * MESSAGES_PER_ROUND);
        broker.kill();
        sent = publisher.join().unwrap().0;
        broker.restart();
    }
    let next = broker.figure("orders", "next");
    consumer.consume(broker.mqtt, "$stream/orders", usize::try_from(next).unwrap() - 1);
    let (code, answer) = broker.api("GET", "/clients/consumer/subscriptions");
    assert_eq!((code, &answer["subscriptions"][0]["stream_lag"]), (200, &0.into()), "{answer}");
    assert!(broker.run(&["client", "consumer", "--subscriptions"]).contains("LAG"));
    broker.kill();
    let kept = broker.kept(1);
    assert_eq!(kept.len() as u64, next - 1);
    assert_eq!(consumer.got, kept.into_values().collect::<Vec<_>>());
    assert!(consumer.repeats > 0, "nothing was unacknowledged when the broker was killed");
}

/// How many messages a consumer has at least when the broker is killed, in each round.
const MESSAGES_PER_ROUND: usize = 700;
/// The messages that it has not acknowledged then.
const UNACKNOWLEDGED: usize = 7;
