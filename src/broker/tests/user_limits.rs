//! Limits of the clients of single users.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use proptest::prelude::*;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{
    AnonymousSessions, DropReason, Event, QueueHead, QueueOverflow, Report, Settings, UserLimit, UserLimits,
};
use crate::codec::{ClientPacket, Connect, ReasonCode, ServerPacket};
use crate::routing::Access;
use crate::topic::MountPoint;

/// The settings with limits of `alice`.
fn limiting(limit: UserLimit) -> Settings {
    let users = vec!["alice".to_owned()];
    Settings { user_limits: UserLimits::new(vec![UserLimit { users, ..limit }]), ..settings() }
}

fn connections(connections_max: usize) -> UserLimit {
    UserLimit { connections_max: Some(connections_max), ..UserLimit::default() }
}

fn verifying(shards: usize, settings: Settings) -> Harness {
    let mut harness = Harness::with(shards, settings);
    harness.verifies = true;
    harness
}

fn of(user: &str, connect: Connect) -> Connect {
    Connect { user_name: (!user.is_empty()).then(|| user.into()), ..connect }
}

fn reload(harness: &mut Harness, settings: Settings) {
    let settings = Arc::new(settings);
    for shard in 0..harness.shards.len() {
        harness.event(shard, Event::SettingsChanged(Arc::clone(&settings)));
    }
}

fn counts(harness: &Harness) -> Vec<(String, usize)> {
    harness.shards[0].shared.user_connections.counts()
}

const REFUSED: [&str; 2] = ["CONNACK 0x97", "CLOSED"];

#[test]
fn a_user_has_at_most_so_many_connections_in_all_shards_together() {
    let mut harness = verifying(3, limiting(connections(2)));
    let first = harness.connect_to(0, of("alice", transient("a")));
    let second = harness.connect_to(1, of("alice", durable("b")));
    let third = harness.attempt(2, of("alice", transient("c")));
    assert_eq!(harness.received(third), REFUSED);
    let refused = |report: &Report| {
        let Report::Refused { reason_code: ReasonCode::QuotaExceeded, cause, .. } = report else { return None };
        Some(cause.to_string())
    };
    let reason = harness.reports.iter().find_map(refused);
    assert_eq!(reason.unwrap(), "user_limits[0].connections_max (2) is reached by \"alice\"");
    assert_eq!(harness.shards[2].counters().connects_refused, 1);
    harness.connect_to(2, of("bob", transient("of bob")));
    harness.connect_to(2, transient("anonymous"));
    harness.lose(first);
    let third = harness.connect_to(2, of("alice", transient("c")));
    let fourth = harness.attempt(0, of("alice", transient("d")));
    assert_eq!(harness.received(fourth), REFUSED);
    harness.run(second, [disconnect(ReasonCode::Success)]);
    let fourth = harness.connect_to(0, of("alice", transient("d")));
    assert_eq!(counts(&harness), [("alice".to_owned(), 2)]);
    harness.lose(third);
    harness.lose(fourth);
    assert_eq!(counts(&harness), []);
}

#[test]
fn a_user_has_no_further_connections_below_other_mount_points() {
    let mut harness = verifying(2, limiting(connections(2)));
    let at = |mount_point: &str| {
        let mount_point = MountPoint::new(mount_point).ok();
        Some(Arc::unwrap_or_clone(Arc::new(Access::everything()).below(mount_point.as_ref())))
    };
    let mut clients = Vec::new();
    for (id, mount_point) in [("a", "t/a/"), ("b", "")] {
        harness.granted = at(mount_point);
        clients.push(harness.connect_to(0, of("alice", durable(id))));
    }
    for mount_point in ["t/c/", "t/a/", ""] {
        harness.granted = at(mount_point);
        let client = harness.attempt(1, of("alice", transient("c")));
        assert_eq!(harness.received(client), REFUSED, "{mount_point}");
    }
    assert_eq!(counts(&harness), [("alice".to_owned(), 2)]);
    reload(&mut harness, settings());
    assert_eq!(counts(&harness), []);
    reload(&mut harness, limiting(connections(2)));
    assert_eq!(counts(&harness), [("alice".to_owned(), 2)]);
    clients.into_iter().for_each(|client| harness.lose(client));
    assert_eq!(counts(&harness), []);
}

#[test]
fn a_refused_client_of_3_1_1_reads_server_unavailable_and_the_log_names_the_limit() {
    let mut harness = verifying(1, limiting(connections(1)));
    harness.connect(of("alice", v311("a", true)));
    let client = harness.attempt(0, of("alice", v311("b", true)));
    assert_eq!(harness.received(client), REFUSED, "the codec makes it Return Code 0x03");
}

#[test]
fn mqtt5_3_1_4_3_at_the_limit_a_client_takes_its_own_connection_over() {
    for shard in [0, 1] {
        for connect in [transient("a"), durable("a"), Connect { clean_start: true, ..durable("a") }] {
            let mut harness = verifying(2, limiting(connections(1)));
            let first = harness.connect_to(0, of("alice", connect.clone()));
            let second = harness.connect_to(shard, of("alice", connect));
            assert_eq!(harness.received(first), ["DISCONNECT 0x8E", "CLOSED"]);
            assert_eq!(counts(&harness), [("alice".to_owned(), 1)]);
            harness.lose(second);
            assert_eq!(counts(&harness), []);
        }
    }
}

#[test]
fn a_refused_connect_disturbs_no_session_of_its_user() {
    for shard in [0, 1] {
        for clean_start in [false, true] {
            let mut harness = verifying(2, limiting(connections(1)));
            let away = harness.connect_to(0, of("alice", durable("away")));
            harness.run(away, [subscribe("t", Q1)]);
            harness.lose(away);
            let present = harness.connect_to(0, of("alice", transient("present")));
            harness.run(present, [publish("t", "kept", Q1, 1)]);
            let client = harness.attempt(shard, of("alice", Connect { clean_start, ..durable("away") }));
            assert_eq!(harness.received(client), REFUSED);
            assert!(!harness.is_closed(present));
            harness.lose(present);
            let client = harness.attempt(shard, of("alice", durable("away")));
            assert_eq!(harness.received(client), ["CONNACK 0x00 present", "PUBLISH t kept q1 #1"]);
        }
    }
}

#[test]
fn whoever_is_refused_later_or_leaves_before_connack_is_not_counted() {
    let mut harness = verifying(2, limiting(connections(1)));
    harness.connect_to(0, of("bob", durable("of bob")));
    for shard in [0, 1] {
        let client = harness.attempt(shard, of("alice", durable("of bob")));
        assert_eq!(harness.received(client), ["CONNACK 0x85", "CLOSED"]);
    }
    harness.granted = None;
    let client = harness.attempt(0, of("alice", transient("a")));
    harness.lose(client);
    harness.grant(Access::everything(), None);
    let client = harness.attempt(0, of("alice", transient("a")));
    harness.refuse(ReasonCode::NotAuthorized);
    assert_eq!(harness.received(client), ["CONNACK 0x87", "CLOSED"]);
    harness.granted = Some(Access::everything());
    assert_eq!(counts(&harness), [], "neither before nor after the answer of the provider");
    // Its Session is on its way when the client leaves.
    let client = harness.connect_to(0, of("alice", durable("a")));
    harness.lose(client);
    harness.forwards = false;
    let client = harness.attempt(1, of("alice", durable("a")));
    assert_eq!(counts(&harness), [("alice".to_owned(), 1)]);
    harness.lose(client);
    assert_eq!(counts(&harness), []);
    harness.forwards = true;
    harness.forward();
    harness.connect_to(0, of("alice", durable("a")));
    assert_eq!(counts(&harness), [("alice".to_owned(), 1)]);
}

#[test]
fn a_connect_that_is_refused_by_sessions_max_is_not_counted() {
    let mut harness = verifying(1, Settings { sessions_max: 1, ..limiting(connections(5)) });
    harness.connect(transient("other"));
    let client = harness.attempt(0, of("alice", transient("a")));
    assert_eq!(harness.received(client), REFUSED);
    assert_eq!(counts(&harness), []);
}

#[test]
fn a_claimed_name_is_nobody() {
    let mut harness =
        Harness::with(1, limiting(UserLimit { subscriptions_per_session_max: Some(1), ..connections(1) }));
    for name in ["a", "b"] {
        let client = harness.connect(of("alice", transient(name)));
        harness.run(client, [subscribe("t", Q0)]);
        assert_eq!(harness.ask(client, subscribe("u", Q0)), ["SUBACK 1 00"]);
    }
    assert_eq!(counts(&harness), []);
}

#[test]
fn after_a_reload_those_beyond_the_limit_stay_and_new_ones_are_refused() {
    let mut harness = verifying(2, settings());
    let before: Vec<Client> =
        (0..3).map(|number| harness.connect_to(number % 2, of("alice", transient(&format!("{number}"))))).collect();
    assert_eq!(counts(&harness), [], "nobody is counted without a limit");
    reload(&mut harness, limiting(connections(2)));
    assert_eq!(counts(&harness), [("alice".to_owned(), 3)]);
    assert!(before.iter().all(|client| !harness.is_closed(*client)));
    let client = harness.attempt(1, of("alice", transient("new")));
    assert_eq!(harness.received(client), REFUSED);
    harness.lose(before[0]);
    let client = harness.attempt(1, of("alice", transient("new")));
    assert_eq!(harness.received(client), REFUSED);
    harness.lose(before[1]);
    harness.connect_to(1, of("alice", transient("new")));
    reload(&mut harness, settings());
    assert_eq!(counts(&harness), []);
    harness.lose(before[2]);
    assert_eq!(counts(&harness), []);
}

#[test]
fn the_rates_of_a_user_are_for_each_of_its_clients_and_change_at_a_reload() {
    let ten = UserLimit { messages_per_second_max: NonZeroU32::new(10), ..UserLimit::default() };
    let bytes = UserLimit { bytes_per_second_max: NonZeroU32::new(100), ..UserLimit::default() };
    let mut harness = verifying(1, limiting(ten));
    let [first, second, other] =
        [("alice", "a"), ("alice", "b"), ("bob", "c")].map(|(user, id)| harness.connect(of(user, transient(id))));
    for client in [first, second, other] {
        for _ in 0..10 {
            harness.send(client, publish("t", "x", Q0, 0));
            assert!(!harness.is_paused(client), "each has its own");
        }
        harness.send(client, publish("t", "x", Q0, 0));
        assert_eq!(harness.is_paused(client), client != other);
    }
    harness.seconds(2);
    assert!(!harness.shards[0].limits_bytes());
    reload(&mut harness, limiting(bytes));
    assert!(harness.shards[0].limits_bytes());
    for client in [first, other] {
        for _ in 0..100 {
            harness.send(client, publish("t", "x", Q0, 0));
        }
        assert!(!harness.is_paused(client));
        harness.event(0, Event::Received { connection: client.id, bytes: 1_000 });
        assert_eq!(harness.is_paused(client), client == first);
    }
}

#[test]
fn a_user_may_have_a_higher_rate_than_all_clients() {
    let own = UserLimit { messages_per_second_max: NonZeroU32::new(100), ..UserLimit::default() };
    let mut harness = verifying(1, Settings { client_messages_per_second_max: NonZeroU32::new(10), ..limiting(own) });
    for (user, expected) in [("alice", false), ("bob", true)] {
        let client = harness.connect(of(user, transient(user)));
        for _ in 0..50 {
            harness.send(client, publish("t", "x", Q0, 0));
        }
        assert_eq!(harness.is_paused(client), expected, "{user}");
    }
}

#[test]
fn subscriptions_of_a_user_are_limited_for_each_session() {
    let one = UserLimit { subscriptions_per_session_max: Some(1), ..UserLimit::default() };
    let mut harness = verifying(1, limiting(one));
    for (user, expected) in [("alice", "SUBACK 1 97"), ("bob", "SUBACK 1 00")] {
        let client = harness.connect(of(user, transient(user)));
        harness.run(client, [subscribe("a", Q0)]);
        assert_eq!(harness.ask(client, subscribe("b", Q0)), [expected]);
        harness.run(client, []);
        harness.send(client, subscribe("c", Q0));
        let packets = harness.packets(client);
        let [ServerPacket::Suback(suback)] = &packets[..] else { panic!("{packets:?}") };
        if user == "alice" {
            let reason = suback.reason_string.as_deref().unwrap();
            assert_eq!(reason, "c: user_limits[0].subscriptions_per_session_max (1) is reached");
        }
    }
}

#[test]
fn mqtt5_3_3_4_7_receive_maximum_and_window_of_a_user() {
    let own = UserLimit {
        receive_maximum: NonZeroU16::new(2),
        inflight_messages_max: NonZeroU16::new(1),
        ..UserLimit::default()
    };
    let mut harness = verifying(1, limiting(own));
    let client = harness.attempt(0, of("alice", transient("a")));
    let packets = harness.packets(client);
    let [ServerPacket::Connack(connack)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!(connack.properties.receive_maximum, NonZeroU16::new(2));
    harness.run(client, [subscribe("t", Q1)]);
    let publisher = harness.connect(of("bob", transient("p")));
    harness.run(publisher, (1..=3).map(|number| publish("t", "x", Q1, number)));
    assert_eq!(harness.received(client), ["PUBLISH t x q1 #1"]);
    assert_eq!(harness.ask(client, puback(1)), ["PUBLISH t x q1 #2"]);
    harness.store_answers = false;
    harness.run(client, (1..=2).map(|number| publish("d", "x", Q2, number)));
    assert!(!harness.is_closed(client));
    assert_eq!(harness.ask(client, publish("d", "x", Q2, 3)), ["DISCONNECT 0x93", "CLOSED"]);
}

/// A durable Session of `alice` that is away, on shard 0, with a subscription to `t`.
fn away(shards: usize, settings: Settings) -> Harness {
    let mut harness = verifying(shards, settings);
    let subscriber = harness.connect(of("alice", durable("s")));
    harness.run(subscriber, [subscribe("t", Q2)]);
    harness.lose(subscriber);
    harness
}

fn queued(harness: &Harness) -> u64 {
    harness.shards.iter().map(|shard| shard.counters().queued_messages).sum()
}

#[test]
fn the_queue_of_a_user_has_its_own_bound_also_while_it_is_away_and_after_a_crash() {
    let three = UserLimit { queued_messages_max: Some(3), ..UserLimit::default() };
    for shards in [1, 2] {
        let mut settings = limiting(three.clone());
        settings.queue_head = Some(QueueHead::default());
        let mut harness = away(shards, settings.clone());
        let publisher = harness.connect_to(shards - 1, of("bob", transient("p")));
        harness.run(publisher, (1..=5).map(|number| publish("t", "x", Q1, number)));
        assert_eq!(queued(&harness), 3);
        harness.restart(settings);
        let publisher = harness.connect_to(shards - 1, of("bob", transient("p")));
        harness.run(publisher, (1..=5).map(|number| publish("t", "x", Q1, number)));
        assert_eq!(queued(&harness), 3, "the owner is stored");
        reload(&mut harness, limiting(UserLimit { queued_messages_max: Some(5), ..UserLimit::default() }));
        harness.run(publisher, (1..=5).map(|number| publish("t", "x", Q1, number)));
        assert_eq!(queued(&harness), 5, "a reload applies to a session that is away");
    }
}

#[test]
fn the_bound_of_a_user_holds_in_the_shard_of_the_publisher_too() {
    let one = UserLimit { queued_messages_max: Some(1), ..UserLimit::default() };
    for shards in [1, 2] {
        for (overflow, second) in [(QueueOverflow::Reject, "PUBACK 2 0x97"), (QueueOverflow::DropNewest, "PUBACK 2")] {
            let mut harness = away(shards, Settings { queue_overflow: overflow, ..limiting(one.clone()) });
            let publisher = harness.connect_to(shards - 1, of("bob", transient("p")));
            assert_eq!(harness.ask(publisher, publish("t", "1", Q1, 1)), ["PUBACK 1"]);
            assert_eq!(harness.ask(publisher, publish("t", "2", Q1, 2)), [second]);
            assert_eq!(queued(&harness), 1);
            // The same bound after the Session has moved to another shard.
            let subscriber = harness.connect_to(shards - 1, of("alice", durable("s")));
            harness.lose(subscriber);
            let old = harness.connect_to(0, of("bob", v311("old", true)));
            harness.send(old, publish("t", "3", Q1, 3));
            assert_eq!(harness.is_paused(old), overflow == QueueOverflow::Reject);
            assert_eq!(queued(&harness), 1);
            // Room for it comes with a reload, and with an acknowledgement.
            let subscriber = harness.connect_to(0, of("alice", durable("s")));
            harness.run(subscriber, [puback(1)]);
            assert!(!harness.is_paused(old));
            let dropped: u64 =
                harness.shards.iter().map(|shard| shard.counters().dropped[DropReason::QueueFull as usize]).sum();
            assert_eq!(dropped, if overflow == QueueOverflow::Reject { 0 } else { 2 });
        }
    }
}

#[test]
fn a_session_that_gets_another_owner_gets_its_limits() {
    let three = UserLimit { queued_messages_max: Some(3), ..UserLimit::default() };
    let mut harness = verifying(1, Settings { anonymous_sessions: AnonymousSessions::Adopt, ..limiting(three) });
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    let subscriber = harness.connect(of("alice", durable("s")));
    harness.lose(subscriber);
    let publisher = harness.connect(of("bob", transient("p")));
    harness.run(publisher, (1..=5).map(|number| publish("t", "x", Q1, number)));
    assert_eq!(queued(&harness), 3);
}

#[derive(Debug, Clone)]
enum Step {
    Connect { shard: usize, user: &'static str, client: usize, clean_start: bool },
    Lose(usize),
    Disconnect(usize),
    Reload(Option<usize>),
    Kick(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let user = prop::sample::select(vec!["alice", "alice", "bob", ""]);
    prop_oneof![
        6 => (0..3_usize, user, 0..5_usize, any::<bool>())
            .prop_map(|(shard, user, client, clean_start)| Step::Connect { shard, user, client, clean_start }),
        2 => (0..20_usize).prop_map(Step::Lose),
        1 => (0..20_usize).prop_map(Step::Disconnect),
        1 => prop::option::of(1..4_usize).prop_map(Step::Reload),
        1 => (0..20_usize).prop_map(Step::Kick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_count_of_a_user_is_that_of_its_connections_whatever_happens(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut harness = verifying(3, limiting(connections(2)));
        let mut limit = Some(2);
        let mut clients: Vec<(Client, &str, usize)> = Vec::new();
        for step in steps {
            match step {
                Step::Connect { shard, user, client, clean_start } => {
                    let owned = format!("{user}{client}");
                    let open = |harness: &Harness| {
                        let mine = clients.iter().filter(|(at, of, _)| *of == "alice" && !harness.is_closed(*at));
                        let mut ids: Vec<usize> = mine.map(|(_, _, id)| *id).collect();
                        ids.sort_unstable();
                        ids.dedup();
                        ids
                    };
                    let before = open(&harness);
                    let at = harness.attempt(shard, of(user, Connect { clean_start, ..durable(&owned) }));
                    let is_full = user == "alice"
                        && limit.is_some_and(|limit| before.len() >= limit)
                        && !before.contains(&client);
                    prop_assert_eq!(harness.is_closed(at), is_full);
                    clients.push((at, user, client));
                }
                Step::Lose(number) => if let Some((at, _, _)) = clients.get(number) { harness.lose(*at) },
                Step::Disconnect(number) => if let Some((at, _, _)) = clients.get(number) {
                    harness.run(*at, [disconnect(ReasonCode::Success)]);
                },
                Step::Kick(number) => if let Some((at, _, _)) = clients.get(number)
                    && !harness.is_closed(*at)
                {
                    harness.event(at.shard, Event::ListenerRemoved { connection: at.id });
                },
                Step::Reload(next) => {
                    limit = next;
                    reload(&mut harness, next.map_or_else(settings, |limit| limiting(connections(limit))));
                }
            }
            let mut ids: Vec<usize> = clients
                .iter()
                .filter(|(at, user, _)| *user == "alice" && !harness.is_closed(*at) && limit.is_some())
                .map(|(_, _, id)| *id)
                .collect();
            ids.sort_unstable();
            ids.dedup();
            let expected: Vec<_> = (!ids.is_empty()).then(|| ("alice".to_owned(), ids.len())).into_iter().collect();
            prop_assert_eq!(counts(&harness), expected);
        }
        for (at, _, _) in clients {
            harness.lose(at);
        }
        prop_assert_eq!(counts(&harness), []);
    }
}

#[test]
fn a_publish_of_a_client_without_a_limit_is_not_counted() {
    let ten = UserLimit { messages_per_second_max: NonZeroU32::new(1), ..UserLimit::default() };
    let mut harness = verifying(1, limiting(ten));
    let client = harness.connect(of("bob", transient("b")));
    for _ in 0..100 {
        harness.send(client, publish("t", "x", Q0, 0));
    }
    harness.send(client, ClientPacket::Pingreq);
    assert!(!harness.is_paused(client));
    assert_eq!(harness.shards[0].counters().rate_pauses, 0);
}
