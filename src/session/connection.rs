use std::collections::VecDeque;

use super::event::Ticket;
use super::link::Link;
use crate::codec::ServerPacket;

/// The Session's part of a Network Connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) link: Option<Box<Link>>,
    /// Responses that wait for a stable ticket, and responses behind them, in order.
    responses: Option<Box<WaitingResponses>>,
}

/// Waiting responses. Boxed, because every Session has this field, and few have waiting responses.
#[derive(Debug, Default)]
struct WaitingResponses {
    /// The ticket, the size in bytes and the packet of each response, in order.
    queue: VecDeque<(Ticket, usize, ServerPacket)>,
    /// Sum of their sizes in bytes.
    bytes: usize,
}

impl Connection {
    /// A new connection without waiting responses.
    pub(super) const fn new(link: Box<Link>) -> Self {
        Self { link: Some(link), responses: None }
    }

    /// The number of waiting responses, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        self.responses.as_ref().map_or((0, 0), |responses| (responses.queue.len(), responses.bytes))
    }

    /// The ticket of the last waiting response.
    #[inline]
    pub(super) fn last_ticket(&self) -> Option<Ticket> {
        self.responses.as_ref().and_then(|responses| Some(responses.queue.back()?.0))
    }

    /// Queues a response of `bytes` bytes until `ticket` is stable.
    pub(super) fn push_response(&mut self, ticket: Ticket, bytes: usize, packet: ServerPacket) {
        let responses = self.responses.get_or_insert_default();
        responses.bytes += bytes;
        responses.queue.push_back((ticket, bytes, packet));
    }

    /// Removes the next response, if everything that it waits for is stable.
    #[inline]
    pub(super) fn pop_response(&mut self, stable: Ticket) -> Option<ServerPacket> {
        let Some(responses) = self.responses.as_mut().filter(|responses| !responses.queue.is_empty()) else {
            self.responses = None; // most Sessions need it only for CONNACK
            return None;
        };
        responses.queue.front().filter(|(ticket, ..)| *ticket <= stable)?;
        let (_, bytes, packet) = responses.queue.pop_front()?;
        responses.bytes -= bytes;
        Some(packet)
    }
}
