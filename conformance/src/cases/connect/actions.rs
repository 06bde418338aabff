//! What the broker does on CONNECT.

use std::time::Duration;

use super::refusal::bytes_until_close;
use crate::clock;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::link::Incoming;
use crate::wire::kind::Kind;
use crate::wire::{Connect, Encode, Pingreq, Publish, Subscribe, Will, property};

pub(super) fn takeover(cx: &mut Context) -> Outcome {
    let clean = cx.connecting("a");
    let lasting = cx.connecting("a").persistent(60);
    for (older, newer) in [(&clean, &clean), (&clean, &lasting), (&lasting, &lasting), (&lasting, &clean)] {
        let mut older = cx.connect(older.clone())?;
        let mut newer = cx.connect(newer.clone())?;
        if cx.version().is_v5() {
            older.expect_disconnect(&[0x8E])?;
        } else {
            older.expect_close()?;
        }
        newer.ping()?;
        newer.disconnect()?;
    }
    Ok(())
}

pub(super) fn after_refusal(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let plain = cx.connecting("refused");
    let mut connects = vec![plain.clone().connect_flags(0b11), plain.clone().protocol_level(2)];
    if cx.version().is_v5() {
        connects.push(plain.clone().with(property::AUTHENTICATION_METHOD, "conformance has no such method"));
        connects.push(plain.with(property::RECEIVE_MAXIMUM, 0));
    } else {
        connects.push(Connect::new(cx.version()).resume());
    }
    let mut publisher = cx.client("publisher")?;
    for connect in connects {
        let mut client = cx.open()?;
        let publish = Publish::new(&topic, "refused").encode(cx.version());
        let again = cx.connecting("again").encode(cx.version());
        client.send([connect.encode(cx.version()), publish.clone(), again, publish].concat())?;
        let answer = bytes_until_close(&mut client)?;
        let accepted = matches!(answer.as_slice(), [0x20, _, _, 0, ..]);
        check(!accepted, "a refusing CONNACK or none", format!("the bytes {answer:02X?}"))?;
        subscriber.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(super) fn before_connack(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.open()?;
    let packets = [
        cx.connecting("a").encode(cx.version()),
        Subscribe::new(&topic, 0).packet_id(1).encode(cx.version()),
        Publish::new(&topic, "early").encode(cx.version()),
        Pingreq.encode(cx.version()),
    ];
    client.send(packets.concat())?;
    let connack = client.expect_connack()?;
    check_equal("the Reason Code", connack.reason, 0)?;
    client.expect_suback(1)?;
    client.expect_message(&topic, "early")?;
    client.expect_kind(Kind::Pingresp)?;
    Ok(())
}

/// The standard doesn't define a reasonable time. The case is skipped if the broker waits longer than the case can.
pub(super) fn no_connect(cx: &mut Context) -> Outcome {
    const SECONDS: u64 = 35;
    let connect = cx.connecting("a").encode(cx.version());
    let until = clock::now() + Duration::from_secs(SECONDS);
    let mut clients = Vec::new();
    for length in [0, 1, connect.len() - 1] {
        let mut client = cx.open()?;
        client.send(connect.get(..length).unwrap_or_default())?;
        clients.push(client);
    }
    for client in &mut clients {
        match client.link().read(until)? {
            Incoming::Closed => {}
            Incoming::Packet(packet, _) if packet.kind() == Kind::Connack => {}
            Incoming::Packet(packet, _) => return Err(Failure::new("the connection is closed", packet.describe())),
            Incoming::Nothing => return Err(Failure::skipped(format!("the broker waits longer than {SECONDS} s"))),
        }
    }
    Ok(())
}

/// Well-formed CONNECT packets that a broker may have reasons not to accept.
pub(super) fn unusual(cx: &mut Context) -> Outcome {
    let plain = cx.connecting("a");
    let mut connects = vec![
        plain.clone().user_name("nobody").password("wrong"),
        plain.clone().user_name(""),
        plain.clone().user_name("u".repeat(65_535)).password(vec![0xFF; 65_535]),
        plain.clone().keep_alive(u16::MAX),
        plain.clone().will(Will::new("$SYS/broker/version", "gone")),
        plain.clone().will(Will::new(cx.topic("will"), vec![0xFF; 65_535])),
    ];
    if cx.version().is_v5() {
        connects.extend([
            plain.clone().with(property::AUTHENTICATION_METHOD, "conformance has no such method"),
            plain.clone().with(property::SESSION_EXPIRY_INTERVAL, u32::MAX),
        ]);
    }
    for connect in connects {
        let mut client = cx.open()?;
        client.send_connect(&connect)?;
        if client.expect_connack_or_close()?.is_some_and(|connack| connack.reason == 0) {
            client.ping()?;
            client.disconnect()?;
        }
    }
    Ok(())
}
