//! The settings that a reload applies to what runs: shards, admission, memory, bans and log.

use std::sync::Arc;

use super::super::log::{self, log_line};
use super::super::shard::mailbox::{Mail, ShardSettings};
use super::super::store::stream_progress;
use super::super::store::streams::{log_not_removed, log_removed};
use super::super::{Server, StreamError, memory, settings};
use super::handle::STREAMS;
use super::report::{PartResult, ReloadReport};
use crate::config::{Config, Log, UnlistedStreams};

impl Server {
    /// Applies all settings of `config` but those of listeners, and of files, which are in force already.
    pub(super) fn apply_settings(&mut self, config: &Config, report: &mut ReloadReport) {
        let before = self.config.clone();
        self.apply_log(&before.log, &config.log);
        if config.limits != before.limits {
            self.admission.set_limits(&config.limits);
            // The same for all servers of the process.
            self.memory.set_max(config.limits.memory_max.unwrap_or_else(memory::default_max));
            let (_, bytes) = self.shared.retained_len();
            self.shared.set_retained_limits(settings::retained_limits(config, self.memory.share(), bytes));
        }
        if config.bans != before.bans {
            self.bans.set_settings(&config.bans);
        }
        let next = self.shard_settings(config);
        let write_timeout = config.limits.write_timeout;
        if next != self.shard_settings(&before) || write_timeout != before.limits.write_timeout {
            let settings = ShardSettings { settings: Arc::new(next), write_timeout };
            let mail = || Mail::SettingsReloaded(Box::new(settings.clone()));
            self.mailboxes.iter().for_each(|mailbox| mailbox.put(mail()));
        }
        let sections = [
            ("server", config.server != before.server),
            ("mqtt", config.mqtt != before.mqtt),
            ("topic_rewrite", config.topic_rewrite != before.topic_rewrite),
            ("auto_subscribe", config.auto_subscribe != before.auto_subscribe),
            ("limits", config.limits != before.limits),
            ("user_limits", config.user_limits != before.user_limits),
            ("bans", config.bans != before.bans),
            ("probe", config.probe != before.probe),
            ("sinks", config.sinks != before.sinks),
            ("bridges", config.bridges != before.bridges),
            ("telemetry", config.telemetry != before.telemetry),
            ("log", config.log != before.log),
        ];
        for (name, has_changed) in sections {
            report.add(name, PartResult::of(has_changed));
        }
        let mut changed = before.differences(config);
        changed.retain(|key| key != "listeners" && !key.starts_with("log."));
        if !changed.is_empty() && self.cell.is_none() {
            let changed = changed.join(", ");
            log_line!(SettingsReloaded { settings = &*changed }, "these settings have new values: {changed}");
        }
    }

    /// Opens new streams, changes those that there are, and removes those that are not configured if they are not kept. Returns whether all are as
    /// configured; otherwise they stay as they were.
    pub(super) fn reload_streams(&mut self, config: &Config, report: &mut ReloadReport) -> bool {
        let has_changed = config.streams != self.config.streams;
        if has_changed && !self.is_standby() {
            match self.streams.apply(&config.streams) {
                Ok(()) => self.shared.set_streams(self.streams.table()),
                Err(error) => {
                    let reason = error.to_string();
                    log_line!(ReloadFailed { files = "streams", reason = &*reason }, "kept the previous streams: {reason}");
                    report.kept("streams", reason);
                    return false;
                }
            }
        }
        report.add("streams", PartResult::of(has_changed));
        if config.server.streams_unlisted == UnlistedStreams::Remove {
            for name in self.streams.unlisted() {
                if let Err(error) = self.end_stream(&name) {
                    log_not_removed(&error);
                    report.kept("streams", error.to_string());
                }
            }
        }
        true
    }

    /// Removes a stream that is not configured.
    pub(super) fn remove_stream(&mut self, name: &str) -> ReloadReport {
        let mut report = ReloadReport::default();
        if let Err(error) = self.end_stream(name) {
            report.kept(STREAMS, error.to_string());
        }
        report
    }

    fn end_stream(&mut self, name: &str) -> Result<(), StreamError> {
        let number = self.streams.remove(name)?;
        self.shared.set_streams(self.streams.table());
        self.shared.end_groups_of(number);
        stream_progress::end(&self.shared, number, &self.mailboxes);
        log_removed(name);
        Ok(())
    }

    fn apply_log(&self, before: &Log, new: &Log) {
        if before == new {
            return;
        }
        let detail = log::detail(new);
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::LogReloaded(Box::new(detail.clone()))));
        // The front of the process does the rest.
        if self.cell.is_some() {
            return;
        }
        // The line has the more talkative of both levels, so that it is seen.
        if new.level >= before.level {
            log::apply(new);
            log_reloaded(new);
        } else {
            log_reloaded(new);
            log::apply(new);
        }
    }

    /// Publishes the settings in force, with the origin of each.
    pub(in super::super) fn publish_configuration(&self) {
        self.reloader.publish(self.loaded.with_values(self.config.clone()));
    }
}

fn log_reloaded(log: &Log) {
    let (level, clients) = (log.level.name(), log.clients.join(", "));
    let of = if clients.is_empty() { String::new() } else { format!(", details of the clients {clients}") };
    log_line!(
        LogReloaded { log_level = level, log_clients = &*clients },
        "reloaded the settings of the log: level {level}{of}"
    );
}
