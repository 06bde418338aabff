//! The Subscription Options: No Local, Retain As Published, Retain Handling.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Outcome, check_equal};
use crate::wire::{Filter, Publish};

pub(super) fn no_local(cx: &mut Context) -> Outcome {
    let mut client = cx.client("own")?;
    let mut other = cx.client("other")?;
    for qos in 0..3 {
        let topic = cx.topic(&qos.to_string());
        client.subscribe(&topic, qos | Filter::NO_LOCAL)?;
        other.subscribe(&topic, qos)?;
        client.publish(Publish::new(&topic, "own").qos(qos))?;
        other.expect_message(&topic, "own")?;
        client.expect_silence_after_own()?;
        other.publish(Publish::new(&topic, "of another").qos(qos))?;
        client.expect_message(&topic, "of another")?;
        // Without the option, a client receives its own messages.
        other.expect_message(&topic, "of another")?;
    }
    Ok(())
}

pub(super) fn no_local_in_session(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let session = cx.connecting("own").persistent(600);
    let mut client = cx.connect(session.clone())?;
    client.subscribe(&topic, 1 | Filter::NO_LOCAL)?;
    client.disconnect()?;
    let mut client = cx.connect(session)?;
    client.publish(Publish::new(&topic, "own").qos(1))?;
    client.expect_silence_after_own()
}

pub(super) fn replaced_options(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("own")?;
    client.subscribe(&topic, 1 | Filter::NO_LOCAL)?;
    client.subscribe(&topic, 1)?;
    client.publish(Publish::new(&topic, "own").qos(1).retain())?;
    check_equal("the RETAIN flag", client.expect_message(&topic, "own")?.retain, false)?;
    client.subscribe(&topic, 1 | Filter::RETAIN_AS_PUBLISHED | Filter::RETAIN_NEVER)?;
    client.publish(Publish::new(&topic, "retained").qos(1).retain())?;
    check_equal("the RETAIN flag", client.expect_message(&topic, "retained")?.retain, true)?;
    client.subscribe(&topic, 1 | Filter::NO_LOCAL | Filter::RETAIN_NEVER)?;
    client.publish(Publish::new(&topic, "no more").qos(1))?;
    client.expect_silence_after_own()
}

pub(super) fn retain_as_published(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut plain = cx.client("plain")?;
    let mut keeping = cx.client("keeping")?;
    let mut publisher = cx.client("publisher")?;
    plain.subscribe(&topic, 1)?;
    keeping.subscribe(&topic, 1 | Filter::RETAIN_AS_PUBLISHED)?;
    for qos in 0..2 {
        publisher.publish(Publish::new(&topic, "retained").qos(qos).retain())?;
        check_equal("the RETAIN flag", keeping.expect_message(&topic, "retained")?.retain, true)?;
        check_equal("the RETAIN flag", plain.expect_message(&topic, "retained")?.retain, false)?;
        publisher.publish(Publish::new(&topic, "fleeting").qos(qos))?;
        check_equal("the RETAIN flag", keeping.expect_message(&topic, "fleeting")?.retain, false)?;
        check_equal("the RETAIN flag", plain.expect_message(&topic, "fleeting")?.retain, false)?;
    }
    // A message sent because of a new subscription has RETAIN 1 in any case.
    for options in [0, Filter::RETAIN_AS_PUBLISHED] {
        let mut late = cx.client("late")?;
        late.subscribe(&topic, options)?;
        check_equal("the RETAIN flag", late.expect_message(&topic, "retained")?.retain, true)?;
    }
    Ok(())
}

/// A topic with the retained message "kept", and its publisher.
fn retained(cx: &mut Context) -> Result<(String, Client), crate::failure::Failure> {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "kept").retain().qos(1))?;
    Ok((topic, publisher))
}

pub(super) fn retain_handling_0(cx: &mut Context) -> Outcome {
    let (topic, mut publisher) = retained(cx)?;
    let mut client = cx.client("subscriber")?;
    for qos in [0, 0, 1, 1] {
        client.subscribe(&topic, qos)?;
        check_equal("the RETAIN flag", client.expect_message(&topic, "kept")?.retain, true)?;
    }
    client.expect_silence_after(&mut publisher)
}

pub(super) fn retain_handling_1(cx: &mut Context) -> Outcome {
    let (topic, mut publisher) = retained(cx)?;
    let session = cx.connecting("subscriber").persistent(600);
    let mut client = cx.connect(session.clone())?;
    client.subscribe(&topic, 1 | Filter::RETAIN_IF_NEW)?;
    client.expect_message(&topic, "kept")?;
    // Now the subscription exists, whatever its options.
    for options in [1, 0, 1 | Filter::RETAIN_AS_PUBLISHED] {
        client.subscribe(&topic, options | Filter::RETAIN_IF_NEW)?;
        client.expect_silence_after(&mut publisher)?;
    }
    client.disconnect()?;
    let mut client = cx.connect(session)?;
    check_equal("Session Present", client.connack().session_present, true)?;
    client.subscribe(&topic, 1 | Filter::RETAIN_IF_NEW)?;
    client.expect_silence_after(&mut publisher)?;
    // After UNSUBSCRIBE, or in a new Session, it is new again.
    client.unsubscribe(&topic)?;
    client.subscribe(&topic, 1 | Filter::RETAIN_IF_NEW)?;
    client.expect_message(&topic, "kept")?;
    client.disconnect()?;
    let mut client = cx.client("subscriber")?;
    client.subscribe(&topic, 1 | Filter::RETAIN_IF_NEW)?;
    client.expect_message(&topic, "kept")?;
    client.expect_silence_after(&mut publisher)
}

pub(super) fn retain_handling_2(cx: &mut Context) -> Outcome {
    let (topic, mut publisher) = retained(cx)?;
    let mut client = cx.client("subscriber")?;
    for _ in 0..2 {
        client.subscribe(&topic, 1 | Filter::RETAIN_NEVER)?;
        client.expect_silence_after(&mut publisher)?;
    }
    // The option applies only at the time of subscribing.
    publisher.publish(Publish::new(&topic, "new").retain().qos(1))?;
    client.expect_message(&topic, "new")?;
    client.expect_silence_after(&mut publisher)
}
