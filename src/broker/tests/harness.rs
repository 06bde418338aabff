//! Runs shards in one thread, with clients, store and clock that the test controls.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytestring::ByteString;

pub(super) use super::defaults::settings;
use super::fake_streams::FakeStreams;
use super::packets::show;
use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::Connection;
use crate::broker::ids::Origin;
use crate::broker::publish::blocked::WaitsFor;
use crate::broker::streams::cursor::CursorState;
use crate::broker::streams::cursors::StreamCursors;
use crate::broker::streams::number::StreamNumber;
use crate::broker::timers::Timer;
use crate::broker::{
    Action, Answer, AuthenticationOutcome, AuthenticationRequest, CellTerms, ClientIds, ConnectionId, CurrentRights,
    DelayedBatch, Durability, Event, Fetch, GroupDispatch, LinkPeer, Peer, QueryId, ReadFailure, Record, RecordBytes,
    RecordKey, Recovered, Recovery, Report, SampledMessage, Settings, Shard, ShardMessage, Shared, StoredRecord,
    StreamRequest, Ticket, User, VerifiedUser,
};
use crate::codec::{
    AnswerTerms, ClientId, ClientPacket, Connect, DecodeError, ProtocolVersion, ReasonCode, ServerPacket,
};
use crate::routing::{Access, RetainedLimits, ShardId};
use crate::timestamp::{Timestamp, WallTime};
use crate::topic::TopicName;

/// Shards and their environment. By default the store commits at once, every CONNECT is granted full access, messages between shards arrive
/// at once, and transports accept all bytes. A test can disable each of these and do the step itself.
pub(super) struct Harness {
    pub(super) now: Timestamp,
    pub(super) shards: Vec<Shard>,
    pub(super) store_answers: bool,
    /// The access that each CONNECT is granted; `None`: the test answers the request.
    pub(super) granted: Option<Access>,
    /// Whether a User Name `name` is verified by the provider `password`, and `provider:name` by that provider.
    pub(super) verifies: bool,
    /// The access of each Session that is restored.
    pub(super) restored_access: Access,
    /// What the publishers of retained messages may do now.
    pub(super) rights: Arc<PublisherRights>,
    pub(super) forwards: bool,
    pub(super) store_reads: bool,
    /// Whether the store fails to read bodies.
    pub(super) damaged: bool,
    pub(super) transports_accept: bool,
    pub(super) records: Vec<Record>,
    /// Those of them that the store keeps together or not at all.
    pub(super) groups: Vec<Range<usize>>,
    /// The durability of each of these groups.
    pub(super) durabilities: Vec<Durability>,
    retained_limits: RetainedLimits,
    cell: Option<CellTerms>,
    pub(super) sampled: Vec<SampledMessage>,
    /// The connections that were reset.
    pub(super) resets: Vec<Client>,
    pub(super) reports: Vec<Report>,
    pub(super) answers: Vec<(QueryId, Answer)>,
    pub(super) requests: VecDeque<(Client, AuthenticationRequest)>,
    clients: BTreeMap<Client, ClientState>,
    between: BTreeMap<(usize, usize), VecDeque<ShardMessage>>,
    unstable: BTreeMap<usize, Ticket>,
    /// Pending reads from the store, with their shard.
    pub(super) fetches: VecDeque<(usize, Fetch)>,
    /// Delayed messages that are due and wait to be read, with their shard.
    pub(super) delayed: VecDeque<(usize, Box<DelayedBatch>)>,
    /// Pending reads of streams, with their shard.
    pub(super) stream_reads: VecDeque<(usize, StreamRequest)>,
    /// How often a shard wanted messages of streams to be stable soon.
    pub(super) hurries: usize,
    pub(super) streams: FakeStreams,
    /// How the streams that are made distribute messages in groups.
    pub(super) group_dispatch: GroupDispatch,
    generations: u32,
    /// The number of queries that a test has sent.
    pub(super) queries: u64,
    /// The remote address of each connection that is opened.
    pub(super) address: Option<SocketAddr>,
    /// The rule of the listener of each connection that is opened.
    pub(super) client_ids: ClientIds,
}

/// The access of a publisher by its user name and provider, `name@provider`, or by its Client Identifier if it has no user.
#[derive(Debug, Default)]
pub(super) struct PublisherRights {
    generation: AtomicU64,
    /// Those that are not in it may do everything.
    access: Mutex<BTreeMap<String, Access>>,
    /// How often a publisher was judged.
    pub(super) judged: AtomicU64,
}

impl PublisherRights {
    /// Replaces the access of one publisher, as a reload does.
    pub(super) fn set(&self, publisher: &str, access: Access) {
        self.access.lock().unwrap().insert(publisher.into(), access);
        self.generation.fetch_add(1, Ordering::Relaxed);
    }
}

impl CurrentRights for PublisherRights {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    fn access(&self, client_id: &ClientId, user: Option<&User>, _topic: &TopicName) -> Arc<Access> {
        self.judged.fetch_add(1, Ordering::Relaxed);
        let name = user.map(|user| format!("{}@{}", user.name, user.provider.as_deref().unwrap_or_default()));
        let access = self.access.lock().unwrap();
        let access = access.get(name.as_deref().unwrap_or(client_id.as_str())).cloned();
        Arc::new(access.unwrap_or_else(Access::everything))
    }
}

/// A connection of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Client {
    pub(super) shard: usize,
    pub(super) id: ConnectionId,
}

/// The client's side of a connection.
#[derive(Debug, Default)]
struct ClientState {
    version: Option<ProtocolVersion>,
    maximum_packet_size: usize,
    packets: Vec<ServerPacket>,
    /// Packets that it sent while its connection was paused.
    unread: VecDeque<ClientPacket>,
    paused: bool,
    closed: bool,
    connacked: bool,
    unflushed: bool,
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with(1, settings())
    }

    pub(super) fn with(shards: usize, settings: Settings) -> Self {
        let limits = RetainedLimits { retained_messages_max: 50, retained_bytes_max: 100_000 };
        Self::with_retained(shards, settings, limits)
    }

    pub(super) fn with_retained(shards: usize, settings: Settings, limits: RetainedLimits) -> Self {
        Self::of_cell(None, shards, settings, limits)
    }

    /// One of several cells.
    pub(super) fn of_cell(cell: Option<CellTerms>, shards: usize, settings: Settings, limits: RetainedLimits) -> Self {
        let rights = Arc::new(PublisherRights::default());
        let shared = Shared::new(shards, limits);
        let shared = cell.iter().cloned().fold(shared, Shared::of_cell);
        let shared = shared.with_checked_directory().with_rights(Arc::<PublisherRights>::clone(&rights));
        let shared = Arc::new(shared);
        let settings = Arc::new(settings);
        let shard = |number| {
            let id = ShardId(u16::try_from(number).unwrap());
            Shard::new(id, Arc::clone(&settings), Arc::clone(&shared), [7; 32])
        };
        Self {
            now: Timestamp(1_000_000),
            shards: (0..shards).map(shard).collect(),
            store_answers: true,
            granted: Some(Access::everything()),
            verifies: false,
            restored_access: Access::everything(),
            rights,
            forwards: true,
            store_reads: true,
            damaged: false,
            transports_accept: true,
            records: Vec::new(),
            groups: Vec::new(),
            durabilities: Vec::new(),
            sampled: Vec::new(),
            resets: Vec::new(),
            reports: Vec::new(),
            answers: Vec::new(),
            requests: VecDeque::new(),
            clients: BTreeMap::new(),
            retained_limits: limits,
            cell,
            between: BTreeMap::new(),
            unstable: BTreeMap::new(),
            fetches: VecDeque::new(),
            delayed: VecDeque::new(),
            stream_reads: VecDeque::new(),
            hurries: 0,
            streams: FakeStreams::default(),
            group_dispatch: GroupDispatch::default(),
            generations: 0,
            queries: 0,
            address: None,
            client_ids: Default::default(),
        }
    }

    /// The broker after a crash that preserved the first `records` records, with all Sessions on the first shard.
    pub(super) fn crash(&self, records: usize) -> Self {
        let splits = |group: &&Range<usize>| group.start < records && records < group.end;
        assert_eq!(self.groups.iter().find(splits), None, "the store keeps them together");
        self.restarted(records, settings(), |_| ())
    }

    /// The same with these settings.
    pub(super) fn crash_with(&mut self, records: usize, settings: Settings) {
        *self = self.restarted(records, settings, |_| ());
    }

    fn restarted(&self, records: usize, settings: Settings, prepare: fn(&mut Recovered)) -> Self {
        let cell = self.cell.clone().map(|terms| CellTerms { epoch: terms.epoch + 1, ..terms });
        let mut next = Self::of_cell(cell, self.shards.len(), settings, self.retained_limits);
        next.now = self.now;
        next.verifies = self.verifies;
        next.records = self.records[..records].to_vec();
        let mut recovered = recovered(&next.records);
        prepare(&mut recovered);
        let Recovered {
            sessions,
            retained,
            retained_cleared,
            retained_gone,
            unreadable,
            orphans,
            delayed,
            dead_letters,
            receipts,
            groups,
            deduplicated,
            ..
        } = recovered;
        next.take_streams_of(self);
        next.shards[0].shared.restore_groups(groups);
        assert_eq!(unreadable, 0);
        let keys = sessions.iter().map(|session| session.key).chain(delayed.iter().map(|delayed| delayed.session));
        let shared = &next.shards[0].shared;
        assert!(shared.restore(next.now, (retained, retained_cleared), retained_gone, keys).is_empty());
        next.shards[0].shared.restore_deduplication(&deduplicated);
        next.shards[0].shared.restore_dead_letters(dead_letters);
        next.shards[0].shared.restore_receipts(receipts);
        let mut actions = Vec::new();
        for session in sessions {
            next.shards[0].restore(next.now, *session, Arc::new(self.restored_access.clone()), &mut actions);
        }
        next.shards[0].restore_delayed(delayed);
        next.shards[0].end_orphans(orphans, &mut actions);
        for action in actions {
            next.perform(0, action, &mut Vec::new());
        }
        next.settle();
        next
    }

    pub(super) fn open(&mut self, shard: usize) -> Client {
        self.open_with(shard, 1_000_000)
    }

    /// Opens a connection at a listener with this Maximum Packet Size.
    pub(super) fn open_with(&mut self, shard: usize, maximum_packet_size: u32) -> Client {
        self.open_to(shard, maximum_packet_size, None)
    }

    /// Opens a connection to another cell, for which there is no CONNACK.
    pub(super) fn open_link(&mut self, shard: usize, link: LinkPeer) -> Client {
        self.open_to(shard, u32::MAX, Some(link))
    }

    fn open_to(&mut self, shard: usize, maximum_packet_size: u32, link: Option<LinkPeer>) -> Client {
        self.generations += 1;
        let taken = |slot| {
            self.clients.iter().any(|(client, seen)| client.shard == shard && client.id.slot == slot && !seen.closed)
        };
        let slot = (0..).find(|slot| !taken(*slot)).unwrap();
        let client = Client { shard, id: ConnectionId { slot, generation: self.generations } };
        let connacked = link.is_some();
        self.clients
            .insert(client, ClientState { maximum_packet_size: usize::MAX, connacked, ..ClientState::default() });
        let peer = Peer {
            address: self.address,
            is_local: true,
            listener: "tcp".into(),
            certificate_identity: None,
            client_ids: self.client_ids,
            maximum_packet_size,
            link,
        };
        self.event(shard, Event::Opened { connection: client.id, peer: Box::new(peer) });
        client
    }

    /// Opens a connection on shard 0, whose CONNECT must be accepted.
    pub(super) fn connect(&mut self, connect: Connect) -> Client {
        self.connect_to(0, connect)
    }

    pub(super) fn connect_to(&mut self, shard: usize, connect: Connect) -> Client {
        let client = self.attempt(shard, connect);
        let first = self.clients[&client].packets.first().map(show).unwrap_or_default();
        assert!(first.starts_with("CONNACK 0x00"), "{first}");
        self.clients.get_mut(&client).unwrap().packets.remove(0);
        client
    }

    /// Opens a connection and sends CONNECT; the answer stays in the received packets.
    pub(super) fn attempt(&mut self, shard: usize, connect: Connect) -> Client {
        let client = self.open(shard);
        self.send(client, ClientPacket::Connect(Box::new(connect)));
        client
    }

    /// Sends a packet of the client. It is read now, or when its connection is resumed.
    pub(super) fn send(&mut self, client: Client, packet: ClientPacket) {
        let seen = self.clients.get_mut(&client).unwrap();
        if let ClientPacket::Connect(connect) = &packet
            && seen.version.is_none()
        {
            seen.version = Some(connect.version);
            let maximum = connect.properties.maximum_packet_size.map(|maximum| maximum.get() as usize);
            seen.maximum_packet_size = maximum.unwrap_or(usize::MAX);
        }
        if seen.closed {
            return;
        }
        seen.unread.push_back(packet);
        self.read(client);
        self.settle();
    }

    /// Sends packets and discards the answers.
    pub(super) fn run(&mut self, client: Client, packets: impl IntoIterator<Item = ClientPacket>) {
        for packet in packets {
            self.send(client, packet);
        }
        self.clients.get_mut(&client).unwrap().packets.clear();
    }

    /// Sends a packet and returns the packets that the client receives then.
    pub(super) fn ask(&mut self, client: Client, packet: ClientPacket) -> Vec<String> {
        self.run(client, []);
        self.send(client, packet);
        self.received(client)
    }

    /// Takes the received packets, with `CLOSED` at the end if the connection is closed.
    pub(super) fn received(&mut self, client: Client) -> Vec<String> {
        let mut lines: Vec<String> = self.packets(client).iter().map(show).collect();
        if self.clients[&client].closed {
            lines.push("CLOSED".into());
        }
        lines
    }

    pub(super) fn packets(&mut self, client: Client) -> Vec<ServerPacket> {
        std::mem::take(&mut self.clients.get_mut(&client).unwrap().packets)
    }

    pub(super) fn is_paused(&self, client: Client) -> bool {
        self.clients[&client].paused
    }

    pub(super) fn is_closed(&self, client: Client) -> bool {
        self.clients[&client].closed
    }

    /// Resets the connection.
    pub(super) fn lose(&mut self, client: Client) {
        let seen = self.clients.get_mut(&client).unwrap();
        if !std::mem::replace(&mut seen.closed, true) {
            seen.packets.clear();
            let cause = ByteString::from_static("connection reset");
            self.event(client.shard, Event::Closed { connection: client.id, cause });
        }
    }

    pub(super) fn undecodable(&mut self, client: Client, error: DecodeError, version: Option<ProtocolVersion>) {
        self.event(
            client.shard,
            Event::Undecodable { connection: client.id, error, answer: version.map(AnswerTerms::new) },
        );
    }

    pub(super) fn flush(&mut self, client: Client, remaining: usize) {
        self.event(client.shard, Event::Flushed { connection: client.id, remaining });
    }

    /// Grants the oldest authentication request.
    pub(super) fn grant(&mut self, access: Access, data: Option<&'static str>) {
        let (client, request) = self.requests.pop_front().unwrap();
        let mut outcome = granted(access, data);
        if let AuthenticationOutcome::Granted { verified_user, .. } = &mut outcome
            && let Some(name) = request.user_name.filter(|_| self.verifies)
        {
            let (provider, name) = name.split_once(':').unwrap_or(("password", &name));
            *verified_user = Some(VerifiedUser { provider: provider.into(), name: name.into() });
        }
        self.answer(client, outcome);
    }

    pub(super) fn answer(&mut self, client: Client, outcome: AuthenticationOutcome) {
        self.event(client.shard, Event::Authenticated { connection: client.id, outcome });
    }

    pub(super) fn refuse(&mut self, reason_code: ReasonCode) {
        let (client, _) = self.requests.pop_front().unwrap();
        self.answer(client, AuthenticationOutcome::Refused { reason_code, cause: "no".into() });
    }

    /// Commits all records.
    pub(super) fn persist(&mut self) {
        while let Some((shard, ticket)) = self.unstable.pop_first() {
            self.step(shard, Event::Persisted(ticket));
        }
        self.settle();
    }

    /// Commits the records that a shard has written until now, but not those that follow from the commit.
    pub(super) fn commit(&mut self, shard: usize) {
        if let Some(ticket) = self.unstable.remove(&shard) {
            self.event(shard, Event::Persisted(ticket));
        }
    }

    /// Commits the oldest uncommitted record of a shard.
    pub(super) fn persist_one(&mut self, shard: usize) {
        let last = self.unstable.get(&shard).copied().unwrap_or_default();
        let oldest = Ticket(last.0 + 1 - self.shards[shard].unstable().max(1));
        if oldest >= last {
            self.unstable.remove(&shard);
        }
        self.event(shard, Event::Persisted(oldest));
    }

    /// Delivers all messages between shards.
    pub(super) fn forward(&mut self) {
        while let Some((from, to)) = self.between.keys().next().copied() {
            self.forward_one(from, to);
        }
    }

    /// Delivers the oldest message from one shard to another.
    pub(super) fn forward_one(&mut self, from: usize, to: usize) {
        let Some(queue) = self.between.get_mut(&(from, to)) else { return };
        let message = queue.pop_front();
        if queue.is_empty() {
            self.between.remove(&(from, to));
        }
        if let Some(message) = message {
            self.step(to, Event::Forwarded(message));
            self.settle();
        }
    }

    /// Whether messages between shards are undelivered.
    pub(super) fn is_between(&self) -> bool {
        !self.between.is_empty()
    }

    /// The number of undelivered messages from one shard to another.
    pub(super) fn in_transit(&self, from: usize, to: usize) -> usize {
        self.between.get(&(from, to)).map_or(0, VecDeque::len)
    }

    /// Advances the clock and handles each deadline at its time.
    pub(super) fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let next = (0..self.shards.len()).filter_map(|i| Some((self.shards[i].deadline()?, i))).min();
            let Some((at, shard)) = next.filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            self.event(shard, Event::DeadlinePassed);
            assert!(
                self.shards[shard].deadline().is_none_or(|next| next > self.now),
                "a passed deadline was not removed"
            );
        }
        self.now = end;
    }

    pub(super) fn seconds(&mut self, seconds: u64) {
        self.advance(Duration::from_secs(seconds));
    }

    pub(super) fn event(&mut self, shard: usize, event: Event) {
        self.step(shard, event);
        self.settle();
    }

    /// Completes the oldest read from the store.
    pub(super) fn read_store(&mut self) {
        self.read_one();
        self.settle();
    }

    fn read_one(&mut self) {
        let Some((shard, fetch)) = self.fetches.pop_front() else { return };
        let keys: Vec<RecordKey> = fetch.keys().collect();
        let mut fetched = fetch.answer();
        for key in keys {
            let stored = self.stored(key).filter(|_| !self.damaged);
            let record = stored.as_ref().map(|(body, part)| StoredRecord { body, part, bytes: None, place: None });
            fetched.add(record.ok_or_else(|| "damaged".into()));
        }
        self.step(shard, Event::Fetched(Box::new(fetched)));
    }

    /// Answers the oldest read of a stream.
    pub(super) fn read_stream(&mut self) {
        let Some((shard, request)) = self.stream_reads.pop_front() else { return };
        let chunk = self.streams.read(request);
        self.step(shard, Event::StreamRead(Box::new(chunk)));
    }

    /// Answers the oldest request for delayed messages.
    fn read_delayed(&mut self) {
        let Some((shard, mut batch)) = self.delayed.pop_front() else { return };
        for (place, key) in batch.missing() {
            let stored = self.stored(key).filter(|_| !self.damaged);
            let record = stored.as_ref().map(|(body, part)| StoredRecord { body, part, bytes: None, place: None });
            batch.set(place, record.ok_or_else(|| ReadFailure::Permanent("damaged".into())));
        }
        batch.grant(|_, _, _| Arc::new(self.restored_access.clone()));
        self.step(shard, Event::DelayedPrepared(batch));
    }

    /// The stored body and part of a key after all records.
    fn stored(&self, key: RecordKey) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut stored = None;
        for RecordBytes { body, puts, parts, deletes, ends, .. } in self.records.iter().map(Record::to_bytes) {
            if ends == Some(key.group) || deletes.contains(&key) {
                stored = None;
            }
            if let Some(put) = puts.iter().position(|put| *put == key) {
                let part = parts.iter().nth(put).unwrap_or_default().to_vec();
                stored = Some((body, part));
            }
        }
        stored
    }

    /// Crashes and restarts the broker with the same number of shards and all records.
    pub(super) fn restart(&mut self, settings: Settings) {
        *self = self.restarted(self.records.len(), settings, |_| ());
    }

    /// The same at a time that is unknown, so that messages with a Message Expiry Interval expire.
    pub(super) fn restart_with_expired_messages(&mut self, settings: Settings) {
        *self = self.restarted(self.records.len(), settings, Recovered::expire_messages);
    }

    /// Performs all steps that are not disabled.
    fn settle(&mut self) {
        loop {
            if let Some(client) = self.clients.iter().find(|(_, seen)| seen.unflushed && !seen.closed).map(|(c, _)| *c)
                && self.transports_accept
            {
                self.clients.get_mut(&client).unwrap().unflushed = false;
                self.step(client.shard, Event::Flushed { connection: client.id, remaining: 0 });
            } else if self.store_answers
                && let Some((shard, ticket)) = self.unstable.pop_first()
            {
                self.step(shard, Event::Persisted(ticket));
            } else if self.store_reads && !self.fetches.is_empty() {
                self.read_one();
            } else if self.store_reads && !self.stream_reads.is_empty() {
                self.read_stream();
            } else if self.store_reads && !self.delayed.is_empty() {
                self.read_delayed();
            } else if self.forwards
                && let Some((from, to)) = self.between.keys().next().copied()
            {
                self.forward_one(from, to);
            } else if let Some(access) = self.granted.clone().filter(|_| !self.requests.is_empty()) {
                self.grant(access, None);
            } else {
                return;
            }
        }
    }

    fn read(&mut self, client: Client) {
        loop {
            let seen = self.clients.get_mut(&client).unwrap();
            if seen.paused || seen.closed {
                return;
            }
            let Some(packet) = seen.unread.pop_front() else { return };
            self.step(client.shard, Event::Packet { connection: client.id, packet });
        }
    }

    fn step(&mut self, shard: usize, event: Event) {
        let mut actions = Vec::new();
        self.shards[shard].handle(self.now, event, &mut actions);
        let mut resumed = Vec::new();
        for action in actions {
            self.perform(shard, action, &mut resumed);
        }
        self.check_pauses(shard);
        self.check_streams(shard);
        for client in resumed {
            self.read(client);
        }
    }

    /// Asserts that each paused connection has a reason, and that each reason has a pending event that ends it.
    fn check_pauses(&self, shard: usize) {
        let Shard { connections, sessions, flow, shared, filter_requests, .. } = &self.shards[shard];
        for connection in connections.iter() {
            let (id, reasons) = (connection.id, connection.pause_reasons());
            let seen = &self.clients[&Client { shard, id }];
            assert_eq!(seen.paused && !seen.closed, !reasons.is_empty(), "{}", reasons.describe());
            let session = connection.session().and_then(|slot| sessions.get(slot)).map(|entry| &entry.session);
            let held = session.map_or(0, |session| session.unstable_responses().0);
            let blocked = connection.blocked.as_ref().map(|blocked| &blocked.waits_for);
            let is_woken = flow.is_listed(id, PauseReason::NoRoom) || !self.between.is_empty();
            let origin = Origin::new(ShardId(u16::try_from(shard).unwrap()), id);
            let ends = |reason| match reason {
                PauseReason::Authenticating => true,
                PauseReason::Claiming => session.is_none_or(|session| !session.is_open()),
                PauseReason::ResponsesUnsent => connection.unsent_bytes() > 0,
                PauseReason::ResponsesUnstable => held > 0,
                PauseReason::StoreCongested | PauseReason::ShardFull => flow.is_listed(id, reason),
                PauseReason::NoRoom => match blocked {
                    Some(WaitsFor::Queue(room)) => is_woken || shared.room_waiters.contains(&room.to, origin),
                    Some(WaitsFor::Disk) => is_woken,
                    Some(WaitsFor::Deduplication | WaitsFor::Cells) | None => false,
                },
                PauseReason::DeduplicationPending => matches!(blocked, Some(WaitsFor::Deduplication)),
                PauseReason::RateLimited => self.shards[shard].timers.is_set(Timer::RateAllows(id)),
                PauseReason::ManyFilters => {
                    let waits = filter_requests.iter().any(|request| request.connection == id);
                    waits && self.shards[shard].timers.is_set(Timer::Filters)
                }
                PauseReason::CellsUnknown => {
                    let waits = matches!(blocked, Some(WaitsFor::Cells));
                    waits && self.shards[shard].timers.is_set(Timer::Deduplication(id))
                }
                PauseReason::CellsToBeTold => self.shards[shard].links.waiting.has(id),
                PauseReason::SlowReceiver => {
                    let ends = |shard: &Shard, other: &Connection| {
                        other.backlog.pauses(origin) && shard.timers.is_set(Timer::PauseEnds(other.id))
                    };
                    let in_shard = |shard: &Shard| shard.connections.iter().any(|other| ends(shard, other));
                    !self.between.is_empty() || self.shards.iter().any(in_shard)
                }
            };
            for reason in PauseReason::ALL.into_iter().filter(|reason| reasons.contains(*reason)) {
                assert!(ends(reason), "no event ends the pause reason: {}", reason.name());
            }
        }
    }

    /// Asserts that each subscription to a stream of a connected client has a pending event that continues it.
    fn check_streams(&self, shard: usize) {
        self.check_groups(shard);
        let Shard { connections, sessions, streams, timers, pipeline, .. } = &self.shards[shard];
        for connection in connections.iter() {
            let Some(slot) = connection.session() else { continue };
            let Some(entry) = sessions.get(slot) else { continue };
            let place = (slot, entry.subscriber.key);
            let is_ready = streams.is_starved(place) || streams.is_ready(place) && timers.is_set(Timer::Streams);
            let sends = connection.unsent_bytes() > 0 || entry.session.in_flight() > 0 || !entry.session.is_open();
            let is_awaited = sends || connection.pause_reasons().contains(PauseReason::ManyFilters);
            for cursor in entry.incidents.streams().into_iter().flat_map(StreamCursors::iter) {
                let has_waker = match cursor.state() {
                    CursorState::Reading(number) => {
                        self.stream_reads.iter().any(|(of, request)| (*of, request.cursor.read) == (shard, number))
                    }
                    CursorState::CaughtUp => streams.waits(cursor.stream, place) || is_ready,
                    CursorState::Failed(_) => timers.is_set(Timer::StreamRetry(place.0, place.1)),
                    CursorState::Ready => {
                        let is_stored = cursor.kept().is_none_or(|kept| pipeline.is_stable(kept.wait));
                        is_ready || is_awaited || !is_stored || timers.is_set(Timer::StreamRetry(place.0, place.1))
                    }
                };
                assert!(has_waker, "nothing continues {cursor:?}");
            }
        }
    }

    fn perform(&mut self, shard: usize, action: Action, resumed: &mut Vec<Client>) {
        match action {
            Action::Send { connection, packet } => self.seen(shard, connection).receive(packet),
            Action::Close { connection } | Action::Reset { connection } => {
                if matches!(action, Action::Reset { .. }) {
                    self.resets.push(Client { shard, id: connection });
                }
                let seen = self.seen(shard, connection);
                assert!(!std::mem::replace(&mut seen.closed, true), "closed twice");
            }
            Action::Pause { connection } => {
                let seen = self.seen(shard, connection);
                assert!(!std::mem::replace(&mut seen.paused, true), "paused twice");
            }
            Action::Resume { connection } => {
                let seen = self.seen(shard, connection);
                assert!(std::mem::replace(&mut seen.paused, false), "resumed twice");
                resumed.push(Client { shard, id: connection });
            }
            Action::Authenticate { connection, request } => {
                assert!(self.seen(shard, connection).paused, "authenticated while reading");
                self.requests.push_back((Client { shard, id: connection }, *request));
            }
            Action::Persist { ticket, record } => {
                assert!(self.unstable.get(&shard).is_none_or(|last| *last < ticket), "tickets out of order");
                self.unstable.insert(shard, ticket);
                self.give_sequences(&record);
                self.records.push(*record);
            }
            Action::PersistTogether { ticket, durability, records } => {
                assert!(self.unstable.get(&shard).is_none_or(|last| *last < ticket), "tickets out of order");
                assert!(!records.is_empty(), "a group without records");
                self.unstable.insert(shard, ticket);
                self.durabilities.push(durability);
                self.groups.push(self.records.len()..self.records.len() + records.len());
                for record in records {
                    self.give_sequences(&record);
                    self.records.push(record);
                }
            }
            Action::Fetch(fetch) => self.fetches.push_back((shard, *fetch)),
            Action::ReadStream(request) => self.stream_reads.push_back((shard, *request)),
            Action::Hurry => self.hurries += 1,
            Action::PrepareDelayed(batch) => self.delayed.push_back((shard, batch)),
            Action::Forward { shard: to, message } => {
                self.between.entry((shard, usize::from(to.0))).or_default().push_back(message);
            }
            Action::Answer(id, answer) => self.answers.push((id, *answer)),
            Action::Sampled(message) => self.sampled.push(*message),
            Action::Report(report) => self.reports.push(*report),
        }
    }

    /// The store gives a record its sequences in its streams.
    fn give_sequences(&mut self, record: &Record) {
        if let Record::Accepted { streams, .. } = record {
            let given: Vec<u64> = streams.iter().map(|stream| self.next_sequence(*stream)).collect();
            record.appended(&given, WallTime(1_000 * given.first().copied().unwrap_or_default()));
        }
    }

    /// The store gives the next sequence in a stream.
    fn next_sequence(&self, stream: StreamNumber) -> u64 {
        let enters = |record: &&Record| matches!(record, Record::Accepted { streams, .. } if streams.contains(&stream));
        self.records.iter().filter(enters).count() as u64 + 1
    }

    fn seen(&mut self, shard: usize, id: ConnectionId) -> &mut ClientState {
        let seen = self.clients.get_mut(&Client { shard, id }).expect("an action for an unknown connection");
        assert!(!seen.closed, "an action for a closed connection");
        seen
    }
}

impl ClientState {
    /// Asserts the rules that apply to every packet to a client.
    fn receive(&mut self, packet: ServerPacket) {
        if let ServerPacket::Connack(_) = packet {
            assert!(!std::mem::replace(&mut self.connacked, true), "a second CONNACK"); // [MQTT-3.2.0-2]
        } else if !matches!(packet, ServerPacket::Auth(_)) {
            assert!(self.connacked, "{} before CONNACK", show(&packet)); // [MQTT-3.2.0-1]
        }
        let length = packet.encoded_len(self.version.unwrap_or(ProtocolVersion::V3_1_1));
        assert!(length <= self.maximum_packet_size, "{} of {length} bytes", show(&packet)); // [MQTT-3.1.2-24]
        self.unflushed = true;
        self.packets.push(packet);
    }
}

/// The state that is recovered from these records.
pub(super) fn recovered(records: &[Record]) -> Recovered {
    let mut recovery = Recovery::default();
    for record in records {
        let bytes = record.to_bytes();
        recovery.apply(&bytes.body, (&bytes.puts, &bytes.parts.list()), &bytes.deletes, bytes.ends);
    }
    let recovered = recovery.finish();
    assert_eq!(recovered.unreadable, 0);
    recovered
}

pub(super) fn granted(access: Access, data: Option<&'static str>) -> AuthenticationOutcome {
    AuthenticationOutcome::Granted {
        access: Arc::new(access),
        user: None,
        verified_user: None,
        expires_at: None,
        authentication_data: data.map(|data| data.into()),
    }
}
