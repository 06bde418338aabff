//! A broker and its clients, controlled step by step by the test.

use std::collections::VecDeque;
use std::sync::Arc;

use oncemq::broker::{
    Action, Answer, AuthenticationOutcome, ConnectionId, DelayedBatch, Event, Fetch, GroupDispatch, Peer, Recovered,
    Settings, Shard, ShardMessage, Shared, Stream, StreamNumber, StreamRequest, StreamTable, Ticket, TrimmedOffset,
    VerifiedUser,
};
use oncemq::codec::{ClientPacket, Connect, ServerPacket};
use oncemq::routing::{Access, RetainedLimits, ShardId};
use oncemq::store::Level;
use oncemq::store::sim::Loss;
use oncemq::timestamp::Timestamp;
use oncemq::topic::TopicFilter;

use crate::client::Client;
use crate::ledger::Ledger;
use crate::log::{Committed, Log};
use crate::replicas::Survivor;
use crate::settings::settings;

/// Shards, the store, and clients that follow the standard. A queue has all pending steps, so a run is deterministic.
pub(crate) struct Lab {
    pub(crate) now: u64,
    settings: Arc<Settings>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) log: Log,
    queue: VecDeque<Step>,
    pub(crate) clients: Vec<Client>,
    pub(crate) ledger: Ledger,
    /// The rules that each CONNECT is granted, and that apply to restored Sessions.
    pub(crate) access: Access,
    /// Whether the store commits automatically.
    commits: bool,
    committing: bool,
    /// Whether a majority reports what it has, if the log is replicated.
    acknowledges: bool,
    /// The number of executed steps, and the step before which a crash occurs.
    pub(crate) steps: u64,
    pub(crate) crash_at: Option<(u64, Crash)>,
    /// The number of crashes.
    epoch: u32,
    /// The events of the run, if they are recorded.
    pub(crate) trace: Option<Vec<String>>,
    streams: StreamTable,
    pub(crate) shared: Arc<Shared>,
    /// The answers to queries.
    pub(crate) answers: Vec<Answer>,
    /// A shard whose thread does not go on behind [`Shard::handle`], and the actions that it will perform.
    pub(crate) late: Option<usize>,
    held: Vec<Action>,
}

/// A pending step.
enum Step {
    /// A packet arrives at the broker.
    Up(ConnectionId, ClientPacket),
    /// A packet arrives at the client.
    Down(ConnectionId, ServerPacket),
    /// The client notices the end of its connection.
    Ended(ConnectionId),
    Granted(ConnectionId),
    Commit,
    /// A majority has what was committed.
    Replicated,
    /// What is stable is written to the stream.
    Keep,
    Persisted(usize, Ticket),
    Forwarded(usize, ShardMessage),
    Fetch(usize, Box<Fetch>),
    Prepare(usize, Box<DelayedBatch>),
    ReadStream(usize, Box<StreamRequest>),
    /// The stream has further messages.
    Advanced(usize),
}

/// How the broker crashes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crash {
    pub(crate) loss: Loss,
    pub(crate) committed: Committed,
    pub(crate) wire: Wire,
    /// Determines which unsynced writes are lost.
    pub(crate) seed: u64,
}

/// Whether packets in transit from the broker are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Lost,
    Delivered,
}

impl Lab {
    pub(crate) fn new(shards: usize, level: Level) -> Self {
        Self::with(shards, Log::new(level))
    }

    /// A broker that owns a replicated log.
    pub(crate) fn replicated(shards: usize, survivor: Survivor) -> Self {
        Self::with(shards, Log::replicated(survivor))
    }

    fn with(shards: usize, log: Log) -> Self {
        let settings = Arc::new(Settings { is_replicated: log.is_replicated(), ..settings() });
        let shared = new_shared(shards);
        Self {
            now: 1_000_000,
            shards: new_shards(shards, &settings, &shared),
            shared,
            answers: Vec::new(),
            late: None,
            held: Vec::new(),
            settings,
            log,
            queue: VecDeque::new(),
            clients: Vec::new(),
            ledger: Ledger::default(),
            access: Access::everything(),
            commits: true,
            committing: false,
            acknowledges: true,
            steps: 0,
            crash_at: None,
            epoch: 0,
            trace: None,
            streams: StreamTable::default(),
        }
    }

    /// Makes a stream of the messages of a topic. Its groups keep the order of each topic.
    pub(crate) fn keep_stream(&mut self, topic: &'static str) {
        let (number, topic) = (STREAM, TopicFilter::new(topic.into()).unwrap());
        let trimmed_offset = TrimmedOffset::default();
        self.streams = StreamTable::new([Stream {
            number,
            name: "kept".into(),
            topic,
            is_open: true,
            trimmed_offset,
            group_dispatch: GroupDispatch::HashTopic,
        }]);
        self.log.open_stream();
        let shared = new_shared(self.shards.len());
        shared.set_streams(self.streams.clone());
        self.shards = new_shards(self.shards.len(), &self.settings, &shared);
        self.shared = shared;
    }

    /// The names of the groups of subscribers of that stream, and how many messages they have not acknowledged.
    pub(crate) fn groups(&self) -> Vec<(String, u64)> {
        self.shared.groups_of(STREAM).iter().map(|group| (group.name.to_string(), group.lag)).collect()
    }

    pub(crate) fn fail(&self, text: &str) -> ! {
        panic!("{text}\n{}", self.trace.iter().flatten().map(String::as_str).collect::<Vec<_>>().join("\n"));
    }

    fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = line(self);
            self.trace.get_or_insert_default().push(line);
        }
    }

    /// From now on the store reports nothing. If the log is replicated: this disk has all, and a majority reports nothing.
    pub(crate) fn freeze(&mut self) {
        if self.log.is_replicated() {
            self.acknowledges = false;
            return self.queue.retain(|step| !matches!(step, Step::Replicated));
        }
        self.commits = false;
        self.committing = false;
        self.queue.retain(|step| !matches!(step, Step::Commit));
    }

    /// The commit of a frozen store comes as far as this, and no shard learns of it before the crash. What writes to the stream goes on.
    pub(crate) fn stall(&mut self, committed: Committed) {
        self.log.stall(committed);
        self.queue.push_back(Step::Keep);
    }

    /// The store continues.
    pub(crate) fn thaw(&mut self) {
        self.commits = true;
        if self.log.is_replicated() && !std::mem::replace(&mut self.acknowledges, true) {
            self.queue.push_back(Step::Replicated);
        }
        if self.log.gathered > 0 {
            self.commit_soon();
        }
    }

    /// Runs until no step is pending.
    pub(crate) fn run(&mut self) {
        while self.step() {}
    }

    /// Runs until the next step is the arrival of such a packet at this client.
    pub(crate) fn run_to(&mut self, client: usize, wanted: fn(&ServerPacket) -> bool) {
        let is_next = |step: Option<&Step>| match step {
            Some(Step::Down(id, packet)) => usize::try_from(id.slot) == Ok(client) && wanted(packet),
            _ => false,
        };
        while !is_next(self.queue.front()) {
            if !self.step() {
                self.fail("the packet did not arrive");
            }
        }
    }

    /// Lets this many seconds pass, without running the steps that they cause.
    pub(crate) fn advance(&mut self, seconds: u64) {
        self.advance_millis(seconds * 1_000);
    }

    pub(crate) fn advance_millis(&mut self, millis: u64) {
        self.now += millis;
        self.look_at_deadlines();
    }

    /// Runs all steps of this many seconds.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.advance(seconds);
        self.run();
    }

    /// Counts a step, and crashes if it is the chosen one. Returns whether it crashed.
    fn tick(&mut self) -> bool {
        self.steps += 1;
        match self.crash_at.take_if(|(at, _)| *at == self.steps) {
            None => false,
            Some((_, crash)) => {
                self.crash(crash);
                true
            }
        }
    }

    fn step(&mut self) -> bool {
        if self.tick() {
            return true;
        }
        let Some(step) = self.queue.pop_front() else { return false };
        match step {
            Step::Up(id, packet) => self.on_up(id, packet),
            Step::Down(id, packet) => self.on_down(id, packet),
            Step::Ended(id) => self.client_mut(id).map(Client::disconnected),
            Step::Granted(connection) => {
                let access = Arc::new(self.access.clone());
                let client = &self.clients[usize::try_from(connection.slot).unwrap()];
                let verified = |name: &str| VerifiedUser { provider: "password".into(), name: name.into() };
                let (user, verified_user, authentication_data) = (None, client.user.map(verified), None);
                let outcome = AuthenticationOutcome::Granted {
                    access,
                    user,
                    verified_user,
                    expires_at: None,
                    authentication_data,
                };
                self.handle(self.shard_of(connection), Event::Authenticated { connection, outcome })
            }
            Step::Commit => self.on_commit(),
            Step::Replicated => self.on_replicated(),
            Step::Keep => self.on_keep(),
            Step::Persisted(shard, ticket) => self.handle(shard, Event::Persisted(ticket)),
            Step::Forwarded(shard, message) => self.handle(shard, Event::Forwarded(message)),
            Step::Prepare(shard, mut batch) => {
                self.log.read_delayed(&mut batch);
                batch.grant(|_, _, _| Arc::new(self.access.clone()));
                self.handle(shard, Event::DelayedPrepared(batch))
            }
            Step::ReadStream(shard, request) => {
                let chunk = Box::new(self.log.read_stream(*request));
                self.handle(shard, Event::StreamRead(chunk))
            }
            Step::Advanced(shard) => self.handle(shard, Event::StreamAdvanced(STREAM)),
            Step::Fetch(shard, fetch) => {
                let fetched = Box::new(self.log.read(*fetch));
                self.handle(shard, Event::Fetched(fetched))
            }
        };
        true
    }

    fn on_up(&mut self, connection: ConnectionId, packet: ClientPacket) -> Option<()> {
        let client = self.client_mut(connection)?;
        if client.paused {
            client.unread.push_back(packet);
            return None;
        }
        self.note(|lab| format!("{} -> {packet:?}", lab.name(connection)));
        self.handle(self.shard_of(connection), Event::Packet { connection, packet })
    }

    fn on_down(&mut self, connection: ConnectionId, packet: ServerPacket) -> Option<()> {
        self.client_mut(connection)?;
        self.note(|lab| format!("{} <- {packet:?}", lab.name(connection)));
        self.receive(usize::try_from(connection.slot).unwrap(), packet);
        Some(())
    }

    fn on_commit(&mut self) -> Option<()> {
        self.committing = false;
        self.note(|_| "commit".to_owned());
        let stable = self.log.commit();
        self.report(stable);
        if self.log.is_replicated() && self.acknowledges {
            self.queue.push_back(Step::Replicated);
        }
        if self.log.stream_range().is_some() {
            self.queue.push_back(Step::Keep);
        }
        Some(())
    }

    fn on_keep(&mut self) -> Option<()> {
        self.log.write_streams();
        if let Some(range) = self.log.stream_range() {
            let queue = &mut self.queue;
            self.shared.stream_advanced(STREAM, range, |shard| queue.push_back(Step::Advanced(usize::from(shard.0))));
        }
        Some(())
    }

    fn on_replicated(&mut self) -> Option<()> {
        let stable = self.log.replicate();
        self.report(stable);
        if self.log.gathered > 0 {
            self.commit_soon();
        }
        Some(())
    }

    fn report(&mut self, stable: Vec<(usize, u64)>) {
        self.queue.extend(stable.into_iter().map(|(shard, ticket)| Step::Persisted(shard, Ticket(ticket))));
    }

    fn commit_soon(&mut self) {
        if self.commits && !std::mem::replace(&mut self.committing, true) {
            self.queue.push_back(Step::Commit);
        }
    }

    /// Passes an event to a shard and performs its actions in order. Returns `None` after a crash.
    pub(crate) fn handle(&mut self, shard: usize, event: Event) -> Option<()> {
        let mut actions = Vec::new();
        self.shards[shard].handle(Timestamp(self.now), event, &mut actions);
        if self.late == Some(shard) {
            self.held.append(&mut actions);
        }
        self.perform_all(shard, actions)
    }

    fn perform_all(&mut self, shard: usize, actions: Vec<Action>) -> Option<()> {
        let epoch = self.epoch;
        for action in actions {
            self.perform(shard, action);
            if self.epoch != epoch {
                return None;
            }
        }
        Some(())
    }

    fn perform(&mut self, shard: usize, action: Action) {
        match action {
            Action::Send { connection, packet } => self.queue.push_back(Step::Down(connection, packet)),
            Action::Close { connection } | Action::Reset { connection } => {
                self.queue.push_back(Step::Ended(connection))
            }
            Action::Pause { connection } => self.client_mut(connection).unwrap().paused = true,
            Action::Resume { connection } => {
                let client = self.client_mut(connection).unwrap();
                client.paused = false;
                let unread = std::mem::take(&mut client.unread);
                self.queue.extend(unread.into_iter().map(|packet| Step::Up(connection, packet)));
            }
            Action::Authenticate { connection, .. } => self.queue.push_back(Step::Granted(connection)),
            Action::Persist { ticket, record } => {
                self.note(|_| format!("    record {} {record:?}", ticket.0));
                self.log.append(shard, ticket, &record);
                self.commit_soon();
                self.tick();
            }
            Action::PersistTogether { ticket, records, .. } => {
                self.note(|_| format!("    records {} {records:?}", ticket.0));
                self.log.append_together(shard, ticket, &records);
                self.commit_soon();
                self.tick();
            }
            Action::Forward { shard, message } => {
                self.queue.push_back(Step::Forwarded(usize::from(shard.0), message));
            }
            Action::Fetch(fetch) => self.queue.push_back(Step::Fetch(shard, fetch)),
            Action::ReadStream(request) => self.queue.push_back(Step::ReadStream(shard, request)),
            Action::PrepareDelayed(batch) => self.queue.push_back(Step::Prepare(shard, batch)),
            Action::Answer(_, answer) => self.answers.push(*answer),
            Action::Report(_) | Action::Sampled(_) | Action::Hurry => {}
        }
    }

    /// Opens a connection and sends CONNECT. By default, each client uses the shard of its number.
    pub(crate) fn open(&mut self, client: usize, connect: Connect) {
        let connection = self.clients[client].next_connection();
        self.note(|lab| format!("{} connects", lab.name(connection)));
        let peer = Box::new(Peer {
            address: None,
            is_local: true,
            listener: "tcp".into(),
            certificate_identity: None,
            client_ids: Default::default(),
            maximum_packet_size: 100_000,
            link: None,
        });
        let opened = self.handle(self.shard_of(connection), Event::Opened { connection, peer });
        if opened.is_some() {
            self.send(client, ClientPacket::Connect(Box::new(connect)));
        }
    }

    /// Breaks a client's connection.
    pub(crate) fn lose(&mut self, client: usize) {
        let Some(connection) = self.clients[client].connection() else { return };
        self.note(|lab| format!("{} is lost", lab.name(connection)));
        self.clients[client].disconnected();
        let cause = "connection reset".into();
        self.handle(self.shard_of(connection), Event::Closed { connection, cause });
    }

    pub(crate) fn send(&mut self, client: usize, packet: ClientPacket) {
        if let Some(connection) = self.clients[client].connection() {
            self.queue.push_back(Step::Up(connection, packet));
        }
    }

    /// Crashes and restarts the broker. Connected clients reconnect automatically.
    pub(crate) fn crash(&mut self, crash: Crash) {
        self.note(|_| format!("{crash:?}"));
        self.epoch += 1;
        self.crash_at = None;
        let queue = std::mem::take(&mut self.queue);
        if crash.wire == Wire::Delivered {
            for step in queue {
                if let Step::Down(id, packet) = step {
                    self.on_down(id, packet);
                }
            }
        }
        self.queue.clear();
        (self.late, self.held) = (None, Vec::new());
        let back: Vec<_> =
            (0..self.clients.len()).filter(|client| self.clients[*client].connection().is_some()).collect();
        for client in &mut self.clients {
            client.disconnected();
        }
        let recovered = self.log.crash(crash.committed, crash.loss, crash.seed);
        self.note(|_| format!("restarts with {recovered:?}"));
        (self.commits, self.committing, self.acknowledges) = (true, false, true);
        self.restart(recovered);
        for client in back {
            self.connect(client);
        }
    }

    /// Starts the shards as the server does.
    fn restart(&mut self, recovered: Recovered) {
        let shards = self.shards.len();
        let shared = new_shared(shards);
        let Recovered {
            sessions,
            retained,
            retained_cleared,
            retained_gone,
            orphans,
            deduplicated,
            delayed,
            dead_letters,
            receipts,
            groups,
            ..
        } = recovered;
        shared.restore_deduplication(&deduplicated);
        let keys = sessions.iter().map(|session| session.key).chain(delayed.iter().map(|delayed| delayed.session));
        let too_many = shared.restore(Timestamp(self.now), (retained, retained_cleared), retained_gone, keys);
        assert!(too_many.is_empty());
        shared.set_streams(self.streams.clone());
        if let Some(range) = self.log.stream_range() {
            shared.stream_advanced(STREAM, range, |_| ());
        }
        shared.restore_groups(groups);
        shared.restore_dead_letters(dead_letters);
        shared.restore_receipts(receipts);
        self.shards = new_shards(shards, &self.settings, &shared);
        self.shared = shared;
        for (number, session) in sessions.into_iter().enumerate() {
            let (shard, mut actions) = (number % shards, Vec::new());
            let access = Arc::new(self.access.clone());
            self.shards[shard].restore(Timestamp(self.now), *session, access, &mut actions);
            self.perform_all(shard, actions);
        }
        for (number, delayed) in delayed.into_iter().enumerate() {
            self.shards[number % shards].restore_delayed(vec![delayed]);
        }
        let mut actions = Vec::new();
        self.shards[0].end_orphans(orphans, &mut actions);
        self.perform_all(0, actions);
        self.look_at_deadlines();
    }

    fn look_at_deadlines(&mut self) {
        for shard in 0..self.shards.len() {
            while self.shards[shard].deadline().is_some_and(|at| at.0 <= self.now) {
                self.handle(shard, Event::DeadlinePassed);
            }
        }
    }

    pub(crate) fn shard_of(&self, connection: ConnectionId) -> usize {
        let client = usize::try_from(connection.slot).unwrap();
        (client + self.clients[client].moves) % self.shards.len()
    }

    /// The client of a connection.
    fn client_mut(&mut self, connection: ConnectionId) -> Option<&mut Client> {
        let client = &mut self.clients[usize::try_from(connection.slot).unwrap()];
        (client.connection() == Some(connection)).then_some(client)
    }

    fn name(&self, connection: ConnectionId) -> String {
        self.clients[usize::try_from(connection.slot).unwrap()].name.to_owned()
    }
}

/// The stream, if there is one.
const STREAM: StreamNumber = StreamNumber(1);

pub(crate) fn new_shared(shards: usize) -> Arc<Shared> {
    let limits = RetainedLimits { retained_messages_max: 100, retained_bytes_max: 100_000 };
    Arc::new(Shared::new(shards, limits).with_checked_directory())
}

fn new_shards(count: usize, settings: &Arc<Settings>, shared: &Arc<Shared>) -> Vec<Shard> {
    let shard = |number| {
        let id = ShardId(u16::try_from(number).unwrap());
        Shard::new(id, Arc::clone(settings), Arc::clone(shared), [7; 32])
    };
    (0..count).map(shard).collect()
}
