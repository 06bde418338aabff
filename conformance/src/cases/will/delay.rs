//! The Will Delay Interval.

use std::time::Duration;

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::wire::{Connect, Disconnect, Will, property};

fn subscriber(cx: &mut Context) -> Result<(Client, String), Failure> {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    Ok((subscriber, topic))
}

fn willing(cx: &Context, topic: &str, delay: u32) -> Connect {
    let will = Will::new(topic, "gone").with(property::WILL_DELAY_INTERVAL, delay);
    cx.connecting("willing").will(will)
}

pub(super) fn back_in_time(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    let connect = willing(cx, &topic, 2).persistent(60);
    // If the client reconnects within the delay, no Will is published.
    cx.connect(connect.clone())?.abandon();
    let back = cx.connect(connect)?;
    subscriber.expect_nothing(Duration::from_secs(3))?;
    back.abandon();
    subscriber.expect_nothing(Duration::from_secs(1))?;
    subscriber.expect_message(&topic, "gone")?;
    Ok(())
}

pub(super) fn takeover(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    let older = cx.connect(willing(cx, &topic, 1).persistent(60))?;
    let mut newer = cx.connect(cx.connecting("willing").persistent(60))?;
    subscriber.expect_nothing(Duration::from_secs(3))?;
    drop(older);
    newer.ping()
}

pub(super) fn session_ends_first(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    // The Session ends with the connection.
    cx.connect(willing(cx, &topic, 3_600))?.abandon();
    subscriber.expect_message(&topic, "gone")?;
    // The Session ends some time later.
    cx.connect(willing(cx, &topic, 3_600).persistent(2))?.abandon();
    subscriber.expect_nothing(Duration::from_secs(1))?;
    subscriber.expect_message(&topic, "gone")?;
    // DISCONNECT ends the Session.
    let disconnect = Disconnect::new().reason(0x04).with(property::SESSION_EXPIRY_INTERVAL, 0);
    cx.connect(willing(cx, &topic, 3_600).persistent(60))?.disconnect_with(disconnect)?;
    subscriber.expect_message(&topic, "gone")?;
    Ok(())
}

pub(super) fn normal_disconnect(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    // The Will appears neither after the delay nor after the end of the Session.
    cx.connect(willing(cx, &topic, 1).persistent(60))?.disconnect()?;
    let other = willing(cx, &topic, 60).client_id(cx.client_id("other"));
    cx.connect(other.persistent(1))?.disconnect()?;
    subscriber.expect_nothing(Duration::from_secs(3))
}

pub(super) fn disconnect_with_will(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    let disconnect = Disconnect::new().reason(0x04);
    cx.connect(willing(cx, &topic, 2).persistent(60))?.disconnect_with(disconnect)?;
    subscriber.expect_nothing(Duration::from_secs(1))?;
    subscriber.expect_message(&topic, "gone")?;
    Ok(())
}
