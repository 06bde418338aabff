//! What is stored of the receipt of a message: who asked for it, where its copies are, and what became of them.

use std::sync::Arc;

use crate::broker::owner::Owner;
use crate::codec::{ClientId, ReasonCode};
use crate::routing::SessionKey;
use crate::session::{DropCause, QueueExit};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// A change of a receipt in the record of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiptChange {
    /// The message was accepted, and its originator has asked for a receipt.
    Opened(Box<ReceiptState>),
    /// The record moves or removes a copy of such a message.
    Copy(CopyChange),
}

/// A receipt that is open since its message was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptState {
    /// Its number, ascending, and never used again.
    pub number: u64,
    /// Who asked for it.
    pub originator: Arc<Originator>,
    /// The topic to which it is published, with the mount point of the originator.
    pub to: TopicName,
    /// When the message was accepted.
    pub at: Timestamp,
    /// The durable Sessions that did not get the message, because their queues were full.
    pub left_out: u32,
    /// The queues of the durable Sessions that got it, with its sequences in them.
    pub places: Vec<(SessionKey, u64)>,
}

/// Who asked for a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Originator {
    /// Its Client Identifier.
    pub client_id: ClientId,
    /// Whose its Session was. By the user name, the access rules are found when the receipt is published.
    pub owner: Owner,
}

/// A change of one copy of a message with a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyChange {
    /// The number of the receipt.
    pub receipt: u64,
    /// The index of the copy among the first places of the copies.
    pub copy: u32,
    /// What is stored of it.
    pub state: CopyState,
}

/// Where a copy is, or what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// It is in the queue of this Session with this sequence.
    Queued(SessionKey, u64),
    /// It left the queues for good.
    Left(CopyOutcome, Timestamp),
}

/// What became of a copy of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopyOutcome {
    /// The client has acknowledged it with PUBACK or PUBCOMP.
    Acknowledged,
    /// The client refused it with this Reason Code.
    Refused(u8),
    /// The client refused it as often as its rule permits, the last time with this Reason Code.
    DeadLetter(u8),
    /// Its Message Expiry Interval has passed.
    Expired,
    /// The queue was full.
    QueueFull,
    /// It is larger than the client's Maximum Packet Size.
    PacketTooLarge,
    /// The client may not receive it any more.
    NotAuthorized,
    /// The Session ended.
    SessionEnded,
    /// Its share gave it to a Session that is not durable, of which nothing is stored.
    Untracked,
}

impl CopyState {
    /// The Session in whose queue it is.
    pub(in crate::broker) const fn session(&self) -> Option<SessionKey> {
        match *self {
            Self::Queued(key, _) => Some(key),
            Self::Left(..) => None,
        }
    }
}

impl CopyOutcome {
    /// Its name in a receipt.
    pub(in crate::broker) const fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Refused(_) => "refused",
            Self::DeadLetter(_) => "dead_letter",
            Self::Expired => "expired",
            Self::QueueFull => "queue_full",
            Self::PacketTooLarge => "packet_too_large",
            Self::NotAuthorized => "not_authorized",
            Self::SessionEnded => "session_ended",
            Self::Untracked => "untracked",
        }
    }

    /// The Reason Code with which the client refused it.
    pub(in crate::broker) const fn reason_code(self) -> Option<u8> {
        match self {
            Self::Refused(code) | Self::DeadLetter(code) => Some(code),
            Self::Acknowledged
            | Self::Expired
            | Self::QueueFull
            | Self::PacketTooLarge
            | Self::NotAuthorized
            | Self::SessionEnded
            | Self::Untracked => None,
        }
    }
}

impl From<QueueExit> for CopyOutcome {
    fn from(exit: QueueExit) -> Self {
        match exit {
            QueueExit::Acknowledged => Self::Acknowledged,
            QueueExit::Refused(code) => Self::Refused(ReasonCode::number(code)),
            QueueExit::Dropped(cause) => cause.into(),
        }
    }
}

impl From<DropCause> for CopyOutcome {
    fn from(cause: DropCause) -> Self {
        match cause {
            DropCause::QueueFull => Self::QueueFull,
            DropCause::NotConnected => Self::Untracked, // at QoS 0 only, of which nothing is stored
            DropCause::Expired => Self::Expired,
            DropCause::PacketTooLarge => Self::PacketTooLarge,
            DropCause::NotAuthorized => Self::NotAuthorized,
        }
    }
}
