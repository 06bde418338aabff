//! The order of messages of a topic, some of which a subscriber refuses.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::harness::{Client, Harness};
use super::packets::*;
use super::redelivery::{clients, ordered, refuse_q1, refuse_q2, rule, send, stored};
use crate::broker::{Event, Record, RedeliveryRules, Settings, StoreRoom};
use crate::codec::{ClientPacket, Connect, MessageProperties, Publish, Qos, ServerPacket};

/// The durable subscriber `s` that may have this many messages in flight.
fn window(receive_maximum: u16) -> Connect {
    let mut connect = durable("s");
    connect.properties.receive_maximum = NonZeroU16::new(receive_maximum).unwrap();
    connect
}

/// The payloads that the client got, with their Packet Identifiers.
fn payloads(harness: &mut Harness, client: Client) -> Vec<(String, u16)> {
    let payload = |packet: ServerPacket| {
        let ServerPacket::Publish(publish) = packet else { return None };
        let number = publish.packet_id.map(|id| id.number())?;
        Some((String::from_utf8_lossy(&publish.message.payload).into_owned(), number))
    };
    harness.packets(client).into_iter().filter_map(payload).collect()
}

/// Takes the only message that the client got, and returns its Packet Identifier.
fn expect(harness: &mut Harness, client: Client, payload: &str) -> u16 {
    let packets = payloads(harness, client);
    let [(found, number)] = &packets[..] else { panic!("{payload}: {packets:?}") };
    assert_eq!(found, payload);
    *number
}

/// A subscriber with this window to `a`, and a publisher.
fn subscribed(harness: &mut Harness, receive_maximum: u16) -> (Client, Client) {
    let subscriber = harness.connect(window(receive_maximum));
    harness.run(subscriber, [subscribe("a", Q2)]);
    (subscriber, harness.connect(transient("p")))
}

#[test]
fn a_message_that_was_refused_before_an_earlier_one_comes_after_it() {
    for lost in [false, true] {
        let mut harness = Harness::with(1, ordered());
        let (mut subscriber, publisher) = subscribed(&mut harness, 2);
        let own = MessageProperties::from_properties([user_property("delivery-attempt", "2")]);
        let second = ClientPacket::Publish(message("a", "2", Q1, 2).with_properties(own));
        harness.run(publisher, [publish("a", "1", Q1, 1), second]);
        harness.packets(subscriber);
        send(&mut harness, subscriber, [refuse_q1(2)]);
        harness.seconds(1);
        send(&mut harness, subscriber, [refuse_q1(1)]);
        harness.advance(Duration::from_millis(1_500));
        assert_eq!(payloads(&mut harness, subscriber), [], "2 is due and waits behind 1");
        if lost {
            harness.restart(ordered());
            subscriber = harness.connect(window(2));
        }
        harness.seconds(1);
        let number = expect(&mut harness, subscriber, "1");
        send(&mut harness, subscriber, [puback(number)]);
        harness.seconds(1);
        let packets = harness.packets(subscriber);
        let [ServerPacket::Publish(second)] = &packets[..] else { panic!("{packets:?}") };
        assert_eq!(second.message.payload, "2");
        let attempt = user_property("delivery-attempt", "2");
        assert_eq!(
            second.message.properties.iter().collect::<Vec<_>>(),
            [attempt.clone(), attempt],
            "the broker's is one"
        );
        let number = second.packet_id.unwrap().number();
        send(&mut harness, subscriber, [puback(number)]);
        assert_eq!(harness.shards[0].counters().queued_messages, 0);
    }
}

#[test]
fn a_message_behind_one_that_only_waits_to_be_sent_is_sent_after_it() {
    let mut harness = Harness::with(1, ordered());
    let (subscriber, publisher) = subscribed(&mut harness, 1);
    harness.run(publisher, [publish("a", "1", Q1, 1), publish("a", "2", Q1, 2)]);
    harness.packets(subscriber);
    send(&mut harness, subscriber, [refuse_q1(1)]);
    harness.seconds(3);
    let number = expect(&mut harness, subscriber, "1");
    harness.run(publisher, [publish("a", "3", Q1, 3)]);
    send(&mut harness, subscriber, [puback(number)]);
    harness.seconds(1);
    for payload in ["2", "3"] {
        let number = expect(&mut harness, subscriber, payload);
        send(&mut harness, subscriber, [puback(number)]);
        harness.seconds(1);
    }
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
}

#[test]
fn a_recovered_message_that_the_client_has_received_holds_no_other_one_up() {
    let mut harness = Harness::with(1, ordered());
    let (subscriber, publisher) = subscribed(&mut harness, 1);
    harness.run(publisher, [publish("a", "1", Q1, 1), publish("a", "2", Q2, 2), pubrel(2)]);
    harness.packets(subscriber);
    send(&mut harness, subscriber, [refuse_q1(1)]);
    harness.seconds(3);
    let number = expect(&mut harness, subscriber, "1");
    send(&mut harness, subscriber, [puback(number)]);
    harness.seconds(1);
    let number = expect(&mut harness, subscriber, "2");
    send(&mut harness, subscriber, [pubrec(number)]);
    harness.restart(ordered());
    let subscriber = harness.connect(window(2));
    harness.packets(subscriber);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("a", "3", Q1, 3)]);
    let records = harness.records.len();
    harness.seconds(1);
    expect(&mut harness, subscriber, "3");
    assert_eq!(harness.records.len(), records);
}

#[test]
fn a_reload_that_ends_the_order_lets_messages_go_that_wait() {
    let mut harness = Harness::with(1, ordered());
    let (subscriber, publisher) = subscribed(&mut harness, 1);
    harness.run(publisher, [publish("a", "1", Q1, 1), publish("a", "2", Q1, 2)]);
    harness.packets(subscriber);
    send(&mut harness, subscriber, [refuse_q1(1)]);
    harness.event(0, Event::SettingsChanged(Arc::new(stored())));
    harness.seconds(3);
    let number = expect(&mut harness, subscriber, "1");
    send(&mut harness, subscriber, [refuse_q1(number)]);
    harness.seconds(1);
    let number = expect(&mut harness, subscriber, "2");
    send(&mut harness, subscriber, [puback(number)]);
    harness.seconds(4);
    let number = expect(&mut harness, subscriber, "1");
    send(&mut harness, subscriber, [puback(number)]);
    assert_eq!(harness.shards[0].counters().queued_messages, 0);
}

#[test]
fn messages_that_are_due_wait_while_the_disk_is_full() {
    let mut harness = Harness::with(1, stored());
    let (subscriber, publisher, _) = clients(&mut harness, "t");
    harness.run(publisher, [publish("t", "m", Q1, 1)]);
    harness.packets(subscriber);
    send(&mut harness, subscriber, [refuse_q1(1)]);
    harness.event(0, Event::StoreRoom(StoreRoom::None));
    let records = harness.records.len();
    harness.seconds(10);
    assert_eq!(payloads(&mut harness, subscriber), []);
    assert_eq!(harness.records.len(), records);
    harness.event(0, Event::StoreRoom(StoreRoom::Some));
    harness.seconds(2);
    expect(&mut harness, subscriber, "m");
}

#[test]
fn the_number_of_a_dead_letter_is_never_used_again() {
    let limited = || {
        let mut settings = Settings { redelivery: RedeliveryRules::new([rule("#", 1, false)]), ..stored() };
        settings.dead_letter_limits.age_max = Duration::from_secs(5);
        settings
    };
    let mut harness = Harness::with(1, limited());
    let (mut subscriber, mut publisher, _) = clients(&mut harness, "t");
    for round in 1..=4 {
        harness.run(publisher, [publish("t", "m", Q1, round), publish("t", "n", Q1, round + 10)]);
        for (_, number) in payloads(&mut harness, subscriber) {
            send(&mut harness, subscriber, [refuse_q1(number)]);
        }
        harness.seconds(20); // they are discarded
        harness.restart(limited());
        assert_eq!(harness.shards[0].shared.dead_letters_len().0, 0);
        subscriber = harness.connect(durable("s"));
        publisher = harness.connect(transient("p"));
    }
    let number = |record: &Record| {
        let Record::DeadLetterKept { letter, .. } = record else { return None };
        Some(letter.number)
    };
    let numbers: Vec<u64> = harness.records.iter().filter_map(number).collect();
    assert_eq!(numbers.len(), 8);
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
}

#[derive(Debug, Clone)]
enum Step {
    /// A message of this topic.
    Publish(usize, Qos),
    /// The client refuses one of those that it has not answered.
    Refuse(usize),
    /// It accepts one.
    Accept(usize),
    /// It answers a PUBREL.
    Complete,
    /// Milliseconds pass.
    Wait(u64),
    /// The broker is killed and starts again.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..2_usize, prop_oneof![Just(Q1), Just(Q2)]).prop_map(|(topic, qos)| Step::Publish(topic, qos)),
        4 => (0..3_usize).prop_map(Step::Refuse),
        4 => (0..3_usize).prop_map(Step::Accept),
        2 => Just(Step::Complete),
        4 => (1..3_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Crash),
    ]
}

/// What became of a message.
#[derive(Debug, Default, Clone, Copy)]
struct Fate {
    topic: usize,
    is_sent: bool,
    is_refused: bool,
    accepted: usize,
}

/// A subscriber that refuses messages at random, and what it has seen.
struct World {
    harness: Harness,
    receive_maximum: u16,
    subscriber: Client,
    publisher: Client,
    messages: Vec<Fate>,
    /// The messages that are not answered by Packet Identifier, in the order of arrival.
    open: Vec<(u16, usize, Qos)>,
    /// The Packet Identifiers of PUBRELs that are not answered.
    released: Vec<u16>,
    refusals: usize,
}

impl World {
    fn settings() -> Settings {
        Settings { redelivery: RedeliveryRules::new([rule("#", 10_000, true)]), ..ordered() }
    }

    fn new(receive_maximum: u16) -> Self {
        let mut harness = Harness::with(1, Self::settings());
        let subscriber = harness.connect(window(receive_maximum));
        harness.run(subscriber, [subscribe("+", Q2)]);
        let publisher = harness.connect(transient("p"));
        let (messages, open, released) = Default::default();
        Self { harness, receive_maximum, subscriber, publisher, messages, open, released, refusals: 0 }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Publish(name, qos) => {
                let payload = self.messages.len().to_string();
                self.messages.push(Fate { topic: name, ..Fate::default() });
                let number = u16::try_from(self.messages.len()).unwrap();
                let new = Publish::new(topic(["a", "b"][name]), payload);
                let packet = Publish { qos, packet_id: Some(id(number)), ..new };
                self.harness.run(self.publisher, [ClientPacket::Publish(packet)]);
                if qos == Q2 {
                    self.harness.run(self.publisher, [pubrel(number)]);
                }
            }
            Step::Refuse(place) if place < self.open.len() => {
                let (number, message, qos) = self.open.remove(place);
                self.messages[message].is_refused = true;
                self.refusals += 1;
                let refuse = if qos == Q1 { refuse_q1 } else { refuse_q2 };
                self.harness.send(self.subscriber, refuse(number));
            }
            Step::Accept(place) if place < self.open.len() => {
                let (number, message, qos) = self.open.remove(place);
                self.messages[message].accepted += 1;
                let accept = if qos == Q1 { puback } else { pubrec };
                self.harness.send(self.subscriber, accept(number));
            }
            Step::Complete if !self.released.is_empty() => {
                let number = self.released.remove(0);
                self.harness.send(self.subscriber, pubcomp(number));
            }
            Step::Refuse(_) | Step::Accept(_) | Step::Complete => {}
            Step::Wait(millis) => self.harness.advance(Duration::from_millis(millis)),
            Step::Crash => {
                self.harness.restart(Self::settings());
                (self.open, self.released) = Default::default();
                self.subscriber = self.harness.connect(window(self.receive_maximum));
                self.publisher = self.harness.connect(transient("p"));
                self.refusals += 1;
            }
        }
        self.receive();
        // Nothing is written again and again.
        let parkings = (self.messages.len() + 1) * (self.refusals + 1);
        assert!(self.harness.records.len() < 50 + 10 * parkings, "{} records", self.harness.records.len());
    }

    fn receive(&mut self) {
        for packet in self.harness.packets(self.subscriber) {
            if let ServerPacket::Pubrel(ack) = &packet {
                self.released.push(ack.packet_id.number());
            }
            let ServerPacket::Publish(publish) = packet else { continue };
            let message: usize = std::str::from_utf8(&publish.message.payload).unwrap().parse().unwrap();
            let fate = self.messages[message];
            if !publish.dup {
                let earlier = self.messages[..message].iter().filter(|other| other.topic == fate.topic);
                for other in earlier {
                    assert!(other.accepted > 0 || !other.is_refused, "{message} came before a refused one");
                    assert!(other.is_sent, "{message} came before one that was not sent");
                }
            }
            assert_eq!(fate.accepted, 0, "{message} came again");
            self.messages[message].is_sent = true;
            self.open.push((publish.packet_id.unwrap().number(), message, publish.qos));
        }
    }

    fn finish(mut self) {
        for _ in 0..40 + self.messages.len() * 3 {
            for _ in 0..self.open.len() {
                self.take(Step::Accept(0));
            }
            for _ in 0..self.released.len() {
                self.take(Step::Complete);
            }
            self.take(Step::Wait(1_000));
        }
        let accepted: BTreeMap<usize, usize> =
            self.messages.iter().map(|fate| fate.accepted).enumerate().filter(|(_, accepted)| *accepted != 1).collect();
        assert_eq!(accepted, BTreeMap::new(), "each message is accepted once");
        assert_eq!(self.harness.shards[0].counters().queued_messages, 0);
        self.take(Step::Crash);
        self.take(Step::Wait(10_000));
        assert_eq!(self.harness.shards[0].counters().queued_messages, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_refusals_leave_each_message_delivered_once_and_in_order(
        receive_maximum in 1..=3_u16,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(receive_maximum);
        for step in steps {
            world.take(step);
        }
        world.finish();
    }
}
