//! Queries about topics: subscriptions, receivers, retained messages, publishing, and explanations.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::harness::{Harness, recovered, settings};
use super::packets::*;
use crate::broker::detail::ClientPattern;
use crate::broker::{
    Answer, DeletionRequest, Durability, Event, ExplainRequest, ExplainedAction, Explanation, LogRequest,
    ObsoleteRetained, OperatorMessage, PAGE_MAX, Publication, Query, QueryId, QueueOverflow, ReceiversRequest, Record,
    RetainedRequest, Settings, Standing, StoreRoom, SubscriptionsRequest, TopicAnswer, TopicQuery, Unpublished,
};
use crate::codec::{ClientId, Message, Qos, ServerPacket};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RetainedLimits, RuleSource, SubscriptionPlace};
use crate::topic::{Filter, TopicFilter};

/// Sends a query; it may be answered later.
fn send(harness: &mut Harness, shard: usize, query: TopicQuery) -> QueryId {
    let id = QueryId(harness.answers.len() as u64 + 7);
    harness.event(shard, Event::Query(id, Box::new(Query::Topics(query))));
    id
}

pub(super) fn ask(harness: &mut Harness, shard: usize, query: TopicQuery) -> TopicAnswer {
    let id = send(harness, shard, query);
    let Some((answered, Answer::Topics(answer))) = harness.answers.last().cloned() else { panic!("no answer") };
    assert_eq!(answered, id);
    answer
}

fn filter(text: &str) -> Filter {
    Filter::try_from(text).unwrap()
}

/// The subscriptions, page by page.
fn subscriptions(harness: &mut Harness, of: Option<&str>, client: Option<&str>, limit: usize) -> Vec<(String, String)> {
    let (mut all, mut from) = (Vec::new(), Some(SubscriptionPlace::default()));
    while let Some(place) = from {
        let (filter, client_id) = (of.map(filter), client.map(ClientPattern::new));
        let request = SubscriptionsRequest { filter, client_id, from: place, limit };
        let TopicAnswer::Subscriptions(page) = ask(harness, 0, TopicQuery::Subscriptions(request)) else { panic!() };
        assert!(page.entries.len() <= limit);
        let entries = page.entries.into_iter();
        all.extend(entries.map(|one| (one.client_id.to_string(), one.subscription.filter.to_string())));
        from = page.next;
    }
    all
}

#[test]
fn a_pattern_that_selects_nothing_gets_pages_of_bounded_work() {
    let mut harness = Harness::with(1, Settings { client_id_length_max: 1_000, ..settings() });
    for number in 0..100 {
        let client = harness.connect(durable(&format!("{}{number}", "a".repeat(900))));
        harness.run(client, [subscribe("a/b", Q1)]);
    }
    let pages = |harness: &mut Harness, pattern: &str| {
        let (mut pages, mut from) = (0, Some(SubscriptionPlace::default()));
        while let Some(place) = from {
            let client_id = Some(ClientPattern::new(pattern));
            let request = SubscriptionsRequest { filter: None, client_id, from: place, limit: PAGE_MAX };
            let TopicAnswer::Subscriptions(page) = ask(harness, 0, TopicQuery::Subscriptions(request)) else {
                panic!()
            };
            assert!(page.entries.is_empty());
            (pages, from) = (pages + 1, page.next);
        }
        pages
    };
    assert_eq!(pages(&mut harness, "b"), 1);
    let costly = format!("*{}b*", "a".repeat(200));
    assert!(pages(&mut harness, &costly) >= 15, "a page takes about a millisecond");
}

/// The receivers of a topic, page by page, as lines.
fn receivers(harness: &mut Harness, name: &str, limit: usize) -> Vec<String> {
    let (mut all, mut from) = (Vec::new(), Some(SubscriptionPlace::default()));
    while let Some(place) = from {
        let request = ReceiversRequest { topic: topic(name), from: place, limit };
        let TopicAnswer::Receivers(page, _) = ask(harness, 0, TopicQuery::Receivers(request)) else { panic!() };
        assert!(page.entries.len() <= limit);
        all.extend(page.entries.into_iter().map(|one| {
            let filter = Filter { share: one.share, ..Filter::from(one.filter) };
            let (connected, allowed) =
                (if one.is_connected { "+" } else { "-" }, if one.is_allowed { "" } else { " denied" });
            format!("{connected}{} {filter} q{}{allowed}", one.client_id, one.qos as u8)
        }));
        from = page.next;
    }
    all
}

#[test]
fn subscriptions_of_all_shards_are_listed_by_filter_and_by_client() {
    let mut harness = Harness::with(2, settings());
    let here = harness.connect_to(0, durable("sensor-1"));
    let there = harness.connect_to(1, transient("sensor-2"));
    harness.run(here, [subscribe("a/+", Q1), subscribe("$share/g/a/+", Q2), subscribe("b", Q0)]);
    harness.run(there, [subscribe("a/+", Q0), subscribe("$share/g/a/+", Q0), subscribe("$share/h/a/+", Q0)]);
    let all = subscriptions(&mut harness, None, None, PAGE_MAX);
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (6, 6));
    for limit in 1..4 {
        assert_eq!(subscriptions(&mut harness, None, None, limit), all);
    }
    assert_eq!(subscriptions(&mut harness, Some("a/+"), None, 2).len(), 5);
    let of_share = subscriptions(&mut harness, Some("$share/h/a/+"), None, 2);
    assert_eq!(of_share, [("sensor-2".to_owned(), "$share/h/a/+".to_owned())]);
    assert_eq!(subscriptions(&mut harness, Some("a/#"), None, 2), []);
    assert_eq!(subscriptions(&mut harness, None, Some("*-1"), 2).len(), 3);
    assert_eq!(subscriptions(&mut harness, Some("b"), Some("sensor-2"), 2), []);
}

#[test]
fn receivers_of_a_topic_are_those_that_a_message_reaches() {
    let mut harness = Harness::with(2, settings());
    let away = harness.connect_to(0, durable("away"));
    harness.run(away, [subscribe("a/#", Q1), subscribe("a/b", Q2), subscribe("other", Q2)]);
    harness.lose(away);
    let near = harness.connect_to(1, transient("near"));
    harness.run(near, [subscribe("+/b", Q0)]);
    for name in ["m1", "m2"] {
        let member = harness.connect_to(0, transient(name));
        harness.run(member, [subscribe("$share/g/a/b", Q1)]);
    }
    let all = receivers(&mut harness, "a/b", PAGE_MAX);
    assert_eq!(
        all.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from(["-away a/# q1", "-away a/b q2", "+near +/b q0", "+m1 $share/g/a/b q1", "+m2 $share/g/a/b q1"])
    );
    for limit in 1..4 {
        assert_eq!(receivers(&mut harness, "a/b", limit), all, "the order does not depend on the pages");
    }
    assert_eq!(receivers(&mut harness, "a", 10), ["-away a/# q1"]);
    assert_eq!(receivers(&mut harness, "$SYS/x", 10), [""; 0]);
    let is_retained = |harness: &mut Harness| {
        let request = ReceiversRequest { topic: topic("a/b"), from: SubscriptionPlace::default(), limit: 1 };
        matches!(ask(harness, 0, TopicQuery::Receivers(request)), TopicAnswer::Receivers(_, true))
    };
    assert!(!is_retained(&mut harness));
    harness.run(near, [retain("a/b", "x", Q0, 0)]);
    assert!(is_retained(&mut harness));
}

fn rule(effect: Effect, action: AccessAction, filter: &str, line: usize) -> AccessRule {
    let topic_filter = TopicFilter::try_from(filter).unwrap();
    AccessRule { effect, action, topic_filter, source: RuleSource::new("acl.conf", line, filter) }
}

#[test]
fn receivers_whose_rules_deny_the_topic_are_marked() {
    let mut harness = Harness::new();
    harness.granted = Some(Access::new(vec![
        rule(Effect::Allow, AccessAction::Subscribe, "a/#", 1),
        rule(Effect::Deny, AccessAction::Both, "a/secret", 2),
    ]));
    let client = harness.connect(transient("c"));
    harness.run(client, [subscribe("a/#", Q1), subscribe("$share/g/a/#", Q1)]);
    assert_eq!(receivers(&mut harness, "a/open", 10), ["+c a/# q1", "+c $share/g/a/# q1"]);
    assert_eq!(receivers(&mut harness, "a/secret", 10), ["+c a/# q1 denied", "+c $share/g/a/# q1 denied"]);
}

/// The retained messages, page by page, as topics.
fn retained(harness: &mut Harness, of: &str, limit: usize) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let request = RetainedRequest { filter: filter(of).topic_filter, cursor, limit };
        let TopicAnswer::Retained(found, next) = ask(harness, 0, TopicQuery::Retained(request)) else { panic!() };
        assert!(found.len() <= limit);
        all.extend(found.iter().map(|one| format!("{} {}", one.message.topic.as_str(), one.message.payload.len())));
        cursor = next;
        if cursor.is_none() {
            return all;
        }
    }
}

/// Deletes in parts, each when the last one is stable.
fn delete(harness: &mut Harness, shard: usize, of: &str) -> usize {
    let (mut all, mut progress) = (0, None);
    loop {
        let request = DeletionRequest { filter: filter(of).topic_filter, progress };
        let TopicAnswer::Deleted(deleted, next) = ask(harness, shard, TopicQuery::DeleteRetained(request)) else {
            panic!()
        };
        all += deleted;
        progress = next;
        if progress.is_none() {
            return all;
        }
    }
}

#[test]
fn retained_messages_are_listed_shown_and_deleted() {
    let limits = RetainedLimits { retained_messages_max: 1_000, retained_bytes_max: 1_000_000 };
    let mut harness = Harness::with_retained(2, settings(), limits);
    let publisher = harness.connect(transient("p"));
    for number in 0..300 {
        harness.run(publisher, [retain(&format!("a/{number}"), "xy", Q1, 1)]);
    }
    harness.run(publisher, [retain("b", "z", Q0, 0)]);
    let all = retained(&mut harness, "a/#", PAGE_MAX);
    assert_eq!((all.len(), all[7].as_str()), (300, "a/7 2"));
    assert_eq!(retained(&mut harness, "a/#", 7), all);
    assert_eq!(retained(&mut harness, "b", 7), ["b 1"]);
    let TopicAnswer::RetainedMessage(Some(one)) = ask(&mut harness, 1, TopicQuery::RetainedMessage(topic("b"))) else {
        panic!()
    };
    assert_eq!((&*one.message.payload, one.publisher.as_ref()), (&b"z"[..], Some(&ClientId::from("p"))));
    let none = ask(&mut harness, 0, TopicQuery::RetainedMessage(topic("a")));
    assert_eq!(none, TopicAnswer::RetainedMessage(None));

    let subscriber = harness.connect(transient("s"));
    harness.run(subscriber, [subscribe("a/5", Q0)]);
    assert_eq!(delete(&mut harness, 1, "a/#"), 300);
    assert_eq!(delete(&mut harness, 1, "a/#"), 0);
    assert_eq!(harness.received(subscriber), ["PUBLISH a/5  q0"], "subscribers learn of it, as from a client");
    assert_eq!(retained(&mut harness, "#", 7), ["b 1"]);
    let mut restarted = harness.crash(harness.records.len());
    assert_eq!(retained(&mut restarted, "#", 7), ["b 1"]);
}

#[test]
fn a_deletion_is_answered_when_it_is_stable_and_a_crash_leaves_all_messages_or_none() {
    let limits = RetainedLimits { retained_messages_max: 1_000, retained_bytes_max: 1_000_000 };
    let mut harness = Harness::with_retained(1, settings(), limits);
    let publisher = harness.connect(transient("p"));
    for number in 0..300 {
        harness.run(publisher, [retain(&format!("a/{number}"), "x", Q1, 1)]);
    }
    harness.run(publisher, [retain("b", "x", Q1, 2)]);
    let before = harness.records.len();
    harness.store_answers = false;
    let request = DeletionRequest { filter: filter("a/#").topic_filter, progress: None };
    let id = send(&mut harness, 0, TopicQuery::DeleteRetained(request));
    assert!(harness.answers.is_empty());
    let after = harness.records.len();
    assert!((before + 2..before + 300).contains(&after), "some of the messages");
    for records in before..=after {
        let left = retained(&mut harness.crash(records), "#", PAGE_MAX);
        assert_eq!(left.len(), if records == before { 301 } else { 1 }, "a crash after {records} records");
    }
    harness.persist();
    let answer = harness.answers.iter().find(|(answered, _)| *answered == id);
    let Some((_, Answer::Topics(TopicAnswer::Deleted(_, Some(_))))) = answer else { panic!("{answer:?}") };

    // What is retained after a deletion has begun stays, also if a start has to finish the deletion, and if that start crashes.
    harness.store_answers = true;
    harness.run(publisher, [retain("a/0", "new", Q1, 3), retain("a/299", "new", Q1, 4)]);
    let mut restarted = harness.crash(harness.records.len());
    let left = ["b 1", "a/0 3", "a/299 3"];
    assert_eq!(sorted(retained(&mut restarted, "#", PAGE_MAX)), sorted(left.map(str::to_owned).to_vec()));
    restarted.seconds(5);
    for records in harness.records.len()..=restarted.records.len() {
        assert_eq!(retained(&mut restarted.crash(records), "#", PAGE_MAX).len(), 3);
    }
    let found = recovered(&restarted.records);
    let left = (&found.retained_gone, &found.retained_cleared);
    assert!(left.0.is_empty() && left.1.is_empty(), "no record is left of it: {left:?}");
}

#[test]
fn a_deletion_that_ended_leaves_no_record() {
    let mut harness = Harness::with(3, settings());
    let publisher = harness.connect_to(1, transient("p"));
    harness.run(publisher, [retain("a/1", "x", Q1, 1), retain("a/2", "x", Q0, 0), retain("b", "x", Q1, 2)]);
    assert_eq!(delete(&mut harness, 2, "a/+"), 2);
    assert_eq!(delete(&mut harness, 2, "b"), 1);
    assert_eq!(delete(&mut harness, 2, "none/#"), 0);
    for _ in 0..3 {
        harness.now = harness.now + Duration::from_secs(1);
        for shard in 0..3 {
            harness.event(shard, Event::DeadlinePassed);
        }
    }
    let found = recovered(&harness.records);
    assert_eq!((found.retained.len(), found.retained_gone), (0, ObsoleteRetained::default()));
    assert_eq!(found.retained_cleared, []);
}

fn sorted(mut all: Vec<String>) -> Vec<String> {
    all.sort();
    all
}

fn operator_message(name: &str, payload: &'static str, qos: Qos, retain: bool) -> TopicQuery {
    let message = Message::new(topic(name), payload);
    TopicQuery::Publish(Box::new(OperatorMessage { message, qos, retain, message_expiry_interval: None }))
}

/// Without it, the store writes them when it writes others, and perhaps without a sync.
#[test]
fn what_an_operator_waits_for_is_urgent_at_qos_0_too() {
    let mut harness = Harness::with(1, settings());
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [retain("a", "x", Q0, 0)]);
    ask(&mut harness, 0, operator_message("b", "x", Q0, true));
    delete(&mut harness, 0, "#");
    let levels: Vec<_> = harness.records.iter().map(Record::durability).collect();
    let awaited = Some(Durability::PowerLoss);
    assert_eq!(levels, [None, awaited, awaited, awaited, awaited], "set, set, the deletion, cleared, cleared");
}

fn publish_as_operator(harness: &mut Harness, name: &str, qos: Qos) -> Result<Publication, Unpublished> {
    let TopicAnswer::Published(outcome) = ask(harness, 0, operator_message(name, "x", qos, false)) else { panic!() };
    outcome
}

#[test]
fn a_message_of_the_operator_reaches_its_receivers_with_its_identity() {
    let mut harness = Harness::with(2, settings());
    let subscriber = harness.connect_to(1, durable("s"));
    let mut wants = subscribe("t", Q2);
    if let crate::codec::ClientPacket::Subscribe(packet) = &mut wants {
        packet.user_properties = [("message-id", "true")].into_iter().collect();
    }
    harness.run(subscriber, [wants]);
    let outcome = publish_as_operator(&mut harness, "t", Q1).unwrap();
    assert_eq!(outcome.matched, 1);
    let packets = harness.packets(subscriber);
    let [ServerPacket::Publish(publish)] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!((publish.message.id, publish.qos), (outcome.message_id, Q1));
    assert!(outcome.message_id.is_some());
    let next = publish_as_operator(&mut harness, "t", Q2).unwrap();
    assert_ne!(next.message_id, outcome.message_id);
    assert_eq!(publish_as_operator(&mut harness, "t", Q0), Ok(Publication { matched: 1, message_id: None }));
    assert_eq!(publish_as_operator(&mut harness, "nobody", Q1).unwrap().matched, 0);
}

#[test]
fn a_message_of_the_operator_is_answered_when_a_clients_would_be_acknowledged() {
    let mut harness = Harness::new();
    let subscriber = harness.connect(durable("s"));
    let watcher = harness.connect(transient("w"));
    harness.run(subscriber, [subscribe("t", Q2)]);
    harness.run(watcher, [subscribe("u", Q2)]);
    harness.store_answers = false;
    ask(&mut harness, 0, operator_message("t", "x", Q0, false));
    ask(&mut harness, 0, operator_message("u", "x", Q2, false)); // for transient Sessions only
    let before = harness.answers.len();
    for qos in [Q1, Q2] {
        send(&mut harness, 0, operator_message("t", "x", qos, false));
    }
    send(&mut harness, 0, operator_message("kept", "x", Q0, true));
    assert_eq!(harness.answers.len(), before);
    harness.persist();
    assert_eq!(harness.answers.len(), before + 3);
    let mut restarted = harness.crash(harness.records.len());
    assert_eq!(retained(&mut restarted, "#", 7), ["kept 1"]);
    let subscriber = restarted.connect(durable("s"));
    assert_eq!(restarted.received(subscriber).len(), 2);
}

#[test]
fn a_message_of_the_operator_is_refused_where_a_clients_would_be() {
    let mut narrow = settings();
    narrow.maximum_qos = Q1;
    narrow.retain_available = false;
    let mut harness = Harness::with(1, narrow);
    for name in ["$SYS/broker/uptime", "$SYS/broker/connection/b", "1/2/3/4/5/6/7/8/9"] {
        let outcome = publish_as_operator(&mut harness, name, Q0);
        assert!(matches!(outcome, Err(Unpublished::Refused(_))), "{name} {outcome:?}");
    }
    assert!(matches!(publish_as_operator(&mut harness, "t", Q2), Err(Unpublished::Refused(_))));
    let answer = ask(&mut harness, 0, operator_message("t", "x", Q0, true));
    assert!(matches!(answer, TopicAnswer::Published(Err(Unpublished::Refused(_)))));
    assert!(publish_as_operator(&mut harness, "$other", Q1).is_ok());
    assert!(publish_as_operator(&mut harness, "$SYS/broker/connection/b/state", Q1).is_ok());
}

#[test]
fn a_message_of_the_operator_is_not_accepted_where_a_client_would_be_held_up() {
    let mut small = settings();
    (small.queue_overflow, small.queued_messages_max) = (QueueOverflow::Reject, 2);
    let mut harness = Harness::with(1, small);
    let subscriber = harness.connect(durable("s"));
    harness.run(subscriber, [subscribe("t", Q1)]);
    harness.lose(subscriber);
    let is_busy = |harness: &mut Harness| matches!(publish_as_operator(harness, "t", Q1), Err(Unpublished::Busy(_)));
    assert!(!is_busy(&mut harness));
    harness.event(0, Event::StoreCongestion(true));
    assert!(is_busy(&mut harness));
    assert!(publish_as_operator(&mut harness, "t", Q0).is_ok(), "no record");
    harness.event(0, Event::StoreCongestion(false));
    harness.event(0, Event::StoreRoom(StoreRoom::None));
    assert!(is_busy(&mut harness));
    harness.event(0, Event::StoreRoom(StoreRoom::Some));
    assert!(!is_busy(&mut harness));
    assert!(is_busy(&mut harness), "the queue is full");
    let subscriber = harness.connect(durable("s"));
    assert_eq!(harness.received(subscriber).len(), 2, "what was not accepted is not delivered");
}

fn explain(harness: &mut Harness, client_id: &str, access: &Access, action: ExplainedAction) -> Explanation {
    let standing = Some(Standing { access: Arc::new(access.clone()), refusal: None, note: None, superuser: None });
    let request =
        ExplainRequest { client_id: ClientId(client_id.into()), user: None, listener: None, action, standing };
    let TopicAnswer::Explained(explanation) = ask(harness, 0, TopicQuery::Explain(Box::new(request))) else { panic!() };
    explanation
}

fn filters() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "([ab]|\\+)(/([ab]|\\+)){0,2}(/#)?|#",
        1 => Just("$SYS/#".to_owned()),
        1 => Just("$SYS/broker/connection/+/state".to_owned()),
    ]
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[ab](/[ab]){0,2}",
        1 => Just("$SYS/broker/uptime".to_owned()),
        1 => Just("$SYS/broker/connection/c/state".to_owned()),
        1 => Just("$SYS/broker/connection/b/state".to_owned()),
        1 => Just("1/2/3/4/5/6/7/8/9".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn an_explanation_says_what_the_broker_does(
        rules in prop::option::of(prop::collection::vec((any::<bool>(), 0..3_u8, filters()), 0..5)),
        names in prop::collection::vec(names(), 1..6),
        wanted in prop::collection::vec(filters(), 1..6),
    ) {
        let action = |number| [AccessAction::Publish, AccessAction::Subscribe, AccessAction::Both][usize::from(number)];
        let effect = |denies| if denies { Effect::Deny } else { Effect::Allow };
        let access = rules.map_or(Access::everything(), |rules| {
            let rules = (1..).zip(&rules);
            Access::new(rules.map(|(line, (denies, number, text))| rule(effect(*denies), action(*number), text, line)).collect())
        });
        let mut harness = Harness::new();
        harness.granted = Some(access.clone());
        let client = harness.connect(transient("c"));
        for name in names {
            let explained = explain(&mut harness, "c", &access, ExplainedAction::Publish(topic(&name)));
            let answer = harness.ask(client, publish(&name, "x", Q1, 1)).join(" ");
            let is_accepted = answer == "PUBACK 1 0x00" || answer == "PUBACK 1 0x10";
            prop_assert_eq!(explained.is_allowed, is_accepted, "{} {} {:?}", name, answer, explained);
            if let Some(source) = &explained.rule {
                prop_assert!(explained.reason.starts_with(&source.to_string()), "{:?}", explained);
            }
            if !explained.is_allowed {
                let entries = last_refusal_rule(&mut harness);
                let named = explained.rule.map(|source| format!("denied by {source}"));
                prop_assert_eq!(entries.as_deref(), Some(named.as_deref().unwrap_or(&explained.reason)));
            }
        }
        for text in wanted {
            let explained = explain(&mut harness, "c", &access, ExplainedAction::Subscribe(filter(&text)));
            let answer = harness.ask(client, subscribe(&text, Q1));
            prop_assert_eq!(explained.is_allowed, answer[0] == "SUBACK 1 01", "{} {:?} {:?}", text, answer, explained);
        }
    }
}

/// The rule of the last refusal.
fn last_refusal_rule(harness: &mut Harness) -> Option<String> {
    let request = LogRequest { before: None, limit: 1 };
    let TopicAnswer::Refusals(page) = ask(harness, 0, TopicQuery::Refusals(request)) else { panic!() };
    page.entries.last().and_then(|(_, view)| view.rule.as_ref().map(|rule| rule.to_string()))
}

#[test]
fn an_explanation_names_the_line_and_what_else_decides() {
    let mut harness = Harness::new();
    let access = Access::new(vec![
        rule(Effect::Allow, AccessAction::Both, "a/#", 3),
        rule(Effect::Deny, AccessAction::Both, "a/secret", 7),
    ]);
    let publish = |name: &str| ExplainedAction::Publish(topic(name));
    let denied = explain(&mut harness, "c", &access, publish("a/secret"));
    assert_eq!((denied.is_allowed, denied.rule.unwrap().line), (false, 7));
    assert_eq!(denied.reason, "acl.conf:7 denies a/secret");
    let none = explain(&mut harness, "c", &access, publish("b"));
    assert_eq!((none.is_allowed, none.rule, &*none.reason), (false, None, "no rule allows it"));
    let part = explain(&mut harness, "c", &access, ExplainedAction::Subscribe(filter("#")));
    assert!(part.is_allowed && part.reason.contains("a part of the topics"), "{part:?}");
    let all = explain(&mut harness, "c", &Access::everything(), publish("a"));
    assert!(all.is_allowed && all.reason.contains("no ACL file"), "{all:?}");
    let sys = explain(&mut harness, "c", &Access::everything(), publish("$SYS/broker/uptime"));
    assert!(!sys.is_allowed && sys.reason.contains("$SYS"), "{sys:?}");
    let refusal = Some("the password file has no such user");
    let standing = Some(Standing { access: Arc::new(Access::everything()), refusal, note: None, superuser: None });
    let (client_id, action) = (ClientId::from("c"), publish("a"));
    let request = ExplainRequest { client_id, user: Some("mallory".into()), listener: None, action, standing };
    let TopicAnswer::Explained(explained) = ask(&mut harness, 0, TopicQuery::Explain(Box::new(request))) else {
        panic!()
    };
    assert_eq!((explained.is_allowed, Some(&*explained.reason)), (false, refusal));
    for (action, is_allowed, text) in [
        (publish("a"), true, "acl.conf:9 makes the user a superuser; with its password"),
        (
            ExplainedAction::Subscribe(filter("$SYS/#")),
            true,
            "acl.conf:9 makes the user a superuser; with its password",
        ),
        (publish("$SYS/broker/uptime"), false, "topics below $SYS are the broker's own; with its password"),
    ] {
        let note = Some("with its password".to_owned());
        let superuser = Some(RuleSource::new("acl.conf", 9, "superuser"));
        let standing = Some(Standing { access: Arc::new(Access::everything()), refusal: None, note, superuser });
        let (client_id, user) = (ClientId::from("c"), Some("olga".into()));
        let request = ExplainRequest { client_id, user, listener: None, action, standing };
        let TopicAnswer::Explained(explained) = ask(&mut harness, 0, TopicQuery::Explain(Box::new(request))) else {
            panic!()
        };
        assert_eq!((explained.is_allowed, &*explained.reason), (is_allowed, text));
        assert_eq!(explained.rule.map(|rule| rule.line), is_allowed.then_some(9));
    }
}
