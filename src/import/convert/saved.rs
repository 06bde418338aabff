//! What mosquitto saves when it ends, and what has to be known of its configuration to take that over.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::bridges::client_id;
use super::sources::verifies_all;
use crate::import::conf::{Bridge, Model, Settings};

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

/// The state of a mosquitto with this configuration; `None` if it saves none.
pub(super) fn saved_state(model: &Model) -> Option<SavedState> {
    let global = &model.global;
    if global.flag("persistence") != Some(true) {
        return None;
    }
    let name = global.text("persistence_file").unwrap_or("mosquitto.db");
    let file = global.text("persistence_location").map_or_else(|| PathBuf::from(name), |at| Path::new(at).join(name));
    let verify = |settings: &Settings| {
        let options = ["password_file", "use_identity_as_username", "use_subject_as_username", "psk_file"];
        options.into_iter().any(|option| settings.text(option).is_some() || settings.flag(option) == Some(true))
    };
    let of_all = verify(global) && model.per_listener.is_none() || model.plugins.iter().any(verifies_all);
    let verifies_each = !model.listeners.is_empty() && model.listeners.iter().all(|one| verify(&one.settings));
    let local_id = |bridge: &Bridge| {
        let remote = bridge.settings.text("remote_clientid").map_or_else(|| client_id(bridge), str::to_owned);
        bridge.settings.text("local_clientid").map_or_else(|| format!("local.{remote}"), str::to_owned)
    };
    let expiration = global.number("persistent_client_expiration");
    Some(SavedState {
        file,
        verifies_users: of_all || verifies_each,
        has_mount_points: model.listeners.iter().any(|one| one.settings.has("mount_point")),
        bridges: model.bridges.iter().map(local_id).collect(),
        persistent_client_expiration: expiration.and_then(|seconds| u32::try_from(seconds).ok()),
    })
}
