//! What a caller decides about an import.

use std::collections::BTreeSet;

use crate::timestamp::{Timestamp, WallTime};

/// What a caller decides about an import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// The time now.
    pub now: WallTime,
    /// When mosquitto saved its state; `None`: when the file was last written. Sessions that were connected then count their expiry from
    /// this time.
    pub saved_at: Option<WallTime>,
    /// Who gets the sessions.
    pub users: Users,
    /// The Client Identifiers of sessions that are not taken over, such as those of bridges.
    pub left_out: BTreeSet<String>,
    /// mosquitto's option of this name, in seconds: sessions that never expire do so. mosquitto's own deadlines come first.
    pub persistent_client_expiration: Option<u32>,
}

/// Who gets the sessions and may withdraw the retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Users {
    /// A session with a user name belongs to that user, whichever provider verifies it first: right if mosquitto verified its users. Any
    /// other session belongs to the first client that comes.
    #[default]
    Stored,
    /// Each session belongs to the first client that comes, as in mosquitto: right if mosquitto did not verify user names.
    Ignored,
}

impl Options {
    /// When mosquitto saved its state, not after now.
    pub(super) fn saved(&self) -> Timestamp {
        let now = Timestamp(self.now.0);
        self.saved_at.map_or(now, |saved| Timestamp(saved.0).min(now))
    }
}
