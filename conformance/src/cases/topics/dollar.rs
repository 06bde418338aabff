//! Topics that begin with `$`.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check};
use crate::wire::{Pingreq, Publish, Subscribe};

/// Publishes to a topic that begins with `$`, and waits until the broker has accepted or refused it.
fn publish_to_dollar(cx: &mut Context, publish: Publish) -> Outcome {
    let mut client = cx.client("dollar")?;
    client.send(publish)?;
    client.send(Pingreq)?;
    client.receive_or_close()?;
    Ok(())
}

/// Checks that no message with a topic that begins with `$` arrived.
fn check_topics(client: &mut Client, publisher: &mut Client) -> Outcome {
    let messages = client.messages_until_marker(publisher)?;
    let wrong = messages.iter().find(|message| message.topic.as_bytes().starts_with(b"$"));
    check(wrong.is_none(), "no Topic Name that begins with $", format!("{wrong:?}"))
}

pub(super) fn leading_wildcards(cx: &mut Context) -> Outcome {
    let own = cx.client_id("");
    let name = format!("$conformance/{own}/a");
    let mut publisher = cx.client("publisher")?;
    publish_to_dollar(cx, Publish::new(format!("{name}/retained"), "retained").retain())?;
    let own_filters = [format!("+/{own}/a"), format!("+/{own}/#"), format!("+/{own}/+"), "+/broker/#".to_owned()];
    for filter in ["#", "+/#", "+/+/a", "+/+/+/+"].map(str::to_owned).into_iter().chain(own_filters) {
        let mut client = cx.client("subscriber")?;
        client.subscribe(&filter, 0)?;
        for payload in ["one", "two"] {
            publish_to_dollar(cx, Publish::new(&name, payload))?;
            publish_to_dollar(cx, Publish::new(format!("$SYS/{own}/a"), payload))?;
        }
        check_topics(&mut client, &mut publisher)?;
    }
    Ok(())
}

pub(super) fn shared_wildcards(cx: &mut Context) -> Outcome {
    let own = cx.client_id("");
    let name = format!("$conformance/{own}/a");
    let mut publisher = cx.client("publisher")?;
    for filter in ["#", "+/#", "+/+/a"] {
        let mut client = cx.client("subscriber")?;
        client.subscribe(&format!("$share/{own}/{filter}"), 0)?;
        publish_to_dollar(cx, Publish::new(&name, "payload"))?;
        check_topics(&mut client, &mut publisher)?;
    }
    Ok(())
}

pub(super) fn no_exchange(cx: &mut Context) -> Outcome {
    let name = format!("$SYS/{}", cx.client_id(""));
    let mut publisher = cx.client("publisher")?;
    let mut client = cx.client("subscriber")?;
    if let Some(subscribed) = subscribed(&mut client, &name)? {
        publish_to_dollar(cx, Publish::new(&name, "payload"))?;
        publish_to_dollar(cx, Publish::new(&name, "retained").retain())?;
        subscribed.expect_silence_after(&mut publisher)?;
    }
    let mut late = cx.client("late")?;
    if let Some(subscribed) = subscribed(&mut late, &name)? {
        subscribed.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

/// The client, if the broker grants the subscription.
fn subscribed<'a>(client: &'a mut Client, filter: &str) -> Result<Option<&'a mut Client>, Failure> {
    let suback = client.subscribe_with(Subscribe::new(filter, 0))?;
    Ok(suback.reasons.iter().all(|code| *code <= 2).then_some(client))
}

pub(super) fn own_topics(cx: &mut Context) -> Outcome {
    let mut publisher = cx.client("publisher")?;
    for (filter, prefix) in [("$SYS/#", "$SYS"), ("$SYS/broker/+", "$SYS/broker/")] {
        let mut client = cx.client("subscriber")?;
        if let Some(subscribed) = subscribed(&mut client, filter)? {
            publisher.publish(Publish::new(cx.topic("a"), "payload"))?;
            let messages = subscribed.messages_until_marker(&mut publisher)?;
            let wrong = messages.iter().find(|message| !message.topic.as_bytes().starts_with(prefix.as_bytes()));
            check(wrong.is_none(), format!("only Topic Names that begin with {prefix}"), format!("{wrong:?}"))?;
        }
    }
    Ok(())
}
