//! The Connect Flags, and the fields that they announce.

use super::refusal::{expect_refused, with_credentials};
use crate::context::Context;
use crate::failure::Outcome;
use crate::wire::Will;

const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

/// For a CONNECT whose fields contradict its flags, the standard prescribes neither code.
const MALFORMED_OR_PROTOCOL_ERROR: &[u8] = &[0x81, 0x82];

pub(super) fn reserved(cx: &mut Context) -> Outcome {
    let plain = cx.connecting("a");
    let full = plain.clone().will(Will::new(cx.topic("will"), "gone").qos(1)).user_name("user").password("password");
    for connect in [plain.clone(), plain.resume(), full] {
        let flags = connect.flags_of_the_fields() | 1;
        expect_refused(cx, &connect.connect_flags(flags), &[0x81])?;
    }
    Ok(())
}

pub(super) fn will_bits_without_will(cx: &mut Context) -> Outcome {
    for bits in [0b0_01, 0b0_10, 0b0_11, 0b1_00, 0b1_01, 0b1_11] {
        let connect = cx.connecting("a").connect_flags(CLEAN_START | bits << 3);
        expect_refused(cx, &connect, MALFORMED_OR_PROTOCOL_ERROR)?;
    }
    Ok(())
}

pub(super) fn will_qos_3(cx: &mut Context) -> Outcome {
    let will = Will::new(cx.topic("will"), "gone").qos(3);
    expect_refused(cx, &cx.connecting("a").will(will.clone()), &[0x81])?;
    expect_refused(cx, &cx.connecting("a").will(will.retain()), &[0x81])
}

pub(super) fn password_alone_v3(cx: &mut Context) -> Outcome {
    expect_refused(cx, &cx.connecting("a").password("password"), &[])
}

pub(super) fn password_alone_v5(cx: &mut Context) -> Outcome {
    if let Some(mut client) = with_credentials(cx, &cx.connecting("a").password("password"))? {
        client.ping()?;
    }
    Ok(())
}

pub(super) fn field_without_flag(cx: &mut Context) -> Outcome {
    let plain = cx.connecting("a");
    let will = Will::new(cx.topic("will"), "gone");
    let connects = [
        plain.clone().will(will.clone()).connect_flags(CLEAN_START),
        plain.clone().user_name("user").connect_flags(CLEAN_START),
        plain.clone().user_name("user").password("password").connect_flags(CLEAN_START),
        plain.clone().user_name("user").password("password").connect_flags(CLEAN_START | USER_NAME),
        plain.clone().will(will).user_name("user").connect_flags(CLEAN_START | WILL),
    ];
    for connect in connects {
        expect_refused(cx, &connect, MALFORMED_OR_PROTOCOL_ERROR)?;
    }
    Ok(())
}

pub(super) fn flag_without_field(cx: &mut Context) -> Outcome {
    let plain = cx.connecting("a");
    let will = Will::new(cx.topic("will"), "gone");
    let connects = [
        plain.clone().connect_flags(CLEAN_START | WILL),
        plain.clone().connect_flags(CLEAN_START | USER_NAME),
        plain.clone().connect_flags(CLEAN_START | USER_NAME | PASSWORD),
        plain.clone().user_name("user").connect_flags(CLEAN_START | USER_NAME | PASSWORD),
        plain.clone().will(will.clone()).connect_flags(CLEAN_START | WILL | USER_NAME),
        plain.clone().will(will).user_name("user").connect_flags(CLEAN_START | WILL | USER_NAME | PASSWORD),
    ];
    for connect in connects {
        expect_refused(cx, &connect, MALFORMED_OR_PROTOCOL_ERROR)?;
    }
    Ok(())
}
