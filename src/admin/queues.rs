//! What waits in the Sessions of bridges and sinks, which their shards alone know.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::interval;

use super::handles::BrokerHandles;
use crate::broker::{Answer, ClientView, DropReason, Query, Shared};
use crate::codec::ClientId;
use crate::server::{BridgeFigures, CellServer, Cells, OwnClientKind, Queries, SinkFigures, Status};
use crate::timestamp::Timestamp;

/// The queues of the broker's own clients, measured every few seconds.
#[derive(Debug)]
pub(super) struct Queues {
    own: Broker,
    /// The cells of which some are served in this process, if there are several: their servers have bridges and sinks.
    front_of: Option<Arc<Cells>>,
    measured: Mutex<HashMap<ClientId, OwnQueue>>,
}

/// A server that may have bridges and sinks.
#[derive(Debug, Clone)]
struct Broker {
    status: Arc<Status>,
    shared: Arc<Shared>,
    queries: Queries,
}

/// The queue of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnQueue {
    /// QoS 1 and 2 messages, those in flight included, and their bytes.
    pub(super) messages: usize,
    pub(super) bytes: usize,
    messages_max: usize,
    bytes_max: usize,
    /// What was dropped before it left the queue, by reason, since the broker started.
    pub(super) dropped: Vec<(DropReason, u32)>,
}

/// A bridge or a sink with its queue, if it is known.
#[derive(Debug)]
pub(super) struct Own<T> {
    pub(super) name: Arc<str>,
    pub(super) figures: T,
    pub(super) queue: Option<OwnQueue>,
}

impl Queues {
    pub(super) fn new(handles: &BrokerHandles) -> Self {
        let BrokerHandles { status, shared, queries, front_of, .. } = handles;
        let own = Broker { status: Arc::clone(status), shared: Arc::clone(shared), queries: queries.clone() };
        Self { own, front_of: front_of.clone(), measured: Mutex::default() }
    }

    /// The server of the process, and those of the cells here.
    fn brokers(&self) -> impl Iterator<Item = Broker> + use<> {
        let of = |CellServer { status, shared, queries, .. }: CellServer| Broker { status, shared, queries };
        let cells = self.front_of.as_ref().map(|cells| cells.servers()).unwrap_or_default();
        [self.own.clone()].into_iter().chain(cells.into_iter().map(of))
    }

    /// A time of the clock of a broker as one of the clock of the process.
    fn time(&self, broker: &Broker, at: Timestamp) -> Timestamp {
        let ago = u64::try_from(broker.status.now().since(at).as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.own.status.now().0.saturating_sub(ago))
    }

    /// The queue of a bridge or a sink; `None`: it has no Session, or its shard does not answer.
    pub(super) fn of(&self, kind: OwnClientKind, name: &str) -> Option<OwnQueue> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).get(&kind.client_id(name)).cloned()
    }

    /// All bridges. Their times are those of the clock of the process.
    pub(super) fn bridges(&self) -> Vec<Own<BridgeFigures>> {
        let mut bridges = Vec::new();
        for broker in self.brokers() {
            bridges.extend(broker.status.bridges().into_iter().map(|mut bridge| {
                bridge.since = self.time(&broker, bridge.since);
                self.with_queue(OwnClientKind::Bridge, Arc::clone(&bridge.name), bridge)
            }));
        }
        bridges
    }

    /// All sinks. Their times are those of the clock of the process.
    pub(super) fn sinks(&self) -> Vec<Own<SinkFigures>> {
        let mut sinks = Vec::new();
        for broker in self.brokers() {
            sinks.extend(broker.status.sinks().into_iter().map(|mut sink| {
                sink.failing_since = sink.failing_since.map(|since| self.time(&broker, since));
                self.with_queue(OwnClientKind::Sink, Arc::clone(&sink.name), sink)
            }));
        }
        sinks
    }

    fn with_queue<T>(&self, kind: OwnClientKind, name: Arc<str>, figures: T) -> Own<T> {
        Own { queue: self.of(kind, &name), name, figures }
    }

    /// Measures all of them every few seconds, and never ends.
    pub(super) async fn measure(&self) {
        let mut ticks = interval(INTERVAL);
        loop {
            ticks.tick().await;
            let measured = self.measured_now().await;
            *self.measured.lock().unwrap_or_else(PoisonError::into_inner) = measured;
        }
    }

    async fn measured_now(&self) -> HashMap<ClientId, OwnQueue> {
        let mut measured = HashMap::new();
        for broker in self.brokers() {
            broker.measure(&mut measured).await;
        }
        measured
    }
}

impl Broker {
    /// Asks for one after the other. A shard that does not answer ends the round: it is not asked once for each of its Sessions.
    async fn measure(&self, measured: &mut HashMap<ClientId, OwnQueue>) {
        let bridges = self.status.bridges().into_iter().map(|bridge| OwnClientKind::Bridge.client_id(&bridge.name));
        let sinks = self.status.sinks().into_iter().map(|sink| OwnClientKind::Sink.client_id(&sink.name));
        for client_id in bridges.chain(sinks).collect::<Vec<_>>() {
            let Some(shard) = self.shared.shard_of(&client_id) else { continue };
            match self.queries.ask(shard, Query::Client(client_id.clone())).await {
                Ok(Answer::Client(Some(view))) => drop(measured.insert(client_id, OwnQueue::from(*view))),
                Ok(_) => {} // it is on its way to another shard
                Err(_) => break,
            }
        }
    }
}

impl OwnQueue {
    /// How full it is: 1 is one of its limits.
    pub(super) fn used(&self) -> f64 {
        let share = |count: usize, max: usize| count as f64 / max.max(1) as f64;
        share(self.messages, self.messages_max).max(share(self.bytes, self.bytes_max))
    }
}

impl From<ClientView> for OwnQueue {
    fn from(view: ClientView) -> Self {
        Self {
            messages: view.queued_messages,
            bytes: view.queued_bytes,
            messages_max: view.queued_messages_max,
            bytes_max: view.queued_bytes_max,
            dropped: with_queue_full(view.dropped),
        }
    }
}

/// The most important reason has a count from the beginning: Prometheus sees no increase in the first value of a series.
fn with_queue_full(mut dropped: Vec<(DropReason, u32)>) -> Vec<(DropReason, u32)> {
    if !dropped.iter().any(|(reason, _)| *reason == DropReason::QueueFull) {
        dropped.push((DropReason::QueueFull, 0));
    }
    dropped
}

/// As old as a figure of a queue may be.
const INTERVAL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_as_full_as_its_fuller_limit() {
        let queue = |messages, bytes| OwnQueue { messages, bytes, messages_max: 10, bytes_max: 100, dropped: vec![] };
        assert_eq!(
            [queue(0, 0), queue(5, 0), queue(5, 90), queue(10, 1)].map(|queue| queue.used()),
            [0.0, 0.5, 0.9, 1.0]
        );
    }
}
