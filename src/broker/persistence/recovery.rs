//! Recovers the state of the previous run from its records.

mod accepted;
mod orphan;
pub(in crate::broker) mod receipts;
mod shares;
mod stored;
mod subscriptions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use slab::Slab;
use smallvec::SmallVec;

pub use self::orphan::Orphan;
use self::receipts::{RecoveredReceipt, StoredReceipts};
use crate::broker::owner::Owner;
use crate::broker::persistence::bridge_mark::StoredMark;
use crate::broker::persistence::clock::StoredAnchor;
use crate::broker::persistence::dead_letter::{DeadLetter, DeadLetterInfo};
use crate::broker::persistence::delayed_message::RecoveredDelayed;
use crate::broker::persistence::encode::{StoredDetached, StoredSession, read_filter};
use crate::broker::persistence::record::{Deduplicated, ObsoleteRetained};
use crate::broker::persistence::record_key::RecordKey;
use crate::broker::persistence::redelivery::read_redelivery;
use crate::broker::persistence::stream_definition::StreamDefinition;
use crate::broker::persistence::stream_group::StreamGroup;
use crate::broker::streams::position::StreamPosition;
use crate::codec::{ClientId, PacketId, Subscription, SubscriptionId, Will};
use crate::routing::{CompactMap, RetainedMessage, RetainedUsers, SessionKey};
use crate::session::{Redelivery, RestoredMessage};
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

/// The state after the applied records. Call [`apply`](Self::apply) for each record in the order of the log, then [`finish`](Self::finish).
///
/// It maps each key to its body. Compaction may have moved records in the log, so only the order of records with the same key is
/// significant.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The place of each Session in `stored`.
    places: BTreeMap<u64, u32>,
    /// Each in an allocation of its own, so that one takes the place of the other when `finish` makes the recovered Sessions of them.
    stored: Slab<Box<Stored>>,
    retained: BTreeMap<u64, Arc<RetainedMessage>>,
    retained_users: RetainedUsers,
    /// The deletions that may not have cleared all their messages.
    retained_deletions: BTreeMap<u64, TopicFilter>,
    deduplicated: BTreeMap<u64, Deduplicated>,
    delayed: BTreeMap<u64, RecoveredDelayed>,
    dead_letters: BTreeMap<u64, DeadLetterInfo>,
    /// The originators of delayed messages, each once.
    originators: BTreeSet<Arc<str>>,
    streams: BTreeMap<u64, StreamDefinition>,
    receipts: StoredReceipts,
    groups: BTreeMap<RecordKey, StreamGroup>,
    bridge_marks: BTreeMap<u64, StoredMark>,
    anchor: Option<StoredAnchor>,
    latest: Timestamp,
    /// Keys of kinds that this version does not know.
    unknown: BTreeSet<RecordKey>,
    unreadable: u64,
}

/// The stored state of one Session.
#[derive(Debug, Default)]
struct Stored {
    session: Option<StoredSession>,
    will: Option<Box<Will>>,
    detached: Option<StoredDetached>,
    subscriptions: CompactMap<u64, (Subscription, Option<SubscriptionId>)>,
    queue: BTreeMap<u64, RestoredMessage>,
    received: BTreeSet<u64>,
    redeliveries: BTreeMap<u64, Redelivery>,
    positions: BTreeMap<u64, StreamPosition>,
    message_ids: bool,
}

/// The recovered state of the previous run.
#[derive(Debug, Default)]
pub struct Recovered {
    /// All Sessions, in the order of their creation. There are many, and each is given back when it is restored.
    pub sessions: Vec<Box<RecoveredSession>>,
    /// The retained messages.
    pub retained: Vec<Arc<RetainedMessage>>,
    /// Of each topic without a retained message the last change, as far as its record is there: an empty message.
    pub retained_cleared: Vec<Arc<RetainedMessage>>,
    /// The obsolete records of retained messages.
    pub retained_gone: ObsoleteRetained,
    /// The deduplication window, the oldest entry first.
    pub deduplicated: Vec<Deduplicated>,
    /// The delayed messages, in the order in which they were accepted.
    pub delayed: Vec<RecoveredDelayed>,
    /// The streams, in the order of their numbers.
    pub streams: Vec<StreamDefinition>,
    /// The groups of subscribers of streams.
    pub groups: Vec<StreamGroup>,
    /// The kept dead letters by number.
    pub dead_letters: Vec<(u64, DeadLetterInfo)>,
    /// The open receipts, in the order of their numbers.
    pub receipts: Vec<RecoveredReceipt>,
    /// What bridges still have to do.
    pub bridge_marks: Vec<StoredMark>,
    /// Groups that have records but no Session.
    pub orphans: Vec<Orphan>,
    /// The last anchor of the broker's time; `None`: there is none, so the stored times are those of the wall clock.
    pub anchor: Option<StoredAnchor>,
    /// The latest time in the store at which something happened: it has passed.
    pub latest: Timestamp,
    /// The number of records whose body has a valid checksum but cannot be decoded, because another version wrote it.
    pub unreadable: u64,
    /// The kinds of stored keys that this version does not know, because a later version wrote them: a start would lose what they mean.
    pub unknown_kinds: Vec<u8>,
}

/// A Session of the previous run.
#[derive(Debug)]
pub struct RecoveredSession {
    /// Its key, which stays the same.
    pub key: SessionKey,
    /// Its Client Identifier.
    pub client_id: ClientId,
    /// Whose it is.
    pub owner: Owner,
    /// In seconds; 0: it ended with its connection, and only its Will is left.
    pub session_expiry_interval: u32,
    /// When its connection ended; `None`: it was connected when the previous run ended.
    pub detached_at: Option<Timestamp>,
    /// Messages before this sequence may have been sent. If the Session was connected when the previous run ended, these are all messages:
    /// acknowledgements that were not stable are lost, so the number of sent messages is unknown.
    pub sent_until: u64,
    /// Its Will, if it is not published yet.
    pub will: Option<Box<Will>>,
    /// Its subscriptions with their Subscription Identifiers.
    pub subscriptions: SmallVec<[(Subscription, Option<SubscriptionId>); 1]>,
    /// The messages in its queue, by sequence.
    pub queue: BTreeMap<u64, RestoredMessage>,
    /// The states of messages that its client refused, by sequence; some may not be in the queue any more.
    pub redeliveries: BTreeMap<u64, Redelivery>,
    /// Its subscriptions to streams, with their positions.
    pub positions: Vec<StreamPosition>,
    /// Packet Identifiers of received QoS 2 messages that wait for PUBREL.
    pub received: Vec<PacketId>,
    /// Whether its client requested the identity of each message.
    pub message_ids: bool,
    /// Whether messages in its queue have expired by [`Recovered::expire_messages`], which must be removed at the start.
    pub has_expired: bool,
}

impl Recovery {
    /// Applies one record, as [`Record::to_bytes`](crate::broker::Record::to_bytes) encoded it.
    ///
    /// The puts come with their parts; those without one may be missing at the end of the parts.
    pub fn apply(
        &mut self,
        body: &[u8],
        (puts, parts): (&[RecordKey], &[&[u8]]),
        deletes: &[RecordKey],
        ends: Option<u64>,
    ) {
        if let Some(group) = ends {
            self.receipts.end(group);
            if let Some(place) = self.places.remove(&group) {
                self.stored.remove(place as usize);
            }
            self.unknown.retain(|key| key.group != group);
            self.groups.retain(|key, _| key.group != group);
        }
        for key in deletes {
            self.delete(*key);
        }
        if puts.iter().any(RecordKey::is_of_receipt) {
            let (puts, parts) = self.receipts.put(body, puts, parts);
            return self.apply(body, (&puts, &parts), &[], None);
        }
        if puts.iter().any(|key| !key.is_known()) {
            self.unknown.extend(puts.iter().filter(|key| !key.is_known()));
        } else if !puts.is_empty() && self.put(body, puts, parts).is_none() {
            self.unreadable += 1;
        }
    }

    fn delete(&mut self, key: RecordKey) {
        if !key.is_known() {
            self.unknown.remove(&key);
            return;
        }
        match key.kind {
            RecordKey::RETAINED => return drop(self.retained.remove(&key.id)),
            RecordKey::RETAINED_DELETION => return drop(self.retained_deletions.remove(&key.id)),
            RecordKey::DEDUPLICATED => return drop(self.deduplicated.remove(&key.id)),
            RecordKey::DELAYED => return drop(self.delayed.remove(&key.id)),
            RecordKey::STREAM => return drop(self.streams.remove(&key.group)),
            RecordKey::STREAM_GROUP => return drop(self.groups.remove(&key)),
            RecordKey::DEAD_LETTER => return drop(self.dead_letters.remove(&key.id)),
            RecordKey::BRIDGE_MARK => return drop(self.bridge_marks.remove(&key.id)),
            _ => {}
        }
        let place = self.places.get(&key.group);
        let Some(stored) = place.and_then(|place| self.stored.get_mut(*place as usize)) else { return };
        match key.kind {
            RecordKey::SESSION => stored.session = None,
            RecordKey::WILL => stored.will = None,
            RecordKey::DETACHED => stored.detached = None,
            RecordKey::SUBSCRIPTION => _ = stored.subscriptions.remove(&key.id),
            RecordKey::QUEUED | RecordKey::RELEASED => {
                // The two kinds are two states of one message: a record deletes the state that an earlier record put.
                let is_released = matches!(stored.queue.get(&key.id), Some(RestoredMessage::Released));
                if is_released == (key.kind == RecordKey::RELEASED) {
                    stored.queue.remove(&key.id);
                }
            }
            RecordKey::RECEIVED => _ = stored.received.remove(&key.id),
            RecordKey::REDELIVERY => _ = stored.redeliveries.remove(&key.id),
            RecordKey::STREAM_POSITION => _ = stored.positions.remove(&key.id),
            _ => {}
        }
    }

    /// All puts of a record have one kind, except for a Session with its Will and for an accepted message. Only released
    /// messages (coalesced records) may belong to several Sessions.
    fn put(&mut self, body: &[u8], puts: &[RecordKey], parts: &[&[u8]]) -> Option<()> {
        let first = puts.first()?;
        if !puts.iter().all(|key| key.is_plausible() && key.shares_records_with(first.kind)) {
            return None;
        }
        match first.kind {
            RecordKey::SESSION | RecordKey::WILL => {
                let (session, stored) = (StoredSession::read(body)?, self.stored(first.group));
                if puts.iter().any(|key| key.kind == RecordKey::WILL) {
                    stored.will.clone_from(&session.will);
                }
                if first.kind == RecordKey::SESSION {
                    stored.session = Some(session);
                }
            }
            RecordKey::DETACHED => {
                let detached = StoredDetached::read(body)?;
                self.latest = self.latest.max(detached.at);
                self.stored(first.group).detached = Some(detached);
            }
            RecordKey::CLOCK => {
                let stored = StoredAnchor::read(body)?;
                self.latest = self.latest.max(stored.anchor.time);
                self.anchor = Some(stored);
            }
            RecordKey::RETAINED_DELETION => {
                self.retained_deletions.insert(first.id, read_filter(body)?);
            }
            RecordKey::DEAD_LETTER => {
                let part = parts.first().copied().unwrap_or_default();
                let DeadLetter { number, info, .. } = DeadLetter::read(first.id, body, part, None)?;
                self.latest = self.latest.max(info.at);
                self.dead_letters.insert(number, info);
            }
            RecordKey::REDELIVERY => {
                let part = parts.first().copied().filter(|part| !part.is_empty());
                let state = read_redelivery(part.unwrap_or(body))?;
                self.stored(first.group).redeliveries.insert(first.id, state);
            }
            RecordKey::RELEASED => {
                for key in puts {
                    self.stored(key.group).queue.insert(key.id, RestoredMessage::Released);
                }
            }
            RecordKey::SUBSCRIPTION => self.stored(first.group).add_subscriptions(first.group, body, puts)?,
            RecordKey::STREAM_POSITION => {
                self.stored(first.group).positions.insert(first.id, StreamPosition::read(first.id, body)?);
            }
            RecordKey::STREAM => {
                self.streams.insert(first.group, StreamDefinition::read(first.group, body)?);
            }
            RecordKey::BRIDGE_MARK => _ = self.bridge_marks.insert(first.id, StoredMark::read(body)?),
            RecordKey::STREAM_GROUP => _ = self.groups.insert(*first, StreamGroup::read(*first, body)?),
            kind if RecordKey::is_of_accepted(kind) => self.put_accepted(body, puts, parts)?,
            _ => return None,
        }
        Some(())
    }

    /// What the Sessions have left, as text.
    #[cfg(test)]
    pub(in crate::broker) fn sessions_left(&self) -> String {
        let left = |(group, place): (&u64, &u32)| (*group, self.stored.get(*place as usize));
        format!("{:?}", self.places.iter().map(left).collect::<Vec<_>>())
    }

    fn stored(&mut self, group: u64) -> &mut Stored {
        let Self { places, stored, .. } = self;
        let place = *places.entry(group).or_insert_with(|| {
            let place = stored.insert(Box::default());
            u32::try_from(place).unwrap_or(u32::MAX)
        });
        &mut stored[place as usize]
    }

    /// The state after all records.
    pub fn finish(self) -> Recovered {
        let Self { anchor, latest, unreadable, .. } = self;
        let (unreadable, latest) = (unreadable + self.receipts.unreadable, latest.max(self.receipts.latest));
        let unknown: BTreeSet<u8> = self.unknown.iter().map(|key| key.kind).collect();
        let unknown_kinds = unknown.into_iter().collect();
        let mut recovered = Recovered { anchor, latest, unreadable, unknown_kinds, ..Recovered::default() };
        // The highest number of a topic is its latest change. An empty payload means that the retained message was removed.
        let mut retained = BTreeMap::new();
        for one in self.retained.into_values() {
            let before = retained.insert(one.message.topic.clone(), one);
            recovered.retained_gone.messages.extend(before.map(|before| before.number));
        }
        let is_deleted = |one: &RetainedMessage| {
            let mut later = self.retained_deletions.range(one.number..);
            later.any(|(_, filter)| filter.matches(&one.message.topic))
        };
        let (deleted, retained): (Vec<_>, Vec<_>) = retained.into_values().partition(|one| is_deleted(one));
        recovered.retained_gone.messages.extend(deleted.iter().map(|deleted| deleted.number));
        let (mut cleared, mut retained): (Vec<_>, Vec<_>) =
            retained.into_iter().partition(|one| one.message.payload.is_empty());
        cleared.sort_by_key(|cleared| cleared.number);
        retained.sort_by_key(|retained| retained.number);
        (recovered.retained, recovered.retained_cleared) = (retained, cleared);
        recovered.retained_gone.deletions = self.retained_deletions.into_keys().collect();
        recovered.deduplicated = self.deduplicated.into_values().collect();
        recovered.delayed = self.delayed.into_values().collect();
        recovered.streams = self.streams.into_values().collect();
        recovered.groups = self.groups.into_values().collect();
        recovered.bridge_marks = self.bridge_marks.into_values().collect();
        recovered.dead_letters = self.dead_letters.into_iter().collect();
        (recovered.receipts, recovered.orphans) = self.receipts.finish(latest, |key, sequence| {
            let stored = self.places.get(&key.0).and_then(|place| self.stored.get(*place as usize));
            stored.is_some_and(|stored| stored.queue.contains_key(&sequence))
        });
        let mut stored = self.stored;
        recovered.sessions.reserve_exact(self.places.len());
        for (group, place) in self.places {
            let Some(stored) = stored.try_remove(place as usize).filter(|stored| !stored.is_empty()) else { continue };
            match stored.finish(SessionKey(group)) {
                Ok(session) => recovered.sessions.push(Box::new(session)),
                Err(orphan) => recovered.orphans.push(orphan),
            }
        }
        recovered
    }
}
