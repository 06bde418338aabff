use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::bridge::{Rule, Rules};
use crate::codec::{MessageProperties, MessageProperty, ProtocolVersion};
use crate::topic::{TopicFilter, TopicName};

fn terms() -> Terms {
    Terms {
        version: ProtocolVersion::V5,
        maximum_qos: Qos::ExactlyOnce,
        retain_available: true,
        maximum_packet_size: None,
        there_id: None,
        here_id: None,
        receive_maximum: std::num::NonZeroU16::new(4).unwrap(),
        maximum_packet_size_here: None,
        maximum_qos_here: Qos::ExactlyOnce,
        retain_available_here: true,
        adds_dedup_id: false,
    }
}

fn rules(filter: &str) -> Rules {
    let filter = TopicFilter::new(filter.to_owned().into()).unwrap();
    let (from_prefix, to_prefix) = (String::new(), String::new());
    Rules(vec![Rule { filter, from_prefix, to_prefix, qos: Qos::ExactlyOnce, keeps_retain: true }])
}

fn relay(terms: Terms) -> Relay {
    Relay::new(terms, (rules("#"), rules("#")), Counts::default())
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// As a broker sends it.
fn publish(topic: &str, payload: impl Into<bytes::Bytes>, qos: Qos, number: u16) -> OutgoingPublish {
    let publish = Publish::new(TopicName::try_from(topic).unwrap(), payload);
    OutgoingPublish {
        message: publish.message,
        dup: false,
        qos,
        retain: false,
        packet_id: (qos > Qos::AtMostOnce).then(|| id(number)),
        topic_alias: None,
        message_expiry_interval: None,
        matched: None,
        message_id: false,
        topic_start: 0,
    }
}

fn with_property(mut publish: OutgoingPublish, name: &'static str, value: &str) -> OutgoingPublish {
    let property = MessageProperty::UserProperty(name.into(), value.into());
    Arc::make_mut(&mut publish.message).properties = MessageProperties::from_properties([property]);
    publish
}

fn here(relay: &mut Relay, packet: ServerPacket) -> Sends {
    let mut sends = Vec::new();
    relay.on_here(packet, Congestion::None, &mut sends).unwrap();
    sends
}

fn there(relay: &mut Relay, packet: ServerPacket) -> Sends {
    let mut sends = Vec::new();
    relay.on_there(packet, &mut sends).unwrap();
    sends
}

fn only_publish(sends: Sends) -> Publish {
    match <[_; 1]>::try_from(sends) {
        Ok([(_, ClientPacket::Publish(publish))]) => publish,
        other => panic!("{other:?}"),
    }
}

#[test]
fn retain_is_cleared_and_qos_lowered_where_the_other_broker_has_neither() {
    let mut relay = relay(Terms { maximum_qos: Qos::AtLeastOnce, retain_available: false, ..terms() });
    let message = OutgoingPublish { retain: true, ..publish("a", "x", Qos::ExactlyOnce, 7) };
    let sent = only_publish(here(&mut relay, ServerPacket::Publish(message)));
    assert_eq!((sent.qos, sent.retain, sent.packet_id), (Qos::AtLeastOnce, false, Some(id(7))));
    let sends = there(&mut relay, ServerPacket::Puback(success(id(7))));
    assert_eq!(sends, [(Side::Here, ClientPacket::Pubrec(success(id(7))))]);
    let sends = here(&mut relay, ServerPacket::Pubrel(success(id(7))));
    assert_eq!(sends, [(Side::Here, ClientPacket::Pubcomp(success(id(7))))]);
    let mut relay = self::relay(Terms { maximum_qos: Qos::AtMostOnce, ..terms() });
    let sends = here(&mut relay, ServerPacket::Publish(publish("a", "x", Qos::AtLeastOnce, 8)));
    assert!(matches!(&sends[0], (Side::There, ClientPacket::Publish(sent)) if sent.packet_id.is_none()), "{sends:?}");
    assert_eq!(sends[1], (Side::Here, ClientPacket::Puback(success(id(8)))));
}

#[test]
fn a_message_that_comes_again_after_maximum_qos_was_lowered_here_is_sent_only_if_this_broker_does_not_have_it() {
    for maximum in [Qos::AtLeastOnce, Qos::AtMostOnce] {
        let mut relay = relay(Terms { maximum_qos_here: maximum, ..terms() });
        for number in [7, 8] {
            let again = OutgoingPublish { dup: true, ..publish("a", "x", Qos::ExactlyOnce, number) };
            let asked = [(Side::Here, ClientPacket::Pubrel(success(id(number))))];
            assert_eq!(there(&mut relay, ServerPacket::Publish(again)), asked);
        }
        let received = here(&mut relay, ServerPacket::Pubcomp(success(id(7))));
        assert_eq!(received, [(Side::There, ClientPacket::Pubrec(success(id(7))))]);
        let completed = there(&mut relay, ServerPacket::Pubrel(success(id(7))));
        assert_eq!(completed, [(Side::There, ClientPacket::Pubcomp(success(id(7))))]);
        let unknown = Ack::new(id(8), ReasonCode::PacketIdentifierNotFound);
        let sends = here(&mut relay, ServerPacket::Pubcomp(unknown));
        assert!(matches!(&sends[0], (Side::Here, ClientPacket::Publish(sent)) if sent.qos == maximum), "{sends:?}");
        let sends = if maximum == Qos::AtMostOnce {
            sends[1..].to_vec()
        } else {
            here(&mut relay, ServerPacket::Puback(success(id(8))))
        };
        assert_eq!(sends, [(Side::There, ClientPacket::Pubrec(success(id(8))))]);
    }
}

#[test]
fn a_message_that_is_too_large_to_be_read_is_acknowledged_and_counted() {
    let mut relay = relay(Terms { version: ProtocolVersion::V3_1_1, ..terms() });
    for (qos, answer) in [
        (Qos::AtMostOnce, None),
        (Qos::AtLeastOnce, Some(ClientPacket::Puback(success(id(7))))),
        (Qos::ExactlyOnce, Some(ClientPacket::Pubrec(success(id(7))))),
    ] {
        let mut sends = Vec::new();
        relay.on_too_large(&publish("a", "", qos, 7), 1_000, &mut sends);
        let answers: Vec<_> = answer.into_iter().map(|answer| (Side::There, answer)).collect();
        assert_eq!(sends, answers);
    }
    let sends = there(&mut relay, ServerPacket::Pubrel(success(id(7))));
    assert_eq!(sends, [(Side::There, ClientPacket::Pubcomp(success(id(7))))]);
    assert_eq!(relay.counts().dropped[Dropped::TooLarge as usize], 3);
    assert!(relay.take_refusal().unwrap().reason.unwrap().contains("1000 bytes to a"));
}

#[test]
fn retain_is_cleared_and_qos_lowered_where_this_broker_has_neither() {
    let mut relay = relay(Terms { maximum_qos_here: Qos::AtLeastOnce, retain_available_here: false, ..terms() });
    let message = OutgoingPublish { retain: true, ..publish("a", "x", Qos::ExactlyOnce, 7) };
    let sent = only_publish(there(&mut relay, ServerPacket::Publish(message)));
    assert_eq!((sent.qos, sent.retain, sent.packet_id), (Qos::AtLeastOnce, false, Some(id(7))));
    let sends = here(&mut relay, ServerPacket::Puback(success(id(7))));
    assert_eq!(sends, [(Side::There, ClientPacket::Pubrec(success(id(7))))]);
    let sends = there(&mut relay, ServerPacket::Pubrel(success(id(7))));
    assert_eq!(sends, [(Side::There, ClientPacket::Pubcomp(success(id(7))))]);
    let mut relay = self::relay(Terms { maximum_qos_here: Qos::AtMostOnce, ..terms() });
    for (qos, answer) in [
        (Qos::AtLeastOnce, ClientPacket::Puback(success(id(8)))),
        (Qos::ExactlyOnce, ClientPacket::Pubrec(success(id(8)))),
    ] {
        let sends = there(&mut relay, ServerPacket::Publish(publish("a", "x", qos, 8)));
        assert!(
            matches!(&sends[0], (Side::Here, ClientPacket::Publish(sent)) if sent.packet_id.is_none()),
            "{sends:?}"
        );
        assert_eq!(sends[1..], [(Side::There, answer)]);
    }
    let sends = there(&mut relay, ServerPacket::Pubrel(success(id(8))));
    assert_eq!(sends, [(Side::There, ClientPacket::Pubcomp(success(id(8))))]);
}

#[test]
fn what_does_not_pass_is_acknowledged_and_counted_by_reason() {
    let terms =
        Terms { maximum_packet_size: Some(100), here_id: Some("me".into()), there_id: Some("you".into()), ..terms() };
    let mut relay = Relay::new(terms, (rules("a/#"), rules("a/#")), Counts::default());
    let unmapped = publish("b", "", Qos::ExactlyOnce, 1);
    assert_eq!(here(&mut relay, ServerPacket::Publish(unmapped)), [(Side::Here, ClientPacket::Pubrec(success(id(1))))]);
    let sends = here(&mut relay, ServerPacket::Pubrel(success(id(1))));
    assert_eq!(sends, [(Side::Here, ClientPacket::Pubcomp(success(id(1))))]);
    let looped = with_property(publish("a", "", Qos::AtLeastOnce, 2), "bridge-via", "you");
    assert_eq!(here(&mut relay, ServerPacket::Publish(looped)), [(Side::Here, ClientPacket::Puback(success(id(2))))]);
    let large = publish("a", vec![0; 100], Qos::AtLeastOnce, 3);
    let refused = Ack::new(id(3), ReasonCode::ImplementationSpecificError);
    assert_eq!(here(&mut relay, ServerPacket::Publish(large)), [(Side::Here, ClientPacket::Puback(refused))]);
    let mut sends = Vec::new();
    let transient = || ServerPacket::Publish(publish("a", "", Qos::AtMostOnce, 1));
    relay.on_here(transient(), Congestion::Congested, &mut sends).unwrap();
    assert_eq!(sends, []);
    assert_eq!(relay.counts().dropped, [1, 1, 1, 1]);
    let looped = with_property(publish("a", "", Qos::ExactlyOnce, 4), "bridge-via", "x,me");
    assert_eq!(there(&mut relay, ServerPacket::Publish(looped)), [(Side::There, ClientPacket::Pubrec(success(id(4))))]);
    let sends = there(&mut relay, ServerPacket::Pubrel(success(id(4))));
    assert_eq!(sends, [(Side::There, ClientPacket::Pubcomp(success(id(4))))]);
    assert_eq!(relay.counts().dropped, [1, 2, 1, 1]);
}

#[test]
fn the_largest_packet_that_the_other_broker_takes_passes() {
    let of = |maximum: u32, payload: usize| {
        let mut relay = relay(Terms { maximum_packet_size: Some(maximum), ..terms() });
        here(&mut relay, ServerPacket::Publish(publish("a", vec![0; payload], Qos::AtLeastOnce, 1))).remove(0).0
    };
    // Fixed header 2, topic 3, identifier 2, property length 1.
    assert_eq!((of(100, 92), of(100, 93)), (Side::There, Side::Here));
}

#[test]
fn a_message_too_large_for_this_broker_is_acknowledged_and_the_next_one_passes() {
    for (version, code) in
        [(ProtocolVersion::V5, ReasonCode::ImplementationSpecificError), (ProtocolVersion::V3_1_1, ReasonCode::Success)]
    {
        let mut relay = relay(Terms { version, maximum_packet_size_here: Some(100), ..terms() });
        let large = |qos, number| ServerPacket::Publish(publish("a", vec![0; 95], qos, number));
        let refused = Ack::new(id(1), code);
        let sends = there(&mut relay, large(Qos::AtLeastOnce, 1));
        assert_eq!(sends, [(Side::There, ClientPacket::Puback(refused.clone()))]);
        let sends = there(&mut relay, large(Qos::ExactlyOnce, 1));
        assert_eq!(sends, [(Side::There, ClientPacket::Pubrec(refused))]);
        if version == ProtocolVersion::V3_1_1 {
            let sends = there(&mut relay, ServerPacket::Pubrel(success(id(1))));
            assert_eq!(sends, [(Side::There, ClientPacket::Pubcomp(success(id(1))))]);
        }
        assert_eq!(there(&mut relay, large(Qos::AtMostOnce, 1)), []);
        assert_eq!((relay.counts().dropped, relay.counts().messages_in), ([0, 0, 3, 0], 0));
        let fitting = publish("a", vec![0; 92], Qos::ExactlyOnce, 1);
        assert_eq!(only_publish(there(&mut relay, ServerPacket::Publish(fitting))).packet_id, Some(id(1)));
    }
}

#[test]
fn a_dedup_id_of_a_publisher_does_not_pass_and_that_of_the_bridge_is_the_same_at_each_repeat() {
    let mut relay = relay(Terms { adds_dedup_id: true, ..terms() });
    let message = with_property(publish("a", "", Qos::AtLeastOnce, 1), "message-id", "run-7");
    let first = only_publish(here(&mut relay, ServerPacket::Publish(message.clone())));
    let again = only_publish(here(&mut relay, ServerPacket::Publish(OutgoingPublish { dup: true, ..message })));
    let expected = [MessageProperty::UserProperty("dedup-id".into(), "run-7".into())];
    for sent in [first, again] {
        assert_eq!(sent.message.properties.iter().collect::<Vec<_>>(), expected);
    }
    let foreign = with_property(publish("a", "", Qos::AtLeastOnce, 2), "dedup-id", "7");
    assert!(only_publish(there(&mut relay, ServerPacket::Publish(foreign))).message.properties.is_empty());
}

#[test]
fn mqtt5_3_3_4_7_no_more_than_the_receive_maximum_is_sent_and_pubrel_passes_what_is_held() {
    let mut relay = relay(terms());
    let mut sent = 0;
    for number in 1..=9 {
        sent += there(&mut relay, ServerPacket::Publish(publish("a", "", Qos::ExactlyOnce, number))).len();
    }
    assert_eq!(sent, 4);
    here(&mut relay, ServerPacket::Pubrec(success(id(1))));
    let sends = there(&mut relay, ServerPacket::Pubrel(success(id(1))));
    assert_eq!(sends, [(Side::Here, ClientPacket::Pubrel(success(id(1))))]);
    let sends = here(&mut relay, ServerPacket::Pubcomp(success(id(1))));
    assert_eq!(sends.len(), 2);
    assert!(matches!(&sends[1], (Side::Here, ClientPacket::Publish(next)) if next.packet_id == Some(id(5))));
}

#[test]
fn a_refusal_passes_and_is_counted_but_want_of_room_ends_the_connections() {
    let mut relay = relay(terms());
    let denied = Ack::new(id(1), ReasonCode::NotAuthorized);
    assert_eq!(
        there(&mut relay, ServerPacket::Puback(denied.clone())),
        [(Side::Here, ClientPacket::Puback(denied.clone()))]
    );
    assert_eq!(here(&mut relay, ServerPacket::Pubrec(denied.clone())), [(Side::There, ClientPacket::Pubrec(denied))]);
    assert_eq!((relay.counts().refused_here, relay.counts().refused_there), (1, 1));
    assert_eq!(relay.take_refusal().map(|refusal| refusal.by), Some(Side::Here));
    assert_eq!(relay.take_refusal(), None);
    let full = || ServerPacket::Puback(Ack::new(id(1), ReasonCode::QuotaExceeded));
    assert_eq!(relay.on_there(full(), &mut Vec::new()), Err(Ended::NoRoom(Side::There)));
    assert_eq!(relay.on_here(full(), Congestion::None, &mut Vec::new()), Err(Ended::NoRoom(Side::Here)));
}

/// A broker with a durable Session for the bridge: it sends messages, and takes those of the bridge.
#[derive(Debug, Default)]
struct Broker {
    /// Messages that wait: their numbers are their Packet Identifiers and payloads.
    waiting: VecDeque<(u16, Qos)>,
    /// By number: whether it is released.
    in_flight: BTreeMap<u16, (Qos, bool)>,
    received: BTreeSet<u16>,
    delivered: Vec<(u16, Qos)>,
}

impl Broker {
    fn of(messages: &[Qos]) -> Self {
        Self { waiting: (1..).zip(messages.iter().copied()).collect(), ..Self::default() }
    }

    fn message(number: u16, qos: Qos, dup: bool) -> ServerPacket {
        ServerPacket::Publish(OutgoingPublish { dup, ..publish("a", number.to_string(), qos, number) })
    }

    /// What it sends when the bridge is back.
    fn resume(&self) -> VecDeque<ServerPacket> {
        let again = |(number, (qos, is_released)): (&u16, &(Qos, bool))| match is_released {
            true => ServerPacket::Pubrel(success(id(*number))),
            false => Self::message(*number, *qos, true),
        };
        self.in_flight.iter().map(again).collect()
    }

    /// Sends the next message, if the window allows it.
    fn send_next(&mut self, output: &mut VecDeque<ServerPacket>) {
        if self.in_flight.len() < 3
            && let Some((number, qos)) = self.waiting.pop_front()
        {
            if qos > Qos::AtMostOnce {
                self.in_flight.insert(number, (qos, false));
            }
            output.push_back(Self::message(number, qos, false));
        }
    }

    fn take(&mut self, packet: ClientPacket, output: &mut VecDeque<ServerPacket>) {
        match &packet {
            ClientPacket::Publish(publish) => {
                let number: u16 = std::str::from_utf8(&publish.message.payload).unwrap().parse().unwrap();
                let delivered = (number, publish.qos);
                match (publish.qos, publish.packet_id) {
                    (Qos::AtLeastOnce, Some(id)) => {
                        self.delivered.push(delivered);
                        output.push_back(ServerPacket::Puback(success(id)));
                    }
                    (Qos::ExactlyOnce, Some(id)) => {
                        if self.received.insert(id.number()) {
                            self.delivered.push(delivered);
                        }
                        output.push_back(ServerPacket::Pubrec(success(id)));
                    }
                    _ => self.delivered.push(delivered),
                }
            }
            ClientPacket::Pubrel(ack) => {
                let is_known = self.received.remove(&ack.packet_id.number());
                let code = if is_known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
                output.push_back(ServerPacket::Pubcomp(Ack::new(ack.packet_id, code)));
            }
            ClientPacket::Puback(ack) => {
                assert_eq!(self.in_flight.remove(&ack.packet_id.number()).map(|(qos, _)| qos), Some(Qos::AtLeastOnce));
            }
            ClientPacket::Pubrec(ack) => {
                let entry = self.in_flight.get_mut(&ack.packet_id.number());
                let code = if entry.is_some() { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
                if let Some(entry) = entry {
                    assert_eq!(entry.0, Qos::ExactlyOnce);
                    entry.1 = true;
                }
                output.push_back(ServerPacket::Pubrel(Ack::new(ack.packet_id, code)));
            }
            ClientPacket::Pubcomp(ack) => drop(self.in_flight.remove(&ack.packet_id.number())),
            ClientPacket::Connect(_)
            | ClientPacket::Subscribe(_)
            | ClientPacket::Unsubscribe(_)
            | ClientPacket::Pingreq
            | ClientPacket::Disconnect(_)
            | ClientPacket::Auth(_) => panic!("{packet:?}"),
        }
    }
}

/// Two brokers, and what is on its way between them and the bridge.
struct World {
    brokers: [Broker; 2],
    from: [VecDeque<ServerPacket>; 2],
    to: [VecDeque<ClientPacket>; 2],
    relay: Relay,
    terms: Terms,
}

impl World {
    fn new(messages: [&[Qos]; 2], terms: Terms) -> Self {
        let (from, to) = Default::default();
        Self { brokers: messages.map(Broker::of), from, to, relay: relay(terms.clone()), terms }
    }

    /// Makes one of eight steps, if it is possible.
    fn step(&mut self, choice: u8) {
        let side = usize::from(choice & 1);
        match choice >> 1 & 3 {
            0 => self.brokers[side].send_next(&mut self.from[side]),
            1 => {
                let Some(packet) = self.from[side].pop_front() else { return };
                let mut sends = Vec::new();
                match side {
                    0 => self.relay.on_here(packet, Congestion::None, &mut sends).unwrap(),
                    _ => self.relay.on_there(packet, &mut sends).unwrap(),
                }
                for (side, packet) in sends {
                    self.to[side as usize].push_back(packet);
                }
            }
            _ => {
                let Some(packet) = self.to[side].pop_front() else { return };
                self.brokers[side].take(packet, &mut self.from[side]);
            }
        }
    }

    /// Everything on its way is lost; both Sessions are resumed.
    fn lose(&mut self) {
        self.to = Default::default();
        self.from = self.brokers.each_ref().map(Broker::resume);
        self.relay = Relay::new(self.terms.clone(), (rules("#"), rules("#")), *self.relay.counts());
    }

    fn finish(&mut self) {
        for _ in 0..1_000 {
            (0..8).for_each(|choice| self.step(choice));
        }
        let is_idle = |broker: &Broker| broker.waiting.is_empty() && broker.in_flight.is_empty();
        assert!(self.brokers.iter().all(is_idle), "{:?}", self.brokers);
    }
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)]
}

/// In the order of their first arrival.
fn firsts(delivered: &[(u16, Qos)], qos: Qos) -> Vec<u16> {
    let mut seen = BTreeSet::new();
    delivered.iter().filter(|(number, of)| *of == qos && seen.insert(*number)).map(|(number, _)| *number).collect()
}

proptest! {
    /// Whatever is lost on the way, whenever both connections end.
    #[test]
    fn nothing_is_lost_nothing_of_qos_2_comes_twice_and_the_order_stays(
        messages in prop::array::uniform2(prop::collection::vec(qos(), 0..12)),
        steps in prop::collection::vec(0_u8..=255, 0..400),
        maximum in prop_oneof![Just(Qos::ExactlyOnce), Just(Qos::AtLeastOnce)],
    ) {
        let terms = Terms { maximum_qos: maximum, ..terms() };
        let mut world = World::new([&messages[0], &messages[1]], terms);
        for step in steps {
            // One step in sixteen ends the connections.
            if step >> 4 == 0 { world.lose() } else { world.step(step) }
        }
        world.finish();
        for (from, to) in [(0, 1), (1, 0)] {
            let highest = if to == 1 { maximum } else { Qos::ExactlyOnce };
            let delivered = &world.brokers[to].delivered;
            for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
                let expected: Vec<u16> =
                    (1..).zip(&messages[from]).filter(|(_, sent)| **sent > Qos::AtMostOnce && (**sent).min(highest) == qos).map(|(number, _)| number).collect();
                prop_assert_eq!(firsts(delivered, qos), expected);
            }
            for qos in [Qos::AtMostOnce, Qos::ExactlyOnce] {
                let all = delivered.iter().filter(|(_, of)| *of == qos).count();
                prop_assert_eq!(all, firsts(delivered, qos).len(), "doubled");
            }
        }
    }
}

proptest! {
    /// Whatever two brokers send, in any order.
    #[test]
    fn no_packets_cause_a_panic_and_each_is_answered_by_a_bounded_number(
        parts in prop::collection::vec((any::<bool>(), 0x30_u8..0xF0, prop::collection::vec(any::<u8>(), 0..40)), 0..60),
    ) {
        let mut relay = relay(Terms { here_id: Some("me".into()), adds_dedup_id: true, ..terms() });
        for (is_here, first_byte, body) in parts {
            let mut decoder = crate::codec::client::ServerDecoder::new(ProtocolVersion::V5, 1_000, 0);
            decoder.decode(&mut bytes::Bytes::from_static(&[0x20, 3, 0, 0, 0])).unwrap();
            let length = u8::try_from(body.len()).unwrap();
            let mut bytes = bytes::Bytes::from([&[first_byte, length][..], &body].concat());
            let Ok(Some(packet)) = decoder.decode(&mut bytes) else { continue };
            let held = relay.held.len();
            let mut sends = Vec::new();
            let ended = match is_here {
                true => relay.on_here(packet, Congestion::None, &mut sends),
                false => relay.on_there(packet, &mut sends),
            };
            prop_assert!(sends.len() <= 2 + held);
            prop_assert!(relay.in_flight.len() <= 4);
            if ended.is_err() {
                break;
            }
        }
    }
}
