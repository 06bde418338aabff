use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pbkdf2::hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::password_file::StoredHash;
use crate::timestamp::Timestamp;

/// The credentials that were verified against the password file in this process, so that a fleet that connects again is not hashed again.
///
/// Why this is safe:
/// - It has no password. It has an HMAC-SHA-256 of user name, password and the user's entry in the password file, under a random secret of
///   this process that is never written anywhere. Who can't read the memory of the process can't compute or test one; who can, reads the
///   passwords of arriving CONNECT packets too.
/// - A changed entry has another HMAC, and the entry of a removed user isn't found: a reload of the password file voids what it concerns.
/// - Only what the password file accepted is remembered, never a refusal: a wrong password is always hashed, at the full cost, and takes as
///   long for an unknown user as for a known one.
/// - Comparisons take constant time.
/// - It has at most one entry for each user of the password file, at most [`ENTRIES_MAX`], and forgets one [`REMEMBERED_FOR`] after its last
///   use. When it is full, an arbitrary entry gives way: its user is hashed again.
#[derive(Debug)]
pub(super) struct Verified {
    /// `None`: the system has no random numbers, and nothing is remembered.
    secret: Option<[u8; 32]>,
    /// By user name.
    entries: Mutex<HashMap<Box<str>, Entry>>,
}

#[derive(Debug)]
struct Entry {
    tag: Tag,
    used: Timestamp,
}

/// The HMAC of credentials.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag([u8; 32]);

impl Verified {
    pub(super) fn new() -> Self {
        let mut secret = [0; 32];
        let secret = getrandom::fill(&mut secret).is_ok().then_some(secret);
        Self { secret, entries: Mutex::default() }
    }

    /// The HMAC of credentials and of the user's entry. `None`: nothing is remembered, or the file doesn't have the user.
    pub(super) fn tag(&self, user: &str, password: &[u8], stored: Option<&StoredHash>) -> Option<Tag> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_ref()?).ok()?;
        let mut add = |part: &[u8]| {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        };
        add(user.as_bytes());
        add(password);
        match stored? {
            StoredHash::Argon2id(text) => add(text.as_bytes()),
            StoredHash::Sha512 { salt, hash } => {
                add(b"sha512");
                add(salt);
                add(hash);
            }
            StoredHash::Pbkdf2 { iterations, salt, hash } => {
                add(&iterations.to_le_bytes());
                add(salt);
                add(hash);
            }
            StoredHash::Pbkdf2Sha256 { iterations, salt, hash } => {
                add(b"pbkdf2-sha256");
                add(&iterations.to_le_bytes());
                add(salt);
                add(hash);
            }
            StoredHash::Bcrypt(text) => add(text.as_bytes()),
        }
        Some(Tag(mac.finalize().into_bytes().into()))
    }

    /// Whether these credentials were verified, at most [`REMEMBERED_FOR`] after their last use.
    pub(super) fn contains(&self, user: &str, tag: &Tag, now: Timestamp) -> bool {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(user) else { return false };
        let is_same: bool = entry.tag.0.ct_eq(&tag.0).into();
        if !is_same || now.since(entry.used) > REMEMBERED_FOR {
            return false;
        }
        entry.used = now.max(entry.used);
        true
    }

    /// Remembers credentials that the password file has accepted.
    pub(super) fn remember(&self, user: &str, tag: Tag, now: Timestamp) {
        let mut entries = self.entries();
        if entries.len() >= ENTRIES_MAX && !entries.contains_key(user) {
            let before = entries.len();
            entries.retain(|_, entry| now.since(entry.used) <= REMEMBERED_FOR);
            if entries.len() == before
                && let Some(arbitrary) = entries.keys().next().cloned()
            {
                entries.remove(&arbitrary);
            }
        }
        entries.insert(user.into(), Entry { tag, used: now });
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Box<str>, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About 15 MB with short user names.
const ENTRIES_MAX: usize = 100_000;
/// Longer than a device stays connected before it connects again.
const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(text: &str) -> StoredHash {
        StoredHash::Argon2id(text.to_owned())
    }

    const NOW: Timestamp = Timestamp(1_000);

    #[test]
    fn only_the_same_user_password_and_entry_are_verified() {
        let verified = Verified::new();
        let (entry, other) = (stored("hash"), stored("other"));
        let tag = |user: &str, password: &str, entry| verified.tag(user, password.as_bytes(), Some(entry)).unwrap();
        let right = tag("alice", "secret", &entry);
        assert!(!verified.contains("alice", &right, NOW));
        verified.remember("alice", right, NOW);
        assert!(verified.contains("alice", &right, NOW));
        assert!(!verified.contains("alice", &tag("alice", "Secret", &entry), NOW));
        assert!(!verified.contains("alice", &tag("alice", "secret", &other), NOW));
        assert!(!verified.contains("bob", &tag("bob", "secret", &entry), NOW));
        // Parts are not confused with each other.
        assert!(!verified.contains("alice", &tag("alic", "esecret", &entry), NOW));
        assert!(verified.contains("alice", &right, NOW), "a wrong attempt voids nothing");
        assert!(verified.tag("carol", b"secret", None).is_none());
    }

    #[test]
    fn each_process_has_another_secret() {
        let (first, second) = (Verified::new(), Verified::new());
        let entry = stored("hash");
        second.remember("alice", first.tag("alice", b"secret", Some(&entry)).unwrap(), NOW);
        assert!(!second.contains("alice", &second.tag("alice", b"secret", Some(&entry)).unwrap(), NOW));
    }

    #[test]
    fn it_forgets_a_while_after_the_last_use() {
        let verified = Verified::new();
        let tag = verified.tag("alice", b"secret", Some(&stored("hash"))).unwrap();
        verified.remember("alice", tag, NOW);
        let used = NOW + REMEMBERED_FOR;
        assert!(verified.contains("alice", &tag, used));
        assert!(verified.contains("alice", &tag, used + REMEMBERED_FOR));
        let late = used + REMEMBERED_FOR + REMEMBERED_FOR + Duration::from_millis(1);
        assert!(!verified.contains("alice", &tag, late));
    }

    #[test]
    fn its_size_is_bounded() {
        let verified = Verified::new();
        let tag = verified.tag("alice", b"secret", Some(&stored("hash"))).unwrap();
        for number in 0..ENTRIES_MAX + 10 {
            verified.remember(&format!("user-{number}"), tag, NOW);
        }
        assert_eq!(verified.entries().len(), ENTRIES_MAX);
        verified.remember("late", tag, NOW + REMEMBERED_FOR + Duration::from_secs(1));
        assert_eq!(verified.entries().len(), 1);
    }
}
