//! A service in memory, that some nodes can be cut off from, with the weather of a simulation.

mod connection;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(super) use self::connection::Connection;
use super::weather::{Line, Weather};
use crate::cluster::engine::Question;
use crate::cluster::{Found, Reply, Request};

/// The service.
pub(super) struct Service {
    state: Mutex<State>,
    pub(super) line: Line,
    begun: Instant,
    notes: Mutex<Vec<String>>,
}

#[derive(Default)]
pub(super) struct State {
    entries: BTreeMap<u64, Bytes>,
    epochs: BTreeSet<u64>,
    last: u64,
    beats: BTreeMap<String, (u64, Bytes)>,
    places: u64,
    questions: BTreeMap<String, mpsc::Sender<Question>>,
    cut_off: BTreeSet<String>,
    /// Nodes that fetch no copy as a whole.
    broken: BTreeSet<String>,
    /// How many copies were begun at each node.
    begun: BTreeMap<String, u32>,
    /// How many parts of copies were read.
    read: u32,
    moves: u32,
    bytes_max: Option<u64>,
    /// The stream takes no commits and no epochs.
    takes_nothing: bool,
    /// How long the state of the stream is on its way.
    tail_delay: Duration,
    /// The second in which calls are counted, and how many each node has made.
    calls: (u64, BTreeMap<String, u32>),
}

impl Default for Service {
    fn default() -> Self {
        Self::with(Line::default())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            println!("{}", notes.join("\n"));
        }
    }
}

impl Service {
    /// A service with the weather of this seed.
    pub(super) fn with_weather(seed: u64) -> Self {
        Self::with(Line::new(Weather::new(seed)))
    }

    fn with(line: Line) -> Self {
        Self { state: Mutex::default(), line, begun: Instant::now(), notes: Mutex::default() }
    }

    /// Keeps a line of the log for the case that the test fails.
    pub(super) fn note(&self, text: &str) {
        let millis = self.begun.elapsed().as_millis();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(format!("{:>7}.{:03} {text}", millis / 1000, millis % 1000));
    }

    /// The stream takes nothing any more, or again.
    pub(super) fn takes_nothing(&self, takes_nothing: bool) {
        self.state().takes_nothing = takes_nothing;
    }

    /// The state of the stream takes so long to a node.
    pub(super) fn delay_tails(&self, delay: Duration) {
        self.state().tail_delay = delay;
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this node asks is not answered any more, or again.
    pub(super) fn cut_off(&self, node: &str, is_cut_off: bool) {
        let cut_off = &mut self.state().cut_off;
        if is_cut_off {
            cut_off.insert(node.to_owned());
        } else {
            cut_off.remove(node);
        }
    }

    /// Copies of this node end in the middle, or no more.
    pub(super) fn break_copies(&self, node: &str, are_broken: bool) {
        let broken = &mut self.state().broken;
        if are_broken {
            broken.insert(node.to_owned());
        } else {
            broken.remove(node);
        }
    }

    /// How many copies were begun at a node.
    pub(super) fn begun(&self, node: &str) -> u32 {
        self.state().begun.get(node).copied().unwrap_or(0)
    }

    /// How often another replica was asked for.
    pub(super) fn moves(&self) -> u32 {
        self.state().moves
    }

    /// The stream takes no more than so many bytes.
    pub(super) fn bound(&self, bytes: u64) {
        self.state().bytes_max = Some(bytes);
    }

    /// The stream loses its last entries.
    pub(super) fn lose(&self, entries: u64) {
        let state = &mut *self.state();
        state.last -= entries;
        state.entries.split_off(&(state.last + 1));
    }

    /// The stream loses all it has, and the nodes are forgotten.
    pub(super) fn lose_all(&self) {
        let state = &mut *self.state();
        (state.last, state.entries, state.epochs) = (0, BTreeMap::new(), BTreeSet::new());
        state.beats.clear();
    }

    /// The number of the latest beat of a node.
    pub(super) fn beats(&self, node: &str) -> u64 {
        self.said(node, "number")
    }

    /// The position up to which a node has said that its log is on its disk.
    pub(super) fn marked(&self, node: &str) -> u64 {
        self.said(node, "position")
    }

    /// The position below which the stream was trimmed, as a node has said.
    pub(super) fn trimmed(&self) -> u64 {
        let nodes: Vec<String> = self.state().beats.keys().cloned().collect();
        nodes.iter().map(|node| self.said(node, "trimmed")).max().unwrap_or(0)
    }

    fn said(&self, node: &str, field: &str) -> u64 {
        let state = self.state();
        let beat = state.beats.get(node).map(|(_, bytes)| serde_json::from_slice::<serde_json::Value>(bytes).unwrap());
        beat.and_then(|beat| beat[field].as_u64()).unwrap_or(0)
    }

    /// The position of the last entry.
    pub(super) fn last(&self) -> u64 {
        self.state().last
    }

    pub(super) fn bytes(&self) -> u64 {
        self.state().bytes()
    }

    /// Whether it has the entry at this position.
    pub(super) fn has(&self, position: u64) -> bool {
        self.state().entries.contains_key(&position)
    }
}

impl State {
    pub(super) fn is_cut_off(&self, node: &str) -> bool {
        self.cut_off.contains(node)
    }

    fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.len() as u64).sum()
    }

    fn append(&mut self, entry: Bytes, is_epoch: bool) -> Reply {
        if self.takes_nothing || self.bytes_max.is_some_and(|most| self.bytes() + entry.len() as u64 > most) {
            return Reply::Unknown;
        }
        self.last += 1;
        self.entries.insert(self.last, entry);
        if is_epoch {
            self.epochs.insert(self.last);
        }
        Reply::Appended(self.last)
    }

    /// `hidden`: how many of the last entries the replica that is asked does not have yet.
    fn found(&self, after: u64, most: usize, hidden: u64) -> Vec<Found> {
        let has = |(position, _): &(&u64, &Bytes)| **position + hidden <= self.last;
        let behind = self.entries.range(after + 1..).take_while(has).take(most);
        behind.map(|(position, bytes)| Found { position: *position, bytes: bytes.clone() }).collect()
    }

    fn perform(&mut self, request: Request, hidden: u64) -> Reply {
        let latest = self.epochs.last().copied().unwrap_or(0);
        match request {
            Request::Append { expected, entry } if expected == self.last => self.append(entry, false),
            Request::AppendEpoch { expected, entry } if expected == latest => self.append(entry, true),
            Request::Append { .. } | Request::AppendEpoch { .. } => Reply::Refused,
            Request::Read { after } => {
                let entries = self.found(after, 100, hidden);
                Reply::Entries { is_end: entries.len() < 100, entries }
            }
            Request::ReadEpoch => {
                let bytes = self.entries.get(&latest).cloned();
                Reply::Epoch(bytes.map(|bytes| Found { position: latest, bytes }))
            }
        }
    }
}
