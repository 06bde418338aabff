//! The order, the flags and the code of CONNACK.

use super::super::connect::bytes_until_close;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::{Connect, Encode, Publish, Will, property};

/// In 5.0, a method that no broker supports: the only well-formed CONNECT that every broker must refuse.
const METHOD: &str = "conformance has no such method";

pub(super) fn assigned_client_identifier(cx: &mut Context) -> Outcome {
    let one = cx.connect(Connect::new(cx.version()))?;
    let other = cx.connect(Connect::new(cx.version()))?;
    let assigned = |client: &crate::client::Client| {
        client.connack().properties.text(property::ASSIGNED_CLIENT_IDENTIFIER).cloned().unwrap_or_default()
    };
    let (one, other) = (assigned(&one), assigned(&other));
    check(!one.as_bytes().is_empty(), "an Assigned Client Identifier", "none")?;
    check(one != other, "different Assigned Client Identifiers", format!("{one:?} twice"))
}

pub(super) fn no_client_identifier_and_no_clean_session(cx: &mut Context) -> Outcome {
    let mut client = cx.open()?;
    client.send_connect(&Connect::new(cx.version()).resume())?;
    let connack = client.expect_connack()?;
    check_equal("the return code", connack.reason, 2)?;
    client.expect_close()
}

pub(super) fn first_packet(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let mut client = cx.connect(lasting.clone())?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    let mut publisher = cx.client("publisher")?;
    for number in 0..10 {
        publisher.publish(Publish::new(&topic, format!("{number}")).qos(1))?;
    }
    // Messages may follow CONNACK, but not precede it: then `connect` fails.
    let mut client = cx.connect(lasting)?;
    for number in 0..10 {
        client.expect_message(&topic, format!("{number}"))?;
    }
    Ok(())
}

pub(super) fn success(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let plain = cx.connecting("a");
    let mut connects = vec![
        plain.clone(),
        plain.clone().persistent(1),
        plain.clone().keep_alive(0),
        plain.clone().keep_alive(u16::MAX),
        plain.clone().will(Will::new(&topic, "")),
        plain.clone().will(Will::new(&topic, "gone")),
    ];
    if cx.version().is_v5() {
        let will =
            Will::new(&topic, "gone").with(property::WILL_DELAY_INTERVAL, 1).with(property::CONTENT_TYPE, "text");
        connects.push(plain.clone().will(will));
        connects.push(plain.with(property::SESSION_EXPIRY_INTERVAL, 1).with(property::RECEIVE_MAXIMUM, 1));
    }
    for connect in connects {
        let mut client = cx.connect(connect)?;
        client.ping()?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn reserved_bits(cx: &mut Context) -> Outcome {
    let new = cx.connecting("a").persistent(60);
    for connect in [&new, &new, &cx.connecting("a")] {
        let mut client = cx.open()?;
        client.send_connect(connect)?;
        let until = client.link().case().deadline();
        let bytes = client.link().read_bytes(until);
        let flags = bytes.get(2).copied().unwrap_or(u8::MAX);
        check(
            bytes.first() == Some(&0x20) && flags <= 1,
            "Connect Acknowledge Flags of 0 or 1",
            format!("{bytes:02X?}"),
        )?;
        client.disconnect()?;
    }
    for connect in refused(cx, "a") {
        let mut client = cx.open()?;
        client.send(connect.encode(cx.version()))?;
        let bytes = bytes_until_close(&mut client)?;
        let right = bytes.is_empty() || bytes.get(2) == Some(&0);
        check(right, "no CONNACK, or one with Connect Acknowledge Flags of 0", format!("{bytes:02X?}"))?;
    }
    Ok(())
}

/// CONNECT packets that the broker refuses, most with a CONNACK.
fn refused(cx: &Context, label: &str) -> Vec<Connect> {
    let lasting = cx.connecting(label).persistent(60);
    if cx.version().is_v5() {
        vec![
            lasting.clone().with(property::AUTHENTICATION_METHOD, METHOD),
            lasting.clone().with(property::RECEIVE_MAXIMUM, 0),
            lasting.clone().will(Will::new(cx.topic("#"), "")),
            lasting.protocol_level(2),
        ]
    } else {
        vec![lasting.clone().protocol_level(2), lasting.client_id("")]
    }
}

pub(super) fn session_present_after_clean_start(cx: &mut Context) -> Outcome {
    for _ in 0..2 {
        let mut lasting = cx.connect(cx.connecting("a").persistent(60))?;
        lasting.subscribe(&cx.topic("a"), 1)?;
        lasting.disconnect()?;
        let clean = cx.client("a")?;
        check_equal("Session Present", clean.connack().session_present, false)?;
        // The second time, the older connection is still open.
        let _older = cx.connect(cx.connecting("b").persistent(60))?;
        let clean = cx.client("b")?;
        check_equal("Session Present", clean.connack().session_present, false)?;
    }
    Ok(())
}

pub(super) fn session_present(cx: &mut Context) -> Outcome {
    let lasting = cx.connecting("a").persistent(60);
    let client = cx.connect(lasting.clone())?;
    check_equal("Session Present of a new Client Identifier", client.connack().session_present, false)?;
    client.disconnect()?;
    // The Session exists even if it is empty.
    for _ in 0..2 {
        let client = cx.connect(lasting.clone())?;
        check_equal("Session Present after DISCONNECT", client.connack().session_present, true)?;
        client.disconnect()?;
    }
    cx.connect(lasting.clone())?.abandon();
    let older = cx.connect(lasting.clone())?;
    check_equal("Session Present after a broken connection", older.connack().session_present, true)?;
    let client = cx.connect(lasting.clone())?;
    check_equal("Session Present after a takeover", client.connack().session_present, true)?;
    client.disconnect()?;
    cx.client("a")?.disconnect()?;
    let client = cx.connect(lasting)?;
    check_equal("Session Present after a Session that ended", client.connack().session_present, false)
}

pub(super) fn refused_with_session(cx: &mut Context) -> Outcome {
    let lasting = cx.connecting("a").persistent(60);
    cx.connect(lasting.clone())?.disconnect()?;
    for connect in refused(cx, "a") {
        let mut client = cx.open()?;
        client.send(connect.encode(cx.version()))?;
        // The flags and the code are at the same place in both versions. MQTT-3.1.2-2 of 5.0 lets a broker of both versions
        // refuse a Protocol Level of neither with the CONNACK of 5.0.
        match bytes_until_close(&mut client)?.as_slice() {
            [] if cx.version().is_v5() => {}
            [] => {
                // No CONNACK is no wrong CONNACK.
                let statement = if connect.client_id.as_bytes().is_empty() { "MQTT-3.1.3-8" } else { "MQTT-3.1.2-2" };
                return Err(Failure::new("a refusing CONNACK", "the end without one").of(statement));
            }
            [0x20, 2, 0, 1 | 2] => {}
            [0x20, _, 0, code, ..] if *code >= 0x80 && !cx.announced().properties.0.is_empty() => {}
            bytes => {
                let expected = "a refusing CONNACK with Session Present 0, and the end";
                return Err(Failure::new(expected, format!("the bytes {bytes:02X?}, and the end")));
            }
        }
    }
    let client = cx.connect(lasting)?;
    check_equal("Session Present after refusals", client.connack().session_present, true)
}
