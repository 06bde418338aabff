//! Copies that nodes fetch, follow and lend.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::process::Cluster;
use super::service::Service;
use super::{simulated, wait};
use crate::cluster::assembly::Batch;
use crate::cluster::node::copying_log::{Batches, Copy};
use crate::cluster::node::interface::Identity;
use crate::cluster::node::view::View;
use crate::cluster::{ClusterHandle, Reader, Status};
use crate::store::sim::SimDisk;
use crate::store::{Follower, Home, Options};

/// A cluster of three, of which "c" was away until the stream does not have what it missed. It is not there yet.
async fn with_one_behind(service: &Arc<Service>) -> Cluster {
    let mut cluster = Cluster::start(service, &["a", "b", "c"]);
    cluster.wait_for_acknowledgements(300).await;
    let owner = cluster.owner().unwrap();
    if owner == "c" {
        cluster.move_from("c").await;
        wait("another node is the owner", || cluster.owner().is_some_and(|other| other != "c")).await;
    }
    wait("it follows", || cluster.is_following("c")).await;
    cluster.end("c").await;
    let position = service.last();
    // When little room is left in the stream, the owner removes commits from it that a dead node has not read.
    service.bound(service.bytes() + 200_000);
    wait("the owner says that it has trimmed the stream", || service.trimmed() > position + 1).await;
    cluster
}

#[test]
fn a_copy_that_ends_in_the_middle_leaves_the_former_one_and_what_was_trimmed_is_not_looked_for() {
    simulated(async {
        let service = Arc::<Service>::default();
        let mut cluster = with_one_behind(&service).await;
        service.break_copies("c", true);
        cluster.add("c");
        wait("a copy has failed", || cluster.troubles("c").contains("no node gives a copy of the log")).await;
        assert!(cluster.has_copy("c"));
        // A copy that is fetched later may itself be behind what the owner trims meanwhile and has not said yet.
        assert_eq!(service.moves(), 0);
        service.break_copies("c", false);
        wait("it follows", || cluster.is_following("c") && cluster.troubles("c").is_empty()).await;
        cluster.end_all().await;
    });
}

/// An owner and a standby with the same log on their disks, in a trimmed stream, and nothing under way. Returns their names, too.
async fn two_with_the_same(service: &Arc<Service>) -> (Cluster, String, &'static str) {
    let cluster = Cluster::start(service, &["a", "b"]);
    cluster.wait_for_acknowledgements(500).await;
    wait("the stream is trimmed", || !service.has(2)).await;
    let owner = cluster.owner().unwrap();
    let other = if owner == "a" { "b" } else { "a" };
    cluster.quiet(true);
    wait("both have all on their disks", || [&*owner, other].iter().all(|node| service.marked(node) == service.last()))
        .await;
    (cluster, owner, other)
}

#[test]
fn a_damaged_log_is_copied_from_another_node_and_its_owner_says_so_and_is_mended_by_a_move() {
    simulated(async {
        let service = Arc::<Service>::default();
        let (mut cluster, owner, _) = two_with_the_same(&service).await;
        cluster.rot(&owner);
        cluster.add("c");
        wait("the new node follows", || cluster.is_following("c")).await;
        assert!(
            cluster.troubles(&owner).contains("the log of this node is damaged: segment"),
            "{}",
            cluster.troubles(&owner)
        );
        cluster.move_from(&owner).await;
        wait("another node is the owner", || cluster.owner().is_some_and(|other| other != owner)).await;
        wait("the former owner follows", || cluster.is_following(&owner) && cluster.troubles(&owner).is_empty()).await;
        cluster.quiet(false);
        cluster.wait_for_acknowledgements(100).await;
        cluster.end_all().await;
    });
}

#[test]
fn the_only_log_there_is_is_not_copied_again_and_again_if_it_is_damaged() {
    simulated(async {
        let service = Arc::<Service>::default();
        let (mut cluster, owner, other) = two_with_the_same(&service).await;
        cluster.end(other).await;
        cluster.rot(&owner);
        cluster.add("c");
        wait("it is tried later", || cluster.troubles("c").contains("is tried again later")).await;
        assert_eq!(service.begun(&owner), 1);
        for node in ["c", &owner] {
            cluster.end(node).await;
        }
    });
}

#[test]
fn a_standby_with_a_full_disk_keeps_what_it_has_and_goes_on_when_there_is_space() {
    let disk = SimDisk::new(1);
    let options = Options { segment_bytes: 16 << 10, ..Options::default() };
    let mut follower = Follower::open_on(Arc::new(disk.clone()), &options, &|_, _| ()).unwrap();
    follower.sync(Vec::new()).unwrap();
    disk.set_capacity(disk.used() + 100_000);
    let batches: Batches = shipped(200);
    let (handle, control) = ClusterHandle::new(Status::new("c".to_owned(), "a".to_owned(), "a:1883".to_owned()));
    let identity = Identity {
        streams: |_, _| None,
        cell: 0,
        node: "a".to_owned(),
        advertise: "a:1883".to_owned(),
        home: Home::Simulated(disk.clone()),
        options,
        copies: 2,
    };
    simulated(async {
        let view = View::new((identity, 7), control, Box::new(|_, text| println!("{text}")));
        let mut copy = Copy::of(follower, 7, Reader::new());
        let (_sender, mut commands) = mpsc::channel(1);
        let grows = async {
            while !handle.status().troubles().any(|trouble| trouble.starts_with("the disk is full")) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            disk.set_capacity(u64::MAX);
        };
        let work = async { tokio::join!(copy.append(&view, &mut commands, batches), grows).0 };
        let appended = tokio::time::timeout(Duration::from_secs(600), work).await;
        assert!(appended.is_ok_and(|appended| appended.is_ok()), "it waits for space, and goes on");
        assert_eq!((copy.whole.0.position, copy.whole.1), (200, 201));
        assert_eq!(copy.follower.unwrap().sequence(), 201);
    });
}

/// Batches of one entry each, as an owner ships them.
fn shipped(count: u64) -> Batches {
    let (disk, shipped) = (SimDisk::new(2), Arc::<std::sync::Mutex<VecDeque<Batch>>>::default());
    let hooks = crate::store::Hooks {
        replication: Some(crate::store::Replication {
            replica: Box::new(Taken(Arc::clone(&shipped))),
            mark: crate::store::Mark { sequence: 1, state: Vec::new() },
        }),
        ..crate::store::Hooks::default()
    };
    let (store, mut committer, _) =
        crate::store::Store::open_on(Arc::new(disk), &Options::default(), hooks, &mut |_| ()).unwrap();
    for number in 1..=count {
        let entry = crate::store::Entry {
            body: &[7; 1000],
            puts: &[crate::store::Key { group: 0, kind: 0, id: number }],
            parts: &[],
            deletes: &[],
            ends: None,
            level: crate::store::Level::PowerLoss,
            room: crate::store::Room::Ordinary,
        };
        store.append(0, number, &entry).unwrap();
        committer.commit();
        store.replicated(number + 1);
    }
    let batches = std::mem::take(&mut *shipped.lock().unwrap());
    let reader = |position| Reader { position, last: position, epoch: 1, next: position + 1 };
    (1..).zip(batches).map(|(position, batch)| (batch, Some(reader(position)))).collect()
}

struct Taken(Arc<std::sync::Mutex<VecDeque<Batch>>>);

impl crate::store::Replica for Taken {
    fn ship(&mut self, first: u64, entries: u32, batch: &[u8]) {
        let batch = Batch { first_sequence: first, entries, bytes: Bytes::copy_from_slice(batch) };
        self.0.lock().unwrap().push_back(batch);
    }
}
