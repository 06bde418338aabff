use std::collections::VecDeque;

use super::event::Ticket;
use super::link::Link;
use crate::codec::{ProtocolVersion, ServerPacket};

/// The Session's part of a Network Connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) link: Option<Box<Link>>,
    /// Responses that wait for a stable ticket, and responses behind them, in order.
    held: Option<Box<HeldResponses>>,
}

/// Responses in the order in which they are sent. Boxed, because few Sessions have any.
#[derive(Debug, Default)]
struct HeldResponses {
    /// The ticket that each waits for, and its encoded bytes.
    queue: VecDeque<(Ticket, usize, ServerPacket)>,
    /// The encoded bytes of all of them.
    bytes: usize,
}

impl Connection {
    /// A new connection without waiting responses.
    pub(super) const fn new(link: Box<Link>) -> Self {
        Self { link: Some(link), held: None }
    }

    /// The number of waiting responses, and their bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        self.held.as_ref().map_or((0, 0), |held| (held.queue.len(), held.bytes))
    }

    /// The ticket that the last of them waits for.
    #[inline]
    pub(super) fn last_held(&self) -> Option<Ticket> {
        self.held.as_ref().and_then(|held| Some(held.queue.back()?.0))
    }

    /// Holds a response back until `ticket` is stable.
    pub(super) fn hold(&mut self, ticket: Ticket, packet: ServerPacket) {
        let Some(link) = &self.link else { return };
        let bytes = encoded_len(&packet, link.version);
        let held = self.held.get_or_insert_default();
        held.bytes += bytes;
        held.queue.push_back((ticket, bytes, packet));
    }

    /// Removes the next response, if everything that it waits for is stable.
    #[inline]
    pub(super) fn pop_held(&mut self, stable: Ticket) -> Option<ServerPacket> {
        let Some(held) = self.held.as_mut().filter(|held| !held.queue.is_empty()) else {
            self.held = None; // most Sessions need it only for CONNACK
            return None;
        };
        held.queue.front().filter(|(ticket, ..)| *ticket <= stable)?;
        let (_, bytes, packet) = held.queue.pop_front()?;
        held.bytes -= bytes;
        Some(packet)
    }
}

/// The bytes of a response; an acknowledgement without details is not encoded for it.
#[inline]
fn encoded_len(packet: &ServerPacket, version: ProtocolVersion) -> usize {
    match packet {
        ServerPacket::Puback(ack)
        | ServerPacket::Pubrec(ack)
        | ServerPacket::Pubrel(ack)
        | ServerPacket::Pubcomp(ack)
            if ack.details.is_none() =>
        {
            ACK_BYTES_MAX
        }
        ServerPacket::Puback(_)
        | ServerPacket::Pubrec(_)
        | ServerPacket::Pubrel(_)
        | ServerPacket::Pubcomp(_)
        | ServerPacket::Publish(_)
        | ServerPacket::Connack(_)
        | ServerPacket::Suback(_)
        | ServerPacket::Unsuback(_)
        | ServerPacket::Pingresp
        | ServerPacket::Disconnect(_)
        | ServerPacket::Auth(_) => packet.encoded_len(version),
    }
}

/// Fixed header, Packet Identifier, Reason Code and an empty property length.
const ACK_BYTES_MAX: usize = 6;
