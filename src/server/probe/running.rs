use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::plan::Plan;
use super::rounds::Rounds;
use super::target::Target;
use crate::config;
use crate::server::bans::Bans;
use crate::server::log::log_line;
use crate::server::status::Status;

/// The probe that runs. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::server) struct Probe {
    settings: config::Probe,
    target: Target,
    /// Dropping it ends the thread.
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Probe {
    /// Starts its thread.
    ///
    /// # Errors
    /// There is no randomness, no file descriptor or no thread left.
    pub(super) fn start(
        settings: &config::Probe,
        target: Target,
        status: Arc<Status>,
        bans: Arc<Bans>,
    ) -> io::Result<Self> {
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

    /// Whether it does what these settings say.
    pub(super) fn is_for(&self, settings: &config::Probe, target: &Target) -> bool {
        self.settings == *settings && self.target == *target
    }

    /// Ends its Session and its connection, if the broker does its part in a short time.
    pub(super) async fn stop(self) {
        let Self { stop, ended, .. } = self;
        drop(stop);
        let _ended_or_not = timeout(STOP_TIMEOUT, ended).await;
    }
}

/// The probe gives up its connection after half of this time.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
