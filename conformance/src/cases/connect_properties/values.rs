//! Allowed properties of CONNECT, their number and their values.

use super::super::connect::expect_refused;
use crate::context::Context;
use crate::failure::Outcome;
use crate::wire::data_type::Type;
use crate::wire::{Connect, Utf8, Value, Will, property, tables};

const METHOD: &str = "conformance has no such method";

/// The properties that may occur once in CONNECT, each with two valid values.
fn single_properties() -> [(u8, Value, Value); 8] {
    [
        (property::SESSION_EXPIRY_INTERVAL, 0.into(), 1.into()),
        (property::RECEIVE_MAXIMUM, 10.into(), 20.into()),
        (property::MAXIMUM_PACKET_SIZE, 1_000.into(), 2_000.into()),
        (property::TOPIC_ALIAS_MAXIMUM, 0.into(), 10.into()),
        (property::REQUEST_RESPONSE_INFORMATION, 0.into(), 1.into()),
        (property::REQUEST_PROBLEM_INFORMATION, 0.into(), 1.into()),
        (property::AUTHENTICATION_METHOD, METHOD.into(), "another".into()),
        (property::AUTHENTICATION_DATA, "data".into(), "other".into()),
    ]
}

pub(super) fn twice(cx: &mut Context) -> Outcome {
    for (id, one, other) in single_properties() {
        let mut plain = cx.connecting("a");
        if id == property::AUTHENTICATION_DATA {
            plain = plain.with(property::AUTHENTICATION_METHOD, METHOD);
        }
        // A broker may check the method before the rest.
        let methods = [property::AUTHENTICATION_METHOD, property::AUTHENTICATION_DATA].contains(&id);
        let reasons: &[u8] = if methods { &[0x82, 0x8C, 0x87] } else { &[0x82] };
        expect_refused(cx, &plain.clone().with(id, one.clone()).with(id, one.clone()), reasons)?;
        expect_refused(cx, &plain.clone().with(id, one.clone()).with(id, other.clone()), reasons)?;
        // Also if they are not adjacent.
        let apart = plain.with(id, one).with(property::USER_PROPERTY, ("name", "value")).with(id, other);
        expect_refused(cx, &apart, reasons)?;
    }
    Ok(())
}

pub(super) fn out_of_range(cx: &mut Context) -> Outcome {
    let values = [
        (property::RECEIVE_MAXIMUM, 0),
        (property::MAXIMUM_PACKET_SIZE, 0),
        (property::REQUEST_RESPONSE_INFORMATION, 2),
        (property::REQUEST_RESPONSE_INFORMATION, 255),
        (property::REQUEST_PROBLEM_INFORMATION, 2),
        (property::REQUEST_PROBLEM_INFORMATION, 255),
    ];
    for (id, value) in values {
        expect_refused(cx, &cx.connecting("a").with(id, value), &[0x82])?;
    }
    Ok(())
}

pub(super) fn ends_of_ranges(cx: &mut Context) -> Outcome {
    let values: [(u8, u32); 13] = [
        (property::SESSION_EXPIRY_INTERVAL, 0),
        (property::SESSION_EXPIRY_INTERVAL, 1),
        (property::SESSION_EXPIRY_INTERVAL, u32::MAX),
        (property::RECEIVE_MAXIMUM, 1),
        (property::RECEIVE_MAXIMUM, 65_535),
        (property::MAXIMUM_PACKET_SIZE, 268_435_460),
        (property::MAXIMUM_PACKET_SIZE, u32::MAX),
        (property::TOPIC_ALIAS_MAXIMUM, 0),
        (property::TOPIC_ALIAS_MAXIMUM, 65_535),
        (property::REQUEST_RESPONSE_INFORMATION, 0),
        (property::REQUEST_RESPONSE_INFORMATION, 1),
        (property::REQUEST_PROBLEM_INFORMATION, 0),
        (property::REQUEST_PROBLEM_INFORMATION, 1),
    ];
    for (id, value) in values {
        let mut client = cx.connect(cx.connecting("a").with(id, value))?;
        client.ping()?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn user_properties(cx: &mut Context) -> Outcome {
    let mut connect = cx.connecting("a").with(property::USER_PROPERTY, ("", ""));
    for number in 0..20 {
        connect = connect.with(property::USER_PROPERTY, ("name", format!("{number}").as_str()));
    }
    cx.connect(connect)?.ping()
}

pub(super) fn authentication_data_alone(cx: &mut Context) -> Outcome {
    for data in ["", "data"] {
        expect_refused(cx, &cx.connecting("a").with(property::AUTHENTICATION_DATA, data), &[0x82])?;
    }
    Ok(())
}

pub(super) fn foreign(cx: &mut Context) -> Outcome {
    for id in 0..=0x7F {
        let value = match tables::property_type(id) {
            Some(Type::Text | Type::Binary) => Value::from("a"),
            Some(Type::Pair) => Value::from(("a", "b")),
            Some(Type::Byte | Type::TwoByte | Type::FourByte | Type::VariableByte) | None => Value::from(1),
        };
        if tables::property("CONNECT", id).is_none() {
            expect_refused(cx, &cx.connecting("a").with(id, value.clone()), &[0x81, 0x82])?;
        }
        if tables::property("CONNECT Will Properties", id).is_none() {
            let will = Will::new(cx.topic("will"), "gone").with(id, value);
            expect_refused(cx, &cx.connecting("a").will(will), &[0x81, 0x82])?;
        }
    }
    Ok(())
}

pub(super) fn ill_formed(cx: &mut Context) -> Outcome {
    let connect =
        |cx: &Context, id, value: &[u8]| -> Connect { cx.connecting("a").with(id, Value::Raw(value.to_vec())) };
    // Values that are truncated by the end of the properties.
    let cut_off: [(u8, &[u8]); 6] = [
        (property::SESSION_EXPIRY_INTERVAL, &[0, 0, 0]),
        (property::RECEIVE_MAXIMUM, &[1]),
        (property::REQUEST_PROBLEM_INFORMATION, &[]),
        (property::USER_PROPERTY, &[0, 1, b'a', 0, 2, b'b']),
        (property::USER_PROPERTY, &[0, 1, b'a']),
        (property::AUTHENTICATION_METHOD, &[0, 2, b'a']),
    ];
    for (id, value) in cut_off {
        expect_refused(cx, &connect(cx, id, value), &[0x81, 0x82])?;
    }
    for text in Utf8::ILL_FORMED.into_iter().map(|(_, text)| text).chain([Utf8::NUL]) {
        expect_refused(cx, &cx.connecting("a").with(property::USER_PROPERTY, (text, "value")), &[0x81])?;
        expect_refused(cx, &cx.connecting("a").with(property::USER_PROPERTY, ("name", text)), &[0x81])?;
        expect_refused(cx, &cx.connecting("a").with(property::AUTHENTICATION_METHOD, text), &[0x81])?;
    }
    Ok(())
}
