//! The thread of all sinks, and the tasks on it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::plan::Plan;
use super::report::{Reporter, Shared};
use super::request::Requests;
use super::task::Task;
use super::tools::{End, Tools};

/// The sinks that run. They end when this is dropped.
#[derive(Debug)]
pub(in crate::server) struct Sinks {
    runtime: Handle,
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
    running: HashMap<String, Running>,
    /// What the sinks of each name have done, also those that do not run any more.
    figures: HashMap<String, Shared>,
}

/// A sink that runs.
#[derive(Debug)]
struct Running {
    plan: Plan,
    stop: oneshot::Sender<End>,
    ended: oneshot::Receiver<()>,
}

impl Sinks {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is no file descriptor or no thread left.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(RESOLVERS_MAX).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("sinks".to_owned()).spawn(move || {
            // It ends with an error when the sender is dropped.
            let _stopped = runtime.block_on(stopped);
            // A look-up of a name may last, and nobody waits for it.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _stop: stop, running: HashMap::new(), figures: HashMap::new() })
    }

    /// Whether the sink runs as planned.
    pub(super) fn runs(&self, plan: &Plan) -> bool {
        self.running.get(&plan.settings.name).is_some_and(|running| running.plan == *plan)
    }

    /// The names of the sinks that run.
    pub(super) fn names(&self) -> Vec<String> {
        self.running.keys().cloned().collect()
    }

    /// Whether one with this name runs.
    pub(super) fn has(&self, name: &str) -> bool {
        self.running.contains_key(name)
    }

    /// Starts a sink. One with its name must have ended.
    pub(super) fn begin(&mut self, requests: Requests, tools: Tools, seed: u64) {
        let plan = requests.plan().clone();
        let name = plan.settings.name.clone();
        let figures = Arc::clone(self.figures.entry(name.clone()).or_default());
        {
            let mut figures = super::report::lock(&figures);
            (figures.name, figures.endpoint) = ((&*name).into(), plan.endpoint());
        }
        let reporter = Reporter::new(figures, tools.clock);
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let task = Task::new(requests, tools, reporter, seed);
        self.runtime.spawn(async move {
            task.run(stopped).await;
            // The receiver may be gone; then the result is not needed.
            let _ = ending.send(());
        });
        self.running.insert(name, Running { plan, stop, ended });
    }

    /// Notes whether a sink can run as configured, or why it can't.
    pub(super) fn note(&mut self, name: &str, unavailable: Option<&str>) {
        let mut figures = super::report::lock(self.figures.entry(name.to_owned()).or_default());
        figures.name = name.into();
        figures.unavailable = unavailable.map(Into::into);
    }

    /// Forgets the figures of all others.
    pub(super) fn keep_figures(&mut self, names: &HashSet<String>) {
        self.figures.retain(|name, _| names.contains(name));
    }

    /// Ends sinks: requests under way are waited for, for a short time.
    pub(super) async fn end(&mut self, names: &[String], end: End) {
        let ending: Vec<_> = names.iter().filter_map(|name| self.running.remove(name)).collect();
        let ended = ending.into_iter().map(|running| {
            let _ = running.stop.send(end); // it may have ended
            timeout(END_TIMEOUT, running.ended)
        });
        join_all(ended).await;
    }

    /// The figures of all sinks of the configuration that have run.
    pub(super) fn figures(&self) -> Vec<Shared> {
        self.figures.values().map(Arc::clone).collect()
    }
}

/// Look-ups of names at the same time: two of each of many sinks, if all wait for a name server that does not answer.
const RESOLVERS_MAX: usize = 128;
/// Longer than a sink waits for its requests and for the end of its connection.
const END_TIMEOUT: Duration = Duration::from_millis(2_500);
