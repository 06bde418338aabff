use std::collections::BTreeMap;
use std::sync::Arc;

use oncemq::broker::{
    Event, Fetch, Fetched, Settings, Shard, ShardMessage, Shared, StreamChunk, StreamNumber, StreamRequest, Ticket,
};
use oncemq::store::sim::SimDisk;

use crate::checker::Checker;
use crate::client::Client;
use crate::clocks::Clocks;
use crate::connection::Connection;
use crate::consumers::{Consumer, Role, consumers};
use crate::crash::{new_shard, new_shared};
use crate::log::Log;
use crate::mix::Mix;
use crate::network::Chunk;
use crate::operator::Operator;
use crate::profile::Profile;
use crate::reader::readers;
use crate::rng::Rng;
use crate::trace::{Trace, Tracing};

/// A broker, its clients, and all scheduled steps.
pub(crate) struct World {
    pub(crate) mix: Mix,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    pub(crate) clocks: Clocks,
    pub(crate) phase: Phase,
    /// When the settling phase began.
    pub(crate) settling_since: u64,
    pub(crate) steps: BTreeMap<(u64, u64), Step>,
    /// The number of scheduled steps so far.
    numbered: u64,
    pub(crate) settings: Arc<Settings>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) shards: Vec<ShardSide>,
    /// The number of strangers so far.
    pub(crate) strangers: u32,
    pub(crate) log: Log,
    /// A commit is in progress or scheduled.
    pub(crate) syncing: bool,
    /// The disk for the next start, while the broker is down.
    pub(crate) restarting: Option<SimDisk>,
    /// Decides crashes, so that a run without crashes is otherwise identical.
    pub(crate) crash_rng: Rng,
    pub(crate) connections: Vec<Connection>,
    pub(crate) clients: Vec<Client>,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    pub(crate) failure: Option<Failure>,
    pub(crate) operator: Operator,
}

/// A violation by the broker.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) client: Option<usize>,
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Clients are active, and faults occur.
    Busy,
    /// No new messages and no faults: all clients reconnect and receive all messages.
    Settling,
    /// All clients disconnect.
    Leaving,
}

/// A shard and the state of its driver.
pub(crate) struct ShardSide {
    pub(crate) shard: Shard,
    /// The generation of each slot, and whether it is in use.
    pub(crate) slots: Vec<(u32, bool)>,
    /// When the channel to each shard has delivered everything.
    pub(crate) channels: Vec<u64>,
    /// When it has been notified of all stable tickets.
    pub(crate) notified_until: u64,
    pub(crate) last_ticket: Ticket,
    pub(crate) stable: Ticket,
    pub(crate) deadline: Option<u64>,
    /// Whether the disk was full when it last looked.
    pub(crate) was_full: bool,
}

/// A scheduled step.
pub(crate) enum Step {
    /// A client decides what to do.
    Decide(usize),
    /// The connection is accepted by its shard.
    Accepted(usize),
    /// Bytes, or the end, arrive at the broker.
    Up(usize, Chunk),
    /// Bytes, or the end, arrive at the client.
    Down(usize, Chunk),
    /// The broker continues to read the connection.
    Pump(usize),
    /// The transport accepts bytes.
    Flush(usize),
    /// The broker notices the end of a connection.
    BrokerNotices(usize),
    /// The client notices the end of a connection.
    ClientNotices(usize),
    Authenticated(usize),
    /// The store starts a commit if there is something to commit.
    Sync,
    Commit,
    /// A shard is notified that its ticket is stable.
    Synced(usize, Ticket),
    /// The broker stores an anchor of its time.
    Anchor,
    /// The broker starts again.
    Restart,
    Forwarded(usize, ShardMessage),
    /// The store reads for a shard.
    Read(usize, Fetch),
    /// A shard receives what was read.
    Fetched(usize, Fetched),
    Deadline(usize),
    /// The keeper writes to the streams.
    Keep,
    /// The store reads a stream for a shard.
    ReadStream(usize, Box<StreamRequest>),
    /// A shard receives what was read.
    StreamRead(usize, Box<StreamChunk>),
    /// A shard is notified that a stream has further messages.
    StreamAdvanced(usize, StreamNumber),
    /// The operator trims a stream.
    Trim,
    /// The keeper compacts the streams.
    Compact,
    /// A shard is notified whether the store is congested.
    StoreCongestion(usize, bool),
    /// A shard is notified whether another shard is full.
    ShardCongestion(usize, usize, bool),
    /// The disk has free space, or none.
    DiskSpace(bool),
    /// A shard is woken because the disk has become full, or is no longer.
    StoreRoom(usize),
    /// The driver checks whether the peers of paused connections have closed.
    CheckPeers,
    /// The operator asks a shard for something.
    Operate,
}

impl World {
    pub(crate) fn new(mix: Mix, mut rng: Rng, tracing: Tracing) -> Self {
        let settings = Arc::new(mix.settings(&mut rng));
        let shared = new_shared(mix.shards);
        let shards =
            (0..mix.shards).map(|number| ShardSide::new(new_shard(number, &settings, &shared), mix.shards)).collect();
        let mut crash_rng = Rng(!rng.clone().next());
        let log = Log::new(&mix, &mut crash_rng);
        let mut clients: Vec<Client> = (0..mix.clients)
            .map(|number| {
                let profile = match number {
                    0 => Profile::watcher(&mix),
                    _ => Profile::any(&mix, &mut rng),
                };
                Client::new(number, profile, &mix, &mut rng)
            })
            .collect();
        for (profile, reader) in readers(&mix, &mut rng) {
            let client = Client::new(clients.len(), profile, &mix, &mut rng);
            clients.push(Client { reader: Some(reader), ..client });
        }
        let (consumers, groups) = consumers(&mix, &mut rng);
        for (profile, consumer) in consumers {
            let client = Client::new(clients.len(), profile, &mix, &mut rng);
            clients.push(Client { consumer: Some(consumer), ..client });
        }
        let mut checker = Checker::new(&settings, clients.len());
        checker.groups.runs = groups;
        let mut world = Self {
            mix,
            rng,
            now: BEGIN,
            clocks: Clocks::new(BEGIN),
            phase: Phase::Busy,
            settling_since: 0,
            steps: BTreeMap::new(),
            numbered: 0,
            settings,
            shared,
            shards,
            strangers: 0,
            log,
            syncing: false,
            restarting: None,
            crash_rng,
            connections: Vec::new(),
            clients,
            checker,
            trace: Trace::new(tracing),
            failure: None,
            operator: Operator::default(),
        };
        for client in 0..world.clients.len() {
            let profile = world.clients[client].profile.clone();
            world.trace.note(BEGIN, Some(client), || format!("{profile:?}"));
            // Receipts and dead letters that nobody gets are not kept.
            let is_ahead = client == 0
                || matches!(
                    world.clients[client].consumer,
                    Some(Consumer { role: Role::Receipts | Role::Letters, .. })
                );
            let begin = if is_ahead { 0 } else { world.rng.between(WATCHER_AHEAD, WATCHER_AHEAD + 200) };
            world.schedule(begin, Step::Decide(client));
        }
        world.begin_streams();
        world.begin_anchors();
        world.begin_pressure();
        world.begin_refusals();
        world.begin_operator();
        world
    }

    /// Runs until all phases are complete, or a fault is found.
    pub(crate) fn run(&mut self) {
        self.run_until(BEGIN + WATCHER_AHEAD + self.mix.duration);
        self.phase = Phase::Settling;
        self.settling_since = self.now;
        self.trace.note(self.now, None, || "settling".to_owned());
        self.run_until(self.now + SETTLING);
        // Publishers paused for each other wait for the grace period repeatedly: slow, but without loss.
        let mut extensions = EXTENSIONS_MAX;
        while extensions > 0
            && self.clients.iter().any(|client| !client.outgoing.is_empty() || !client.waiting.is_empty())
        {
            self.run_until(self.now + SETTLING);
            extensions -= 1;
        }
        self.count_letters();
        if self.failure.is_none() {
            self.check_settled();
        }
        if self.failure.is_some() {
            return;
        }
        self.phase = Phase::Leaving;
        self.leave();
        self.run_until(self.now + LEAVING);
        if self.failure.is_none() {
            self.check_left();
        }
    }

    pub(crate) fn run_until(&mut self, end: u64) {
        while self.failure.is_none() {
            let Some(entry) = self.steps.first_entry() else { break };
            let at = entry.key().0;
            if at > end {
                break;
            }
            let step = entry.remove();
            self.now = at;
            assert!(self.numbered < STEPS_MAX, "too many steps");
            self.maybe_crash();
            // The previous step may have crashed the broker.
            if self.restarting.is_some() && step.is_of_broker() {
                continue;
            }
            self.step(step);
            if let Some((client, text)) = self.checker.found.take() {
                self.fail(client, text);
            }
        }
        self.now = end.max(self.now);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Decide(client) => self.decide(client),
            Step::Accepted(connection) => self.on_accepted(connection),
            Step::Up(connection, chunk) => self.on_up(connection, chunk),
            Step::Down(connection, chunk) => self.on_down(connection, chunk),
            Step::Pump(connection) => self.pump(connection),
            Step::Flush(connection) => self.on_flush(connection),
            Step::BrokerNotices(connection) => self.on_broker_notices(connection),
            Step::ClientNotices(connection) => self.on_client_notices(connection),
            Step::Authenticated(connection) => self.on_authenticated(connection),
            Step::Sync => self.on_sync(),
            Step::Commit => self.on_commit(),
            Step::Anchor => self.store_anchor(),
            Step::Restart => self.on_restart(),
            Step::Synced(shard, ticket) => self.on_synced(shard, ticket),
            Step::Forwarded(shard, message) => self.on_forwarded(shard, message),
            Step::Read(shard, fetch) => self.on_read_store(shard, fetch),
            Step::Fetched(shard, fetched) => self.handle(shard, Event::Fetched(Box::new(fetched))),
            Step::Keep => self.on_keep(),
            Step::ReadStream(shard, request) => self.on_read_stream(shard, *request),
            Step::StreamRead(shard, chunk) => self.on_stream_read(shard, *chunk),
            Step::StreamAdvanced(shard, stream) => self.handle(shard, Event::StreamAdvanced(stream)),
            Step::Trim => self.on_trim(),
            Step::Compact => self.on_compact(),
            Step::Deadline(shard) => self.on_deadline(shard),
            Step::StoreCongestion(shard, congested) => self.on_store_congestion(shard, congested),
            Step::ShardCongestion(shard, other, congested) => self.on_shard_congestion(shard, other, congested),
            Step::DiskSpace(is_free) => self.on_disk_space(is_free),
            Step::StoreRoom(shard) => self.notice_room(shard),
            Step::CheckPeers => self.on_check_peers(),
            Step::Operate => self.on_operate(),
        }
    }

    /// Schedules a step after this many milliseconds.
    pub(crate) fn schedule(&mut self, delay: u64, step: Step) {
        self.schedule_at(self.now + delay, step);
    }

    /// Steps scheduled for the same time run in the order of scheduling.
    pub(crate) fn schedule_at(&mut self, at: u64, step: Step) {
        self.numbered += 1;
        self.steps.insert((at, self.numbered), step);
    }

    pub(crate) fn fail(&mut self, client: Option<usize>, text: String) {
        if self.failure.is_none() {
            self.failure = Some(Failure { client, text });
        }
    }

    /// A random delay in milliseconds, mostly short; shorter while settling.
    pub(crate) fn delay(&mut self, longest: u64) -> u64 {
        match self.phase {
            Phase::Busy if self.rng.percent(20) => self.rng.between(0, longest),
            Phase::Busy => self.rng.between(0, longest.div_ceil(5)),
            Phase::Settling | Phase::Leaving => self.rng.between(0, 2),
        }
    }
}

impl Step {
    /// Whether the step is inside the broker, so that a crash removes it.
    pub(crate) const fn is_of_broker(&self) -> bool {
        matches!(
            self,
            Self::Sync
                | Self::Commit
                | Self::Synced(..)
                | Self::Forwarded(..)
                | Self::Read(..)
                | Self::Fetched(..)
                | Self::Authenticated(_)
                | Self::Keep
                | Self::ReadStream(..)
                | Self::StreamRead(..)
                | Self::StreamAdvanced(..)
                | Self::Deadline(_)
                | Self::Anchor
                | Self::StoreCongestion(..)
                | Self::ShardCongestion(..)
                | Self::StoreRoom(_)
        )
    }
}

/// The time at which the run begins, in milliseconds since the Unix epoch.
pub(crate) const BEGIN: u64 = 1_000_000;
/// The watcher subscribes this long before other clients start, in milliseconds.
const WATCHER_AHEAD: u64 = 2_000;
/// Duration of the settling phase in milliseconds: longer than any finite expiry or delay.
const SETTLING: u64 = 12_000;
/// How often the settling phase may be extended.
const EXTENSIONS_MAX: u32 = 10;
/// Duration of the leaving phase in milliseconds.
const LEAVING: u64 = 10_000;
/// More steps than any run needs.
const STEPS_MAX: u64 = 3_000_000;
