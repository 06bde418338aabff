//! Invariants under random sequences of events of clients, network, store and clock.

use proptest::prelude::*;

use super::harness::{Client, Harness, recovered, settings};
use super::packets::*;
use crate::broker::{Answer, Event, ForgetOutcome, Kick, Query, QueryId, QueueRequest};
use crate::codec::{
    AliasUse, ClientId, ClientPacket, Connect, Disconnect, Publish, Qos, ReasonCode, SubscriptionOptions, Will,
};
use crate::routing::SessionKey;

#[derive(Debug, Clone)]
enum Step {
    Connect { shard: usize, client_id: u8, kind: u8, with_will: bool },
    Open { shard: usize },
    Send { client: usize, packet: ClientPacket },
    Lose { client: usize },
    Flush { client: usize, remaining: usize },
    Persist,
    Forward { from: usize, to: usize },
    Pass { milliseconds: u64 },
    Store { answers: bool },
    Transports { accept: bool },
    Between { arrives: bool },
    Operate { shard: usize, client_id: u8, request: Request },
}

/// A request of an operator.
#[derive(Debug, Clone, Copy)]
enum Request {
    Kick,
    Forget,
    Queue,
}

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![Just(Q0), Just(Q1), Just(Q2)]
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("a/b"), Just("a/c"), Just("$x/a")]
}

fn filter() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("#"), Just("a/+"), Just("$share/g/a/+"), Just("$share/h/#"), Just("$x/#")]
}

fn any_packet() -> impl Strategy<Value = ClientPacket> {
    let publish = (name(), qos(), 1..6_u16, any::<[bool; 3]>(), 0..30_u32, 0..4_u16).prop_map(
        |(name, qos, packet_id, [retain, dup, empty], expiry, alias)| {
            let packet_id = if qos == Q0 { 0 } else { packet_id };
            ClientPacket::Publish(Publish {
                retain,
                dup: dup && qos > Q0,
                message_expiry_interval: (expiry > 10).then_some(expiry),
                topic_alias: std::num::NonZeroU16::new(alias).map(|alias| (alias, AliasUse::Set)),
                ..message(name, "", qos, packet_id).with_payload(vec![
                    b'x';
                    if empty {
                        0
                    } else {
                        usize::from(packet_id) * 300
                    }
                ])
            })
        },
    );
    let subscribe = (filter(), qos(), any::<[bool; 2]>(), 0..3_u32).prop_map(|(filter, qos, flags, number)| {
        let [local, kept] = flags;
        let no_local = local && !filter.starts_with("$share");
        let options = SubscriptionOptions { no_local, retain_as_published: kept, ..options(qos) };
        subscribe_all(1, number, vec![subscription(filter, options)])
    });
    let ack = (0..4_u8, 1..20_u16).prop_map(|(kind, number)| match kind {
        0 => puback(number),
        1 => pubrec(number),
        2 => pubrel(number % 6 + 1),
        _ => pubcomp(number),
    });
    let leave = (any::<bool>(), 0..20_u32).prop_map(|(normal, expiry)| {
        let reason = if normal { ReasonCode::Success } else { ReasonCode::DisconnectWithWillMessage };
        let interval = (expiry < 10).then_some(expiry);
        ClientPacket::Disconnect(Box::new(Disconnect { session_expiry_interval: interval, ..Disconnect::new(reason) }))
    });
    let unsubscribe = filter().prop_map(|filter| unsubscribe(2, &[filter]));
    let connect = Just(ClientPacket::Connect(Box::new(transient("again"))));
    let ping = Just(ClientPacket::Pingreq);
    prop_oneof![10 => publish, 5 => subscribe, 12 => ack, 1 => leave, 2 => unsubscribe, 1 => connect, 1 => ping]
}

fn step() -> impl Strategy<Value = Step> {
    let connect = (0..2_usize, 0..4_u8, 0..5_u8, any::<bool>())
        .prop_map(|(shard, client_id, kind, with_will)| Step::Connect { shard, client_id, kind, with_will });
    prop_oneof![
        6 => connect,
        1 => (0..2_usize).prop_map(|shard| Step::Open { shard }),
        40 => (0..6_usize, any_packet()).prop_map(|(client, packet)| Step::Send { client, packet }),
        2 => (0..6_usize).prop_map(|client| Step::Lose { client }),
        4 => (0..6_usize, 0..3_000_usize).prop_map(|(client, remaining)| Step::Flush { client, remaining }),
        4 => Just(Step::Persist),
        6 => (0..2_usize, 0..2_usize).prop_map(|(from, to)| Step::Forward { from, to }),
        4 => (0..20_000_u64).prop_map(|milliseconds| Step::Pass { milliseconds }),
        2 => any::<bool>().prop_map(|answers| Step::Store { answers }),
        1 => any::<bool>().prop_map(|accept| Step::Transports { accept }),
        2 => any::<bool>().prop_map(|arrives| Step::Between { arrives }),
        3 => operate(),
    ]
}

fn operate() -> impl Strategy<Value = Step> {
    let request = prop_oneof![Just(Request::Kick), Just(Request::Forget), Just(Request::Queue)];
    (0..2_usize, 0..4_u8, request).prop_map(|(shard, client_id, request)| Step::Operate { shard, client_id, request })
}

fn connect(client_id: u8, kind: u8, with_will: bool) -> Connect {
    let client_id = format!("c{client_id}");
    let mut connect = match kind {
        0 => transient(&client_id),
        1 => durable(&client_id),
        2 => Connect { clean_start: true, ..durable(&client_id) },
        3 => v311(&client_id, false),
        _ => v311(&client_id, true),
    };
    if kind < 2 {
        connect.properties.receive_maximum = std::num::NonZeroU16::new(2).unwrap();
        connect.properties.topic_alias_maximum = 2;
        connect.properties.maximum_packet_size = std::num::NonZeroU32::new(1_000);
        connect.keep_alive = 30;
    }
    let delay = if kind < 3 { u32::from(kind) * 5 } else { 0 };
    connect.will = with_will.then(|| Will { will_delay_interval: delay, qos: Q1, ..will("a/b", "gone") });
    connect
}

struct World {
    harness: Harness,
    clients: Vec<Client>,
    /// The number of requests of operators.
    asked: u64,
    /// The Sessions that they want to be forgotten, by the number of the request.
    forgotten: Vec<(QueryId, Option<SessionKey>)>,
    /// The answers that were checked.
    checked: usize,
}

impl World {
    fn new() -> Self {
        let mut settings = settings();
        settings.queued_messages_max = 6;
        settings.outgoing_bytes_max = 4_000;
        settings.receive_maximum = std::num::NonZeroU16::new(4).unwrap();
        settings.session_expiry_max = 100;
        Self { harness: Harness::with(2, settings), clients: Vec::new(), asked: 0, forgotten: Vec::new(), checked: 0 }
    }

    fn client(&self, number: usize) -> Option<Client> {
        // Prefers the latest clients, because these are still open.
        self.clients.iter().rev().nth(number).copied().filter(|client| !self.harness.is_closed(*client))
    }

    fn take(&mut self, step: Step) {
        let harness = &mut self.harness;
        match step {
            Step::Connect { shard, client_id, kind, with_will } => {
                let client = harness.attempt(shard, connect(client_id, kind, with_will));
                self.clients.push(client);
            }
            Step::Open { shard } => {
                let client = harness.open(shard);
                self.clients.push(client);
            }
            Step::Send { client, packet } => {
                if let Some(client) = self.client(client) {
                    self.harness.send(client, packet);
                }
            }
            Step::Lose { client } => {
                if let Some(client) = self.client(client) {
                    self.harness.lose(client);
                }
            }
            Step::Flush { client, remaining } => {
                if let Some(client) = self.client(client) {
                    self.harness.flush(client, remaining);
                }
            }
            Step::Persist => harness.persist(),
            Step::Forward { from, to } => harness.forward_one(from, to),
            Step::Pass { milliseconds } => harness.advance(std::time::Duration::from_millis(milliseconds)),
            Step::Store { answers } => harness.store_answers = answers,
            Step::Transports { accept } => harness.transports_accept = accept,
            Step::Between { arrives } => harness.forwards = arrives,
            Step::Operate { shard, client_id, request } => self.operate(shard, &format!("c{client_id}"), request),
        }
    }

    fn operate(&mut self, shard: usize, client_id: &str, request: Request) {
        let (id, client_id) = (QueryId(self.asked), ClientId::from(client_id));
        self.asked += 1;
        let query = match request {
            Request::Kick => {
                let kick = Kick { client_id, reason_code: ReasonCode::AdministrativeAction, ban: None };
                Query::Kick(Box::new(kick))
            }
            Request::Forget => {
                let entry = self.harness.shards[shard].session_of(&client_id);
                self.forgotten.push((id, entry.map(|entry| entry.subscriber.key)));
                Query::Forget(client_id)
            }
            Request::Queue => Query::Queue(client_id, QueueRequest { limit: 3, preview: 4 }),
        };
        self.harness.event(shard, Event::Query(id, Box::new(query)));
    }

    /// A Session of which an operator was told that it is forgotten is not in the records.
    fn check_answers(&mut self) {
        for (id, answer) in &self.harness.answers[self.checked..] {
            if let Answer::Forget(outcome) = answer {
                let place = self.forgotten.iter().position(|(query, _)| query == id).expect("answered twice");
                let (_, key) = self.forgotten.swap_remove(place);
                assert_eq!(*outcome == ForgetOutcome::Forgotten, key.is_some());
                let is_recovered = |key| recovered(&self.harness.records).sessions.iter().any(|one| one.key == key);
                assert!(!key.is_some_and(is_recovered), "it was not forgotten");
            }
        }
        self.checked = self.harness.answers.len();
    }

    fn check(&self) {
        for shard in &self.harness.shards {
            let counters = shard.counters();
            let queued = shard.sessions.iter().map(|(_, entry)| entry.session.queued());
            let (messages, bytes) = queued.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            assert_eq!((counters.queued_messages, counters.queued_bytes), (messages as u64, bytes as u64));
            let in_flight = shard.sessions.iter().map(|(_, entry)| u64::from(entry.session.in_flight()));
            assert_eq!(counters.in_flight_messages, in_flight.sum::<u64>());
            assert_eq!(counters.sessions, shard.sessions.iter().count() as u64);
            shard.sessions.check();
            let connected = shard.sessions.iter().filter(|(_, entry)| entry.connection.is_some()).count();
            assert_eq!(counters.sessions_connected, connected as u64);
            let connections = shard.connections.iter().count();
            assert_eq!(counters.connections, connections as u64);
        }
    }

    /// Completes all pending steps, and asserts that no connection stays paused and that all Sessions end.
    fn finish(&mut self) {
        self.harness.store_answers = true;
        self.harness.forwards = true;
        self.harness.transports_accept = true;
        for _ in 0..10 {
            self.harness.persist();
            self.harness.forward();
        }
        for client in &self.clients {
            if !self.harness.is_closed(*client) {
                self.harness.flush(*client, 0);
            }
        }
        self.harness.seconds(5);
        let open: Vec<Client> =
            self.clients.iter().copied().filter(|client| !self.harness.is_closed(*client)).collect();
        for client in open {
            assert!(self.harness.is_closed(client) || !self.harness.is_paused(client), "a pause does not end");
            self.harness.lose(client);
        }
        self.harness.seconds(1_000);
        self.check();
        self.check_answers();
        assert_eq!(self.harness.answers.len() as u64, self.asked, "every request has one answer");
        for shard in &self.harness.shards {
            let counters = shard.counters();
            let left = (counters.sessions, counters.queued_messages, counters.queued_bytes, counters.connections);
            assert_eq!(left, (0, 0, 0, 0));
            assert!(shard.sessions.is_settled());
            assert!(shard.pipeline.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_events_keeps_the_invariants(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check();
            world.check_answers();
        }
        world.finish();
    }
}
