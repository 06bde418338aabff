//! What becomes of QoS 1 and 2 messages, as operators see it.

use std::num::NonZeroU32;

use super::harness::{Harness, settings};
use super::operator::ask as ask_topics;
use super::packets::*;
use crate::broker::{
    AcceptedView, Answer, Event, HolderView, HoldersRequest, JourneyPart, JourneyRequest, MemoryLevel, OperatorMessage,
    PublisherView, Query, QueryId, QueueHead, QueueOverflow, QueuePlace, QueuedState, Settings, StableView, StepView,
    TopicAnswer, TopicQuery,
};
use crate::codec::{ClientPacket, Message, MessageId, ServerPacket};
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;

/// The message with this number of a shard.
fn message_of(shard: u64, number: u64) -> MessageId {
    MessageId { run: 0, number: shard << 48 | number }
}

fn ask(harness: &mut Harness, shard: usize, query: Query) -> Answer {
    harness.queries += 1;
    let id = QueryId(harness.queries);
    harness.event(shard, Event::Query(id, Box::new(query)));
    let (answered, answer) = harness.answers.last().cloned().unwrap();
    assert_eq!(answered, id);
    answer
}

/// All parts of the answers of all shards.
fn parts(harness: &mut Harness, id: MessageId, receivers: &[(SessionKey, u32)]) -> Vec<JourneyPart> {
    let mut parts = Vec::new();
    for shard in 0..harness.shards.len() {
        let mut from = Some(0);
        while let Some(at) = from {
            let request = JourneyRequest { id, receivers: receivers.to_vec(), from: at };
            let Answer::Journey(part) = ask(harness, shard, Query::Journey(Box::new(request))) else { panic!() };
            from = part.next;
            parts.push(*part);
        }
    }
    parts
}

fn accepted(harness: &mut Harness, id: MessageId) -> Option<AcceptedView> {
    parts(harness, id, &[]).into_iter().find_map(|part| part.accepted)
}

fn left_out(harness: &mut Harness, id: MessageId) -> u64 {
    parts(harness, id, &[]).iter().map(|part| part.left_out).sum()
}

fn steps(harness: &mut Harness, id: MessageId) -> Vec<StepView> {
    let mut steps: Vec<_> = parts(harness, id, &[]).into_iter().flat_map(|part| part.steps).collect();
    let receivers: Vec<_> = steps.iter().map(|step| (step.receiver, step.sequence)).collect();
    if !receivers.is_empty() {
        steps.extend(parts(harness, id, &receivers).into_iter().flat_map(|part| part.steps));
    }
    steps.sort_by_key(|step| step.at);
    steps
}

/// The steps of a message towards its receivers, with the seconds since the begin of the test.
fn lines(harness: &mut Harness, id: MessageId) -> Vec<String> {
    let show = |step: StepView| {
        let client = step.client_id.map_or("?".to_owned(), |client_id| client_id.as_str().to_owned());
        let reason = step.reason.map_or(String::new(), |reason| format!(" {}", reason.name()));
        let ended = if step.is_ended { " ended" } else { "" };
        let again = if step.step == crate::broker::JourneyStep::Resent { " again" } else { "" };
        format!("{} {}{again} {client}{reason}{ended}", (step.at.0 - 1_000_000) / 1_000, step.step.name())
    };
    steps(harness, id).into_iter().map(show).collect()
}

/// The queues that have a message, in parts, and the number of parts.
fn holders(harness: &mut Harness, id: MessageId) -> (Vec<HolderView>, usize) {
    let (mut holders, mut count) = (Vec::new(), 0);
    for shard in 0..harness.shards.len() {
        let mut from = Some(QueuePlace::default());
        while let Some(place) = from {
            let Answer::Holders(part) = ask(harness, shard, Query::Holders(HoldersRequest { id, from: place })) else {
                panic!()
            };
            holders.extend(part.holders);
            from = part.next;
            count += 1;
        }
    }
    (holders, count)
}

fn stored() -> Settings {
    let head = QueueHead { messages_max: 2, bytes_max: 100_000, away_share: 1 };
    Settings { queue_head: Some(head), ..settings() }
}

#[test]
fn a_qos_1_message_is_received_stable_sent_and_acknowledged() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("a/+", Q1)]);
    let away = harness.connect(durable("away"));
    harness.run(away, [subscribe("a/b", Q2)]);
    harness.lose(away);
    let publisher = harness.connect(transient("p"));
    harness.store_answers = false;
    harness.seconds(1);
    harness.run(publisher, [publish("a/b", "x", Q2, 1)]);
    let id = message_of(0, 1);
    let view = accepted(&mut harness, id).unwrap();
    assert_eq!((view.stable, view.matched, view.qos), (StableView::NotYet, 2, Q2));
    assert_eq!(lines(&mut harness, id), [""; 0]);
    harness.seconds(1);
    harness.persist();
    harness.store_answers = true;
    harness.seconds(1);
    assert_eq!(harness.received(subscriber), ["PUBLISH a/b x q1 #1"]);
    harness.run(subscriber, [puback(1), puback(1)]);
    let view = accepted(&mut harness, id).unwrap();
    assert_eq!(view.topic.as_deref(), Some("a/b"));
    assert_eq!(view.publisher, PublisherView::Client(Some("p".into())));
    assert_eq!((view.at, view.stable), (Timestamp(1_001_000), StableView::Since(Timestamp(1_002_000))));
    assert!(view.is_complete);
    assert_eq!(lines(&mut harness, id), ["2 sent s", "2 queued away", "3 acknowledged s"]);
    harness.seconds(1);
    let away = harness.connect(durable("away"));
    harness.lose(away);
    harness.seconds(1);
    let away = harness.connect(durable("away"));
    harness.run(away, [pubrec(1), pubcomp(1)]);
    let expected = ["4 sent away", "5 sent again away", "5 released away", "5 completed away"];
    assert_eq!(lines(&mut harness, id)[3..], expected);
    assert_eq!(accepted(&mut harness, message_of(0, 2)), None);
    assert_eq!(accepted(&mut harness, MessageId { run: 7, ..id }), None);
    assert_eq!(lines(&mut harness, MessageId { run: 7, ..id }), [""; 0]);
    assert_eq!(accepted(&mut harness, message_of(1, 1)), None, "of a shard that there is not");
}

#[test]
fn a_message_that_needs_no_record_is_never_stable_and_qos_0_has_no_journey() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q0, 0), publish("t", "x", Q1, 1), publish("u", "x", Q1, 2)]);
    let view = accepted(&mut harness, message_of(0, 1)).unwrap();
    assert_eq!((view.stable, view.matched), (StableView::NoRecord, 1));
    assert_eq!(lines(&mut harness, message_of(0, 1)), ["0 sent s"]);
    let view = accepted(&mut harness, message_of(0, 2)).unwrap();
    assert_eq!((view.matched, view.topic.as_deref()), (0, Some("u")));
    assert_eq!(accepted(&mut harness, message_of(0, 3)), None);
}

#[test]
fn a_message_that_is_dropped_says_why() {
    let mut harness = Harness::with(1, Settings { queued_messages_max: 1, ..settings() });
    let subscriber = harness.connect(durable("full"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    harness.lose(subscriber);
    let mut small = durable("small");
    small.properties.maximum_packet_size = NonZeroU32::new(30);
    let small = harness.connect(small);
    harness.run(small, [subscribe("u", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q1, 2)]);
    assert_eq!(lines(&mut harness, message_of(0, 1)), ["0 queued full", "0 dropped full queue_full"]);
    assert_eq!(lines(&mut harness, message_of(0, 2)), ["0 queued full"]);
    let large = message("u", "", Q1, 3).with_payload("x".repeat(100));
    harness.run(publisher, [ClientPacket::Publish(large)]);
    assert_eq!(lines(&mut harness, message_of(0, 3)), ["0 dropped small packet_too_large"]);
    let mut expiring = message("t", "4", Q1, 4);
    expiring.message_expiry_interval = Some(5);
    harness.run(publisher, [ClientPacket::Publish(expiring)]);
    harness.seconds(7);
    harness.connect(durable("full"));
    assert_eq!(lines(&mut harness, message_of(0, 4)), ["0 queued full", "7 dropped full expired"]);
}

#[test]
fn a_message_that_a_full_queue_does_not_take_is_dropped_by_the_shard_of_its_publisher() {
    let settings = Settings { queued_messages_max: 1, queue_overflow: QueueOverflow::DropNewest, ..settings() };
    let mut harness = Harness::with(2, settings);
    let subscriber = harness.connect_to(1, durable("full"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    harness.lose(subscriber);
    let publisher = harness.connect_to(0, transient("p"));
    harness.run(publisher, [publish("t", "1", Q1, 1), publish("t", "2", Q1, 2)]);
    assert_eq!(lines(&mut harness, message_of(0, 1)), ["0 queued full"]);
    assert_eq!(lines(&mut harness, message_of(0, 2)), ["0 dropped full queue_full"]);
}

#[test]
fn the_steps_of_a_session_that_moves_are_found_on_all_shards() {
    let mut harness = Harness::with(3, settings());
    let subscriber = harness.connect_to(1, durable("s"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    let publisher = harness.connect_to(0, transient("p"));
    harness.run(publisher, [publish("t", "x", Q2, 1)]);
    harness.seconds(1);
    let subscriber = harness.connect_to(2, durable("s"));
    harness.run(subscriber, [pubrec(1)]);
    harness.seconds(1);
    harness.run(subscriber, [pubcomp(1)]);
    let expected = ["0 sent s", "1 sent again s", "1 released s", "2 completed s"];
    assert_eq!(lines(&mut harness, message_of(0, 1)), expected);
}

#[test]
fn names_of_sessions_that_ended_are_still_known() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    for client in [publisher, subscriber] {
        harness.lose(client);
    }
    let others = ["x", "y"].map(|name| harness.connect(transient(name)));
    let view = accepted(&mut harness, message_of(0, 1)).unwrap();
    assert_eq!(view.publisher, PublisherView::Client(Some("p".into())));
    assert_eq!(lines(&mut harness, message_of(0, 1)), ["0 sent s ended"]);
    let receiver = steps(&mut harness, message_of(0, 1))[0].receiver;
    let part = parts(&mut harness, message_of(0, 1), &[(receiver, 1)]).remove(0);
    assert_eq!(part.ended, [receiver]);
    assert!(others.iter().all(|client| !harness.is_closed(*client)));
}

#[test]
fn a_message_of_a_share_moves_to_another_member() {
    let mut harness = Harness::new();
    let first = harness.connect(transient("first"));
    harness.run(first, [subscribe("$share/g/t", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("t", "x", Q1, 1)]);
    let second = harness.connect(transient("second"));
    harness.run(second, [subscribe("$share/g/t", Q1)]);
    harness.seconds(1);
    harness.lose(first);
    harness.run(second, [puback(1)]);
    let expected = ["0 sent first ended", "1 sent second", "1 acknowledged second"];
    assert_eq!(lines(&mut harness, message_of(0, 1)), expected);
}

#[test]
fn messages_of_operators_wills_and_dead_letters_say_who_published_them() {
    let dead_letter_topic = Some(topic("dead"));
    let mut harness = Harness::with(1, Settings { dead_letter_topic, queued_messages_max: 1, ..settings() });
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    harness.lose(subscriber);
    let message = Box::new(OperatorMessage {
        message: Message::new(topic("t"), "x"),
        qos: Q1,
        retain: false,
        message_expiry_interval: None,
    });
    let TopicAnswer::Published(Ok(publication)) = ask_topics(&mut harness, 0, TopicQuery::Publish(message)) else {
        panic!()
    };
    let id = publication.message_id.unwrap();
    assert_eq!((id, publication.matched), (message_of(0, 1), 1));
    assert_eq!(accepted(&mut harness, id).unwrap().publisher, PublisherView::Operator);
    let mut connect = transient("w");
    connect.will = Some(crate::codec::Will { qos: Q1, ..will("t", "gone") });
    let client = harness.connect(connect);
    harness.lose(client);
    // The Will is the second message. It displaces the first one, whose dead letter is the third.
    let view = accepted(&mut harness, message_of(0, 2)).unwrap();
    assert_eq!(view.publisher, PublisherView::Client(Some("w".into())));
    assert_eq!(lines(&mut harness, id), ["0 queued s", "0 dropped s queue_full"]);
    let view = accepted(&mut harness, message_of(0, 3)).unwrap();
    assert_eq!((view.publisher, view.topic.as_deref()), (PublisherView::Broker, Some("dead")));
}

#[test]
fn a_message_for_many_receivers_displaces_no_others_and_those_left_out_are_counted() {
    let mut harness = Harness::with(1, Settings { journey_steps_max: 700, ..settings() });
    let clients: Vec<_> = (0..160).map(|number| harness.connect(transient(&format!("s{number}")))).collect();
    for client in &clients {
        harness.run(*client, [subscribe("all", Q1)]);
    }
    harness.run(clients[0], [subscribe("one", Q1)]);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [publish("one", "x", Q1, 1)]);
    harness.run(clients[0], [puback(1)]);
    for number in 2..4 {
        harness.run(publisher, [publish("all", "x", Q1, number)]);
        for client in &clients {
            let packets = harness.packets(*client);
            let ids: Vec<_> = packets
                .iter()
                .filter_map(|packet| if let ServerPacket::Publish(publish) = packet { publish.packet_id } else { None })
                .collect();
            ids.iter().for_each(|id| harness.run(*client, [puback(id.number())]));
        }
    }
    assert_eq!(lines(&mut harness, message_of(0, 1)), ["0 sent s0", "0 acknowledged s0"]);
    for number in 2..4 {
        assert_eq!(lines(&mut harness, message_of(0, number)).len(), 200, "100 receivers");
        assert_eq!(left_out(&mut harness, message_of(0, number)), 60);
    }
    // Another message takes the place of the second one among the counts.
    for number in 0..256_u16 {
        harness.run(publisher, [publish("one", "x", Q1, 4 + number)]);
        let last = harness.packets(clients[0]);
        let Some(ServerPacket::Publish(publish)) = last.last() else { panic!() };
        harness.run(clients[0], [puback(publish.packet_id.unwrap().number())]);
    }
    assert_eq!(left_out(&mut harness, message_of(0, 2)), 60);
}

#[test]
fn the_oldest_messages_are_forgotten_by_number_by_time_and_when_memory_is_short() {
    let mut harness = Harness::with(1, Settings { journey_steps_max: 400, ..settings() });
    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    let publisher = harness.connect(transient("p"));
    let send = |harness: &mut Harness, number: u16| {
        harness.run(publisher, [publish("t", "x", Q1, number)]);
        harness.run(subscriber, [puback(number)]);
    };
    for number in 1..=130 {
        send(&mut harness, number);
    }
    let known = |harness: &mut Harness, number| accepted(harness, message_of(0, number)).is_some();
    assert_eq!([30, 31, 130].map(|number| known(&mut harness, number)), [false, true, true]);
    assert!(accepted(&mut harness, message_of(0, 31)).unwrap().is_complete);
    harness.event(0, Event::Memory(MemoryLevel::High));
    assert_eq!([105, 106].map(|number| known(&mut harness, number)), [false, true]);
    assert_eq!(lines(&mut harness, message_of(0, 130)), ["0 sent s", "0 acknowledged s"]);
    harness.event(0, Event::Memory(MemoryLevel::Normal));
    send(&mut harness, 131);
    assert_eq!([105, 106, 131].map(|number| known(&mut harness, number)), [false, true, true]);
    harness.seconds(500);
    send(&mut harness, 132);
    harness.seconds(101);
    assert_eq!([131, 132].map(|number| known(&mut harness, number)), [false, true]);
    assert_eq!(lines(&mut harness, message_of(0, 131)), [""; 0]);
    harness.seconds(500);
    assert!(!known(&mut harness, 132));
    let changed = Settings { journey_steps_max: 0, ..settings() };
    harness.event(0, Event::SettingsChanged(std::sync::Arc::new(changed)));
    send(&mut harness, 133);
    assert!(!known(&mut harness, 133));
    harness.event(0, Event::SettingsChanged(std::sync::Arc::new(settings())));
    send(&mut harness, 134);
    assert_eq!(lines(&mut harness, message_of(0, 134)).len(), 2);
}

#[test]
fn a_message_is_found_in_the_queues_that_have_it_also_after_a_restart() {
    let mut harness = Harness::with(2, stored());
    for (shard, name) in [(0, "a"), (1, "b"), (1, "c")] {
        let client = harness.connect_to(shard, durable(name));
        harness.run(client, [subscribe("t", Q1)]);
        harness.lose(client);
    }
    let publisher = harness.connect(transient("p"));
    for number in 1..=9 {
        harness.run(publisher, [publish("t", "x", Q1, number)]);
    }
    let names = |harness: &mut Harness, number| {
        let (mut holders, _) = holders(harness, message_of(0, number));
        holders.sort_by(|one, other| one.client_id.as_str().cmp(other.client_id.as_str()));
        let show = |holder: &HolderView| (holder.client_id.as_str().to_owned(), holder.sequence, holder.state);
        assert!(holders.iter().all(|holder| holder.topic == "t" && holder.qos == Q1));
        holders.iter().map(show).collect::<Vec<_>>()
    };
    let waiting = |number| ["a", "b", "c"].map(|name| (name.to_owned(), number, QueuedState::Waiting));
    for number in [1, 5, 9] {
        assert_eq!(names(&mut harness, number), waiting(number), "in memory and in the store");
    }
    harness.restart(stored());
    assert_eq!(accepted(&mut harness, message_of(0, 5)), None);
    assert_eq!(names(&mut harness, 5), waiting(5));
    let client = harness.connect(durable("b"));
    harness.run(client, (1..=5).map(puback));
    assert_eq!(names(&mut harness, 5).len(), 2);
    assert_eq!(names(&mut harness, 9)[1], ("b".to_owned(), 9, QueuedState::AwaitingPuback));
    assert_eq!(names(&mut harness, 10), []);
    // It is sent in this run, so its steps are noted.
    assert_eq!(lines(&mut harness, message_of(0, 5)), ["0 sent b", "0 acknowledged b"]);
}

#[test]
fn a_search_in_queues_ends_with_its_session_and_has_bounded_parts() {
    let mut harness = Harness::with(1, Settings { queued_messages_max: 10_000, ..stored() });
    let client = harness.connect(durable("a"));
    harness.run(client, [subscribe("t", Q1)]);
    harness.lose(client);
    let publisher = harness.connect(transient("p"));
    for number in 0..2_000 {
        harness.run(publisher, [publish("t", "x", Q1, number % 10 + 1)]);
    }
    let (found, parts) = holders(&mut harness, message_of(0, 1_500));
    assert_eq!(found.len(), 1);
    assert!((4..8).contains(&parts), "{parts}");
    harness.store_reads = false;
    harness.queries += 1;
    let id = QueryId(harness.queries);
    let request = HoldersRequest { id: message_of(0, 3), from: QueuePlace::default() };
    harness.event(0, Event::Query(id, Box::new(Query::Holders(request))));
    let mut connect = transient("a");
    connect.clean_start = true;
    harness.connect(connect);
    harness.read_store();
    let Some((answered, Answer::Holders(part))) = harness.answers.pop() else { panic!() };
    assert_eq!((answered, part.holders), (id, Vec::new()));
}
