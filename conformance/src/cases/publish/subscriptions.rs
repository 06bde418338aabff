//! How matching subscriptions affect a message.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::{Publish, Subscribe, property};

pub(in crate::cases) fn overlapping(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a/b");
    let mut publisher = cx.client("publisher")?;
    // The highest QoS at each position.
    for granted in [[0, 1, 2], [1, 2, 0], [2, 0, 1]] {
        let mut subscriber = cx.client("subscriber")?;
        for (filter, qos) in ["a/b", "a/+", "a/#"].into_iter().zip(granted) {
            subscriber.subscribe(&cx.topic(filter), qos)?;
        }
        for qos in 0..=2 {
            publisher.publish(Publish::new(&topic, "overlap").qos(qos))?;
            let messages = subscriber.messages_until_marker(&mut publisher)?;
            check_copies(qos, messages.iter().map(|message| message.qos).collect())?;
        }
    }
    Ok(())
}

/// One copy at the QoS of the message, because one subscription has QoS 2, and possibly one for each of the others.
fn check_copies(qos: u8, mut came: Vec<u8>) -> Outcome {
    let expected = format!("a copy at QoS {qos}, and at most one for each further subscription at its QoS");
    let failure = Failure::new(expected, format!("copies at QoS {came:?}"));
    let Some(first) = came.iter().position(|came| *came == qos) else { return Err(failure) };
    came.remove(first);
    for allowed in [qos.min(1), 0] {
        if let Some(place) = came.iter().position(|came| *came == allowed) {
            came.remove(place);
        }
    }
    if came.is_empty() { Ok(()) } else { Err(failure) }
}

pub(in crate::cases) fn identifiers_of_all(cx: &mut Context) -> Outcome {
    let mut subscriber = cx.client("subscriber")?;
    for (filter, identifier) in [("a/b", Some(1)), ("a/+", Some(2)), ("a/#", None), ("b/#", Some(3))] {
        subscribe(&mut subscriber, &cx.topic(filter), identifier)?;
    }
    // A subscription of another client has no effect.
    let mut other = cx.client("other")?;
    subscribe(&mut other, &cx.topic("a/b"), Some(4))?;
    let mut publisher = cx.client("publisher")?;
    for qos in 0..=2u8 {
        publisher.publish(Publish::new(cx.topic("a/b"), "").qos(qos.min(maximum_qos(cx))))?;
        let messages = subscriber.messages_until_marker(&mut publisher)?;
        check_identifiers(&messages, &[1, 2])?;
        check_identifiers(&other.messages_until_marker(&mut publisher)?, &[4])?;
    }
    publisher.publish(Publish::new(cx.topic("a/c"), ""))?;
    check_identifiers(&subscriber.messages_until_marker(&mut publisher)?, &[2])?;
    publisher.publish(Publish::new(cx.topic("a"), ""))?;
    check_identifiers(&subscriber.messages_until_marker(&mut publisher)?, &[])
}

pub(in crate::cases) fn shared_identifier(cx: &mut Context) -> Outcome {
    let mut subscriber = cx.client("subscriber")?;
    subscribe(&mut subscriber, &cx.topic("a/b"), Some(5))?;
    subscribe(&mut subscriber, &cx.topic("a/+"), Some(5))?;
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(cx.topic("a/b"), ""))?;
    let messages = subscriber.messages_until_marker(&mut publisher)?;
    check(!messages.is_empty(), "a message", "none")?;
    for message in messages {
        let came = message.properties.numbers(property::SUBSCRIPTION_IDENTIFIER);
        check(came == [5] || came == [5, 5], "the Subscription Identifier 5, once or twice", format!("{came:?}"))?;
    }
    Ok(())
}

pub(in crate::cases) fn identifiers_of_all_lengths(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    for identifier in [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455] {
        subscribe(&mut client, &topic, Some(identifier))?;
        client.publish(Publish::new(&topic, ""))?;
        check_identifiers(&[client.expect_message(&topic, "")?], &[identifier])?;
    }
    Ok(())
}

pub(in crate::cases) fn changed_identifier(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    for identifier in [Some(1), Some(2), None, Some(1)] {
        subscribe(&mut client, &topic, identifier)?;
        client.publish(Publish::new(&topic, ""))?;
        let expected: Vec<u32> = identifier.into_iter().collect();
        check_identifiers(&[client.expect_message(&topic, "")?], &expected)?;
    }
    Ok(())
}

pub(in crate::cases) fn identifier_of_retained(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "kept").retain().qos(maximum_qos(cx).min(1)))?;
    let mut subscriber = cx.client("subscriber")?;
    subscribe(&mut subscriber, &topic, Some(7))?;
    check_identifiers(&[subscriber.expect_message(&topic, "kept")?], &[7])?;
    let mut other = cx.client("other")?;
    subscribe(&mut other, &topic, None)?;
    check_identifiers(&[other.expect_message(&topic, "kept")?], &[])
}

pub(in crate::cases) fn identifier_from_a_client(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    for identifier in [0u32, 1, 268_435_455] {
        let mut publisher = cx.client("publisher")?;
        publisher.send(Publish::new(&topic, "").with(property::SUBSCRIPTION_IDENTIFIER, identifier))?;
        publisher.expect_disconnect_or_close(&[0x81, 0x82])?;
    }
    subscriber.expect_silence_after(&mut cx.client("other")?)
}

/// All copies of a message together have these identifiers: a single copy has all, each of several copies at most one.
fn check_identifiers(messages: &[Publish], expected: &[u32]) -> Outcome {
    check(!messages.is_empty(), "a message", "none")?;
    let each: Vec<Vec<u32>> =
        messages.iter().map(|message| message.properties.numbers(property::SUBSCRIPTION_IDENTIFIER)).collect();
    let mut all = each.concat();
    all.sort_unstable();
    check_equal("the Subscription Identifiers", &all, expected)?;
    let separate = each.iter().all(|identifiers| identifiers.len() <= 1);
    check(messages.len() == 1 || separate, "in each of several copies, that of its subscription", format!("{each:?}"))
}

fn subscribe(client: &mut Client, filter: &str, identifier: Option<u32>) -> Outcome {
    let subscribe = Subscribe::new(filter, 2);
    let subscribe = match identifier {
        Some(identifier) => subscribe.with(property::SUBSCRIPTION_IDENTIFIER, identifier),
        None => subscribe,
    };
    let suback = client.subscribe_with(subscribe)?;
    check(suback.reasons.iter().all(|code| *code <= 2), "the subscription is granted", format!("{suback:?}"))
}

fn maximum_qos(cx: &Context) -> u8 {
    let announced = cx.announced().properties.number(property::MAXIMUM_QOS);
    announced.and_then(|qos| u8::try_from(qos).ok()).unwrap_or(2)
}
