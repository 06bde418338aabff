use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::owner::Owner;
use crate::broker::persistence::dead_letter::DeadLetter;
use crate::broker::persistence::delay::Delay;
use crate::broker::persistence::durability::Durability;
use crate::broker::persistence::receipt::{CopyChange, ReceiptChange};
use crate::broker::persistence::stream_group::StreamGroup;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::position::StreamPosition;
use crate::broker::streams::table::TopicStreams;
use crate::codec::{ClientId, Message, PacketId, Qos, Will};
use crate::routing::{CellId, SessionKey, StreamSequences, Subscriber};
use crate::session::{Delivery, Redelivery};
use crate::timestamp::Timestamp;
use crate::topic::{Filter, TopicFilter};

/// The changes of one client action in the store. A record is atomic: after a crash, it is recovered as a whole or not at all.
/// Consecutive records without a body may be coalesced into one entry of the log.
///
/// Durable Sessions have records (5.0: Session Expiry Interval above 0; 3.1.1: Clean Session 0), and so do Sessions with a Will, which
/// must be published after a crash.
#[derive(Debug, Clone)]
pub enum Record {
    /// A Session was created or resumed. The record replaces these fields.
    SessionOpened {
        /// The Session.
        key: SessionKey,
        /// Its Client Identifier.
        client_id: ClientId,
        /// Whose it is. By the user name, its access rules are found after a restart.
        owner: Owner,
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
        /// When the connection ended.
        at: Timestamp,
        /// Whether the Will is still to be published.
        will: WillState,
        /// Messages before this sequence may have been sent.
        sent_until: u64,
    },
    /// A Session ended: all its records are deleted.
    SessionEnded {
        /// The Session.
        key: SessionKey,
    },
    /// A Session ended because its Client Identifier has another owner: only the messages in its queue are left, which become dead letters.
    SessionReplaced {
        /// The Session.
        key: SessionKey,
    },
    /// A Session with Shared Subscriptions ended, and messages for it may be on their way: it is deleted, these messages are not.
    SessionGone {
        /// The Session.
        key: SessionKey,
        /// The sequences of the messages that were in its queue, and did not move to another member of their share.
        left: Vec<u64>,
    },
    /// Subscriptions were added or replaced.
    Subscribed {
        /// The Session.
        key: SessionKey,
        /// The subscriptions with their options.
        subscriptions: Vec<crate::codec::Subscription>,
        /// The Subscription Identifier of all of them.
        subscription_id: Option<crate::codec::SubscriptionId>,
        /// Whether the client requested the identity of each message.
        message_id: bool,
    },
    /// Subscriptions were removed.
    Unsubscribed {
        /// The Session.
        key: SessionKey,
        /// The removed Topic Filters.
        filters: Vec<Filter>,
    },
    /// A subscription to a stream was added, or its position has changed. If messages were put into the queue of its Session for that, their
    /// records and this one are one change.
    StreamPosition {
        /// The Session.
        key: SessionKey,
        /// The subscription with its position.
        position: Box<StreamPosition>,
    },
    /// Subscriptions to streams were removed.
    StreamPositionsRemoved {
        /// The Session.
        key: SessionKey,
        /// Their numbers in the Session.
        numbers: Vec<u64>,
    },
    /// A message was accepted from a client or as a Will, or a retained message was replayed to a new subscription.
    Accepted {
        /// The publisher, and the Packet Identifier that is added to its received set (QoS 2).
        publisher: Option<(SessionKey, PacketId)>,
        /// The message, stored once for all receivers.
        message: Arc<Message>,
        /// The QoS it was published with.
        qos: Qos,
        /// When it was accepted. It is stored with a message that expires: it has passed at the next start, so the message does not get
        /// more time than it had.
        at: Timestamp,
        /// When the message expires; `None`: never.
        expires_at: Option<Timestamp>,
        /// The change of the retained message of its topic.
        retained: RetainedChange,
        /// Its entry in the deduplication window.
        deduplicated: Option<Box<Deduplicated>>,
        /// The copies for durable Sessions.
        receivers: Arc<Vec<Addressed>>,
        /// The streams that it enters. The store gives it its sequence in each of them when it appends the record.
        streams: TopicStreams,
        /// Who wants to know these sequences: the retained message.
        sequences: Option<Arc<StreamSequences>>,
        /// The durability that makes the record stable.
        durability: Durability,
        /// Whether it is awaited also at QoS 0: by the answer to an operator, or by a subscriber of its streams.
        is_awaited: bool,
        /// The stored message that the record replaces.
        instead_of: Option<InsteadOf>,
        /// It is published later; until then it has no receivers and is not retained.
        delayed: Option<Box<Delay>>,
        /// The receipt that its originator asked for, or the change of that of the message that it replaces.
        receipt: Option<Box<ReceiptChange>>,
    },
    /// A message in the queue of a Session is sent again later, because its client refused it, or because it waits behind such a message.
    Redelivery {
        /// The Session.
        key: SessionKey,
        /// The sequence of the message in its queue.
        sequence: u64,
        /// When it is sent again, and how often it was refused.
        state: Redelivery,
    },
    /// The state of a refused message is not needed any more.
    RedeliveryRemoved {
        /// The Session.
        key: SessionKey,
        /// The sequence of the message in its queue.
        sequence: u64,
    },
    /// A refused message leaves the queue and is kept as a dead letter.
    DeadLetterKept {
        /// The dead letter.
        letter: Box<DeadLetter>,
        /// The sequence of the message in the queue of its Session.
        sequence: u64,
        /// When it became a dead letter.
        at: Timestamp,
        /// What that is for the receipt of the message.
        change: Option<CopyChange>,
    },
    /// Kept dead letters were discarded.
    DeadLettersRemoved {
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// A group of subscribers of a stream, with its position.
    GroupStored {
        /// The group.
        group: Box<StreamGroup>,
        /// Whether an answer waits for it: it was made, or its position was set.
        is_awaited: bool,
    },
    /// A group of subscribers of a stream was removed.
    GroupRemoved {
        /// Its stream.
        stream: StreamNumber,
        /// Its number.
        number: u64,
    },
    /// Delayed messages were dropped.
    DelayedRemoved {
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// Entries left the deduplication window.
    DeduplicationRemoved {
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// An operator deletes all retained messages that a filter matches. With this record they are deleted, although each of them is cleared by a
    /// record of its own: a start clears those that are left.
    RetainedDeletion {
        /// Its number among the changes of retained messages: those of later changes stay.
        number: u64,
        /// Which messages.
        filter: TopicFilter,
    },
    /// Records of retained messages are obsolete.
    RetainedObsolete(ObsoleteRetained),
    /// PUBREL was received: the Packet Identifier is free.
    ReceivedReleased {
        /// The publisher.
        key: SessionKey,
        /// The Packet Identifier of its message.
        packet_id: PacketId,
        /// Whether the publisher is another cell.
        is_of_link: bool,
    },
    /// PUBREC was received: the client has the message.
    OutboundReleased {
        /// The receiver.
        key: SessionKey,
        /// The sequence of the message in its queue.
        sequence: u64,
        /// Whether the receiver is another cell.
        is_of_link: bool,
    },
    /// A message left the queue, because it was acknowledged, expired or dropped.
    Done {
        /// The receiver.
        key: SessionKey,
        /// The sequence of the message in its queue.
        sequence: u64,
    },
    /// The same for a message with a receipt, which the record tells what became of it.
    CopyLeft {
        /// The receiver.
        key: SessionKey,
        /// The sequence of the message in its queue.
        sequence: u64,
        /// What became of it.
        change: CopyChange,
    },
    /// Nothing changes. It becomes stable only if this broker is the owner of its log.
    Fence,
    /// A receipt is not published, because its originator may not publish to its topic any more.
    ReceiptRemoved {
        /// Its number.
        number: u64,
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
    /// When it was accepted.
    pub at: Timestamp,
    /// The cell that may accept it. `None`: this one has accepted it.
    pub holder: Option<CellId>,
    /// The numbers of the entries that were evicted for it.
    pub left: Vec<u64>,
}

/// Where an accepted message was stored before. The record also deletes it there, so that after a crash the message is in exactly one
/// place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsteadOf {
    /// It was the Will of this Session.
    Will(SessionKey),
    /// It was in the queue of a Session that has ended, with this sequence.
    Queued(SessionKey, u64),
    /// It was delayed, and had this number.
    Delayed(u64),
    /// It was in the queue of this Session with this sequence, and its client had refused it. The record gives its new place in the queue
    /// this state.
    Refused(SessionKey, u64, Redelivery),
    /// It was a dead letter with this number.
    DeadLetter(u64),
    /// It is the receipt with this number.
    Receipt(u64),
}

/// A message for one Session, with its sequence in the Session's queue.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// The Session.
    pub to: Arc<Subscriber>,
    /// The sequence of the message in its queue.
    pub sequence: u64,
    /// The copy for the Session.
    pub delivery: Delivery,
}

/// The change of the retained message of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetainedChange {
    /// No change.
    None,
    /// The message becomes the retained message.
    Set {
        /// The number of the change: recovery uses the highest number of each topic.
        number: u64,
        /// Obsolete records of retained messages, which this record deletes.
        gone: Vec<u64>,
        /// The Client Identifier of the publisher, for No Local.
        publisher: Option<ClientId>,
        /// Whose its Session was. By the user name, the access rules are found when the message is replayed. `None`: nobody's.
        owner: Option<Box<Owner>>,
    },
    /// The retained message was removed.
    Cleared {
        /// The number of the change, as for `Set`.
        number: u64,
        /// Obsolete records of retained messages, as for `Set`.
        gone: Vec<u64>,
    },
}

/// The numbers of records about retained messages that nothing depends on any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObsoleteRetained {
    /// Of retained messages that were replaced, cleared or have expired.
    pub messages: Vec<u64>,
    /// Of deletions by a filter whose messages are all cleared.
    pub deletions: Vec<u64>,
}

impl ObsoleteRetained {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.deletions.is_empty()
    }
}

/// Whether a Will is still to be published after its connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WillState {
    /// No: the connection had none.
    Absent,
    /// No: it was published or discarded.
    Gone,
    /// Yes, after its Will Delay Interval.
    Delayed,
}

impl WillState {
    /// The state of a Will that is due at `will_at`; `None`: there is no delayed Will any more.
    pub(in crate::broker) const fn of(will_at: Option<Timestamp>) -> Self {
        if will_at.is_some() { Self::Delayed } else { Self::Gone }
    }
}
