//! What others ask a Session.

use super::Session;
use crate::codec::Qos;
use crate::session::outbound::Outbound;
use crate::session::{Delivery, Limits};

impl Session {
    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        self.outgoing.limits()
    }

    /// Maximum QoS of the CONNACK of its connection; without one, no packet has a QoS.
    pub fn maximum_qos(&self) -> Qos {
        self.connection.link.as_ref().map_or(Qos::ExactlyOnce, |link| link.maximum_qos)
    }

    /// Whether a part of the queue is only in the store.
    pub fn needs_store(&self) -> bool {
        let is_stored = |queue: &Outbound| {
            queue.head.has_stored() || queue.redelivery.as_ref().is_some_and(|refused| refused.has_stored())
        };
        self.outgoing.queue().is_some_and(is_stored)
    }

    /// The number of messages in the queue, including those in flight and those that arrived out of order, and their
    /// bytes.
    pub fn queued(&self) -> (usize, usize) {
        self.outgoing.queue().map_or((0, 0), Outbound::queued)
    }

    /// The sequence before which messages may have been sent.
    pub const fn sent_until(&self) -> u64 {
        self.outgoing.sent_until()
    }

    /// The number of messages in the queue that were never sent.
    pub fn unsent(&self) -> u64 {
        self.outgoing.queue().map_or(0, Outbound::unsent)
    }

    /// The sequence of the first message that the client is not known to have, or of the next one.
    pub fn first_unreceived(&self) -> u64 {
        self.outgoing.queue().map_or(self.outgoing.sent_until(), Outbound::first_unreceived)
    }

    /// The number of messages that this connection has not sent.
    pub fn waiting(&self) -> usize {
        self.outgoing.queue().map_or(0, Outbound::waiting)
    }

    /// The number of messages sent on this connection and not acknowledged.
    pub fn in_flight(&self) -> u32 {
        self.outgoing.queue().map_or(0, Outbound::in_flight)
    }

    /// The number of QoS 1 and 2 messages received on this connection whose acknowledgement is not complete.
    pub const fn in_flight_in(&self) -> u32 {
        self.inbound.unacknowledged()
    }

    /// Responses that wait for the store, and their bytes.
    pub fn unstable_responses(&self) -> (usize, usize) {
        self.connection.held()
    }

    /// Whether it has a Network Connection.
    pub const fn is_connected(&self) -> bool {
        self.connection.link.is_some()
    }

    /// Whether CONNACK was sent, so that other packets may be sent.
    pub fn is_open(&self) -> bool {
        self.connection.link.as_ref().is_some_and(|link| link.open)
    }

    /// Whether a new QoS 1 or 2 message would be sent at once, and not wait in the queue.
    pub fn sends_at_once(&self) -> bool {
        let link = self.connection.link.as_ref().filter(|link| link.open && link.room > 0);
        link.is_some_and(|link| self.outgoing.queue().is_none_or(|queue| queue.sends_at_once(link.send_maximum)))
    }

    /// The greatest number of QoS 1 and 2 messages that the client may have without having acknowledged them; 1 without a connection.
    pub fn send_maximum(&self) -> u16 {
        self.connection.link.as_ref().map_or(1, |link| link.send_maximum.get())
    }

    /// Whether a message is certainly within the client's Maximum Packet Size.
    pub fn takes(&self, delivery: &Delivery) -> bool {
        self.connection.link.as_ref().is_none_or(|link| delivery.fits(link))
    }
}
