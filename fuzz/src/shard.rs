use std::collections::{BTreeMap, VecDeque};
use std::num::{NonZeroU16, NonZeroU32};
use std::slice;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use oncemq::broker::{
    Action, AnonymousSessions, AuthenticationOutcome, Backoff, ConnectionId, DeadLetterLimits, DelayedBatch,
    DelayedLimits, Durability, Event, Fetch, Peer, QueueHead, QueueOverflow, ReadFailure, ReceiptLimits, Record,
    RecordKey, Recovered, Recovery, RedeliveryRule, RedeliveryRules, Settings, Shard, ShardMessage, Shared, StoreRoom,
    StoredRecord, Ticket, VerifiedUser,
};
use oncemq::codec::client::encode_client;
use oncemq::codec::{
    Ack, ClientPacket, Connect, Decoder, Disconnect, EncodedUserProperties, PacketId, ProtocolVersion, Publish, Qos,
    ReasonCode, Subscribe, Subscription, SubscriptionId, SubscriptionOptions, Unsubscribe, Will,
};
use oncemq::rewrite::RewriteRules;
use oncemq::routing::{Access, RetainedLimits, ShardId, ShareStrategy};
use oncemq::store::sim::{Loss, SimDisk};
use oncemq::store::{self, Committer, Entry, Hooks, Key, Level, Options, Room, Store, Urgency};
use oncemq::timestamp::Timestamp;
use oncemq::topic::{Filter, MountPoint, TopicFilter, TopicName};

use super::choices::Choices;
use super::decode::VERSIONS;
use super::shadow::Shadow;

/// Two shards with a store, and clients that do anything. No sequence of events makes a shard panic, send what a client did not ask for,
/// exceed what a client announced, or perform an unbounded number of actions.
pub(crate) fn shard(input: &[u8]) {
    let mut choices = Choices::new(input);
    let mut world = World::new();
    while !choices.is_empty() {
        world.step(&mut choices);
    }
    world.settle();
}

/// A broker of two shards.
pub(crate) struct World {
    now: u64,
    settings: Arc<Settings>,
    shards: Vec<Shard>,
    disk: SimDisk,
    store: Store,
    committer: Committer,
    stable: Arc<Mutex<Vec<(usize, u64)>>>,
    tickets: [u64; SHARDS],
    /// By shard and slot.
    connections: BTreeMap<(usize, u32), Connection>,
    generation: u32,
    authenticating: VecDeque<(usize, ConnectionId)>,
    forwarded: VecDeque<(usize, ShardMessage)>,
    fetches: VecDeque<(usize, Box<Fetch>)>,
    /// Requests for delayed messages.
    prepared: VecDeque<(usize, Box<DelayedBatch>)>,
}

struct Connection {
    id: ConnectionId,
    decoder: Decoder,
    shadow: Shadow,
    paused: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::on(SimDisk::new(1)).0
    }

    /// The broker as it starts with this data, and the number of restored Sessions.
    pub(crate) fn on(disk: SimDisk) -> (Self, usize) {
        let stable = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&stable);
        let hooks = Hooks {
            on_stable: Box::new(move |shard, ticket| heard.lock().expect("no panic").push((shard, ticket))),
            ..Hooks::default()
        };
        let mut recovery = Recovery::default();
        let mut visit = |found: store::Recovered<'_>| {
            let store::Recovered { body, puts, parts, deletes, ends } = found;
            recovery.apply(body, (&record_keys(puts), parts), &record_keys(deletes), ends);
        };
        let options = Options { segment_bytes: 4_096, ..Options::default() };
        let opened = Store::open_on(Arc::new(disk.clone()), &options, hooks, &mut visit);
        let (store, committer, _) = opened.unwrap_or_else(|error| panic!("the caller checked the disk: {error}"));
        let settings = Arc::new(settings());
        let limits = RetainedLimits { retained_messages_max: 20, retained_bytes_max: 10_000 };
        let shared = Arc::new(Shared::new(SHARDS, limits).with_checked_directory());
        let shard = |number| Shard::new(ShardId(number), Arc::clone(&settings), Arc::clone(&shared), [7; 32]);
        let mut world = Self {
            now: 1_000_000,
            shards: [0, 1].map(shard).into(),
            settings,
            disk,
            store,
            committer,
            stable,
            tickets: [0; SHARDS],
            connections: BTreeMap::new(),
            generation: 0,
            authenticating: VecDeque::new(),
            forwarded: VecDeque::new(),
            fetches: VecDeque::new(),
            prepared: VecDeque::new(),
        };
        let sessions = world.restore(recovery.finish(), &shared);
        (world, sessions)
    }

    fn restore(&mut self, recovered: Recovered, shared: &Shared) -> usize {
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
            ..
        } = recovered;
        let count = sessions.len();
        shared.restore_deduplication(&deduplicated);
        let keys = sessions.iter().map(|session| session.key).chain(delayed.iter().map(|delayed| delayed.session));
        let _ = shared.restore(Timestamp(self.now), (retained, retained_cleared), retained_gone, keys);
        shared.restore_dead_letters(dead_letters);
        shared.restore_receipts(receipts);
        self.shards[0].restore_delayed(delayed);
        for (number, session) in sessions.into_iter().enumerate() {
            let mut actions = Vec::new();
            let access = Arc::new(Access::everything());
            self.shards[number % SHARDS].restore(Timestamp(self.now), *session, access, &mut actions);
            self.perform(number % SHARDS, actions);
        }
        let mut actions = Vec::new();
        self.shards[0].end_orphans(orphans, &mut actions);
        self.perform(0, actions);
        count
    }

    /// Performs the next choice.
    pub(crate) fn step(&mut self, choices: &mut Choices<'_>) {
        let shard = choices.below(SHARDS);
        let slot = u32::from(choices.byte()) % CLIENTS;
        match choices.below(21) {
            0 => self.connect(shard, slot, &connect(choices)),
            1..=6 => {
                let version = self.connections.get(&(shard, slot)).map(|one| one.shadow.version());
                let version = version.unwrap_or(ProtocolVersion::V5);
                let mut bytes = BytesMut::new();
                encode_client(&packet(choices), version, &mut bytes);
                self.receive(shard, slot, bytes.freeze());
            }
            7 => self.receive(shard, slot, Bytes::copy_from_slice(choices.bytes())),
            8 => self.open(shard, slot),
            9 => self.end(shard, slot),
            10 => {
                if let Some(connection) = self.id(shard, slot) {
                    self.handle(shard, Event::Flushed { connection, remaining: choices.below(3) * 400_000 });
                }
            }
            11 => {
                self.now += u64::from(choices.u16()) * 100;
                self.pass_deadlines();
            }
            12 | 13 => self.commit(),
            14 => self.authenticate(choices),
            15 => self.forward(),
            16 => self.fetch(choices),
            17 => {
                let room = if choices.coin() { StoreRoom::Some } else { StoreRoom::None };
                self.handle(shard, Event::StoreRoom(room));
            }
            18 => self.handle(shard, Event::StoreCongestion(choices.coin())),
            19 => self.prepare(choices),
            _ => match choices.below(4) {
                0 => *self = Self::on(self.disk.restart(choices.u64(), Loss::Power)).0,
                1 => {
                    let congested = choices.coin();
                    let other = ShardId(1 - u16::try_from(shard).expect("below 2"));
                    self.handle(shard, Event::ShardCongestion { shard: other, congested });
                }
                2 => {
                    let paused = self.connections.get(&(shard, slot)).filter(|one| one.paused).map(|one| one.id);
                    if let Some(connection) = paused {
                        self.handle(shard, Event::PeerClosed { connection });
                    }
                }
                _ => {
                    if let Some(connection) = self.id(shard, slot) {
                        let access = Arc::new(Access::new(Vec::new()));
                        self.handle(shard, Event::AccessChanged { connection, access });
                    }
                }
            },
        }
    }

    /// Lets everything happen that is on its way.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100 {
            let mut none = Choices::new(&[]);
            self.commit();
            self.authenticate(&mut none);
            self.forward();
            self.fetch(&mut none);
            if self.authenticating.is_empty() && self.forwarded.is_empty() && self.fetches.is_empty() {
                break;
            }
        }
        self.now += 1_000_000;
        self.pass_deadlines();
        for shard in 0..SHARDS {
            self.handle(shard, Event::ShuttingDown);
        }
        self.commit();
    }

    /// Opens a connection and sends CONNECT, if the slot is free.
    pub(crate) fn connect(&mut self, shard: usize, slot: u32, connect: &Connect) {
        self.open(shard, slot);
        let mut bytes = BytesMut::new();
        encode_client(&ClientPacket::Connect(Box::new(connect.clone())), connect.version, &mut bytes);
        self.receive(shard, slot, bytes.freeze());
    }

    fn id(&self, shard: usize, slot: u32) -> Option<ConnectionId> {
        self.connections.get(&(shard, slot)).map(|one| one.id)
    }

    fn open(&mut self, shard: usize, slot: u32) {
        if self.connections.contains_key(&(shard, slot)) {
            return;
        }
        self.generation += 1;
        let id = ConnectionId { slot, generation: self.generation };
        let decoder = Decoder::new(PACKET_MAX);
        self.connections.insert((shard, slot), Connection { id, decoder, shadow: Shadow::default(), paused: false });
        let peer = Peer {
            address: None,
            listener: "tcp".into(),
            certificate_identity: None,
            client_ids: Default::default(),
            is_local: true,
            maximum_packet_size: PACKET_MAX,
            link: None,
        };
        self.handle(shard, Event::Opened { connection: id, peer: Box::new(peer) });
    }

    /// The broker reads bytes of a connection, until it pauses or ends.
    fn receive(&mut self, shard: usize, slot: u32, mut bytes: Bytes) {
        loop {
            let Some(one) = self.connections.get_mut(&(shard, slot)).filter(|one| !one.paused) else { return };
            let connection = one.id;
            match one.decoder.decode(&mut bytes) {
                Ok(Some(packet)) => {
                    one.shadow.sent(&packet);
                    self.handle(shard, Event::Packet { connection, packet });
                }
                Ok(None) => return,
                Err(error) => {
                    let answer = None;
                    return self.handle(shard, Event::Undecodable { connection, error, answer });
                }
            }
        }
    }

    fn end(&mut self, shard: usize, slot: u32) {
        if let Some(one) = self.connections.remove(&(shard, slot)) {
            let cause = ByteString::from_static("connection reset");
            self.handle(shard, Event::Closed { connection: one.id, cause });
        }
    }

    fn pass_deadlines(&mut self) {
        for shard in 0..SHARDS {
            for _ in 0..DEADLINES_MAX {
                if self.shards[shard].deadline().is_none_or(|at| at.0 > self.now) {
                    break;
                }
                self.handle(shard, Event::DeadlinePassed);
            }
        }
    }

    pub(crate) fn commit(&mut self) {
        self.committer.commit();
        let stable = std::mem::take(&mut *self.stable.lock().expect("no panic"));
        for (shard, ticket) in stable {
            self.handle(shard, Event::Persisted(Ticket(ticket)));
        }
    }

    pub(crate) fn authenticate(&mut self, choices: &mut Choices<'_>) {
        let Some((shard, connection)) = self.authenticating.pop_front() else { return };
        if self.id(shard, connection.slot) != Some(connection) {
            return;
        }
        let choice = choices.byte();
        let user = (choice % 4 == 1).then(|| Arc::from("u"));
        let mount_point = MountPoint::new(["", "a/", "b/", ""][usize::from(choice >> 4) % 4]).ok();
        let outcome = match choices.below(6) {
            4 => AuthenticationOutcome::Continue { authentication_data: None },
            5 => AuthenticationOutcome::Refused {
                reason_code: ReasonCode::NotAuthorized,
                cause: ByteString::from_static("refused"),
            },
            _ => AuthenticationOutcome::Granted {
                access: Arc::new(Access::everything()).below(mount_point.as_ref()),
                expires_at: user.as_ref().map(|_| Timestamp(self.now + 600_000)),
                user: user.clone(),
                verified_user: user.map(|name| VerifiedUser { provider: "password".into(), name }),
                authentication_data: None,
            },
        };
        self.handle(shard, Event::Authenticated { connection, outcome });
    }

    fn forward(&mut self) {
        while let Some((shard, message)) = self.forwarded.pop_front() {
            self.handle(shard, Event::Forwarded(message));
        }
    }

    /// Answers a fetch: what the store has, and now and then anything else.
    pub(crate) fn fetch(&mut self, choices: &mut Choices<'_>) {
        let Some((shard, fetch)) = self.fetches.pop_front() else { return };
        let keys = fetch.keys().map(|key| Key { group: key.group, kind: key.kind, id: key.id });
        let mut located = self.store.locate(keys);
        let mut fetched = fetch.answer();
        self.store.read_each(&mut located, |_, found| {
            let body = found.as_ref().ok().and_then(|found| Some((found.as_ref()?.body().ok()?, found.as_ref()?.part)));
            match (choices.byte() % 8, body) {
                (1, _) => {
                    let (body, part) = (choices.bytes(), choices.bytes());
                    fetched.add(Ok(StoredRecord { body, part, bytes: None, place: None }));
                }
                (2, _) => fetched.add(Err(ByteString::from_static("cannot be read"))),
                (_, Some((body, part))) => {
                    fetched.add(Ok(StoredRecord { body: &body, part, bytes: body.bytes(), place: None }));
                }
                (_, None) => fetched.add(Err(ByteString::from_static("is missing"))),
            }
        });
        self.handle(shard, Event::Fetched(Box::new(fetched)));
    }

    /// Answers a request for delayed messages: what the store has, or that it cannot be read.
    pub(crate) fn prepare(&mut self, choices: &mut Choices<'_>) {
        let Some((shard, mut batch)) = self.prepared.pop_front() else { return };
        for (place, key) in batch.missing() {
            let key = Key { group: key.group, kind: key.kind, id: key.id };
            let choice = choices.byte() % 8;
            let read = self.store.read_key(key, |found| {
                let body = found.body()?;
                let failure = match choice {
                    1 => Err(ReadFailure::Temporary),
                    2 => Err(ReadFailure::Permanent(ByteString::from_static("cannot be read"))),
                    _ => Ok(StoredRecord { body: &body, part: found.part, bytes: body.bytes(), place: None }),
                };
                batch.set(place, failure);
                Ok(())
            });
            if !matches!(read, Ok(Some(()))) {
                batch.set(place, Err(ReadFailure::Temporary)); // it is not stable yet
            }
        }
        let may_publish = choices.byte() % 8 != 1;
        let access = if may_publish { Access::everything() } else { Access::new(Vec::new()) };
        batch.grant(|_, _, _| Arc::new(access.clone()));
        self.handle(shard, Event::DelayedPrepared(batch));
    }

    fn handle(&mut self, shard: usize, event: Event) {
        let mut actions = Vec::new();
        self.shards[shard].handle(Timestamp(self.now), event, &mut actions);
        self.perform(shard, actions);
    }

    fn perform(&mut self, shard: usize, actions: Vec<Action>) {
        assert!(actions.len() <= ACTIONS_MAX, "{} actions of one event", actions.len());
        let inflight_max = self.settings.inflight_messages_max.get();
        for action in actions {
            match action {
                Action::Send { connection, packet } => {
                    self.connection(shard, connection).shadow.received(&packet, inflight_max);
                }
                Action::Close { connection } | Action::Reset { connection } => {
                    self.connection(shard, connection);
                    self.connections.remove(&(shard, connection.slot));
                }
                Action::Pause { connection } => self.connection(shard, connection).paused = true,
                Action::Resume { connection } => self.connection(shard, connection).paused = false,
                Action::Authenticate { connection, .. } => self.authenticating.push_back((shard, connection)),
                Action::Persist { ticket, record } => self.persist(shard, ticket, slice::from_ref(&*record)),
                Action::PersistTogether { ticket, records, .. } => self.persist(shard, ticket, &records),
                Action::Forward { shard, message } => self.forwarded.push_back((usize::from(shard.0), message)),
                Action::Fetch(fetch) => self.fetches.push_back((shard, fetch)),
                Action::PrepareDelayed(batch) => self.prepared.push_back((shard, batch)),
                Action::ReadStream(_) | Action::Hurry => panic!("there are no streams"),
                Action::Sampled(message) => drop(format!("{message:?}")),
                Action::Report(report) => drop(format!("{report:?}")),
                Action::Answer(..) => panic!("nobody asked"),
            }
        }
    }

    /// The connection of an action, which must be open.
    fn connection(&mut self, shard: usize, id: ConnectionId) -> &mut Connection {
        let found = self.connections.get_mut(&(shard, id.slot)).filter(|one| one.id == id);
        found.unwrap_or_else(|| panic!("an action for {id:?}, which has ended"))
    }

    fn persist(&mut self, shard: usize, ticket: Ticket, records: &[Record]) {
        assert!(ticket.0 > self.tickets[shard], "tickets ascend");
        self.tickets[shard] = ticket.0;
        let encoded: Vec<_> = records.iter().map(Record::to_bytes).collect();
        let lists: Vec<_> =
            encoded.iter().map(|bytes| (keys(&bytes.puts), keys(&bytes.deletes), bytes.parts.list())).collect();
        let entries: Vec<_> = encoded
            .iter()
            .zip(&lists)
            .map(|(bytes, (puts, deletes, parts))| Entry {
                body: &bytes.body,
                puts,
                parts,
                deletes,
                ends: bytes.ends,
                level: Level::PowerLoss,
                room: Room::Reserve,
            })
            .collect();
        self.store.append_together((shard, ticket.0, Urgency::Awaited), &entries, &[]).expect("the disk has room");
        self.store.announce(Urgency::Awaited);
    }
}

/// A CONNECT of one of a few clients.
fn connect(choices: &mut Choices<'_>) -> Connect {
    let version = VERSIONS[choices.below(VERSIONS.len())];
    let name = ["a", "b", "c", ""][choices.below(4)];
    let mut connect = Connect::new(version, name, choices.coin() || name.is_empty());
    connect.keep_alive = u16::from(choices.byte());
    connect.properties.session_expiry_interval = match (version.has_properties(), choices.below(3)) {
        (true, 0) => 0,
        (true, 1) => u32::from(choices.byte()),
        (true, _) => u32::MAX,
        (false, _) => {
            if connect.clean_start {
                0
            } else {
                u32::MAX
            }
        }
    };
    if version.has_properties() {
        connect.properties.receive_maximum = NonZeroU16::new(u16::from(choices.byte())).unwrap_or(NonZeroU16::MAX);
        connect.properties.maximum_packet_size = NonZeroU32::new(u32::from(choices.u16()));
        connect.properties.topic_alias_maximum = u16::from(choices.byte() % 4);
        connect.properties.authentication_method = (choices.byte() % 16 == 1).then(|| ByteString::from_static("m"));
    }
    if choices.byte() % 4 == 1 {
        connect.will = Some(Will {
            topic: topic(choices),
            payload: Bytes::from_static(b"will"),
            properties: Default::default(),
            qos: Qos::new(choices.byte() % 3).expect("below 3"),
            retain: choices.coin(),
            will_delay_interval: if version.has_properties() { u32::from(choices.byte()) } else { 0 },
            message_expiry_interval: None,
        });
    }
    connect
}

fn packet(choices: &mut Choices<'_>) -> ClientPacket {
    let id = PacketId::new(u16::from(choices.byte() % 8) + 1).expect("not 0");
    let reason_code = if choices.byte() % 8 == 1 { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
    let ack = Ack::new(id, reason_code);
    match choices.below(16) {
        0..=5 => ClientPacket::Publish(publish(choices, id)),
        6 | 7 => ClientPacket::Puback(ack),
        8 => ClientPacket::Pubrec(ack),
        9 => ClientPacket::Pubrel(Ack::new(id, ReasonCode::Success)),
        10 => ClientPacket::Pubcomp(Ack::new(id, ReasonCode::Success)),
        11 | 12 => ClientPacket::Subscribe(Box::new(Subscribe {
            packet_id: id,
            subscription_id: SubscriptionId::new(u32::from(choices.byte() % 4)),
            user_properties: EncodedUserProperties::new(),
            subscriptions: (0..=choices.below(3))
                .map(|_| Subscription { filter: filter(choices), options: options(choices) })
                .collect(),
        })),
        13 => ClientPacket::Unsubscribe(Box::new(Unsubscribe {
            packet_id: id,
            user_properties: EncodedUserProperties::new(),
            filters: vec![filter(choices)],
        })),
        14 => ClientPacket::Pingreq,
        _ => {
            let mut disconnect = Disconnect::new(ReasonCode::Success);
            disconnect.session_expiry_interval = choices.coin().then(|| u32::from(choices.byte()));
            ClientPacket::Disconnect(Box::new(disconnect))
        }
    }
}

fn publish(choices: &mut Choices<'_>, id: PacketId) -> Publish {
    let (topic, length) = (topic(choices), choices.byte());
    let mut publish = match length {
        u8::MAX => Publish::new(TopicName::new("$batch".into()).expect("a legal topic"), messages(choices)),
        _ => Publish::new(topic, vec![b'.'; usize::from(length) * 4]),
    };
    publish.qos = Qos::new(choices.byte() % 3).expect("below 3");
    publish.packet_id = (publish.qos != Qos::AtMostOnce).then_some(id);
    publish.retain = choices.byte() % 4 == 1;
    publish.dup = publish.packet_id.is_some() && choices.byte() % 4 == 1;
    publish.message_expiry_interval = (choices.byte() % 4 == 1).then(|| u32::from(choices.byte()));
    publish
}

/// The payload of a batch.
fn messages(choices: &mut Choices<'_>) -> String {
    let messages: Vec<_> = (0..=choices.below(3))
        .map(|_| {
            let (topic, bits) = (topic(choices), choices.byte());
            let (qos, retain, payload) = (bits % 4, bits & 4 != 0, if bits & 8 == 0 { "" } else { "x" });
            let delay = if bits & 48 == 48 { "$delayed/5/" } else { "" };
            format!(r#"{{"topic":"{delay}{topic}","qos":{qos},"retain":{retain},"payload":"{payload}"}}"#)
        })
        .collect();
    format!("[{}]", messages.join(","))
}

fn options(choices: &mut Choices<'_>) -> SubscriptionOptions {
    let mut options = SubscriptionOptions::new(Qos::new(choices.byte() % 3).expect("below 3"));
    options.no_local = choices.byte() % 4 == 1;
    options.retain_as_published = choices.coin();
    options
}

fn topic(choices: &mut Choices<'_>) -> TopicName {
    let topic = ["a", "a/b", "a/b/c", "b", "$SYS/x", "$control/a", "b/"][choices.below(7)];
    TopicName::new(ByteString::from_static(topic)).expect("a legal topic")
}

fn filter(choices: &mut Choices<'_>) -> Filter {
    let filters = ["a", "a/b", "#", "+/b", "a/#", "$share/s/a/#", "$share/s/#", "$share/t/a", "$SYS/#", "+"];
    Filter::new(ByteString::from_static(filters[choices.below(filters.len())])).expect("a legal filter")
}

/// What clients refuse is sent again, with and without the order of a topic.
fn redelivery_rules() -> impl Iterator<Item = RedeliveryRule> {
    let rule = |(filter, keeps_order): (&'static str, bool)| RedeliveryRule {
        topic_filter: TopicFilter::new(filter.into()).expect("it is valid"),
        attempts: 3,
        backoff: Backoff { first: Duration::from_secs(1), factor: 2, most: Duration::from_secs(10), jitter: 0 },
        dead_letter_topic: None,
        keeps_order,
    };
    [("a", true), ("#", false)].into_iter().map(rule)
}

fn settings() -> Settings {
    Settings {
        maximum_qos: Qos::ExactlyOnce,
        retain_available: true,
        receive_maximum: const { NonZeroU16::new(5).expect("not 0") },
        topic_alias_maximum: 2,
        topic_alias_maximum_outgoing: 2,
        topic_length_max: 100,
        client_messages_per_second_max: NonZeroU32::new(20),
        client_bytes_per_second_max: NonZeroU32::new(2_000),
        anonymous_sessions: AnonymousSessions::End,
        topic_levels_max: 10,
        subscriptions_per_session_max: 6,
        queued_messages_max: 8,
        queued_bytes_max: 4_000,
        queue_head: Some(QueueHead { messages_max: 2, bytes_max: 1_000, away_share: 2 }),
        queue_overflow: QueueOverflow::DropOldest,
        dead_letter_topic: None,
        redelivery: RedeliveryRules::new(redelivery_rules()),
        dead_letter_limits: DeadLetterLimits {
            messages_max: 100,
            bytes_max: 100_000,
            age_max: Duration::from_secs(1_000),
        },
        receipts: ReceiptLimits { open_max: 100, per_client_max: 10, age_max: Duration::from_secs(1_000) },
        deduplication_window: Duration::from_secs(60),
        deduplication_ids_max: 4,
        check_retain_source: true,
        is_replicated: false,
        delayed_publish: true,
        batch_messages_max: 5,
        delayed_limits: DelayedLimits {
            messages_max: 100,
            bytes_max: 100_000,
            messages_per_client_max: 100,
            bytes_per_client_max: 100_000,
        },
        inflight_messages_max: const { NonZeroU16::new(4).expect("not 0") },
        inflight_bytes_max: None,
        outgoing_bytes_max: 500_000,
        slow_receiver_grace: Duration::from_secs(1),
        keep_alive_max: None,
        session_expiry_max: u32::MAX,
        sessions_max: 5,
        connect_timeout: Duration::from_secs(20),
        client_id_length_max: 20,
        assigned_client_id_prefix: "auto-".into(),
        validate_payload_format: true,
        share_strategy: ShareStrategy::RoundRobin,
        response_information: None,
        server_reference: None,
        is_standby: false,
        durability: Durability::PowerLoss,
        durability_rules: Vec::new(),
        exclusive_subscriptions: true,
        rewrite_rules: RewriteRules::default(),
        auto_subscriptions: Vec::new(),
        sys_interval: Duration::ZERO,
        client_events: false,
        listeners: Vec::new(),
        user_limits: oncemq::broker::UserLimits::default(),
        traced_per_million: Some(100_000),
        journey_steps_max: 100,
    }
}

fn keys(keys: &[RecordKey]) -> Vec<Key> {
    keys.iter().map(|key| Key { group: key.group, kind: key.kind, id: key.id }).collect()
}

pub(crate) fn record_keys(keys: &[Key]) -> Vec<RecordKey> {
    keys.iter().map(|key| RecordKey { group: key.group, kind: key.kind, id: key.id }).collect()
}

const SHARDS: usize = 2;
/// Connections of each shard.
const CLIENTS: u32 = 4;
const PACKET_MAX: u32 = 4_096;
/// A message to each of a few Sessions, with its record and reports, and all that a full queue or a takeover releases.
const ACTIONS_MAX: usize = 1_000;
/// Deadlines that pass at one moment.
const DEADLINES_MAX: usize = 100;
