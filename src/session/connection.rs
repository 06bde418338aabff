use std::collections::VecDeque;

use super::event::Ticket;
use super::link::Link;
use crate::codec::ServerPacket;

/// The Session's side of a Network Connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) link: Option<Box<Link>>,
    /// Responses that wait for the store, and those behind them, in order.
    held: Option<Box<HeldResponses>>,
}

/// Responses in the order in which they leave. Boxed: every Session has a place for them, and few have any.
#[derive(Debug, Default)]
struct HeldResponses {
    /// What each waits for, and its bytes.
    queue: VecDeque<(Ticket, usize, ServerPacket)>,
    /// Of all of them.
    bytes: usize,
}

impl Connection {
    /// A connection that begins, on which nothing waits.
    pub(super) const fn new(link: Box<Link>) -> Self {
        Self { link: Some(link), held: None }
    }

    /// How many responses wait, and their bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        self.held.as_ref().map_or((0, 0), |held| (held.queue.len(), held.bytes))
    }

    /// What the last of them waits for.
    #[inline]
    pub(super) fn last_held(&self) -> Option<Ticket> {
        self.held.as_ref().and_then(|held| Some(held.queue.back()?.0))
    }

    /// Holds a response of so many bytes back until this ticket is stable.
    pub(super) fn hold(&mut self, ticket: Ticket, bytes: usize, packet: ServerPacket) {
        let held = self.held.get_or_insert_default();
        held.bytes += bytes;
        held.queue.push_back((ticket, bytes, packet));
    }

    /// The next response, if everything that it waits for is stable.
    #[inline]
    pub(super) fn pop_held(&mut self, stable: Ticket) -> Option<ServerPacket> {
        let Some(held) = self.held.as_mut().filter(|held| !held.queue.is_empty()) else {
            self.held = None; // nearly every Session needs it for its CONNACK alone
            return None;
        };
        held.queue.front().filter(|(ticket, ..)| *ticket <= stable)?;
        let (_, bytes, packet) = held.queue.pop_front()?;
        held.bytes -= bytes;
        Some(packet)
    }
}
