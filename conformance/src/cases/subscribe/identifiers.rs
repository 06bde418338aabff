//! Subscription Identifiers.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Outcome, check, check_equal};
use crate::wire::{Publish, Subscribe, property};

fn identified(filter: &str, qos: u8, identifier: u32) -> Subscribe {
    Subscribe::new(filter, qos).with(property::SUBSCRIPTION_IDENTIFIER, identifier)
}

/// Publishes to the topic; the message arrives with these Subscription Identifiers.
fn check_identifiers(client: &mut Client, publisher: &mut Client, topic: &str, expected: &[u32]) -> Outcome {
    publisher.publish(Publish::new(topic, "payload").qos(1))?;
    let message = client.expect_message(topic, "payload")?;
    let identifiers = message.properties.numbers(property::SUBSCRIPTION_IDENTIFIER);
    check_equal("the list of Subscription Identifiers", identifiers, expected.to_vec())
}

pub(super) fn of_every_width(cx: &mut Context) -> Outcome {
    let mut client = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    for identifier in [1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455] {
        let topics = ["a", "b"].map(|name| cx.topic(&format!("{identifier}/{name}")));
        let [one, other] = &topics;
        // The identifier applies to all subscriptions of the packet.
        let suback = client.subscribe_with(identified(one, 1, identifier).and(other, 0))?;
        check(suback.reasons.iter().all(|code| *code <= 2), "both are granted", format!("{suback:?}"))?;
        for topic in &topics {
            check_identifiers(&mut client, &mut publisher, topic, &[identifier])?;
        }
    }
    let topic = cx.topic("without");
    client.subscribe(&topic, 1)?;
    check_identifiers(&mut client, &mut publisher, &topic, &[])
}

pub(super) fn of_overlapping_subscriptions(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a/b");
    let mut client = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    client.subscribe_with(identified(&topic, 1, 1))?;
    client.subscribe_with(identified(&cx.topic("+/b"), 0, 2))?;
    client.subscribe_with(identified(&cx.topic("a/#"), 1, 3))?;
    client.subscribe(&cx.topic("a/+"), 1)?;
    client.subscribe_with(identified(&cx.topic("a/c"), 1, 4))?;
    publisher.publish(Publish::new(&topic, "payload").qos(1))?;
    // Either one message with all identifiers, or one message per subscription, one of them without an identifier.
    let messages = client.messages_until_marker(&mut publisher)?;
    let mut identifiers: Vec<u32> =
        messages.iter().flat_map(|message| message.properties.numbers(property::SUBSCRIPTION_IDENTIFIER)).collect();
    identifiers.sort_unstable();
    check_equal("the list of Subscription Identifiers of all copies", identifiers, vec![1, 2, 3])?;
    check(matches!(messages.len(), 1 | 4), "one copy, or one for each subscription", messages.len().to_string())
}

pub(super) fn replaced_with_the_subscription(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    client.subscribe_with(identified(&topic, 1, 1))?;
    check_identifiers(&mut client, &mut publisher, &topic, &[1])?;
    client.subscribe_with(identified(&topic, 1, 2))?;
    check_identifiers(&mut client, &mut publisher, &topic, &[2])?;
    client.subscribe(&topic, 1)?;
    check_identifiers(&mut client, &mut publisher, &topic, &[])?;
    client.subscribe_with(identified(&topic, 1, 3))?;
    check_identifiers(&mut client, &mut publisher, &topic, &[3])?;
    client.unsubscribe(&topic)?;
    client.subscribe(&topic, 1)?;
    check_identifiers(&mut client, &mut publisher, &topic, &[])
}

pub(super) fn kept_in_the_session(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let session = cx.connecting("subscriber").persistent(600);
    let mut client = cx.connect(session.clone())?;
    let mut publisher = cx.client("publisher")?;
    client.subscribe_with(identified(&topic, 1, 77))?;
    client.disconnect()?;
    // Both the queued message and the later one have it.
    publisher.publish(Publish::new(&topic, "waiting").qos(1))?;
    let mut client = cx.connect(session)?;
    let message = client.expect_message(&topic, "waiting")?;
    let identifiers = message.properties.numbers(property::SUBSCRIPTION_IDENTIFIER);
    check_equal("the list of Subscription Identifiers", identifiers, vec![77])?;
    check_identifiers(&mut client, &mut publisher, &topic, &[77])
}

pub(super) fn of_retained_messages(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    cx.client("publisher")?.publish(Publish::new(&topic, "kept").retain().qos(1))?;
    let mut client = cx.client("subscriber")?;
    client.subscribe_with(identified(&topic, 1, 300))?;
    let message = client.expect_message(&topic, "kept")?;
    let identifiers = message.properties.numbers(property::SUBSCRIPTION_IDENTIFIER);
    check_equal("the list of Subscription Identifiers", identifiers, vec![300])
}
