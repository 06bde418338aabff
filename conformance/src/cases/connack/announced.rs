//! What CONNACK announces: the broker must support what it announces, and refuse the rest.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal, check_qos};
use crate::wire::bytes::{prefixed, variable_byte_integer};
use crate::wire::{Connect, Filter, Publish, Subscribe, Value, Will, property};

fn number(client: &Client, id: u8) -> Option<u32> {
    client.connack().properties.number(id)
}

/// Whether a feature is available according to a byte property of CONNACK; absence means yes.
fn has(client: &Client, id: u8) -> bool {
    number(client, id) != Some(0)
}

pub(super) fn properties(cx: &mut Context) -> Outcome {
    let plain = cx.connecting("a");
    let connects = [
        plain.clone(),
        Connect::new(cx.version()),
        plain.clone().keep_alive(0),
        plain.clone().keep_alive(u16::MAX),
        plain.clone().with(property::SESSION_EXPIRY_INTERVAL, u32::MAX),
        plain.clone().with(property::REQUEST_RESPONSE_INFORMATION, 1).with(property::REQUEST_PROBLEM_INFORMATION, 1),
        plain.clone().with(property::AUTHENTICATION_METHOD, "conformance has no such method"),
        plain.with(property::RECEIVE_MAXIMUM, 0),
    ];
    for connect in connects {
        let mut client = cx.open()?;
        client.send_connect(&connect)?;
        let Some(connack) = client.expect_connack_or_close()? else { continue };
        for one in &connack.properties.0 {
            let count = connack.properties.0.iter().filter(|other| other.id == one.id).count();
            check(count == 1 || one.id == property::USER_PROPERTY, "each property once", format!("{connack:?}"))?;
        }
        let flags = [
            property::MAXIMUM_QOS,
            property::RETAIN_AVAILABLE,
            property::WILDCARD_SUBSCRIPTION_AVAILABLE,
            property::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
            property::SHARED_SUBSCRIPTION_AVAILABLE,
        ];
        for id in flags {
            let right = matches!(connack.properties.get(id), None | Some(Value::Number(0 | 1)));
            check(right, "0 or 1", format!("{connack:?}"))?;
        }
        for id in [property::RECEIVE_MAXIMUM, property::MAXIMUM_PACKET_SIZE] {
            check(connack.properties.number(id) != Some(0), "no limit of 0", format!("{connack:?}"))?;
        }
    }
    Ok(())
}

pub(super) fn maximum_qos(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    for qos in 0..=2 {
        let mut publisher = cx.client("publisher")?;
        let maximum = number(&publisher, property::MAXIMUM_QOS).unwrap_or(2);
        if u32::from(qos) > maximum {
            publisher.send(Publish::new(&topic, "").qos(qos).packet_id(1))?;
            publisher.expect_disconnect(&[0x9B])?;
        } else {
            publisher.publish(Publish::new(&topic, format!("{qos}")).qos(qos))?;
            let message = subscriber.expect_message(&topic, format!("{qos}"))?;
            check_qos(cx.version(), message.qos, qos)?;
        }
    }
    Ok(())
}

pub(super) fn subscriptions_of_any_qos(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    for qos in 0..=2 {
        let suback = client.subscribe(&topic, qos)?;
        check(
            suback.reasons.iter().all(|granted| *granted <= qos),
            "at most the QoS asked for",
            format!("{suback:?}"),
        )?;
        client.publish(Publish::new(&topic, "taken"))?;
        client.expect_message(&topic, "taken")?;
    }
    Ok(())
}

pub(super) fn will_qos(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let maximum = number(&subscriber, property::MAXIMUM_QOS).unwrap_or(2);
    for qos in 0..=2 {
        let connect = cx.connecting("willing").will(Will::new(&topic, "gone").qos(qos));
        if u32::from(qos) > maximum {
            let mut client = cx.open()?;
            client.send_connect(&connect)?;
            client.expect_disconnect_or_close(&[0x9B])?;
        } else {
            cx.connect(connect)?.abandon();
            let will = subscriber.expect_message(&topic, "gone")?;
            check_qos(cx.version(), will.qos, qos)?;
        }
    }
    Ok(())
}

pub(super) fn retain_available(cx: &mut Context) -> Outcome {
    let (topic, will) = (cx.topic("a"), cx.topic("will"));
    let mut client = cx.client("a")?;
    let willing = cx.connecting("willing").will(Will::new(&will, "gone").retain());
    if !has(&client, property::RETAIN_AVAILABLE) {
        client.send(Publish::new(&topic, "kept").retain())?;
        client.expect_disconnect_or_close(&[0x9A])?;
        let mut client = cx.open()?;
        client.send_connect(&willing)?;
        return client.expect_disconnect_or_close(&[0x9A]);
    }
    client.subscribe(&will, 0)?;
    client.publish(Publish::new(&topic, "kept").retain())?;
    cx.connect(willing)?.abandon();
    client.expect_message(&will, "gone")?;
    let mut later = cx.client("later")?;
    for (topic, payload) in [(&topic, "kept"), (&will, "gone")] {
        later.subscribe(topic, 0)?;
        let message = later.expect_message(topic, payload)?;
        check_equal("the RETAIN flag", message.retain, true)?;
    }
    Ok(())
}

pub(super) fn maximum_packet_size(cx: &mut Context) -> Outcome {
    // The most that a case can send in its time. Above it, only the header of an oversized packet is sent.
    const SENT_MAX: u32 = 32 << 20;
    const PACKET_SIZE_MAX: u32 = 268_435_455 + 5;
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    let Some(limit) = number(&client, property::MAXIMUM_PACKET_SIZE).filter(|limit| *limit < PACKET_SIZE_MAX) else {
        client.publish(Publish::new(&topic, "x".repeat(1 << 20)))?;
        return client.ping();
    };
    if limit <= SENT_MAX {
        client.send(publish_of_size(&topic, limit))?;
        client.ping()?;
    }
    let too_large = publish_of_size(&topic, limit + 1);
    client.send(too_large.get(..too_large.len().min(1 << 16)).unwrap_or_default().to_vec())?;
    client.expect_disconnect_or_close(&[0x95])
}

/// PUBLISH of exactly this many bytes.
fn publish_of_size(topic: &str, size: u32) -> Vec<u8> {
    let head = |remaining: u32| [vec![0x30], variable_byte_integer(remaining), prefixed(topic), vec![0]].concat();
    let mut remaining = size;
    while remaining > 0 && 1 + variable_byte_integer(remaining).len() > usize::try_from(size - remaining).unwrap_or(0) {
        remaining -= 1;
    }
    let mut bytes = head(remaining);
    bytes.resize(usize::try_from(size).unwrap_or_default(), b'x');
    bytes
}

pub(super) fn topic_alias_maximum(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let mut client = cx.client("a")?;
    let maximum = number(&client, property::TOPIC_ALIAS_MAXIMUM).unwrap_or_default();
    if maximum > 0 {
        client.publish(Publish::new(&topic, "named").with(property::TOPIC_ALIAS, maximum))?;
        client.publish(Publish::new("", "aliased").with(property::TOPIC_ALIAS, maximum))?;
        subscriber.expect_message(&topic, "named")?;
        subscriber.expect_message(&topic, "aliased")?;
    }
    if maximum < u16::MAX.into() {
        client.send(Publish::new(&topic, "above").with(property::TOPIC_ALIAS, maximum + 1))?;
        client.expect_disconnect_or_close(&[0x94, 0x82])?;
        let mut publisher = cx.client("publisher")?;
        subscriber.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

/// The subscription must be granted if the broker announces the feature, and be refused with this code otherwise.
fn granted_as_announced(cx: &mut Context, id: u8, subscribe: Subscribe, refusal: u8) -> Outcome {
    let mut client = cx.client("a")?;
    if !has(&client, id) {
        client.send(subscribe.packet_id(1))?;
        return client.expect_disconnect_or_close(&[refusal]);
    }
    let suback = client.subscribe_with(subscribe)?;
    // A single subscription may be refused in any case, with a reason.
    let right = suback.reasons.iter().all(|code| *code <= 2 || [refusal, 0x87, 0x8F, 0x97].contains(code));
    if !right || suback.reasons.len() != 1 {
        return Err(Failure::new("the subscription is granted", format!("{suback:?}")));
    }
    client.ping()
}

pub(super) fn wildcards(cx: &mut Context) -> Outcome {
    for filter in ["+", "+/b", "#", "a/#"] {
        let subscribe = Subscribe::new(cx.topic(filter), 0);
        granted_as_announced(cx, property::WILDCARD_SUBSCRIPTION_AVAILABLE, subscribe, 0xA2)?;
    }
    Ok(())
}

pub(super) fn subscription_identifiers(cx: &mut Context) -> Outcome {
    for identifier in [1, 127, 128, 268_435_455] {
        let subscribe = Subscribe::new(cx.topic("a"), 0).with(property::SUBSCRIPTION_IDENTIFIER, identifier);
        granted_as_announced(cx, property::SUBSCRIPTION_IDENTIFIER_AVAILABLE, subscribe, 0xA1)?;
    }
    Ok(())
}

pub(super) fn shared_subscriptions(cx: &mut Context) -> Outcome {
    let subscribe = Subscribe::new(format!("$share/group/{}", cx.topic("a")), 1 | Filter::RETAIN_AS_PUBLISHED);
    granted_as_announced(cx, property::SHARED_SUBSCRIPTION_AVAILABLE, subscribe, 0x9E)
}
