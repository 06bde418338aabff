mod changes;
mod endings;
mod latencies;
mod logins;
mod memory;
mod queries;
mod renewals;
mod restore;
mod tasks;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

pub(in crate::server) use tasks::ClosedConnection;

use crate::auth;
use crate::broker::{
    Action, ConnectionId, Detail, Event, MemoryLevel, Orphan, RecoveredDelayed, RecoveredSession, Shard, Shared,
    VerifiedUser,
};
use crate::codec::{ServerPacket, encode};
use crate::routing::ShardId;
use crate::server::bans::Bans;
use crate::server::clock::{Clock, Reading};
use crate::server::connection::input::ReadBuffers;
use crate::server::connection::outgoing::BufferPool;
use crate::server::connection::publish_encoder::PublishEncoder;
use crate::server::listener::Accepted;
use crate::server::memory::MemoryBudget;
use crate::server::shard::connections::Connections;
use crate::server::shard::flush_queue::FlushQueue;
use crate::server::shard::login::Login;
use crate::server::shard::mailbox::{Detached, Listen, Mail, Mailbox};
use crate::server::shard::outbox::Outbox;
use crate::server::shard::queries::PendingQueries;
use crate::server::shard::samples::{self, Sampler};
use crate::server::shard::tracer::Tracer;
use crate::server::store::handle::StoreHandle;
use crate::server::telemetry::Inbox;
use crate::server::traffic::Traffic;
use crate::timestamp::Timestamp;

/// A shard and everything that performs its actions. The tasks of its thread borrow it one at a time; one borrow is a *turn*, from
/// [`begin_turn`](Self::begin_turn) to [`end_turn`](Self::end_turn).
#[derive(Debug)]
pub(in crate::server) struct Driver {
    id: ShardId,
    clock: Clock,
    write_timeout: Duration,
    shard: Shard,
    actions: Vec<Action>,
    /// Results of authentication requests that were answered at once.
    answers: VecDeque<Event>,
    store: StoreHandle,
    authentication: Arc<auth::Pool>,
    /// The connections whose authentication waits. Removing one cancels its request.
    logins: HashMap<ConnectionId, Login>,
    /// The connections of the broker's own clients, and who they are.
    own: HashMap<ConnectionId, Arc<VerifiedUser>>,
    bans: Arc<Bans>,
    mailboxes: Arc<[Mailbox]>,
    outbox: Outbox,
    tracer: Tracer,
    /// Takes the messages of which traces are made.
    traces: Arc<Inbox>,
    encoder: PublishEncoder,
    pool: BufferPool,
    pub(in crate::server) read_buffers: ReadBuffers,
    pub(in crate::server) connections: Connections,
    traffic: Traffic,
    shared: Arc<Shared>,
    /// Received and sent bytes that were added to the totals in `shared`.
    published_bytes: (u64, u64),
    /// The time of the current turn.
    reading: Reading,
    /// The connection whose task has the current turn.
    current: Option<ConnectionId>,
    /// Whether the current turn queued output for other connections.
    sent_to_others: bool,
    /// How many of them it woke.
    receivers_woken: u32,
    /// The packets that were queued for any connection since the start.
    packets_queued: u64,
    /// Further receivers of a turn with more than [`RECEIVERS_WOKEN_MAX`].
    flush_queue: FlushQueue,
    /// Connections whose transport didn't accept all their output; checked once a second for the write timeout.
    backlogged: Vec<ConnectionId>,
    /// Connections whose clients must be judged again after a reload.
    renewals: Vec<ConnectionId>,
    /// The first slot of the Sessions without connection whose access rights must be looked up again.
    renewed_slots: Option<usize>,
    /// The connections of removed listeners, and whether a task ends them.
    endings: (Vec<ConnectionId>, bool),
    /// Connections paused at the last sweep or since.
    paused: Vec<ConnectionId>,
    sampler: Sampler,
    queries: PendingQueries,
    timer: Timer,
    memory: Arc<MemoryBudget>,
    /// The level that the shard knows.
    memory_level: MemoryLevel,
    /// When [`moved`](Self::moved) has this value, the memory is measured.
    measured_at: u64,
    /// The number of calls of [`sweep`](Self::sweep).
    sweeps: u32,
    /// The number of connection tasks that have not ended.
    tasks: usize,
    shutting_down: bool,
    /// Whether the thread is to end, whatever is left.
    ended: bool,
    /// Gets a message after the turn that has disconnected all clients.
    detached: Option<Detached>,
}

/// What a message from another thread starts tasks for.
#[derive(Debug)]
pub(in crate::server) enum Start {
    Connection(Accepted),
    Listeners(Box<Listen>),
}

/// The timer task: when it runs next, and its waker.
#[derive(Debug, Default)]
struct Timer {
    armed: Option<Timestamp>,
    waker: Option<Waker>,
}

/// The arguments of [`Driver::new`].
#[derive(Debug)]
pub(in crate::server) struct Parts {
    /// The number of the shard.
    pub(in crate::server) id: ShardId,
    pub(in crate::server) shard: Shard,
    pub(in crate::server) clock: Clock,
    /// How long a transport may accept no bytes before its connection is closed.
    pub(in crate::server) write_timeout: Duration,
    pub(in crate::server) authentication: Arc<auth::Pool>,
    /// The banned addresses and users.
    pub(in crate::server) bans: Arc<Bans>,
    /// The mailboxes of all shards, by shard number.
    pub(in crate::server) mailboxes: Arc<[Mailbox]>,
    /// The state that all shards share.
    pub(in crate::server) shared: Arc<Shared>,
    /// The budget of memory.
    pub(in crate::server) memory: Arc<MemoryBudget>,
    pub(in crate::server) store: StoreHandle,
    /// Takes the messages of which traces are made.
    pub(in crate::server) traces: Arc<Inbox>,
    /// Sessions recovered from the store.
    #[expect(clippy::vec_box, reason = "each is given back when it is restored")]
    pub(in crate::server) restored: Vec<Box<RecoveredSession>>,
    /// The details that the log wants.
    pub(in crate::server) detail: Detail,
    /// Sessions that don't exist but have records in the store; the shard deletes these records.
    pub(in crate::server) orphans: Vec<Orphan>,
    /// Delayed messages recovered from the store.
    pub(in crate::server) delayed: Vec<RecoveredDelayed>,
}

impl Driver {
    pub(in crate::server) fn new(parts: Parts) -> Self {
        let spare_max = parts.memory.spare_max(parts.mailboxes.len());
        let mut driver = Self {
            id: parts.id,
            clock: parts.clock,
            write_timeout: parts.write_timeout,
            shard: parts.shard,
            actions: Vec::new(),
            answers: VecDeque::new(),
            store: parts.store,
            authentication: parts.authentication,
            logins: HashMap::new(),
            own: HashMap::new(),
            bans: parts.bans,
            outbox: Outbox::new(parts.id, Arc::clone(&parts.mailboxes)),
            mailboxes: parts.mailboxes,
            tracer: Tracer::default(),
            traces: parts.traces,
            encoder: PublishEncoder::default(),
            pool: BufferPool::default(),
            read_buffers: ReadBuffers::new(spare_max),
            connections: Connections::default(),
            traffic: Traffic::default(),
            shared: parts.shared,
            published_bytes: (0, 0),
            reading: parts.clock.read(),
            current: None,
            sent_to_others: false,
            receivers_woken: 0,
            packets_queued: 0,
            flush_queue: FlushQueue::default(),
            backlogged: Vec::new(),
            renewals: Vec::new(),
            renewed_slots: None,
            endings: (Vec::new(), false),
            paused: Vec::new(),
            sampler: Sampler::default(),
            queries: PendingQueries::default(),
            timer: Timer::default(),
            memory: parts.memory,
            memory_level: MemoryLevel::Normal,
            measured_at: 0,
            sweeps: 0,
            tasks: 0,
            shutting_down: false,
            ended: false,
            detached: None,
        };
        driver.renewed_slots = (!parts.restored.is_empty()).then_some(0);
        driver.restore(parts.restored, parts.orphans);
        driver.shard.restore_delayed(parts.delayed);
        driver.set_detail(parts.detail);
        driver
    }

    /// Reads the clock for the turn, and passes changes of the store's state to the shard.
    pub(in crate::server) fn begin_turn(&mut self) {
        self.sent_to_others = false;
        self.receivers_woken = 0;
        let before = std::mem::replace(&mut self.reading, self.clock.read());
        if self.reading.now.since(before.now) > STALL_MIN {
            self.on_stall();
        }
        self.watch_memory();
        if let Some(room) = self.store.take_room() {
            self.handle(Event::StoreRoom(room));
        }
        if let Some(congested) = self.store.take_congestion() {
            self.handle(Event::StoreCongestion(congested));
        }
    }

    /// Begins the turn of a connection's task, which writes its own output and so needs no wake-up for it.
    pub(in crate::server) fn begin_turn_of(&mut self, id: ConnectionId, waker: &Waker) {
        self.begin_turn();
        self.current = Some(id);
        if let Some(entry) = self.connections.get_mut(id) {
            entry.woken = false;
            entry.waker.get_or_insert_with(|| waker.clone());
        }
    }

    /// Passes the turn's records to the store and its messages to other shards, and wakes the timer task if its deadline is now earlier.
    pub(in crate::server) fn end_turn(&mut self) {
        self.current = None;
        self.encoder.clear();
        loop {
            self.store.end_turn();
            let full = self.outbox.deliver();
            if full.is_empty() {
                break;
            }
            for shard in full {
                self.handle(Event::ShardCongestion { shard, congested: true });
            }
        }
        let deadline = self.shard.deadline();
        if let Some(deadline) = deadline
            && self.timer.armed.is_none_or(|armed| deadline < armed)
            && let Some(waker) = &self.timer.waker
        {
            waker.wake_by_ref();
        }
        if self.sampler.wants_turn() {
            self.measure_turn();
        }
    }

    /// Applies an event, and the events that follow from its actions at once.
    #[inline(always)]
    pub(in crate::server) fn handle(&mut self, event: Event) {
        self.apply(event);
        if self.store.has_stable() || !self.answers.is_empty() {
            self.apply_answers();
        }
    }

    /// Applies the available results of the store and of authentication.
    fn apply_answers(&mut self) {
        while let Some(answer) = self.store.take_stable().map(Event::Persisted).or_else(|| self.answers.pop_front()) {
            self.apply(answer);
        }
    }

    /// Handles mail. Returns what the caller starts tasks for; nothing during shutdown.
    pub(in crate::server) fn on_mail(&mut self, mail: Mail) -> Option<Start> {
        match mail {
            Mail::Accepted(accepted) => return Some(Start::Connection(*accepted)).filter(|_| !self.shutting_down),
            Mail::Listen(listen) => return Some(Start::Listeners(listen)).filter(|_| !self.shutting_down),
            Mail::Forwarded(message) => self.handle(Event::Forwarded(message)),
            Mail::Authenticated { connection, answer } => self.on_authenticated(connection, *answer),
            Mail::DelayOver(connection) => self.on_delay_over(connection),
            Mail::Persisted(ticket) => self.handle(Event::Persisted(ticket)),
            Mail::Fetched(fetched) => self.handle(Event::Fetched(fetched)),
            Mail::StreamRead(chunk) => self.handle(Event::StreamRead(chunk)),
            Mail::StreamAdvanced(stream) => self.handle(Event::StreamAdvanced(stream)),
            Mail::DelayedRead(batch) => self.on_delayed_read(batch),
            Mail::AccessReloaded => self.renew_access(),
            Mail::LogReloaded(detail) => self.set_detail(*detail),
            Mail::TracesChanged(change) => self.set_traces(*change),
            Mail::SettingsReloaded(settings) => self.set_settings(*settings),
            Mail::ListenersRemoved(names) => self.end_listeners(&names),
            Mail::Query(request) => self.on_query(*request),
            Mail::ShuttingDown(farewell, detached) => {
                self.detached = detached;
                self.shutting_down = true;
                self.handle(farewell.map_or(Event::ShuttingDown, Event::Farewell));
            }
            Mail::End => self.ended = true,
        }
        None
    }

    #[inline(always)]
    fn apply(&mut self, event: Event) {
        let mut actions = std::mem::take(&mut self.actions);
        self.shard.handle(self.reading.now, event, &mut actions);
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.actions = actions;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Send { connection, packet } => self.send(connection, packet),
            Action::Close { connection } => self.update_and_wake(connection, |entry| entry.closing = true),
            Action::Reset { connection } => self.update_and_wake(connection, |entry| entry.resetting = true),
            Action::Pause { connection } => self.pause(connection),
            Action::Resume { connection } => self.update_and_wake(connection, |entry| entry.paused = false),
            Action::Authenticate { connection, request } => self.authenticate(connection, *request),
            Action::Persist { ticket, record } => self.store.persist(ticket, &record),
            Action::PersistTogether { ticket, durability, records } => {
                self.store.persist_together(ticket, durability, &records);
            }
            Action::Fetch(fetch) => self.store.fetch(*fetch, &self.mailboxes),
            Action::ReadStream(request) => self.store.read_stream(*request, &self.mailboxes),
            Action::Hurry => self.store.hurry(),
            Action::PrepareDelayed(batch) => self.store.read_delayed(batch, &self.mailboxes),
            Action::Forward { shard, message } => self.outbox.add(shard, message),
            Action::Answer(id, answer) => self.on_answer(id, *answer),
            Action::Sampled(message) => self.traces.put(*message),
            Action::Report(report) => {
                self.note_end(&report);
                self.write_report(&report);
            }
        }
    }

    /// Encodes a packet into the output buffer of its connection.
    fn send(&mut self, connection: ConnectionId, packet: ServerPacket) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        if entry.outgoing.is_empty() {
            entry.progress = self.reading.now;
        }
        let sample = samples::completed_by(&packet, &mut entry.samples, entry.opened);
        let (label, before, now) = (|| self.shard.label(connection), entry.outgoing.len(), self.reading.now);
        let traced =
            if self.tracer.is_on() { self.tracer.before_sent(connection, label, (&packet, before), now) } else { None };
        if let ServerPacket::Publish(publish) = packet {
            self.encoder.append(publish, entry.version, &mut entry.outgoing, &mut self.pool);
        } else {
            encode(&packet, entry.version, entry.outgoing.tail(&mut self.pool));
        }
        if let Some(traced) = traced {
            self.tracer.sent(connection, traced, entry.outgoing.len(), now);
        }
        if let Some(sample) = sample {
            entry.measure(sample);
        }
        self.packets_queued += 1;
        if self.current != Some(connection) {
            self.sent_to_others = true;
            let woken_max = if self.flush_queue.is_empty() { RECEIVERS_WOKEN_MAX } else { RECEIVERS_WOKEN_MIN };
            if self.receivers_woken < woken_max {
                self.receivers_woken += u32::from(entry.wake());
            } else if !entry.woken && !std::mem::replace(&mut entry.in_flush_queue, true) {
                self.flush_queue.push(connection);
            }
        }
    }

    /// Whether the current turn queued output for other connections.
    pub(in crate::server) const fn has_sent_to_others(&self) -> bool {
        self.sent_to_others
    }
}

/// A turn wakes its first receivers at once. If there are more, those write in slices: see [`FlushQueue`].
const RECEIVERS_WOKEN_MAX: u32 = 32;
/// The same while receivers of other turns or earlier ones write in slices.
const RECEIVERS_WOKEN_MIN: u32 = 2;
/// A shard has a turn at least once a second while it runs. After a longer time without one, it did not run.
const STALL_MIN: Duration = Duration::from_secs(5);
