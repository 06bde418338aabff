use crate::broker::ids::Origin;
use crate::broker::owner::Owner;
use crate::broker::persistence::record::{Deduplicated, InsteadOf};
use crate::broker::receipts::request::ReceiptRequest;
use crate::codec::{ClientId, PacketId, Qos};
use crate::routing::SessionKey;

/// The publisher of a message.
#[derive(Debug)]
pub(in crate::broker) struct Publisher {
    /// Its Session, for No Local.
    pub(in crate::broker) key: Option<SessionKey>,
    /// The slot of its Session.
    pub(in crate::broker) slot: Option<usize>,
    pub(in crate::broker) client_id: Option<ClientId>,
    /// The owner of its Session, for a message that is retained. `None`: it needs no right to publish.
    pub(in crate::broker) owner: Option<Owner>,
    /// Its connection, which is paused when a receiver is slow.
    pub(in crate::broker) origin: Option<Origin>,
    /// The slot of its Session and the Packet Identifier, at QoS 1 and 2.
    pub(in crate::broker) received: Option<(usize, PacketId)>,
    /// The message's entry in the deduplication window.
    pub(in crate::broker) deduplicated: Option<Box<Deduplicated>>,
    /// The stored message that the record replaces.
    pub(in crate::broker) instead_of: Option<InsteadOf>,
    /// The receipt that the message asks for.
    pub(in crate::broker) receipt: Option<Box<ReceiptRequest>>,
    /// It is another cell, which sends the message until it is acknowledged, whatever its QoS.
    pub(in crate::broker) is_link: bool,
}

impl Publisher {
    /// The broker itself: dead letters, `$SYS` topics and redelivered messages.
    pub(in crate::broker) const fn broker() -> Self {
        Self {
            key: None,
            slot: None,
            client_id: None,
            owner: None,
            origin: None,
            received: None,
            deduplicated: None,
            instead_of: None,
            receipt: None,
            is_link: false,
        }
    }

    /// Whether it sends a message with this QoS again after a crash that has lost its record, and the message is recognized by its Packet Identifier.
    pub(in crate::broker) fn resends(&self, qos: Qos) -> bool {
        self.received.is_some() && (qos == Qos::ExactlyOnce || self.is_link)
    }

    /// An operator. It has the key of no Session, because its retained messages are stored as those of clients are.
    pub(in crate::broker) fn operator() -> Self {
        Self { key: Some(OPERATOR), ..Self::broker() }
    }

    /// Whether it is an operator, to whom the broker answers when the message is stable.
    pub(in crate::broker) fn is_operator(&self) -> bool {
        self.key == Some(OPERATOR)
    }
}

/// Sessions are numbered from 1.
const OPERATOR: SessionKey = SessionKey(0);
