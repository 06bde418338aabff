//! Retained messages.

use crate::case::{Case, Feature};
use crate::context::Context;
use crate::failure::{Outcome, check_equal};
use crate::wire::Publish;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "a_new_subscriber_gets_the_last_retained_message_with_retain_1",
        &["MQTT-3.3.1-6", "MQTT-3.3.1-8"],
        &["MQTT-3.3.1-5", "MQTT-3.3.1-9"],
        last_retained_message,
    )
    .needs(&[Feature::Retain]),
    Case::both(
        "an_empty_retained_message_removes_the_retained_message",
        &["MQTT-3.3.1-10", "MQTT-3.3.1-11"],
        &["MQTT-3.3.1-6", "MQTT-3.3.1-7"],
        empty_retained_message,
    )
    .needs(&[Feature::Retain]),
];

fn last_retained_message(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "first").retain().qos(1))?;
    publisher.publish(Publish::new(&topic, "second").retain().qos(1))?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    let message = subscriber.expect_message(&topic, "second")?;
    check_equal("the RETAIN flag", message.retain, true)?;
    subscriber.expect_silence_after(&mut publisher)
}

fn empty_retained_message(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "first").retain().qos(1))?;
    publisher.publish(Publish::new(&topic, "").retain().qos(1))?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    subscriber.expect_silence_after(&mut publisher)
}
