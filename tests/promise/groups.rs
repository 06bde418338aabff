//! Groups of subscribers of streams: each message is acknowledged by a member, or a dead letter, and no member gets what another one has.

use oncemq::codec::{Qos, ServerPacket};
use oncemq::store::Level;
use oncemq::store::sim::Loss;

use crate::client::Lifetime::{self, Durable, Transient};
use crate::lab::{Crash, Lab};
use crate::rows::with_every_crash_of_one;
use crate::steps::{crash_at_every_step, crashes_of};

const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;
const TOPICS: [&str; 4] = ["group/1", "group/2", "group/3", "group/4"];
const OTHERS: [&str; 4] = ["group/5", "group/6", "group/7", "group/8"];

/// A group whose SUBACK was sent is there after the crash; another one may be there.
fn group_scenario(lab: &mut Lab, crash: Crash, lifetime: Lifetime) {
    lab.keep_stream("t");
    let member = lab.connected("member", lifetime);
    lab.run();
    lab.freeze();
    lab.subscribe(member, "$share/g/$stream/kept", Q1);
    lab.run();
    let is_told = lab.clients[member].requests.is_empty();
    lab.crash(crash);
    let groups = lab.groups();
    if is_told && !groups.iter().map(|(name, _)| name.as_str()).eq(["g"]) {
        lab.fail(&format!("SUBACK was sent, and the groups are {groups:?}"));
    }
    lab.run();
}

#[test]
fn suback_waits_for_the_group() {
    for lifetime in [Durable, Transient] {
        with_every_crash_of_one(|lab, crash| group_scenario(lab, crash, lifetime));
    }
}

/// A publisher, two members of a group, and a reader of dead letters. With two shards, the first member and the reader have the same one.
fn clients(lab: &mut Lab, lifetime: Lifetime) -> (usize, [usize; 2]) {
    lab.keep_stream("group/#");
    let publisher = lab.connected("publisher", Durable);
    let members = ["first", "second"].map(|name| lab.connected(name, lifetime));
    let reader = lab.connected("reader", Durable);
    lab.subscribe(reader, "dead", Q1);
    for member in members {
        lab.subscribe(member, "$share/g/$stream/kept@earliest", Q1);
    }
    lab.run();
    (publisher, members)
}

/// Runs all steps of the next milliseconds, in which members get what there is for them.
fn work(lab: &mut Lab) {
    lab.run();
    for _ in 0..4 {
        lab.advance_millis(2);
        lab.run();
    }
}

/// Publishes a message to each of these topics. Each member gets some of them.
fn publish(lab: &mut Lab, publisher: usize, topics: [&'static str; 4], payloads: [&str; 4]) {
    for (topic, payload) in topics.into_iter().zip(payloads) {
        lab.publish(publisher, topic, payload, Q2);
    }
    work(lab);
}

/// Runs the steps of the next seconds, with next attempts, in which all members acknowledge what they get.
fn settle(lab: &mut Lab, members: [usize; 2]) {
    for member in members {
        lab.clients[member].refusals = 0;
        lab.release(member);
        if lab.clients[member].connection().is_none() {
            lab.connect(member);
        }
    }
    lab.run();
    [1, 6, 1, 1].into_iter().for_each(|seconds| lab.pass(seconds));
}

/// Each message was acknowledged by a member, or is a dead letter, the messages of a topic in their order, and the group knows that.
fn check(lab: &Lab) {
    let first = |payload: &str| lab.ledger.deliveries.iter().position(|got| got.payload == payload);
    for (number, message) in lab.ledger.messages.iter().enumerate() {
        let Some(place) = first(&message.payload) else {
            lab.fail(&format!("{:?} was acknowledged by no member, and is no dead letter", message.payload));
        };
        let earlier = lab.ledger.messages[..number].iter().filter(|earlier| earlier.topic == message.topic);
        if let Some(late) = earlier.into_iter().find(|earlier| first(&earlier.payload) > Some(place)) {
            lab.fail(&format!("{:?} was acknowledged after {:?}", late.payload, message.payload));
        }
    }
    if lab.groups() != [("g".to_owned(), 0)] {
        lab.fail(&format!("the groups are {:?}", lab.groups()));
    }
}

/// Crashes when the position is stored of a group that has some messages acknowledged, and others not.
fn position_scenario(lab: &mut Lab, crash: Crash, lifetime: Lifetime) {
    let (publisher, members) = clients(lab, lifetime);
    lab.clients[members[1]].withholds = true;
    publish(lab, publisher, TOPICS, ["1", "2", "3", "4"]);
    let withheld = lab.clients[members[1]].withheld.len();
    assert!((1..4).contains(&withheld), "{withheld} are withheld");
    lab.pass(1);
    lab.crash(crash);
    settle(lab, members);
    check(lab);
    lab.crash(crash);
    settle(lab, members);
    check(lab);
}

#[test]
fn a_position_of_a_group_passes_what_was_acknowledged_only() {
    for lifetime in [Durable, Transient] {
        with_every_crash_of_one(|lab, crash| position_scenario(lab, crash, lifetime));
    }
}

#[test]
fn nothing_waits_for_the_position_of_a_group() {
    let mut lab = Lab::new(1, Level::PowerLoss);
    let (publisher, [first, second]) = clients(&mut lab, Durable);
    lab.clients[first].withholds = true;
    lab.lose(second);
    // More than a member is sent at once.
    for number in 0..30_u32 {
        (0..5).for_each(|part| lab.publish(publisher, "group/1", &format!("{number}.{part}"), Q1));
        work(&mut lab);
    }
    assert_eq!(lab.clients[first].withheld.len(), 100);
    lab.freeze();
    lab.release(first);
    work(&mut lab);
    assert_eq!(lab.deliveries(first).count(), 150);
}

/// Messages and members come and go. Returns the number of steps.
fn play(lab: &mut Lab, lifetime: Lifetime) -> u64 {
    let (publisher, members @ [first, second]) = clients(lab, lifetime);
    members.iter().for_each(|member| lab.clients[*member].withholds = true);
    lab.lose(second);
    publish(lab, publisher, TOPICS, ["1", "2", "3", "4"]);
    lab.connect(second);
    publish(lab, publisher, TOPICS, ["5", "6", "7", "8"]);
    lab.release(first);
    work(lab);
    lab.clients[first].withholds = true;
    lab.lose(second);
    work(lab);
    lab.connect(second);
    work(lab);
    lab.release(second);
    lab.pass(1);
    let steps = lab.steps;
    settle(lab, members);
    check(lab);
    steps
}

#[test]
fn a_message_of_a_group_waits_for_another_member_that_has_it_or_an_earlier_one_through_a_crash_at_every_step() {
    for (shards, loss, lifetime) in [(1, Loss::Process, Transient), (2, Loss::Power, Durable)] {
        let level = if loss == Loss::Process { Level::Crash } else { Level::PowerLoss };
        // Each step has two of its eight crashes.
        let crashes = |step: u64| crashes_of(loss, step).skip(usize::try_from(step % 4 * 2).unwrap()).take(2);
        crash_at_every_step(&lifetime, || Lab::new(shards, level), crashes, |lab| play(lab, lifetime));
    }
}

/// The first member refuses its messages for the last time, or both do. If its shard is late, the other one may store the position before the dead
/// letters are passed to the store.
fn letter_scenario(lab: &mut Lab, crash: Crash, (is_late, both): (bool, bool)) {
    let (publisher, members @ [first, second]) = clients(lab, Durable);
    lab.clients[first].refusals = u32::MAX;
    lab.clients[second].refusals = if both { u32::MAX } else { 0 };
    publish(lab, publisher, TOPICS, ["1", "2", "3", "4"]);
    (lab.clients[second].refusals, lab.clients[second].withholds) = (0, true);
    publish(lab, publisher, OTHERS, ["5", "6", "7", "8"]);
    assert!(!lab.clients[second].withheld.is_empty(), "nothing is withheld");
    lab.pass(3);
    lab.advance(3);
    lab.freeze();
    // Its shard will store the position.
    lab.release(second);
    lab.clients[second].refusals = if both { u32::MAX } else { 0 };
    lab.advance_millis(2);
    lab.run_to(first, |packet| matches!(packet, ServerPacket::Publish(_)));
    lab.late = (is_late && lab.shards.len() > 1).then_some(1);
    work(lab);
    lab.pass(1);
    lab.crash(crash);
    settle(lab, members);
    check(lab);
    lab.crash(crash);
    settle(lab, members);
    check(lab);
}

#[test]
fn a_position_of_a_group_passes_a_dead_letter_that_is_in_the_log_before_it() {
    for choice in [(false, false), (true, false), (true, true)] {
        with_every_crash_of_one(|lab, crash| letter_scenario(lab, crash, choice));
    }
}
