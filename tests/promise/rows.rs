//! One test for each packet that waits for a stable record. Until the crash the store reports nothing, so every packet
//! sent before is sent without a stable record.

use oncemq::codec::{MessageProperties, ProtocolVersion, Qos, ServerPacket, Will};
use oncemq::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use oncemq::store::Level;
use oncemq::store::sim::Loss;
use oncemq::topic::{TopicFilter, TopicName};

use crate::client::Lifetime::{self, Durable, Transient};
use crate::lab::{Crash, Lab, Wire};
use crate::ledger::Belief;
use crate::log::Committed;
use crate::replicas::Survivor;

const Q0: Qos = Qos::AtMostOnce;
const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;

/// Every kind of crash at every level that must survive it.
pub(crate) fn crashes() -> impl Iterator<Item = (Level, Crash)> {
    let survivable =
        [(Level::Crash, Loss::Process), (Level::PowerLoss, Loss::Process), (Level::PowerLoss, Loss::Power)];
    let committed = [Committed::Nothing, Committed::Part(1), Committed::Part(2), Committed::All];
    survivable.into_iter().flat_map(move |(level, loss)| {
        committed.into_iter().flat_map(move |committed| {
            [Wire::Lost, Wire::Delivered].into_iter().flat_map(move |wire| {
                let seeds = if loss == Loss::Power { 0..4 } else { 0..1 };
                seeds.map(move |seed| (level, Crash { loss, committed, wire, seed }))
            })
        })
    })
}

/// Runs a scenario with every crash, also of the owner of a replicated log, after which only what a majority has is left.
pub(crate) fn with_every_crash(scenario: impl Fn(&mut Lab, Crash)) {
    with_every_crash_of_one(&scenario);
    for (shards, survivor, loss) in [
        (1, Survivor::Owner, Loss::Process),
        (2, Survivor::Owner, Loss::Power),
        (1, Survivor::Copy, Loss::Power),
        (2, Survivor::Copy, Loss::Power),
    ] {
        for committed in [Committed::Nothing, Committed::Part(1), Committed::Part(2), Committed::All] {
            for wire in [Wire::Lost, Wire::Delivered] {
                let mut lab = Lab::replicated(shards, survivor);
                lab.trace = Some(vec![format!("a replicated log, of which that of {survivor:?} goes on")]);
                scenario(&mut lab, Crash { loss, committed, wire, seed: 1 });
            }
        }
    }
}

/// Runs a scenario with every crash of a log that is not replicated, as one with streams.
pub(crate) fn with_every_crash_of_one(scenario: impl Fn(&mut Lab, Crash)) {
    for shards in [1, 2] {
        for (level, crash) in crashes() {
            let mut lab = Lab::new(shards, level);
            lab.trace = Some(Vec::new());
            scenario(&mut lab, crash);
        }
    }
}

/// Publishes to offline durable Sessions, with RETAIN. The message is acknowledged before the second crash.
fn acceptance_scenario(lab: &mut Lab, crash: Crash, (lifetime, qos): (Lifetime, Qos)) {
    let publisher = lab.connected("publisher", lifetime);
    let subscribers = ["first", "second"].map(|name| lab.connected(name, Durable));
    for subscriber in subscribers {
        lab.subscribe(subscriber, "t", Q2);
        lab.run();
        lab.lose(subscriber);
    }
    lab.run();
    lab.freeze();
    lab.retain(publisher, "t", "m", qos);
    lab.run();
    lab.crash(crash);
    lab.run();
    lab.crash(crash);
    lab.finish();
    if lab.ledger.messages[0].acknowledged {
        let late = lab.connected("late", Transient);
        lab.subscribe(late, "t", Q2);
        lab.run();
        if lab.deliveries(late).count() != 1 {
            lab.fail("\"m\" was acknowledged, and is not the retained message of its topic");
        }
    }
}

#[test]
fn puback_waits_for_the_message_in_every_durable_queue() {
    for lifetime in [Durable, Transient] {
        with_every_crash(|lab, crash| acceptance_scenario(lab, crash, (lifetime, Q1)));
    }
}

#[test]
fn pubrec_waits_for_message_and_identifier_in_one_record() {
    for lifetime in [Durable, Transient] {
        with_every_crash(|lab, crash| acceptance_scenario(lab, crash, (lifetime, Q2)));
    }
    // Message and identifier are one record, so no commit can separate them.
    let mut lab = Lab::new(1, Level::PowerLoss);
    let (publisher, subscriber) = (lab.connected("publisher", Durable), lab.connected("subscriber", Durable));
    lab.subscribe(subscriber, "t", Q2);
    lab.run();
    lab.freeze();
    let before = lab.log.appended;
    lab.retain(publisher, "t", "m", Q2);
    lab.run();
    assert_eq!(lab.log.appended, before + 1, "message, identifier and retained update are one record");
}

/// Publishes to a stream that nobody else receives. What is acknowledged is in the stream after two crashes, and the numbers have no gap.
fn stream_scenario(lab: &mut Lab, crash: Crash, (lifetime, qos): (Lifetime, Qos)) {
    lab.keep_stream("t");
    let publisher = lab.connected("publisher", lifetime);
    lab.run();
    lab.publish(publisher, "t", "before", Q1);
    lab.run();
    lab.freeze();
    lab.publish(publisher, "t", "frozen", qos);
    lab.run();
    lab.crash(crash);
    lab.run();
    lab.publish(publisher, "t", "after", Q1);
    lab.run();
    lab.crash(crash);
    lab.finish();
    let stream = lab.log.stream();
    if !stream.keys().copied().eq(1..=stream.len() as u64) {
        lab.fail(&format!("a gap: {:?}", stream.keys()));
    }
    for (number, payload) in ["before", "frozen", "after"].into_iter().enumerate() {
        let is_it = |body: &&Vec<u8>| body.windows(payload.len()).any(|part| part == payload.as_bytes());
        let count = stream.values().filter(is_it).count();
        if count == 0 && lab.ledger.messages[number].acknowledged {
            lab.fail(&format!("{payload:?} was acknowledged and is not in the stream"));
        }
        if count > 1 && qos == Q2 && lifetime == Durable && payload == "frozen" {
            lab.fail(&format!("{payload:?} is in the stream twice"));
        }
    }
}

#[test]
fn puback_and_pubrec_wait_for_the_message_in_the_stream() {
    for sender in [(Durable, Q2), (Durable, Q1), (Transient, Q1)] {
        with_every_crash_of_one(|lab, crash| stream_scenario(lab, crash, sender));
    }
    // The message is one record, whatever takes it.
    let mut lab = Lab::new(1, Level::PowerLoss);
    lab.keep_stream("t");
    let (publisher, subscriber) = (lab.connected("publisher", Durable), lab.connected("subscriber", Durable));
    lab.subscribe(subscriber, "t", Q1);
    lab.run();
    lab.lose(subscriber);
    lab.run();
    let before = lab.log.appended;
    lab.retain(publisher, "t", "m", Q1);
    lab.run();
    assert_eq!(lab.log.appended, before + 1);
    assert_eq!(lab.log.stream().len(), 1);
}

/// A delayed message is published once, whatever a crash before or after its time takes away.
fn delayed_scenario(lab: &mut Lab, crash: Crash, (lifetime, qos): (Lifetime, Qos), is_due: bool) {
    let publisher = lab.connected("publisher", lifetime);
    let subscriber = lab.connected("subscriber", Durable);
    lab.subscribe(subscriber, "t", Q2);
    lab.run();
    if is_due {
        lab.publish(publisher, "$delayed/5/t", "m", qos);
        lab.run();
        lab.freeze();
        lab.pass(5);
    } else {
        lab.freeze();
        lab.publish(publisher, "$delayed/5/t", "m", qos);
        lab.run();
    }
    lab.crash(crash);
    lab.run();
    lab.pass(6);
    lab.crash(crash);
    lab.pass(6);
    lab.finish();
    let count = lab.count(subscriber, "m");
    if count == 0 && lab.ledger.messages[0].acknowledged {
        lab.fail("\"m\" was acknowledged and is lost");
    }
    if count > 1 && qos == Q2 && lifetime == Durable {
        lab.fail("\"m\" was published twice");
    }
}

#[test]
fn a_delayed_message_is_acknowledged_when_it_is_stored_and_published_in_the_record_that_deletes_it() {
    for sender in [(Durable, Q2), (Durable, Q1), (Transient, Q1)] {
        with_every_crash(|lab, crash| delayed_scenario(lab, crash, sender, false));
        with_every_crash(|lab, crash| delayed_scenario(lab, crash, sender, true));
    }
    // Message, identifier and delay are one record, and so are the publication and the end of the delay.
    let mut lab = Lab::new(1, Level::PowerLoss);
    let (publisher, subscriber) = (lab.connected("publisher", Durable), lab.connected("subscriber", Durable));
    lab.subscribe(subscriber, "t", Q1);
    lab.run();
    lab.lose(subscriber);
    lab.run();
    let before = lab.log.appended;
    lab.publish(publisher, "$delayed/5/t", "m", Q1);
    lab.run();
    assert_eq!(lab.log.appended, before + 1);
    lab.pass(5);
    assert_eq!(lab.log.appended, before + 2);
}

#[test]
fn pubcomp_waits_for_the_identifier_removed() {
    let scenario = |lab: &mut Lab, crash: Crash, completed: bool| {
        let publisher = lab.connected("publisher", Durable);
        let subscriber = lab.connected("subscriber", Durable);
        lab.subscribe(subscriber, "t", Q2);
        lab.run();
        lab.publish(publisher, "t", "first", Q2);
        if completed {
            lab.run();
        } else {
            lab.run_to(publisher, |packet| matches!(packet, ServerPacket::Pubrec(_)));
        }
        lab.freeze();
        lab.run();
        lab.publish(publisher, "t", "second", Q2); // with the same identifier, if PUBCOMP came
        lab.run();
        lab.crash(crash);
        lab.finish();
    };
    with_every_crash(|lab, crash| scenario(lab, crash, false));
    with_every_crash(|lab, crash| scenario(lab, crash, true));
}

#[test]
fn publish_qos2_waits_for_the_queue_record() {
    with_every_crash(|lab, crash| {
        let forgetful = lab.connected("forgetful", Transient);
        let subscriber = lab.connected("subscriber", Durable);
        let publisher = lab.connected("publisher", Durable);
        lab.subscribe(subscriber, "t", Q2);
        lab.run();
        lab.freeze();
        lab.publish(forgetful, "t", "first", Q2);
        lab.run();
        lab.crash(crash);
        lab.run();
        lab.publish(publisher, "t", "second", Q2); // at the place of the first, if that is lost
        lab.finish();
    });
}

#[test]
fn pubrel_waits_for_the_released_mark() {
    with_every_crash(|lab, crash| {
        let publisher = lab.connected("publisher", Transient);
        let subscriber = lab.connected("subscriber", Durable);
        lab.subscribe(subscriber, "t", Q2);
        lab.run();
        lab.publish(publisher, "t", "m", Q2);
        lab.run_to(subscriber, |packet| matches!(packet, ServerPacket::Publish(_)));
        lab.freeze();
        lab.run();
        lab.crash(crash);
        lab.finish();
    });
}

#[test]
fn suback_and_unsuback_wait_for_the_subscription_change() {
    let scenario = |lab: &mut Lab, crash: Crash, change: fn(&mut Lab, usize)| {
        let publisher = lab.connected("publisher", Durable);
        let subscriber = lab.connected("subscriber", Durable);
        lab.subscribe(subscriber, "old", Q1);
        lab.run();
        lab.freeze();
        change(lab, subscriber);
        lab.run();
        lab.crash(crash);
        lab.run();
        // The client's subscriptions must be as acknowledged or as requested again.
        lab.publish(publisher, "new", "to the new", Q2);
        lab.publish(publisher, "old", "to the old", Q1);
        lab.finish();
        assert!(lab.ledger.messages.iter().all(|message| message.receivers.iter().all(|(_, it)| *it != Belief::Open)));
    };
    with_every_crash(|lab, crash| scenario(lab, crash, |lab, subscriber| lab.subscribe(subscriber, "new", Q2)));
    with_every_crash(|lab, crash| scenario(lab, crash, |lab, subscriber| lab.unsubscribe(subscriber, "old")));
}

#[test]
fn connack_waits_for_the_session() {
    // The existence of the Session: the client checks Session Present after the crash.
    with_every_crash(|lab, crash| {
        lab.freeze();
        let client = lab.connected("client", Durable);
        lab.crash(crash);
        lab.finish();
        lab.subscribe(client, "t", Q1);
        lab.finish();
    });
    // Its Session Expiry Interval.
    with_every_crash(|lab, crash| {
        let client = lab.connected("client", Durable);
        lab.lose(client);
        lab.run();
        lab.clients[client].session_expiry_interval = 100_000;
        lab.freeze();
        lab.connect(client);
        lab.run();
        let is_told = lab.clients[client].is_connected();
        lab.crash(crash);
        lab.lose(client); // before the broker has read its next CONNECT
        lab.run();
        if is_told {
            lab.pass(2_000);
            lab.connect(client);
            lab.finish();
        }
    });
    // Its Will Message.
    with_every_crash(|lab, crash| {
        let watcher = lab.connected("watcher", Durable);
        lab.subscribe(watcher, "w", Q1);
        let client = lab.connected("client", Durable);
        lab.lose(client);
        lab.run();
        lab.clients[client].will = Some(will());
        lab.freeze();
        lab.connect(client);
        lab.run();
        let is_told = lab.clients[client].is_connected();
        lab.clients[client].will = None;
        lab.crash(crash);
        lab.finish();
        if is_told && lab.count(watcher, "will") == 0 {
            lab.fail("the Will Message is lost, although CONNACK had confirmed it");
        }
    });
    // Clean Start: the previous Session must not reappear, also if the new one is transient or on another shard.
    for (lifetime, moves) in [(Durable, 0), (Durable, 1), (Transient, 0), (Transient, 1)] {
        with_every_crash(|lab, crash| clean_start_scenario(lab, crash, (lifetime, moves)));
    }
}

#[test]
fn the_end_of_a_connection_waits_for_the_removal_of_the_will() {
    for lifetime in [Durable, Transient] {
        with_every_crash(|lab, crash| {
            let watcher = lab.connected("watcher", Durable);
            lab.subscribe(watcher, "w", Q1);
            let client = lab.client("client", ProtocolVersion::V5, lifetime);
            lab.clients[client].will = Some(will());
            lab.connect(client);
            lab.run();
            lab.freeze();
            lab.disconnect(client, None);
            lab.run();
            let is_closed = lab.clients[client].connection().is_none();
            lab.clients[client].will = None;
            lab.crash(crash);
            lab.run();
            lab.pass(3);
            lab.finish();
            if is_closed && lab.count(watcher, "will") > 0 {
                lab.fail("the Will Message is published, although the connection was closed after DISCONNECT");
            }
        });
    }
}

#[test]
fn puback_outlives_the_end_of_the_member_that_was_chosen() {
    for shards in [1, 2] {
        for (level, loss) in [(Level::Crash, Loss::Process), (Level::PowerLoss, Loss::Power)] {
            for qos in [Q1, Q2] {
                let mut lab = Lab::new(shards, level);
                lab.trace = Some(Vec::new());
                let steps = shared_scenario(&mut lab, qos);
                (0..5).for_each(|_| lab.pass(1));
                if !lab.trace.iter().flatten().any(|line| line.contains("SessionEnded")) {
                    lab.fail("the records of the Session that ended are not deleted");
                }
                for step in 1..=steps {
                    for committed in [Committed::Nothing, Committed::Part(1), Committed::Part(2), Committed::All] {
                        let crash = Crash { loss, committed, wire: Wire::Delivered, seed: step };
                        let mut lab = Lab::new(shards, level);
                        (lab.trace, lab.crash_at) = (Some(Vec::new()), Some((step, crash)));
                        shared_scenario(&mut lab, qos);
                    }
                }
            }
        }
    }
}

/// The first member of a share ends its Session while a message is on its way to it. Returns the number of steps.
fn shared_scenario(lab: &mut Lab, qos: Qos) -> u64 {
    let publisher = lab.connected("publisher", Durable);
    let first = lab.connected("first", Durable);
    lab.subscribe(first, "$share/g/t", Q2);
    lab.run();
    // A member with a connection is preferred.
    let second = lab.connected("second", Durable);
    lab.subscribe(second, "$share/g/t", Q2);
    lab.run();
    lab.lose(second);
    lab.run();
    lab.publish(publisher, "t", "m", qos);
    lab.ledger.messages[0].receivers.clear(); // the ledger doesn't know shares
    lab.disconnect(first, Some(0));
    lab.run();
    let steps = lab.steps;
    lab.pass(3);
    lab.finish();
    lab.pass(3);
    // In any Session of the members: the first one begins a new Session at the end.
    let copies = lab.ledger.deliveries.iter().filter(|got| [first, second].contains(&got.client)).count();
    if lab.ledger.messages[0].acknowledged && copies == 0 {
        lab.fail("\"m\" was acknowledged, and came to no member of the share");
    }
    if qos == Q2 && copies > 1 {
        lab.fail("\"m\" came to two members of the share");
    }
    steps
}

fn clean_start_scenario(lab: &mut Lab, crash: Crash, (lifetime, moves): (Lifetime, usize)) {
    let publisher = lab.connected("publisher", Durable);
    let client = lab.connected("client", Durable);
    lab.subscribe(client, "t", Q1);
    lab.run();
    lab.lose(client);
    lab.run();
    lab.freeze();
    (lab.clients[client].lifetime, lab.clients[client].moves) = (lifetime, moves);
    lab.connect_with(client, true);
    lab.run();
    let is_told = lab.clients[client].is_connected();
    lab.crash(crash);
    lab.lose(client); // before the broker has read its next CONNECT
    lab.run();
    if is_told {
        lab.clients[client].lifetime = Durable;
        lab.publish(publisher, "t", "unwanted", Q1);
        lab.run();
        lab.clients[client].subscriptions.clear();
        lab.finish();
        assert_eq!(
            lab.count(client, "unwanted"),
            0,
            "the previous Session is present, although CONNACK had reported it as discarded"
        );
    }
}

fn will() -> Will {
    Will {
        topic: TopicName::new("w".into()).unwrap(),
        payload: "will".into(),
        qos: Q1,
        retain: false,
        will_delay_interval: 0,
        message_expiry_interval: None,
        properties: MessageProperties::default(),
    }
}

/// Everybody may publish everything, and receive `open` alone.
fn only_open() -> Access {
    let allow = |action, filter: &str| AccessRule {
        effect: Effect::Allow,
        action,
        topic_filter: TopicFilter::try_from(filter).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    };
    Access::new(vec![allow(AccessAction::Publish, "#"), allow(AccessAction::Subscribe, "open")])
}

#[test]
fn access_is_decided_again_at_delivery() {
    for qos in [Q1, Q2] {
        for restarted_before in [false, true] {
            with_every_crash(|lab, crash| {
                let publisher = lab.connected("publisher", Durable);
                let subscriber = lab.connected("subscriber", Durable);
                ["secret", "open"].iter().for_each(|topic| lab.subscribe(subscriber, topic, qos));
                lab.run();
                lab.lose(subscriber);
                lab.run();
                if !restarted_before {
                    lab.freeze(); // the messages may be lost by the crash, and are then published again
                }
                lab.publish(publisher, "secret", "no", qos);
                lab.publish(publisher, "open", "yes", qos);
                lab.run();
                if restarted_before {
                    lab.crash(crash); // no rules have changed
                }
                lab.run();
                lab.access = only_open();
                lab.crash(crash);
                lab.ledger
                    .messages
                    .iter_mut()
                    .filter(|sent| sent.topic == "secret")
                    .for_each(|sent| sent.receivers.clear());
                lab.finish();
                let (no, yes) = (lab.count(subscriber, "no"), lab.count(subscriber, "yes"));
                assert!(no == 0 && (yes == 1 || qos == Q1 && yes > 1), "{no} and {yes}");
                lab.crash(crash);
                lab.finish();
                assert_eq!(lab.count(subscriber, "no"), 0, "after one more crash");
            });
        }
    }
}

#[test]
fn removal_waits_for_nothing() {
    for qos in [Q1, Q2] {
        with_every_crash(|lab, crash| {
            let publisher = lab.connected("publisher", Transient);
            let subscriber = lab.connected("subscriber", Durable);
            lab.subscribe(subscriber, "t", qos);
            lab.run();
            lab.publish(publisher, "t", "m", qos);
            let last = if qos == Q1 {
                |packet: &ServerPacket| matches!(packet, ServerPacket::Publish(_))
            } else {
                |packet: &ServerPacket| matches!(packet, ServerPacket::Pubrel(_))
            };
            lab.run_to(subscriber, last);
            lab.freeze();
            lab.run(); // PUBACK or PUBCOMP comes, and its record isn't stable
            assert_eq!(lab.shards.iter().map(|shard| shard.counters().queued_messages).sum::<u64>(), 0);
            lab.crash(crash);
            lab.finish();
            // Only retransmissions that the standard permits.
            let repeats = lab.count(subscriber, "m") - 1;
            assert!(repeats == 0 || qos == Q1);
            assert!(lab.deliveries(subscriber).skip(1).all(|delivered| delivered.dup));
            assert!(
                committed(crash) || qos == Q2 || repeats == 1,
                "the record was not stable, so the message was sent again"
            );
        });
    }
}

#[test]
fn session_belongs_to_its_user_from_connack_on() {
    // The first user: from CONNACK on, the other one doesn't get the Session or its name, before and after the crash.
    with_every_crash(|lab, crash| {
        let [alice, bob] = ["alice", "bob"].map(|user| user_of_device(lab, Some(user)));
        lab.freeze();
        lab.connect(alice);
        lab.run();
        let is_told = lab.clients[alice].is_connected();
        lab.connect(bob);
        lab.run();
        assert_eq!(
            (lab.clients[bob].refused, lab.clients[alice].is_connected()),
            (1, is_told),
            "alice is not disturbed"
        );
        lab.crash(crash);
        lab.lose(alice); // before the broker has read its next CONNECT
        lab.run();
        if is_told {
            lab.connect(bob);
            lab.run();
            assert_eq!(
                lab.clients[bob].refused, 2,
                "the owner is forgotten, although CONNACK had confirmed the Session"
            );
            lab.connect(alice);
            lab.finish();
        }
    });
    // Her queue.
    for stranger in [Some("bob"), None] {
        with_every_crash(|lab, crash| {
            let publisher = lab.connected("publisher", Durable);
            let [alice, other] = [Some("alice"), stranger].map(|user| user_of_device(lab, user));
            lab.connect(alice);
            lab.subscribe(alice, "t", Q2);
            lab.run();
            lab.lose(alice);
            lab.run();
            lab.freeze();
            lab.publish(publisher, "t", "secret", Q2);
            lab.run();
            lab.crash(crash);
            lab.run();
            lab.connect(other);
            lab.run();
            assert_eq!((lab.clients[other].refused, lab.count(other, "secret")), (1, 0), "{stranger:?} got it");
            lab.connect(alice);
            lab.finish();
        });
    }
}

#[test]
fn anonymous_session_that_a_user_has_ended_does_not_reappear() {
    for lifetime in [Durable, Transient] {
        with_every_crash(|lab, crash| {
            let publisher = lab.connected("publisher", Durable);
            let [anonymous, alice] = [None, Some("alice")].map(|user| user_of_device(lab, user));
            lab.connect(anonymous);
            lab.subscribe(anonymous, "t", Q1);
            lab.run();
            lab.lose(anonymous);
            lab.run();
            lab.freeze();
            lab.clients[alice].lifetime = lifetime;
            lab.connect(alice);
            lab.run();
            let is_told = lab.clients[alice].is_connected();
            lab.crash(crash);
            lab.lose(alice); // before the broker has read its next CONNECT
            lab.run();
            if is_told {
                lab.clients[anonymous].subscriptions.clear();
                lab.publish(publisher, "t", "unwanted", Q1);
                lab.run();
                let late = user_of_device(lab, None);
                lab.connect(late);
                lab.run();
                assert_eq!(lab.count(late, "unwanted"), 0, "the anonymous Session has reappeared");
            }
        });
    }
}

/// A client of this user with the Client Identifier `device`.
fn user_of_device(lab: &mut Lab, user: Option<&'static str>) -> usize {
    let client = lab.client("device", ProtocolVersion::V5, Durable);
    lab.clients[client].user = user;
    client
}

/// Whether the pending commit may have become stable.
fn committed(crash: Crash) -> bool {
    crash.committed != Committed::Nothing
}

#[test]
fn qos0_comes_once_at_most_and_is_stored_only_if_it_is_retained() {
    with_every_crash(|lab, crash| {
        let publisher = lab.connected("publisher", Durable);
        let (here, away) = (lab.connected("here", Durable), lab.connected("away", Durable));
        [here, away].iter().for_each(|subscriber| lab.subscribe(*subscriber, "t", Q2));
        lab.run();
        lab.lose(away);
        lab.run();
        lab.freeze();
        let before = lab.log.appended;
        lab.publish(publisher, "t", "m", Q0);
        lab.run();
        assert_eq!((lab.log.appended, lab.count(here, "m")), (before, 1), "at once, and without a record");
        let dropped: u64 = lab.shards.iter().flat_map(|shard| shard.counters().dropped).sum();
        assert_eq!(dropped, 1, "a message that a disconnected client misses is counted");
        lab.retain(publisher, "t", "kept", Q0);
        lab.run();
        assert_eq!(lab.log.appended, before + 1);
        lab.crash(Crash { committed: Committed::All, ..crash });
        lab.finish();
        assert_eq!((lab.count(here, "m"), lab.count(away, "m")), (1, 0));
        let late = lab.client("late", ProtocolVersion::V3_1_1, Transient);
        lab.subscribe(late, "t", Q0);
        lab.finish();
        assert_eq!(lab.deliveries(late).map(|got| got.payload.as_str()).collect::<Vec<_>>(), ["kept"]);
    });
}
