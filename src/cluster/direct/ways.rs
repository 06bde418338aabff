use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::bus::{Arrived, Way};
use super::connection::Outgoing;
use super::identity::NODES_MAX;
use super::introduction::Introduction;

/// The connections that there are, and what is known of the ways to other nodes.
#[derive(Debug, Default)]
pub(super) struct Ways(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// To nodes for which this one begins links, at most [`NODES_MAX`].
    toward: HashMap<String, Toward>,
    /// All connections, by their numbers: one of each direction for each node.
    connections: HashMap<u64, Connection>,
    /// Who waits for the answer of a node.
    asked: HashMap<String, oneshot::Sender<Introduction>>,
    /// The channel for received frames. `None`: [`Bus::frames`](crate::cluster::Bus::frames) was not called, or the service has ended.
    arrived: Option<mpsc::Sender<Arrived>>,
}

#[derive(Debug)]
struct Connection {
    node: String,
    is_own: bool,
    outgoing: mpsc::Sender<Outgoing>,
}

/// What is known of the way to a node.
#[derive(Debug, Clone, Copy)]
enum Toward {
    /// It is being found out since the first time.
    Trying {
        since: Instant,
        is_running: bool,
    },
    Up(u64),
    /// It is tried again then.
    Without {
        until: Instant,
    },
}

impl Ways {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, connections are possible.
    pub(super) fn begin(&self, arrived: mpsc::Sender<Arrived>) {
        self.state().arrived = Some(arrived);
    }

    /// The way to a node, if that is known or has taken too long; and whether the caller is to try to connect now.
    pub(super) fn to(&self, node: &str) -> (Option<Way>, bool) {
        let mut state = self.state();
        if state.arrived.is_none() || (!state.toward.contains_key(node) && state.toward.len() >= NODES_MAX) {
            return (Some(Way::Service), false);
        }
        let now = Instant::now();
        let toward = state.toward.entry(node.to_owned()).or_insert(Toward::Trying { since: now, is_running: false });
        match toward {
            Toward::Up(number) => (Some(Way::Direct(*number)), false),
            Toward::Trying { since, is_running } => {
                let way = (now - *since >= TRYING_MAX).then_some(Way::Service);
                (way, !std::mem::replace(is_running, true))
            }
            Toward::Without { until } => {
                let is_due = now >= *until;
                if is_due {
                    *until = now + RETRY;
                }
                (Some(Way::Service), is_due)
            }
        }
    }

    /// The answer of a node to a question that is sent next.
    pub(super) fn ask(&self, node: &str) -> oneshot::Receiver<Introduction> {
        let (sender, answer) = oneshot::channel();
        // One for each node to which there is a way, or is none.
        self.state().asked.insert(node.to_owned(), sender);
        answer
    }

    /// A node has answered.
    pub(super) fn answer(&self, node: &str, introduction: Introduction) {
        if let Some(asked) = self.state().asked.remove(node) {
            // It took too long.
            let _ = asked.send(introduction);
        }
    }

    /// A node has introduced itself: it may have begun just now.
    pub(super) fn retry(&self, node: &str) {
        if let Some(Toward::Without { until }) = self.state().toward.get_mut(node) {
            *until = Instant::now();
        }
    }

    /// The node has not answered: it may not run. It is asked again at once, and the service is used if that takes too long.
    pub(super) fn is_unanswered(&self, node: &str) {
        let mut state = self.state();
        state.asked.remove(node);
        if let Some(Toward::Trying { is_running, .. }) = state.toward.get_mut(node) {
            *is_running = false;
        }
    }

    /// The node cannot be connected to.
    pub(super) fn is_without(&self, node: &str) {
        let mut state = self.state();
        state.asked.remove(node);
        state.toward.insert(node.to_owned(), Toward::Without { until: Instant::now() + RETRY });
    }

    /// Adds a connection, in place of the one that the same node made before. Returns its number and the channel for its frames. `None`: the bus has ended.
    pub(super) fn add(
        &self,
        node: &str,
        outgoing: mpsc::Sender<Outgoing>,
        is_own: bool,
    ) -> Option<(u64, mpsc::Sender<Arrived>)> {
        let mut state = self.state();
        let arrived = state.arrived.clone()?;
        state.connections.retain(|_, connection| connection.node != node || connection.is_own != is_own);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        state.connections.insert(number, Connection { node: node.to_owned(), is_own, outgoing });
        if is_own {
            state.toward.insert(node.to_owned(), Toward::Up(number));
        }
        Some((number, arrived))
    }

    /// Sends by a connection. `false`: it has ended, or too much waits.
    pub(super) fn send(&self, number: u64, item: Outgoing) -> bool {
        let state = self.state();
        state.connections.get(&number).is_some_and(|connection| connection.outgoing.try_send(item).is_ok())
    }

    /// A connection ends when what was sent is with the kernel.
    pub(super) fn end(&self, number: u64) {
        let mut state = self.state();
        let Some(Connection { node, is_own: true, .. }) = state.connections.remove(&number) else { return };
        if matches!(state.toward.get(&node), Some(Toward::Up(up)) if *up == number) {
            state.toward.remove(&node);
        }
    }

    /// Ends all, and lets no other begin.
    pub(super) fn end_all(&self) {
        *self.state() = State::default();
    }

    /// What tells of each connection that all is with the kernel.
    pub(super) fn flush(&self) -> Vec<oneshot::Receiver<()>> {
        let flush = |connection: &Connection| {
            let (done, is_done) = oneshot::channel();
            connection.outgoing.try_send(Outgoing::Flush(done)).ok().map(|()| is_done)
        };
        self.state().connections.values().filter_map(flush).collect()
    }
}

/// The number of the next connection: no other one of this process has it, also none of a bus before.
static NEXT: AtomicU64 = AtomicU64::new(1);
/// How long links wait for a node that does not answer; it may be one that knows no such connections.
const TRYING_MAX: Duration = Duration::from_secs(2);
/// How long after an attempt that has failed the next one is made.
const RETRY: Duration = Duration::from_secs(5);
