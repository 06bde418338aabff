//! The fixed header of PUBLISH, its Topic Name and its Packet Identifier.

use crate::context::Context;
use crate::failure::{Outcome, check_equal, check_qos};
use crate::wire::bytes::{frame, prefixed};
use crate::wire::kind::Kind;
use crate::wire::{Encode, Publish, Subscribe, Unsubscribe, Utf8};

pub(in crate::cases) fn both_qos_bits(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let plain = Publish::new(&topic, "QoS 3").qos(3).packet_id(1);
    for publish in [plain.clone(), plain.clone().dup(), plain.clone().retain(), plain.dup().retain()] {
        let mut publisher = cx.client("publisher")?;
        publisher.send(publish)?;
        publisher.expect_disconnect_or_close(&[0x81])?;
    }
    subscriber.expect_silence_after(&mut cx.client("other")?)
}

pub(in crate::cases) fn dup_at_qos_0(cx: &mut Context) -> Outcome {
    for publish in [Publish::new(cx.topic("a"), "").dup(), Publish::new(cx.topic("a"), "").dup().retain()] {
        let mut client = cx.client("a")?;
        client.send(publish)?;
        client.expect_disconnect_or_close(&[0x81, 0x82])?;
    }
    Ok(())
}

pub(in crate::cases) fn dup_is_not_passed_on(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    for granted in 0..=2 {
        let mut subscriber = cx.client("subscriber")?;
        subscriber.subscribe(&topic, granted)?;
        for qos in 1..=2 {
            publisher.publish(Publish::new(&topic, "again").qos(qos).dup())?;
            let message = subscriber.expect_message(&topic, "again")?;
            check_equal("the DUP flag", message.dup, false)?;
            check_qos(cx.version(), message.qos, qos.min(granted))?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn cut_topic_name(cx: &mut Context) -> Outcome {
    let bodies: [&[u8]; 5] = [&[], &[0], &[0, 1], &[0, 5, b'a', b'b'], &[0xFF, 0xFF, b'a']];
    for body in bodies {
        for flags in [0b0000, 0b0010, 0b0100] {
            let mut client = cx.client("a")?;
            client.send(frame(Kind::Publish.first_byte() | flags, body))?;
            client.expect_disconnect_or_close(&[0x81])?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn ill_formed_topic_name(cx: &mut Context) -> Outcome {
    for (_, text) in Utf8::ILL_FORMED {
        for qos in 1..=2 {
            let mut client = cx.client("a")?;
            client.send(Publish::new(text, "").qos(qos).packet_id(1))?;
            client.expect_disconnect_or_close(&[0x81, 0x90])?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn wildcards(cx: &mut Context) -> Outcome {
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&cx.topic("a/#"), 2)?;
    for name in ["a/+", "a/#", "a/+/b", "a/b+", "a/#b"] {
        for qos in 0..=2 {
            let mut publisher = cx.client("publisher")?;
            let publish = Publish::new(cx.topic(name), "wildcard").qos(qos);
            publisher.send(if qos == 0 { publish } else { publish.packet_id(1) })?;
            publisher.expect_disconnect_or_close(&[0x81, 0x82, 0x90])?;
        }
    }
    subscriber.expect_silence_after(&mut cx.client("other")?)
}

pub(in crate::cases) fn empty_topic_name(cx: &mut Context) -> Outcome {
    for qos in 0..=2 {
        let mut client = cx.client("a")?;
        let publish = Publish::new("", "").qos(qos);
        client.send(if qos == 0 { publish } else { publish.packet_id(1) })?;
        client.expect_disconnect_or_close(&[0x82, 0x90])?;
    }
    Ok(())
}

pub(in crate::cases) fn packet_identifier_0(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let packets = [
        Publish::new(&topic, "").qos(1).packet_id(0).encode(cx.version()),
        Publish::new(&topic, "").qos(2).packet_id(0).encode(cx.version()),
        Subscribe::new(&topic, 0).packet_id(0).encode(cx.version()),
        Unsubscribe::new(&topic).packet_id(0).encode(cx.version()),
    ];
    for packet in packets {
        let mut client = cx.client("a")?;
        client.send(packet)?;
        client.expect_disconnect_or_close(&[0x81, 0x82])?;
    }
    Ok(())
}

pub(in crate::cases) fn no_packet_identifier(cx: &mut Context) -> Outcome {
    for rest in [&[][..], &[0]] {
        for flags in [0b0010, 0b0100] {
            let mut client = cx.client("a")?;
            client.send(frame(Kind::Publish.first_byte() | flags, &[&prefixed(cx.topic("a")), rest].concat()))?;
            client.expect_disconnect_or_close(&[0x81])?;
        }
    }
    Ok(())
}
