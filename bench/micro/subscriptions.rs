//! Micro-benchmarks of subscribing, and of matching topics with subscriptions.
#![expect(clippy::unwrap_used, reason = "the input is our own, and a failed setup must abort the benchmark")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use oncemq::codec::{ClientId, Qos, RetainHandling, Subscription, SubscriptionOptions};
use oncemq::routing::{Access, Location, Route, SessionKey, ShardId, ShareStrategy, Subscriber, SubscriptionIndex};
use oncemq::topic::{Filter, TopicName};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    matching(&mut criterion);
    sharing(&mut criterion);
    subscribing(&mut criterion);
    criterion.final_summary();
}

/// Topics that match one exact filter, or two with wildcards, among many.
fn matching(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("matching");
    for count in [1_000, 100_000] {
        for (kind, filters) in [("exact", exact as fn(usize) -> String), ("wildcards", wildcard)] {
            let index = index((0..count).map(filters));
            let topics: Vec<_> = (0..TOPICS).map(|number| topic(number * count / TOPICS)).collect();
            let (mut turn, mut route) = (topics.iter().cycle(), Route::default());
            group.bench_function(BenchmarkId::new(kind, count), |bencher| {
                bencher.iter(|| index.resolve(turn.next().unwrap(), black_box(&mut route)));
            });
        }
    }
    for receivers in [10, 1_000] {
        let index = index((0..receivers).map(|_| "news".to_owned()));
        let topic = TopicName::try_from("news").unwrap();
        group.throughput(Throughput::Elements(receivers as u64));
        group.bench_function(BenchmarkId::new("fan-out", receivers), |bencher| {
            bencher.iter(|| black_box(index.matching(&topic)));
        });
    }
    group.finish();
}

/// A message on a topic that was not used before, for one member of a large share: all connected, all but one away, and with a member that
/// leaves and joins between two messages.
fn sharing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sharing");
    let shared = subscription("$share/workers/jobs/#");
    let topic = TopicName::try_from("jobs/1").unwrap();
    for count in [100, 1_000, 5_000, 10_000] {
        for kind in ["connected", "away", "joining"] {
            let mut index = SubscriptionIndex::new();
            let members: Vec<_> = (0..count).map(subscriber).collect();
            for member in &members {
                member.set_connected(kind != "away" || member.key.0 == 0);
                index.subscribe(member, &shared, None, ShareStrategy::RoundRobin);
            }
            let (mut turn, mut route) = (members.iter().cycle(), Route::default());
            group.bench_function(BenchmarkId::new(kind, count), |bencher| {
                bencher.iter(|| {
                    if kind == "joining" {
                        let member = turn.next().unwrap();
                        index.unsubscribe(member.key, &shared.filter);
                        index.subscribe(member, &shared, None, ShareStrategy::RoundRobin);
                    }
                    index.resolve(&topic, &mut route);
                    black_box(route.shares.first().unwrap().choose(None, &topic, None))
                });
            });
        }
    }
    group.finish();
}

/// Adds and removes 10,000 filters.
fn subscribing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subscribing");
    let count = 10_000;
    group.throughput(Throughput::Elements(count as u64));
    let subscriptions: Vec<_> = (0..count).map(|number| subscription(&exact(number))).collect();
    let client = subscriber(1);
    let fill = |index: &mut SubscriptionIndex| {
        for subscription in &subscriptions {
            index.subscribe(&client, subscription, None, ShareStrategy::RoundRobin);
        }
    };
    group.bench_function("subscribe", |bencher| {
        let insert = |mut index: SubscriptionIndex| {
            fill(&mut index);
            index
        };
        bencher.iter_batched(SubscriptionIndex::new, insert, BatchSize::LargeInput);
    });
    group.bench_function("unsubscribe", |bencher| {
        let filled = || {
            let mut index = SubscriptionIndex::new();
            fill(&mut index);
            index
        };
        let remove = |mut index: SubscriptionIndex| {
            for subscription in &subscriptions {
                index.unsubscribe(client.key, &subscription.filter);
            }
            index
        };
        bencher.iter_batched(filled, remove, BatchSize::LargeInput);
    });
    group.finish();
}

/// Each filter belongs to a client of its own.
fn index(filters: impl Iterator<Item = String>) -> SubscriptionIndex {
    let mut index = SubscriptionIndex::new();
    for (number, filter) in (0..).zip(filters) {
        index.subscribe(&subscriber(number), &subscription(&filter), None, ShareStrategy::RoundRobin);
    }
    index
}

fn exact(number: usize) -> String {
    format!("site{}/device{number}/temperature", number % SITES)
}

/// Two of three consecutive filters match the topic of a number that is divisible by three.
fn wildcard(number: usize) -> String {
    match number % 3 {
        0 => format!("site{}/device{number}/#", number % SITES),
        1 => format!("+/device{}/temperature", number - 1),
        _ => format!("site{}/device{number}/+", number % SITES),
    }
}

fn topic(number: usize) -> TopicName {
    TopicName::try_from(exact(number - number % 3).as_str()).unwrap()
}

fn subscription(filter: &str) -> Subscription {
    let options = SubscriptionOptions {
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    Subscription { filter: Filter::try_from(filter).unwrap(), options }
}

fn subscriber(number: u64) -> Arc<Subscriber> {
    let location = Location { shard: ShardId(0), slot: 0 };
    let client_id = ClientId(format!("client {number}").into());
    Arc::new(Subscriber::new(SessionKey(number), client_id, location, Arc::new(Access::everything())))
}

const SITES: usize = 100;
/// Enough topics that no CPU cache holds the paths to all of them.
const TOPICS: usize = 500;
