//! Requests for a reload from other threads.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::report::ReloadReport;
#[cfg(any(test, feature = "sim"))]
use crate::config::Config;
use crate::config::Loaded;

/// What a reload reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Scope {
    /// The configuration and all files.
    Everything,
    /// The files of these parts, by the settings in force.
    Files(Vec<String>),
    /// Nothing: a stream with this name is removed.
    RemovedStream(String),
}

/// A request for a reload.
#[derive(Debug)]
pub(in crate::server) struct Request {
    pub(in crate::server) scope: Scope,
    /// Gets the result. Nobody may wait for it any more.
    pub(in crate::server) answer: oneshot::Sender<ReloadReport>,
}

/// Reloads the running broker and changes its files, from any thread.
#[derive(Debug, Clone)]
pub struct Reloader {
    requests: mpsc::Sender<Request>,
    in_force: Arc<ArcSwap<Loaded>>,
    /// Held during a change of the password file or the ACL file by this process.
    pub(super) editing: Arc<Mutex<()>>,
}

/// Why there is no result of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// Too many requests wait, or it takes longer than `ANSWER_TIMEOUT`. It may take place later.
    #[error("the reload takes too long: see the log")]
    Busy,
    /// The broker stops.
    #[error("the broker is stopping")]
    Stopping,
}

impl Reloader {
    /// A handle, and where its requests arrive. `loaded` is in force.
    pub(in crate::server) fn new(loaded: Loaded) -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let in_force = Arc::new(ArcSwap::from_pointee(loaded));
        (Self { requests, in_force, editing: Arc::default() }, receiver)
    }

    /// A handle to a broker that has stopped.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn stopped(config: Config) -> Self {
        Self::new(Loaded::of(config)).0
    }

    /// Reads the configuration and all files again, as SIGHUP does, and waits for the result.
    ///
    /// # Errors
    /// The broker is busy or stops.
    pub async fn reload(&self) -> Result<ReloadReport, ReloadError> {
        self.request(Scope::Everything).await
    }

    /// Removes a stream that is not configured, with its messages, for ever. The inner error says why it is not removed.
    ///
    /// # Errors
    /// The broker is busy or stops.
    pub async fn remove_stream(&self, name: String) -> Result<Result<(), String>, ReloadError> {
        let report = self.request(Scope::RemovedStream(name)).await?;
        Ok(report.error(STREAMS).map_or(Ok(()), |reason| Err(reason.to_owned())))
    }

    /// The settings in force, with the origin of each.
    pub fn in_force(&self) -> Arc<Loaded> {
        self.in_force.load_full()
    }

    pub(super) fn publish(&self, loaded: Loaded) {
        self.in_force.store(Arc::new(loaded));
    }

    pub(in crate::server) async fn request(&self, scope: Scope) -> Result<ReloadReport, ReloadError> {
        let (answer, result) = oneshot::channel();
        let answered = async {
            self.requests.send(Request { scope, answer }).await.map_err(|_| ReloadError::Stopping)?;
            result.await.map_err(|_| ReloadError::Stopping)
        };
        timeout(ANSWER_TIMEOUT, answered).await.unwrap_or(Err(ReloadError::Busy))
    }
}

/// The part of a report that has the streams.
pub(super) const STREAMS: &str = "streams";
/// Requests that wait for the one before; further ones wait for room.
const REQUESTS_MAX: usize = 4;
/// Reading some files and waiting for their locks takes a few seconds at most, and the connection of the request lives for ten.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
