//! What the server publishes every second.

use std::sync::Arc;

use super::listener::OpenListener;
use super::status::{AdmissionCounts, CertificateExpiry};
use super::{Server, log, process, report};
use crate::broker::{MemoryLevel, ProcessFigures};

impl Server {
    /// Stores the time if it is due, and publishes the counters of the listeners and what the shards need for the `$SYS` topics.
    pub(super) fn publish_figures(&mut self) {
        self.anchors.tick();
        let (bans, logins_delayed) = self.bans.counts();
        let passwords = self.authentication.counts();
        let counts = AdmissionCounts { bans, logins_delayed, passwords, ..self.admission.counts() };
        self.status.publish_listeners(counts);
        self.status.publish_services(self.authentication.remote_counts());
        self.status.publish_memory(self.memory.figures());
        log::summarize(self.clock.read().now);
        log::report_dropped();
        if !self.config.mqtt.sys_interval.is_zero() {
            let process::Memory { resident, resident_max, .. } = process::memory();
            let sockets_opened = counts.accepted;
            let figures = ProcessFigures { resident_bytes: resident, resident_bytes_max: resident_max, sockets_opened };
            self.shared.publish_process(figures);
        }
    }

    /// Measures the memory of the process, which is the business of the front if there is one.
    pub(super) fn measure(&self) {
        if self.cell.is_none() {
            self.memory.tick();
        }
        self.messages.set_bytes_max(self.memory.messages_max());
    }

    /// Logs how short the memory is, if that has changed. Returns the level.
    pub(super) fn report_memory(&self, before: MemoryLevel) -> MemoryLevel {
        if self.cell.is_none() { report::write_memory(&self.memory, before) } else { before }
    }

    /// Publishes when the certificates in use expire.
    pub(super) fn publish_certificates(&self) {
        let expiry = |listener: &OpenListener| {
            let endpoint = listener.endpoint();
            let (listener, expires) = (Arc::clone(&endpoint.name), endpoint.certificate_expires()?);
            Some(CertificateExpiry { listener, expires })
        };
        self.status.publish_certificates(self.listeners.iter().filter_map(expiry).collect());
    }
}
