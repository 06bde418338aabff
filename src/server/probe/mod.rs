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
mod tally;
mod target;
mod tls;
mod transport;
mod verdict;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Server;
use super::bans::Bans;
use super::log::log_line;
use super::probe_figures::ProbeFigures;
use super::status::Status;
use crate::config;
use plan::Plan;
use rounds::Rounds;
use target::Target;

/// The probe that runs. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Probe {
    settings: config::Probe,
    target: Target,
    /// Dropping it ends the thread.
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Probe {
    fn start(settings: &config::Probe, target: Target, status: Arc<Status>, bans: Arc<Bans>) -> io::Result<Self> {
        let plan = Plan::new(settings.clone(), target.clone())?;
        log_line!(
            ProbeStarted { listener = &*target.listener, topic = plan.topic.as_str() },
            "the probe publishes to {} at {}, every {:?}",
            plan.topic.as_str(),
            target.listener,
            settings.interval
        );
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let rounds = Rounds::new(plan, status, bans);
        thread::Builder::new().name("probe".to_owned()).spawn(move || {
            runtime.block_on(rounds.run(stopped));
            // Nobody may wait for it any more.
            let _ = ending.send(());
        })?;
        Ok(Self { settings: settings.clone(), target, stop, ended })
    }

    /// Ends its Session and its connection, if the broker does its part in a short time.
    async fn stop(self) {
        let Self { stop, ended, .. } = self;
        drop(stop);
        let _ended_or_not = timeout(STOP_TIMEOUT, ended).await;
    }
}

impl Server {
    /// Starts the probe, ends it, or replaces it, as the configuration says. It stays if neither its settings nor its listener have changed.
    pub(super) async fn apply_probe(&mut self) {
        let settings = &self.config.probe;
        let target = settings.enabled.then(|| Target::find(settings, &self.listeners)).flatten();
        if let (Some(running), Some(target)) = (&self.probe, &target)
            && running.settings == *settings
            && running.target == *target
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
            Ok(probe) => self.probe = Some(probe),
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
        if let Some(probe) = self.probe.take() {
            probe.stop().await;
        }
    }
}

/// The probe gives up its connection after half of this time.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
