use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytestring::ByteString;

use crate::broker::cells::{CellState, CellTerms};
use crate::broker::counters::Counters;
use crate::broker::delayed::quota::{Amount, DelayedQuota};
use crate::broker::directory::Directory;
#[cfg(any(test, feature = "sim"))]
use crate::broker::directory::checked::Checked;
use crate::broker::directory::claim::Holder;
use crate::broker::directory::in_memory::InMemoryDirectory;
use crate::broker::directory::room_waiters::RoomWaiters;
use crate::broker::directory::user_connections::UserConnections;
use crate::broker::persistence::dead_letter::DeadLetterInfo;
use crate::broker::publish::deduplication::Deduplication;
use crate::broker::receipts::registry::Receipts;
use crate::broker::redelivery::kept::KeptDeadLetters;
use crate::broker::retained::order::RetainedOrder;
use crate::broker::retained::source::CurrentRights;
use crate::broker::streams::board::StreamBoard;
use crate::broker::streams::groups::table::Groups;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::table::{StreamTable, TopicStreams};
use crate::codec::ClientId;
use crate::routing::{RetainedLimits, RetainedStore, RouteGenerations, SessionKey, ShardId};
use crate::session::Ticket;
use crate::topic::TopicName;

/// The state that all shards share: the directory, the retained messages, and counters. It is read often and changed
/// rarely.
#[derive(Debug)]
pub struct Shared {
    /// The number of this run, which is the first part of the identities of its messages.
    pub(in crate::broker) run: u64,
    pub(in crate::broker) directory: Arc<dyn Directory>,
    /// By these, the directory invalidates cached routes. Read for every message, and therefore no verb of the directory.
    pub(in crate::broker) route_generations: Arc<RouteGenerations>,
    /// Read when a topic is resolved; the route cache keeps what was found.
    streams: RwLock<Arc<StreamTable>>,
    /// Which messages of the streams can be read.
    pub(in crate::broker) stream_board: StreamBoard,
    /// The groups of subscribers of streams.
    pub(in crate::broker) groups: Groups,
    retained: RwLock<RetainedStore>,
    pub(in crate::broker) retained_order: RetainedOrder,
    /// What the publishers of retained messages may do now; `None`: everything.
    pub(in crate::broker) rights: Option<Arc<dyn CurrentRights>>,
    keys: AtomicU64,
    sessions: AtomicUsize,
    pub(in crate::broker) deduplication: Deduplication,
    pub(in crate::broker) delayed: DelayedQuota,
    pub(in crate::broker) dead_letters: KeptDeadLetters,
    pub(in crate::broker) receipts: Receipts,
    pub(in crate::broker) room_waiters: RoomWaiters,
    pub(in crate::broker) user_connections: UserConnections,
    /// The last stable ticket of each shard.
    stable: Vec<AtomicU64>,
    counters: Mutex<Vec<Counters>>,
    /// Bytes received from and sent to all clients.
    traffic: [AtomicU64; 2],
    /// The number of events of clients that the histories of all shards have noted.
    events: AtomicU64,
    /// The greatest number of clients that were connected at the same time.
    connected_max: AtomicU64,
    process: Mutex<ProcessFigures>,
    /// How this broker calls itself among brokers that bridges connect; not set: it has no bridges.
    bridge_id: OnceLock<ByteString>,
    /// The other cells, if it is one of several.
    pub(in crate::broker) cell: Option<Arc<CellState>>,
}

/// What the shards can't know by themselves about the process they run in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessFigures {
    /// Resident memory in bytes; `None` if the operating system does not report it.
    pub resident_bytes: Option<u64>,
    /// The greatest resident memory since the start, in bytes.
    pub resident_bytes_max: Option<u64>,
    /// Network Connections accepted since the start.
    pub sockets_opened: u64,
}

impl Shared {
    /// The initial state for `shards` shards.
    pub fn new(shards: usize, retained_limits: RetainedLimits) -> Self {
        let route_generations = Arc::new(RouteGenerations::new());
        Self {
            run: 0,
            directory: Arc::new(InMemoryDirectory::new(Arc::clone(&route_generations))),
            route_generations,
            streams: RwLock::default(),
            stream_board: StreamBoard::new(shards),
            groups: Groups::default(),
            retained: RwLock::new(RetainedStore::new(retained_limits)),
            retained_order: RetainedOrder::new(shards),
            rights: None,
            keys: AtomicU64::new(1),
            sessions: AtomicUsize::new(0),
            deduplication: Deduplication::default(),
            delayed: DelayedQuota::default(),
            dead_letters: KeptDeadLetters::default(),
            receipts: Receipts::default(),
            room_waiters: RoomWaiters::default(),
            user_connections: UserConnections::default(),
            stable: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            counters: Mutex::new(vec![Counters::default(); shards]),
            traffic: [AtomicU64::new(0), AtomicU64::new(0)],
            events: AtomicU64::new(0),
            connected_max: AtomicU64::new(0),
            process: Mutex::default(),
            bridge_id: OnceLock::new(),
            cell: None,
        }
    }

    /// Makes the broker one of the cells of a cluster. For a new one, before it is shared.
    pub fn of_cell(self, terms: CellTerms) -> Self {
        let cell = Arc::new(CellState::new(terms, self.stable.len()));
        let directory = InMemoryDirectory::new(Arc::clone(&self.route_generations)).of_cell(Arc::clone(&cell));
        Self { directory: Arc::new(directory), cell: Some(cell), ..self }
    }

    /// Whether the broker knows what all other cells want, so that it can accept clients. That stays so. Without other cells, it is so from the beginning.
    pub fn knows_cells(&self) -> bool {
        self.cell.as_ref().is_none_or(|cell| cell.lacking().next().is_none())
    }

    /// Verifies what the directory guarantees at each use, and panics if it is broken: for tests.
    #[cfg(any(test, feature = "sim"))]
    pub fn with_checked_directory(self) -> Self {
        let directory = Arc::new(Checked::new(self.directory, Arc::clone(&self.route_generations)));
        Self { directory, ..self }
    }

    /// The share of one shard in `total`, rounded up.
    pub(in crate::broker) fn share_of(&self, total: usize) -> usize {
        total.div_ceil(self.stable.len().max(1))
    }

    /// Sets what the publishers of retained messages are judged by, if [`Settings::check_retain_source`](crate::broker::Settings) is set.
    pub fn with_rights(self, rights: Arc<dyn CurrentRights>) -> Self {
        Self { rights: Some(rights), ..self }
    }

    /// Sets the number of this run, which must differ from that of every other run: message identities begin with it.
    pub fn of_run(self, run: u64) -> Self {
        Self { run, ..self }
    }

    /// Replaces the streams. Messages that are accepted from now on enter the streams of this table.
    pub fn set_streams(&self, table: StreamTable) {
        *self.streams.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        self.route_generations.change_all();
        self.route_generations.publish();
    }

    /// The streams that keep the messages of a topic; `None`: there are none.
    pub(in crate::broker) fn streams_of(&self, topic: &TopicName) -> Option<Box<TopicStreams>> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner).matching(topic);
        (!streams.is_empty()).then(|| Box::new(streams))
    }

    /// The streams.
    pub fn streams(&self) -> Arc<StreamTable> {
        Arc::clone(&self.streams.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The messages `range` of a stream can be read from now on. Calls `wake` for each shard that waits for messages that there were not before:
    /// it is to get [`Event::StreamAdvanced`](crate::broker::Event::StreamAdvanced).
    pub fn stream_advanced(&self, stream: StreamNumber, range: Range<u64>, wake: impl FnMut(ShardId)) {
        self.stream_board.advance(stream, range, wake);
    }

    /// Sets how this broker calls itself among brokers that bridges connect. It has no effect if it is set.
    pub fn set_bridge_id(&self, id: ByteString) {
        // A broker has one name.
        let _ = self.bridge_id.set(id);
    }

    /// How this broker calls itself among brokers that bridges connect.
    pub fn bridge_id(&self) -> Option<&ByteString> {
        self.bridge_id.get()
    }

    /// The number of retained messages, and their bytes.
    pub fn retained_len(&self) -> (usize, usize) {
        let retained = self.retained();
        (retained.len(), retained.bytes())
    }

    /// The number of kept dead letters, and their bytes.
    pub fn dead_letters_len(&self) -> (usize, usize) {
        self.dead_letters.len()
    }

    /// The kept dead letter with this number, without its content.
    pub fn dead_letter(&self, number: u64) -> Option<DeadLetterInfo> {
        self.dead_letters.info(number)
    }

    /// Restores the kept dead letters of the previous run.
    pub fn restore_dead_letters(&self, letters: Vec<(u64, DeadLetterInfo)>) {
        self.dead_letters.restore(letters);
    }

    /// The number of delayed messages, and their bytes.
    pub fn delayed_len(&self) -> (usize, usize) {
        let Amount { messages, bytes } = self.delayed.all();
        (messages, bytes)
    }

    /// Changes the limits of retained messages. Those beyond them stay until they are replaced or deleted.
    pub fn set_retained_limits(&self, limits: RetainedLimits) {
        self.retained_mut().set_limits(limits);
    }

    /// The number of subscriptions, and of Shared Subscriptions among them.
    pub fn subscriptions_len(&self) -> (usize, usize) {
        self.directory.subscription_counts()
    }

    /// The sum of the counters of all shards; each shard publishes its counters once a second.
    pub fn counters(&self) -> Counters {
        let shards = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        shards.iter().fold(Counters::default(), |sum, shard| sum + *shard)
    }

    /// Adds bytes received from clients and sent to clients.
    pub fn add_traffic(&self, received: u64, sent: u64) {
        let [all_received, all_sent] = &self.traffic;
        all_received.fetch_add(received, Ordering::Relaxed);
        all_sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Bytes received from and sent to all clients.
    pub(in crate::broker) fn traffic(&self) -> (u64, u64) {
        let [received, sent] = &self.traffic;
        (received.load(Ordering::Relaxed), sent.load(Ordering::Relaxed))
    }

    /// The number of an event of a client. One that caused another one has the lower number, also on another shard.
    pub(in crate::broker) fn next_event(&self) -> u64 {
        self.events.fetch_add(1, Ordering::Relaxed)
    }

    /// Publishes figures of the process, for the `$SYS` topics.
    pub fn publish_process(&self, figures: ProcessFigures) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    /// The figures of the process.
    pub(in crate::broker) fn process(&self) -> ProcessFigures {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Updates the greatest number of connected clients with the current number, and returns it.
    pub(in crate::broker) fn connected_max(&self, connected: u64) -> u64 {
        self.connected_max.fetch_max(connected, Ordering::Relaxed).max(connected)
    }

    /// The last stable ticket of a shard.
    pub(in crate::broker) fn stable(&self, shard: ShardId) -> Ticket {
        Ticket(self.stable.get(usize::from(shard.0)).map_or(0, |stable| stable.load(Ordering::Acquire)))
    }

    pub(in crate::broker) fn set_stable(&self, shard: ShardId, ticket: Ticket) {
        if let Some(stable) = self.stable.get(usize::from(shard.0)) {
            stable.store(ticket.0, Ordering::Release);
        }
    }

    pub(in crate::broker) fn publish_counters(&self, shard: ShardId, counters: Counters) {
        let mut shards: MutexGuard<'_, _> = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = shards.get_mut(usize::from(shard.0)) {
            *place = counters;
        }
    }

    pub(in crate::broker) fn retained(&self) -> RwLockReadGuard<'_, RetainedStore> {
        self.retained.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::broker) fn retained_mut(&self) -> RwLockWriteGuard<'_, RetainedStore> {
        self.retained.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::broker) fn next_key(&self) -> SessionKey {
        SessionKey(self.keys.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes new Sessions get numbers after this one.
    pub(in crate::broker) fn number_sessions_after(&self, session: Option<SessionKey>) {
        self.keys.fetch_max(session.map_or(1, |key| key.0 + 1), Ordering::Relaxed);
    }

    /// The shard that holds a Client Identifier.
    pub fn shard_of(&self, client_id: &ClientId) -> Option<ShardId> {
        self.directory.holder(client_id).map(Holder::shard)
    }

    /// Counts a new Session. Returns `false` if there are `sessions_max` Sessions already.
    pub(in crate::broker) fn admit_session(&self, sessions_max: usize) -> bool {
        let admit = |sessions| (sessions < sessions_max).then_some(sessions + 1);
        self.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit).is_ok()
    }

    /// Counts the end of a Session.
    pub(in crate::broker) fn session_ended(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
