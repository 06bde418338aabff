use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Inbox;
use super::collector::Collector;
use super::encode::Encoder;
use super::exporter::Exporter;
use super::files::Files;
use crate::config;
use crate::server::queries::Queries;
use crate::server::status::Status;

/// The thread that makes and sends traces. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::server) struct Telemetry {
    pub(super) settings: config::Telemetry,
    pub(super) files: Files,
    /// Dropping it ends the thread.
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Telemetry {
    /// Starts the thread.
    pub(super) fn start(
        (settings, files): (&config::Telemetry, Files),
        exporter: Exporter,
        (inbox, queries, status): (Arc<Inbox>, Queries, Arc<Status>),
    ) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let (batches, waiting) = mpsc::channel(BATCHES_MAX);
        let collector = Collector::new(inbox, queries, status, Encoder::new(batches));
        thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            runtime.block_on(async {
                let exporting = tokio::spawn(exporter.run(waiting));
                collector.run(stopped).await;
                // The exporter ends when it has sent what the collector has left.
                let _ended_or_not = timeout(STOP_TIMEOUT, exporting).await;
            });
            // Nobody may wait for it any more.
            let _ = ending.send(());
        })?;
        Ok(Self { settings: settings.clone(), files, stop, ended })
    }

    /// Ends the thread, which sends what there is if the collector takes it in a short time.
    pub(super) async fn stop(self) {
        let Self { stop, ended, .. } = self;
        drop(stop);
        let _ended_or_not = timeout(STOP_TIMEOUT, ended).await;
    }
}

/// The time for the last spans when the broker or its traces end.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// Batches that wait to be sent.
const BATCHES_MAX: usize = 16;
