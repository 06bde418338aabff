//! Reason Strings that do not fit the Maximum Packet Size of the client.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check};
use crate::wire::packet::Packet;
use crate::wire::{Ack, Connect, Encode, Properties, property};

/// Makes a broker report an error to a client with this CONNECT. Returns its Reason Code and properties.
type Provoke = fn(&mut Context, &Connect) -> Result<(u8, Properties), Failure>;

/// The Reason String is left out, but the packet is sent, if the client's Maximum Packet Size is one byte too small for it.
pub(super) fn too_large(cx: &mut Context) -> Outcome {
    // The bytes before the properties and their length.
    let provocations: [(Provoke, u32); 3] = [(connack, 4), (pubcomp, 5), (disconnect, 3)];
    for (provoke, before_properties) in provocations {
        let connect = cx.connecting("a");
        let (reason, properties) = provoke(cx, &connect)?;
        if !properties.has(property::REASON_STRING) {
            continue;
        }
        let size = before_properties + crate::wire::bytes::length(&properties.encode());
        let limit = (size - 1).max(cx.smallest_maximum_packet_size());
        let (again, properties) = provoke(cx, &connect.with(property::MAXIMUM_PACKET_SIZE, limit))?;
        check(again == reason, "the same Reason Code", format!("{again:#04x}, not {reason:#04x}"))?;
        let told = properties.has(property::REASON_STRING);
        check(!told || limit >= size, "no Reason String", format!("one, although {limit} bytes are allowed"))?;
    }
    Ok(())
}

/// An Authentication Method that no broker has.
fn connack(cx: &mut Context, connect: &Connect) -> Result<(u8, Properties), Failure> {
    let mut client = cx.open()?;
    client.send_connect(&connect.clone().with(property::AUTHENTICATION_METHOD, "conformance has no such method"))?;
    let connack = client.expect_connack_or_close()?;
    Ok(connack.map_or_else(Default::default, |connack| (connack.reason, connack.properties)))
}

/// A PUBREL for a Packet Identifier that is not in use.
fn pubcomp(cx: &mut Context, connect: &Connect) -> Result<(u8, Properties), Failure> {
    let mut client = cx.connect(connect.clone())?;
    client.send(Ack::pubrel(99))?;
    let ack = client.expect_pubcomp(99)?;
    Ok((ack.reason.unwrap_or_default(), ack.properties.unwrap_or_default()))
}

/// A second CONNECT.
fn disconnect(cx: &mut Context, connect: &Connect) -> Result<(u8, Properties), Failure> {
    let mut client: Client = cx.connect(connect.clone())?;
    client.send(connect.encode(cx.version()))?;
    match client.receive_or_close()? {
        Some(Packet::Disconnect(disconnect)) => {
            Ok((disconnect.reason_code(), disconnect.properties.unwrap_or_default()))
        }
        None => Ok(Default::default()), // a broker need not send it
        Some(packet) => Err(Failure::new("DISCONNECT, or the end of the connection", packet.describe())),
    }
}
