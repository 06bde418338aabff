//! The effect of SUBSCRIBE, and its response.

use crate::context::Context;
use crate::failure::{Outcome, check, check_equal, check_qos};
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Filter, Publish, Subscribe, property};

pub(super) fn packet_identifier(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    for packet_id in [1, 2, 0xFF, 0x100, 0x7FFF, 0xFFFF] {
        // The new subscription, and one that replaces it.
        client.send(Subscribe::new(&topic, 1).packet_id(packet_id))?;
        client.expect_suback(packet_id)?;
    }
    client.expect_silence_by_ping()
}

pub(super) fn codes_in_order(cx: &mut Context) -> Outcome {
    let mut client = cx.client("a")?;
    for requested in [vec![0], vec![1], vec![2], vec![2, 0, 1], vec![0, 1, 2], vec![1, 0, 2, 2, 0, 0, 1]] {
        let mut subscribe = Subscribe::default();
        for (number, qos) in (0..).zip(&requested) {
            subscribe = subscribe.and(cx.topic(&format!("{number}/{qos}")), *qos);
        }
        let suback = client.subscribe_with(subscribe)?;
        check_equal("the number of Reason Codes", suback.reasons.len(), requested.len())?;
        // Valid codes are checked on every SUBACK.
        for (code, qos) in suback.reasons.iter().zip(&requested) {
            let expected = format!("at most QoS {qos}, or a failure");
            check(code <= qos || *code >= 0x80, expected, format!("the Reason Code {code}"))?;
        }
    }
    client.expect_silence_by_ping()
}

pub(super) fn many_filters(cx: &mut Context) -> Outcome {
    let topics = ["a", "b", "c"].map(|name| cx.topic(name));
    let [a, b, c] = &topics;
    let mut client = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    // The second subscription to `a` replaces the first.
    let suback = client.subscribe_with(Subscribe::new(a, 0).and(b, 0).and(a, 1).and(c, 2))?;
    let [_, granted_b, granted_a, granted_c] = suback.reasons.as_slice() else {
        return check(false, "four Reason Codes", format!("{suback:?}"));
    };
    for (topic, granted) in [(a, granted_a), (b, granted_b), (c, granted_c)] {
        publisher.publish(Publish::new(topic, "payload").qos(2))?;
        let message = client.expect_message(topic, "payload")?;
        check_qos(cx.version(), message.qos, *granted)?;
    }
    client.expect_silence_after(&mut publisher)
}

pub(super) fn same_filter_twice(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "kept").retain().qos(1))?;
    let mut client = cx.client("subscriber")?;
    client.subscribe_with(Subscribe::new(&topic, 0).and(&topic, 0))?;
    client.expect_message(&topic, "kept")?;
    client.expect_message(&topic, "kept")?;
    client.expect_silence_after(&mut publisher)?;
    if !cx.version().is_v5() {
        return Ok(());
    }
    // The second time, the subscription is not new.
    let mut client = cx.client("subscriber")?;
    client.subscribe_with(Subscribe::new(&topic, 0).and(&topic, Filter::RETAIN_IF_NEW))?;
    client.expect_message(&topic, "kept")?;
    client.expect_silence_after(&mut publisher)
}

pub(super) fn lower_qos(cx: &mut Context) -> Outcome {
    let mut client = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    for requested in 0..3 {
        let topic = cx.topic(&requested.to_string());
        let suback = client.subscribe(&topic, requested)?;
        let granted = suback.reasons.first().copied().unwrap_or_default();
        for published in 0..3 {
            publisher.publish(Publish::new(&topic, "payload").qos(published))?;
            let message = client.expect_message(&topic, "payload")?;
            check_qos(cx.version(), message.qos, published.min(granted))?;
        }
    }
    client.expect_silence_after(&mut publisher)
}

pub(super) fn lower_qos_retained(cx: &mut Context) -> Outcome {
    let mut publisher = cx.client("publisher")?;
    let mut client = cx.client("subscriber")?;
    for published in 0..3 {
        let topic = cx.topic(&published.to_string());
        publisher.publish(Publish::new(&topic, "kept").qos(published).retain())?;
        // When a later packet of the same client gets a response, the QoS 0 message is retained.
        publisher.ping()?;
        for requested in 0..3 {
            let suback = client.subscribe(&topic, requested)?;
            let granted = suback.reasons.first().copied().unwrap_or_default();
            let message = client.expect_message(&topic, "kept")?;
            check_qos(cx.version(), message.qos, published.min(granted))?;
            check_equal("the RETAIN flag", message.retain, true)?;
        }
    }
    client.expect_silence_after(&mut publisher)
}

pub(super) fn replaced(cx: &mut Context) -> Outcome {
    let mut client = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    for (old, new) in [(0, 1), (1, 0), (2, 0), (0, 2), (1, 2), (1, 1)] {
        for name in ["a", "b/#"].map(|name| format!("{old}{new}/{name}")) {
            let (filter, topic) = (cx.topic(&name), cx.topic(&name.replace('#', "c")));
            client.subscribe(&filter, old)?;
            let suback = client.subscribe(&filter, new)?;
            publisher.publish(Publish::new(&topic, "payload").qos(2))?;
            let message = client.expect_message(&topic, "payload")?;
            check_equal("the QoS", vec![message.qos], suback.reasons)?;
            client.expect_silence_after(&mut publisher)?;
            // There is one subscription.
            client.unsubscribe(&filter)?;
            publisher.publish(Publish::new(&topic, "no more").qos(1))?;
            client.expect_silence_after(&mut publisher)?;
        }
    }
    Ok(())
}

pub(super) fn retained_again(cx: &mut Context) -> Outcome {
    let topics = ["a/1", "a/2", "b/1"].map(|name| cx.topic(name));
    let mut publisher = cx.client("publisher")?;
    for topic in &topics {
        publisher.publish(Publish::new(topic, "kept").retain().qos(1))?;
    }
    let mut client = cx.client("subscriber")?;
    for qos in [1, 1, 0] {
        client.subscribe(&cx.topic("a/+"), qos)?;
        let mut messages = client.messages_until_marker(&mut publisher)?;
        messages.sort_by(|one, other| one.topic.as_bytes().cmp(other.topic.as_bytes()));
        let came: Vec<_> = messages.iter().map(|message| (message.topic.to_text(), message.retain)).collect();
        let [one, two, _] = topics.clone();
        check_equal("the list of retained messages with their RETAIN flags", came, [(one, true), (two, true)])?;
    }
    Ok(())
}

pub(super) fn nothing_lost(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    client.subscribe(&topic, 1)?;
    for number in 1..=50 {
        let subscribe = Subscribe::new(&topic, 1).packet_id(1000 + number);
        let publish = Publish::new(&topic, number.to_string()).qos(1).packet_id(number);
        // Both are in flight at the same time, in alternating order.
        if number % 2 == 0 {
            client.send(subscribe)?;
            publisher.send(publish)?;
        } else {
            publisher.send(publish)?;
            client.send(subscribe)?;
        }
        publisher.expect_puback(number)?;
        client.expect_suback(1000 + number)?;
    }
    for number in 1..=50 {
        client.expect_message(&topic, number.to_string())?;
    }
    client.expect_silence_after(&mut publisher)
}

pub(super) fn waiting_messages_kept(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let session = cx.connecting("subscriber").persistent(600);
    let mut client = cx.connect(session.clone())?;
    let mut publisher = cx.client("publisher")?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    for number in 1..=5 {
        publisher.publish(Publish::new(&topic, number.to_string()).qos(1))?;
    }
    let mut client = cx.connect(session)?;
    client.subscribe(&topic, 0)?;
    for number in 1..=5 {
        client.expect_message(&topic, number.to_string())?;
    }
    client.expect_silence_after(&mut publisher)
}

/// The shortest SUBACK has exactly the Maximum Packet Size, so nothing may be added.
pub(super) fn maximum_packet_size(cx: &mut Context) -> Outcome {
    let limit = cx.smallest_maximum_packet_size();
    let connect = cx.connecting("a").with(property::MAXIMUM_PACKET_SIZE, limit);
    let mut client = cx.connect(connect)?;
    let filters = limit - if limit > 129 { 6 } else { 5 };
    // Many brokers refuse a topic with this number of levels, and may give a reason.
    let deep = cx.topic(&"/".repeat(1000));
    let mut subscribe = Subscribe::default().packet_id(1);
    for number in 0..filters {
        let filter = if number % 2 == 0 { deep.clone() } else { cx.topic(&number.to_string()) };
        subscribe = subscribe.and(filter, 0);
    }
    client.send(subscribe)?;
    match client.receive_or_close()? {
        Some(Packet::Suback(suback)) => {
            check_equal("the number of Reason Codes", u32::try_from(suback.reasons.len()), Ok(filters))
        }
        Some(packet) => check(packet.kind() == Kind::Disconnect, "SUBACK or DISCONNECT", packet.describe()),
        None => Ok(()),
    }
}

pub(super) fn wildcards_or_refusal(cx: &mut Context) -> Outcome {
    let mut publisher = cx.client("publisher")?;
    for filter in ["a/+", "a/#", "+/b", "#"].map(|filter| cx.topic(filter)) {
        let mut client = cx.client("subscriber")?;
        let suback = client.subscribe_with(Subscribe::new(&filter, 0))?;
        publisher.publish(Publish::new(cx.topic("a/b"), "payload").qos(1))?;
        if suback.reasons.iter().all(|code| *code >= 0x80) {
            client.expect_silence_after(&mut publisher)?;
        } else {
            client.expect_message(&cx.topic("a/b"), "payload")?;
        }
    }
    Ok(())
}
