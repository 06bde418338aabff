//! Divides the log of one broker among the cells of a cluster: what each cell gets of an entry.
//!
//! A Session and all that is its own get into the cell of its Client Identifier, with the keys that they have: so sequences, and Packet Identifiers, stay. A
//! message for Sessions of several cells is in each of these. All cells get the retained messages, which have one place in the order of the changes of all
//! cells from now on, and the time.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use crate::broker::owner::Owner;
use crate::broker::persistence::body::{Body, put_deduplicated, put_length, put_message, put_option, put_str};
use crate::broker::persistence::bridge_mark::StoredMark;
use crate::broker::persistence::dead_letter::DeadLetter;
use crate::broker::persistence::delay::Delay;
use crate::broker::persistence::encode::StoredMessage;
use crate::broker::persistence::grant::StoredGrant;
use crate::broker::persistence::head::{StoredHead, put_head};
use crate::broker::persistence::record::Deduplicated;
use crate::broker::persistence::record_key::{RecordKey, RecordKind};
use crate::broker::persistence::recovery::Recovered;
use crate::broker::persistence::version_1::upgrade_record;
use crate::codec::{Message, MessageId};
use crate::routing::CellId;
use crate::session::Delivery;
use crate::timestamp::Timestamp;

/// Which cell gets what.
#[derive(Debug)]
pub struct Split {
    cells: u16,
    /// The cell of each Session, by its key.
    homes: HashMap<u64, CellId, RandomState>,
    /// A cell with a member of each share of which a Session had ended with messages, by its filter.
    shares: BTreeMap<String, CellId>,
    /// The numbers of the retained messages, ascending.
    retained: Vec<u64>,
    contents: Vec<CellContents>,
}

/// How a log is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The number of cells, of 2 to 256.
    pub cells: u16,
    /// Whether open receipts are given up. Otherwise a log that has some is refused: with cells there are none.
    pub drops_receipts: bool,
}

/// What is in the log of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CellContents {
    /// The number of its Sessions.
    pub sessions: usize,
    /// The number of messages in their queues.
    pub queued: usize,
}

/// Why a log is not divided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// It has streams.
    #[error(
        "it has streams, which cells cannot have: {0}. Start the broker without [cluster], and remove each with \"oncemq streams remove NAME\""
    )]
    Streams(String),
    /// It has open receipts.
    #[error("it has {0} open receipts, and with cells there are none: with --drop-receipts they are not published")]
    Receipts(usize),
    /// It is the log of a cell.
    #[error("it is the log of a cell: the number of cells of a cluster cannot be changed")]
    Cell,
    /// It has records of a later version.
    #[error("it has records of a later version (kinds: {0:?}): use that version")]
    UnknownKinds(Vec<u8>),
    /// It has records that cannot be decoded.
    #[error("it has {0} records that this version can't decode")]
    Unreadable(u64),
}

/// A part of an entry, for one cell.
#[derive(Debug, Default)]
struct Share<'a> {
    puts: Vec<RecordKey>,
    parts: Vec<&'a [u8]>,
}

/// Takes an entry for a cell: its body, and its puts with their parts.
type Take<'a, E> = dyn FnMut(CellId, &[u8], &[RecordKey], &[&[u8]]) -> Result<(), E> + 'a;

impl Split {
    /// `recovered` is made of the live entries of the log.
    ///
    /// # Errors
    /// The log has something that no cell can have.
    pub fn new(recovered: Recovered, terms: Terms) -> Result<Self, SplitError> {
        check(&recovered, terms)?;
        let Terms { cells, .. } = terms;
        let Recovered { sessions, retained, orphans, .. } = recovered;
        let mut contents = vec![CellContents::default(); usize::from(cells)];
        let mut of_cell = |CellId(cell), change: fn(&mut CellContents, usize), count| {
            contents.get_mut(usize::from(cell)).into_iter().for_each(|contents| change(contents, count));
        };
        let messages = orphans.iter().flat_map(|orphan| &orphan.messages);
        let mut shares: BTreeMap<_, _> = messages.filter_map(|(_, left)| Some((share_of(left)?, None))).collect();
        let mut homes = HashMap::with_capacity_and_hasher(sessions.len(), RandomState::default());
        for session in sessions {
            let home = CellId::of_client(session.client_id.as_str(), cells);
            homes.insert(session.key.0, home);
            of_cell(home, |contents, count| contents.sessions += count, 1);
            of_cell(home, |contents, count| contents.queued += count, session.queue.len());
            let filters = session.subscriptions.iter().map(|(subscription, _)| &subscription.filter);
            for filter in filters.filter(|filter| filter.share.is_some()) {
                if let Some(of_share) = shares.get_mut(&filter.to_string()) {
                    of_share.get_or_insert(home);
                }
            }
        }
        let shares: BTreeMap<_, _> = shares.into_iter().map(|(share, cell)| (share, cell.unwrap_or(FIRST))).collect();
        for (_, left) in orphans.iter().flat_map(|orphan| &orphan.messages) {
            let cell = share_of(left).and_then(|share| shares.get(&share)).copied().unwrap_or(FIRST);
            of_cell(cell, |contents, count| contents.queued += count, 1);
        }
        let mut retained: Vec<u64> = retained.into_iter().map(|retained| retained.number).collect();
        retained.sort_unstable();
        Ok(Self { cells, homes, shares, retained, contents })
    }

    /// What is in the logs of the cells.
    pub fn contents(&self) -> &[CellContents] {
        &self.contents
    }

    /// The number of retained messages.
    pub fn retained(&self) -> usize {
        self.retained.len()
    }

    /// An upper bound of the bytes that the logs of `cells` cells need for an entry.
    pub fn bytes_max(cells: u16, body: &[u8], puts: &[RecordKey], parts: &[&[u8]]) -> u64 {
        let (cells, entry) = (usize::from(cells), body.len() + ENTRY_BYTES);
        let of_sessions = puts.chunk_by(|one, other| one.group == other.group).count().min(cells);
        let of_puts = puts.iter().enumerate().map(|(place, key)| {
            let put = KEY_BYTES + parts.get(place).map_or(0, |part| part.len());
            if key.group == RecordKey::NO_SESSION { cells * (entry + put) } else { put }
        });
        (of_sessions * entry + of_puts.sum::<usize>()) as u64
    }

    /// Passes on what each cell gets of a live entry: its body, and those of its puts that are live, with their parts.
    ///
    /// # Errors
    /// Those of `take`; [`SplitError`]: the entry cannot be decoded.
    pub fn divide<E: From<SplitError>>(
        &self,
        body: &[u8],
        (puts, parts): (&[RecordKey], &[&[u8]]),
        take: &mut Take<'_, E>,
    ) -> Result<(), E> {
        let part = |place: usize| parts.get(place).copied().unwrap_or_default();
        if puts.iter().enumerate().any(|(place, key)| key.kind == RecordKey::QUEUED && part(place).is_empty()) {
            let (body, parts) = upgrade_record(body, puts).ok_or(SplitError::Unreadable(1))?;
            return self.divide(&body, (puts, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>()), take);
        }
        let mut of_cells: BTreeMap<CellId, Share<'_>> = BTreeMap::new();
        for (place, key) in puts.iter().enumerate() {
            let part = part(place);
            let cell = match RecordKind::of(key.kind).ok_or_else(|| SplitError::UnknownKinds(vec![key.kind]))? {
                RecordKind::Session
                | RecordKind::Detached
                | RecordKind::Subscription
                | RecordKind::Received
                | RecordKind::Released
                | RecordKind::Will
                | RecordKind::Redelivery
                | RecordKind::StreamPosition => self.home(key.group).unwrap_or(FIRST),
                RecordKind::Queued => self.home_of_queued(key.group, part).ok_or(SplitError::Unreadable(1))?,
                RecordKind::Delayed => {
                    let delay = Delay::read(key.id, part).ok_or(SplitError::Unreadable(1))?;
                    self.of_client(delay.client_id.as_str())
                }
                RecordKind::DeadLetter => {
                    let letter = DeadLetter::read(key.id, body, part, None).ok_or(SplitError::Unreadable(1))?;
                    self.of_client(letter.info.client_id.as_str())
                }
                RecordKind::BridgeMark => {
                    let mark = StoredMark::read(body).ok_or(SplitError::Unreadable(1))?;
                    self.of_client(&mark.client_id())
                }
                RecordKind::Clock => {
                    self.all().try_for_each(|cell| take(cell, body, &[*key], &[part]))?;
                    continue;
                }
                RecordKind::Retained => {
                    self.divide_retained(*key, body, part, take)?;
                    continue;
                }
                RecordKind::Deduplicated => {
                    self.divide_deduplicated(*key, body, take)?;
                    continue;
                }
                // The retained messages are those that are left after it.
                RecordKind::RetainedDeletion => continue,
                // There is no stream any more, or the log is refused.
                RecordKind::Stream | RecordKind::StreamMessage | RecordKind::StreamGroup => continue,
                // They are given up, or the log is refused.
                RecordKind::Receipt | RecordKind::ReceiptCopy => continue,
            };
            let share = of_cells.entry(cell).or_default();
            share.puts.push(*key);
            share.parts.push(part);
        }
        of_cells.into_iter().try_for_each(|(cell, Share { puts, parts })| take(cell, body, &puts, &parts))
    }

    /// Each cell has all retained messages, each as the change of a cell: that later changes come behind it, in whatever cell, its identity says.
    fn divide_retained<E: From<SplitError>>(
        &self,
        key: RecordKey,
        body: &[u8],
        part: &[u8],
        take: &mut Take<'_, E>,
    ) -> Result<(), E> {
        let Ok(place) = self.retained.binary_search(&key.id) else { return Ok(()) };
        let (stored, at) = read(body)?;
        let StoredMessage { message, qos, expires_at, retainer, .. } = stored;
        let number = place as u64 + 1;
        let message =
            Message { id: Some(MessageId { run: number, number: FIRST.0.into() }), ..Message::clone(&message) };
        let mut body = Vec::with_capacity(body.len() + ENTRY_BYTES);
        put_head(&mut body, qos, expires_at, at);
        put_option(&mut body, retainer, |body, client_id| put_str(body, client_id.as_str()));
        put_message(&mut body, &message);
        put_length(&mut body, 0);
        body.push(0); // the deduplication window has an entry of its own
        self.all().try_for_each(|cell| take(cell, &body, &[RecordKey::retained(number)], &[part]))
    }

    /// A cell has the identifiers of its clients. Those of a user are in all cells, because clients of all cells can be the user's. The message is not
    /// needed.
    fn divide_deduplicated<E: From<SplitError>>(
        &self,
        key: RecordKey,
        body: &[u8],
        take: &mut Take<'_, E>,
    ) -> Result<(), E> {
        let (StoredMessage { message, qos, deduplicated, .. }, at) = read(body)?;
        let entry: Deduplicated = deduplicated.ok_or(SplitError::Unreadable(1))?;
        let mut body = Vec::new();
        put_head(&mut body, qos, None, at);
        body.push(0); // it is not retained
        put_message(&mut body, &Message::new(message.topic.clone(), ""));
        put_length(&mut body, 0);
        put_option(&mut body, Some(&entry), put_deduplicated);
        match Owner::client_of(&entry.publisher) {
            Some(client_id) => take(self.of_client(client_id), &body, &[key], &[]),
            None => self.all().try_for_each(|cell| take(cell, &body, &[key], &[])),
        }
    }

    fn all(&self) -> impl Iterator<Item = CellId> + use<> {
        (0..=u8::MAX).take(self.cells.into()).map(CellId)
    }

    fn of_client(&self, client_id: &str) -> CellId {
        CellId::of_client(client_id, self.cells)
    }

    /// The cell of a Session; `None`: it has ended.
    fn home(&self, group: u64) -> Option<CellId> {
        self.homes.get(&group).copied()
    }

    /// The same for a message in its queue. If it has ended, a member of the share gets the message. `None`: the part can't be decoded.
    fn home_of_queued(&self, group: u64, part: &[u8]) -> Option<CellId> {
        if let Some(home) = self.home(group) {
            return Some(home);
        }
        let grant = StoredGrant::read(part)?;
        let share = grant.matched.as_ref().and_then(|matched| matched.own_share()).map(ToString::to_string);
        Some(share.and_then(|share| self.shares.get(&share).copied()).unwrap_or(FIRST))
    }
}

fn check(recovered: &Recovered, terms: Terms) -> Result<(), SplitError> {
    let Recovered { sessions, streams, receipts, unreadable, unknown_kinds, .. } = recovered;
    if !unknown_kinds.is_empty() {
        return Err(SplitError::UnknownKinds(unknown_kinds.clone()));
    }
    if *unreadable > 0 {
        return Err(SplitError::Unreadable(*unreadable));
    }
    if sessions.iter().any(|session| session.owner.is_link()) {
        return Err(SplitError::Cell);
    }
    if !streams.is_empty() {
        let names: Vec<&str> = streams.iter().map(|stream| &*stream.name).collect();
        return Err(SplitError::Streams(names.join(", ")));
    }
    if !receipts.is_empty() && !terms.drops_receipts {
        return Err(SplitError::Receipts(receipts.len()));
    }
    Ok(())
}

/// The share for which a message is, as text.
fn share_of(left: &Delivery) -> Option<String> {
    left.matched.as_ref()?.own_share().map(ToString::to_string)
}

/// An accepted message, and when it was accepted if that is known.
fn read(body: &[u8]) -> Result<(StoredMessage, Timestamp), SplitError> {
    let stored = StoredMessage::read(body).ok_or(SplitError::Unreadable(1))?;
    let head = StoredHead::read(&mut Body(body)).ok_or(SplitError::Unreadable(1))?;
    Ok((stored, head.at.unwrap_or_default()))
}

/// What is of no cell gets there.
const FIRST: CellId = CellId(0);
/// More than an entry takes beside its body, its parts and its keys.
const ENTRY_BYTES: usize = 128;
/// More than a key takes.
const KEY_BYTES: usize = 32;
