//! The Will Message and its properties.

use std::time::Duration;

use crate::case::Case;
use crate::context::Context;
use crate::failure::Outcome;
use crate::wire::{Will, property};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "the_will_is_published_when_the_connection_breaks",
        &["MQTT-3.1.2-8"],
        &["MQTT-3.1.2-8"],
        will_on_broken_connection,
    ),
    Case::v5("the_will_waits_for_its_delay", &["MQTT-3.1.3-9"], will_delay).seconds(15),
];

fn will_on_broken_connection(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    cx.connect(cx.connecting("willing").will(Will::new(&topic, "gone")))?.abandon();
    subscriber.expect_message(&topic, "gone")?;
    Ok(())
}

fn will_delay(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let will = Will::new(&topic, "gone").with(property::WILL_DELAY_INTERVAL, 2);
    let connect = cx.connecting("willing").persistent(60).will(will);
    // A client that is back before the delay is over has no Will published.
    cx.connect(connect.clone())?.abandon();
    let back = cx.connect(connect)?;
    subscriber.expect_nothing(Duration::from_secs(3))?;
    back.abandon();
    subscriber.expect_nothing(Duration::from_secs(1))?;
    subscriber.expect_message(&topic, "gone")?;
    Ok(())
}
