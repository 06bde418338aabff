use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::codec::{Message, MessageProperties, MessageProperty, Qos};
use crate::routing::retained::plan::Plan;
use crate::topic::TopicFilter;

const UNLIMITED: RetainedLimits = RetainedLimits { retained_messages_max: usize::MAX, retained_bytes_max: usize::MAX };

const NOW: Timestamp = Timestamp(1_000);

fn retained(topic: &str, payload: &'static str) -> RetainedMessage {
    let topic = TopicName::try_from(topic).unwrap();
    let message = Message::new(topic, Bytes::from(payload));
    let (qos, current) = (Qos::AtLeastOnce, Current::default());
    let (expires_at, publisher, user, right) = (None, None, None, PublishRight::always());
    let (message, number, sequences) = (Arc::new(message), 0, None);
    RetainedMessage { message, qos, expires_at, publisher, user, right, number, sequences, current }
}

fn topic(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

fn store(topics: &[&str]) -> RetainedStore {
    let mut store = RetainedStore::new(UNLIMITED);
    for (topic, number) in topics.iter().zip(1..) {
        store.set(RetainedMessage { number, ..retained(topic, "x") }).unwrap();
    }
    store
}

/// Advances a cursor by a number of nodes.
fn step(
    store: &RetainedStore,
    cursor: &mut RetainedCursor,
    filter: &str,
    mut visits: usize,
) -> Vec<Arc<RetainedMessage>> {
    let filter = TopicFilter::try_from(filter).unwrap();
    let mut found = Vec::new();
    store.advance((cursor, &filter), NOW, &mut visits, |retained| {
        found.push(Arc::clone(retained));
        ControlFlow::Continue(())
    });
    found
}

fn found(store: &RetainedStore, filter: &str) -> Vec<Arc<RetainedMessage>> {
    step(store, &mut store.cursor(), filter, usize::MAX)
}

fn matching(store: &RetainedStore, filter: &str) -> Vec<String> {
    found(store, filter).iter().map(|retained| retained.message.topic.to_string()).collect()
}

fn is_empty(store: &RetainedStore) -> bool {
    store.is_empty()
        && store.bytes() == 0
        && store.nodes.len() == 1
        && store.edges.is_empty()
        && store.names.is_empty()
        && store.depths.is_empty()
        && store.expiries.is_empty()
}

#[test]
fn mqtt5_3_3_1_5_a_retained_message_replaces_the_previous_one_of_its_topic() {
    let mut store = RetainedStore::new(UNLIMITED);
    store.set(retained("a/b", "one")).unwrap();
    let bytes = store.bytes();
    store.set(RetainedMessage { qos: Qos::AtMostOnce, ..retained("a/b", "another") }).unwrap();
    assert_eq!(store.len(), 1);
    assert_eq!(store.bytes(), bytes + "another".len() - "one".len());
    let kept = store.get(&topic("a/b")).unwrap();
    assert_eq!((&*kept.message.payload, kept.qos), (&b"another"[..], Qos::AtMostOnce));
}

#[test]
fn mqtt5_3_3_1_6_clearing_removes_the_message_and_its_nodes() {
    // covers: MQTT-3.3.1-7
    let mut store = store(&["a/b/c", "a/b", "a/d"]);
    assert!(!store.clear(&topic("a")));
    assert!(!store.clear(&topic("a/b/x")));
    assert!(store.clear(&topic("a/b")));
    assert!(!store.clear(&topic("a/b")));
    assert_eq!(matching(&store, "#"), ["a/b/c", "a/d"]);
    store.set(retained("a/b/c", "")).unwrap();
    store.set(retained("a/d", "")).unwrap();
    store.set(retained("never/there", "")).unwrap();
    assert!(is_empty(&store));
}

#[test]
fn mqtt5_4_7_1_1_the_multi_level_wildcard_includes_the_parent() {
    let store = store(&["a", "a/b", "a/b/c", "a/", "ab", "b/a"]);
    assert_eq!(matching(&store, "a/#"), ["a", "a/b", "a/b/c", "a/"]);
    assert_eq!(matching(&store, "#"), ["a", "a/b", "a/b/c", "a/", "ab", "b/a"]);
    assert_eq!(matching(&store, "a/b"), ["a/b"]);
}

#[test]
fn mqtt5_4_7_1_2_the_single_level_wildcard_is_one_level() {
    let store = store(&["a", "a/b", "a/c/d", "a/", "/b", "b/b"]);
    assert_eq!(matching(&store, "a/+"), ["a/b", "a/"]);
    assert_eq!(matching(&store, "+/b"), ["a/b", "/b", "b/b"]);
    assert_eq!(matching(&store, "+"), ["a"]);
    assert_eq!(matching(&store, "+/+/#"), ["a/b", "a/c/d", "a/", "/b", "b/b"]);
}

#[test]
fn mqtt5_4_7_2_1_wildcards_at_the_beginning_dont_match_topics_that_start_with_a_dollar() {
    let store = store(&["$SYS/uptime", "a/$b", "$x"]);
    assert_eq!(matching(&store, "#"), ["a/$b"]);
    assert_eq!(matching(&store, "+/uptime"), [""; 0]);
    assert_eq!(matching(&store, "+"), [""; 0]);
    assert_eq!(matching(&store, "$SYS/#"), ["$SYS/uptime"]);
    assert_eq!(matching(&store, "a/+"), ["a/$b"]);
}

#[test]
fn expired_messages_are_neither_sent_nor_kept() {
    let mut store = RetainedStore::new(UNLIMITED);
    for (name, expires_at) in [("late", 3_000), ("soon", 1_001), ("gone", 1_000), ("long gone", 1)] {
        store.set(RetainedMessage { expires_at: Some(Timestamp(expires_at)), ..retained(name, "x") }).unwrap();
    }
    store.set(RetainedMessage { number: 1, ..retained("for ever", "x") }).unwrap();
    assert_eq!(matching(&store, "#"), ["late", "soon", "for ever"]);
    assert_eq!(store.expiries.len(), 4);
    assert_eq!(store.remove_expired(NOW, 1).len(), 1);
    assert!(store.get(&topic("long gone")).is_none() && store.get(&topic("gone")).is_some());
    assert_eq!(store.remove_expired(NOW, 10).len(), 1);
    assert_eq!(store.remove_expired(NOW, 10).len(), 0);
    assert_eq!(store.len(), 3);
    store.set(RetainedMessage { number: 2, ..retained("soon", "without expiry") }).unwrap();
    assert_eq!(store.remove_expired(Timestamp(u64::MAX), 10).len(), 1);
    assert_eq!(matching(&store, "#"), ["soon", "for ever"]);
    assert!(store.expiries.is_empty());
}

#[test]
fn a_full_store_refuses_new_topics_and_permits_replacements() {
    let mut store = store(&["a", "b"]);
    store.limits = RetainedLimits { retained_messages_max: 2, ..UNLIMITED };
    assert_eq!(store.set(retained("c", "x")), Err(RetainedFull::Messages { retained_messages_max: 2 }));
    assert!(store.set(retained("b", "replaced")).is_ok());
    assert_eq!(&*store.get(&topic("b")).unwrap().message.payload, b"replaced");

    let retained_bytes_max = store.bytes();
    store.limits = RetainedLimits { retained_bytes_max, ..UNLIMITED };
    let full = Err(RetainedFull::Bytes { retained_bytes_max });
    assert_eq!(store.set(retained("b", "replaced by a longer one")), full);
    assert_eq!(&*store.get(&topic("b")).unwrap().message.payload, b"replaced");
    assert_eq!(store.set(retained("c", "x")), full);
    assert!(store.set(retained("b", "short")).is_ok());
    assert!(store.set(retained("b", "replaced")).is_ok());

    store.limits = RetainedLimits { retained_messages_max: 0, retained_bytes_max: 0 };
    assert!(store.set(retained("b", "short")).is_ok(), "a smaller message is permitted");
    assert_eq!(store.len(), 2);
}

#[test]
fn all_parts_of_a_message_count_against_the_limit() {
    let cost = |topic, payload, properties| {
        let message = Message { properties, ..Message::new(topic, payload) };
        RetainedMessage { message: Arc::new(message), ..retained("x", "x") }.memory()
    };
    let least = cost(topic("a"), Bytes::from("x"), MessageProperties::default());
    assert!(least > size_of::<RetainedMessage>() + size_of::<Message>() + size_of::<Node>());
    assert_eq!(cost(topic("abc"), Bytes::from("x"), MessageProperties::default()), least + 2);
    assert_eq!(cost(topic("a"), Bytes::from("xyz"), MessageProperties::default()), least + 2);
    let properties = MessageProperties::from_properties([MessageProperty::ContentType("text/plain".into())]);
    assert_eq!(cost(topic("a"), Bytes::from("x"), properties), least + 1 + 2 + "text/plain".len());
}

#[test]
fn every_level_counts_against_the_limit() {
    /// A node as the slab stores it.
    enum Place {
        #[expect(dead_code, reason = "for its size")]
        Free(usize),
        #[expect(dead_code, reason = "for its size")]
        Taken(Node),
    }
    // The slab and the hash tables may just have grown: half of the slab and 9 of 16 places of the tables are unused
    // then.
    let entries = size_of::<(u32, NodeId)>() + 1 + size_of::<(u32, names::List)>() + 1;
    let taken = 2 * size_of::<Place>() + entries * 16 / 7;
    for length in [0, 1, 15, 16, 24, 25, 1_000] {
        let name = "n".repeat(length);
        let of_levels = |levels: usize| retained(&(format!("{name}/").repeat(levels) + "end"), "x").memory();
        // An allocation has 8 bytes of overhead, and its size is a multiple of 16 and at least 32.
        let allocated = if length == 0 { 0 } else { (length + 8).next_multiple_of(16).max(32) };
        let in_topic = length + 1;
        assert!(of_levels(9) - of_levels(8) >= taken + allocated + in_topic, "a name of {length} bytes");
    }
}

#[test]
fn topics_of_thousands_of_levels_work_and_count_against_the_limit() {
    let mut store = RetainedStore::new(UNLIMITED);
    let deep = "/".repeat(60_000);
    store.set(retained(&deep, "x")).unwrap();
    assert!(store.bytes() > 60_000 * size_of::<Node>());
    assert_eq!(matching(&store, "#"), std::slice::from_ref(&deep));
    assert_eq!(matching(&store, &("+/".repeat(30_000) + "#")), std::slice::from_ref(&deep));
    assert_eq!(matching(&store, &"+/".repeat(30_000)), [""; 0]);
    assert!(store.clear(&topic(&deep)));
    assert!(is_empty(&store));
}

#[derive(Debug, Clone)]
enum Step {
    Set { topic: String, payload: &'static str, expires_at: Option<u64> },
    Clear { topic: String },
    RemoveExpired { now: u64, limit: usize },
}

fn topics() -> impl Strategy<Value = String> {
    "\\$?[ab]?(/[ab]?){0,3}".prop_filter("not empty", |topic| !topic.is_empty())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (topics(), prop::sample::select(vec!["", "x", "longer"]), prop::option::of(0..2_000_u64))
            .prop_map(|(topic, payload, expires_at)| Step::Set { topic, payload, expires_at }),
        2 => topics().prop_map(|topic| Step::Clear { topic }),
        1 => (0..1_000_u64, 0..3_usize).prop_map(|(now, limit)| Step::RemoveExpired { now, limit }),
    ];
    prop::collection::vec(step, 0..60)
}

/// Number, payload and expiry by topic.
type Model = BTreeMap<TopicName, (u64, &'static str, Option<u64>)>;

fn apply((number, step): (u64, Step), store: &mut RetainedStore, model: &mut Model) {
    match step {
        Step::Set { topic: name, payload, expires_at } => {
            let message = RetainedMessage { number, expires_at: expires_at.map(Timestamp), ..retained(&name, payload) };
            let replaced = store.set(message).unwrap();
            let before = model.insert(topic(&name), (number, payload, expires_at));
            assert_eq!(replaced.map(|replaced| replaced.number), before.map(|(number, ..)| number));
            model.retain(|_, (_, payload, _)| !payload.is_empty());
        }
        Step::Clear { topic: name } => {
            assert_eq!(store.clear(&topic(&name)), model.remove(&topic(&name)).is_some());
        }
        Step::RemoveExpired { now, limit } => {
            let mut expiries: Vec<_> =
                model.iter().filter_map(|(topic, (.., at))| Some(((*at)?, topic.clone()))).collect();
            expiries.sort_unstable();
            let expired = expiries.into_iter().filter(|(at, _)| *at <= now).take(limit);
            let removed = expired.map(|(_, topic)| model.remove(&topic)).count();
            assert_eq!(store.remove_expired(Timestamp(now), limit).len(), removed);
        }
    }
}

proptest! {
    #[test]
    fn the_store_matches_like_testing_every_topic(
        steps in steps(),
        filters in prop::collection::vec("(\\$?[ab]?|\\+)(/([ab]?|\\+)){0,3}(/#)?|#", 1..20),
    ) {
        let (mut store, mut model) = (RetainedStore::new(UNLIMITED), Model::new());
        for step in (1..).zip(steps) {
            apply(step, &mut store, &mut model);
        }
        for filter in filters.iter().filter(|filter| !filter.is_empty()) {
            let mut found: Vec<_> = found(&store, filter)
                .iter()
                .map(|found| (found.message.topic.clone(), found.message.payload.clone()))
                .collect();
            found.sort_unstable();
            let filter = TopicFilter::try_from(filter.as_str()).unwrap();
            let expected: Vec<_> = model
                .iter()
                .filter(|(topic, (.., expires_at))| filter.matches(topic) && expires_at.is_none_or(|at| at > NOW.0))
                .collect();
            let expected: Vec<_> =
                expected.into_iter().map(|(topic, (_, payload, _))| (topic.clone(), Bytes::from(*payload))).collect();
            prop_assert_eq!(&found, &expected, "{}", filter);
            for plan in plans(&filter) {
                let mut cursor = store.cursor().with_plan(plan);
                let mut found: Vec<_> = step(&store, &mut cursor, filter.as_str(), usize::MAX)
                    .iter()
                    .map(|found| (found.message.topic.clone(), found.message.payload.clone()))
                    .collect();
                found.sort_unstable();
                prop_assert_eq!(&found, &expected, "{} from {:?}", filter, plan);
            }
        }
        prop_assert_eq!(store.len(), model.len());
        for topic in model.keys() {
            prop_assert!(store.clear(topic));
        }
        prop_assert!(is_empty(&store));
    }
}

proptest! {
    #[test]
    fn a_cursor_continues_from_its_numbers(steps in steps(), later in steps(), filter in "(a|\\+)(/([ab]|\\+)){0,2}(/#)?|#") {
        let (mut store, mut model) = (RetainedStore::new(UNLIMITED), Model::new());
        for step in (1..).zip(steps) {
            apply(step, &mut store, &mut model);
        }
        let (mut one, mut again) = (store.cursor(), store.cursor());
        for later in (100..).zip(later) {
            prop_assert_eq!(step(&store, &mut one, &filter, 1), step(&store, &mut again, &filter, 1));
            again = RetainedCursor::from_numbers(&again.numbers()).unwrap();
            prop_assert_eq!(&again, &one);
            apply(later, &mut store, &mut model);
        }
    }

    #[test]
    fn a_cursor_of_any_numbers_ends(
        steps in steps(),
        head in prop::collection::vec(0..8_u64, 5),
        places in prop::collection::vec(0..12_u64, 0..20),
        filter in "(a|\\+)(/([ab]|\\+)){0,2}(/#)?|#",
    ) {
        let (mut store, mut model) = (RetainedStore::new(UNLIMITED), Model::new());
        for step in (1..).zip(steps) {
            apply(step, &mut store, &mut model);
        }
        if let Some(mut cursor) = RetainedCursor::from_numbers(&[head, places].concat()) {
            step(&store, &mut cursor, &filter, usize::MAX);
            prop_assert!(cursor.is_finished());
        }
    }
}

/// All ways to find the messages of a filter.
fn plans(filter: &TopicFilter) -> Vec<Plan> {
    let is_named = |(_, level): &(usize, &str)| !matches!(*level, "+" | "#");
    let named = (1..).zip(filter.levels()).skip(1).filter(is_named).map(|(depth, _)| Plan::Named(depth));
    named.chain([Plan::Down]).collect()
}

/// How many visits it takes to find all messages of a filter, and how many there are.
fn cost(store: &RetainedStore, filter: &str) -> (usize, usize) {
    let (filter, mut visits, mut found) = (TopicFilter::try_from(filter).unwrap(), usize::MAX, 0);
    store.advance((&mut store.cursor(), &filter), NOW, &mut visits, |_| {
        found += 1;
        ControlFlow::Continue(())
    });
    (usize::MAX - visits, found)
}

#[test]
fn a_filter_costs_about_its_matches_however_many_other_messages_there_are() {
    let mut store = RetainedStore::new(UNLIMITED);
    for number in 0..3_000 {
        for name in [format!("{number}/state"), format!("site/{}/{number}/temp", number % 10), format!("top-{number}")]
        {
            store.set(retained(&name, "x")).unwrap();
        }
    }
    for name in ["7/config", "8/config", "site/3/33/door", "site/4/44/door", "one/1/x", "one/2/x", "one/3/y"] {
        store.set(retained(name, "x")).unwrap();
    }
    for (filter, matches) in [
        ("+/config", 2),
        ("+/config/#", 2),
        ("+/never", 0),
        ("+/+/never", 0),
        ("never/+/temp", 0),
        ("+/+/+/+/+/+", 0),
        ("site/+/+/door", 2),
        ("+/+/44/door", 1),
        ("+/4/44/+", 2),
        ("one/+/x", 2),
        ("one/+/#", 3),
        ("+/state", 3_000),
        ("+/+/+/temp", 3_000),
    ] {
        let (visits, found) = cost(&store, filter);
        assert_eq!(found, matches, "{filter}");
        assert!(visits <= 10 + 8 * matches, "{filter}: {visits} visits");
    }
    let packet: usize = (0..1_000).map(|number| cost(&store, &format!("+/{number}/none")).0).sum();
    assert!(packet < 10_000, "{packet} visits for a packet with 1,000 filters");
}

#[test]
fn long_levels_count_as_several_visits() {
    let mut store = RetainedStore::new(UNLIMITED);
    let long = "x".repeat(60_000);
    for number in 0..20 {
        store.set(retained(&format!("{number}/{number}/{long}"), "x")).unwrap();
    }
    for plan in [Plan::Down, Plan::Named(3)] {
        let filter = format!("+/+/{long}");
        let mut cursor = store.cursor().with_plan(plan);
        assert!(step(&store, &mut cursor, &filter, 400).len() <= 3, "{plan:?}");
        assert!(!cursor.is_finished());
    }
}

fn topics_of(found: &[Arc<RetainedMessage>]) -> Vec<&str> {
    found.iter().map(|retained| retained.message.topic.as_str()).collect()
}

#[test]
fn a_step_visits_at_most_the_permitted_nodes() {
    let topics: Vec<String> = (0..100).map(|number| format!("{number}/x")).collect();
    let store = store(&topics.iter().map(String::as_str).collect::<Vec<_>>());
    for (filter, matches) in [("#", 100), ("+/x", 100), ("+/y", 0), ("+", 0), ("7/x", 1)] {
        let (mut cursor, mut found, mut steps) = (store.cursor(), Vec::new(), 0);
        while !cursor.is_finished() {
            let more = step(&store, &mut cursor, filter, 7);
            assert!(more.len() <= 7);
            found.extend(more);
            steps += 1;
        }
        assert_eq!(found.len(), matches, "{filter}");
        assert!(steps <= 60, "{filter}: {steps}");
    }
}

#[test]
fn a_cursor_continues_where_its_node_was_removed() {
    let mut store = store(&["a/1", "a/2", "a/3", "a/4", "b/1"]);
    let mut cursor = store.cursor();
    assert_eq!(topics_of(&step(&store, &mut cursor, "#", 3)), ["a/1"]);
    for gone in ["a/1", "a/2"] {
        store.clear(&topic(gone));
    }
    assert_eq!(topics_of(&step(&store, &mut cursor, "#", 1)), ["a/3"]);
    for gone in ["a/3", "a/4"] {
        store.clear(&topic(gone));
    }
    // The node of "a" and its children are new ones.
    store.set(RetainedMessage { number: 9, ..retained("a/3", "again") }).unwrap();
    store.set(RetainedMessage { number: 10, ..retained("b/1", "replaced") }).unwrap();
    store.set(RetainedMessage { number: 11, ..retained("c", "new") }).unwrap();
    assert_eq!(topics_of(&step(&store, &mut cursor, "#", usize::MAX)), [""; 0]);
    assert!(cursor.is_finished());
    assert_eq!(matching(&store, "#"), ["b/1", "a/3", "c"]);
}

#[test]
fn skipping_siblings_of_a_removed_node_is_counted_too() {
    let topics: Vec<String> = (0..100).map(|number| format!("{number:02}")).collect();
    let mut store = store(&topics.iter().map(String::as_str).collect::<Vec<_>>());
    let mut cursor = store.cursor();
    assert_eq!(step(&store, &mut cursor, "+", 100).len(), 50);
    store.clear(&topic("49"));
    assert_eq!(topics_of(&step(&store, &mut cursor, "+", 20)), [""; 0]);
    store.clear(&topic("19"));
    store.clear(&topic("20"));
    let mut found = Vec::new();
    while !cursor.is_finished() {
        found.extend(step(&store, &mut cursor, "+", 30));
    }
    assert_eq!(topics_of(&found), topics[50..].iter().map(String::as_str).collect::<Vec<_>>());
}

proptest! {
    #[test]
    fn a_cursor_finds_each_remaining_message_exactly_once(
        before in steps(),
        filter in "(\\$?[ab]?|\\+)(/([ab]?|\\+)){0,3}(/#)?|#",
        during in prop::collection::vec((steps(), 1..6_usize), 0..30),
    ) {
        prop_assume!(!filter.is_empty());
        let (mut store, mut model, mut numbers) = (RetainedStore::new(UNLIMITED), Model::new(), 1..);
        for step in before {
            apply((numbers.next().unwrap(), step), &mut store, &mut model);
        }
        let mut cursor = store.cursor();
        let last = numbers.next().unwrap();
        let at_first: BTreeSet<u64> = found(&store, &filter).iter().map(|retained| retained.number).collect();
        let mut all_found = Vec::new();
        let mut still_there = at_first.clone();
        for (changes, visits) in during {
            all_found.extend(step(&store, &mut cursor, &filter, visits).iter().map(|retained| retained.number));
            for step in changes.into_iter().take(6) {
                apply((numbers.next().unwrap(), step), &mut store, &mut model);
            }
            still_there.retain(|number| model.values().any(|(other, ..)| other == number));
        }
        all_found.extend(step(&store, &mut cursor, &filter, usize::MAX).iter().map(|retained| retained.number));
        prop_assert!(cursor.is_finished());
        let once: BTreeSet<u64> = all_found.iter().copied().collect();
        prop_assert_eq!(once.len(), all_found.len());
        prop_assert!(once.iter().all(|number| *number < last && at_first.contains(number)));
        prop_assert!(once.is_superset(&still_there));
    }
}

#[test]
fn lower_limits_discard_nothing_and_apply_to_the_next_message() {
    let mut store = store(&["a", "b", "c"]);
    store.set_limits(RetainedLimits { retained_messages_max: 2, ..UNLIMITED });
    assert_eq!(store.len(), 3);
    assert_eq!(store.set(retained("d", "x")), Err(RetainedFull::Messages { retained_messages_max: 2 }));
    store.set(retained("a", "y")).unwrap();
    store.set_limits(RetainedLimits { retained_messages_max: 4, ..UNLIMITED });
    store.set(retained("d", "x")).unwrap();
    assert_eq!(store.len(), 4);
}
