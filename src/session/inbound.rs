use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::ProtocolError;
use super::event::Ticket;
use crate::codec::{PacketId, Qos, ReasonCode};

/// The QoS 1 and 2 messages that a client is sending: whose acknowledgement it waits for.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// QoS 2 identifiers that wait for PUBREL: at most 65,535, the number of identifiers. Made when the first comes.
    #[expect(clippy::box_collection, reason = "every Session has a place for it, and most never use it")]
    awaiting_pubrel: Option<Box<HashMap<PacketId, Received, FixedState>>>,
    /// PUBLISH packets of this connection without PUBACK, PUBCOMP or a failing PUBREC.
    unacknowledged: u32,
}

/// A QoS 2 message that was accepted.
#[derive(Debug, Clone, Copy)]
struct Received {
    /// The record it became stable with.
    ticket: Option<Ticket>,
    /// Whether it counts among the unacknowledged of this connection.
    counted: Counted,
}

/// Whether a message counts towards the Receive Maximum of this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Yes,
    /// It came on an earlier connection.
    No,
}

/// What a PUBLISH at QoS 1 or 2 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A new message.
    New,
    /// A QoS 2 message that was accepted before with this record: answered again, routed once. [MQTT-4.3.3-10]
    Repeat(Option<Ticket>),
}

/// What became of a PUBLISH at QoS 1 or 2.
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
    /// With these QoS 2 identifiers of the last run, which are stable.
    pub(super) fn restored(received: impl IntoIterator<Item = PacketId>) -> Self {
        let received = received.into_iter().map(|id| (id, Received { ticket: None, counted: Counted::No }));
        let awaiting_pubrel: HashMap<_, _, _> = received.collect();
        Self { awaiting_pubrel: (!awaiting_pubrel.is_empty()).then(|| Box::new(awaiting_pubrel)), unacknowledged: 0 }
    }

    /// A new connection: nothing counts yet.
    pub(super) fn restart(&mut self) {
        self.unacknowledged = 0;
        for received in self.awaiting_pubrel.iter_mut().flat_map(|map| map.values_mut()) {
            received.counted = Counted::No;
        }
    }

    /// A QoS 1 PUBLISH.
    pub(super) fn on_publish_qos1(&mut self, receive_maximum: u16) -> Result<(), ProtocolError> {
        self.count(receive_maximum)
    }

    /// A QoS 2 PUBLISH.
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

    /// Whether a QoS 2 message with this identifier waits for its PUBREL.
    pub(super) fn is_awaiting_pubrel(&self, id: PacketId) -> bool {
        self.awaiting_pubrel.as_ref().is_some_and(|map| map.contains_key(&id))
    }

    /// The message of a QoS 2 PUBLISH was accepted with this record.
    pub(super) fn accepted(&mut self, id: PacketId, ticket: Option<Ticket>) {
        if let Some(received) = self.awaiting_pubrel.as_mut().and_then(|map| map.get_mut(&id)) {
            received.ticket = ticket;
        }
    }

    /// Everything accepted so far is stable.
    pub(super) fn forget_tickets(&mut self) {
        for received in self.awaiting_pubrel.iter_mut().flat_map(|map| map.values_mut()) {
            received.ticket = None;
        }
    }

    /// PUBREL: the identifier is free. `false` if it was already. [MQTT-4.3.3-12]
    pub(super) fn release(&mut self, id: PacketId) -> bool {
        let received = self.remove(id);
        if received.is_some_and(|received| received.counted == Counted::Yes) {
            self.acknowledged();
        }
        received.is_some()
    }

    /// A QoS 2 message was refused: the identifier is free, and counts until the PUBREC that says so has left. [MQTT-4.3.3-9]
    pub(super) fn refused(&mut self, id: PacketId) {
        self.remove(id);
    }

    /// PUBACK or a failing PUBREC left.
    pub(super) fn acknowledged(&mut self) {
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
    }

    fn insert(&mut self, id: PacketId, received: Received) {
        self.awaiting_pubrel.get_or_insert_default().insert(id, received);
    }

    fn remove(&mut self, id: PacketId) -> Option<Received> {
        self.awaiting_pubrel.as_mut()?.remove(&id)
    }

    /// [MQTT-3.3.4-7]
    fn count(&mut self, receive_maximum: u16) -> Result<(), ProtocolError> {
        if self.unacknowledged >= u32::from(receive_maximum) {
            return Err(ProtocolError::ReceiveMaximumExceeded { receive_maximum });
        }
        self.unacknowledged += 1;
        Ok(())
    }
}
