//! What the clients of the matrix have in common.

use std::net::SocketAddr;
use std::time::Duration;

use oncemq::codec::{ClientPacket, Connect, ProtocolVersion, ServerPacket};
use tokio::time::Instant;

use super::end::End;
use crate::verify::broker::Trap;
use crate::verify::link::{Link, LinkError};

/// A broker under load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) address: SocketAddr,
    pub(super) trap: &'a Trap,
}

impl Load<'_> {
    /// The next packet, which may be the broker's last.
    pub(super) fn receive(&self, link: &mut Link) -> Result<Option<ServerPacket>, LinkError> {
        let packet = link.receive(Instant::now() + TURN)?;
        if let Some(packet) = &packet {
            self.trap.on_packet(packet.packet_type());
        }
        Ok(packet)
    }

    /// The end of a client. That its connection ended is the kill, unless nobody has killed the broker.
    pub(super) fn until_killed(&self, result: Result<(), End>) -> Result<(), End> {
        match result {
            Err(End::Link(LinkError::Closed(_))) if self.trap.is_sprung() => Ok(()),
            result => result,
        }
    }
}

/// Connects with a Session that is kept. `is_known`: the broker has confirmed it before.
pub(super) fn connect(address: SocketAddr, name: &str, version: ProtocolVersion, is_known: bool) -> Result<Link, End> {
    let mut connect = Connect::new(version, name.to_owned(), false);
    if version.has_properties() {
        connect.properties.session_expiry_interval = 3_600;
    }
    let (link, connack) = Link::connect(address, &connect)?;
    if connack.reason_code.is_error() {
        return Err(End::Fault(format!("its CONNECT was refused: {}", connack.reason_code)));
    }
    if is_known && !connack.session_present {
        return Err(End::Fault("its session is gone, which the broker had confirmed".to_owned()));
    }
    Ok(link)
}

/// Sends a packet at once.
pub(super) fn send(link: &mut Link, packet: &ClientPacket) -> Result<(), End> {
    link.send(packet);
    Ok(link.flush()?)
}

/// A random number below `bound`, with the precision that this test needs.
pub(super) fn random_below(bound: u64) -> u64 {
    // Without a source of randomness, the kills come at other times only.
    getrandom::u64().unwrap_or(7) % bound.max(1)
}

/// How long a client waits for a packet before it looks whether there is something else to do.
const TURN: Duration = Duration::from_millis(20);
