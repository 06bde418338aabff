//! The fields of CONNECT: their presence, order and types.

use super::refusal::{expect_refusal, expect_refused, with_credentials};
use crate::context::Context;
use crate::failure::{Failure, Outcome, check_equal, check_qos};
use crate::wire::bytes::{frame, prefixed};
use crate::wire::kind::Kind;
use crate::wire::{Connect, Encode, Utf8, Will, property};

/// A CONNECT with all fields.
fn full(cx: &Context) -> Connect {
    let will = Will::new(cx.topic("will"), "gone").qos(1).with(property::CONTENT_TYPE, "text");
    let connect = cx.connecting("full").will(will).user_name("user").password("password");
    if cx.version().is_v5() { connect.with(property::RECEIVE_MAXIMUM, 10) } else { connect }
}

pub(super) fn broken_off(cx: &mut Context) -> Outcome {
    const FIXED_HEADER: usize = 2;
    let bytes = full(cx).encode(cx.version());
    let body = bytes.get(FIXED_HEADER..).unwrap_or_default();
    for length in 0..body.len() {
        let mut client = cx.open()?;
        client.send(frame(Kind::Connect.first_byte(), body.get(..length).unwrap_or_default()))?;
        expect_refusal(&mut client, &[0x81, 0x82, 0x84])?;
    }
    Ok(())
}

pub(super) fn trailing_bytes(cx: &mut Context) -> Outcome {
    for trailing in [vec![0], vec![0, 0], prefixed("more")] {
        for mut connect in [cx.connecting("a"), full(cx)] {
            connect.trailing.clone_from(&trailing);
            expect_refused(cx, &connect, &[0x81, 0x82])?;
        }
    }
    Ok(())
}

pub(super) fn order_of_fields(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    let Some(client) = with_credentials(cx, &full(cx))? else {
        return Err(Failure::skipped("the broker refuses an unknown User Name"));
    };
    client.abandon();
    let will = subscriber.expect_message(&topic, "gone")?;
    check_qos(cx.version(), will.qos, 1)?;
    let content_type = will.properties.text(property::CONTENT_TYPE).map(crate::wire::Text::to_text);
    check_equal("the Content Type", content_type.as_deref(), cx.version().pick(None, Some("text")))
}

/// The length of the Will Topic, read as the length of the Will Properties, is 0, so the remaining fields are
/// misplaced.
pub(super) fn wrong_order(cx: &mut Context) -> Outcome {
    let mut connect = cx.connecting("a").connect_flags(0b0000_0110);
    connect.trailing = [prefixed(cx.topic("will")), prefixed("gone"), vec![0]].concat();
    expect_refused(cx, &connect, &[0x81, 0x82])
}

pub(super) fn ill_formed_client_id(cx: &mut Context) -> Outcome {
    for text in ill_formed() {
        let client_id = [cx.client_id("a").as_bytes(), text].concat();
        expect_refused(cx, &Connect::new(cx.version()).client_id(client_id), &[0x81, 0x85])?;
    }
    Ok(())
}

pub(super) fn ill_formed_will_topic(cx: &mut Context) -> Outcome {
    for text in ill_formed() {
        let topic = [cx.topic("").as_bytes(), text].concat();
        expect_refused(cx, &cx.connecting("a").will(Will::new(topic, "gone")), &[0x81, 0x90])?;
    }
    Ok(())
}

pub(super) fn ill_formed_user_name(cx: &mut Context) -> Outcome {
    for text in ill_formed() {
        expect_refused(cx, &cx.connecting("a").user_name(text), &[0x81, 0x86])?;
        expect_refused(cx, &cx.connecting("a").user_name(text).password("password"), &[0x81, 0x86])?;
    }
    Ok(())
}

/// The password is Binary Data, so every byte is valid.
pub(super) fn password_of_any_bytes(cx: &mut Context) -> Outcome {
    for password in ill_formed().chain([b"".as_slice()]) {
        if let Some(mut client) = with_credentials(cx, &cx.connecting("a").user_name("user").password(password))? {
            client.ping()?;
        }
    }
    Ok(())
}

fn ill_formed() -> impl Iterator<Item = &'static [u8]> {
    Utf8::ILL_FORMED.into_iter().map(|(_, text)| text).chain([Utf8::NUL])
}
