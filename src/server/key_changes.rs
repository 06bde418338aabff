use crate::broker::Ticket;
use crate::store::{Key, Level};

/// Records that follow each other and are nothing but keys: acknowledgements, by the dozen in each turn. They are one entry of the log.
#[derive(Debug, Default)]
pub(super) struct KeyChanges {
    pub(super) puts: Vec<Key>,
    pub(super) deletes: Vec<Key>,
    pub(super) level: Level,
    /// Of the last.
    pub(super) ticket: Ticket,
}

impl KeyChanges {
    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty()
    }

    /// Whether a record that deletes these keys can join: an entry deletes before it puts, whatever came first.
    pub(super) fn takes(&self, deletes: &[Key]) -> bool {
        let is_full = self.puts.len() + self.deletes.len() >= KEYS_MAX;
        !is_full && !deletes.iter().any(|key| self.puts.contains(key))
    }

    /// Adds a record.
    pub(super) fn add(&mut self, ticket: Ticket, level: Level, puts: &[Key], deletes: &[Key]) {
        self.level = if self.is_empty() || level == Level::PowerLoss { level } else { self.level };
        self.puts.extend_from_slice(puts);
        self.deletes.extend_from_slice(deletes);
        self.ticket = ticket;
    }

    /// They are an entry now.
    pub(super) fn clear(&mut self) {
        self.puts.clear();
        self.deletes.clear();
    }
}

/// Some kilobytes, and so few that looking a key up among them costs nothing.
const KEYS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u64) -> Key {
        Key { group: 1, kind: 6, id }
    }

    #[test]
    fn what_was_put_is_deleted_by_a_later_entry_only() {
        let mut changes = KeyChanges::default();
        changes.add(Ticket(1), Level::Crash, &[key(1)], &[key(9)]);
        assert!(changes.takes(&[key(2), key(9)]));
        assert!(!changes.takes(&[key(2), key(1)]));
        changes.add(Ticket(2), Level::PowerLoss, &[], &[key(2)]);
        changes.add(Ticket(3), Level::Crash, &[key(3)], &[]);
        assert_eq!((changes.level, changes.ticket), (Level::PowerLoss, Ticket(3)), "the strongest, and the last");
        assert_eq!((&*changes.puts, &*changes.deletes), (&[key(1), key(3)][..], &[key(9), key(2)][..]));
        changes.clear();
        changes.add(Ticket(4), Level::Crash, &[], &[key(1)]);
        assert_eq!(changes.level, Level::Crash);
    }

    #[test]
    fn they_are_bounded() {
        let mut changes = KeyChanges::default();
        for id in 0..KEYS_MAX as u64 {
            assert!(changes.takes(&[]));
            changes.add(Ticket(id), Level::PowerLoss, &[], &[key(id)]);
        }
        assert!(!changes.takes(&[]));
    }
}
