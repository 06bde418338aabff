//! A batch is acknowledged when it is stable as a whole. After a crash at any step, it is there as a whole or not at all.

use oncemq::codec::{ProtocolVersion, Qos};
use oncemq::store::Level;
use oncemq::store::sim::Loss;

use crate::client::Lifetime::{self, Durable, Transient};
use crate::lab::{Crash, Lab};
use crate::rows::with_every_crash;
use crate::steps::crashes_of;

const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;

/// Two messages for `first`, three for `second`, one of them retained and one larger than the others.
fn publish(lab: &mut Lab, publisher: usize, qos: Qos) {
    let large = "c".repeat(3_000);
    let messages = [("t", "a", Q1, false), ("u", "b", Q2, true), ("u", large.as_str(), Q2, false)];
    lab.publish_batch(publisher, &messages, qos);
}

/// A batch for durable Sessions that are away and for a transient one, with crashes before and after its acknowledgement.
fn batch_scenario(lab: &mut Lab, crash: Crash, (lifetime, qos): (Lifetime, Qos)) {
    let publisher = lab.connected("publisher", lifetime);
    let [first, second] = ["first", "second"].map(|name| lab.connected(name, Durable));
    let passing = lab.connected("passing", Transient);
    for (subscriber, filter) in [(first, "u"), (second, "t"), (second, "u"), (passing, "t"), (passing, "u")] {
        lab.subscribe(subscriber, filter, Q2);
        lab.run();
    }
    lab.lose(first);
    lab.lose(second);
    lab.run();
    lab.freeze();
    publish(lab, publisher, qos);
    lab.run();
    if lab.deliveries(passing).count() > 0 {
        lab.fail("a message of the batch was delivered before the batch was stable");
    }
    lab.crash(crash);
    lab.run();
    lab.crash(crash);
    lab.finish();
    let is_there = lab.count(second, "a") > 0;
    if !is_there && lab.ledger.messages[0].acknowledged {
        lab.fail("the batch was acknowledged and is lost");
    }
    let late = lab.connected("late", Transient);
    lab.subscribe(late, "u", Q2);
    lab.run();
    if (lab.deliveries(late).count() == 1) != is_there {
        lab.fail("the retained message of the batch is there without the others, or the others without it");
    }
}

#[test]
fn the_answer_to_a_batch_waits_for_all_its_messages_and_a_crash_keeps_all_or_none() {
    for qos in [Q1, Q2] {
        for lifetime in [Durable, Transient] {
            with_every_crash(|lab, crash| batch_scenario(lab, crash, (lifetime, qos)));
        }
    }
    let mut lab = Lab::new(1, Level::PowerLoss);
    let (publisher, second) = (lab.connected("publisher", Durable), lab.connected("second", Durable));
    lab.subscribe(second, "t", Q2);
    lab.run();
    lab.freeze();
    let before = lab.log.appended;
    publish(&mut lab, publisher, Q2);
    lab.run();
    assert_eq!(lab.log.appended, before + 1, "messages, identifier and retained update are one change");
}

/// Runs from the first CONNECT to the last acknowledgement. Returns the number of steps.
fn play(lab: &mut Lab, (version, lifetime): (ProtocolVersion, Lifetime), qos: Qos) -> u64 {
    let publisher = lab.client("publisher", version, lifetime);
    let [first, second] = ["first", "second"].map(|name| lab.client(name, ProtocolVersion::V5, Durable));
    for (subscriber, filters) in [(first, &["u"][..]), (second, &["t", "u"])] {
        lab.connect(subscriber);
        filters.iter().for_each(|filter| lab.subscribe(subscriber, filter, Q2));
        lab.run();
    }
    lab.connect(publisher);
    publish(lab, publisher, qos);
    lab.run();
    let steps = lab.steps;
    lab.finish();
    steps
}

#[test]
fn a_batch_is_whole_through_a_crash_at_every_step() {
    let (new, old) = (ProtocolVersion::V5, ProtocolVersion::V3_1_1);
    for (qos, loss, shards, publisher) in [
        (Q1, Loss::Process, 1, (new, Durable)),
        (Q2, Loss::Process, 2, (old, Durable)),
        (Q2, Loss::Power, 1, (new, Durable)),
        (Q2, Loss::Power, 2, (new, Transient)),
    ] {
        let level = if loss == Loss::Process { Level::Crash } else { Level::PowerLoss };
        let steps = play(&mut Lab::new(shards, level), publisher, qos);
        assert!(steps > 20, "{steps} steps");
        for (step, crash) in (1..=steps).flat_map(|step| crashes_of(loss, step).map(move |crash| (step, crash))) {
            let mut lab = Lab::new(shards, level);
            lab.crash_at = Some((step, crash));
            play(&mut lab, publisher, qos);
            assert!(lab.crash_at.is_none(), "it didn't come");
        }
    }
}
