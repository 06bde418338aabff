//! Where mosquitto saves its state, by its configuration.

use std::path::{Path, PathBuf};

use super::Conversion;
use super::bridges::client_id;
use super::saved_state::SavedState;
use super::sources::verifies_all;
use crate::import::conf::{Bridge, Settings};

impl Conversion<'_> {
    /// The state that mosquitto saves; `None` if it saves none.
    pub(super) fn saved_state(&self) -> Option<SavedState> {
        let model = self.model;
        let global = &model.global;
        if global.flag("persistence") != Some(true) {
            return None;
        }
        let name = global.text("persistence_file").unwrap_or("mosquitto.db");
        let file =
            global.text("persistence_location").map_or_else(|| PathBuf::from(name), |at| Path::new(at).join(name));
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
}
