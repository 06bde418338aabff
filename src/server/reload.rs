//! A reload: reads the configuration and the files that it names again, and applies what has changed while the broker runs.
//!
//! SIGHUP and requests of the admin interface take the same way. Each part is applied as a whole or not at all, and what can't be used is
//! logged and stays as it is:
//!
//! | part | what a failure keeps |
//! | --- | --- |
//! | the configuration: read and validated | all settings; the files are read again by the previous ones |
//! | `access`: `[security]`, `[[auth]]` and the files that they name | all of these |
//! | a listener: its settings and its socket | this listener |
//! | the certificates of a listener | these |
//! | everything else | – |
//!
//! [`applicable`] has the settings that apply at a start only.

mod access;
mod edits;
mod handle;
mod listeners;
mod report;
mod settings;
mod stamps;

pub use edits::EditFailure;
pub use handle::{ReloadError, Reloader};
pub(super) use handle::{Request, Scope};
pub use report::{PartResult, ReloadReport, ReloadedPart};
pub(super) use stamps::Stamps;

use super::listener::Acceptor;
use super::log::log_line;
use super::{Server, resources};
use crate::config::{self, Config, Limits, Loaded, Log, Mqtt};
use crate::import::{self, Generated};

impl Server {
    /// Reads what `scope` says again, and applies it.
    pub(super) async fn reload(&mut self, scope: &Scope, accepting: &mut Option<Acceptor>) -> ReloadReport {
        if let Scope::RemovedStream(name) = scope {
            return self.remove_stream(name);
        }
        if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
            self.notify(&[sd_notify::NotifyState::Reloading, now]);
        }
        let mut report = ReloadReport::default();
        match scope {
            Scope::Everything => {
                let loaded = self.load_configuration(&mut report);
                self.apply(loaded, accepting, &mut report).await;
            }
            Scope::RemovedStream(_) => {}
            Scope::Files(parts) => {
                self.reload_files(parts, &mut report);
                if parts.iter().any(|part| part == stamps::SINKS) {
                    self.apply_files_of_sinks().await;
                }
            }
        }
        self.reload_cells(scope, &mut report).await;
        self.notify(&[sd_notify::NotifyState::Ready]);
        report
    }

    /// Loads the configuration again, from the same files and arguments. After an error it is the one in force.
    fn load_configuration(&self, report: &mut ReloadReport) -> Loaded {
        let Some(arguments) = &self.arguments else { return self.loaded.clone() };
        match import::load(arguments, Generated::Added) {
            Ok(loaded) => {
                let loaded = self.own_part(loaded);
                report.add("configuration", PartResult::of(loaded.config != self.loaded.config));
                if self.cell.is_none() {
                    super::announce::log_notes(loaded.notes(), self.loaded.notes());
                }
                loaded
            }
            Err(error) => {
                let reason = error.to_string();
                log_line!(
                    ReloadFailed { files = "configuration", reason = &*reason },
                    "kept the previous configuration: {reason}"
                );
                report.kept("configuration", reason);
                self.loaded.clone()
            }
        }
    }

    async fn apply(&mut self, loaded: Loaded, accepting: &mut Option<Acceptor>, report: &mut ReloadReport) {
        let mut target = applicable(&self.loaded.config, &loaded.config);
        report.restart_needed = loaded.config.differences(&target);
        let needed = report.restart_needed.join(", ");
        if !needed.is_empty() && self.cell.is_none() {
            log_line!(
                RestartNeeded { settings = &*needed },
                "the configuration has new values that need a restart: {needed}"
            );
        }
        let mut effective = target.clone();
        match target == self.loaded.config {
            true => effective.clone_from(&self.config),
            false => resources::fit(&mut effective, self.mailboxes.len(), self.cell.is_some()),
        }
        let prepared = self.prepare_listeners(&effective, report).await;
        let has_certificates = self.reload_certificates(&prepared, report);
        let listeners = prepared.settings();
        let has_access = self.reload_access(&effective, &listeners, report);
        if !has_access {
            (effective.security, target.security) = (self.config.security.clone(), self.loaded.config.security.clone());
            (effective.auth, target.auth) = (self.config.auth.clone(), self.loaded.config.auth.clone());
        }
        // What they say for their clients is a part of the settings, so those are in force that will be.
        effective.listeners = listeners;
        if !self.reload_streams(&effective, report) {
            (effective.streams, target.streams) = (self.config.streams.clone(), self.loaded.config.streams.clone());
        }
        self.apply_settings(&effective, report);
        let (has_changed, sources) = self.activate_listeners(prepared, accepting, report).await;
        if has_certificates || has_access || has_changed {
            self.judge_clients();
        }
        target.listeners = sources.iter().filter_map(|source| self.configured(source, &loaded)).collect();
        if effective != self.config && self.cell.is_none() {
            super::announce::log_exposures(&effective);
        }
        self.loaded = loaded.in_force(&self.loaded, target, &sources);
        self.config = effective;
        self.publish_configuration();
        self.publish_certificates();
        self.apply_attendants().await;
    }

    /// The configured settings of a listener that is in force.
    fn configured(&self, source: &config::Source, loaded: &Loaded) -> Option<config::Listener> {
        match source {
            config::Source::Loaded(number) => loaded.config.listeners.get(*number).cloned(),
            config::Source::Before(number) => self.loaded.config.listeners.get(*number).cloned(),
        }
    }
}

/// The settings of `loaded` that can change while the broker runs, and the others as they are in `running`:
///
/// - those of the process and the store, and `durability_rules`: the store has one level from its start, and a message that was stored under one
///   rule must be deleted under the same;
/// - `mqtt.dead_letter_topic` and `limits.queue_overflow`, because they decide how the room in queues is accounted for, which several shards do
///   together;
/// - `mqtt.message_expiry_after_unknown_time`, which is about the start;
/// - `log.format`, `[admin]` and `[cluster]`.
fn applicable(running: &Config, loaded: &Config) -> Config {
    let (keeps, takes) = (running.clone(), loaded.clone());
    Config {
        server: config::Server {
            drain_timeout: takes.server.drain_timeout,
            watch_files: takes.server.watch_files,
            streams_unlisted: takes.server.streams_unlisted,
            ..keeps.server
        },
        durability_rules: keeps.durability_rules,
        listeners: takes.listeners,
        security: takes.security,
        auth: takes.auth,
        mqtt: Mqtt {
            dead_letter_topic: keeps.mqtt.dead_letter_topic,
            message_expiry_after_unknown_time: keeps.mqtt.message_expiry_after_unknown_time,
            ..takes.mqtt
        },
        topic_rewrite: takes.topic_rewrite,
        auto_subscribe: takes.auto_subscribe,
        streams: takes.streams,
        redelivery: takes.redelivery,
        receipts: takes.receipts,
        limits: Limits { queue_overflow: keeps.limits.queue_overflow, ..takes.limits },
        user_limits: takes.user_limits,
        bans: takes.bans,
        probe: takes.probe,
        sinks: takes.sinks,
        bridges: takes.bridges,
        cluster: keeps.cluster,
        telemetry: takes.telemetry,
        log: Log { format: keeps.log.format, ..takes.log },
        admin: config::Admin { journey_steps_max: takes.admin.journey_steps_max, ..keeps.admin },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Durability, LogFormat, LogLevel, QueueOverflow};

    #[test]
    fn most_settings_apply_and_the_others_are_named() {
        let running = Config::default();
        let mut loaded = Config::default();
        loaded.log.level = LogLevel::Trace;
        loaded.log.clients = vec!["a".to_owned()];
        loaded.limits.connections_max = 1;
        loaded.limits.memory_max = Some(1 << 30);
        loaded.user_limits.push(config::UserLimit::default());
        loaded.mqtt.retain_available = false;
        loaded.redelivery.push(toml::from_str("topic = \"orders/#\"").unwrap());
        loaded.receipts.open_max = 1;
        loaded.bans.exempt = vec!["192.0.2.1".parse().unwrap()];
        loaded.probe.enabled = true;
        loaded.bridges.push(config::Bridge::default());
        loaded.security.password_file = Some("passwords".into());
        loaded.auth.push(config::Provider::new(config::ProviderKind::Certificate));
        loaded.listeners.pop();
        loaded.server.watch_files = true;
        loaded.server.streams_unlisted = config::UnlistedStreams::Remove;
        assert_eq!(applicable(&running, &loaded), loaded);
        loaded.log.format = LogFormat::Json;
        loaded.limits.queue_overflow = QueueOverflow::Reject;
        loaded.server.shards = 3;
        loaded.server.durability = Durability::None;
        loaded.mqtt.dead_letter_topic = Some("dead".to_owned());
        loaded.admin.enabled = false;
        let target = applicable(&running, &loaded);
        let expected = [
            "server.durability",
            "server.shards",
            "mqtt.dead_letter_topic",
            "limits.queue_overflow",
            "log.format",
            "admin.enabled",
        ];
        assert_eq!(loaded.differences(&target), expected);
        assert_eq!(applicable(&target, &loaded), target, "a restart is still needed at the next reload");
    }
}
