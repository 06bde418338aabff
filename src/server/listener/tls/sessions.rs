use std::sync::Arc;

use tokio_rustls::rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

/// The TLS sessions that clients may resume, of one load of the certificates: after a reload, every client verifies and is verified again.
///
/// A session of a client with certificates has these too, of any length. So large sessions are not kept, and their clients do a full handshake
/// each time. When the memory is full, the oldest session gives way.
#[derive(Debug)]
pub(super) struct Sessions(Arc<ServerSessionMemoryCache>);

impl Sessions {
    /// `verifies`: clients present certificates.
    pub(super) fn new(verifies: bool) -> Self {
        let sessions = if verifies { CERTIFIED_SESSIONS_MAX } else { SESSIONS_MAX };
        Self(ServerSessionMemoryCache::new(sessions))
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        value.len() <= SESSION_BYTES_MAX && self.0.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.take(key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Maximum number of sessions per listener, of a few hundred bytes each.
const SESSIONS_MAX: usize = 10_240;
/// The same with certificates of clients: 20 MiB at most.
const CERTIFIED_SESSIONS_MAX: usize = 5_120;
/// A certificate and one above it have up to 3 KiB.
const SESSION_BYTES_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_for_sessions_is_bounded() {
        let sessions = Sessions::new(true);
        assert!(!sessions.put(vec![1], vec![0; SESSION_BYTES_MAX + 1]));
        assert_eq!(sessions.get(&[1]), None);
        let key = |number: usize| number.to_be_bytes().to_vec();
        for number in 0..2 * CERTIFIED_SESSIONS_MAX {
            assert!(sessions.put(key(number), vec![0; 8]));
        }
        let kept = (0..2 * CERTIFIED_SESSIONS_MAX).filter(|number| sessions.get(&key(*number)).is_some()).count();
        assert!(kept <= CERTIFIED_SESSIONS_MAX && kept > CERTIFIED_SESSIONS_MAX / 2, "{kept}");
        let last = key(2 * CERTIFIED_SESSIONS_MAX - 1);
        assert!(sessions.take(&last).is_some() && sessions.take(&last).is_none());
    }
}
