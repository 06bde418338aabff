//! Nodes with real stores, at a service in memory.

mod copies;
mod histories;
mod ledger;
mod process;
mod service;
mod weather;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use process::Cluster;
use service::Service;

use crate::cluster::Command as Wish;

/// Runs a test in one thread. When all its tasks wait, and no other thread works for one of them, the clock is set to the end of the shortest wait.
fn simulated(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// Waits until it is so.
async fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..30_000 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("timeout while waiting until {what}");
}

#[test]
fn another_node_takes_over_from_an_owner_that_is_cut_off_and_nothing_is_lost() {
    simulated(async {
        let service = Arc::<Service>::default();
        let cluster = Cluster::start(&service, &["a", "b", "c"]);
        for _ in 0..2 {
            cluster.wait_for_acknowledgements(200).await;
            let owner = cluster.owner().unwrap();
            let cut_off = Instant::now();
            service.cut_off(&owner, true);
            wait("another node is the owner", || cluster.owner().is_some_and(|other| other != owner)).await;
            cluster.wait_for_acknowledgements(200).await;
            wait("the former owner ends its broker", || !cluster.serves(&owner)).await;
            assert!(cut_off.elapsed() < Duration::from_secs(20), "so that its clients go elsewhere");
            service.cut_off(&owner, false);
            wait("the former owner follows", || cluster.is_following(&owner)).await;
        }
        cluster.end_all().await;
    });
}

#[test]
fn a_node_that_ends_hands_over_at_once_and_one_without_a_copy_fetches_it() {
    simulated(async {
        let service = Arc::<Service>::default();
        let mut cluster = Cluster::start(&service, &["a", "b"]);
        cluster.wait_for_acknowledgements(500).await;
        // The first is that of the epoch.
        wait("the stream is trimmed", || !service.has(2)).await;
        assert!(service.has(1));
        cluster.add("c");
        wait("the new node follows", || cluster.is_following("c")).await;
        let owner = cluster.owner().unwrap();
        cluster.end(&owner).await;
        wait("another node is the owner", || cluster.owner().is_some_and(|other| other != owner)).await;
        cluster.wait_for_acknowledgements(200).await;
        cluster.end_all().await;
    });
}

#[test]
fn a_person_moves_the_ownership_and_a_drained_node_does_not_take_it_back() {
    simulated(async {
        let service = Arc::<Service>::default();
        let cluster = Cluster::start(&service, &["a", "b"]);
        cluster.wait_for_acknowledgements(100).await;
        let owner = cluster.owner().unwrap();
        let other = if owner == "a" { "b" } else { "a" };
        wait("the other one follows", || cluster.is_following(other)).await;
        cluster.move_from(&owner).await;
        wait("the other node is the owner", || cluster.owner().as_deref() == Some(other)).await;
        cluster.wait_for_acknowledgements(100).await;
        cluster.end_all().await;
    });
}

#[test]
fn a_stream_that_has_lost_its_end_is_noticed_by_all_and_nobody_serves() {
    simulated(async {
        let service = Arc::<Service>::default();
        let mut cluster = Cluster::start(&service, &["a", "b"]);
        cluster.wait_for_acknowledgements(200).await;
        wait("both have a copy", || ["a", "b"].iter().any(|node| cluster.is_following(node))).await;
        service.lose(100);
        for node in ["a", "b"] {
            wait("it is noticed", || cluster.troubles(node).contains("it has lost entries")).await;
        }
        assert_eq!(cluster.owner(), None);
        for node in ["a", "b"] {
            cluster.end(node).await;
        }
    });
}

#[test]
fn a_node_without_a_log_begins_none_while_another_has_the_log_of_a_lost_stream() {
    simulated(async {
        let service = Arc::<Service>::default();
        let mut cluster = Cluster::start(&service, &["a"]);
        cluster.wait_for_acknowledgements(100).await;
        cluster.end("a").await;
        service.lose_all();
        cluster.add("a");
        wait("it is noticed", || cluster.troubles("a").contains("has lost its epochs")).await;
        cluster.add("b");
        wait("the other one could have begun", || service.beats("b") > 5).await;
        assert_eq!((cluster.owner(), service.last()), (None, 0));
        for node in ["a", "b"] {
            cluster.end(node).await;
        }
    });
}

#[test]
fn a_cluster_begins_with_the_log_of_a_broker_that_ran_alone() {
    simulated(async {
        let service = Arc::<Service>::default();
        let mut cluster = Cluster::new(&service);
        cluster.ran_alone("b");
        ["a", "b"].iter().for_each(|node| cluster.add(node));
        wait("there is an owner", || cluster.owner().is_some()).await;
        assert_eq!(cluster.owner().as_deref(), Some("b"));
        cluster.wait_for_acknowledgements(100).await;
        wait("the other one has a copy", || cluster.is_following("a")).await;
        cluster.end("b").await;
        wait("it is the owner", || cluster.owner().as_deref() == Some("a")).await;
        cluster.end_all().await;
    });
}

#[test]
fn a_full_stream_takes_commits_again_when_another_node_has_a_copy() {
    simulated(async {
        let service = Arc::<Service>::default();
        // Many commits, and few enough that it is full soon.
        service.bound(300_000);
        let mut cluster = Cluster::start(&service, &["a"]);
        wait("the stream is full", || cluster.troubles("a").contains("the stream is full")).await;
        sleep(Duration::from_secs(1)).await;
        let before = cluster.acknowledged();
        sleep(Duration::from_secs(20)).await;
        assert_eq!(cluster.acknowledged(), before, "nothing more is acknowledged");
        cluster.add("b");
        cluster.wait_for_acknowledgements(500).await;
        wait("it is not full any more", || cluster.troubles("a").is_empty()).await;
        cluster.end_all().await;
    });
}

#[test]
fn an_owner_is_not_misled_by_commits_that_come_in_while_it_asks_where_the_stream_ends() {
    simulated(async {
        let service = Arc::<Service>::default();
        service.delay_tails(Duration::from_millis(500));
        let cluster = Cluster::start(&service, &["a", "b"]);
        cluster.wait_for_acknowledgements(100).await;
        wait("the stream is trimmed", || !service.has(2)).await;
        assert_eq!((cluster.epoch(), cluster.owner().map(|owner| cluster.troubles(&owner))), (1, Some(String::new())));
        cluster.end_all().await;
    });
}

#[test]
fn an_owner_whose_commits_the_stream_does_not_take_ends_its_broker_and_there_is_one_again_when_it_does() {
    simulated(async {
        let service = Arc::<Service>::default();
        let cluster = Cluster::start(&service, &["a", "b"]);
        cluster.wait_for_acknowledgements(100).await;
        wait("the other one follows", || ["a", "b"].iter().any(|node| cluster.is_following(node))).await;
        let owner = cluster.owner().unwrap();
        service.takes_nothing(true);
        sleep(Duration::from_secs(25)).await;
        assert!(cluster.serves(&owner), "longer than an election");
        wait("it ends its broker", || !cluster.serves(&owner)).await;
        service.takes_nothing(false);
        cluster.wait_for_acknowledgements(100).await;
        cluster.end_all().await;
    });
}

#[test]
fn a_node_that_is_gone_is_forgotten_and_one_that_is_alive_is_not() {
    simulated(async {
        let service = Arc::<Service>::default();
        let mut cluster = Cluster::start(&service, &["a", "b", "c"]);
        cluster.wait_for_acknowledgements(100).await;
        wait("all follow", || ["a", "b", "c"].iter().filter(|node| cluster.is_following(node)).count() == 2).await;
        let owner = cluster.owner().unwrap();
        let others = ["a", "b", "c"].into_iter().filter(|node| **node != owner).collect::<Vec<_>>();
        let refused = cluster.forget(&owner, others[0]).await.unwrap_err();
        assert_eq!(refused, format!("node {} is alive: stop it first", others[0]));
        cluster.end(others[0]).await;
        let position = service.last();
        wait("more is stored", || service.last() > position + 500).await;
        while cluster.forget(&owner, others[0]).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
        wait("the stream is trimmed without it", || !service.has(position + 1)).await;
        assert_eq!(cluster.forget(&owner, others[0]).await, Err(format!("there is no node {}", others[0])));
        cluster.end_all().await;
    });
}

#[test]
fn a_second_node_with_the_same_name_joins_when_the_first_has_ended_and_says_why_it_waits() {
    simulated(async {
        let service = Arc::<Service>::default();
        let mut cluster = Cluster::start(&service, &["a", "b"]);
        cluster.wait_for_acknowledgements(100).await;
        let (owner, epoch) = (cluster.owner().unwrap(), cluster.epoch());
        let mut second = Cluster::start(&service, &[&owner]);
        let says = format!("another node of this cluster has the name {owner:?} (cluster.node), and is alive at");
        wait("it says so", || second.troubles(&owner).contains(&says)).await;
        cluster.wait_for_acknowledgements(500).await;
        assert_eq!((cluster.owner().as_deref(), cluster.epoch()), (Some(&*owner), epoch));
        cluster.end(&owner).await;
        wait("it joins", || second.troubles(&owner).is_empty()).await;
        second.end(&owner).await;
        cluster.end_all().await;
    });
}

#[test]
fn the_clients_are_not_given_to_a_node_that_was_drained_just_now() {
    simulated(async {
        let service = Arc::<Service>::default();
        let cluster = Cluster::start(&service, &["a", "b", "c"]);
        cluster.wait_for_acknowledgements(100).await;
        wait("all follow", || ["a", "b", "c"].iter().filter(|node| cluster.is_following(node)).count() == 2).await;
        let owner = cluster.owner().unwrap();
        let drained = ["a", "b", "c"].into_iter().find(|node| **node != owner).unwrap();
        cluster.ask(drained, Wish::Drain).await.unwrap();
        let refused = cluster.ask(&owner, Wish::Move { to: Some(drained.to_owned()) }).await.unwrap_err();
        assert_eq!(refused, format!("node {drained} is not another node that is alive with a usable copy of the log"));
        assert_eq!(cluster.owner(), Some(owner));
        cluster.end_all().await;
    });
}
