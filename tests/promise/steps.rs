//! A crash before and after every step of all handshakes, for durable and transient endpoints on both sides.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use oncemq::codec::{ProtocolVersion, Qos};
use oncemq::store::Level;
use oncemq::store::sim::Loss;

use crate::client::Lifetime::{self, Durable, Transient};
use crate::lab::{Crash, Lab, Wire};
use crate::log::Committed;
use crate::replicas::Survivor;

/// The participants of an exchange.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    qos: Qos,
    publisher: (ProtocolVersion, Lifetime),
    subscriber: (ProtocolVersion, Lifetime),
    shards: usize,
}

/// Runs from the first CONNECT to the last acknowledgement. Returns the number of steps.
fn play(lab: &mut Lab, exchange: Exchange) -> u64 {
    let Exchange { qos, publisher: (version, lifetime), subscriber, .. } = exchange;
    let publisher = lab.client("publisher", version, lifetime);
    let subscriber = lab.client("subscriber", subscriber.0, subscriber.1);
    lab.connect(subscriber);
    lab.subscribe(subscriber, "t", qos);
    lab.run();
    lab.connect(publisher);
    lab.publish(publisher, "t", "first", qos);
    lab.publish(publisher, "t", "second", qos);
    lab.run();
    lab.publish(publisher, "t", "third", qos);
    lab.run();
    let steps = lab.steps;
    lab.finish();
    steps
}

/// `new`: a lab with this number of shards. With a replicated log, both sides are durable, and a majority has all that was committed or nothing more.
fn with_a_crash_at_every_step(qos: Qos, loss: Loss, new: impl Fn(usize) -> Lab) {
    let mut crashes = 0;
    let mut matrix = Vec::new();
    for (publisher, subscriber) in
        [(Durable, Durable), (Durable, Transient), (Transient, Durable), (Transient, Transient)]
    {
        let (new, old) = (ProtocolVersion::V5, ProtocolVersion::V3_1_1);
        for (shards, versions) in [(1, (new, old)), (2, (old, new))] {
            let (publisher, subscriber) = ((versions.0, publisher), (versions.1, subscriber));
            matrix.push(Exchange { qos, publisher, subscriber, shards });
        }
    }
    let is_replicated = new(1).log.is_replicated();
    matrix.retain(|exchange| !is_replicated || (exchange.publisher.1, exchange.subscriber.1) == (Durable, Durable));
    for exchange in matrix {
        let wanted = |crash: &Crash| !is_replicated || !matches!(crash.committed, Committed::Part(_));
        crashes += crash_at_every_step(
            &exchange,
            || new(exchange.shards),
            |step| crashes_of(loss, step).filter(wanted),
            |lab| play(lab, exchange),
        );
    }
    println!("{crashes} crashes");
}

/// Plays with each of these crashes before each step; `play` returns the number of steps. What fails is repeated with a trace. Returns the number of
/// crashes.
pub(crate) fn crash_at_every_step<C: Iterator<Item = Crash>>(
    what: &dyn Debug,
    new: impl Fn() -> Lab,
    crashes: impl Fn(u64) -> C,
    play: impl Fn(&mut Lab) -> u64,
) -> usize {
    let steps = play(&mut new());
    assert!(steps > 20, "{steps} steps");
    let mut count = 0;
    for (step, crash) in (1..=steps).flat_map(|step| crashes(step).map(move |crash| (step, crash))) {
        let run = |trace: Option<Vec<String>>| {
            let mut lab = new();
            (lab.trace, lab.crash_at) = (trace, Some((step, crash)));
            play(&mut lab);
            assert!(lab.crash_at.is_none(), "it didn't come");
        };
        if catch_unwind(AssertUnwindSafe(|| run(None))).is_err() {
            println!("{what:?}, before step {step}, again:");
            run(Some(Vec::new()));
        }
        count += 1;
    }
    count
}

/// Every combination of completed commits and delivered packets.
pub(crate) fn crashes_of(loss: Loss, step: u64) -> impl Iterator<Item = Crash> {
    let committed = [Committed::Nothing, Committed::Part(1), Committed::Part(2), Committed::All];
    committed.into_iter().flat_map(move |committed| {
        [Wire::Lost, Wire::Delivered].map(|wire| Crash { loss, committed, wire, seed: step })
    })
}

#[test]
fn qos1_comes_at_least_once_through_a_kill_at_every_step() {
    with_a_crash_at_every_step(Qos::AtLeastOnce, Loss::Process, |shards| Lab::new(shards, Level::Crash));
}

#[test]
fn qos1_comes_at_least_once_through_a_power_cut_at_every_step() {
    with_a_crash_at_every_step(Qos::AtLeastOnce, Loss::Power, |shards| Lab::new(shards, Level::PowerLoss));
}

#[test]
fn qos2_comes_exactly_once_through_a_kill_at_every_step() {
    with_a_crash_at_every_step(Qos::ExactlyOnce, Loss::Process, |shards| Lab::new(shards, Level::Crash));
}

#[test]
fn qos2_comes_exactly_once_through_a_power_cut_at_every_step() {
    with_a_crash_at_every_step(Qos::ExactlyOnce, Loss::Power, |shards| Lab::new(shards, Level::PowerLoss));
}

#[test]
fn qos1_comes_at_least_once_through_an_adoption_at_every_step() {
    with_a_crash_at_every_step(Qos::AtLeastOnce, Loss::Power, |shards| Lab::replicated(shards, Survivor::Copy));
}

#[test]
fn qos2_comes_exactly_once_through_an_adoption_at_every_step() {
    with_a_crash_at_every_step(Qos::ExactlyOnce, Loss::Power, |shards| Lab::replicated(shards, Survivor::Copy));
}

#[test]
fn qos2_comes_exactly_once_if_the_owner_cuts_its_log_at_every_step() {
    with_a_crash_at_every_step(Qos::ExactlyOnce, Loss::Process, |shards| Lab::replicated(shards, Survivor::Owner));
}
