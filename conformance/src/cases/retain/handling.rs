//! The subscription option Retain Handling.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check_equal};
use crate::wire::{Filter, Publish, Subscribe};

/// A publisher that has published a retained message.
fn retained(cx: &mut Context, topic: &str) -> Result<Client, Failure> {
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(topic, "kept").retain().qos(1))?;
    Ok(publisher)
}

fn expect_retained(subscriber: &mut Client, topic: &str) -> Outcome {
    let message = subscriber.expect_message(topic, "kept")?;
    check_equal("the RETAIN flag", message.retain, true)
}

pub(in crate::cases) fn at_every_subscribe(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = retained(cx, &topic)?;
    let mut subscriber = cx.client("subscriber")?;
    for options in [0, 0, 1, Filter::RETAIN_AS_PUBLISHED, Filter::NO_LOCAL] {
        subscriber.subscribe(&topic, options)?;
        expect_retained(&mut subscriber, &topic)?;
    }
    subscriber.expect_silence_after(&mut publisher)
}

pub(in crate::cases) fn only_if_new(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = retained(cx, &topic)?;
    let mut subscriber = cx.client("subscriber")?;
    for _ in 0..2 {
        subscriber.subscribe(&topic, 1 | Filter::RETAIN_IF_NEW)?;
        expect_retained(&mut subscriber, &topic)?;
        // Changed options don't make the subscription new.
        for options in [1, 0, Filter::NO_LOCAL] {
            subscriber.subscribe(&topic, options | Filter::RETAIN_IF_NEW)?;
            subscriber.expect_silence_after(&mut publisher)?;
        }
        subscriber.unsubscribe(&topic)?;
    }
    Ok(())
}

pub(in crate::cases) fn only_if_new_in_the_session(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = retained(cx, &topic)?;
    let connect = cx.connecting("subscriber").persistent(600);
    let mut subscriber = cx.connect(connect.clone())?;
    subscriber.subscribe(&topic, 1 | Filter::RETAIN_IF_NEW)?;
    expect_retained(&mut subscriber, &topic)?;
    subscriber.disconnect()?;
    let mut subscriber = cx.connect(connect)?;
    subscriber.subscribe(&topic, 1 | Filter::RETAIN_IF_NEW)?;
    subscriber.expect_silence_after(&mut publisher)?;
    subscriber.disconnect()?;
    // In a new Session, the subscription is new again.
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1 | Filter::RETAIN_IF_NEW)?;
    expect_retained(&mut subscriber, &topic)
}

pub(in crate::cases) fn never(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = retained(cx, &topic)?;
    let mut subscriber = cx.client("subscriber")?;
    for _ in 0..2 {
        subscriber.subscribe(&topic, 1 | Filter::RETAIN_NEVER)?;
        subscriber.expect_silence_after(&mut publisher)?;
    }
    // The option concerns retained messages only, not later ones.
    publisher.publish(Publish::new(&topic, "new").retain().qos(1))?;
    let message = subscriber.expect_message(&topic, "new")?;
    check_equal("the RETAIN flag", message.retain, false)
}

pub(in crate::cases) fn by_subscription(cx: &mut Context) -> Outcome {
    let topics = [cx.topic("always"), cx.topic("new"), cx.topic("never")];
    let mut publisher = cx.client("publisher")?;
    for topic in &topics {
        publisher.publish(Publish::new(topic, "kept").retain().qos(1))?;
    }
    let [always, new, never] = &topics;
    let all = Subscribe::new(always, 1).and(new, 1 | Filter::RETAIN_IF_NEW).and(never, 1 | Filter::RETAIN_NEVER);
    let mut subscriber = cx.client("subscriber")?;
    for expected in [&[always, new][..], &[always]] {
        subscriber.subscribe_with(all.clone())?;
        let messages = subscriber.messages_until_marker(&mut publisher)?;
        let mut came: Vec<String> = messages.iter().map(|message| message.topic.to_text()).collect();
        came.sort();
        check_equal("the topics whose retained message comes", came.iter().collect::<Vec<_>>(), expected)?;
    }
    Ok(())
}
