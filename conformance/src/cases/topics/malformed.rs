//! Invalid Topic Names and Topic Filters.

use super::refusal::expect_filter_refused;
use crate::context::Context;
use crate::failure::{Outcome, check};
use crate::wire::bytes::frame;
use crate::wire::kind::Kind;
use crate::wire::packet::Packet;
use crate::wire::{Publish, Subscribe, Unsubscribe, Utf8, Will};

const LENGTH_MAX: usize = 65_535;

const NAMES_WITH_WILDCARDS: [&str; 9] = ["a/+", "a/#", "+/b", "a/+/b", "a+", "a#", "a/b#", "a/#/b", "a/b/+c"];

pub(super) fn wildcard_in_topic_name(cx: &mut Context) -> Outcome {
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&cx.topic("a/b"), 0)?;
    for name in NAMES_WITH_WILDCARDS.map(|name| cx.topic(name)).into_iter().chain(["#".to_owned(), "+".to_owned()]) {
        for qos in 0..3 {
            let mut client = cx.client("publisher")?;
            let publish = Publish::new(&name, "payload").qos(qos);
            client.send(if qos > 0 { publish.packet_id(1) } else { publish })?;
            client.expect_disconnect_or_close(&[0x81, 0x82, 0x90])?;
        }
    }
    let mut publisher = cx.client("publisher")?;
    subscriber.expect_silence_after(&mut publisher)
}

pub(super) fn wildcard_in_will_topic(cx: &mut Context) -> Outcome {
    for name in NAMES_WITH_WILDCARDS.map(|name| cx.topic(name)).into_iter().chain(["#".to_owned(), "+".to_owned()]) {
        let mut client = cx.open()?;
        client.send_connect(&cx.connecting("willing").will(Will::new(&name, "payload")))?;
        client.expect_disconnect_or_close(&[0x81, 0x82, 0x90])?;
    }
    Ok(())
}

pub(super) fn misplaced_multi_level_wildcard(cx: &mut Context) -> Outcome {
    for filter in ["a#", "a/b#", "a/#/b", "#/a", "a/##", "a/#/", "a/#/#", "a/#b", "+#", "a/+#"] {
        expect_filter_refused(cx.client("a")?, cx.topic(filter))?;
    }
    for filter in ["#a", "#/", "##", "#/#", "#+"] {
        expect_filter_refused(cx.client("a")?, filter)?;
    }
    Ok(())
}

pub(super) fn misplaced_single_level_wildcard(cx: &mut Context) -> Outcome {
    for filter in ["a+", "+a", "a/b+", "a/+b/c", "a/b+c", "++", "+a/#", "a/+b"] {
        expect_filter_refused(cx.client("a")?, cx.topic(filter))?;
    }
    for filter in ["+a", "a+", "++", "++/a"] {
        expect_filter_refused(cx.client("a")?, filter)?;
    }
    Ok(())
}

pub(super) fn empty_topic_name(cx: &mut Context) -> Outcome {
    for qos in 0..3 {
        let mut client = cx.client("a")?;
        let publish = Publish::new("", "payload").qos(qos);
        client.send(if qos > 0 { publish.packet_id(1) } else { publish })?;
        client.expect_disconnect_or_close(&[0x81, 0x82, 0x90])?;
    }
    let mut client = cx.open()?;
    client.send_connect(&cx.connecting("willing").will(Will::new("", "payload")))?;
    client.expect_disconnect_or_close(&[0x81, 0x82, 0x90])
}

pub(super) fn empty_topic_filter(cx: &mut Context) -> Outcome {
    expect_filter_refused(cx.client("a")?, "")?;
    // UNSUBSCRIBE must not succeed.
    let mut client = cx.client("a")?;
    client.send(Unsubscribe::new("").packet_id(1))?;
    match client.receive_or_close()? {
        None | Some(Packet::Disconnect(_)) => Ok(()),
        Some(Packet::Unsuback(unsuback)) => {
            check(unsuback.reasons.iter().all(|code| *code != 0), "no subscription is deleted", format!("{unsuback:?}"))
        }
        Some(packet) => check(false, "UNSUBACK, or the end of the connection", packet.describe()),
    }
}

pub(super) fn null_character(cx: &mut Context) -> Outcome {
    const REASONS: [u8; 3] = [0x81, 0x8F, 0x90];
    for qos in 0..3 {
        let mut client = cx.client("a")?;
        let publish = Publish::new(Utf8::NUL, "payload").qos(qos);
        client.send(if qos > 0 { publish.packet_id(1) } else { publish })?;
        client.expect_disconnect_or_close(&REASONS)?;
    }
    let mut client = cx.client("a")?;
    client.send(Subscribe::new(cx.topic("a"), 0).and(Utf8::NUL, 0).packet_id(1))?;
    client.expect_disconnect_or_close(&REASONS)?;
    let mut client = cx.client("a")?;
    client.send(Unsubscribe::new(cx.topic("a")).and(Utf8::NUL).packet_id(1))?;
    client.expect_disconnect_or_close(&REASONS)?;
    let mut client = cx.open()?;
    client.send_connect(&cx.connecting("willing").will(Will::new(Utf8::NUL, "payload")))?;
    client.expect_disconnect_or_close(&REASONS)
}

fn longest(cx: &Context) -> String {
    format!("{:x<LENGTH_MAX$}", cx.topic("long/"))
}

pub(super) fn longest_topic_name(cx: &mut Context) -> Outcome {
    let topic = longest(cx);
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&cx.topic("long/#"), 0)?;
    let mut client = cx.client("publisher")?;
    client.send(Publish::new(&topic, "payload").qos(1).packet_id(1))?;
    let accepted = match client.receive_or_close()? {
        Some(Packet::Ack(ack)) => ack.reason_code() < 0x80,
        Some(_) | None => false,
    };
    let messages = subscriber.messages_until_marker(&mut cx.client("publisher")?)?;
    let complete = messages.iter().all(|message| message.topic == topic);
    check(complete, "the whole Topic Name", format!("{messages:?}"))?;
    // A 3.1.1 broker can refuse it only by closing the connection or dropping the message.
    let expected = u8::from(accepted && cx.version().is_v5() || !messages.is_empty());
    check(messages.len() == usize::from(expected), "the message, once", format!("{} messages", messages.len()))
}

pub(super) fn longest_topic_filter(cx: &mut Context) -> Outcome {
    let topic = longest(cx);
    let mut client = cx.client("subscriber")?;
    client.send(Subscribe::new(&topic, 0).packet_id(1))?;
    let answer = client.receive_or_close()?;
    match &answer {
        Some(Packet::Suback(suback)) => {
            check(suback.reasons.len() == 1, "a single Reason Code", format!("{suback:?}"))?;
            if suback.reasons.iter().all(|code| *code >= 0x80) {
                return Ok(());
            }
        }
        Some(Packet::Disconnect(_)) | None => return Ok(()),
        Some(packet) => return check(false, "SUBACK, or the end of the connection", packet.describe()),
    }
    // A topic that is one character shorter is different.
    let mut publisher = cx.client("publisher")?;
    let shorter: String = topic.chars().skip(1).collect();
    publisher.publish(Publish::new(shorter, "shorter"))?;
    publisher.publish(Publish::new(&topic, "payload"))?;
    client.expect_message(&topic, "payload")?;
    Ok(())
}

pub(super) fn longer_than_the_packet(cx: &mut Context) -> Outcome {
    for length in [3, 0x100, LENGTH_MAX] {
        let [.., high, low] = length.to_be_bytes();
        let topic = [high, low, b'a', b'/'];
        let head: &[u8] = cx.version().pick(&[0, 1], &[0, 1, 0]);
        let packets = [
            (Kind::Publish, topic.to_vec()),
            (Kind::Subscribe, [head, &topic].concat()),
            (Kind::Unsubscribe, [head, &topic].concat()),
        ];
        for (kind, body) in packets {
            let mut client = cx.client("a")?;
            let mut bytes = frame(kind.first_byte(), &body);
            // Enough bytes that a broker could read beyond the end of the packet.
            bytes.extend(frame(Kind::Pingreq.first_byte(), &[]).repeat(4));
            client.send(bytes)?;
            client.expect_disconnect_or_close(&[0x81, 0x82, 0x8F, 0x90])?;
        }
    }
    Ok(())
}
