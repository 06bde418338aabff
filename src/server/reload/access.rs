//! The files of a reload: certificates, password file and ACL file.

use super::super::Server;
use super::super::listener::Endpoint;
use super::super::log::log_line;
use super::super::report::write_notes;
use super::super::shard::mailbox::Mail;
use super::listeners::Prepared;
use super::report::{PartResult, ReloadReport};
use super::stamps::{ACCESS, Part, parts};
use crate::config::{Config, Listener};

impl Server {
    /// Reads the files of users, keys and rules that `config` names, and applies them with the listeners that are there. Returns whether
    /// they are in force.
    pub(super) fn reload_access(&mut self, config: &Config, listeners: &[Listener], report: &mut ReloadReport) -> bool {
        let (security, auth) = (&config.security, &config.auth);
        let differs = *security != self.config.security || *auth != self.config.auth;
        let has_changed = self.stamps.take(&Part::access(security, auth, listeners)) || differs;
        match self.authentication.reload_with(security, auth, listeners) {
            Ok(()) => {
                log_line!(FilesReloaded { files = "access" }, "reloaded the password file and the ACL file");
                write_notes(&self.authentication.notes());
                report.add(ACCESS, PartResult::of(has_changed));
                true
            }
            Err(error) => {
                let reason = error.to_string();
                log_line!(
                    ReloadFailed { files = "access", reason = &*reason },
                    "kept the previous password file and ACL file: {reason}"
                );
                report.kept(ACCESS, reason);
                false
            }
        }
    }

    /// Reads the certificates of all listeners that stay again. Returns whether any were read.
    pub(super) fn reload_certificates(&mut self, prepared: &Prepared, report: &mut ReloadReport) -> bool {
        let mut has_reloaded = false;
        for endpoint in prepared.endpoints() {
            has_reloaded |= self.reload_certificates_of(endpoint, report);
        }
        has_reloaded
    }

    /// Reads the certificates of a listener again. Returns whether they were read: a listener without TLS has none.
    fn reload_certificates_of(&mut self, endpoint: &Endpoint, report: &mut ReloadReport) -> bool {
        let (Some(part), name) = (Part::certificates(endpoint.settings()), &*endpoint.name) else { return false };
        let has_changed = self.stamps.take(&part);
        match endpoint.reload() {
            Ok(()) => {
                log_line!(
                    FilesReloaded { listener = name, files = "certificates" },
                    "listener {name}: reloaded the certificates"
                );
                report.add(part.name, PartResult::of(has_changed));
                true
            }
            Err(error) => {
                let reason = error.to_string();
                log_line!(
                    ReloadFailed { listener = name, files = "certificates", reason = &*reason },
                    "listener {name}: kept the previous certificates: {reason}"
                );
                report.kept(part.name, reason);
                false
            }
        }
    }

    /// Reads the files of these parts again, by the settings in force.
    pub(super) fn reload_files(&mut self, parts: &[String], report: &mut ReloadReport) {
        let mut has_reloaded = false;
        if parts.iter().any(|part| part == ACCESS) {
            let config = self.config.clone();
            has_reloaded |= self.reload_access(&config, &config.listeners, report);
        }
        let endpoints: Vec<_> = self.listeners.iter().map(|listener| listener.endpoint().clone()).collect();
        for endpoint in endpoints {
            let part = Part::certificates(endpoint.settings());
            if part.is_some_and(|part| parts.contains(&part.name)) {
                has_reloaded |= self.reload_certificates_of(&endpoint, report);
            }
        }
        if has_reloaded {
            self.judge_clients();
        }
        self.publish_certificates();
    }

    /// Lets the shards judge every client again.
    pub(super) fn judge_clients(&self) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.put(Mail::AccessReloaded));
    }

    /// The parts whose files have changed since they were read, and have been the same for [`WATCH_INTERVAL`](super::super::WATCH_INTERVAL):
    /// so a file that is being written is not read yet.
    pub(in super::super) fn changed_files(&mut self) -> Vec<String> {
        self.stamps.changed(parts(&self.config))
    }
}
