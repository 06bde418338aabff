use std::hash::{BuildHasher, Hash, RandomState};

/// Identifies what a client was accepted by, within one run of the broker: the line of a password file, or the key and the settings that
/// verified a token. It is a hash under a key that never leaves the process, so it tells nothing about a password or a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of `value` under `key`.
    pub(super) fn of(key: &RandomState, value: &impl Hash) -> Self {
        Self(key.hash_one(value))
    }
}
