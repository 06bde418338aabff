use super::*;
use crate::codec::{Ack, ClientPacket, Matched, ReasonCode, ServerPacket};

pub(super) fn sent(actions: &[Action]) -> Vec<u16> {
    let number = |action: &Action| {
        let Action::Send(ServerPacket::Publish(publish)) = action else { return None };
        publish.packet_id.map(PacketId::number)
    };
    actions.iter().filter_map(number).collect()
}

fn open(first_sequence: u64, send_maximum: u16) -> Session {
    let mut session = Session::new(limits(), first_sequence);
    handle(&mut session, connected(send_maximum, None));
    handle(&mut session, Event::Room(1_000_000));
    session
}

pub(super) fn puback(number: u16) -> Event {
    Event::Packet(ClientPacket::Puback(Ack::new(id(number), ReasonCode::Success)))
}

#[test]
fn packet_identifier_is_a_function_of_the_sequence() {
    for (sequence, number) in [(1, 1), (65_535, 65_535), (65_536, 1), (131_071, 1), (131_070, 65_535)] {
        let mut session = open(sequence, 10);
        let actions = handle(&mut session, Event::Deliver(sequence, delivery(Qos::AtLeastOnce)));
        assert_eq!(sent(&actions), [number]);
    }
}

#[test]
fn messages_that_arrive_out_of_order_are_sent_in_order() {
    let mut session = open(1, 10);
    assert_eq!(sent(&handle(&mut session, Event::Deliver(3, delivery(Qos::AtLeastOnce)))), [0; 0]);
    assert_eq!(sent(&handle(&mut session, Event::Deliver(2, delivery(Qos::AtLeastOnce)))), [0; 0]);
    assert_eq!(sent(&handle(&mut session, Event::Deliver(1, delivery(Qos::AtLeastOnce)))), [1, 2, 3]);
}

#[test]
fn a_sequence_is_not_used_twice() {
    let mut session = open(1, 10);
    handle(&mut session, Event::Deliver(1, delivery(Qos::AtLeastOnce)));
    assert_eq!(handle(&mut session, Event::Deliver(1, delivery(Qos::AtLeastOnce))), []);
}

#[test]
fn messages_wait_for_space_in_the_transport() {
    let mut session = Session::new(limits(), 1);
    handle(&mut session, connected(10, None));
    assert_eq!(sent(&handle(&mut session, Event::Deliver(1, delivery(Qos::AtLeastOnce)))), [0; 0]);
    handle(&mut session, Event::Deliver(2, delivery(Qos::AtLeastOnce)));
    assert_eq!(sent(&handle(&mut session, Event::Room(1))), [1]);
    assert_eq!(sent(&handle(&mut session, Event::Room(1))), [2]);
}

#[test]
fn mqtt5_2_2_1_4_identifiers_in_flight_are_unique_even_if_the_oldest_stays_unacknowledged() {
    let mut session = Session::new(Arc::new(Limits { queued_messages_max: 100_000, ..(*limits()).clone() }), 1);
    handle(&mut session, connected(65_535, None));
    handle(&mut session, Event::Room(usize::MAX));
    let mut numbers = Vec::new();
    for sequence in 1..=65_600_u64 {
        let actions = handle(&mut session, Event::Deliver(sequence, delivery(Qos::AtLeastOnce)));
        for number in sent(&actions) {
            numbers.push(number);
            if number > 1 {
                handle(&mut session, puback(number));
            }
        }
    }
    assert_eq!(numbers.len(), 65_535, "the next identifier is still in use");
    assert_eq!(sent(&handle(&mut session, puback(1)))[0], 1);
}

#[test]
fn no_packet_is_sent_before_connack() {
    let mut session = Session::new(limits(), 1);
    assert_eq!(handle(&mut session, connected(10, Some(Ticket(4)))), []);
    handle(&mut session, Event::Room(1_000));
    assert_eq!(handle(&mut session, Event::Deliver(1, delivery(Qos::AtLeastOnce))), []);
    assert_eq!(handle(&mut session, Event::Persisted(Ticket(3))), []);
    let actions = handle(&mut session, Event::Persisted(Ticket(4)));
    assert!(matches!(actions[0], Action::Send(ServerPacket::Connack(_))));
    assert_eq!(sent(&actions), [1]);
}

#[test]
fn leftovers_are_the_messages_that_may_move_to_another_member() {
    let filter = Arc::new(crate::topic::Filter::new("$share/g/t".into()).unwrap());
    let shared =
        |qos| Delivery { matched: Matched::new(Default::default(), Some(Arc::clone(&filter))), ..delivery(qos) };
    let mut session = open(1, 2);
    handle(&mut session, Event::Deliver(1, shared(Qos::AtLeastOnce)));
    handle(&mut session, Event::Deliver(2, shared(Qos::ExactlyOnce)));
    handle(&mut session, Event::Deliver(3, shared(Qos::ExactlyOnce)));
    handle(&mut session, Event::Deliver(4, delivery(Qos::AtLeastOnce)));
    handle(&mut session, Event::Deliver(6, shared(Qos::AtLeastOnce)));
    let left: Vec<Qos> = session.into_share_messages().map(|(_, delivery)| delivery.qos).collect();
    assert_eq!(left, [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::AtLeastOnce], "1 unacknowledged, 3 never sent, 6 early");
}

#[test]
fn a_message_of_a_group_that_came_early_is_not_sent_on_the_next_connection() {
    let of_group = || Delivery { place: DeliveryPlace::Group, ..delivery(Qos::AtLeastOnce) };
    let mut session = open(1, 10);
    // The first one is still on its way, and the third one is not of the group.
    assert_eq!(sent(&handle(&mut session, Event::Deliver(2, of_group()))), [0; 0]);
    assert_eq!(sent(&handle(&mut session, Event::Deliver(3, delivery(Qos::AtLeastOnce)))), [0; 0]);
    handle(&mut session, Event::Disconnected);
    handle(&mut session, connected(10, None));
    handle(&mut session, Event::Room(1_000_000));
    assert_eq!(sent(&handle(&mut session, Event::Deliver(1, delivery(Qos::AtLeastOnce)))), [1, 3]);
    assert_eq!(sent(&handle(&mut session, Event::Deliver(4, of_group()))), [4]);
}

#[test]
fn full_queue_drops_messages_that_were_never_sent_and_retransmits_others() {
    let mut session = open(1, 10);
    for sequence in 1..=4 {
        handle(&mut session, Event::Deliver(sequence, delivery(Qos::AtLeastOnce)));
    }
    handle(&mut session, Event::Disconnected);
    handle(&mut session, connected(1, None));
    assert_eq!(sent(&handle(&mut session, Event::Room(1_000_000))), [1]);
    for sequence in 5..=10 {
        handle(&mut session, Event::Deliver(sequence, delivery(Qos::AtLeastOnce)));
    }
    assert_eq!(session.queued().0, 8, "5 and 6 are dropped");
    for (acknowledged, next) in [(1, 2), (2, 3), (3, 4), (4, 7)] {
        assert_eq!(sent(&handle(&mut session, puback(acknowledged))), [next]);
    }
}

fn open_with(inflight_bytes_max: usize) -> Session {
    let mut session = Session::new(Arc::new(Limits { inflight_bytes_max, ..(*limits()).clone() }), 1);
    handle(&mut session, connected(10, None));
    handle(&mut session, Event::Room(1_000_000));
    session
}

fn deliver(session: &mut Session, sequences: std::ops::RangeInclusive<u64>, qos: Qos) -> Vec<u16> {
    sequences.flat_map(|sequence| sent(&handle(session, Event::Deliver(sequence, delivery(qos))))).collect()
}

/// Each message has a byte of topic and a byte of payload.
#[test]
fn messages_are_sent_until_their_bytes_reach_the_limit_and_again_after_an_acknowledgement() {
    let mut session = open_with(3);
    assert_eq!(deliver(&mut session, 1..=4, Qos::AtLeastOnce), [1, 2]);
    assert_eq!(sent(&handle(&mut session, puback(1))), [3]);
    assert_eq!(sent(&handle(&mut session, puback(3))), [4]);
    session.check_head();
}

#[test]
fn a_message_above_the_limit_of_bytes_is_sent_alone() {
    let mut session = open_with(1);
    assert_eq!(deliver(&mut session, 1..=2, Qos::AtLeastOnce), [1]);
    assert_eq!(sent(&handle(&mut session, puback(1))), [2]);
}

#[test]
fn bytes_that_the_client_has_do_not_count_and_those_sent_again_count_once() {
    let mut session = open_with(3);
    assert_eq!(deliver(&mut session, 1..=4, Qos::ExactlyOnce), [1, 2]);
    let pubrec = Event::Packet(ClientPacket::Pubrec(Ack::new(id(1), ReasonCode::Success)));
    assert_eq!(sent(&handle(&mut session, pubrec)), [3]);
    handle(&mut session, Event::Disconnected);
    handle(&mut session, connected(10, None));
    assert_eq!(sent(&handle(&mut session, Event::Room(1_000_000))), [2, 3]);
    session.check_head();
}

#[test]
fn a_raised_limit_of_bytes_applies_at_once() {
    let mut session = open_with(1);
    assert_eq!(deliver(&mut session, 1..=3, Qos::AtLeastOnce), [1]);
    assert_eq!(sent(&handle(&mut session, Event::LimitsChanged(limits()))), [2, 3]);
}
