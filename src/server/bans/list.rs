use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Source;
use crate::timestamp::{Timestamp, WallTime};

/// What is banned.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// An address.
    Address(Source),
    /// A verified user.
    User(Arc<str>),
}

/// A ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// When it ends.
    pub until: Timestamp,
    /// Why it was set.
    pub reason: String,
}

/// The list of bans is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the list has its greatest number of bans, 10000")]
pub struct BansFull;

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(source) => write!(formatter, "address {source}"),
            Self::User(user) => write!(formatter, "user {user:?}"),
        }
    }
}

/// The bans that hold, and those that were lifted before their time, which are kept until then: a node that has not heard of it does not bring them back.
///
/// Each change has a version, which is the time of the wall clock or one more than the highest known, so that of two changes of one subject all nodes keep
/// the later one. In this list it has a number, too, so that another node is told only what it does not know.
#[derive(Debug, Default)]
pub(super) struct BanList {
    entries: BTreeMap<Subject, Entry>,
    /// The highest one of all changes.
    version: u64,
    /// The number of the last change.
    number: u64,
}

#[derive(Debug)]
struct Entry {
    ban: Ban,
    is_lifted: bool,
    version: u64,
    number: u64,
}

/// A change of a list of bans, for that of another node, whose clock is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BanChange {
    /// What is banned, or not banned any more.
    pub subject: Subject,
    /// The time that is left of the ban.
    pub left: Duration,
    /// Why it was set.
    pub reason: String,
    /// Whether the ban was lifted.
    pub is_lifted: bool,
    /// The later one of two changes has the higher version.
    pub version: u64,
}

/// What a change of another node does to a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged {
    /// Nothing: it is known, or a later one is.
    Nothing,
    Banned,
    Lifted,
}

impl BanList {
    /// The ban of a subject, if it holds.
    pub(super) fn find(&mut self, subject: &Subject, now: Timestamp) -> Option<&Ban> {
        if self.entries.get(subject)?.ban.until <= now {
            self.entries.remove(subject);
        }
        self.entries.get(subject).filter(|entry| !entry.is_lifted).map(|entry| &entry.ban)
    }

    /// The bans that hold, addresses first.
    pub(super) fn bans(&mut self, now: Timestamp) -> impl Iterator<Item = (&Subject, &Ban)> {
        self.forget_ended(now);
        self.entries.iter().filter(|(_, entry)| !entry.is_lifted).map(|(subject, entry)| (subject, &entry.ban))
    }

    /// The number of bans, of which some may have ended.
    pub(super) fn len(&self) -> usize {
        self.entries.values().filter(|entry| !entry.is_lifted).count()
    }

    /// The number of the last change.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Sets a ban, or replaces it.
    pub(super) fn add(
        &mut self,
        subject: Subject,
        ban: Ban,
        (now, wall): (Timestamp, WallTime),
    ) -> Result<(), BansFull> {
        self.make_room(&subject, now)?;
        let version = self.next_version(wall);
        self.set(subject, ban, (false, version));
        Ok(())
    }

    /// Lifts a ban. Returns whether there was one.
    pub(super) fn lift(&mut self, subject: &Subject, wall: WallTime) -> bool {
        let version = self.next_version(wall);
        let number = self.number + 1;
        let Some(entry) = self.entries.get_mut(subject).filter(|entry| !entry.is_lifted) else { return false };
        (entry.is_lifted, entry.version, entry.number) = (true, version, number);
        self.number = number;
        true
    }

    /// What has changed behind the change with this number, and the number of the last change in it: at most [`CHANGES_MAX`], with [`TEXT_MAX`] bytes of text.
    pub(super) fn changes_since(&mut self, number: u64, now: Timestamp) -> (u64, Vec<BanChange>) {
        self.forget_ended(now);
        let mut newer: Vec<_> = self.entries.iter().filter(|(_, entry)| entry.number > number).collect();
        newer.sort_unstable_by_key(|(_, entry)| entry.number);
        let (mut changes, mut text, mut last) = (Vec::new(), 0, number);
        for (subject, Entry { ban, is_lifted, version, number }) in &newer {
            text += ban.reason.len() + if let Subject::User(user) = subject { user.len() } else { 0 };
            if changes.len() == CHANGES_MAX || (text > TEXT_MAX && !changes.is_empty()) {
                return (last, changes);
            }
            last = *number;
            let (subject, left) = ((*subject).clone(), ban.until.since(now));
            let (is_lifted, version) = (*is_lifted, *version);
            changes.push(BanChange { subject, left, reason: ban.reason.clone(), is_lifted, version });
        }
        (self.number, changes)
    }

    /// Takes over a change of another node, unless a later one is known.
    pub(super) fn merge(&mut self, change: BanChange, now: Timestamp) -> Result<Merged, BansFull> {
        let BanChange { subject, left, reason, is_lifted, version } = change;
        self.version = self.version.max(version);
        // Of two changes with one version, a ban counts.
        let known = self.entries.get(&subject).map(|entry| (entry.version, !entry.is_lifted));
        if left.is_zero() || known.is_some_and(|known| known >= (version, !is_lifted)) {
            return Ok(Merged::Nothing);
        }
        self.make_room(&subject, now)?;
        self.set(subject, Ban { until: now + left, reason }, (is_lifted, version));
        match (is_lifted, known) {
            (false, _) => Ok(Merged::Banned),
            (true, Some((_, true))) => Ok(Merged::Lifted),
            (true, Some((_, false)) | None) => Ok(Merged::Nothing),
        }
    }

    fn set(&mut self, subject: Subject, ban: Ban, (is_lifted, version): (bool, u64)) {
        self.number += 1;
        self.entries.insert(subject, Entry { ban, is_lifted, version, number: self.number });
    }

    fn next_version(&mut self, WallTime(wall): WallTime) -> u64 {
        self.version = wall.max(self.version.saturating_add(1));
        self.version
    }

    /// Forgets what has ended if the list is full, and what was lifted if it still is.
    fn make_room(&mut self, subject: &Subject, now: Timestamp) -> Result<(), BansFull> {
        let is_full = |list: &Self| list.entries.len() >= BANS_MAX && !list.entries.contains_key(subject);
        if is_full(self) {
            self.forget_ended(now);
        }
        if is_full(self) {
            self.entries.retain(|_, entry| !entry.is_lifted);
        }
        if is_full(self) { Err(BansFull) } else { Ok(()) }
    }

    fn forget_ended(&mut self, now: Timestamp) {
        self.entries.retain(|_, entry| entry.ban.until > now);
    }
}

/// About 2 MB.
pub(super) const BANS_MAX: usize = 10_000;
/// Changes that another node is told at a time.
const CHANGES_MAX: usize = 500;
/// Bytes of names and reasons in them, each of which may be escaped with six.
const TEXT_MAX: usize = 48 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const WALL: WallTime = WallTime(7_000);

    fn user(name: &str) -> Subject {
        Subject::User(name.into())
    }

    fn ban(seconds: u64) -> Ban {
        Ban { until: NOW + Duration::from_secs(seconds), reason: format!("for {seconds}") }
    }

    fn names(list: &mut BanList) -> Vec<String> {
        list.bans(NOW).map(|(subject, ban)| format!("{subject} {}", ban.until.since(NOW).as_secs())).collect()
    }

    /// Tells one list what another has changed behind a change.
    fn tell(from: &mut BanList, to: &mut BanList, number: u64) -> u64 {
        let (mut number, mut changes) = from.changes_since(number, NOW);
        while !changes.is_empty() {
            changes.into_iter().for_each(|change| _ = to.merge(change, NOW).unwrap());
            (number, changes) = from.changes_since(number, NOW);
        }
        number
    }

    #[test]
    fn two_lists_that_tell_each_other_their_changes_keep_the_later_one_of_each() {
        let (mut one, mut other) = (BanList::default(), BanList::default());
        one.add(user("a"), ban(10), (NOW, WALL)).unwrap();
        one.add(user("b"), ban(20), (NOW, WALL)).unwrap();
        let told = tell(&mut one, &mut other, 0);
        assert_eq!(names(&mut other), ["user \"a\" 10", "user \"b\" 20"]);
        assert_eq!(one.changes_since(told, NOW), (told, Vec::new()));

        // One lifts a ban, and the other one, whose clock is behind, replaces it later.
        assert!(one.lift(&user("a"), WALL) && !one.lift(&user("a"), WALL));
        tell(&mut one, &mut other, told);
        assert_eq!(names(&mut other), ["user \"b\" 20"]);
        other.add(user("a"), ban(30), (NOW, WallTime(1))).unwrap();
        tell(&mut other, &mut one, 0);
        assert_eq!(names(&mut one), ["user \"a\" 30", "user \"b\" 20"]);
        // What the other one has said before does not come back.
        assert!(one.lift(&user("b"), WALL));
        tell(&mut other, &mut one, 0);
        assert_eq!(names(&mut one), ["user \"a\" 30"]);
        // A list that is empty gets all, and what was lifted is not a ban there.
        let mut third = BanList::default();
        tell(&mut one, &mut third, 0);
        assert_eq!(names(&mut third), ["user \"a\" 30"]);
        tell(&mut other, &mut third, 0);
        assert_eq!(names(&mut third), ["user \"a\" 30"], "it was lifted, and the other one does not know");
    }

    #[test]
    fn of_a_ban_and_its_end_at_the_same_time_the_ban_counts_at_both() {
        let (mut one, mut other) = (BanList::default(), BanList::default());
        one.add(user("a"), ban(10), (NOW, WALL)).unwrap();
        tell(&mut one, &mut other, 0);
        one.lift(&user("a"), WallTime(9_000));
        other.add(user("a"), ban(30), (NOW, WallTime(9_000))).unwrap();
        let change = one.changes_since(0, NOW).1;
        tell(&mut other, &mut one, 0);
        change.into_iter().for_each(|change| assert_eq!(other.merge(change, NOW), Ok(Merged::Nothing)));
        assert_eq!((names(&mut one), names(&mut other)), (names(&mut other), names(&mut one)));
        assert_eq!(names(&mut one), ["user \"a\" 30"]);
    }

    #[test]
    fn what_is_told_at_a_time_is_bounded_and_all_is_told() {
        let (mut one, mut other) = (BanList::default(), BanList::default());
        for number in 0..1_100 {
            let name = if number % 100 == 0 { "n".repeat(1_024) } else { String::new() };
            one.add(user(&format!("{name}{number}")), ban(10), (NOW, WALL)).unwrap();
        }
        let (number, changes) = one.changes_since(0, NOW);
        assert_eq!((number, changes.len()), (500, 500));
        assert_eq!(tell(&mut one, &mut other, 0), 1_100);
        assert_eq!(other.len(), 1_100);
        let mut long = BanList::default();
        for number in 0..100 {
            long.add(user(&format!("{}{number}", "n".repeat(1_000))), ban(10), (NOW, WALL)).unwrap();
        }
        assert_eq!(long.changes_since(0, NOW).1.len(), 48);
        assert_eq!(tell(&mut long, &mut other, 0), 100);
    }

    #[test]
    fn a_full_list_forgets_what_was_lifted_and_then_takes_no_more() {
        let mut list = BanList::default();
        for number in 0..BANS_MAX {
            list.add(user(&number.to_string()), ban(10), (NOW, WALL)).unwrap();
        }
        let (_, changes) = list.changes_since(0, NOW);
        let new = || BanChange { subject: user("new"), version: u64::MAX, ..changes[0].clone() };
        assert_eq!(list.merge(new(), NOW), Err(BansFull));
        assert!(list.lift(&user("7"), WALL));
        assert_eq!((list.merge(new(), NOW), list.len()), (Ok(Merged::Banned), BANS_MAX));
        assert_eq!(list.add(user("8"), ban(20), (NOW, WALL)), Ok(()), "it is there already");
    }
}
