use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::persistence::durability::Durability;
use crate::codec::{ClientId, Message, PacketId, Qos, Will};
use crate::routing::{SessionKey, Subscriber};
use crate::session::Delivery;
use crate::timestamp::Timestamp;
use crate::topic::Filter;

/// What has to be stable before a packet leaves: one client action, atomic by construction. Those that follow each other and are nothing
/// but keys may be one entry of the log.
///
/// Only durable Sessions have records: those of 5.0 with a Session Expiry Interval above 0, of 3.1.1 with Clean Session 0;
/// and those with a Will, which is to be published after a crash.
#[derive(Debug, Clone)]
pub enum Record {
    /// A Session was opened, or goes on with a new connection: it replaces what was stored of these fields.
    SessionOpened {
        /// The Session.
        key: SessionKey,
        /// Its Client Identifier.
        client_id: ClientId,
        /// The name that its client proved, by which its access is found again.
        user: Option<Arc<str>>,
        /// In seconds; `u32::MAX`: never.
        session_expiry_interval: u32,
        /// Its Will Message.
        will: Option<Box<Will>>,
    },
    /// The connection of a Session ended at this time, which its expiry counts from; or its expiry was changed by DISCONNECT.
    SessionDetached {
        /// The Session.
        key: SessionKey,
        /// In seconds; `u32::MAX`: never.
        session_expiry_interval: u32,
        /// When.
        at: Timestamp,
        /// Whether its Will is still to be published.
        will: WillState,
        /// Messages before this place in its queue may have been sent.
        sent_until: u64,
    },
    /// A Session ended: nothing of it is kept.
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
    /// Subscriptions were taken back.
    Unsubscribed {
        /// The Session.
        key: SessionKey,
        /// These.
        filters: Vec<Filter>,
    },
    /// A message was accepted: from a client, as a Will, or a retained one for a new subscription.
    Accepted {
        /// Whose received identifiers this one joins (QoS 2).
        publisher: Option<(SessionKey, PacketId)>,
        /// The message, once.
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
        /// What the record is to survive before it counts as stable.
        durability: Durability,
        /// What it ends.
        instead_of: Option<InsteadOf>,
    },
    /// These left the deduplication window.
    Forgotten {
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// These records of retained messages count no more.
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
    /// A message is done with: acknowledged, expired or dropped.
    Done {
        /// The receiver.
        key: SessionKey,
        /// The message.
        sequence: u64,
    },
}

/// A message that is accepted once, by the `dedup-id` that its publisher gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deduplicated {
    /// Its number: those that come later have higher ones.
    pub number: u64,
    /// Who published it.
    pub publisher: ByteString,
    /// Its `dedup-id`.
    pub id: ByteString,
    /// When.
    pub at: Timestamp,
    /// The numbers of those that left the window for it.
    pub left: Vec<u64>,
}

/// Where an accepted message was kept before: it ends with the record, so that the message is in one of the two places whenever the
/// broker crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsteadOf {
    /// It was the Will of this Session.
    Will(SessionKey),
    /// It was at this place in the queue of a Session that has ended.
    Queued(SessionKey, u64),
}

/// A message for a Session, at its place in the Session's queue.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// The Session.
    pub to: Arc<Subscriber>,
    /// The place.
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
        /// Records of retained messages that can be deleted.
        gone: Vec<u64>,
        /// Who published it.
        publisher: Option<ClientId>,
    },
    /// From now on there is none.
    Cleared {
        /// The number of the change, as above.
        number: u64,
        /// Likewise.
        gone: Vec<u64>,
    },
}

/// What becomes of a Will when its connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WillState {
    /// There is none, or it is published, or it is not to be.
    Gone,
    /// It waits for its Will Delay Interval.
    Delayed,
}

impl Record {
    /// What it is to survive before it counts as stable; `None` if nothing ever waits for it.
    ///
    /// Sessions, subscriptions and the steps of QoS 2 are what messages of every level rely on: they get all that the store can
    /// do.
    pub const fn durability(&self) -> Option<Durability> {
        match self {
            // A retained message at QoS 0. If it was a Will, its copies wait for the record that it is gone.
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
    /// The state of a Will that is due then, if at all.
    pub(in crate::broker) const fn of(will_at: Option<Timestamp>) -> Self {
        if will_at.is_some() { Self::Delayed } else { Self::Gone }
    }
}
