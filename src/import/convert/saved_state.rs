//! What has to be known of a configuration to take over what mosquitto has saved.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// The state that mosquitto saves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedState {
    /// Its file, which is there if mosquitto has saved it.
    pub file: PathBuf,
    /// Whether mosquitto verifies the users of all its clients: the user name of a session is that of its owner then.
    pub verifies_users: bool,
    /// Whether a listener has a mount point, which the state does not name.
    pub has_mount_points: bool,
    /// The Client Identifiers that its bridges have on its side.
    pub bridges: BTreeSet<String>,
    /// `persistent_client_expiration` in seconds.
    pub persistent_client_expiration: Option<u32>,
}
