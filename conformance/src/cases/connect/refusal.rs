//! Checks of refused CONNECT packets.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::link::Incoming;
use crate::wire::Connect;

/// The broker must close the connection after this CONNECT, which the standard forbids: in 3.1.1 without CONNACK; in
/// 5.0 after a CONNACK with one of these Reason Codes, or without.
pub(in crate::cases) fn expect_refused(cx: &mut Context, connect: &Connect, reasons: &[u8]) -> Outcome {
    let mut client = cx.open()?;
    client.send_connect(connect)?;
    expect_refusal(&mut client, reasons)
}

/// As [`expect_refused`], if the CONNECT was already sent.
pub(in crate::cases) fn expect_refusal(client: &mut Client, reasons: &[u8]) -> Outcome {
    if client.version().is_v5() {
        return client.expect_disconnect_or_close(reasons);
    }
    const EXPECTED: &str = "the connection is closed without CONNACK";
    let until = client.link().case().deadline();
    match client.link().read(until)? {
        Incoming::Closed => Ok(()),
        Incoming::Packet(packet, _) => Err(Failure::new(EXPECTED, packet.describe()).of("MQTT-3.1.4-1")),
        Incoming::Nothing => Err(Failure::new(EXPECTED, "it stays open")),
    }
}

/// All bytes that the broker sends until it closes the connection, for cases where it can't know the version.
pub(in crate::cases) fn bytes_until_close(client: &mut Client) -> Result<Vec<u8>, Failure> {
    let until = client.link().case().deadline();
    let mut bytes = Vec::new();
    while !client.link().is_closed() {
        let more = client.link().read_bytes(until);
        if more.is_empty() && !client.link().is_closed() {
            return Err(Failure::new("the connection is closed", format!("it stays open after {bytes:02X?}")));
        }
        bytes.extend(more);
    }
    Ok(bytes)
}

/// The client, or `None` if the broker refused its credentials: the standard doesn't say which credentials are valid.
pub(super) fn with_credentials(cx: &mut Context, connect: &Connect) -> Result<Option<Client>, Failure> {
    let mut client = cx.open()?;
    client.send_connect(connect)?;
    let Some(connack) = client.expect_connack_or_close()? else { return Ok(None) };
    let refusals: &[u8] = if cx.version().is_v5() { &[0x80, 0x83, 0x86, 0x87] } else { &[4, 5] };
    match connack.reason {
        0 => Ok(Some(client)),
        reason if refusals.contains(&reason) => Ok(None),
        _ => Err(Failure::new("Success, or a refusal of the credentials", format!("{connack:?}"))),
    }
}
