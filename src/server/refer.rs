//! What the shards of a standby are told: which server serves the clients.

use std::sync::Arc;

use super::Server;
use super::settings::broker_settings;
use super::shard::mailbox::{Mail, ShardSettings};
use crate::broker::Settings;
use crate::config::Config;

impl Server {
    /// Whether this broker is a standby.
    pub(super) const fn is_standby(&self) -> bool {
        self.standby.is_some()
    }

    /// The settings of the shards: those of a configuration, and whether they refer all clients to another server.
    pub(super) fn shard_settings(&self, config: &Config) -> Settings {
        let settings = broker_settings(config);
        let Some(owner) = &self.standby else { return settings };
        let server_reference = settings.server_reference.or_else(|| owner.reference());
        Settings { is_standby: true, server_reference, ..settings }
    }

    /// Tells the shards which server serves the clients now.
    pub(super) fn refer_clients(&self) {
        let settings = Arc::new(self.shard_settings(&self.config));
        let settings = ShardSettings { settings, write_timeout: self.config.limits.write_timeout };
        let mail = || Mail::SettingsReloaded(Box::new(settings.clone()));
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(mail()));
    }
}
