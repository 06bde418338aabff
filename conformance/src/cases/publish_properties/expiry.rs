//! The Message Expiry Interval.

use std::time::Duration;

use crate::context::Context;
use crate::failure::{Outcome, check};
use crate::wire::{Publish, property};

/// The Message Expiry Interval of these cases in seconds, longer than the slowest run.
const INTERVAL: u32 = 1_000;

fn expiring(topic: &str, payload: &str, seconds: u32) -> Publish {
    Publish::new(topic, payload).qos(1).with(property::MESSAGE_EXPIRY_INTERVAL, seconds)
}

pub(in crate::cases) fn expired_while_away(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let away = cx.connecting("away").persistent(600);
    let mut client = cx.connect(away.clone())?;
    client.subscribe(&topic, 2)?;
    client.disconnect()?;
    let mut publisher = cx.client("publisher")?;
    publisher.publish(expiring(&topic, "expired", 1))?;
    publisher.publish(Publish::new(&topic, "never expires").qos(1))?;
    publisher.publish(expiring(&topic, "expired", 1).qos(2))?;
    publisher.publish(expiring(&topic, "expires later", INTERVAL))?;
    cx.sleep(Duration::from_millis(2_500));
    let mut client = cx.connect(away)?;
    client.expect_message(&topic, "never expires")?;
    client.expect_message(&topic, "expires later")?;
    client.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn expired_retained(cx: &mut Context) -> Outcome {
    let (expired, other) = (cx.topic("a"), cx.topic("b"));
    let mut publisher = cx.client("publisher")?;
    publisher.publish(expiring(&expired, "expired", 1).retain())?;
    publisher.publish(expiring(&other, "expires later", INTERVAL).retain())?;
    cx.sleep(Duration::from_millis(2_500));
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&expired, 1)?;
    subscriber.subscribe(&other, 1)?;
    subscriber.expect_message(&other, "expires later")?;
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn expired_behind_others(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.connect(cx.connecting("subscriber").with(property::RECEIVE_MAXIMUM, 1))?;
    subscriber.subscribe(&topic, 1)?;
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "in flight").qos(1))?;
    let in_flight = subscriber.expect_publish()?;
    publisher.publish(expiring(&topic, "expired", 1))?;
    publisher.publish(expiring(&topic, "expires later", INTERVAL))?;
    cx.sleep(Duration::from_millis(2_500));
    subscriber.acknowledge(&in_flight)?;
    subscriber.expect_message(&topic, "expires later")?;
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn reduced_by_waiting(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let away = cx.connecting("away").persistent(600);
    let mut client = cx.connect(away.clone())?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    let mut slow = cx.connect(cx.connecting("slow").with(property::RECEIVE_MAXIMUM, 1))?;
    slow.subscribe(&topic, 1)?;
    let mut publisher = cx.client("publisher")?;
    publisher.publish(expiring(&topic, "in flight", INTERVAL))?;
    let in_flight = slow.expect_publish()?;
    publisher.publish(expiring(&topic, "waits", INTERVAL).retain())?;
    cx.sleep(Duration::from_millis(2_100));
    let mut client = cx.connect(away)?;
    check_reduced(&client.expect_message(&topic, "in flight")?, 2)?;
    check_reduced(&client.expect_message(&topic, "waits")?, 2)?;
    slow.acknowledge(&in_flight)?;
    check_reduced(&slow.expect_message(&topic, "waits")?, 2)?;
    let mut late = cx.client("late")?;
    late.subscribe(&topic, 1)?;
    check_reduced(&late.expect_message(&topic, "waits")?, 2)
}

pub(in crate::cases) fn kept_without_waiting(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 2)?;
    for interval in [INTERVAL, 0x0001_0000, u32::MAX] {
        for qos in 0..=2 {
            client.publish(expiring(&topic, "at once", interval).qos(qos))?;
            let message = client.expect_message(&topic, "at once")?;
            let came = message.properties.number(property::MESSAGE_EXPIRY_INTERVAL).unwrap_or_default();
            let expected = format!("a Message Expiry Interval of {interval} or a little less");
            check(came <= interval && came >= interval - 20, expected, came.to_string())?;
        }
    }
    Ok(())
}

/// The message has waited at least this long, and not much longer.
fn check_reduced(message: &Publish, waited: u32) -> Outcome {
    let came = message.properties.number(property::MESSAGE_EXPIRY_INTERVAL);
    let fits = came.is_some_and(|came| came <= INTERVAL - waited && came >= INTERVAL - waited - 20);
    let expected = format!("a Message Expiry Interval of {} or a little less", INTERVAL - waited);
    check(fits, expected, format!("{came:?}"))
}
