//! Delayed messages that are due, on their way from the schedule to their publication.

use std::sync::Arc;

use bytestring::ByteString;

use crate::broker::owner::Owner;
use crate::broker::persistence::delayed_message::DelayedMessage;
use crate::broker::persistence::fetch::StoredRecord;
use crate::broker::persistence::record_key::RecordKey;
use crate::codec::ClientId;
use crate::routing::Access;
use crate::topic::TopicName;

/// Delayed messages that are due. The caller reads those that are not in memory from the store ([`set`](Self::set)), then looks up what the
/// originator of each may do now ([`grant`](Self::grant)).
#[derive(Debug, Default)]
pub struct DelayedBatch {
    pub(in crate::broker) items: Vec<Item>,
}

/// One of the messages.
#[derive(Debug)]
pub(in crate::broker) struct Item {
    pub(in crate::broker) number: u64,
    pub(in crate::broker) content: Content,
    /// What its originator may do now. Without an answer, nothing.
    pub(in crate::broker) access: Option<Arc<Access>>,
}

/// The content of a message.
#[derive(Debug)]
pub(in crate::broker) enum Content {
    /// It is to be read from the store.
    Stored,
    Read(Box<DelayedMessage>),
    /// It can't be read now. It stays delayed.
    Unavailable,
    /// It can't be read at all.
    Damaged(ByteString),
}

/// Why a message could not be read from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadFailure {
    /// Another attempt may succeed.
    Temporary,
    /// No attempt can succeed.
    Permanent(ByteString),
}

impl DelayedBatch {
    pub(in crate::broker) fn new(messages: Vec<(u64, Option<Box<DelayedMessage>>)>) -> Self {
        let item = |(number, content): (u64, Option<_>)| Item {
            number,
            content: content.map_or(Content::Stored, Content::Read),
            access: None,
        };
        Self { items: messages.into_iter().map(item).collect() }
    }

    /// The messages to read: the place of each for [`set`](Self::set), and its key.
    pub fn missing(&self) -> Vec<(usize, RecordKey)> {
        let is_missing = |item: &Item| matches!(item.content, Content::Stored);
        let missing = self.items.iter().enumerate().filter(|(_, item)| is_missing(item));
        missing.map(|(place, item)| (place, RecordKey::delayed(item.number))).collect()
    }

    /// Sets what the store has for the message at `place`.
    pub fn set(&mut self, place: usize, record: Result<StoredRecord<'_>, ReadFailure>) {
        let Some(item) = self.items.get_mut(place) else { return };
        item.content = match record {
            Ok(StoredRecord { body, part, bytes, .. }) => match DelayedMessage::read(item.number, body, part, bytes) {
                Some(message) => Content::Read(Box::new(message)),
                None => Content::Damaged(ByteString::from_static("record cannot be decoded")),
            },
            Err(ReadFailure::Temporary) => Content::Unavailable,
            Err(ReadFailure::Permanent(cause)) => Content::Damaged(cause),
        };
    }

    /// Sets what the originator of each message may do now.
    pub fn grant(&mut self, access: impl Fn(&ClientId, &Owner, &TopicName) -> Arc<Access>) {
        for item in &mut self.items {
            if let Content::Read(message) = &item.content {
                let owner = &message.delay.owner;
                let access = access(&message.delay.client_id, owner, &message.message.topic);
                item.access = Some(access.below(owner.mount_point()));
            }
        }
    }
}
