use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::Duration;

use bytestring::ByteString;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::marks::MarkStore;
use super::state::Bridge;
use crate::config;

/// The thread of the bridges, and those that run. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::server) struct Bridges {
    pub(super) runtime: Handle,
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
    pub(super) here_id: ByteString,
    pub(super) marks: MarkStore,
    pub(super) running: BTreeMap<String, Running>,
}

/// A bridge that runs. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) settings: config::Bridge,
    /// Dropping it ends the bridge.
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Bridges {
    /// Starts the thread, without any bridge.
    ///
    /// # Errors
    /// There is no file descriptor or no thread left.
    pub(super) fn start(here_id: ByteString, marks: MarkStore) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_MAX).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("bridges".to_owned()).spawn(move || {
            // An error says that the sender is gone, which is what is waited for.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, _stop: stop, here_id, marks, running: BTreeMap::new() })
    }
}

impl Running {
    /// Starts it.
    pub(super) fn start(runtime: &Handle, bridge: Bridge) -> Self {
        let settings = bridge.settings.clone();
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        runtime.spawn(async move {
            bridge.run(stopped).await;
            // The receiver may be gone; then the result is not needed.
            let _ = ending.send(());
        });
        Self { settings, stop, ended }
    }
}

/// Ends them, together in a short time.
pub(super) async fn stop_all(bridges: impl Iterator<Item = Running>) {
    let ending: Vec<_> = bridges.map(|Running { stop, ended, .. }| (drop(stop), ended)).collect();
    let all = async {
        for ((), ended) in ending {
            let _ended_or_not = ended.await;
        }
    };
    let _ended_or_not = timeout(STOP_TIMEOUT, all).await;
}

/// A bridge gives up its connections after half of this time.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Threads that ask the name service, and that write marks.
const BLOCKING_MAX: usize = 16;
