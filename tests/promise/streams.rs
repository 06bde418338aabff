//! Streams: under a sequence, all readers get the same message, before and after each crash, and no message that was acknowledged or read is lost.

use std::collections::{BTreeMap, BTreeSet};

use oncemq::codec::Qos;
use oncemq::store::sim::Loss;
use oncemq::store::{Disk, Level};

use crate::client::Lifetime::{Durable, Transient};
use crate::lab::{Crash, Lab, Wire};
use crate::log::Committed;
use crate::positions::settle;
use crate::rows::with_every_crash_of_one;
use crate::steps::crash_at_every_step;

const Q1: Qos = Qos::AtLeastOnce;
const ALL: &str = "$stream/kept@earliest";

/// A publisher that repeats nothing after a crash, so that a later message gets the sequence of a lost one, and a reader.
fn clients(lab: &mut Lab) -> (usize, usize) {
    lab.keep_stream("t/#");
    let (publisher, reader) = (lab.connected("publisher", Transient), lab.connected("reader", Transient));
    lab.subscribe(reader, ALL, Q1);
    lab.run();
    (publisher, reader)
}

/// Publishes a message, and waits for PUBACK.
fn publish(lab: &mut Lab, publisher: usize, topic: &'static str, payload: &str) {
    lab.publish(publisher, topic, payload, Q1);
    lab.run();
}

/// Five of them fill a segment.
fn long(number: u32) -> String {
    format!("{number}{:.>700}", "")
}

/// Replaces a retained message that is in no stream, so that the log has much to free.
fn replace_other(lab: &mut Lab, publisher: usize, number: u32) {
    lab.retain(publisher, "other", &format!("other {}", long(number)), Q1);
    lab.run();
}

/// What a new client gets for a filter: what is retained, and what is in the stream, by sequence.
fn read(lab: &mut Lab, filter: &'static str) -> (Vec<u64>, BTreeMap<u64, String>) {
    let client = lab.connected("another", Transient);
    lab.subscribe(client, filter, Q1);
    settle(lab);
    let (mut retained, mut stream) = (Vec::new(), BTreeMap::new());
    for got in lab.deliveries(client) {
        match got.sequence {
            None => lab.fail(&format!("{:?} names no sequence", got.payload)),
            Some(sequence) if got.retain => retained.push(sequence),
            Some(sequence) => _ = stream.insert(sequence, got.payload.clone()),
        }
    }
    (retained, stream)
}

/// Returns each sequence that a client was ever sent, with its message, which is always the same.
fn known(lab: &Lab) -> BTreeMap<u64, &str> {
    let mut known = BTreeMap::new();
    for got in &lab.ledger.deliveries {
        let Some(sequence) = got.sequence else { continue };
        let first = *known.entry(sequence).or_insert(got.payload.as_str());
        if first != got.payload {
            lab.fail(&format!("{sequence} of the stream was {first:?} and is {:?}", got.payload));
        }
    }
    known
}

/// The stream has each message that was acknowledged or read, or a later one `of_its_topic`. Who goes on behind the sequence of a retained message
/// misses nothing.
fn check(lab: &mut Lab, of_its_topic: bool) {
    settle(lab);
    let (_, stream) = read(lab, ALL);
    let (retained, _) = read(lab, "t/1");
    for sequence in retained {
        let filter = format!("$stream/kept@seq:{}", sequence + 1).leak();
        let (_, behind) = read(lab, filter);
        if !behind.iter().eq(stream.range(sequence + 1..)) {
            lab.fail(&format!("behind {sequence}, there is {behind:?}, and not all of {stream:?}"));
        }
    }
    let seen: BTreeSet<&str> = known(lab).into_values().collect();
    let is_there = |payload: &str| stream.values().any(|kept| kept == payload);
    let messages: Vec<_> = lab.ledger.messages.iter().filter(|message| message.topic != "other").collect();
    for (number, message) in messages.iter().enumerate() {
        let later = messages[number..].iter().filter(|later| of_its_topic && later.topic == message.topic);
        let is_safe = is_there(&message.payload) || later.into_iter().any(|later| is_there(&later.payload));
        if !is_safe && (message.acknowledged || seen.contains(&*message.payload)) {
            lab.fail(&format!("{:?} was acknowledged or read, and is lost", message.payload));
        }
    }
    if !of_its_topic && !stream.keys().copied().eq(1..=stream.len() as u64) {
        lab.fail(&format!("a gap: {:?}", stream.keys()));
    }
}

/// Crashes while a message is committed, after the readers got what there is for them.
fn reader_scenario(lab: &mut Lab, crash: Crash) {
    let (publisher, reader) = clients(lab);
    publish(lab, publisher, "t/1", "before");
    lab.freeze();
    publish(lab, publisher, "t/1", "frozen");
    lab.stall(crash.committed);
    lab.run();
    let count = lab.deliveries(reader).count();
    assert!(count > 1 || crash.committed != Committed::All, "a reader does not wait for PUBACK");
    lab.crash(Crash { committed: Committed::Nothing, ..crash });
    settle(lab);
    publish(lab, publisher, "t/1", "after");
    check(lab, false);
}

/// Two of the crashes before a step: of the commit, or of what writes to the stream. They differ from step to step.
fn some_crashes(loss: Loss, step: u64) -> impl Iterator<Item = Crash> {
    let part = step / 2 % 10 + 1;
    let committed = match step % 2 {
        0 => [Committed::Nothing, Committed::Part(part)],
        _ => [Committed::All, Committed::Streams(part)],
    };
    let wire = if step % 4 < 2 { Wire::Lost } else { Wire::Delivered };
    committed.into_iter().map(move |committed| Crash { loss, committed, wire, seed: step })
}

/// Readers come and go while messages are published. Returns the number of steps.
fn readers_play(lab: &mut Lab) -> u64 {
    let (publisher, reader) = clients(lab);
    let durable = lab.connected("durable", Durable);
    lab.subscribe(durable, ALL, Q1);
    lab.publish(publisher, "t/1", "1", Q1);
    publish(lab, publisher, "t/2", "2");
    lab.lose(reader);
    publish(lab, publisher, "t/1", "3");
    lab.connect(reader);
    publish(lab, publisher, "t/2", "4");
    let steps = lab.steps;
    check(lab, false);
    steps
}

#[test]
fn all_readers_get_the_same_message_under_a_sequence() {
    with_every_crash_of_one(reader_scenario);
    for (shards, loss, level) in [(1, Loss::Process, Level::Crash), (2, Loss::Power, Level::PowerLoss)] {
        let crashes = |step| some_crashes(loss, step);
        crash_at_every_step(&(), || Lab::new(shards, level), crashes, readers_play);
    }
}

/// Fills segments of the log, which it frees. Returns the number of steps.
fn forgetting_play(lab: &mut Lab) -> u64 {
    let (publisher, _) = clients(lab);
    lab.retain(publisher, "t/1", "state", Q1);
    for number in 0..4 {
        publish(lab, publisher, "t/2", &long(number));
        replace_other(lab, publisher, number);
    }
    lab.log.syncs_stream = false;
    ["late", "last"].into_iter().for_each(|payload| publish(lab, publisher, "t/2", payload));
    (4..14).for_each(|number| replace_other(lab, publisher, number));
    let steps = lab.steps;
    check(lab, false);
    steps
}

#[test]
fn the_log_forgets_a_message_of_a_stream_when_its_files_are_synced() {
    let new = || Lab::new(1, Level::PowerLoss);
    let mut lab = new();
    forgetting_play(&mut lab);
    assert!(lab.log.disk.open("0000000001.seg").is_err(), "the log has freed nothing");
    crash_at_every_step(&(), new, |step| some_crashes(Loss::Power, step), forgetting_play);
}

/// The files of the stream are lost, and the log has forgotten all messages but for the last one.
fn last_scenario(lab: &mut Lab, crash: Crash) {
    let (publisher, _) = clients(lab);
    ["1", "2", "3"].into_iter().for_each(|payload| publish(lab, publisher, "t/1", payload));
    lab.log.keep();
    // The log frees the segment of the three.
    (0..16).for_each(|number| replace_other(lab, publisher, number));
    lab.log.lose_stream();
    lab.crash(crash);
    settle(lab);
    publish(lab, publisher, "t/1", "after");
    let (_, stream) = read(lab, ALL);
    known(lab);
    assert_eq!(stream, BTreeMap::from([(3, "3".to_owned()), (4, "after".to_owned())]));
}

#[test]
fn the_log_keeps_the_last_sequence_of_a_stream_that_loses_its_files() {
    with_every_crash_of_one(last_scenario);
}

/// Crashes in the last of some passes over a stream. Without a crash, it returns the number of disk operations of that pass and the sync before it.
fn compaction_scenario(lab: &mut Lab, passes: u32, crash: Option<Crash>) -> u64 {
    let (publisher, _) = clients(lab);
    lab.log.keep_last_of_topics();
    publish(lab, publisher, "t/3", &long(0));
    for number in 1..passes * 16 {
        if number.is_multiple_of(16) {
            lab.log.compact();
        }
        publish(lab, publisher, if number % 2 == 0 { "t/1" } else { "t/2" }, &long(number));
    }
    let Some(crash) = crash else {
        let before = lab.log.disk.steps();
        lab.log.keep();
        lab.log.compact();
        let steps = lab.log.disk.steps() - before;
        assert!(read(lab, ALL).1.len() < 10, "messages are removed");
        return steps;
    };
    lab.crash(crash);
    settle(lab);
    lab.log.compact();
    publish(lab, publisher, "t/1", "after");
    check(lab, true);
    0
}

#[test]
fn the_last_message_of_each_key_is_kept_through_a_crash_at_every_step_of_a_compaction() {
    for passes in [1, 2] {
        let steps = compaction_scenario(&mut Lab::new(1, Level::PowerLoss), passes, None);
        assert!(steps > 10, "{steps} steps");
        for step in 1..=steps {
            for loss in [Loss::Process, Loss::Power] {
                let crash = Crash { loss, committed: Committed::Streams(step), wire: Wire::Lost, seed: step };
                let mut lab = Lab::new(1, Level::PowerLoss);
                lab.trace = Some(vec![format!("{crash:?}")]);
                compaction_scenario(&mut lab, passes, Some(crash));
            }
        }
    }
}

/// Crashes while a retained message is committed, after a client has subscribed to its topic.
fn state_scenario(lab: &mut Lab, crash: Crash) {
    let (publisher, _) = clients(lab);
    publish(lab, publisher, "t/2", "before");
    let client = lab.connected("state", Transient);
    lab.freeze();
    lab.retain(publisher, "t/1", "state", Q1);
    lab.subscribe(client, "t/1", Q1);
    lab.run();
    lab.stall(crash.committed);
    settle(lab);
    let count = lab.deliveries(client).count();
    assert!(count == 1 || crash.committed != Committed::All, "its sequence is final");
    lab.crash(Crash { committed: Committed::Nothing, ..crash });
    settle(lab);
    publish(lab, publisher, "t/2", "after");
    check(lab, false);
}

#[test]
fn a_retained_message_names_its_sequence_when_it_is_stable() {
    with_every_crash_of_one(state_scenario);
}
