//! The keys of records in the store.

use crate::broker::streams::number::StreamNumber;
use crate::routing::SessionKey;
use crate::topic::Filter;

/// The key of a stored body. A later record deletes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// The Session, or [`RecordKey::NO_SESSION`].
    pub group: u64,
    /// The kind of entry.
    pub kind: u8,
    /// The number within group and kind.
    pub id: u64,
}

impl RecordKey {
    /// The group of entries that belong to no Session. Sessions are numbered from 1.
    pub const NO_SESSION: u64 = 0;

    pub(in crate::broker) const SESSION: u8 = 1;
    pub(in crate::broker) const DETACHED: u8 = 2;
    pub(in crate::broker) const SUBSCRIPTION: u8 = 3;
    pub(in crate::broker) const QUEUED: u8 = 4;
    pub(in crate::broker) const RECEIVED: u8 = 5;
    pub(in crate::broker) const RELEASED: u8 = 6;
    pub(in crate::broker) const RETAINED: u8 = 7;
    pub(in crate::broker) const DEDUPLICATED: u8 = 8;
    pub(in crate::broker) const WILL: u8 = 9;
    pub(in crate::broker) const CLOCK: u8 = 10;
    pub(in crate::broker) const REDELIVERY: u8 = 14;
    pub(in crate::broker) const STREAM: u8 = 15;
    pub(in crate::broker) const STREAM_MESSAGE: u8 = 16;
    pub(in crate::broker) const STREAM_POSITION: u8 = 17;
    pub(in crate::broker) const DELAYED: u8 = 18;
    pub(in crate::broker) const RETAINED_DELETION: u8 = 19;
    pub(in crate::broker) const DEAD_LETTER: u8 = 24;
    pub(in crate::broker) const STREAM_GROUP: u8 = 25;
    pub(in crate::broker) const RECEIPT: u8 = 26;
    pub(in crate::broker) const RECEIPT_COPY: u8 = 27;
    pub(in crate::broker) const BRIDGE_MARK: u8 = 28;

    /// Whether this version knows its [kind](RecordKind).
    pub(in crate::broker) const fn is_known(&self) -> bool {
        RecordKind::of(self.kind).is_some()
    }

    pub(in crate::broker) const fn of(session: SessionKey, kind: u8, id: u64) -> Self {
        Self { group: session.0, kind, id }
    }

    /// Whether the broker could have written it. The counters of Sessions and messages start at 1, and continue after the highest number.
    pub(in crate::broker) fn is_plausible(&self) -> bool {
        let has_session = 0 < self.group && self.group <= NUMBER_MAX;
        match self.kind {
            Self::SUBSCRIPTION => has_session, // its number is a hash
            Self::QUEUED | Self::RELEASED | Self::REDELIVERY | Self::STREAM_POSITION => {
                has_session && 0 < self.id && self.id <= NUMBER_MAX
            }
            Self::RETAINED
            | Self::RETAINED_DELETION
            | Self::DEDUPLICATED
            | Self::CLOCK
            | Self::DELAYED
            | Self::DEAD_LETTER
            | Self::BRIDGE_MARK => self.group == Self::NO_SESSION && self.id <= NUMBER_MAX,
            Self::STREAM | Self::STREAM_MESSAGE | Self::STREAM_GROUP => {
                StreamNumber::of_group(self.group).is_some() && self.id <= NUMBER_MAX
            }
            Self::RECEIPT | Self::RECEIPT_COPY => {
                receipt_of(self.group).is_some_and(|number| number <= RECEIPTS_MAX) && self.id <= u64::from(u32::MAX)
            }
            _ => has_session,
        }
    }

    /// Whether it is of a receipt.
    pub(in crate::broker) const fn is_of_receipt(&self) -> bool {
        matches!(self.kind, Self::RECEIPT | Self::RECEIPT_COPY)
    }

    /// Whether the broker writes records with a key of this kind and one of the kind `other`.
    pub(in crate::broker) const fn shares_records_with(&self, other: u8) -> bool {
        match other {
            Self::SESSION | Self::WILL => matches!(self.kind, Self::SESSION | Self::WILL),
            _ if Self::is_of_accepted(other) => Self::is_of_accepted(self.kind) || self.kind == Self::REDELIVERY,
            _ => self.kind == other,
        }
    }

    /// Whether a record of this kind has an accepted message as its body.
    pub(in crate::broker) const fn is_of_accepted(kind: u8) -> bool {
        matches!(
            kind,
            Self::QUEUED | Self::RECEIVED | Self::RETAINED | Self::DEDUPLICATED | Self::DELAYED | Self::STREAM_MESSAGE
        )
    }

    pub(in crate::broker) const fn retained(number: u64) -> Self {
        Self { group: Self::NO_SESSION, kind: Self::RETAINED, id: number }
    }

    pub(in crate::broker) const fn retained_deletion(number: u64) -> Self {
        Self { group: Self::NO_SESSION, kind: Self::RETAINED_DELETION, id: number }
    }

    pub(in crate::broker) const fn delayed(number: u64) -> Self {
        Self { group: Self::NO_SESSION, kind: Self::DELAYED, id: number }
    }

    pub(in crate::broker) const fn stream(number: StreamNumber) -> Self {
        Self { group: number.group(), kind: Self::STREAM, id: 0 }
    }

    /// The position of a Session in a stream.
    pub(in crate::broker) const fn stream_position(session: SessionKey, number: u64) -> Self {
        Self::of(session, Self::STREAM_POSITION, number)
    }

    /// A group of subscribers of a stream.
    pub(in crate::broker) const fn stream_group(stream: StreamNumber, number: u64) -> Self {
        Self { group: stream.group(), kind: Self::STREAM_GROUP, id: number }
    }

    pub(in crate::broker) const fn dead_letter(number: u64) -> Self {
        Self { group: Self::NO_SESSION, kind: Self::DEAD_LETTER, id: number }
    }

    /// A receipt, which has a group of its own: its keys are deleted together.
    pub(in crate::broker) const fn receipt(number: u64) -> Self {
        Self { group: group_of(number), kind: Self::RECEIPT, id: 0 }
    }

    /// A copy of the message of a receipt.
    pub(in crate::broker) const fn receipt_copy(number: u64, copy: u32) -> Self {
        Self { group: group_of(number), kind: Self::RECEIPT_COPY, id: copy as u64 }
    }

    /// The state of a message that the Session's client refused.
    pub(in crate::broker) const fn redelivery(session: SessionKey, sequence: u64) -> Self {
        Self::of(session, Self::REDELIVERY, sequence)
    }

    pub(in crate::broker) const fn deduplicated(number: u64) -> Self {
        Self { group: Self::NO_SESSION, kind: Self::DEDUPLICATED, id: number }
    }

    /// A message in the queue of a Session.
    pub(in crate::broker) const fn queued(session: SessionKey, sequence: u64) -> Self {
        Self::of(session, Self::QUEUED, sequence)
    }

    /// A subscription. Its number is the FNV-1a hash of the filter, which is part of the storage format. An exclusive subscription has the number of
    /// the ordinary one, which it replaces.
    pub(in crate::broker) fn subscription(session: SessionKey, filter: &Filter) -> Self {
        Self::of(session, Self::SUBSCRIPTION, hash(&filter.ordinary().to_string()))
    }

    /// What the bridge with this name still has to do. Its number is the FNV-1a hash of the name without the highest bit, which is part of the storage format.
    pub(in crate::broker) fn bridge_mark(name: &str) -> Self {
        Self { group: Self::NO_SESSION, kind: Self::BRIDGE_MARK, id: hash(name) & NUMBER_MAX }
    }
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    let begin = 0xCBF2_9CE4_8422_2325_u64;
    text.bytes().fold(begin, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}

/// What a key is of: all kinds that a version of the broker writes. What must not pass over one matches it without a wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum RecordKind {
    Session,
    Detached,
    Subscription,
    Queued,
    Received,
    Released,
    Retained,
    Deduplicated,
    Will,
    Clock,
    Redelivery,
    Stream,
    StreamMessage,
    StreamPosition,
    Delayed,
    RetainedDeletion,
    DeadLetter,
    StreamGroup,
    Receipt,
    ReceiptCopy,
    BridgeMark,
}

impl RecordKind {
    /// `None`: this version does not know it. `docs/STORAGE.md` lists those that are reserved for later versions.
    pub(in crate::broker) const fn of(kind: u8) -> Option<Self> {
        Some(match kind {
            RecordKey::SESSION => Self::Session,
            RecordKey::DETACHED => Self::Detached,
            RecordKey::SUBSCRIPTION => Self::Subscription,
            RecordKey::QUEUED => Self::Queued,
            RecordKey::RECEIVED => Self::Received,
            RecordKey::RELEASED => Self::Released,
            RecordKey::RETAINED => Self::Retained,
            RecordKey::DEDUPLICATED => Self::Deduplicated,
            RecordKey::WILL => Self::Will,
            RecordKey::CLOCK => Self::Clock,
            RecordKey::REDELIVERY => Self::Redelivery,
            RecordKey::STREAM => Self::Stream,
            RecordKey::STREAM_MESSAGE => Self::StreamMessage,
            RecordKey::STREAM_POSITION => Self::StreamPosition,
            RecordKey::DELAYED => Self::Delayed,
            RecordKey::RETAINED_DELETION => Self::RetainedDeletion,
            RecordKey::DEAD_LETTER => Self::DeadLetter,
            RecordKey::STREAM_GROUP => Self::StreamGroup,
            RecordKey::RECEIPT => Self::Receipt,
            RecordKey::RECEIPT_COPY => Self::ReceiptCopy,
            RecordKey::BRIDGE_MARK => Self::BridgeMark,
            _ => return None,
        })
    }
}

/// The receipt whose keys have this group; `None`: the group is not of a receipt.
pub(in crate::broker) fn receipt_of(group: u64) -> Option<u64> {
    group.checked_sub(RECEIPT_GROUPS)
}

/// The group of the keys of a receipt. Sessions and streams have lower groups.
pub(in crate::broker) const fn group_of(receipt: u64) -> u64 {
    RECEIPT_GROUPS | receipt
}

/// Numbers of receipts are times in milliseconds, or a little higher, and so lower.
const RECEIPT_GROUPS: u64 = 3 << 62;
/// No number of a receipt reaches it.
const RECEIPTS_MAX: u64 = 1 << 61;
/// No counter reaches it: at a billion a second, that takes centuries.
const NUMBER_MAX: u64 = u64::MAX >> 1;
