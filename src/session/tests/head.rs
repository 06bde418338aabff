//! The head of a queue in memory, here at most three messages, if the store has the whole queue.

use std::collections::BTreeMap;

use super::outbound::{puback, sent};
use super::*;
use crate::codec::{Ack, ClientPacket, Matched, Message, ReasonCode, ServerPacket};
use crate::session::{DropCause, QueueExit, RestoredMessage};
use crate::topic::{Filter, TopicName};

/// A disconnected Session with these messages in the store.
fn away(messages: u64) -> Session {
    let mut session = Session::new(many(), 1);
    session.set_recorded(true);
    for sequence in 1..=messages {
        assert_eq!(handle(&mut session, Event::Deliver(sequence, message(sequence))), []);
    }
    session
}

fn many() -> Arc<Limits> {
    Arc::new(Limits { queued_messages_max: 1_000, queued_bytes_max: 1_000_000, ..(*limits()).clone() })
}

/// The message with this sequence, which is also its payload.
fn message(sequence: u64) -> Delivery {
    let content = Message::new(TopicName::new("t".into()).unwrap(), sequence.to_string());
    Delivery { message: Arc::new(content), ..delivery(Qos::AtLeastOnce) }
}

fn connect(session: &mut Session, send_maximum: u16) -> Vec<Action> {
    let mut actions = handle(session, connected(send_maximum, None));
    actions.extend(handle(session, Event::Room(1_000_000)));
    actions
}

/// The last fetch in `actions`.
fn fetch(actions: &[Action]) -> (u32, Vec<u64>) {
    let fetch = actions.iter().rev().find_map(|action| {
        let Action::Fetch(number, sequences) = action else { return None };
        Some((*number, sequences.clone()))
    });
    fetch.expect("a fetch")
}

fn answer((number, sequences): &(u32, Vec<u64>)) -> Event {
    Event::Fetched(*number, sequences.iter().map(|sequence| (*sequence, Ok(message(*sequence)))).collect())
}

fn fetches(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Fetch(..))).count()
}

/// The payloads of sent messages; `dup` follows those with DUP.
fn payloads(actions: &[Action]) -> Vec<String> {
    let payload = |action: &Action| {
        let Action::Send(ServerPacket::Publish(publish)) = action else { return None };
        let dup = if publish.dup { " dup" } else { "" };
        Some(format!("{}{dup}", std::str::from_utf8(&publish.message.payload).unwrap()))
    };
    actions.iter().filter_map(payload).collect()
}

/// Recovered messages, which may have been sent up to this sequence.
fn restored(sequences: impl Iterator<Item = u64>, sent_until: u64, qos: Qos) -> Session {
    let queued = |sequence| (sequence, RestoredMessage::Queued { qos, expires_at: Timestamp::NEVER, content: 3 });
    let queue: BTreeMap<u64, RestoredMessage> = sequences.map(queued).collect();
    Session::restored(many(), Vec::new(), (queue, BTreeMap::new()), sent_until)
}

#[test]
fn only_the_head_of_a_queue_is_in_memory() {
    let session = away(100);
    assert_eq!(session.loaded(), 3);
    assert_eq!(session.queued().0, 100);
    assert_eq!(session.queued().1, (1..=100).map(|sequence| message(sequence).queued_bytes()).sum::<usize>());
}

#[test]
fn messages_without_a_record_stay_in_memory() {
    let mut session = Session::new(many(), 1);
    for sequence in 1..=100 {
        handle(&mut session, Event::Deliver(sequence, message(sequence)));
    }
    let actions = connect(&mut session, 200);
    assert_eq!((payloads(&actions).len(), fetches(&actions)), (100, 0));
}

#[test]
fn head_is_bounded_in_bytes() {
    let mut session = Session::new(many(), 1);
    session.set_recorded(true);
    for sequence in 1..=2 {
        let content = Message::new(TopicName::new("t".into()).unwrap(), vec![b'x'; 60_000]);
        let delivery = Delivery { message: Arc::new(content), ..delivery(Qos::AtLeastOnce) };
        handle(&mut session, Event::Deliver(sequence, delivery));
    }
    assert_eq!(session.loaded(), 1);
}

#[test]
fn order_is_kept_with_slow_fetches_and_new_messages() {
    let mut session = away(20);
    let mut next = 21;
    let mut got = Vec::new();
    let mut asked = None;
    let mut take = |actions: Vec<Action>, asked: &mut Option<(u32, Vec<u64>)>| {
        got.extend(payloads(&actions));
        if fetches(&actions) > 0 {
            assert_eq!((fetches(&actions), &*asked), (1, &None), "one fetch at a time");
            *asked = Some(fetch(&actions));
        }
    };
    take(connect(&mut session, 1), &mut asked);
    for turn in 0..120_u16 {
        if turn % 3 == 0 && next <= 40 {
            take(handle(&mut session, Event::Deliver(next, message(next))), &mut asked);
            next += 1;
        }
        if turn % 4 == 0
            && let Some(fetch) = asked.take()
        {
            take(handle(&mut session, answer(&fetch)), &mut asked);
        }
        assert!(session.loaded() <= 5, "a head, and half a head that was fetched when the head was low");
        take(handle(&mut session, puback(turn % 40 + 1)), &mut asked);
        for number in 1..=40 {
            take(handle(&mut session, puback(number)), &mut asked);
        }
    }
    assert_eq!(got, (1..=40).map(|sequence| sequence.to_string()).collect::<Vec<_>>());
    assert_eq!(session.queued(), (0, 0));
}

#[test]
fn messages_are_fetched_before_the_head_is_empty() {
    let mut session = away(10);
    let actions = connect(&mut session, 2);
    assert_eq!(payloads(&actions), ["1", "2"]);
    assert_eq!(fetch(&actions).1, [4, 5], "3 is there");
    assert_eq!(payloads(&handle(&mut session, puback(1))), ["3"]);
    let actions = handle(&mut session, answer(&fetch(&actions)));
    assert_eq!((payloads(&actions).len(), fetches(&actions)), (0, 0), "the window is full, and the head is not low");
}

#[test]
fn sent_messages_are_fetched_and_sent_again_with_dup() {
    let mut session = away(3);
    assert_eq!(payloads(&connect(&mut session, 2)), ["1", "2"]);
    assert_eq!(session.loaded(), 1, "messages in flight are needed only if the connection breaks");
    handle(&mut session, Event::Disconnected);
    let actions = connect(&mut session, 3);
    assert_eq!(payloads(&actions), [""; 0], "no message overtakes them");
    assert_eq!(fetch(&actions).1, [1, 2, 3], "later messages were unloaded");
    assert_eq!(payloads(&handle(&mut session, answer(&fetch(&actions)))), ["1 dup", "2 dup", "3"]);
}

#[test]
fn mqtt5_4_4_0_1_messages_that_a_previous_run_may_have_sent_have_dup() {
    let mut session = restored(5..=9, 7, Qos::AtLeastOnce);
    let actions = connect(&mut session, 10);
    assert_eq!(session.loaded(), 0);
    assert_eq!(fetch(&actions).1, [5, 6, 7]);
    let actions = handle(&mut session, answer(&fetch(&actions)));
    assert_eq!(payloads(&actions), ["5 dup", "6 dup", "7"]);
    assert_eq!(sent(&actions), [5, 6, 7]);
    assert_eq!(payloads(&handle(&mut session, answer(&fetch(&actions)))), ["8", "9"]);
}

#[test]
fn acknowledgements_need_no_message_in_memory() {
    let mut session = away(2);
    connect(&mut session, 2);
    assert_eq!(handle(&mut session, puback(2)), [Action::Done(2, QueueExit::Acknowledged)]);
    assert_eq!(handle(&mut session, puback(1)), [Action::Done(1, QueueExit::Acknowledged)]);
    assert_eq!(session.queued(), (0, 0));

    let mut session = restored(1..=2, 3, Qos::ExactlyOnce);
    let fetched = fetch(&connect(&mut session, 2));
    let exactly_once = |sequence| Delivery { qos: Qos::ExactlyOnce, ..message(sequence) };
    let messages = fetched.1.iter().map(|sequence| (*sequence, Ok(exactly_once(*sequence)))).collect();
    assert_eq!(payloads(&handle(&mut session, Event::Fetched(fetched.0, messages))), ["1 dup", "2 dup"]);
    let pubrec = Event::Packet(ClientPacket::Pubrec(Ack::new(id(2), ReasonCode::Success)));
    assert_eq!(handle(&mut session, pubrec), [Action::Released(2, id(2))]);
    assert_eq!(session.queued(), (2, restored(1..=1, 0, Qos::AtLeastOnce).queued().1));
    let pubcomp = Event::Packet(ClientPacket::Pubcomp(Ack::new(id(2), ReasonCode::Success)));
    assert_eq!(handle(&mut session, pubcomp), [Action::Done(2, QueueExit::Acknowledged)]);
}

#[test]
fn an_acknowledgement_may_arrive_while_its_message_is_fetched() {
    let mut session = restored(1..=2, 3, Qos::AtLeastOnce);
    let fetched = fetch(&connect(&mut session, 2));
    assert_eq!(handle(&mut session, puback(1)), [Action::Done(1, QueueExit::Acknowledged)]);
    assert_eq!(payloads(&handle(&mut session, answer(&fetched))), ["2 dup"]);
    assert_eq!(session.queued().0, 1);
}

#[test]
fn mqtt5_3_3_2_5_expired_message_is_not_fetched() {
    let mut session = away(2);
    let expiring = |sequence| {
        let expires_at = if sequence == 6 { Timestamp::NEVER } else { Timestamp(1) };
        Delivery { expires_at, ..message(sequence) }
    };
    for sequence in 3..=9 {
        handle(&mut session, Event::Deliver(sequence, expiring(sequence)));
    }
    let mut actions = connect(&mut session, 10);
    for sequence in [3, 4, 5] {
        assert!(actions.contains(&Action::Done(sequence, QueueExit::Dropped(DropCause::Expired))), "{actions:?}");
    }
    assert_eq!(fetch(&actions).1[0], 6);
    let (number, sequences) = fetch(&actions);
    let messages = sequences.iter().map(|&sequence| (sequence, Ok(expiring(sequence))));
    actions.extend(handle(&mut session, Event::Fetched(number, messages.collect())));
    assert_eq!(payloads(&actions), ["1", "2", "6"]);
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Dropped(DropCause::Expired, _))).count(), 6);
}

#[test]
fn full_queue_drops_messages_that_only_the_store_has() {
    let mut session = restored(1..=1_000, 1, Qos::AtLeastOnce);
    let actions = handle(&mut session, Event::Deliver(1_001, message(1_001)));
    assert_eq!(
        actions,
        [Action::Dropped(DropCause::QueueFull, None), Action::Done(1, QueueExit::Dropped(DropCause::QueueFull))]
    );

    let limits = Limits { queued_messages_max: 5, has_dead_letters: true, ..(*limits()).clone() };
    let mut session = Session::new(Arc::new(limits), 1);
    session.set_recorded(true);
    let mut dropped = Vec::new();
    for sequence in 1..=9 {
        dropped.extend(handle(&mut session, Event::Deliver(sequence, message(sequence))));
    }
    let in_memory = |sequence| Action::Dropped(DropCause::QueueFull, Some(Box::new(message(sequence))));
    let mut expected = Vec::new();
    for sequence in 1..=3 {
        expected.extend([in_memory(sequence), Action::Done(sequence, QueueExit::Dropped(DropCause::QueueFull))]);
    }
    expected.push(Action::DroppedStored(DropCause::QueueFull, 4));
    assert_eq!(dropped, expected, "its record is deleted after its dead letter is stored");
}

#[test]
fn message_that_cannot_be_read_is_dropped_and_the_next_is_sent() {
    let mut session = restored(1..=3, 1, Qos::AtLeastOnce);
    let (number, _) = fetch(&connect(&mut session, 10));
    let messages = vec![(1, Ok(message(1))), (2, Err("damaged".into())), (3, Ok(message(3)))];
    let actions = handle(&mut session, Event::Fetched(number, messages));
    assert_eq!(payloads(&actions), ["1", "3"]);
    assert!(actions.contains(&Action::Unreadable(2, "damaged".into())));
    assert!(!actions.iter().any(|action| matches!(action, Action::Done(2, _))), "a later run may be able to read it");
    handle(&mut session, puback(1));
    handle(&mut session, puback(3));
    assert_eq!(session.queued(), (0, 0));
}

#[test]
fn a_moved_session_fetches_again_and_ignores_the_result_of_an_earlier_fetch() {
    let mut session = restored(1..=3, 1, Qos::AtLeastOnce);
    let first = fetch(&connect(&mut session, 10));
    handle(&mut session, Event::Disconnected);
    session.forget_shard();
    assert_eq!(handle(&mut session, answer(&first)), []);
    let second = fetch(&connect(&mut session, 10));
    assert_eq!(handle(&mut session, answer(&first)), []);
    assert_eq!(payloads(&handle(&mut session, answer(&second))), ["1", "2", "3"]);
}

#[test]
fn a_new_connection_gets_the_result_of_a_running_fetch() {
    let mut session = restored(1..=3, 1, Qos::AtLeastOnce);
    let asked = fetch(&connect(&mut session, 10));
    handle(&mut session, Event::Disconnected);
    assert_eq!(fetches(&connect(&mut session, 10)), 0);
    assert_eq!(payloads(&handle(&mut session, answer(&asked))), ["1", "2", "3"]);
}

#[test]
fn messages_of_shared_subscriptions_stay_in_memory() {
    let filter = Arc::new(Filter::new("$share/g/t".into()).unwrap());
    let mut session = away(3);
    for sequence in 4..=9 {
        let shared =
            Delivery { matched: Matched::new(Default::default(), Some(Arc::clone(&filter))), ..message(sequence) };
        handle(&mut session, Event::Deliver(sequence, shared));
    }
    handle(&mut session, Event::Deliver(10, message(10)));
    assert_eq!(session.loaded(), 3 + 6);
    let actions = connect(&mut session, 20);
    assert_eq!(payloads(&actions).len(), 9);
    assert_eq!(payloads(&handle(&mut session, answer(&fetch(&actions)))), ["10"]);
    assert_eq!(session.into_share_messages().count(), 6);
}

#[test]
fn messages_that_arrived_out_of_order_are_unloaded_too() {
    let mut session = Session::new(many(), 1);
    session.set_recorded(true);
    for sequence in (1..=9).rev() {
        handle(&mut session, Event::Deliver(sequence, message(sequence)));
    }
    assert_eq!((session.loaded(), session.queued().0), (3, 9));
    let mut session = Session::new(many(), 1);
    session.set_recorded(true);
    connect(&mut session, 9);
    for sequence in (2..=9).rev() {
        handle(&mut session, Event::Deliver(sequence, message(sequence)));
    }
    assert_eq!(payloads(&handle(&mut session, Event::Deliver(1, message(1)))).len(), 9);
}

#[test]
fn a_disconnected_client_has_fewer_messages_in_memory() {
    let mut limits = (*many()).clone();
    limits.queue_head = QueueHead { messages_max: 9, away_share: 3, ..limits.queue_head };
    let mut session = Session::new(Arc::new(limits), 1);
    session.set_recorded(true);
    for sequence in 1..=20 {
        handle(&mut session, Event::Deliver(sequence, message(sequence)));
    }
    assert_eq!(session.loaded(), 3);
    let asked = fetch(&connect(&mut session, 2));
    handle(&mut session, answer(&asked));
    assert_eq!(session.loaded(), 7, "the head without the two sent messages");
    handle(&mut session, Event::Disconnected);
    assert_eq!(session.loaded(), 0, "sent messages come first, and are only in the store");
    session.check_head();
    // A result that arrives now is ignored.
    let asked = fetch(&connect(&mut session, 2));
    handle(&mut session, Event::Disconnected);
    handle(&mut session, answer(&asked));
    assert_eq!(session.loaded(), 0);
    let asked = fetch(&connect(&mut session, 2));
    assert_eq!(payloads(&handle(&mut session, answer(&asked))), ["1 dup", "2 dup"]);
}

#[test]
fn repeated_reconnects_do_not_load_more_messages() {
    let mut session = away(100);
    let mut asked = (0, Vec::new());
    for _ in 0..10 {
        let mut actions = connect(&mut session, 2);
        for _ in 0..3 {
            asked = if fetches(&actions) > 0 { fetch(&actions) } else { asked };
            actions = handle(&mut session, answer(&asked));
            session.check_head();
        }
        assert!(session.loaded() <= 4, "{}", session.loaded());
    }
}
