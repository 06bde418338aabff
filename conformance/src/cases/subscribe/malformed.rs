//! Invalid SUBSCRIBE packets.

use crate::context::Context;
use crate::failure::Outcome;
use crate::wire::bytes::{frame, prefixed};
use crate::wire::kind::Kind;
use crate::wire::{Filter, Subscribe, Utf8, property};

/// Malformed Packet means "does not conform to this specification", so it also applies to a Protocol Error.
const REASONS: [u8; 2] = [0x81, 0x82];

/// Sends the packet on a new connection, which must be closed with one of these Reason Codes.
fn refused(cx: &mut Context, subscribe: &Subscribe, reasons: &[u8]) -> Outcome {
    let mut client = cx.client("a")?;
    client.send(subscribe.clone().packet_id(1))?;
    client.expect_disconnect_or_close(reasons)
}

pub(super) fn reserved_flags(cx: &mut Context) -> Outcome {
    for flags in (0..16).filter(|flags| *flags != 0b0010) {
        refused(cx, &Subscribe::new(cx.topic("a"), 0).flags(flags), &[0x81])?;
    }
    Ok(())
}

pub(super) fn not_utf8(cx: &mut Context) -> Outcome {
    for (_, text) in Utf8::ILL_FORMED {
        refused(cx, &Subscribe::new(text, 0), &[0x81, 0x8F])?;
        refused(cx, &Subscribe::new(cx.topic("a"), 0).and(text, 0), &[0x81, 0x8F])?;
    }
    Ok(())
}

pub(super) fn no_topic_filter(cx: &mut Context) -> Outcome {
    refused(cx, &Subscribe::default(), &REASONS)
}

pub(super) fn no_options(cx: &mut Context) -> Outcome {
    let mut client = cx.client("a")?;
    // Packet Identifier, in 5.0 an empty Property Length, and the Topic Filter.
    let head: &[u8] = cx.version().pick(&[0, 1], &[0, 1, 0]);
    let body = [head, &prefixed(cx.topic("a"))].concat();
    client.send(frame(Kind::Subscribe.first_byte(), &body))?;
    client.expect_disconnect_or_close(&REASONS)
}

pub(super) fn reserved_bits_v3(cx: &mut Context) -> Outcome {
    for bit in 2..8 {
        for qos in 0..3 {
            refused(cx, &Subscribe::new(cx.topic("a"), 1 << bit | qos), &[])?;
        }
        refused(cx, &Subscribe::new(cx.topic("a"), 0).and(cx.topic("b"), 1 << bit), &[])?;
    }
    Ok(())
}

pub(super) fn reserved_bits_v5(cx: &mut Context) -> Outcome {
    for bits in [0b0100_0000, 0b1000_0000, 0b1100_0000] {
        refused(cx, &Subscribe::new(cx.topic("a"), bits), &[0x81])?;
        refused(cx, &Subscribe::new(cx.topic("a"), 0).and(cx.topic("b"), bits | 1), &[0x81])?;
    }
    Ok(())
}

pub(super) fn qos_3(cx: &mut Context) -> Outcome {
    refused(cx, &Subscribe::new(cx.topic("a"), 3), &REASONS)?;
    refused(cx, &Subscribe::new(cx.topic("a"), 0).and(cx.topic("b"), 3), &REASONS)
}

pub(super) fn retain_handling_3(cx: &mut Context) -> Outcome {
    refused(cx, &Subscribe::new(cx.topic("a"), 3 << 4), &REASONS)?;
    refused(cx, &Subscribe::new(cx.topic("a"), 0).and(cx.topic("b"), 3 << 4 | 1), &REASONS)
}

pub(super) fn no_local_shared(cx: &mut Context) -> Outcome {
    let shared = format!("$share/{}/{}", cx.client_id("group"), cx.topic("a"));
    refused(cx, &Subscribe::new(&shared, Filter::NO_LOCAL), &REASONS)?;
    refused(cx, &Subscribe::new(cx.topic("b"), 0).and(&shared, Filter::NO_LOCAL | 1), &REASONS)
}

pub(super) fn subscription_identifier_0(cx: &mut Context) -> Outcome {
    refused(cx, &Subscribe::new(cx.topic("a"), 0).with(property::SUBSCRIPTION_IDENTIFIER, 0), &REASONS)
}

pub(super) fn two_subscription_identifiers(cx: &mut Context) -> Outcome {
    for second in [1, 2] {
        let subscribe = Subscribe::new(cx.topic("a"), 0)
            .with(property::SUBSCRIPTION_IDENTIFIER, 1)
            .with(property::SUBSCRIPTION_IDENTIFIER, second);
        refused(cx, &subscribe, &REASONS)?;
    }
    Ok(())
}
