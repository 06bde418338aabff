//! The members of a Shared Subscription, and the messages they receive.

use super::share::share;
use crate::context::Context;
use crate::failure::{Outcome, check, check_equal, check_qos};
use crate::wire::{Publish, Subscribe, property};

pub(super) fn one_of_the_group(cx: &mut Context) -> Outcome {
    let (topic, filter) = (cx.topic("a"), share(cx, &cx.topic("a")));
    let mut publisher = cx.client("publisher")?;
    let mut members = [cx.client("one")?, cx.client("two")?, cx.client("three")?];
    for member in &mut members {
        member.subscribe(&filter, 1)?;
    }
    let sent: Vec<String> = (100..130).map(|number: u32| number.to_string()).collect();
    for (payload, qos) in sent.iter().zip([0, 1].into_iter().cycle()) {
        publisher.publish(Publish::new(&topic, payload).qos(qos))?;
    }
    let mut came = Vec::new();
    for member in &mut members {
        let messages = member.messages_until_marker(&mut publisher)?;
        came.extend(messages.iter().map(|message| message.payload.to_text()));
    }
    came.sort_unstable();
    check_equal("the list of messages of all sessions together", came, sent)
}

pub(super) fn a_copy_for_each(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a/b");
    let group = cx.client_id("group");
    let mut publisher = cx.client("publisher")?;
    // A different ShareName, or a different Topic Filter with the same ShareName, is another Shared Subscription.
    let filters = [
        format!("$share/{group}1/{topic}"),
        format!("$share/{group}2/{topic}"),
        format!("$share/{group}1/{}", cx.topic("a/+")),
        topic.clone(),
        cx.topic("#"),
    ];
    let mut clients = Vec::new();
    for (number, filter) in filters.iter().enumerate() {
        let mut client = cx.client(&number.to_string())?;
        client.subscribe(filter, 1)?;
        clients.push(client);
    }
    for payload in ["one", "two", "three"] {
        publisher.publish(Publish::new(&topic, payload).qos(1))?;
    }
    for client in &mut clients {
        for payload in ["one", "two", "three"] {
            client.expect_message(&topic, payload)?;
        }
    }
    // The marker's topic matches `#` too, so the last client is left out.
    for client in clients.iter_mut().take(filters.len() - 1) {
        client.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(super) fn shared_and_non_shared(cx: &mut Context) -> Outcome {
    let (topic, filter) = (cx.topic("a"), share(cx, &cx.topic("a")));
    let mut publisher = cx.client("publisher")?;
    let mut client = cx.client("subscriber")?;
    client.subscribe(&topic, 1)?;
    client.subscribe(&filter, 1)?;
    publisher.publish(Publish::new(&topic, "payload").qos(1))?;
    client.expect_message(&topic, "payload")?;
    client.expect_message(&topic, "payload")?;
    client.expect_silence_after(&mut publisher)?;
    // UNSUBSCRIBE distinguishes them too.
    client.unsubscribe(&topic)?;
    publisher.publish(Publish::new(&topic, "shared").qos(1))?;
    client.expect_message(&topic, "shared")?;
    client.expect_silence_after(&mut publisher)
}

pub(super) fn matches_as_its_filter(cx: &mut Context) -> Outcome {
    let own = cx.client_id("");
    let mut publisher = cx.client("publisher")?;
    let filters: [(&str, &[&str]); 5] = [
        ("~/a", &["~/a"]),
        ("~/+", &["~/", "~/a"]),
        ("~/#", &["~", "~/", "~/a", "~/a/b"]),
        // The Topic Filter begins with a separator, after that of the ShareName.
        ("/~", &["/~"]),
        ("+/~", &["/~"]),
    ];
    for (filter, expected) in filters {
        let mut client = cx.client("subscriber")?;
        client.subscribe(&share(cx, &filter.replace('~', &own)), 1)?;
        for name in ["~", "~/", "~/a", "~/a/b", "/~"] {
            publisher.publish(Publish::new(name.replace('~', &own), "payload").qos(1))?;
        }
        // The ShareName isn't part of the topic.
        publisher.publish(Publish::new(cx.topic("a"), "payload").qos(1))?;
        let messages = client.messages_until_marker(&mut publisher)?;
        let came: Vec<String> = messages.iter().map(|message| message.topic.to_text()).collect();
        let expected: Vec<String> = expected.iter().map(|name| name.replace('~', &own)).collect();
        check_equal(&format!("the list of Topic Names that {filter:?}, shared, matches"), came, expected)?;
    }
    Ok(())
}

pub(super) fn leaves_on_first_unsubscribe(cx: &mut Context) -> Outcome {
    let (topic, filter) = (cx.topic("a"), share(cx, &cx.topic("a")));
    let mut publisher = cx.client("publisher")?;
    let mut client = cx.client("one")?;
    for qos in [0, 1, 1] {
        client.subscribe(&filter, qos)?;
    }
    publisher.publish(Publish::new(&topic, "payload").qos(1))?;
    let message = client.expect_message(&topic, "payload")?;
    check_qos(cx.version(), message.qos, 1)?;
    client.expect_silence_after(&mut publisher)?;
    // Neither the plain Topic Filter nor the one with another ShareName refers to it.
    client.unsubscribe(&topic)?;
    client.unsubscribe(&format!("$share/{}/{topic}", cx.client_id("other")))?;
    publisher.publish(Publish::new(&topic, "still").qos(1))?;
    client.expect_message(&topic, "still")?;
    let unsuback = client.unsubscribe(&filter)?;
    check_equal("the list of Reason Codes", unsuback.reasons, [0])?;
    publisher.publish(Publish::new(&topic, "no more").qos(1))?;
    client.expect_silence_after(&mut publisher)
}

pub(super) fn survives_its_maker(cx: &mut Context) -> Outcome {
    let (topic, filter) = (cx.topic("a"), share(cx, &cx.topic("a")));
    let mut publisher = cx.client("publisher")?;
    let mut maker = cx.client("maker")?;
    let mut second = cx.client("second")?;
    let mut third = cx.client("third")?;
    for member in [&mut maker, &mut second, &mut third] {
        member.subscribe(&filter, 1)?;
    }
    maker.unsubscribe(&filter)?;
    // The second leaves when its Session ends.
    second.disconnect()?;
    for payload in ["one", "two", "three", "four"] {
        publisher.publish(Publish::new(&topic, payload).qos(1))?;
        third.expect_message(&topic, payload)?;
    }
    maker.expect_silence_after(&mut publisher)
}

pub(super) fn no_retained_messages(cx: &mut Context) -> Outcome {
    let (topic, filter) = (cx.topic("a"), share(cx, &cx.topic("a")));
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "kept").retain().qos(1))?;
    // The first creates the Shared Subscription, the second joins it.
    let mut one = cx.client("one")?;
    let mut other = cx.client("other")?;
    for member in [&mut one, &mut other] {
        for _ in 0..2 {
            member.subscribe(&filter, 1)?;
            member.expect_silence_after(&mut publisher)?;
        }
    }
    other.unsubscribe(&filter)?;
    publisher.publish(Publish::new(&topic, "new").retain().qos(1))?;
    let message = one.expect_message(&topic, "new")?;
    check_equal("the RETAIN flag", message.retain, false)
}

pub(super) fn subscription_identifier(cx: &mut Context) -> Outcome {
    let (topic, filter) = (cx.topic("a"), share(cx, &cx.topic("a")));
    let mut publisher = cx.client("publisher")?;
    for identifier in [1_u32, 200] {
        let mut client = cx.client("one")?;
        let subscribe = Subscribe::new(&filter, 1).with(property::SUBSCRIPTION_IDENTIFIER, identifier);
        let suback = client.subscribe_with(subscribe)?;
        check(suback.reasons.iter().all(|code| *code <= 2), "it is granted", format!("{suback:?}"))?;
        publisher.publish(Publish::new(&topic, "payload").qos(1))?;
        let message = client.expect_message(&topic, "payload")?;
        let identifiers = message.properties.numbers(property::SUBSCRIPTION_IDENTIFIER);
        check_equal("the list of Subscription Identifiers", identifiers, vec![identifier])?;
    }
    Ok(())
}
