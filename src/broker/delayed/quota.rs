//! How many delayed messages there are, in all and of each originator. All shards share it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use slab::Slab;

/// The numbers of the delayed messages, and their bounds. Locked once when a message is accepted and once when it is published.
#[derive(Debug, Default)]
pub(in crate::broker) struct DelayedQuota(Mutex<Uses>);

#[derive(Debug, Default)]
struct Uses {
    last_number: u64,
    all: Amount,
    of: Slab<Use>,
    by_name: HashMap<Arc<str>, u32, RandomState>,
}

#[derive(Debug)]
struct Use {
    name: Arc<str>,
    amount: Amount,
}

/// Messages and their bytes: topic, properties, payload and the overhead of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::broker) struct Amount {
    pub(in crate::broker) messages: usize,
    pub(in crate::broker) bytes: usize,
}

/// The bounds of delayed messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelayedLimits {
    /// Delayed messages in all.
    pub messages_max: usize,
    /// Their bytes.
    pub bytes_max: usize,
    /// Delayed messages of one user, or of one Client Identifier without a verified user.
    pub messages_per_client_max: usize,
    /// Their bytes.
    pub bytes_per_client_max: usize,
}

/// The place of a message in the quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct Counted {
    /// The number of the message.
    pub(in crate::broker) number: u64,
    /// Whose it is, for [`DelayedQuota::free`].
    pub(in crate::broker) owner: u32,
}

/// The name of the limit that is reached.
pub(in crate::broker) type Full = &'static str;

impl DelayedQuota {
    fn lock(&self) -> MutexGuard<'_, Uses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a new message of the originator `name`, and numbers it.
    pub(in crate::broker) fn take(&self, name: &str, bytes: usize, limits: DelayedLimits) -> Result<Counted, Full> {
        let mut uses = self.lock();
        let owner = uses.by_name.get(name).copied();
        let own = owner.and_then(|owner| uses.of.get(owner as usize)).map_or_else(Amount::default, |use_| use_.amount);
        let reached = [
            (uses.all.messages >= limits.messages_max, "delayed_messages_max"),
            (uses.all.bytes.saturating_add(bytes) > limits.bytes_max, "delayed_bytes_max"),
            (own.messages >= limits.messages_per_client_max, "delayed_messages_per_client_max"),
            (own.bytes.saturating_add(bytes) > limits.bytes_per_client_max, "delayed_bytes_per_client_max"),
        ];
        if let Some((_, limit)) = reached.into_iter().find(|(is_reached, _)| *is_reached) {
            return Err(limit);
        }
        uses.last_number += 1;
        let number = uses.last_number;
        Ok(Counted { number, owner: uses.add(name, bytes) })
    }

    /// Counts a message of the previous run, whatever the limits are now. Returns whose it is. New messages get greater numbers.
    pub(in crate::broker) fn restore(&self, name: &str, number: u64, bytes: usize) -> u32 {
        let mut uses = self.lock();
        uses.last_number = uses.last_number.max(number);
        uses.add(name, bytes)
    }

    /// A message is published or dropped.
    pub(in crate::broker) fn free(&self, owner: u32, bytes: usize) {
        let mut uses = self.lock();
        uses.all.remove(bytes);
        let Some(use_) = uses.of.get_mut(owner as usize) else { return };
        use_.amount.remove(bytes);
        if use_.amount.messages == 0 {
            let name = uses.of.remove(owner as usize).name;
            uses.by_name.remove(&name);
        }
    }

    /// All delayed messages.
    pub(in crate::broker) fn all(&self) -> Amount {
        self.lock().all
    }
}

impl Uses {
    fn add(&mut self, name: &str, bytes: usize) -> u32 {
        self.all.add(bytes);
        let owner = self.by_name.get(name).copied().unwrap_or_else(|| {
            let name: Arc<str> = name.into();
            let owner = self.of.insert(Use { name: Arc::clone(&name), amount: Amount::default() });
            let owner = u32::try_from(owner).unwrap_or(u32::MAX); // fewer than messages
            self.by_name.insert(name, owner);
            owner
        });
        if let Some(use_) = self.of.get_mut(owner as usize) {
            use_.amount.add(bytes);
        }
        owner
    }
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, bytes: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded_in_all_and_by_originator_and_numbered_in_order() {
        let quota = DelayedQuota::default();
        let limits =
            DelayedLimits { messages_max: 4, bytes_max: 1_000, messages_per_client_max: 2, bytes_per_client_max: 500 };
        let take = |name, bytes| quota.take(name, bytes, limits);
        let first = take("a", 100).unwrap();
        let second = take("a", 100).unwrap();
        assert_eq!((first.number, second.number, first.owner), (1, 2, second.owner));
        assert_eq!(take("a", 1), Err("delayed_messages_per_client_max"));
        assert_eq!(take("b", 501), Err("delayed_bytes_per_client_max"));
        take("b", 500).unwrap();
        assert_eq!(take("c", 301), Err("delayed_bytes_max"));
        take("c", 300).unwrap();
        assert_eq!(take("d", 0), Err("delayed_messages_max"));
        assert_eq!(quota.all(), Amount { messages: 4, bytes: 1_000 });
        quota.free(first.owner, 100);
        assert_eq!(take("a", 100).unwrap().number, 5);
    }

    #[test]
    fn an_originator_without_messages_is_forgotten_and_restored_messages_count_beyond_limits() {
        let quota = DelayedQuota::default();
        let limits =
            DelayedLimits { messages_max: 1, bytes_max: 10, messages_per_client_max: 1, bytes_per_client_max: 10 };
        let owners = [9, 3].map(|number| quota.restore("a", number, 100));
        assert_eq!(owners[0], owners[1]);
        assert_eq!(quota.take("b", 1, limits), Err("delayed_messages_max"));
        owners.into_iter().for_each(|owner| quota.free(owner, 100));
        assert_eq!(quota.all(), Amount::default());
        assert!(quota.lock().by_name.is_empty() && quota.lock().of.is_empty());
        assert_eq!(quota.take("b", 1, limits).unwrap().number, 10);
    }
}
