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
    queue: VecDeque<HeldResponse>,
    /// The encoded bytes of all of them.
    bytes: usize,
    /// The last hold that has ended.
    ended: u64,
}

#[derive(Debug)]
struct HeldResponse {
    /// The ticket that it waits for.
    ticket: Ticket,
    /// The hold whose end it waits for; 0: none.
    hold: u64,
    /// Its encoded bytes.
    bytes: usize,
    packet: ServerPacket,
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
        self.held.as_ref().and_then(|held| Some(held.queue.back()?.ticket))
    }

    /// Holds a response back until `ticket` is stable.
    pub(super) fn hold(&mut self, ticket: Ticket, packet: ServerPacket) {
        let Some(link) = &self.link else { return };
        let bytes = encoded_len(&packet, link.version);
        let held = self.held.get_or_insert_default();
        held.bytes += bytes;
        let hold = held.queue.back().map_or(0, |last| last.hold);
        held.queue.push_back(HeldResponse { ticket, hold, bytes, packet });
    }

    /// Holds the last waiting response, and those behind it, back until the hold with this number ends. Holds begin and end in the order of their numbers.
    pub(super) fn hold_last(&mut self, hold: u64) {
        if let Some(last) = self.held.as_mut().and_then(|held| held.queue.back_mut()) {
            last.hold = hold;
        }
    }

    /// The hold with this number, and all before it, have ended.
    pub(super) fn end_hold(&mut self, hold: u64) {
        if let Some(held) = &mut self.held {
            held.ended = hold;
        }
    }

    /// Removes the next response, if everything that it waits for is stable.
    #[inline]
    pub(super) fn pop_held(&mut self, stable: Ticket) -> Option<ServerPacket> {
        let Some(held) = self.held.as_mut().filter(|held| !held.queue.is_empty()) else {
            self.held = None; // most Sessions need it only for CONNACK
            return None;
        };
        held.queue.front().filter(|first| first.ticket <= stable && first.hold <= held.ended)?;
        let first = held.queue.pop_front()?;
        held.bytes -= first.bytes;
        Some(first.packet)
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
