//! Servers that die or stand still.

use std::time::Duration;

use nats_servers::Servers;
use oncemq::cluster::{Engine as _, Reader, Step};
use tokio::time::{Instant, sleep, timeout};

use crate::driver::{
    CELL, Owner, PATIENCE, batch, config, connect, leader, node, read_log_up_to, take_over, until_done,
};

/// Ships while `disturb` does something to the servers, and until it has shipped `more` commits after that.
async fn ship_through(servers: &mut Servers, disturb: impl AsyncFnOnce(&mut Servers, usize), more: u64) {
    let nats = node(servers, "one").await;
    let (epoch, reader, _) = take_over(&nats, "one", Reader::new()).await.unwrap();
    let mut owner = Owner::new(nats.clone(), epoch, reader, 8);
    owner.ship_up_to(100, 2_000, 8).await;
    let victim = leader(&nats, servers).await;
    let mut last = 0;
    let (mut longest, mut latest) = (Duration::ZERO, (Instant::now(), 0));
    {
        let disturbance = disturb(servers, victim);
        tokio::pin!(disturbance);
        let mut is_over = false;
        let work = async {
            while !is_over || owner.replicator.replicated() < last {
                while owner.replicator.next_number() <= owner.replicator.replicated() + 8 {
                    owner.ship(2_000);
                }
                tokio::select! {
                    () = &mut disturbance, if !is_over => {
                        is_over = true;
                        last = owner.replicator.replicated() + more;
                    }
                    () = owner.turn() => {}
                }
                if owner.replicator.replicated() > latest.1 {
                    longest = longest.max(latest.0.elapsed());
                    latest = (Instant::now(), owner.replicator.replicated());
                }
                assert_eq!(owner.replicator.fault(), None);
            }
        };
        timeout(PATIENCE, work).await.expect("commits are replicated");
    }
    let reported = owner.replicator.replicated();
    println!("{reported} commits, {} looks, the longest pause {longest:?}", owner.replicator.looks());
    // What was reported is in the copy of each server, once and in order.
    let position = owner.replicator.reader().position;
    for url in servers.urls() {
        let mut settings = config("judge", &[url]);
        settings.tail_copies = 3;
        let log = read_log_up_to(&connect(&settings).await, position).await;
        let numbers: Vec<u64> =
            log.iter().map(|commit| commit.number).take_while(|number| *number <= reported).collect();
        assert_eq!(numbers, (1..=reported).collect::<Vec<_>>());
        assert!(log.iter().all(|commit| commit.batch == batch(commit.number, 2_000)));
    }
}

#[tokio::test]
async fn all_that_was_reported_is_kept_when_the_leader_stands_still_and_goes_on() {
    if nats_servers::is_missing() {
        return;
    }
    let mut servers = Servers::three();
    let disturb = async |servers: &mut Servers, victim: usize| {
        servers.stop(victim);
        // Until the others have elected another one, and longer.
        sleep(Duration::from_secs(8)).await;
        servers.go_on(victim);
        sleep(Duration::from_millis(500)).await;
    };
    ship_through(&mut servers, disturb, 50).await;
}

#[tokio::test]
async fn all_that_was_reported_is_kept_when_the_leader_is_killed_and_starts_again() {
    if nats_servers::is_missing() {
        return;
    }
    let mut servers = Servers::three();
    let disturb = async |servers: &mut Servers, victim: usize| {
        servers.kill(victim);
        sleep(Duration::from_secs(1)).await;
        servers.begin(victim);
        sleep(Duration::from_millis(500)).await;
    };
    ship_through(&mut servers, disturb, 50).await;
}

#[tokio::test]
async fn all_that_was_reported_is_kept_when_two_servers_and_then_all_are_killed() {
    if nats_servers::is_missing() {
        return;
    }
    let mut servers = Servers::three();
    let disturb = async |servers: &mut Servers, victim: usize| {
        for killed in [vec![victim, (victim + 1) % 3], vec![0, 1, 2]] {
            killed.iter().for_each(|index| servers.kill(*index));
            sleep(Duration::from_secs(2)).await;
            killed.iter().for_each(|index| servers.begin(*index));
            sleep(Duration::from_secs(1)).await;
        }
    };
    ship_through(&mut servers, disturb, 50).await;
}

#[tokio::test]
async fn a_follower_goes_on_when_its_server_dies_and_when_a_server_stands_still() {
    if nats_servers::is_missing() {
        return;
    }
    let mut servers = Servers::three();
    let (one, follower) = (node(&servers, "one").await, node(&servers, "two").await);
    let (epoch, reader, _) = take_over(&one, "one", Reader::new()).await.unwrap();
    let mut owner = Owner::new(one, epoch, reader, 8);
    let (mut reader, mut numbers) = (Reader::new(), Vec::new());
    for round in 1..=3_u64 {
        owner.ship_up_to(round * 50, 1_000, 8).await;
        let read = async {
            while numbers.len() < usize::try_from(round).unwrap() * 50 {
                for found in until_done(|| follower.follow(reader.position)).await {
                    if let Step::Commit(commit) = reader.step(CELL, &found).unwrap() {
                        numbers.push(commit.number);
                    }
                }
            }
        };
        timeout(PATIENCE, read).await.expect("the follower goes on");
        let condition = follower.condition().server.unwrap_or_default();
        let index = servers.index_of(condition.split(' ').next().unwrap());
        match round {
            1 => {
                servers.kill(index);
                servers.begin(index);
            }
            2 => servers.stop(index),
            _ => {}
        }
    }
    assert_eq!(numbers, (1..=150).collect::<Vec<u64>>());
}
