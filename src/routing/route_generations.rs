//! Invalidates cached routes when subscriptions change.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;
use smallvec::SmallVec;

use crate::topic::{TopicFilter, TopicName};

/// Counts changes of subscriptions per bucket, so that a change invalidates only the cached routes that it may affect.
///
/// A change of a Topic Filter counts in one bucket of a fixed table: for a filter without wildcards that of its topic,
/// otherwise that of the levels before its first wildcard. A route of a topic depends on a few buckets: that of the
/// topic and those of its prefixes. Filters with the same bucket invalidate each other's routes, which costs time but
/// is never wrong.
///
/// A writer calls [`change`](Self::change) for each filter and then [`publish`](Self::publish), both before it releases
/// the lock of the subscriptions, or after a change that needs no lock. A reader that resolves a route reads
/// [`published`](Self::published), then [`sum`](Self::sum), then the subscriptions. Counts only increase, so if they
/// are equal later, the route is up to date.
#[derive(Debug)]
pub struct RouteGenerations {
    published: AtomicU64,
    buckets: Box<[AtomicU64]>,
    hasher: RandomState,
}

/// The buckets that a topic's routes depend on.
#[derive(Debug, Clone)]
pub struct RouteBuckets(SmallVec<[u16; BUCKETS_PER_TOPIC]>);

/// The kind of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    /// One topic.
    Topic,
    /// All topics that begin with the given levels.
    Below,
}

impl RouteGenerations {
    /// All counts are zero.
    pub fn new() -> Self {
        Self {
            published: AtomicU64::new(0),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::default(),
        }
    }

    /// Counts a change that affects the topics that `filter` matches.
    pub fn change(&self, filter: &TopicFilter) {
        let bucket = match prefix(filter.as_str()) {
            None => self.bucket(Scope::Topic, filter.as_str()),
            Some(prefix) => self.bucket(Scope::Below, prefix),
        };
        self.count(bucket);
    }

    /// Counts a change that may affect every topic.
    pub fn change_all(&self) {
        self.count(self.bucket(Scope::Below, ""));
    }

    /// Makes counted changes visible to readers.
    pub fn publish(&self) {
        self.published.fetch_add(1, Ordering::Release);
    }

    /// The number of calls of [`publish`](Self::publish).
    pub fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// The buckets that routes of `topic` depend on.
    pub fn buckets(&self, topic: &TopicName) -> RouteBuckets {
        let topic = topic.as_str();
        let ends = topic.match_indices('/').map(|(end, _)| end).chain([topic.len()]);
        let prefixes = ends.take(PREFIX_LEVELS_MAX).filter_map(|end| topic.get(..end));
        let below = [""].into_iter().chain(prefixes).map(|prefix| self.bucket(Scope::Below, prefix));
        RouteBuckets(below.chain([self.bucket(Scope::Topic, topic)]).collect())
    }

    /// The number of changes counted in these buckets.
    pub fn sum(&self, buckets: &RouteBuckets) -> u64 {
        let counts = buckets.0.iter().filter_map(|bucket| self.buckets.get(usize::from(*bucket)));
        counts.fold(0, |sum, count| sum.wrapping_add(count.load(Ordering::Acquire)))
    }

    fn count(&self, bucket: u16) {
        if let Some(bucket) = self.buckets.get(usize::from(bucket)) {
            bucket.fetch_add(1, Ordering::Release);
        }
    }

    fn bucket(&self, scope: Scope, levels: &str) -> u16 {
        // A topic with an empty first level has an empty prefix, which shares the bucket of all topics.
        let [low, high, ..] = self.hasher.hash_one((scope, levels)).to_le_bytes();
        u16::from_le_bytes([low, high]) % BUCKETS
    }
}

impl Default for RouteGenerations {
    fn default() -> Self {
        Self::new()
    }
}

/// The levels before the first wildcard of a filter, up to the maximum; `None` without a wildcard.
fn prefix(filter: &str) -> Option<&str> {
    let mut end = 0;
    for (place, level) in filter.split('/').enumerate() {
        if matches!(level, "+" | "#") {
            return filter.get(..end);
        }
        if place < PREFIX_LEVELS_MAX {
            end += level.len() + usize::from(place > 0);
        }
    }
    None
}

/// Number of buckets; the table takes 32 KiB.
const BUCKETS: u16 = 4_096;
/// The number of levels before a wildcard that distinguish filters. Filters with more levels in common share a bucket.
const PREFIX_LEVELS_MAX: usize = 6;
/// One for each prefix, one for all topics, and one for the topic itself.
const BUCKETS_PER_TOPIC: usize = PREFIX_LEVELS_MAX + 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::try_from(text).unwrap()
    }

    fn topic(text: &str) -> TopicName {
        TopicName::try_from(text).unwrap()
    }

    #[test]
    fn prefix_ends_before_the_first_wildcard() {
        for (filter, expected) in [
            ("a/b", None),
            ("#", Some("")),
            ("+/a", Some("")),
            ("a/+/b", Some("a")),
            ("a/b/#", Some("a/b")),
            ("/+", Some("")),
            ("//#", Some("/")),
            ("1/2/3/4/5/6/+", Some("1/2/3/4/5/6")),
            ("1/2/3/4/5/6/7/8/#", Some("1/2/3/4/5/6")),
        ] {
            assert_eq!(prefix(filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_change_does_not_affect_most_other_topics() {
        let generations = RouteGenerations::new();
        let cached: Vec<_> = (0..1_000).map(|number| generations.buckets(&topic(&format!("a/{number}/x")))).collect();
        let before: Vec<_> = cached.iter().map(|buckets| generations.sum(buckets)).collect();
        generations.change(&filter("b/1/x"));
        generations.change(&filter("b/1/+"));
        let concerned = cached.iter().zip(before).filter(|(buckets, before)| generations.sum(buckets) != *before);
        assert!(concerned.count() < 50);
    }

    proptest! {
        #[test]
        fn a_change_of_a_filter_affects_every_topic_it_matches(
            filter in "(\\$?[ab]?|\\+)(/([ab]?|\\+)){0,9}(/#)?|#",
            topics in prop::collection::vec("\\$?[ab]?(/[ab]?){0,9}", 1..50),
        ) {
            prop_assume!(!filter.is_empty());
            let filter = TopicFilter::try_from(filter.as_str()).unwrap();
            let generations = RouteGenerations::new();
            for name in topics.iter().filter(|name| !name.is_empty()).map(|name| topic(name)) {
                let buckets = generations.buckets(&name);
                prop_assert!(!buckets.0.spilled());
                let before = generations.sum(&buckets);
                generations.change(&filter);
                prop_assert!(!filter.matches(&name) || generations.sum(&buckets) > before, "{} {}", filter, name);
                let before = generations.sum(&buckets);
                generations.change_all();
                prop_assert!(generations.sum(&buckets) > before);
            }
        }
    }
}
