//! Checks that logs of all format versions stay readable: `format-1.seg` has records of every kind. `format-1-owners.seg` has them as
//! they are since Sessions have owners, and `format-2.seg` in the format version 2.
//! `ONCEMQ_GOLDEN=write` writes the result of the current version for the same events, for a new format.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oncemq::broker::{
    Action, AuthenticationOutcome, ConnectionId, Event, Owner, Peer, Recovered, RecoveredSession, Shard, Ticket,
    VerifiedUser,
};
use oncemq::codec::{
    Ack, ClientPacket, Connect, MessageProperties, MessageProperty, OutgoingPublish, PacketId, ProtocolVersion,
    Publish, Qos, ReasonCode, ServerPacket, Subscribe, Subscription, SubscriptionId, SubscriptionOptions, Will,
};
use oncemq::routing::{Access, ShardId};
use oncemq::session::RestoredMessage;
use oncemq::store::Level;
use oncemq::store::sim::{Loss, SimDisk};
use oncemq::timestamp::Timestamp;
use oncemq::topic::{Filter, TopicName};

use crate::lab::new_shared;
use crate::log::{Committed, Log};
use crate::settings::settings;

/// One shard and its log.
struct Writer {
    shard: Shard,
    log: Log,
    now: u64,
    /// Packets that clients received.
    received: Vec<OutgoingPublish>,
}

impl Writer {
    fn event(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.shard.handle(Timestamp(self.now), event, &mut actions);
        self.perform(actions);
        for (_, ticket) in self.log.commit() {
            self.event(Event::Persisted(Ticket(ticket)));
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Persist { ticket, record } => self.log.append(0, ticket, &record),
                Action::PersistTogether { ticket, records, .. } => self.log.append_together(0, ticket, &records),
                Action::Authenticate { connection, .. } => {
                    let access = Arc::new(Access::everything());
                    let (user, verified_user, authentication_data) =
                        (None, Some(VerifiedUser { provider: "password".into(), name: "ada".into() }), None);
                    let outcome = AuthenticationOutcome::Granted {
                        access,
                        user,
                        verified_user,
                        expires_at: None,
                        authentication_data,
                    };
                    self.event(Event::Authenticated { connection, outcome });
                }
                Action::PrepareDelayed(mut batch) => {
                    self.log.read_delayed(&mut batch);
                    batch.grant(|_, _, _| Arc::new(Access::everything()));
                    self.event(Event::DelayedPrepared(batch));
                }
                Action::ReadStream(_) => unreachable!("there are no streams"),
                Action::Fetch(fetch) => {
                    let fetched = Box::new(self.log.read(*fetch));
                    self.event(Event::Fetched(fetched));
                }
                Action::Send { packet: ServerPacket::Publish(publish), .. } => self.received.push(publish),
                Action::Send { .. }
                | Action::Close { .. }
                | Action::Reset { .. }
                | Action::Pause { .. }
                | Action::Resume { .. }
                | Action::Forward { .. }
                | Action::Report(_)
                | Action::Sampled(_)
                | Action::Hurry
                | Action::Answer(..) => {}
            }
        }
    }

    fn connect(&mut self, slot: u32, connect: Connect) {
        let listener = "tcp".into();
        let (address, certificate_identity, maximum_packet_size) = (None, None, 100_000);
        let (client_ids, link) = (Default::default(), None);
        let peer = Box::new(Peer {
            address,
            is_local: true,
            listener,
            certificate_identity,
            client_ids,
            maximum_packet_size,
            link,
        });
        self.event(Event::Opened { connection: ConnectionId { slot, generation: 1 }, peer });
        self.send(slot, ClientPacket::Connect(Box::new(connect)));
    }

    fn send(&mut self, slot: u32, packet: ClientPacket) {
        self.now += 1;
        self.event(Event::Packet { connection: ConnectionId { slot, generation: 1 }, packet });
    }

    fn publish(&mut self, name: &str, payload: &'static str, (qos, id): (Qos, u16), properties: &[(&str, &str)]) {
        let property = |(name, value): &(&str, &str)| MessageProperty::UserProperty((*name).into(), (*value).into());
        let properties = MessageProperties::from_properties(properties.iter().map(property));
        let (packet_id, retain) = (PacketId::new(id), name.starts_with("r/"));
        let message_expiry_interval = Some(600).filter(|_| payload == "first");
        let publish = Publish::new(topic(name), payload).with_properties(properties);
        let publish = Publish { qos, retain, packet_id, message_expiry_interval, ..publish };
        self.send(PUBLISHER, ClientPacket::Publish(publish));
    }
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name.into()).unwrap()
}

fn durable(client_id: &'static str) -> Connect {
    let mut connect = Connect::new(ProtocolVersion::V5, client_id, false);
    connect.properties.session_expiry_interval = 1_000;
    connect
}

fn subscribe(filters: &[&str], number: u32, message_id: bool) -> ClientPacket {
    let subscription = |filter: &&str| {
        let filter = Filter::new((*filter).into()).unwrap();
        Subscription { filter, options: SubscriptionOptions::new(Qos::ExactlyOnce) }
    };
    ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        subscription_id: SubscriptionId::new(number),
        user_properties: message_id.then_some(("message-id", "true")).into_iter().collect(),
        subscriptions: filters.iter().map(subscription).collect(),
    }))
}

fn ada() -> Owner {
    Owner::of(Some(VerifiedUser { provider: "password".into(), name: "ada".into() }))
}

/// Connected and disconnected Sessions with every kind of state.
fn write() -> Vec<u8> {
    let shard = Shard::new(ShardId(0), Arc::new(settings()), new_shared(1), [7; 32]);
    let mut writer = Writer { shard, log: Log::new(Level::PowerLoss), now: 1_000_000, received: Vec::new() };
    writer.connect(AWAY, durable("away"));
    writer.send(AWAY, subscribe(&["t/+", "$share/group/s"], 7, true));
    let connection = ConnectionId { slot: AWAY, generation: 1 };
    writer.event(Event::Closed { connection, cause: "end of stream".into() });
    writer.connect(BUSY, Connect::new(ProtocolVersion::V3_1_1, "busy", false));
    writer.send(BUSY, subscribe(&["t/1"], 0, false));
    let mut connect = durable("publisher");
    connect.will = Some(Will {
        topic: topic("w"),
        payload: "will".into(),
        qos: Qos::AtLeastOnce,
        retain: true,
        will_delay_interval: 30,
        message_expiry_interval: Some(60),
        properties: MessageProperties::from_properties([MessageProperty::ContentType("text".into())]),
    });
    writer.connect(PUBLISHER, connect);
    writer.publish("t/1", "first", (Qos::AtLeastOnce, 8), &[("key", "value")]);
    writer.publish("t/1", "second", (Qos::ExactlyOnce, 9), &[]);
    writer.publish("t/2", "third", (Qos::AtLeastOnce, 10), &[("dedup-id", "order-1")]);
    writer.publish("s", "shared", (Qos::AtLeastOnce, 11), &[]);
    writer.publish("r/1", "kept", (Qos::AtMostOnce, 0), &[]);
    let pubrec = Ack::new(PacketId::new(2).unwrap(), ReasonCode::Success);
    writer.send(BUSY, ClientPacket::Pubrec(pubrec));
    assert_eq!(writer.log.disk.used(), writer.log.disk.bytes(FILE).unwrap().len() as u64 + SEGMENT_BYTES, "one file");
    writer.log.disk.bytes(FILE).unwrap()
}

fn read(bytes: Vec<u8>) -> (Log, Recovered) {
    let disk = SimDisk::new(1);
    disk.set_bytes(FILE, bytes);
    Log::open(disk, Level::PowerLoss)
}

fn queued(session: &RecoveredSession) -> Vec<String> {
    let line = |(sequence, message): (&u64, &RestoredMessage)| match message {
        RestoredMessage::Released => format!("{sequence} released"),
        RestoredMessage::Queued { qos, expires_at, content } => {
            let expires_at = Some(expires_at.0).filter(|at| *at < u64::MAX);
            format!("{sequence} q{} {content} bytes {expires_at:?}", qos.level())
        }
        RestoredMessage::Shared(delivery) => {
            format!("{sequence} of {}", delivery.share().map(ToString::to_string).unwrap_or_default())
        }
    };
    session.queue.iter().map(line).collect()
}

/// The messages that the client `away` receives when it reconnects.
fn received(log: Log, recovered: Recovered) -> Vec<OutgoingPublish> {
    let shard = Shard::new(ShardId(0), Arc::new(settings()), new_shared(1), [7; 32]);
    let mut writer = Writer { shard, log, now: 1_000_100, received: Vec::new() };
    for session in recovered.sessions {
        let mut actions = Vec::new();
        writer.shard.restore(Timestamp(writer.now), *session, Arc::new(Access::everything()), &mut actions);
        writer.perform(actions);
    }
    writer.connect(AWAY, durable("away"));
    writer.received
}

fn check((log, recovered): (Log, Recovered), owner: &Owner) {
    check_recovered(&recovered);
    assert!(recovered.sessions.iter().all(|session| session.owner == *owner), "{recovered:?}");
    let received = received(log, recovered);
    let line = |publish: &OutgoingPublish| {
        let OutgoingPublish { message, packet_id, .. } = publish;
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        let ids: Vec<_> = publish.subscription_ids().iter().map(|id| id.get()).collect();
        let identified = if publish.message_id { " identified" } else { "" };
        let id = packet_id.unwrap().number();
        format!("{id} {} {payload} q{} {ids:?}{identified}", message.topic.as_str(), publish.qos.level())
    };
    let owed = [
        "1 t/1 first q1 [7] identified",
        "2 t/1 second q2 [7] identified",
        "3 t/2 third q1 [7] identified",
        "4 s shared q1 [7] identified",
    ];
    assert_eq!(received.iter().map(line).collect::<Vec<_>>(), owed);
    assert_eq!(received[0].message_expiry_interval, Some(600));
    let key = MessageProperty::UserProperty("key".into(), "value".into());
    assert_eq!(received[0].message.properties.iter().collect::<Vec<_>>(), [key]);
}

fn check_recovered(recovered: &Recovered) {
    let [away, busy, publisher] = &recovered.sessions[..] else { panic!("{recovered:?}") };
    assert_eq!((away.client_id.as_str(), away.owner.user().map(|user| &**user)), ("away", Some("ada")));
    assert_eq!((away.session_expiry_interval, away.detached_at), (1_000, Some(Timestamp(1_000_002))));
    assert_eq!((away.sent_until, away.message_ids, away.received.len()), (1, true, 0));
    let filters = |session: &RecoveredSession| {
        let filter = |(subscription, id): &(Subscription, Option<SubscriptionId>)| {
            format!("{} q{} {:?}", subscription.filter, subscription.options.qos.level(), id.map(SubscriptionId::get))
        };
        let mut filters: Vec<_> = session.subscriptions.iter().map(filter).collect();
        filters.sort_unstable();
        filters
    };
    assert_eq!(filters(away), ["$share/group/s q2 Some(7)", "t/+ q2 Some(7)"]);
    let owed = ["1 q1 21 bytes Some(1600006)", "2 q2 9 bytes None", "3 q1 28 bytes None", "4 of $share/group/s"];
    assert_eq!(queued(away), owed);

    assert_eq!((busy.client_id.as_str(), busy.session_expiry_interval, busy.detached_at), ("busy", u32::MAX, None));
    assert_eq!(filters(busy), ["t/1 q2 None"]);
    assert_eq!(queued(busy), ["1 q1 21 bytes Some(1600006)", "2 released"]);

    assert_eq!((publisher.client_id.as_str(), publisher.queue.len()), ("publisher", 0));
    assert_eq!(publisher.received, [PacketId::new(9).unwrap()]);
    let will = publisher.will.as_ref().unwrap();
    assert_eq!((will.topic.as_str(), &will.payload[..], will.qos), ("w", &b"will"[..], Qos::AtLeastOnce));
    assert_eq!((will.retain, will.will_delay_interval, will.message_expiry_interval), (true, 30, Some(60)));
    assert_eq!(will.properties.iter().collect::<Vec<_>>(), [MessageProperty::ContentType("text".into())]);

    let [kept] = &recovered.retained[..] else { panic!("{recovered:?}") };
    assert_eq!((kept.message.topic.as_str(), &kept.message.payload[..]), ("r/1", &b"kept"[..]));
    assert_eq!((kept.qos, kept.publisher.as_ref().map(|id| id.as_str())), (Qos::AtMostOnce, Some("publisher")));
    let [once] = &recovered.deduplicated[..] else { panic!("{recovered:?}") };
    assert_eq!((&*once.publisher, &*once.id, once.at), ("user/ada", "order-1", Timestamp(1_000_008)));
    assert_eq!((recovered.orphans.len(), recovered.unreadable), (0, 0));
}

#[test]
fn a_log_of_the_first_version_stays_readable() {
    let file = directory().join("format-1.seg");
    check(read(std::fs::read(file).unwrap()), &Owner::named("ada".into()));
}

#[test]
fn a_log_with_owners_stays_readable() {
    let file = directory().join("format-1-owners.seg");
    check(read(std::fs::read(file).unwrap()), &ada());
}

#[test]
fn a_log_of_version_2_stays_readable() {
    check(read(version_2()), &ada());
}

/// Each byte of the log is changed: the Sessions receive no message that was not sent to them.
#[test]
fn no_changed_byte_of_the_log_changes_a_message() {
    let content = |publish: &OutgoingPublish| {
        let OutgoingPublish { message, packet_id, qos, retain, matched, message_expiry_interval, .. } = publish;
        format!("{message:?} {packet_id:?} {qos:?} {retain} {matched:?} {message_expiry_interval:?}")
    };
    let (log, recovered) = read(version_2());
    let owed: Vec<_> = received(log, recovered).iter().map(content).collect();
    let (mut lost, mut starts) = (0, 0);
    for at in 0..version_2().len() {
        let mut bytes = version_2();
        bytes[at] ^= 0x21;
        let disk = SimDisk::new(1);
        disk.set_bytes(FILE, bytes);
        let Some((log, recovered)) = Log::open_damaged(disk, Level::PowerLoss) else { continue };
        let received: Vec<_> = received(log, recovered).iter().map(content).collect();
        assert!(received.iter().all(|one| owed.contains(one)), "byte {at}: {received:?}");
        starts += 1;
        lost += usize::from(received.len() < owed.len());
    }
    assert!(starts > 1_000 && lost > 500, "{starts} starts, of which {lost} lost a message");
}

#[test]
fn the_current_version_writes_the_same_state() {
    let bytes = write();
    if is_to_be_written() {
        std::fs::write(directory().join("format-new.seg"), &bytes).unwrap();
    }
    check(read(bytes.clone()), &ada());
    // A crash in the middle leaves the same state.
    let disk = SimDisk::new(1);
    disk.set_bytes(FILE, bytes);
    let (mut log, _) = Log::open(disk, Level::PowerLoss);
    let recovered = log.crash(Committed::Nothing, Loss::Power, 1);
    check((log, recovered), &ada());
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn is_to_be_written() -> bool {
    std::env::var("ONCEMQ_GOLDEN").is_ok_and(|value| value == "write")
}

fn version_2() -> Vec<u8> {
    std::fs::read(directory().join("format-2.seg")).unwrap()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promise")
}

const FILE: &str = "0000000001.seg";
const SEGMENT_BYTES: u64 = 4_096;
const AWAY: u32 = 0;
const BUSY: u32 = 1;
const PUBLISHER: u32 = 2;
