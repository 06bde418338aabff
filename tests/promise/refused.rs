//! What subscribers refuse, with a crash around each record: the message is in the queue, scheduled, or a dead letter, and never in two of
//! them.

use oncemq::broker::{Answer, DeadLetterAnswer, DeadLetterFailure, DeadLetterQuery, Event, Query, QueryId};
use oncemq::codec::{Qos, ServerPacket};
use oncemq::store::Level;

use crate::client::Lifetime::Durable;
use crate::lab::{Crash, Lab};
use crate::rows::with_every_crash;

const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;

/// The record around which the broker crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    /// That of the refusal, which schedules the next attempt.
    Schedule,
    /// That which puts the message into the queue again.
    NextAttempt,
    /// That of the last refusal, which makes it a dead letter.
    DeadLetter,
}

/// A subscriber that will refuse `refusals` messages, and a publisher.
fn clients(lab: &mut Lab, topic: &'static str, refusals: u32) -> (usize, usize) {
    let (publisher, subscriber) = (lab.connected("publisher", Durable), lab.connected("subscriber", Durable));
    lab.subscribe(subscriber, topic, Q2);
    lab.run();
    lab.clients[subscriber].refusals = refusals;
    (publisher, subscriber)
}

fn refused_scenario(lab: &mut Lab, crash: Crash, (topic, qos, around): (&'static str, Qos, Around)) {
    let is_last = around == Around::DeadLetter;
    let (publisher, subscriber) = clients(lab, topic, if is_last { 2 } else { 1 });
    lab.publish(publisher, topic, "m", qos);
    let is_publish = |packet: &ServerPacket| matches!(packet, ServerPacket::Publish(_));
    match around {
        Around::Schedule => lab.run_to(subscriber, is_publish),
        Around::NextAttempt => lab.run(),
        Around::DeadLetter => {
            lab.run();
            lab.advance(6);
            lab.run_to(subscriber, is_publish);
        }
    }
    lab.freeze();
    lab.run();
    if around == Around::NextAttempt {
        lab.pass(6);
    }
    lab.run();
    lab.crash(crash);
    lab.run();
    lab.pass(10);
    lab.crash(crash);
    lab.pass(10);
    lab.run();
    let (count, letters) = (lab.count(subscriber, "m"), lab.shared.dead_letters_len().0);
    let is_kept = if qos == Q2 { count + letters == 1 } else { count + letters >= 1 };
    if !is_kept {
        lab.fail(&format!("{around:?}: \"m\" came {count} times and is {letters} dead letters"));
    }
    if !is_last && letters > 0 {
        lab.fail("it was refused once, and has two attempts");
    }
}

#[test]
fn a_refused_message_is_scheduled_and_queued_again_in_one_record_each() {
    for topic in ["refused/t", "ordered/t"] {
        for qos in [Q1, Q2] {
            for around in [Around::Schedule, Around::NextAttempt, Around::DeadLetter] {
                with_every_crash(|lab, crash| refused_scenario(lab, crash, (topic, qos, around)));
            }
        }
    }
    let mut lab = Lab::new(1, Level::PowerLoss);
    let (publisher, subscriber) = clients(&mut lab, "refused/t", 2);
    lab.publish(publisher, "refused/t", "m", Q1);
    lab.run_to(subscriber, |packet| matches!(packet, ServerPacket::Publish(_)));
    let before = lab.log.appended;
    lab.run();
    assert_eq!(lab.log.appended, before + 1, "the refusal and the schedule are one record");
    lab.pass(6);
    assert_eq!(lab.log.appended, before + 3, "the next attempt is one record, and so is the dead letter");
    assert_eq!(lab.shared.dead_letters_len().0, 1);
}

/// A message of an ordered topic behind a refused one comes after it, and once.
fn ordered_scenario(lab: &mut Lab, crash: Crash, late: bool) {
    let (publisher, subscriber) = clients(lab, "ordered/t", 1);
    lab.publish(publisher, "ordered/t", "first", Q2);
    lab.run();
    if !late {
        lab.freeze();
    }
    lab.publish(publisher, "ordered/t", "second", Q2);
    lab.run();
    if late {
        lab.freeze();
        lab.pass(6);
    }
    lab.crash(crash);
    lab.run();
    lab.pass(10);
    lab.crash(crash);
    lab.pass(10);
    lab.pass(1);
    lab.pass(1);
    for payload in ["first", "second"] {
        let count = lab.count(subscriber, payload);
        if count != 1 {
            lab.fail(&format!("{payload:?} came {count} times"));
        }
    }
    if late {
        lab.finish(); // their order, too; otherwise, the second one may have been sent before the crash
    }
}

#[test]
fn a_message_behind_a_refused_one_comes_once_and_in_order() {
    for late in [false, true] {
        with_every_crash(|lab, crash| ordered_scenario(lab, crash, late));
    }
}

/// The number of the only dead letter.
fn number_of_letter(lab: &mut Lab) -> u64 {
    lab.answers.clear();
    let list = DeadLetterQuery::List { after: 0, limit: 2, filter: None };
    lab.handle(0, Event::Query(QueryId(9), Box::new(Query::DeadLetters(list))));
    lab.run();
    let Some(Answer::DeadLetters(DeadLetterAnswer::List(letters, None))) = lab.answers.pop() else { panic!() };
    let [(number, _)] = letters[..] else { panic!("{letters:?}") };
    number
}

fn redrive_scenario(lab: &mut Lab, crash: Crash, qos: Qos) {
    let (publisher, subscriber) = clients(lab, "refused/t", 2);
    lab.publish(publisher, "refused/t", "m", qos);
    lab.run();
    lab.pass(6);
    lab.run();
    assert_eq!((lab.count(subscriber, "m"), lab.shared.dead_letters_len().0), (0, 1));
    let letter = number_of_letter(lab);
    lab.freeze();
    let shard = lab.shard_of(lab.clients[subscriber].connection().unwrap());
    // Two requests at once: one of them gets it.
    for number in 0..2 {
        lab.answers.clear();
        let query = Query::DeadLetters(DeadLetterQuery::Redrive(letter));
        lab.handle(shard, Event::Query(QueryId(number), Box::new(query)));
    }
    lab.run();
    let is_done = |answer: &Answer| matches!(answer, Answer::DeadLetters(DeadLetterAnswer::Done(Ok(()))));
    let was_done = lab.answers.iter().any(is_done);
    lab.crash(crash);
    lab.run();
    lab.crash(crash);
    lab.run();
    let (count, letters) = (lab.count(subscriber, "m"), lab.shared.dead_letters_len().0);
    if count + letters != 1 && (qos == Q2 || count == 0 || letters > 0) {
        lab.fail(&format!("\"m\" came {count} times and is {letters} dead letters"));
    }
    if was_done && count == 0 {
        lab.fail("it was redriven, and is not in the queue");
    }
}

#[test]
fn redrive_happens_neither_twice_nor_not_at_all() {
    for qos in [Q1, Q2] {
        with_every_crash(|lab, crash| redrive_scenario(lab, crash, qos));
    }
    let mut lab = Lab::new(1, Level::PowerLoss);
    let (publisher, subscriber) = clients(&mut lab, "refused/t", 2);
    lab.publish(publisher, "refused/t", "m", Q2);
    lab.run();
    lab.pass(6);
    let letter = number_of_letter(&mut lab);
    let before = lab.log.appended;
    lab.freeze();
    lab.handle(0, Event::Query(QueryId(1), Box::new(Query::DeadLetters(DeadLetterQuery::Redrive(letter)))));
    lab.run();
    assert_eq!(lab.log.appended, before + 1, "the dead letter leaves and the message is queued in one record");
    assert_eq!((lab.answers.len(), lab.count(subscriber, "m")), (0, 0), "both wait for it");
    lab.thaw();
    lab.run();
    assert_eq!((lab.answers.len(), lab.count(subscriber, "m"), lab.shared.dead_letters_len().0), (1, 1, 0));
}

#[test]
fn a_dead_letter_is_shown_when_its_record_is_stable() {
    let mut lab = Lab::new(1, Level::PowerLoss);
    let (publisher, subscriber) = clients(&mut lab, "refused/t", 2);
    lab.publish(publisher, "refused/t", "m", Q1);
    lab.run();
    lab.advance(6);
    lab.run_to(subscriber, |packet| matches!(packet, ServerPacket::Publish(_)));
    lab.freeze();
    lab.run();
    let letter = number_of_letter(&mut lab);
    let show = |lab: &mut Lab| {
        lab.handle(0, Event::Query(QueryId(1), Box::new(Query::DeadLetters(DeadLetterQuery::Show(letter)))));
        lab.run();
        lab.answers.pop()
    };
    let early = show(&mut lab);
    let is_early = matches!(early, Some(Answer::DeadLetters(DeadLetterAnswer::Show(Err(DeadLetterFailure::Busy)))));
    assert!(is_early, "{early:?}");
    lab.thaw();
    lab.run();
    let shown = show(&mut lab);
    assert!(matches!(shown, Some(Answer::DeadLetters(DeadLetterAnswer::Show(Ok(_))))), "{shown:?}");
}
