//! The dead letters that are kept for operators. All shards share them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::broker::persistence::dead_letter::{DeadLetter, DeadLetterInfo};
use crate::timestamp::Timestamp;
use crate::topic::{TopicFilter, TopicName};

/// The bounds of kept dead letters. Beyond them, the oldest are discarded and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterLimits {
    /// Their number; 0: none is kept.
    pub messages_max: usize,
    /// Their bytes: topic, properties, payload and the overhead of an entry.
    pub bytes_max: usize,
    /// How long one is kept.
    pub age_max: Duration,
}

/// Why a dead letter can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum NotTaken {
    /// There is none of this number.
    Unknown,
    /// Its record is not stable yet, or another request is about it.
    Busy,
}

/// The kept dead letters, without their contents, which the store has. Locked for moments.
#[derive(Debug, Default)]
pub(in crate::broker) struct KeptDeadLetters(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last_number: u64,
    letters: BTreeMap<u64, Letter>,
    bytes: usize,
    /// The contents, if there is no store.
    contents: HashMap<u64, Box<DeadLetter>, RandomState>,
}

#[derive(Debug)]
struct Letter {
    info: DeadLetterInfo,
    /// Whether a request may take it.
    is_free: bool,
}

impl KeptDeadLetters {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a dead letter. Returns its number, and those of older ones that were discarded for it; `None`: none is kept, or it is too large.
    pub(in crate::broker) fn add(&self, info: &DeadLetterInfo, limits: DeadLetterLimits) -> Option<(u64, Vec<u64>)> {
        if limits.messages_max == 0 || info.bytes as usize > limits.bytes_max {
            return None;
        }
        let kept = &mut *self.lock();
        // Not below the time: after a restart, the highest number before it may be unknown, because its dead letter was discarded.
        let number = (kept.last_number + 1).max(info.at.0);
        kept.last_number = number;
        kept.bytes += info.bytes as usize;
        kept.letters.insert(number, Letter { info: info.clone(), is_free: false });
        Some((number, kept.discard(limits, Timestamp::default())))
    }

    /// Keeps the content in memory, because there is no store.
    pub(in crate::broker) fn keep_content(&self, letter: Box<DeadLetter>) {
        self.lock().contents.insert(letter.number, letter);
    }

    /// The record of a dead letter is stable: it may be taken.
    pub(in crate::broker) fn settle(&self, number: u64) {
        if let Some(letter) = self.lock().letters.get_mut(&number) {
            letter.is_free = true;
        }
    }

    /// Restores the dead letters of the previous run.
    pub(in crate::broker) fn restore(&self, letters: Vec<(u64, DeadLetterInfo)>) {
        let kept = &mut *self.lock();
        for (number, info) in letters {
            kept.last_number = kept.last_number.max(number);
            kept.bytes += info.bytes as usize;
            kept.letters.insert(number, Letter { info, is_free: true });
        }
    }

    /// Discards those that are older than `before`, and those beyond the bounds. Returns their numbers.
    pub(in crate::broker) fn expire(&self, before: Timestamp, limits: DeadLetterLimits) -> Vec<u64> {
        self.lock().discard(limits, before)
    }

    /// Takes a dead letter for a request, so that no other one gets it.
    pub(in crate::broker) fn take(&self, number: u64) -> Result<DeadLetterInfo, NotTaken> {
        let kept = &mut *self.lock();
        let letter = kept.letters.get_mut(&number).ok_or(NotTaken::Unknown)?;
        if !std::mem::replace(&mut letter.is_free, false) {
            return Err(NotTaken::Busy);
        }
        Ok(letter.info.clone())
    }

    /// Whether the content of a dead letter can be read.
    pub(in crate::broker) fn check_readable(&self, number: u64) -> Result<(), NotTaken> {
        let kept = self.lock();
        let letter = kept.letters.get(&number).ok_or(NotTaken::Unknown)?;
        if letter.is_free { Ok(()) } else { Err(NotTaken::Busy) }
    }

    /// The request that took a dead letter has failed.
    pub(in crate::broker) fn give_back(&self, number: u64) {
        self.settle(number);
    }

    /// A dead letter that was taken leaves.
    pub(in crate::broker) fn remove(&self, number: u64) {
        self.lock().remove(number);
    }

    /// The dead letter with this number.
    pub(in crate::broker) fn info(&self, number: u64) -> Option<DeadLetterInfo> {
        self.lock().letters.get(&number).map(|letter| letter.info.clone())
    }

    /// The content of a dead letter, if there is no store.
    pub(in crate::broker) fn content(&self, number: u64) -> Option<Box<DeadLetter>> {
        self.lock().contents.get(&number).cloned()
    }

    /// Those with higher numbers than `after` whose topics the filter matches, at most `limit`, and after which number the list continues.
    pub(in crate::broker) fn page(
        &self,
        after: u64,
        limit: usize,
        filter: Option<&TopicFilter>,
    ) -> (Vec<(u64, DeadLetterInfo)>, Option<u64>) {
        let kept = self.lock();
        let (mut found, mut last, mut visited) = (Vec::new(), after, 0);
        for (number, letter) in kept.letters.range(after.saturating_add(1)..) {
            if found.len() >= limit || visited >= LOOKED_AT_MAX {
                return (found, Some(last));
            }
            (last, visited) = (*number, visited + 1);
            let topic = || TopicName::try_from(&*letter.info.topic).ok();
            if filter.is_none_or(|filter| topic().is_some_and(|topic| filter.matches(&topic))) {
                found.push((*number, letter.info.clone()));
            }
        }
        (found, None)
    }

    /// The number of kept dead letters, and their bytes.
    pub(in crate::broker) fn len(&self) -> (usize, usize) {
        let kept = self.lock();
        (kept.letters.len(), kept.bytes)
    }
}

impl Kept {
    /// Discards the oldest that may be taken, while there are too many or they are too old, at most [`DISCARDED_MAX`].
    fn discard(&mut self, limits: DeadLetterLimits, before: Timestamp) -> Vec<u64> {
        let mut gone = Vec::new();
        let is_free = |(_, letter): &(&u64, &Letter)| letter.is_free;
        while gone.len() < DISCARDED_MAX
            && let Some((&number, letter)) = self.letters.iter().take(LOOKED_AT_MAX).find(is_free)
        {
            let is_over = self.letters.len() > limits.messages_max || self.bytes > limits.bytes_max;
            if !is_over && letter.info.at >= before {
                break;
            }
            self.remove(number);
            gone.push(number);
        }
        gone
    }

    fn remove(&mut self, number: u64) -> Option<DeadLetterInfo> {
        self.contents.remove(&number);
        let Letter { info, .. } = self.letters.remove(&number)?;
        self.bytes -= info.bytes as usize;
        Some(info)
    }
}

/// Dead letters that one event discards.
const DISCARDED_MAX: usize = 1_000;
/// The letters among which one is looked for that no request has taken.
const LOOKED_AT_MAX: usize = 1_000;
