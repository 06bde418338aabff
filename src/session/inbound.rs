use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::ProtocolError;
use super::event::Ticket;
use crate::codec::{PacketId, Qos, ReasonCode};

/// The QoS 1 and 2 messages that the client is sending.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// QoS 2 identifiers that wait for PUBREL, at most 65,535. Allocated for the first one.
    #[expect(clippy::box_collection, reason = "every Session has this field, and most never use it")]
    awaiting_pubrel: Option<Box<HashMap<PacketId, Received, FixedState>>>,
    /// PUBLISH packets of this connection without PUBACK, PUBCOMP or a failing PUBREC.
    unacknowledged: u32,
}

/// An accepted QoS 2 message.
#[derive(Debug, Clone, Copy)]
struct Received {
    /// The ticket of its record.
    ticket: Option<Ticket>,
    /// Whether it counts as unacknowledged on this connection.
    counted: Counted,
}

/// Whether a message counts against the Receive Maximum of this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Yes,
    /// It was received on an earlier connection.
    No,
}

/// The kind of a PUBLISH at QoS 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A new message.
    New,
    /// A QoS 2 message that was accepted before with this ticket: acknowledged again, not routed again. [MQTT-4.3.3-10]
    Repeat(Option<Ticket>),
}

/// The result of a PUBLISH at QoS 1 or 2.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) packet_id: PacketId,
    pub(super) qos: Qos,
    pub(super) reason_code: ReasonCode,
    pub(super) wait: Option<Ticket>,
    pub(super) duplicate: bool,
}

impl Answer {
    pub(super) const fn refusal(packet_id: PacketId, qos: Qos, reason_code: ReasonCode) -> Self {
        Self { packet_id, qos, reason_code, wait: None, duplicate: false }
    }
}

impl Inbound {
    /// Restores QoS 2 identifiers, which are stable.
    pub(super) fn restored(received: impl IntoIterator<Item = PacketId>) -> Self {
        let received = received.into_iter().map(|id| (id, Received { ticket: None, counted: Counted::No }));
        let awaiting_pubrel: HashMap<_, _, _> = received.collect();
        Self { awaiting_pubrel: (!awaiting_pubrel.is_empty()).then(|| Box::new(awaiting_pubrel)), unacknowledged: 0 }
    }

    /// Handles a new connection: no message counts as unacknowledged.
    pub(super) fn restart(&mut self) {
        self.unacknowledged = 0;
        for received in self.awaiting_pubrel.iter_mut().flat_map(|map| map.values_mut()) {
            received.counted = Counted::No;
        }
    }

    /// Handles a QoS 1 PUBLISH.
    pub(super) fn on_publish_qos1(&mut self, receive_maximum: u16) -> Result<(), ProtocolError> {
        self.count(receive_maximum)
    }

    /// Handles a QoS 2 PUBLISH.
    pub(super) fn on_publish_qos2(&mut self, id: PacketId, receive_maximum: u16) -> Result<Arrival, ProtocolError> {
        if let Some(received) = self.awaiting_pubrel.as_ref().and_then(|map| map.get(&id)).copied() {
            if received.counted == Counted::No {
                self.count(receive_maximum)?;
                self.insert(id, Received { counted: Counted::Yes, ..received });
            }
            return Ok(Arrival::Repeat(received.ticket));
        }
        self.count(receive_maximum)?;
        self.insert(id, Received { ticket: None, counted: Counted::Yes });
        Ok(Arrival::New)
    }

    /// Whether a QoS 2 message with this identifier waits for PUBREL.
    pub(super) fn is_awaiting_pubrel(&self, id: PacketId) -> bool {
        self.awaiting_pubrel.as_ref().is_some_and(|map| map.contains_key(&id))
    }

    /// Records that a QoS 2 message was accepted with this ticket.
    pub(super) fn accepted(&mut self, id: PacketId, ticket: Option<Ticket>) {
        if let Some(received) = self.awaiting_pubrel.as_mut().and_then(|map| map.get_mut(&id)) {
            received.ticket = ticket;
        }
    }

    /// Records that all accepted messages are stable.
    pub(super) fn forget_tickets(&mut self) {
        for received in self.awaiting_pubrel.iter_mut().flat_map(|map| map.values_mut()) {
            received.ticket = None;
        }
    }

    /// PUBREL releases the identifier. Returns `false` if it was released before. [MQTT-4.3.3-12]
    pub(super) fn release(&mut self, id: PacketId) -> bool {
        let received = self.remove(id);
        if received.is_some_and(|received| received.counted == Counted::Yes) {
            self.acknowledged();
        }
        received.is_some()
    }

    /// A QoS 2 message was refused: the identifier is released, but counts until the failing PUBREC is sent.
    /// [MQTT-4.3.3-9]
    pub(super) fn refused(&mut self, id: PacketId) {
        self.remove(id);
    }

    /// A PUBACK or a failing PUBREC was sent.
    pub(super) fn acknowledged(&mut self) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }

    /// See [`unacknowledged`](Self::unacknowledged).
    pub(super) const fn unacknowledged(&self) -> u32 {
        self.unacknowledged
    }

    fn insert(&mut self, id: PacketId, received: Received) {
        self.awaiting_pubrel.get_or_insert_default().insert(id, received);
    }

    fn remove(&mut self, id: PacketId) -> Option<Received> {
        self.awaiting_pubrel.as_mut()?.remove(&id)
    }

    /// Counts a PUBLISH against the Receive Maximum. [MQTT-3.3.4-7]
    fn count(&mut self, receive_maximum: u16) -> Result<(), ProtocolError> {
        if self.unacknowledged >= u32::from(receive_maximum) {
            return Err(ProtocolError::ReceiveMaximumExceeded { receive_maximum });
        }
        self.unacknowledged += 1;
        Ok(())
    }
}
