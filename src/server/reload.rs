//! SIGHUP: reloads certificates, password file, ACL file, and the settings of the log.

use std::sync::Arc;

use super::listener::{Endpoint, Reloaded};
use super::log::{self, log_line};
use super::report::write_notes;
use super::shard::mailbox::Mail;
use super::{Server, notify};
use crate::config::{self, Arguments, Config, Log};

impl Server {
    /// Reloads certificates, password file and ACL file, and the settings of the log. What can't be used is logged, and the previous
    /// contents stay in force. `log` has the settings in force.
    pub(super) fn reload(&self, endpoints: &[Arc<Endpoint>], log: &mut Log) {
        if let Ok(now) = sd_notify::NotifyState::monotonic_usec_now() {
            notify(&[sd_notify::NotifyState::Reloading, now]);
        }
        if let Some(arguments) = &self.arguments {
            self.reload_log(arguments, log);
        }
        let mut has_reloaded = false;
        for endpoint in endpoints {
            let name = &*endpoint.name;
            match endpoint.reload() {
                Ok(Reloaded::Certificates) => {
                    has_reloaded = true;
                    log_line!(
                        FilesReloaded { listener = name, files = "certificates" },
                        "listener {name}: reloaded the certificates"
                    );
                }
                Ok(Reloaded::Nothing) => {}
                Err(error) => {
                    let reason = error.to_string();
                    log_line!(
                        ReloadFailed { listener = name, files = "certificates", reason = &*reason },
                        "listener {name}: kept the previous certificates: {reason}"
                    );
                }
            }
        }
        self.publish_certificates(endpoints);
        match self.authentication.reload() {
            Ok(()) => {
                log_line!(FilesReloaded { files = "access" }, "reloaded the password file and the ACL file");
                write_notes(&self.authentication.notes());
                has_reloaded = true;
            }
            Err(error) => {
                let reason = error.to_string();
                log_line!(
                    ReloadFailed { files = "access", reason = &*reason },
                    "kept the previous password file and ACL file: {reason}"
                );
            }
        }
        if has_reloaded {
            self.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::AccessReloaded));
        }
        notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Loads the configuration again, and applies `log.level` and `log.clients`. Says which other settings differ: they need a restart.
    fn reload_log(&self, arguments: &Arguments, log: &mut Log) {
        let loaded = match config::load(arguments) {
            Ok(loaded) => loaded.config,
            Err(error) => {
                let reason = error.to_string();
                return log_line!(
                    ReloadFailed { files = "configuration", reason = &*reason },
                    "kept the previous settings of the log: {reason}"
                );
            }
        };
        let differing = needing_restart(&self.configured, &loaded).join(", ");
        if !differing.is_empty() {
            log_line!(
                RestartNeeded { settings = &*differing },
                "the configuration has new values that need a restart: {differing}"
            );
        }
        let new = Log { format: self.config.log.format, ..loaded.log };
        if *log == new {
            return;
        }
        // The line has the more talkative of both levels, so that it is seen.
        if new.level >= log.level {
            log::apply(&new);
            log_reloaded(&new);
        } else {
            log_reloaded(&new);
            log::apply(&new);
        }
        let detail = log::detail(&new);
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::LogReloaded(Box::new(detail.clone()))));
        *log = new;
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

/// The settings of the log and the sections that differ and are applied at a start only.
fn needing_restart(running: &Config, loaded: &Config) -> Vec<&'static str> {
    let Config { server, durability_rules, listeners, security, mqtt, limits, bans, log, admin } = loaded;
    let differing = [
        ("server", running.server != *server),
        ("durability_rules", running.durability_rules != *durability_rules),
        ("listeners", running.listeners != *listeners),
        ("security", running.security != *security),
        ("mqtt", running.mqtt != *mqtt),
        ("limits", running.limits != *limits),
        ("bans", running.bans != *bans),
        ("log.format", running.log.format != log.format),
        ("admin", running.admin != *admin),
    ];
    differing.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_needs_no_restart_but_a_format_and_a_limit_do() {
        let running = Config::default();
        let mut loaded = Config::default();
        loaded.log.level = crate::config::LogLevel::Trace;
        loaded.log.clients = vec!["a".to_owned()];
        assert_eq!(needing_restart(&running, &loaded), [""; 0]);
        loaded.log.format = crate::config::LogFormat::Json;
        loaded.limits.connections_max = 1;
        assert_eq!(needing_restart(&running, &loaded), ["limits", "log.format"]);
    }
}
