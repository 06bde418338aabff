//! The effect of UNSUBSCRIBE, and its response.

use crate::context::Context;
use crate::failure::{Outcome, check_equal};
use crate::wire::packet::Packet;
use crate::wire::{Publish, Subscribe, Unsubscribe, property};

const SUCCESS: u8 = 0x00;
const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;

pub(super) fn exact_filter(cx: &mut Context) -> Outcome {
    // Each with a matching Topic Name, and with other Topic Filters that match the same topics.
    let subscriptions: [(&str, &str, &[&str]); 4] = [
        ("a/+", "a/b", &["a/b", "a/#", "+/+", "a/+/", "/a/+", "A/+", "a/+/#"]),
        ("c/#", "c/d", &["c", "c/d", "c/+", "#", "c/+/#", "C/#"]),
        ("e/f", "e/f", &["e/+", "+/f", "#", "e/#", "e/f/#", "e/f/", "E/f", "e//f"]),
        ("é", "é", &["e\u{301}", "É", "e"]),
    ];
    let mut client = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    for (filter, name, others) in subscriptions {
        let (filter, topic) = (cx.topic(filter), cx.topic(name));
        client.subscribe(&filter, 1)?;
        for other in others {
            client.unsubscribe(&cx.topic(other))?;
        }
        publisher.publish(Publish::new(&topic, "payload").qos(1))?;
        client.expect_message(&topic, "payload")?;
        client.unsubscribe(&filter)?;
        publisher.publish(Publish::new(&topic, "no more").qos(1))?;
        client.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(super) fn own_subscription(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("subscriber")?;
    let mut other = cx.client("other")?;
    client.subscribe(&topic, 1)?;
    other.subscribe(&topic, 1)?;
    other.unsubscribe(&topic)?;
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "payload").qos(1))?;
    client.expect_message(&topic, "payload")?;
    other.expect_silence_after(&mut publisher)
}

pub(super) fn packet_identifier(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    for packet_id in [1, 2, 0xFF, 0x100, 0x7FFF, 0xFFFF] {
        client.send(Subscribe::new(&topic, 1).packet_id(3))?;
        client.expect_suback(3)?;
        client.send(Unsubscribe::new(&topic).packet_id(packet_id))?;
        client.expect_unsuback(packet_id)?;
    }
    client.expect_silence_by_ping()
}

pub(super) fn nothing_deleted(cx: &mut Context) -> Outcome {
    let mut client = cx.client("a")?;
    for filter in ["a", "+", "#", "a/+/#"].map(|filter| cx.topic(filter)) {
        let unsuback = client.unsubscribe(&filter)?;
        let expected: &[u8] = cx.version().pick(&[], &[NO_SUBSCRIPTION_EXISTED]);
        check_equal("the list of Reason Codes", unsuback.reasons, expected)?;
    }
    client.expect_silence_by_ping()
}

pub(super) fn many_filters(cx: &mut Context) -> Outcome {
    let topics = ["a", "b", "c", "d"].map(|name| cx.topic(name));
    let [a, b, c, d] = &topics;
    let mut client = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    client.subscribe_with(Subscribe::new(a, 1).and(b, 1).and(c, 1).and(d, 1))?;
    client.unsubscribe_with(Unsubscribe::new(a).and(cx.topic("none")).and(a).and(c).and(d))?;
    // There is a single response.
    client.expect_silence_by_ping()?;
    for topic in &topics {
        publisher.publish(Publish::new(topic, "payload").qos(1))?;
    }
    client.expect_message(b, "payload")?;
    client.expect_silence_after(&mut publisher)
}

pub(super) fn codes_in_order(cx: &mut Context) -> Outcome {
    let [a, b, none] = ["a", "b", "none"].map(|name| cx.topic(name));
    let mut client = cx.client("a")?;
    let lists: [(Unsubscribe, &[u8]); 4] = [
        (Unsubscribe::new(&a), &[SUCCESS]),
        (Unsubscribe::new(&a).and(&none).and(&b), &[SUCCESS, NO_SUBSCRIPTION_EXISTED, SUCCESS]),
        (Unsubscribe::new(&none).and(&b), &[NO_SUBSCRIPTION_EXISTED, SUCCESS]),
        // As with two packets, the second finds no subscription.
        (Unsubscribe::new(&a).and(&a), &[SUCCESS, NO_SUBSCRIPTION_EXISTED]),
    ];
    for (unsubscribe, expected) in lists {
        client.subscribe_with(Subscribe::new(&a, 1).and(&b, 0))?;
        let unsuback = client.unsubscribe_with(unsubscribe)?;
        check_equal("the list of Reason Codes", unsuback.reasons, expected)?;
    }
    client.expect_silence_by_ping()
}

/// The shortest UNSUBACK has exactly the Maximum Packet Size, so nothing may be added.
pub(super) fn maximum_packet_size(cx: &mut Context) -> Outcome {
    let limit = cx.smallest_maximum_packet_size();
    let connect = cx.connecting("a").with(property::MAXIMUM_PACKET_SIZE, limit);
    let mut client = cx.connect(connect)?;
    let filters = limit - if limit > 129 { 6 } else { 5 };
    let mut unsubscribe = Unsubscribe::default().packet_id(1);
    for number in 0..filters {
        unsubscribe = unsubscribe.and(cx.topic(&number.to_string()));
    }
    client.send(unsubscribe)?;
    let packet = client.receive()?;
    let Packet::Unsuback(unsuback) = packet else {
        return check_equal("the packet", packet.describe(), "Unsuback");
    };
    check_equal("the number of Reason Codes", u32::try_from(unsuback.reasons.len()), Ok(filters))
}
