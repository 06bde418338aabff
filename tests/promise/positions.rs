//! The positions of durable Sessions in streams.

use oncemq::codec::{Qos, ServerPacket};

use crate::client::Lifetime::Durable;
use crate::lab::{Crash, Lab};
use crate::rows::with_every_crash;

const Q0: Qos = Qos::AtMostOnce;
const Q1: Qos = Qos::AtLeastOnce;

/// A publisher, and a consumer that has a Session but no subscription.
fn clients(lab: &mut Lab) -> (usize, usize) {
    lab.keep_stream("t");
    (lab.connected("publisher", Durable), lab.connected("consumer", Durable))
}

/// Runs all steps, those of the next seconds, too.
fn settle(lab: &mut Lab) {
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
    for payload in ["first", "second"] {
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

#[test]
fn a_window_of_a_stream_is_sent_when_it_and_the_position_are_stable() {
    with_every_crash(window_scenario);
    let mut lab = Lab::new(1, oncemq::store::Level::PowerLoss);
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
    lab.publish(publisher, "t", "m", Q1);
    settle(lab);
    // A request without an answer was sent again.
    let count = copies(lab, consumer, "m").len();
    if count != usize::from(!ends) {
        lab.fail(&format!("\"m\" came {count} times"));
    }
}

#[test]
fn suback_and_unsuback_wait_for_the_position_in_a_stream() {
    for ends in [false, true] {
        with_every_crash(|lab, crash| subscription_scenario(lab, crash, ends));
    }
}
