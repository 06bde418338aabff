//! Nodes with real stores, at a service in memory.

mod copies;
mod process;
mod service;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use process::Cluster;
use service::Service;

/// Waits until it is so.
#[track_caller]
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("timeout while waiting until {what}");
}

#[test]
fn another_node_takes_over_from_an_owner_that_is_cut_off_and_nothing_is_lost() {
    let service = Arc::<Service>::default();
    let cluster = Cluster::start(&service, &["a", "b", "c"]);
    for _ in 0..2 {
        cluster.wait_for_acknowledgements(200);
        let owner = cluster.owner().unwrap();
        service.cut_off(&owner, true);
        wait("another node is the owner", || cluster.owner().is_some_and(|other| other != owner));
        cluster.wait_for_acknowledgements(200);
        service.cut_off(&owner, false);
        wait("the former owner follows", || cluster.is_following(&owner));
    }
    cluster.end();
}

#[test]
fn a_node_that_ends_hands_over_at_once_and_one_without_a_copy_fetches_it() {
    let service = Arc::<Service>::default();
    let mut cluster = Cluster::start(&service, &["a", "b"]);
    cluster.wait_for_acknowledgements(500);
    // The first is that of the epoch.
    wait("the stream is trimmed", || !service.has(2));
    assert!(service.has(1));
    cluster.add("c");
    wait("the new node follows", || cluster.is_following("c"));
    let owner = cluster.owner().unwrap();
    cluster.stop(&owner);
    wait("another node is the owner", || cluster.owner().is_some_and(|other| other != owner));
    cluster.wait_for_acknowledgements(200);
    cluster.end();
}

#[test]
fn a_person_moves_the_ownership_and_a_drained_node_does_not_take_it_back() {
    let service = Arc::<Service>::default();
    let cluster = Cluster::start(&service, &["a", "b"]);
    cluster.wait_for_acknowledgements(100);
    let owner = cluster.owner().unwrap();
    let other = if owner == "a" { "b" } else { "a" };
    wait("the other one follows", || cluster.is_following(other));
    cluster.move_from(&owner);
    wait("the other node is the owner", || cluster.owner().as_deref() == Some(other));
    cluster.wait_for_acknowledgements(100);
    cluster.end();
}

#[test]
fn a_stream_that_has_lost_its_end_is_noticed_by_all_and_nobody_serves() {
    let service = Arc::<Service>::default();
    let mut cluster = Cluster::start(&service, &["a", "b"]);
    cluster.wait_for_acknowledgements(200);
    wait("both have a copy", || ["a", "b"].iter().any(|node| cluster.is_following(node)));
    service.lose(100);
    for node in ["a", "b"] {
        wait("it is noticed", || cluster.troubles(node).contains("it has lost entries"));
    }
    assert_eq!(cluster.owner(), None);
    ["a", "b"].iter().for_each(|node| cluster.stop(node));
}

#[test]
fn a_node_without_a_log_begins_none_while_another_has_the_log_of_a_lost_stream() {
    let service = Arc::<Service>::default();
    let mut cluster = Cluster::start(&service, &["a"]);
    cluster.wait_for_acknowledgements(100);
    cluster.stop("a");
    service.lose_all();
    cluster.add("a");
    wait("it is noticed", || cluster.troubles("a").contains("has lost its epochs"));
    cluster.add("b");
    wait("the other one could have begun", || service.beats("b") > 5);
    assert_eq!((cluster.owner(), service.last()), (None, 0));
    ["a", "b"].iter().for_each(|node| cluster.stop(node));
}

#[test]
fn a_cluster_begins_with_the_log_of_a_broker_that_ran_alone() {
    let service = Arc::<Service>::default();
    let mut cluster = Cluster::new(&service);
    cluster.ran_alone("b");
    ["a", "b"].iter().for_each(|node| cluster.add(node));
    wait("there is an owner", || cluster.owner().is_some());
    assert_eq!(cluster.owner().as_deref(), Some("b"));
    cluster.wait_for_acknowledgements(100);
    wait("the other one has a copy", || cluster.is_following("a"));
    cluster.stop("b");
    wait("it is the owner", || cluster.owner().as_deref() == Some("a"));
    cluster.end();
}

#[test]
fn a_full_stream_takes_commits_again_when_another_node_has_a_copy() {
    let service = Arc::<Service>::default();
    // More than a batch, and little enough to be full soon.
    service.bound(1_500_000);
    let mut cluster = Cluster::start(&service, &["a"]);
    wait("the stream is full", || cluster.troubles("a").contains("the stream is full"));
    wait("nothing more is acknowledged", || {
        let before = cluster.acknowledged();
        thread::sleep(Duration::from_millis(300));
        cluster.acknowledged() == before
    });
    cluster.add("b");
    cluster.wait_for_acknowledgements(500);
    wait("it is not full any more", || cluster.troubles("a").is_empty());
    cluster.end();
}

#[test]
fn a_node_that_is_gone_is_forgotten_and_one_that_is_alive_is_not() {
    let service = Arc::<Service>::default();
    let mut cluster = Cluster::start(&service, &["a", "b", "c"]);
    cluster.wait_for_acknowledgements(100);
    wait("all follow", || ["a", "b", "c"].iter().filter(|node| cluster.is_following(node)).count() == 2);
    let owner = cluster.owner().unwrap();
    let others = ["a", "b", "c"].into_iter().filter(|node| **node != owner).collect::<Vec<_>>();
    let refused = cluster.forget(&owner, others[0]).unwrap_err();
    assert_eq!(refused, format!("node {} is alive: stop it first", others[0]));
    cluster.stop(others[0]);
    let position = service.last();
    wait("more is stored", || service.last() > position + 500);
    wait("it is forgotten", || cluster.forget(&owner, others[0]).is_ok());
    wait("the stream is trimmed without it", || !service.has(position + 1));
    assert_eq!(cluster.forget(&owner, others[0]), Err(format!("there is no node {}", others[0])));
    cluster.end();
}
