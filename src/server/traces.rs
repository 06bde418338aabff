use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::shard::mailbox::{Mail, Mailbox};
use super::shard::trace::{Trace, TraceChange, TraceFilter, TraceItem};

/// Starts traces: live views of the packets and of the decisions about some clients or topics. While none runs, they cost nothing.
#[derive(Debug, Clone)]
pub struct Traces {
    mailboxes: Arc<[Mailbox]>,
    running: Arc<Mutex<Vec<Arc<Trace>>>>,
}

/// A running trace. Dropping it ends it.
#[derive(Debug)]
pub struct RunningTrace {
    traces: Traces,
    trace: Arc<Trace>,
}

/// As many traces run as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{TRACES_MAX} traces are running, which is the limit")]
pub struct TracesFull;

impl Traces {
    pub(super) fn new(mailboxes: Arc<[Mailbox]>) -> Self {
        Self { mailboxes, running: Arc::default() }
    }

    /// Traces in which nothing happens.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn silent() -> Self {
        Self::new(Arc::new([]))
    }

    /// Starts a trace, and waits until all shards know it; for a shard that does not answer, two seconds.
    pub async fn start(&self, filter: TraceFilter) -> Result<RunningTrace, TracesFull> {
        let trace = Arc::new(Trace::new(filter));
        let mut known = {
            let mut traces = self.lock();
            if traces.len() >= TRACES_MAX {
                return Err(TracesFull);
            }
            traces.push(Arc::clone(&trace));
            self.announce(&traces)
        };
        let running = RunningTrace { traces: self.clone(), trace };
        // No shard sends anything: the channel ends when each has dropped its sender.
        let _ = timeout(KNOWN_TIMEOUT, known.recv()).await;
        Ok(running)
    }

    fn stop(&self, trace: &Arc<Trace>) {
        let mut traces = self.lock();
        let before = traces.len();
        traces.retain(|other| !Arc::ptr_eq(other, trace));
        if traces.len() < before {
            drop(self.announce(&traces));
        }
    }

    /// Tells all shards which traces run. The caller holds the lock, so that the last message is the last change.
    fn announce(&self, traces: &[Arc<Trace>]) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel(1);
        let running: Arc<[Arc<Trace>]> = traces.into();
        for mailbox in self.mailboxes.iter() {
            let change = TraceChange { running: Arc::clone(&running), known: sender.clone() };
            mailbox.put(Mail::TracesChanged(Box::new(change)));
        }
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Trace>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningTrace {
    /// Waits for the next items, and takes all that there are.
    pub fn poll_items(&self, context: &mut Context<'_>) -> Poll<VecDeque<TraceItem>> {
        self.trace.poll_items(context)
    }

    /// Takes the number of entries that were left out since the last item.
    pub fn take_left_out(&self) -> u64 {
        self.trace.take_left_out()
    }
}

impl Drop for RunningTrace {
    fn drop(&mut self) {
        self.traces.stop(&self.trace);
    }
}

/// Each costs the shards up to a thousand entries per second.
const TRACES_MAX: usize = 4;
/// A healthy shard reads its mail within milliseconds.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_number_of_traces_is_bounded_and_each_shard_learns_of_every_change() {
        let traces = Traces::new((0..2).map(|_| Mailbox::new(1)).collect());
        let handled = Arc::clone(&traces.mailboxes);
        let shards = tokio::spawn(async move {
            let mut counts = vec![Vec::new(); 2];
            let (mut mail, mut read) = (Vec::new(), 0);
            while read < 2 * (TRACES_MAX * 2) {
                for (mailbox, counts) in handled.iter().zip(&mut counts) {
                    mailbox.take(usize::MAX, &mut mail);
                    for mail in mail.drain(..) {
                        let Mail::TracesChanged(change) = mail else { panic!("{mail:?}") };
                        counts.push(change.running.len());
                        read += 1;
                    }
                }
                tokio::task::yield_now().await;
            }
            counts
        });
        let mut running = Vec::new();
        for _ in 0..TRACES_MAX {
            running.push(traces.start(TraceFilter::default()).await.unwrap());
        }
        assert_eq!(traces.start(TraceFilter::default()).await.unwrap_err(), TracesFull);
        running.clear();
        assert_eq!(shards.await.unwrap(), vec![[1, 2, 3, 4, 3, 2, 1, 0]; 2]);
    }
}
