//! The RETAIN flag of messages that the server forwards.

use crate::context::Context;
use crate::failure::{Outcome, check_equal, check_qos};
use crate::wire::{Filter, Publish};

pub(in crate::cases) fn empty_is_delivered(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    for qos in 0..=2 {
        publisher.publish(Publish::new(&topic, "kept").retain().qos(1))?;
        subscriber.expect_message(&topic, "kept")?;
        publisher.publish(Publish::new(&topic, "").retain().qos(qos))?;
        let message = subscriber.expect_message(&topic, "")?;
        check_equal("the RETAIN flag", message.retain, false)?;
        check_qos(cx.version(), message.qos, qos)?;
    }
    Ok(())
}

pub(in crate::cases) fn zero_for_established_subscriptions(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    for granted in 0..=2 {
        let mut subscriber = cx.client("subscriber")?;
        subscriber.subscribe(&topic, granted)?;
        for qos in 0..=2 {
            publisher.publish(Publish::new(&topic, "forwarded").retain().qos(qos))?;
            let message = subscriber.expect_message(&topic, "forwarded")?;
            check_equal("the RETAIN flag", message.retain, false)?;
        }
        publisher.publish(Publish::new(&topic, "").retain().qos(1))?;
    }
    Ok(())
}

pub(in crate::cases) fn zero_for_those_away(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let away = cx.connecting("away").persistent(600);
    let mut client = cx.connect(away.clone())?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    cx.client("publisher")?.publish(Publish::new(&topic, "forwarded").retain().qos(1))?;
    let mut client = cx.connect(away)?;
    let message = client.expect_message(&topic, "forwarded")?;
    check_equal("the RETAIN flag", message.retain, false)
}

pub(in crate::cases) fn retain_as_published(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let away = cx.connecting("away").persistent(600);
    let mut client = cx.connect(away.clone())?;
    client.subscribe(&topic, 1 | Filter::RETAIN_AS_PUBLISHED)?;
    client.disconnect()?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2 | Filter::RETAIN_AS_PUBLISHED)?;
    let mut publisher = cx.client("publisher")?;
    for qos in [1, 2, 0] {
        for retain in [true, false] {
            publisher.publish(Publish { retain, ..Publish::new(&topic, "forwarded").qos(qos) })?;
            let message = subscriber.expect_message(&topic, "forwarded")?;
            check_equal("the RETAIN flag", message.retain, retain)?;
        }
    }
    let mut client = cx.connect(away)?;
    for retain in [true, false, true, false] {
        let message = client.expect_message(&topic, "forwarded")?;
        check_equal("the RETAIN flag", message.retain, retain)?;
    }
    publisher.publish(Publish::new(&topic, "").retain())
}

pub(in crate::cases) fn as_published_by_subscription(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut with = cx.client("with")?;
    let mut without = cx.client("without")?;
    with.subscribe(&topic, Filter::RETAIN_AS_PUBLISHED)?;
    without.subscribe(&topic, 0)?;
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "forwarded").retain())?;
    let message = with.expect_message(&topic, "forwarded")?;
    check_equal("the RETAIN flag with Retain As Published", message.retain, true)?;
    let message = without.expect_message(&topic, "forwarded")?;
    check_equal("the RETAIN flag without Retain As Published", message.retain, false)?;
    publisher.publish(Publish::new(&topic, "").retain())
}

pub(in crate::cases) fn as_published_is_replaced(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    for options in [0, Filter::RETAIN_AS_PUBLISHED, 0] {
        client.subscribe(&topic, options | Filter::RETAIN_NEVER)?;
        client.publish(Publish::new(&topic, "forwarded").retain())?;
        let message = client.expect_message(&topic, "forwarded")?;
        check_equal("the RETAIN flag", message.retain, options != 0)?;
    }
    client.publish(Publish::new(&topic, "").retain())
}
