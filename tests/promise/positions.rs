//! The positions of durable Sessions in streams.

use oncemq::codec::{Qos, ServerPacket};
use oncemq::store::Level;
use oncemq::store::sim::Loss;

use crate::client::Lifetime::Durable;
use crate::lab::{Crash, Lab};
use crate::rows::with_every_crash_of_one;
use crate::steps::crashes_of;

const Q0: Qos = Qos::AtMostOnce;
const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;

/// A publisher, and a consumer that has a Session but no subscription.
fn clients(lab: &mut Lab) -> (usize, usize) {
    lab.keep_stream("t");
    (lab.connected("publisher", Durable), lab.connected("consumer", Durable))
}

/// Runs all steps, those of the next seconds, too.
pub(crate) fn settle(lab: &mut Lab) {
    lab.run();
    (0..3).for_each(|_| lab.pass(1));
}

/// Each copy of a message that the consumer has got: whether it had DUP.
fn copies(lab: &Lab, consumer: usize, payload: &str) -> Vec<bool> {
    lab.deliveries(consumer).filter(|got| got.payload == payload).map(|got| got.dup).collect()
}

/// Crashes when a window was taken, and again when it was sent and acknowledged.
fn window_scenario(lab: &mut Lab, crash: Crash) {
    let (publisher, consumer) = clients(lab);
    lab.subscribe(consumer, "$stream/kept", Q1);
    lab.run();
    lab.publish(publisher, "t", "zero", Q0);
    lab.publish(publisher, "t", "first", Q1);
    lab.run_to(publisher, |packet| matches!(packet, ServerPacket::Puback(_)));
    // Both are in the stream, and the window is taken now.
    lab.freeze();
    lab.run();
    lab.crash(crash);
    settle(lab);
    lab.publish(publisher, "t", "second", Q1);
    settle(lab);
    lab.crash(crash);
    settle(lab);
    check(lab, consumer, &["first", "second"]);
}

/// These messages, each once in the stream, have come to the consumer: again with DUP only.
fn check(lab: &Lab, consumer: usize, payloads: &[&str]) {
    for payload in payloads {
        let copies = copies(lab, consumer, payload);
        if copies.is_empty() {
            lab.fail(&format!("{payload:?} is in the stream and is lost for the consumer"));
        }
        if copies[1..].contains(&false) {
            lab.fail(&format!("{payload:?} came again without DUP"));
        }
    }
    let count = copies(lab, consumer, "zero").len();
    if count > 1 {
        lab.fail(&format!("a message at QoS 0 came {count} times"));
    }
}

/// Crashes before one of the steps behind the subscription, if there are so many. Returns whether there are.
fn play(shards: usize, (loss, step): (Loss, u64), crash: Crash) -> bool {
    let level = if loss == Loss::Process { Level::Crash } else { Level::PowerLoss };
    let mut lab = Lab::new(shards, level);
    lab.trace = Some(Vec::new());
    let (publisher, consumer) = clients(&mut lab);
    lab.subscribe(consumer, "$stream/kept", Q1);
    lab.run();
    lab.crash_at = Some((lab.steps + step, crash));
    lab.publish(publisher, "t", "zero", Q0);
    lab.publish(publisher, "t", "first", Q2);
    lab.publish(publisher, "t", "second", Q2);
    lab.run();
    lab.lose(consumer);
    lab.publish(publisher, "t", "third", Q2);
    lab.run();
    lab.connect(consumer);
    lab.run();
    let has_crashed = lab.crash_at.is_none();
    lab.crash_at = None;
    if lab.clients[consumer].connection().is_none() {
        lab.connect(consumer);
    }
    settle(&mut lab);
    check(&lab, consumer, &["first", "second", "third"]);
    has_crashed
}

#[test]
fn a_durable_consumer_of_a_stream_gets_all_through_a_crash_at_every_step() {
    for (shards, loss) in [(1, Loss::Process), (2, Loss::Process), (1, Loss::Power), (2, Loss::Power)] {
        let mut step = 1;
        while crashes_of(loss, step).filter(|crash| play(shards, (loss, step), *crash)).count() > 0 {
            step += 1;
        }
        assert!(step > 30, "{step} steps");
    }
}

#[test]
fn a_window_of_a_stream_is_sent_when_it_and_the_position_are_stable() {
    with_every_crash_of_one(window_scenario);
    let mut lab = Lab::new(1, Level::PowerLoss);
    let (publisher, consumer) = clients(&mut lab);
    lab.subscribe(consumer, "$stream/kept", Q1);
    lab.run();
    lab.publish(publisher, "t", "m", Q1);
    lab.run_to(publisher, |packet| matches!(packet, ServerPacket::Puback(_)));
    let before = lab.log.appended;
    lab.run_to(consumer, |packet| matches!(packet, ServerPacket::Publish(_)));
    assert_eq!(lab.log.appended, before + 1, "window and position are one record");
}

/// Crashes while the subscription, or its end, is not stable.
fn subscription_scenario(lab: &mut Lab, crash: Crash, ends: bool) {
    let (publisher, consumer) = clients(lab);
    if ends {
        lab.subscribe(consumer, "$stream/kept", Q1);
        lab.run();
    }
    lab.freeze();
    if ends {
        lab.unsubscribe(consumer, "$stream/kept")
    } else {
        lab.subscribe(consumer, "$stream/kept", Q1)
    }
    lab.run();
    lab.crash(crash);
    settle(lab);
    // A request without an answer was sent again.
    lab.crash(crash);
    settle(lab);
    lab.publish(publisher, "t", "m", Q1);
    settle(lab);
    let count = copies(lab, consumer, "m").len();
    if count != usize::from(!ends) {
        lab.fail(&format!("\"m\" came {count} times"));
    }
}

#[test]
fn suback_and_unsuback_wait_for_the_position_in_a_stream() {
    for ends in [false, true] {
        with_every_crash_of_one(|lab, crash| subscription_scenario(lab, crash, ends));
    }
}
