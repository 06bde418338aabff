//! What operators see of a client, and do to it: how it left, its history, its queue; kicking it and forgetting its Session.

use std::time::Duration;

use super::harness::{Client, Harness, recovered, settings};
use super::packets::*;
use crate::broker::detail::ClientPattern;
use crate::broker::{
    Answer, ClientFilter, ClientView, DisconnectKind, DropReason, Event, EventKind, EventView, ForgetOutcome, Kick,
    KickOutcome, PageRequest, Query, QueryId, QueueHead, QueueRequest, QueuedView, Settings,
};
use crate::codec::{ClientId, ClientPacket, Connect, DecodeError, ReasonCode, Will};
use crate::session::QueuedState;

/// Sends a query, which need not be answered at once.
fn tell(harness: &mut Harness, shard: usize, query: Query) -> QueryId {
    harness.queries += 1;
    let id = QueryId(harness.queries);
    harness.event(shard, Event::Query(id, Box::new(query)));
    id
}

fn answer(harness: &Harness, id: QueryId) -> Option<Answer> {
    harness.answers.iter().find(|(answered, _)| *answered == id).map(|(_, answer)| answer.clone())
}

fn ask(harness: &mut Harness, shard: usize, query: Query) -> Answer {
    let id = tell(harness, shard, query);
    answer(harness, id).expect("an answer")
}

fn view(harness: &mut Harness, shard: usize, name: &str) -> Option<ClientView> {
    let Answer::Client(view) = ask(harness, shard, Query::Client(ClientId::from(name))) else {
        panic!("unexpected answer")
    };
    view.map(|view| *view)
}

/// How the client left the last time, with the Reason Code, the reason and the time since then.
fn left(harness: &mut Harness, shard: usize, name: &str) -> Option<(DisconnectKind, Option<u8>, String, u64)> {
    let last = view(harness, shard, name)?.last_disconnect?;
    let ago = u64::try_from(harness.now.since(last.at).as_millis()).unwrap();
    Some((last.kind, last.reason_code.map(ReasonCode::number), last.reason.unwrap_or_default().to_string(), ago))
}

fn history(harness: &mut Harness, shard: usize, name: &str) -> Vec<EventView> {
    let Answer::History(events) = ask(harness, shard, Query::History(ClientId::from(name), 50)) else {
        panic!("unexpected answer")
    };
    events
}

fn kinds(harness: &mut Harness, shard: usize, name: &str) -> Vec<&'static str> {
    history(harness, shard, name).iter().map(|event| event.kind.name()).collect()
}

fn kick(name: &str, reason_code: ReasonCode, ban: Option<Duration>) -> Query {
    Query::Kick(Box::new(Kick { client_id: ClientId::from(name), reason_code, ban }))
}

fn forget(name: &str) -> Query {
    Query::Forget(ClientId::from(name))
}

fn queue(harness: &mut Harness, name: &str, limit: usize, preview: usize) -> Option<Vec<QueuedView>> {
    let request = QueueRequest { limit, preview };
    let Answer::Queue(views) = ask(harness, 0, Query::Queue(ClientId::from(name), request)) else {
        panic!("unexpected answer")
    };
    views
}

const ADMINISTRATIVE: ReasonCode = ReasonCode::AdministrativeAction;

#[test]
fn each_way_of_leaving_is_told_with_its_time_also_after_the_next_connect() {
    type Way = (fn(&mut Harness, Client), (DisconnectKind, Option<u8>, &'static str));
    let ways: [Way; 8] = [
        (
            |harness, client| harness.send(client, disconnect(ReasonCode::Success)),
            (DisconnectKind::Disconnect, Some(0), "DISCONNECT"),
        ),
        (
            |harness, client| harness.send(client, disconnect(ReasonCode::DisconnectWithWillMessage)),
            (DisconnectKind::Disconnect, Some(4), "DISCONNECT"),
        ),
        (|harness, client| harness.lose(client), (DisconnectKind::Closed, None, "connection reset")),
        (|harness, _| harness.seconds(15), (DisconnectKind::KeepAlive, Some(0x8D), "Keep Alive timeout")),
        (
            |harness, client| {
                harness.undecodable(client, DecodeError::PacketTooLarge { size: 9, maximum_packet_size: 8 }, None)
            },
            (DisconnectKind::ProtocolError, Some(0x95), "packet of 9 bytes exceeds the maximum of 8"),
        ),
        (
            |harness, client| harness.send(client, ClientPacket::Connect(Box::new(durable("c")))),
            (DisconnectKind::ProtocolError, Some(0x82), "second CONNECT"),
        ),
        (
            |harness, client| drop(ask(harness, client.shard, kick("c", ReasonCode::QuotaExceeded, None))),
            (DisconnectKind::Kicked, Some(0x97), "disconnected by an operator"),
        ),
        (
            |harness, client| harness.event(client.shard, Event::ShuttingDown),
            (DisconnectKind::Shutdown, Some(0x8B), "broker is shutting down"),
        ),
    ];
    for (number, (leave, (kind, code, reason))) in ways.into_iter().enumerate() {
        let mut harness = Harness::new();
        let connect = || Connect { keep_alive: 10, ..durable("c") };
        let client = harness.connect(connect());
        assert_eq!(left(&mut harness, 0, "c"), None);
        leave(&mut harness, client);
        assert!(harness.is_closed(client), "way {number}");
        let found = left(&mut harness, 0, "c").unwrap();
        assert_eq!((found.0, found.1, found.3), (kind, code, 0), "way {number}");
        assert!(found.2.starts_with(reason) && !found.2.is_empty(), "way {number}: {}", found.2);
        assert_eq!(kinds(&mut harness, 0, "c"), ["connected", "disconnected"]);
        if kind != DisconnectKind::Shutdown {
            harness.seconds(3);
            harness.connect(connect());
            let again = left(&mut harness, 0, "c").unwrap();
            assert_eq!((again.0, again.1, again.2, again.3), (kind, code, found.2, 3_000), "way {number}");
        }
    }
}

#[test]
fn how_a_client_left_is_kept_when_its_session_moves_to_another_shard() {
    let mut harness = Harness::with(2, settings());
    harness.address = Some("192.0.2.7:1".parse().unwrap());
    harness.connect_to(0, durable("c"));
    harness.seconds(1);
    harness.connect_to(1, durable("c"));
    let taken = (DisconnectKind::Takeover, Some(0x8E), "session taken over by another connection".to_owned(), 0);
    assert_eq!(left(&mut harness, 1, "c"), Some(taken));
    assert_eq!(
        (kinds(&mut harness, 0, "c"), kinds(&mut harness, 1, "c")),
        (vec!["connected", "taken-over"], vec!["connected"])
    );
    assert!(history(&mut harness, 0, "c").iter().all(|event| event.address == harness.address));
}

#[test]
fn how_a_client_left_is_known_from_the_history_if_its_session_ended_with_it() {
    let mut harness = Harness::new();
    for _ in 0..2 {
        let client = harness.connect(transient("c"));
        harness.seconds(1);
        harness.lose(client);
        assert_eq!(view(&mut harness, 0, "c"), None);
        assert_eq!(kinds(&mut harness, 0, "c").last(), Some(&"disconnected"));
    }
    harness.connect(transient("c"));
    let found = left(&mut harness, 0, "c").map(|(kind, ..)| kind);
    assert_eq!(found, Some(DisconnectKind::Closed));
    let at: Vec<_> = history(&mut harness, 0, "c").iter().map(|event| event.at).collect();
    assert!(at.is_sorted() && at.len() == 5);
}

#[test]
fn after_a_restart_the_time_is_known_from_the_store_and_the_rest_is_not() {
    let mut harness = Harness::new();
    let away = harness.connect(durable("away"));
    harness.connect(durable("here"));
    harness.lose(away);
    let since = harness.now;
    harness.seconds(5);
    harness.restart(settings());
    assert_eq!(left(&mut harness, 0, "away"), Some((DisconnectKind::Unknown, None, String::new(), 5_000)));
    assert_eq!(view(&mut harness, 0, "away").unwrap().disconnected_at, Some(since));
    assert_eq!(left(&mut harness, 0, "here"), Some((DisconnectKind::Crash, None, String::new(), 0)));
    assert_eq!(history(&mut harness, 0, "away"), []);
}

#[test]
fn the_history_has_refusals_drops_and_the_end_of_the_session() {
    let mut harness = Harness::with(1, Settings { queued_messages_max: 1, ..settings() });
    let mut refused = durable("c");
    refused.will = Some(Will { qos: Q2, ..will("a/b/c/d/e/f/g/h/i/j", "x") });
    harness.attempt(0, refused);
    let client = harness.connect(durable("c"));
    harness.run(client, [subscribe("t", Q1)]);
    harness.lose(client);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, (1..5).map(|number| publish("t", "x", Q1, number)));
    harness.seconds(1_000);
    assert_eq!(kinds(&mut harness, 0, "c"), ["refused", "connected", "disconnected", "dropping", "session-ended"]);
    let events = history(&mut harness, 0, "c");
    assert_eq!(events[0].reason_code, Some(ReasonCode::TopicNameInvalid));
    assert_eq!(events[2].kind, EventKind::Disconnected(DisconnectKind::Closed));
    assert_eq!(events[3].reason.as_deref(), Some("queue_full"));
    assert_eq!(view(&mut harness, 0, "c"), None);
    assert_eq!(history(&mut harness, 0, "stranger"), []);
}

#[test]
fn drops_are_counted_for_their_client_by_reason() {
    let mut harness = Harness::with(1, Settings { queued_messages_max: 2, ..settings() });
    let client = harness.connect(durable("c"));
    harness.run(client, [subscribe("t", Q1)]);
    harness.connect(durable("other"));
    harness.lose(client);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, (1..6).map(|number| publish("t", "x", Q1, number)));
    harness.run(publisher, [publish("t", "x", Q0, 0)]);
    let dropped = view(&mut harness, 0, "c").unwrap().dropped;
    assert_eq!(dropped, [(DropReason::QueueFull, 3), (DropReason::NotConnected, 1)]);
    assert_eq!(view(&mut harness, 0, "other").unwrap().dropped, []);
}

#[test]
fn a_connection_has_its_messages_each_way_and_what_is_in_flight() {
    let mut harness = Harness::new();
    harness.store_answers = true;
    let client = harness.connect(Connect { clean_start: true, ..durable("c") });
    harness.run(client, [subscribe("t", Q1)]);
    let connected_at = harness.now;
    harness.seconds(2);
    harness.run(client, [publish("t", "x", Q1, 1), publish("u", "x", Q0, 0), publish("u", "x", Q2, 2), puback(1)]);
    harness.run(client, [publish("t", "x", Q0, 0)]);
    let view = view(&mut harness, 0, "c").unwrap();
    let connection = view.connection.unwrap();
    assert_eq!(connection.messages, (4, 2));
    assert_eq!((view.in_flight_messages, view.in_flight_in), (0, 1), "the QoS 2 message waits for PUBREL");
    assert_eq!((connection.connected_at, connection.clean_start), (connected_at, true));
}

#[test]
fn a_kicked_client_reads_the_reason_code_and_its_will_is_published() {
    let mut harness = Harness::new();
    let watcher = harness.connect(transient("w"));
    harness.run(watcher, [subscribe("gone", Q0)]);
    let client = harness.connect(Connect { will: Some(will("gone", "c")), ..durable("c") });
    let Answer::Kick(KickOutcome::Kicked(kicked)) = ask(&mut harness, 0, kick("c", ADMINISTRATIVE, None)) else {
        panic!("not kicked")
    };
    assert_eq!((kicked.verified_user, kicked.address, kicked.ban), (None, None, None));
    assert_eq!(harness.received(client), ["DISCONNECT 0x98", "CLOSED"]);
    assert_eq!(harness.received(watcher), ["PUBLISH gone c q0"]);
    assert_eq!(ask(&mut harness, 0, kick("c", ADMINISTRATIVE, None)), Answer::Kick(KickOutcome::NotConnected));
    assert_eq!(ask(&mut harness, 0, kick("x", ADMINISTRATIVE, None)), Answer::Kick(KickOutcome::NotHere));
    let old = harness.connect(v311("old", true));
    ask(&mut harness, 0, kick("old", ADMINISTRATIVE, None));
    assert_eq!(harness.received(old), ["CLOSED"], "3.1.1 has no DISCONNECT of the server");
    let again = harness.attempt(0, durable("c"));
    assert_eq!(harness.received(again), ["CONNACK 0x00 present"], "its Session stays");
}

#[test]
fn a_client_that_cannot_be_banned_is_not_kicked_for_a_ban() {
    let mut harness = Harness::new();
    let ban = Some(Duration::from_secs(60));
    let client = harness.connect(durable("c"));
    assert_eq!(ask(&mut harness, 0, kick("c", ADMINISTRATIVE, ban)), Answer::Kick(KickOutcome::NotBannable));
    assert!(!harness.is_closed(client));
    harness.verifies = true;
    harness.address = Some("192.0.2.7:1".parse().unwrap());
    harness.connect(Connect { user_name: Some("alice".into()), ..durable("d") });
    let Answer::Kick(KickOutcome::Kicked(kicked)) = ask(&mut harness, 0, kick("d", ADMINISTRATIVE, ban)) else {
        panic!("not kicked")
    };
    assert_eq!((kicked.verified_user.as_deref(), kicked.address, kicked.ban), (Some("alice"), harness.address, ban));
}

#[test]
fn a_session_is_forgotten_when_that_is_stable_connected_or_not() {
    for is_away in [false, true] {
        let mut harness = Harness::new();
        let watcher = harness.connect(transient("w"));
        harness.run(watcher, [subscribe("gone", Q0)]);
        let with_will = Some(Will { will_delay_interval: 500, ..will("gone", "c") });
        let client = harness.connect(Connect { will: with_will, ..durable("c") });
        harness.run(client, [subscribe("t", Q1)]);
        if is_away {
            harness.lose(client);
        }
        let publisher = harness.connect(transient("p"));
        harness.run(publisher, [publish("t", "x", Q1, 1)]);
        harness.received(client);
        assert_eq!(recovered(&harness.records).sessions.len(), 1);
        harness.store_answers = false;
        let id = tell(&mut harness, 0, forget("c"));
        assert_eq!(answer(&harness, id), None, "the store has not answered");
        assert!(is_away || harness.received(client) == ["DISCONNECT 0x98", "CLOSED"]);
        assert_eq!(recovered(&harness.records).sessions.len(), 0);
        harness.persist();
        assert_eq!(answer(&harness, id), Some(Answer::Forget(ForgetOutcome::Forgotten)));
        assert_eq!(harness.received(watcher), ["PUBLISH gone c q0"], "its Will, as at the end of a Session");
        assert_eq!(harness.shards[0].counters().dropped[DropReason::SessionEnded as usize], 1);
        assert_eq!(view(&mut harness, 0, "c"), None);
        assert_eq!(kinds(&mut harness, 0, "c").last(), Some(&"session-ended"));
        harness.store_answers = true;
        let next = harness.attempt(0, durable("c"));
        assert_eq!(harness.received(next), ["CONNACK 0x00"]);
        assert_eq!(ask(&mut harness, 0, forget("x")), Answer::Forget(ForgetOutcome::NotHere));
    }
}

#[test]
fn a_session_of_a_connection_that_is_kept_nowhere_is_forgotten_at_once() {
    let mut harness = Harness::new();
    let client = harness.connect(transient("c"));
    assert_eq!(ask(&mut harness, 0, forget("c")), Answer::Forget(ForgetOutcome::Forgotten));
    assert_eq!(harness.received(client), ["DISCONNECT 0x98", "CLOSED"]);
    assert_eq!(harness.shards[0].counters().sessions, 0);
}

#[test]
fn a_session_that_is_moving_is_neither_kicked_nor_forgotten() {
    let mut harness = Harness::with(2, settings());
    harness.connect_to(0, durable("c"));
    harness.forwards = false;
    let next = harness.attempt(1, durable("c"));
    for shard in [0, 1] {
        assert_eq!(ask(&mut harness, shard, forget("c")), Answer::Forget(ForgetOutcome::NotHere));
        assert_eq!(ask(&mut harness, shard, kick("c", ADMINISTRATIVE, None)), Answer::Kick(KickOutcome::NotHere));
    }
    harness.forward();
    harness.forwards = true;
    assert_eq!(harness.received(next), ["CONNACK 0x00 present"]);
    assert_eq!(ask(&mut harness, 1, forget("c")), Answer::Forget(ForgetOutcome::Forgotten));
}

#[test]
fn the_head_of_a_queue_is_shown_from_memory_and_from_the_store() {
    let head = QueueHead { messages_max: 2, bytes_max: 100_000, away_share: 1 };
    for queue_head in [None, Some(head)] {
        let mut harness = Harness::with(1, Settings { queue_head, ..settings() });
        let client = harness.connect(durable("c"));
        harness.run(client, [subscribe("t/#", Q2)]);
        let publisher = harness.connect(transient("p"));
        harness.run(publisher, [publish("t/1", "first", Q1, 1), publish("t/2", "second", Q2, 2)]);
        harness.send(client, pubrec(2));
        harness.lose(client);
        harness.run(publisher, (3..8).map(|number| publish("t/3", "waiting", Q1, number)));
        let views = queue(&mut harness, "c", 4, 3).unwrap();
        assert_eq!(views.iter().map(|view| view.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
        let states: Vec<_> = views.iter().map(|view| view.state).collect();
        let waiting = QueuedState::Waiting;
        assert_eq!(states, [QueuedState::AwaitingPuback, QueuedState::AwaitingPubcomp, waiting, waiting]);
        let shown = |view: &QueuedView| {
            let message = view.message.as_ref()?;
            Some((message.topic.to_string(), message.qos, String::from_utf8(message.preview.clone()).unwrap()))
        };
        let shown: Vec<_> = views.iter().map(shown).collect();
        let waits = Some(("t/3".to_owned(), Q1, "wai".to_owned()));
        assert_eq!(shown, [Some(("t/1".to_owned(), Q1, "fir".to_owned())), None, waits.clone(), waits]);
        assert_eq!(views[2].size, Some(10));
        assert_eq!(views[2].message.as_ref().unwrap().payload_bytes, 7);
        let whole = queue(&mut harness, "c", 1_000, 0).unwrap();
        assert_eq!((whole.len(), whole[6].message.as_ref().unwrap().preview.len()), (7, 0));
        assert_eq!(queue(&mut harness, "x", 9, 9), None);
    }
}

#[test]
fn a_queue_that_the_store_cannot_read_is_shown_without_contents() {
    let head = QueueHead { messages_max: 2, bytes_max: 100_000, away_share: 1 };
    let mut harness = Harness::with(1, Settings { queue_head: Some(head), ..settings() });
    let client = harness.connect(durable("c"));
    harness.run(client, [subscribe("t", Q1)]);
    harness.lose(client);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, (1..5).map(|number| publish("t", "x", Q1, number)));
    harness.damaged = true;
    let views = queue(&mut harness, "c", 9, 9).unwrap();
    assert_eq!(views.iter().filter(|view| view.message.is_some()).count(), 2);
    assert!(views.len() == 4 && views.iter().all(|view| view.size == Some(2)));
    // The Session may end while the store is read.
    harness.store_reads = false;
    let id = tell(&mut harness, 0, Query::Queue(ClientId::from("c"), QueueRequest { limit: 9, preview: 0 }));
    assert_eq!(ask(&mut harness, 0, forget("c")), Answer::Forget(ForgetOutcome::Forgotten));
    assert_eq!(answer(&harness, id), None);
    harness.read_store();
    assert!(matches!(answer(&harness, id), Some(Answer::Queue(Some(views))) if views.len() == 4));
}

fn listed(harness: &mut Harness, filter: ClientFilter) -> Vec<String> {
    let (mut names, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let query = Query::Clients(PageRequest { from: place, limit: 2 }, Box::new(filter.clone()));
        let Answer::Clients(page) = ask(harness, 0, query) else { panic!("unexpected answer") };
        names.extend(page.entries.iter().map(|view| view.client_id.to_string()));
        from = page.next;
    }
    names.sort();
    names
}

#[test]
fn clients_are_filtered_by_all_that_is_asked_for() {
    let mut harness = Harness::new();
    harness.verifies = true;
    harness.address = Some("[::ffff:192.0.2.1]:7".parse().unwrap());
    harness.connect(Connect { user_name: Some("alice".into()), ..durable("a1") });
    let away = harness.connect(Connect { user_name: Some("alice".into()), ..durable("a2") });
    harness.lose(away);
    harness.address = Some("192.0.2.2:7".parse().unwrap());
    harness.connect(durable("b1"));
    let all = ClientFilter::default;
    assert_eq!(listed(&mut harness, all()), ["a1", "a2", "b1"]);
    assert_eq!(listed(&mut harness, ClientFilter { connected: Some(true), ..all() }), ["a1", "b1"]);
    assert_eq!(listed(&mut harness, ClientFilter { connected: Some(false), ..all() }), ["a2"]);
    assert_eq!(listed(&mut harness, ClientFilter { user: Some("alice".into()), ..all() }), ["a1", "a2"]);
    let address = Some("192.0.2.1".parse().unwrap());
    assert_eq!(listed(&mut harness, ClientFilter { address, ..all() }), ["a1"]);
    let client_id = Some(ClientPattern::new("?1"));
    assert_eq!(listed(&mut harness, ClientFilter { client_id: client_id.clone(), ..all() }), ["a1", "b1"]);
    let none = ClientFilter { client_id, user: Some("alice".into()), connected: Some(false), ..all() };
    assert!(listed(&mut harness, none).is_empty());
}

#[test]
fn a_filter_that_selects_nothing_gets_pages_of_bounded_work() {
    let mut harness = Harness::with(1, Settings { client_id_length_max: 1_000, ..settings() });
    for number in 0..200 {
        harness.connect(durable(&format!("{}{number}", "a".repeat(900))));
    }
    let pages = |harness: &mut Harness, pattern: &str| {
        let filter = ClientFilter { client_id: Some(ClientPattern::new(pattern)), ..ClientFilter::default() };
        let (mut pages, mut from) = (0, Some(0));
        while let Some(place) = from {
            let query = Query::Clients(PageRequest { from: place, limit: 1_000 }, Box::new(filter.clone()));
            let Answer::Clients(page) = ask(harness, 0, query) else { panic!("unexpected answer") };
            assert!(page.entries.is_empty());
            (pages, from) = (pages + 1, page.next);
        }
        pages
    };
    assert_eq!(pages(&mut harness, "b"), 1);
    let costly = format!("*{}b*", "a".repeat(200));
    assert!(pages(&mut harness, &costly) >= 50, "a page takes about a millisecond");
}
