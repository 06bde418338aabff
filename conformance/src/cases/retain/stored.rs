//! Storing, replacing and removing retained messages.

use crate::context::Context;
use crate::failure::{Outcome, check, check_equal, check_qos};
use crate::wire::Publish;

pub(in crate::cases) fn with_its_qos(cx: &mut Context) -> Outcome {
    let topics = [cx.topic("1"), cx.topic("2")];
    let mut publisher = cx.client("publisher")?;
    for (topic, qos) in topics.iter().zip(1..) {
        publisher.publish(Publish::new(topic, "kept").retain().qos(qos))?;
    }
    publisher.disconnect()?;
    for granted in 0..=2 {
        let mut subscriber = cx.client("subscriber")?;
        for (topic, qos) in topics.iter().zip(1u8..) {
            subscriber.subscribe(topic, granted)?;
            let message = subscriber.expect_message(topic, "kept")?;
            check_equal("the RETAIN flag", message.retain, true)?;
            check_equal("the DUP flag", message.dup, false)?;
            check_qos(cx.version(), message.qos, qos.min(granted))?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn qos_0_replaces(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "old").retain().qos(1))?;
    publisher.publish(Publish::new(&topic, "new").retain())?;
    // The response shows that the earlier message was processed too.
    publisher.publish(Publish::new(cx.topic("b"), "").qos(1))?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    // The server may discard the new message, but the previous one must be gone.
    for message in subscriber.messages_until_marker(&mut publisher)? {
        check_equal("the payload", &message.payload, "new")?;
        check_qos(cx.version(), message.qos, 0)?;
        check_equal("the RETAIN flag", message.retain, true)?;
    }
    Ok(())
}

pub(in crate::cases) fn every_topic_its_own(cx: &mut Context) -> Outcome {
    let names = ["a", "a/", "a/b", "a/b/c", "A"];
    let mut publisher = cx.client("publisher")?;
    for payload in ["old", "new"] {
        for name in names {
            publisher.publish(Publish::new(cx.topic(&format!("r/{name}")), payload).retain().qos(1))?;
        }
    }
    // Removing the message of a topic doesn't affect topics above, below and beside it.
    publisher.publish(Publish::new(cx.topic("r/a/b"), "").retain().qos(1))?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&cx.topic("r/#"), 1)?;
    let messages = subscriber.messages_until_marker(&mut publisher)?;
    let new = messages.iter().all(|message| message.retain && message.payload == "new");
    check(new, "the last message of each topic, with RETAIN 1", format!("{messages:?}"))?;
    let mut came: Vec<String> = messages.iter().map(|message| message.topic.to_text()).collect();
    came.sort();
    let expected = ["r/A", "r/a", "r/a/", "r/a/b/c"].map(|name| cx.topic(name));
    check_equal("the topics with a retained message", &came[..], &expected[..])
}

pub(in crate::cases) fn retain_0_changes_nothing(cx: &mut Context) -> Outcome {
    let (kept, none) = (cx.topic("kept"), cx.topic("none"));
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&kept, "kept").retain().qos(1))?;
    for payload in ["not kept", ""] {
        for topic in [&kept, &none] {
            for qos in 0..=1 {
                publisher.publish(Publish::new(topic, payload).qos(qos))?;
            }
        }
        let mut subscriber = cx.client("subscriber")?;
        subscriber.subscribe(&none, 1)?;
        subscriber.subscribe(&kept, 1)?;
        let message = subscriber.expect_message(&kept, "kept")?;
        check_equal("the RETAIN flag", message.retain, true)?;
        subscriber.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(in crate::cases) fn empty_at_any_qos(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    for qos in 0..=2 {
        publisher.publish(Publish::new(&topic, "removed").retain().qos(1))?;
        // The second removal finds no message.
        for _ in 0..2 {
            publisher.publish(Publish::new(&topic, "").retain().qos(qos))?;
            publisher.publish(Publish::new(cx.topic("b"), "").qos(1))?;
            let mut subscriber = cx.client("subscriber")?;
            subscriber.subscribe(&topic, 1)?;
            subscriber.expect_silence_after(&mut publisher)?;
        }
    }
    Ok(())
}
