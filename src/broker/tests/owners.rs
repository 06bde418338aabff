//! A Session belongs to a user.

use std::sync::Arc;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{
    AnonymousSessions, Answer, AuthenticationOutcome, DropReason, Event, Gift, GiftOutcome, Owner, OwnerChange, Query,
    QueryId, Record, Report, Settings, VerifiedUser,
};
use crate::codec::{ClientId, Connect};
use crate::routing::Access;
use crate::session::QueueHead;

fn verifying(shards: usize, settings: Settings) -> Harness {
    let mut harness = Harness::with(shards, settings);
    harness.verifies = true;
    harness
}

/// The CONNECT of a user, or of an anonymous client: `""`.
fn of(user: &str, connect: Connect) -> Connect {
    Connect { user_name: (!user.is_empty()).then(|| user.into()), ..connect }
}

fn user(name: &str) -> Owner {
    Owner::of(Some(VerifiedUser { provider: "password".into(), name: name.into() }))
}

/// A Session of `owner` with a subscription and a queued message, whose client is away.
fn with_queue(harness: &mut Harness, shard: usize, owner: &str) {
    let client = harness.connect_to(shard, of(owner, durable("a")));
    harness.run(client, [subscribe("t", Q1)]);
    harness.lose(client);
    let publisher = harness.connect_to(0, transient("p"));
    harness.run(publisher, [publish("t", "secret", Q1, 1)]);
    harness.lose(publisher);
}

fn refused_of_others(harness: &Harness) -> u64 {
    harness.shards.iter().map(|shard| shard.counters().connects_of_others).sum()
}

fn dropped(harness: &Harness, reason: DropReason) -> u64 {
    harness.shards.iter().map(|shard| shard.counters().dropped[reason as usize]).sum()
}

fn changes(harness: &Harness) -> Vec<(String, String, OwnerChange)> {
    let change = |report: &Report| {
        let Report::OwnerChanged { owner, previous, change, .. } = report else { return None };
        Some((previous.to_string(), owner.to_string(), *change))
    };
    harness.reports.iter().filter_map(change).collect()
}

const REFUSED: [&str; 2] = ["CONNACK 0x85", "CLOSED"];
const RESUMED: [&str; 2] = ["CONNACK 0x00 present", "PUBLISH t secret q1 #1"];

#[test]
fn another_user_or_an_anonymous_client_does_not_get_the_session_of_a_user() {
    for shard in [0, 1] {
        for clean_start in [false, true] {
            for stranger in ["bob", "", "certificate:alice"] {
                let mut harness = verifying(2, settings());
                with_queue(&mut harness, 0, "alice");
                let client = harness.attempt(shard, of(stranger, Connect { clean_start, ..durable("a") }));
                assert_eq!(harness.received(client), REFUSED, "{stranger:?}");
                assert_eq!(refused_of_others(&harness), 1);
                let alice = harness.attempt(shard, of("alice", durable("a")));
                assert_eq!(harness.received(alice), RESUMED);
            }
        }
    }
}

#[test]
fn refused_connect_is_logged_with_both_names_and_the_client_is_not_told_the_other() {
    let mut harness = verifying(1, settings());
    with_queue(&mut harness, 0, "alice");
    let client = harness.attempt(0, of("bob", durable("a")));
    let packets = format!("{:?}", harness.packets(client));
    assert!(packets.contains("belongs to another user") && !packets.contains("alice"), "{packets}");
    let refusal = |report: &Report| {
        let Report::Refused { client, cause, .. } = report else { return None };
        Some((client.user.clone(), cause.to_string()))
    };
    let cause = "its session belongs to user \"alice\" (password), not to user \"bob\" (password)";
    assert_eq!(harness.reports.iter().find_map(refusal), Some((Some("bob".into()), cause.to_owned())));
}

#[test]
fn mqtt311_the_return_code_of_a_refused_connect_is_2() {
    let mut harness = verifying(1, settings());
    harness.connect(of("alice", v311("a", false)));
    let client = harness.attempt(0, of("bob", v311("a", false)));
    let packets = harness.packets(client);
    let mut bytes = bytes::BytesMut::new();
    crate::codec::encode(&packets[0], crate::codec::ProtocolVersion::V3_1_1, &mut bytes);
    assert_eq!(bytes[..], [0x20, 2, 0, 2]);
}

#[test]
fn refused_connect_does_not_disturb_a_connected_client_transient_or_durable() {
    for shard in [0, 1] {
        for connect in [transient("a"), durable("a"), v311("a", true)] {
            for stranger in ["bob", ""] {
                let mut harness = verifying(2, settings());
                let alice = harness.connect_to(0, of("alice", connect.clone()));
                harness.run(alice, [subscribe("t", Q1)]);
                let client = harness.attempt(shard, of(stranger, Connect { clean_start: true, ..durable("a") }));
                assert_eq!(harness.received(client), REFUSED);
                let publisher = harness.connect_to(1, transient("p"));
                harness.run(publisher, [publish("t", "x", Q1, 1)]);
                assert_eq!(harness.received(alice), ["PUBLISH t x q1 #1"]);
            }
        }
    }
}

#[test]
fn client_identifier_is_free_when_the_session_has_ended() {
    let mut harness = verifying(2, settings());
    let alice = harness.connect_to(0, of("alice", transient("a")));
    harness.lose(alice);
    let bob = harness.connect_to(1, of("bob", durable("a")));
    harness.lose(bob);
    harness.seconds(1_001);
    harness.connect_to(0, of("alice", durable("a")));
}

#[test]
fn user_ends_the_anonymous_session_and_its_messages_become_dead_letters() {
    let head = |head| Settings { queue_head: head, dead_letter_topic: Some(topic("dead")), ..settings() };
    let small = QueueHead { messages_max: 1, bytes_max: 1_000, away_share: 1 };
    for settings in [head(None), head(Some(small))] {
        for shard in [0, 1] {
            let mut harness = verifying(2, settings.clone());
            let watcher = harness.connect_to(0, transient("w"));
            harness.run(watcher, [subscribe("dead", Q1)]);
            with_queue(&mut harness, 0, "");
            let publisher = harness.connect_to(1, transient("p"));
            for (number, text) in [(2, "second"), (3, "third")] {
                harness.run(publisher, [publish("t", text, Q1, number)]);
            }
            let alice = harness.attempt(shard, of("alice", durable("a")));
            assert_eq!(harness.received(alice), ["CONNACK 0x00"]);
            assert_eq!(dropped(&harness, DropReason::OwnerChanged), 3);
            let letters = harness.packets(watcher);
            let reasons = format!("{letters:?}").matches("owner_changed").count();
            let letters: Vec<String> = letters.iter().map(show).collect();
            assert_eq!((letters.len(), reasons), (3, 3), "{letters:?}");
            assert!(["secret", "second", "third"].iter().zip(&letters).all(|(text, letter)| letter.contains(text)));
            assert_eq!(harness.shards.iter().map(|shard| shard.counters().dead_letters).sum::<u64>(), 3);
            let expected = ("anonymous clients".to_owned(), "user \"alice\" (password)".to_owned());
            assert_eq!(changes(&harness), [(expected.0, expected.1, OwnerChange::Ended)]);
            // Nothing of the old Session is left in the store.
            let ended = harness.records.iter().filter(|record| matches!(record, Record::SessionEnded { .. }));
            assert_eq!(ended.count(), 1);
            let mut next = harness.crash(harness.records.len());
            assert_eq!(next.shards[0].counters().sessions, 1);
            let alice = next.attempt(0, of("alice", durable("a")));
            assert_eq!(next.received(alice), ["CONNACK 0x00 present"]);
        }
    }
}

#[test]
fn after_a_crash_at_any_record_the_client_identifier_has_at_most_one_session() {
    let small = QueueHead { messages_max: 1, bytes_max: 1_000, away_share: 1 };
    let settings = Settings { queue_head: Some(small), dead_letter_topic: Some(topic("dead")), ..settings() };
    let mut harness = verifying(2, settings);
    with_queue(&mut harness, 0, "");
    let publisher = harness.connect_to(1, transient("p"));
    for number in 2..6 {
        harness.run(publisher, [publish("t", "more", Q1, number)]);
    }
    harness.connect_to(1, of("alice", durable("a")));
    for records in 0..=harness.records.len() {
        let mut next = harness.crash(records);
        assert!(next.shards[0].counters().sessions <= 1, "after {records} records");
        let alice = next.attempt(1, of("alice", durable("a")));
        let lines = next.received(alice);
        assert!(lines == ["CONNACK 0x00"] || lines == ["CONNACK 0x00 present"], "{lines:?}");
        let bob = next.attempt(0, of("bob", durable("a")));
        assert_eq!(next.received(bob), REFUSED);
    }
}

#[test]
fn user_ends_a_connected_anonymous_client() {
    let mut harness = verifying(2, settings());
    let anonymous = harness.connect_to(0, transient("a"));
    harness.connect_to(1, of("alice", durable("a")));
    assert_eq!(harness.received(anonymous), ["DISCONNECT 0x8E", "CLOSED"]);
}

#[test]
fn by_setting_the_user_gets_the_anonymous_session() {
    let mut harness = verifying(2, Settings { anonymous_sessions: AnonymousSessions::Adopt, ..settings() });
    with_queue(&mut harness, 0, "");
    let alice = harness.attempt(1, of("alice", durable("a")));
    assert_eq!(harness.received(alice), RESUMED);
    let anonymous = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(anonymous), REFUSED);
    assert_eq!(changes(&harness).len(), 1);
    let mut next = harness.crash(harness.records.len());
    let bob = next.attempt(0, of("bob", durable("a")));
    assert_eq!(next.received(bob), REFUSED);
}

#[test]
fn first_of_two_users_that_connect_at_once_owns_the_session() {
    for order in [[(1, 0), (2, 0)], [(2, 0), (1, 0)]] {
        let mut harness = verifying(3, settings());
        with_queue(&mut harness, 0, "");
        harness.forwards = false;
        let alice = harness.attempt(1, of("alice", durable("a")));
        let bob = harness.attempt(2, of("bob", durable("a")));
        assert_eq!(harness.received(bob), REFUSED, "before the session has moved");
        for (from, to) in order {
            harness.forward_one(from, to);
        }
        harness.forward();
        assert_eq!(harness.received(alice), ["CONNACK 0x00"]);
    }
}

#[test]
fn chain_of_claims_is_judged_claim_by_claim() {
    let mut harness = verifying(3, settings());
    with_queue(&mut harness, 0, "alice");
    harness.forwards = false;
    let first = harness.attempt(1, of("alice", durable("a")));
    let strangers = ["bob", ""].map(|user| harness.attempt(2, of(user, durable("a"))));
    let second = harness.attempt(2, of("alice", durable("a")));
    let late = harness.attempt(0, of("bob", durable("a")));
    harness.forward_one(2, 1); // before the session arrives
    harness.forward();
    for stranger in strangers.into_iter().chain([late]) {
        assert_eq!(harness.received(stranger), REFUSED);
    }
    assert!(harness.is_closed(first));
    assert_eq!(harness.received(second), RESUMED);
}

#[test]
fn user_claims_while_an_anonymous_session_is_on_its_way() {
    let mut harness = verifying(3, settings());
    with_queue(&mut harness, 0, "");
    harness.forwards = false;
    let anonymous = harness.attempt(1, durable("a"));
    let alice = harness.attempt(2, of("alice", durable("a")));
    harness.forward_one(2, 1); // before the session arrives
    harness.forward();
    assert_eq!(harness.received(anonymous), ["CONNACK 0x88", "CLOSED"]);
    assert_eq!(harness.received(alice), ["CONNACK 0x00"], "without the queue of the anonymous session");
    assert_eq!(harness.shards.iter().map(|shard| shard.counters().sessions).sum::<u64>(), 1);
}

#[test]
fn after_a_restart_the_session_still_belongs_to_its_user() {
    let mut harness = verifying(2, settings());
    with_queue(&mut harness, 1, "alice");
    let mut next = harness.crash(harness.records.len());
    for stranger in ["bob", "", "certificate:alice"] {
        let client = next.attempt(1, of(stranger, durable("a")));
        assert_eq!(next.received(client), REFUSED);
    }
    let alice = next.attempt(1, of("alice", durable("a")));
    assert!(next.received(alice)[0].starts_with("CONNACK 0x00 present"));
}

/// The records as an earlier version wrote them: without the provider.
fn by_earlier_version(harness: &mut Harness) {
    for record in &mut harness.records {
        if let Record::SessionOpened { owner, .. } = record {
            *owner = match owner {
                Owner::User(user) => Owner::named(Arc::clone(&user.name)),
                Owner::Anonymous | Owner::AnonymousBelow(_) | Owner::Unknown => Owner::Unknown,
            };
        }
    }
}

#[test]
fn session_of_an_earlier_version_goes_to_the_first_verified_user() {
    let mut harness = verifying(2, settings());
    with_queue(&mut harness, 0, "");
    by_earlier_version(&mut harness);
    let mut next = harness.crash(harness.records.len());
    // Anonymous clients keep it until then.
    let anonymous = next.connect_to(1, durable("a"));
    next.lose(anonymous);
    let alice = next.attempt(0, of("alice", durable("a")));
    assert_eq!(next.received(alice)[0], "CONNACK 0x00 present");
    assert_eq!(changes(&next), [("nobody".into(), "user \"alice\" (password)".into(), OwnerChange::Adopted)]);
    let bob = next.attempt(1, of("bob", durable("a")));
    assert_eq!(next.received(bob), REFUSED);
}

#[test]
fn anonymous_client_that_begins_anew_owns_the_new_session() {
    let mut harness = verifying(1, settings());
    with_queue(&mut harness, 0, "");
    by_earlier_version(&mut harness);
    let mut next = harness.crash(harness.records.len());
    next.connect(Connect { clean_start: true, ..durable("a") });
    let alice = next.attempt(0, of("alice", durable("a")));
    assert_eq!(next.received(alice), ["CONNACK 0x00"]);
    assert_eq!(changes(&next)[0].0, "anonymous clients");
}

#[test]
fn user_in_the_record_of_an_earlier_version_keeps_the_session_through_any_provider() {
    let mut harness = verifying(1, settings());
    with_queue(&mut harness, 0, "alice");
    by_earlier_version(&mut harness);
    for (first, second) in [("alice", "certificate:alice"), ("certificate:alice", "alice")] {
        let mut next = harness.crash(harness.records.len());
        for stranger in ["bob", ""] {
            let client = next.attempt(0, of(stranger, durable("a")));
            assert_eq!(next.received(client), REFUSED);
        }
        let alice = next.attempt(0, of(first, durable("a")));
        assert_eq!(next.received(alice)[0], "CONNACK 0x00 present");
        let other = next.attempt(0, of(second, durable("a")));
        assert_eq!(next.received(other), REFUSED, "the provider is part of the owner from the first CONNECT on");
    }
}

fn give(harness: &mut Harness, shard: usize, owner: Owner) -> QueryId {
    let id = QueryId(77 + harness.answers.len() as u64);
    let access = Some(Arc::new(Access::everything()));
    let gift = Box::new(Gift { client_id: ClientId::from("a"), owner, access });
    harness.event(shard, Event::Query(id, Box::new(Query::Give(gift))));
    id
}

#[test]
fn operator_gives_a_session_and_is_answered_when_that_is_stable() {
    let mut harness = verifying(2, settings());
    with_queue(&mut harness, 0, "alice");
    assert_eq!(give(&mut harness, 1, Owner::named("bob".into())), QueryId(77));
    assert_eq!(harness.answers, [(QueryId(77), Answer::Gift(GiftOutcome::NotHere))]);
    harness.store_answers = false;
    let id = give(&mut harness, 0, Owner::named("bob".into()));
    assert_eq!(harness.answers.len(), 1);
    harness.persist();
    assert_eq!(harness.answers[1], (id, Answer::Gift(GiftOutcome::Given)));
    assert_eq!(changes(&harness)[0].2, OwnerChange::Given);
    harness.store_answers = true;
    let mut next = harness.crash(harness.records.len());
    for harness in [&mut harness, &mut next] {
        let alice = harness.attempt(1, of("alice", durable("a")));
        assert_eq!(harness.received(alice), REFUSED);
        let bob = harness.attempt(1, of("bob", durable("a")));
        assert_eq!(harness.received(bob), RESUMED);
    }
}

#[test]
fn given_session_still_expires_when_it_would_have() {
    let mut harness = verifying(1, settings());
    with_queue(&mut harness, 0, "alice");
    harness.seconds(600);
    give(&mut harness, 0, user("bob"));
    let mut next = harness.crash(harness.records.len());
    for harness in [&mut harness, &mut next] {
        harness.seconds(399);
        assert_eq!(harness.shards[0].counters().sessions, 1);
        harness.seconds(2);
        assert_eq!(harness.shards[0].counters().sessions, 0);
    }
}

#[test]
fn gift_closes_the_connection_of_another_user_and_keeps_that_of_the_same() {
    let mut harness = verifying(1, settings());
    let alice = harness.connect(of("alice", durable("a")));
    give(&mut harness, 0, Owner::named("alice".into()));
    assert_eq!(harness.received(alice), [""; 0]);
    give(&mut harness, 0, user("bob"));
    assert_eq!(harness.received(alice), ["DISCONNECT 0x98", "CLOSED"]);
    let again = harness.attempt(0, of("alice", durable("a")));
    assert_eq!(harness.received(again), REFUSED);
    harness.connect(of("bob", Connect { clean_start: true, ..transient("a") }));
    give(&mut harness, 0, user("alice"));
    assert_eq!(harness.answers.last().map(|(_, answer)| answer), Some(&Answer::Gift(GiftOutcome::NotDurable)));
}

#[test]
fn gift_to_anonymous_clients_is_theirs() {
    let mut harness = verifying(1, settings());
    with_queue(&mut harness, 0, "alice");
    give(&mut harness, 0, Owner::Anonymous);
    let anonymous = harness.attempt(0, durable("a"));
    assert_eq!(harness.received(anonymous), RESUMED);
}

#[test]
fn client_that_re_authenticates_as_another_user_is_disconnected() {
    let mut harness = verifying(1, settings());
    let mut connect = of("alice", durable("a"));
    connect.properties.authentication_method = Some("m".into());
    let alice: Client = harness.connect(connect);
    harness.granted = None;
    let auth = crate::codec::Auth::new(crate::codec::ReasonCode::ReAuthenticate, Some("m".into()));
    harness.send(alice, crate::codec::ClientPacket::Auth(Box::new(auth)));
    let (client, _) = harness.requests.pop_front().unwrap();
    let outcome = AuthenticationOutcome::Granted {
        access: Arc::new(Access::everything()),
        user: None,
        verified_user: Some(VerifiedUser { provider: "password".into(), name: "bob".into() }),
        expires_at: None,
        authentication_data: None,
    };
    harness.answer(client, outcome);
    assert_eq!(harness.received(alice), ["DISCONNECT 0x87", "CLOSED"]);
}
