//! Acknowledgements from the client.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::wire::{Ack, AckKind, Publish, property};

const KINDS: [AckKind; 4] = [AckKind::Puback, AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp];
const PACKET_ID: u16 = 0x0102;

/// A client from which the server expects an acknowledgement of this kind, and that acknowledgement.
fn awaited(cx: &mut Context, kind: AckKind) -> Result<(Client, Ack), Failure> {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    if kind == AckKind::Pubrel {
        client.send(Publish::new(&topic, "to be released").qos(2).packet_id(PACKET_ID))?;
        client.expect_pubrec(PACKET_ID)?;
        return Ok((client, Ack::pubrel(PACKET_ID)));
    }
    let qos = if kind == AckKind::Puback { 1 } else { 2 };
    client.subscribe(&topic, qos)?;
    client.publish(Publish::new(&topic, "to be acknowledged").qos(qos))?;
    let id = client.expect_publish()?.packet_id.unwrap_or_default();
    if kind == AckKind::Pubcomp {
        client.send(Ack::pubrec(id))?;
        client.expect_pubrel(id)?;
    }
    Ok((client, Ack::new(kind, id)))
}

/// Checks that the server accepted the acknowledgement: it responds if it must, and the connection stays open.
fn expect_taken(client: &mut Client, ack: &Ack) -> Outcome {
    match ack.kind {
        AckKind::Pubrec if ack.reason_code() < 0x80 => {
            client.expect_pubrel(ack.packet_id)?;
            client.send(Ack::pubcomp(ack.packet_id))?;
        }
        AckKind::Pubrel => {
            client.expect_pubcomp(ack.packet_id)?;
        }
        AckKind::Puback | AckKind::Pubrec | AckKind::Pubcomp => {}
    }
    client.expect_silence_by_ping()
}

pub(in crate::cases) fn flags_of_pubrel(cx: &mut Context) -> Outcome {
    for flags in (0..16).filter(|flags| *flags != 0b0010) {
        let (mut client, pubrel) = awaited(cx, AckKind::Pubrel)?;
        client.send(pubrel.flags(flags))?;
        client.expect_disconnect_or_close(&[0x81])?;
    }
    Ok(())
}

pub(in crate::cases) fn lengths(cx: &mut Context) -> Outcome {
    for kind in KINDS {
        let (mut client, shortest) = awaited(cx, kind)?;
        client.send(&shortest)?;
        expect_taken(&mut client, &shortest)?;
        let (mut client, ack) = awaited(cx, kind)?;
        let with_reason = ack.reason(0);
        client.send(&with_reason)?;
        expect_taken(&mut client, &with_reason)?;
        let (mut client, ack) = awaited(cx, kind)?;
        let mut with_length = ack.reason(0);
        with_length.properties = Some(property::Properties::default());
        client.send(&with_length)?;
        expect_taken(&mut client, &with_length)?;
    }
    Ok(())
}

pub(in crate::cases) fn wrong_reason_codes(cx: &mut Context) -> Outcome {
    for kind in KINDS {
        let foreign = match kind {
            // Packet Identifier not found.
            AckKind::Puback | AckKind::Pubrec => 0x92,
            // Packet Identifier in use.
            AckKind::Pubrel | AckKind::Pubcomp => 0x91,
        };
        for reason in [0x01, 0x7F, foreign, 0xFF] {
            let (mut client, ack) = awaited(cx, kind)?;
            client.send(ack.reason(reason))?;
            client.expect_disconnect_or_close(&[0x81, 0x82])?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn right_reason_codes(cx: &mut Context) -> Outcome {
    for kind in KINDS {
        let reasons: &[u8] = match kind {
            AckKind::Puback | AckKind::Pubrec => &[0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
            AckKind::Pubrel | AckKind::Pubcomp => &[0x00, 0x92],
        };
        for reason in reasons {
            let (mut client, ack) = awaited(cx, kind)?;
            let ack = ack.reason(*reason);
            client.send(&ack)?;
            expect_taken(&mut client, &ack)?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn reason_strings(cx: &mut Context) -> Outcome {
    // Texts that a server could misinterpret.
    for text in ["", "0x80 Unspecified error", "{\"reason\": 135}", "\u{FEFF}✓"] {
        for kind in KINDS {
            let (mut client, ack) = awaited(cx, kind)?;
            let told = ack
                .with(property::USER_PROPERTY, ("reason", "128"))
                .with(property::REASON_STRING, text)
                .with(property::USER_PROPERTY, ("reason", "128"));
            client.send(&told)?;
            expect_taken(&mut client, &told)?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn reason_string_twice(cx: &mut Context) -> Outcome {
    for kind in KINDS {
        let (mut client, ack) = awaited(cx, kind)?;
        client.send(ack.with(property::REASON_STRING, "once").with(property::REASON_STRING, "again"))?;
        client.expect_disconnect_or_close(&[0x82])?;
    }
    Ok(())
}
