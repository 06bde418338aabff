//! Subscriptions and messages of a resumed Session.

use crate::context::Context;
use crate::failure::{Outcome, check, check_equal, check_qos};
use crate::wire::{Filter, Publish, Subscribe, property};

pub(super) fn subscriptions(cx: &mut Context) -> Outcome {
    let lasting = cx.connecting("a").persistent(60);
    let mut publisher = cx.client("publisher")?;
    for broken in [false, true] {
        let mut client = cx.connect(lasting.clone())?;
        client.subscribe(&cx.topic("a"), 0)?;
        client.subscribe(&cx.topic("b"), 1)?;
        client.subscribe(&cx.topic("gone"), 1)?;
        client.unsubscribe(&cx.topic("gone"))?;
        if broken {
            client.abandon();
        } else {
            client.disconnect()?;
        }
        let mut client = cx.connect(lasting.clone())?;
        check_equal("Session Present", client.connack().session_present, true)?;
        for (name, qos) in [("a", 0), ("gone", 1), ("b", 1)] {
            publisher.publish(Publish::new(cx.topic(name), name).qos(1))?;
            if name != "gone" {
                let message = client.expect_message(&cx.topic(name), name)?;
                check_qos(cx.version(), message.qos, qos)?;
            }
        }
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn subscription_options(cx: &mut Context) -> Outcome {
    let lasting = cx.connecting("a").persistent(60);
    let mut publisher = cx.client("publisher")?;
    let mut client = cx.connect(lasting.clone())?;
    client.subscribe(&cx.topic("local"), 1 | Filter::NO_LOCAL)?;
    client.subscribe(&cx.topic("published"), 1 | Filter::RETAIN_AS_PUBLISHED)?;
    let identified = client.connack().properties.number(property::SUBSCRIPTION_IDENTIFIER_AVAILABLE) != Some(0);
    if identified {
        let subscribe = Subscribe::new(cx.topic("identified"), 1).with(property::SUBSCRIPTION_IDENTIFIER, 300);
        client.subscribe_with(subscribe)?;
    }
    client.disconnect()?;
    let mut client = cx.connect(lasting)?;
    client.publish(Publish::new(cx.topic("local"), "own").qos(1))?;
    client.expect_silence_after_own()?;
    publisher.publish(Publish::new(cx.topic("local"), "other").qos(1))?;
    client.expect_message(&cx.topic("local"), "other")?;
    let retain = client.connack().properties.number(property::RETAIN_AVAILABLE) != Some(0);
    if retain {
        publisher.publish(Publish::new(cx.topic("published"), "kept").qos(1).retain())?;
        let message = client.expect_message(&cx.topic("published"), "kept")?;
        check_equal("the RETAIN flag", message.retain, true)?;
    }
    if identified {
        publisher.publish(Publish::new(cx.topic("identified"), "known").qos(1))?;
        let message = client.expect_message(&cx.topic("identified"), "known")?;
        let identifiers = message.properties.numbers(property::SUBSCRIPTION_IDENTIFIER);
        check_equal("the Subscription Identifiers", identifiers, [300])?;
    }
    Ok(())
}

pub(super) fn waiting_messages(cx: &mut Context) -> Outcome {
    const MESSAGES: u8 = 20;
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let qos_max = cx.announced().properties.number(property::MAXIMUM_QOS).map_or(2, |_| 1);
    let mut publisher = cx.client("publisher")?;
    for broken in [false, true] {
        let mut client = cx.connect(lasting.clone())?;
        client.subscribe(&topic, 2)?;
        if broken {
            client.abandon();
        } else {
            client.disconnect()?;
        }
        for qos in 1..=qos_max {
            for number in 0..MESSAGES {
                publisher.publish(Publish::new(&topic, [number].as_slice()).qos(qos))?;
            }
        }
        let mut client = cx.connect(lasting.clone())?;
        for qos in 1..=qos_max {
            for number in 0..MESSAGES {
                let message = client.expect_message(&topic, [number])?;
                check_qos(cx.version(), message.qos, qos)?;
            }
        }
        client.expect_silence_after(&mut publisher)?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn qos_0_messages(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let mut client = cx.connect(lasting.clone())?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "may be dropped"))?;
    publisher.publish(Publish::new(&topic, "is kept").qos(1))?;
    let mut client = cx.connect(lasting)?;
    let mut message = client.expect_publish()?;
    if message.payload == "may be dropped" {
        check_qos(cx.version(), message.qos, 0)?;
        message = client.expect_publish()?;
    }
    check(message.payload == "is kept" && message.qos == 1, "the message at QoS 1", format!("{message:?}"))?;
    client.acknowledge(&message)?;
    client.expect_silence_after(&mut publisher)
}

pub(super) fn takeover(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let mut publisher = cx.client("publisher")?;
    let mut older = cx.connect(lasting.clone())?;
    older.subscribe(&topic, 1)?;
    publisher.publish(Publish::new(&topic, "not acknowledged").qos(1))?;
    let message = older.expect_publish()?;
    let mut newer = cx.connect(lasting)?;
    check_equal("Session Present", newer.connack().session_present, true)?;
    let again = newer.expect_message(&topic, "not acknowledged")?;
    check_equal("the Packet Identifier", again.packet_id, message.packet_id)?;
    publisher.publish(Publish::new(&topic, "new").qos(1))?;
    newer.expect_message(&topic, "new")?;
    drop(older);
    newer.ping()
}

pub(super) fn acknowledged_messages(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let qos_max = cx.announced().properties.number(property::MAXIMUM_QOS).map_or(2, |_| 1);
    let mut publisher = cx.client("publisher")?;
    let mut client = cx.connect(lasting.clone())?;
    client.subscribe(&topic, 2)?;
    for qos in 1..=qos_max {
        publisher.publish(Publish::new(&topic, "acknowledged").qos(qos))?;
        client.expect_message(&topic, "acknowledged")?;
    }
    // The response shows that the broker has read the acknowledgements.
    client.ping()?;
    client.abandon();
    let mut client = cx.connect(lasting)?;
    client.expect_silence_after(&mut publisher)
}
