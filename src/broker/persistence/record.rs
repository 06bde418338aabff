use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::persistence::durability::Durability;
use crate::codec::{ClientId, Message, PacketId, Qos, Will};
use crate::routing::{SessionKey, Subscriber};
use crate::session::Delivery;
use crate::timestamp::Timestamp;
use crate::topic::Filter;

/// What one client action changes in the store. A record is atomic: after a crash it is there as a whole or not at all. Consecutive
/// records without body may be joined into one entry of the log.
///
/// Only durable Sessions have records (5.0: Session Expiry Interval above 0; 3.1.1: Clean Session 0), and Sessions with a Will, which
/// must be published after a crash.
#[derive(Debug, Clone)]
pub enum Record {
    /// A Session was opened, or goes on with a new connection: it replaces what was stored of these fields.
    SessionOpened {
        /// The Session.
        key: SessionKey,
        /// Its Client Identifier.
        client_id: ClientId,
        /// The verified user name of its client, by which its access is found after a restart.
        user: Option<Arc<str>>,
        /// In seconds; `u32::MAX`: never.
        session_expiry_interval: u32,
        /// Its Will Message.
        will: Option<Box<Will>>,
    },
    /// The connection of a Session ended, and its Session Expiry Interval began. DISCONNECT may have changed the interval.
    SessionDetached {
        /// The Session.
        key: SessionKey,
        /// In seconds; `u32::MAX`: never.
        session_expiry_interval: u32,
        /// When.
        at: Timestamp,
        /// Whether its Will is still to be published.
        will: WillState,
        /// Messages before this sequence may have been sent.
        sent_until: u64,
    },
    /// A Session ended: everything of it is deleted.
    SessionEnded {
        /// The Session.
        key: SessionKey,
    },
    /// Subscriptions were made or replaced.
    Subscribed {
        /// The Session.
        key: SessionKey,
        /// With their options.
        subscriptions: Vec<crate::codec::Subscription>,
        /// The identifier that they all have.
        subscription_id: Option<crate::codec::SubscriptionId>,
        /// Whether the client wants the identity of each message.
        message_id: bool,
    },
    /// Subscriptions were removed.
    Unsubscribed {
        /// The Session.
        key: SessionKey,
        /// These.
        filters: Vec<Filter>,
    },
    /// A message was accepted: from a client, as a Will, or a retained one for a new subscription.
    Accepted {
        /// The publisher and the Packet Identifier that its received set gets (QoS 2).
        publisher: Option<(SessionKey, PacketId)>,
        /// The message, stored once for all receivers.
        message: Arc<Message>,
        /// The QoS it was published with.
        qos: Qos,
        /// When it expires.
        expires_at: Option<Timestamp>,
        /// What becomes of the retained message of its topic.
        retained: RetainedChange,
        /// Its place in the deduplication window.
        deduplicated: Option<Deduplicated>,
        /// The durable Sessions that get it.
        receivers: Arc<Vec<Addressed>>,
        /// What the record must survive before it counts as stable.
        durability: Durability,
        /// The stored message that it replaces.
        instead_of: Option<InsteadOf>,
    },
    /// Messages left the deduplication window.
    Forgotten {
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// Records of retained messages are obsolete.
    RetainedGone {
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// PUBREL came: the Packet Identifier is free.
    ReceivedReleased {
        /// The publisher.
        key: SessionKey,
        /// Its identifier.
        packet_id: PacketId,
    },
    /// PUBREC came: the client has the message.
    OutboundReleased {
        /// The receiver.
        key: SessionKey,
        /// The message.
        sequence: u64,
    },
    /// A message left the queue: acknowledged, expired or dropped.
    Done {
        /// The receiver.
        key: SessionKey,
        /// The message.
        sequence: u64,
    },
}

/// An entry of the deduplication window: a message with this `dedup-id` is accepted once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deduplicated {
    /// Its number, ascending in the order of acceptance.
    pub number: u64,
    /// The publisher's name in the window.
    pub publisher: ByteString,
    /// Its `dedup-id`.
    pub id: ByteString,
    /// When.
    pub at: Timestamp,
    /// The numbers of the entries that left the window for it.
    pub left: Vec<u64>,
}

/// Where an accepted message was stored before. The record deletes it there, so that the message is in exactly one place whenever the
/// broker crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsteadOf {
    /// It was the Will of this Session.
    Will(SessionKey),
    /// It was at this place in the queue of a Session that has ended.
    Queued(SessionKey, u64),
}

/// A message for one Session, with its sequence in the Session's queue.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// The Session.
    pub to: Arc<Subscriber>,
    /// Its sequence.
    pub sequence: u64,
    /// The message, as the Session gets it.
    pub delivery: Delivery,
}

/// What a message does to the retained message of its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetainedChange {
    /// Nothing.
    None,
    /// It becomes that.
    Set {
        /// Its number: of two of one topic the higher counts.
        number: u64,
        /// Obsolete records of retained messages, which this record deletes.
        gone: Vec<u64>,
        /// The publisher's name in the window.
        publisher: Option<ClientId>,
    },
    /// There is none any more.
    Cleared {
        /// The number of the change, as above.
        number: u64,
        /// As above.
        gone: Vec<u64>,
    },
}

/// Whether a Will is still to be published after its connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WillState {
    /// No: there is none, it is published, or it was discarded.
    Gone,
    /// Yes, after its Will Delay Interval.
    Delayed,
}

impl Record {
    /// What it must survive before it counts as stable; `None` if nothing ever waits for it.
    ///
    /// Messages of every level rely on Sessions, subscriptions and the steps of QoS 2: their records have the highest level.
    pub const fn durability(&self) -> Option<Durability> {
        match self {
            // A retained message at QoS 0. If it was a Will, its copies wait for the record that deletes the Will.
            Self::Accepted { qos: Qos::AtMostOnce, instead_of: None, .. } => None,
            Self::Accepted { durability, .. } => Some(*durability),
            Self::Done { .. } | Self::Forgotten { .. } | Self::RetainedGone { .. } => None,
            Self::SessionOpened { .. }
            | Self::SessionDetached { .. }
            | Self::SessionEnded { .. }
            | Self::Subscribed { .. }
            | Self::Unsubscribed { .. }
            | Self::ReceivedReleased { .. }
            | Self::OutboundReleased { .. } => Some(Durability::PowerLoss),
        }
    }
}

impl WillState {
    /// The state of a Will that is due at `will_at`, if ever.
    pub(in crate::broker) const fn of(will_at: Option<Timestamp>) -> Self {
        if will_at.is_some() { Self::Delayed } else { Self::Gone }
    }
}
