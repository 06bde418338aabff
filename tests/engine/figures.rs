//! What appends cost: `cargo test --test engine -- --ignored --nocapture figures`. It compares nothing.

use std::fs;
use std::time::{Duration, Instant};

use nats_servers::Servers;
use oncemq::cluster::{Engine as _, Reader};

use crate::driver::{Owner, node, take_over};

/// The processor time of all servers, and of this process.
fn processor_time(servers: &Servers) -> [Duration; 2] {
    let of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    };
    [(0..3).map(|index| of(servers.pid(index))).sum(), of(std::process::id())]
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
#[ignore = "it measures, and judges nothing"]
async fn figures_of_appends() {
    if nats_servers::is_missing() {
        return;
    }
    let servers = Servers::three();
    let nats = node(&servers, "one").await;
    let (epoch, reader, _) = take_over(&nats, "one", Reader::new()).await.unwrap();
    let mut owner = Owner::new(nats, epoch, reader, 4);
    for (bytes, ahead, commits) in [(1_024, 1, 1_000), (65_536, 1, 500), (65_536, 4, 2_000), (4_096, 4, 4_000)] {
        let (first, [of_servers, own], begin) = (owner.replicator.replicated(), processor_time(&servers), now());
        let mut latencies = Vec::new();
        while owner.replicator.replicated() < first + commits {
            let before = now();
            let last = (owner.replicator.replicated() + ahead).min(first + commits);
            owner.ship_up_to(last, bytes, ahead).await;
            latencies.push(before.elapsed());
        }
        latencies.sort_unstable();
        let elapsed = begin.elapsed();
        let [servers_after, own_after] = processor_time(&servers);
        let each = |time: Duration| time.as_secs_f64() * 1e3 / commits as f64;
        println!(
            "{bytes} bytes, {ahead} at a time: {:.0}/s, {ahead} take p50 {:?} p99 {:?}; processor time of the servers {:.3} ms, of the node {:.3} ms each",
            commits as f64 / elapsed.as_secs_f64(),
            latencies[latencies.len() / 2],
            latencies[latencies.len() * 99 / 100],
            each(servers_after - of_servers),
            each(own_after - own),
        );
    }
}

#[tokio::test]
#[ignore = "it measures, and judges nothing"]
async fn figures_of_followers() {
    if nats_servers::is_missing() {
        return;
    }
    let servers = Servers::three();
    let (one, two) = (node(&servers, "one").await, node(&servers, "two").await);
    let (epoch, reader, _) = take_over(&one, "one", Reader::new()).await.unwrap();
    let mut owner = Owner::new(one, epoch, reader, 64);
    let mut position = 0;
    let mut number = 0;
    for bytes in [1_024, 16_384] {
        number += 5_000;
        owner.ship_up_to(number, bytes, 64).await;
        let ([of_servers, own], begin) = (processor_time(&servers), now());
        while position <= number {
            position = two.follow(position).await.unwrap().last().map_or(position, |found| found.position);
        }
        let (elapsed, [servers_after, own_after]) = (begin.elapsed(), processor_time(&servers));
        println!(
            "5000 entries of {bytes} bytes in {elapsed:?}; processor time of the servers {:?}, of the follower {:?}",
            servers_after - of_servers,
            own_after - own
        );
    }
    let [of_servers, own] = processor_time(&servers);
    for _ in 0..10 {
        assert_eq!(two.follow(position).await.unwrap(), []);
    }
    let [servers_after, own_after] = processor_time(&servers);
    println!(
        "ten seconds without entries: processor time of the servers {:?}, of the follower {:?}",
        servers_after - of_servers,
        own_after - own
    );
    // Each entry alone, from its acknowledgement at the owner to its arrival at the follower.
    let mut lags = Vec::new();
    for next in number + 1..=number + 500 {
        let arrival = two.follow(position);
        let arrival = tokio::spawn(async move { (arrival.await.unwrap(), now()) });
        owner.ship_up_to(next, 1_024, 1).await;
        let acknowledged = now();
        let (found, arrived) = arrival.await.unwrap();
        position = found.last().unwrap().position;
        lags.push(arrived.saturating_duration_since(acknowledged));
    }
    lags.sort_unstable();
    println!("an entry arrives after its acknowledgement: p50 {:?}, p99 {:?}", lags[250], lags[495]);
}
