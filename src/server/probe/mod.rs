//! The probe: a client of the broker's own, on a thread of its own, that connects to a listener and publishes to itself.
//!
//! Each round publishes a message at QoS 0, 1 and 2 over a real connection and counts what comes back. The Session of the probe is durable for
//! as long as its connection lasts, so its messages of QoS 1 and 2 wait for the store like those of other clients. Nothing of it grows: a
//! round has three messages, which expire; a round whose acknowledgements are missing ends the connection; a connection begins with Clean
//! Start. Attempts to connect become rarer while they fail.
//!
//! It is subject to all rules and limits that a client is subject to, but for bans of addresses: its short connections and refused logins don't
//! count against its address, which others may share.

mod error;
mod link;
mod plan;
mod rounds;
mod running;
mod tally;
mod target;
mod tls;
mod transport;
mod verdict;

use std::sync::Arc;

pub(super) use running::Probe;

use super::Server;
use super::log::log_line;
use super::probe_figures::ProbeFigures;
use target::Target;

impl Server {
    /// Starts the probe, ends it, or replaces it, as the configuration says. It stays if neither its settings nor its listener have changed.
    pub(super) async fn apply_probe(&mut self) {
        let settings = &self.config.probe;
        let target = settings.enabled.then(|| Target::find(settings, &self.listeners)).flatten();
        if let (Some(running), Some(target)) = (&self.attendants.probe, &target)
            && running.is_for(settings, target)
        {
            return;
        }
        self.stop_probe().await;
        if !self.config.probe.enabled {
            return self.status.publish_probe(None);
        }
        let started = match target {
            Some(target) => Probe::start(&self.config.probe, target, Arc::clone(&self.status), Arc::clone(&self.bans))
                .map_err(|error| error.to_string()),
            None => Err("its listener is not open".to_owned()),
        };
        match started {
            Ok(probe) => self.attendants.probe = Some(probe),
            Err(reason) => {
                let listener = self.config.probe.listener.as_deref().unwrap_or_default();
                log_line!(ProbeDown { listener, reason = &*reason }, "the probe does not run: {reason}");
                let affects_readiness = self.config.probe.affects_readiness;
                let (is_well, reason) = (Some(false), Some(reason.into()));
                let before = self.status.probe().unwrap_or_default();
                self.status.publish_probe(Some(ProbeFigures { affects_readiness, is_well, reason, ..before }));
            }
        }
    }

    /// Ends the probe.
    pub(super) async fn stop_probe(&mut self) {
        if let Some(probe) = self.attendants.probe.take() {
            probe.stop().await;
        }
    }
}
