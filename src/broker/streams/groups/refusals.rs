//! The messages of a group that members have refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::persistence::stream_group::GroupRefusal;
use crate::timestamp::Timestamp;

/// The messages that were refused and are not done.
///
/// Invariant: what waits was read and is given to no member.
#[derive(Debug, Default)]
pub(in crate::broker) struct Refusals {
    /// By sequence.
    known: BTreeMap<u64, Refusal>,
    /// Those that wait for their next attempt, by the time at which they are due.
    waiting: BTreeSet<(Timestamp, u64)>,
    /// The time for which the next timer is set.
    armed: Option<Timestamp>,
}

/// What is known of the refusals of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct Refusal {
    /// How often it was refused.
    pub(in crate::broker) attempts: u16,
    /// When it is sent again.
    pub(in crate::broker) due: Timestamp,
}

impl Refusals {
    /// Begins with what was stored.
    pub(in crate::broker) fn begin(&mut self, refused: Vec<GroupRefusal>) {
        self.waiting.clear();
        let refusals =
            refused.into_iter().map(|GroupRefusal { sequence, attempts, due }| (sequence, Refusal { attempts, due }));
        self.known = refusals.collect();
    }

    /// What is stored, in ascending order.
    pub(in crate::broker) fn all(&self) -> Vec<GroupRefusal> {
        let refusal = |(sequence, Refusal { attempts, due }): (&u64, &Refusal)| GroupRefusal {
            sequence: *sequence,
            attempts: *attempts,
            due: *due,
        };
        self.known.iter().map(refusal).collect()
    }

    /// A message was refused, and waits.
    pub(in crate::broker) fn add(&mut self, sequence: u64, refusal: Refusal) {
        self.known.insert(sequence, refusal);
        self.wait_again(sequence);
    }

    /// A message was read again: if it was refused before, it waits.
    pub(in crate::broker) fn wait_again(&mut self, sequence: u64) {
        if let Some(refusal) = self.known.get(&sequence) {
            self.waiting.insert((refusal.due, sequence));
        }
    }

    pub(in crate::broker) fn is_waiting(&self, sequence: u64) -> bool {
        self.known.get(&sequence).is_some_and(|refusal| self.waiting.contains(&(refusal.due, sequence)))
    }

    /// Whether some wait.
    #[cfg(test)]
    pub(in crate::broker) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How often a message was refused.
    pub(in crate::broker) fn attempts(&self, sequence: u64) -> u16 {
        self.known.get(&sequence).map_or(0, |refusal| refusal.attempts)
    }

    /// A message is done.
    pub(in crate::broker) fn remove(&mut self, sequence: u64) {
        if let Some(refusal) = self.known.remove(&sequence) {
            self.waiting.remove(&(refusal.due, sequence));
        }
    }

    /// Forgets the others: the stream does not have them any more.
    pub(in crate::broker) fn retain(&mut self, mut is_kept: impl FnMut(u64) -> bool) {
        self.known.retain(|sequence, _| is_kept(*sequence));
    }

    /// Takes the next message that is due at `now`: it does not wait any more.
    pub(in crate::broker) fn next_due(&mut self, now: Timestamp) -> Option<u64> {
        self.armed = self.armed.filter(|at| *at > now);
        let first = self.waiting.first().copied().filter(|(due, _)| *due <= now)?;
        self.waiting.remove(&first);
        Some(first.1)
    }

    /// The time for which a timer must be set now: that of the first message that waits, unless one is set already.
    pub(in crate::broker) fn arm(&mut self) -> Option<Timestamp> {
        let (due, _) = *self.waiting.first()?;
        if self.armed.is_some_and(|at| at <= due) {
            return None;
        }
        self.armed = Some(due);
        self.armed
    }
}
