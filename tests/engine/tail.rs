//! Appends, reads, trimming and epochs, while all servers are well.

use futures_util::future::join_all;
use nats_servers::{Servers, Setup};
use oncemq::cluster::{CreateStream, Engine, EngineError, Fault, Nats, Reader, Reply, Request, Step};

use crate::driver::{CELL, Owner, batch, config, connect, node, read_log, read_log_up_to, take_over};

/// A commit in the stream.
fn entry(position: u64, epoch: u64, number: u64, bytes: usize) -> bytes::Bytes {
    let batch = batch(number, bytes);
    let commit = oncemq::cluster::Commit {
        epoch,
        previous: position,
        number,
        first_sequence: number,
        entries: 1,
        part: 0,
        parts: 1,
        batch,
    };
    commit.encode(CELL)
}

#[tokio::test]
async fn requests_reach_the_stream_in_the_order_of_the_calls_whenever_they_are_awaited() {
    if nats_servers::is_missing() {
        return;
    }
    let servers = Servers::three();
    let nats = node(&servers, "one").await;
    let mut replies = Vec::new();
    for expected in 0..300 {
        let (entry, size) = (entry(expected, 1, expected + 1, 1_000), if expected % 50 == 0 { 100_000 } else { 0 });
        let entry = if size > 0 { bytes::Bytes::from([entry.as_ref(), &vec![0; size]].concat()) } else { entry };
        replies.push(nats.perform(Request::Append { expected, entry }));
    }
    replies.reverse();
    let found = join_all(replies).await;
    let expected: Vec<Reply> = (1..=300).rev().map(Reply::Appended).collect();
    assert_eq!(found, expected);
    let refused = nats.perform(Request::Append { expected: 7, entry: entry(7, 1, 8, 10) }).await;
    assert_eq!(refused, Reply::Refused);
    assert_eq!(nats.condition().trouble, None);
}

#[tokio::test]
async fn of_rivals_that_know_the_same_epoch_one_becomes_the_owner() {
    if nats_servers::is_missing() {
        return;
    }
    let servers = Servers::three();
    let names: Vec<String> = (0..6).map(|number| format!("node-{number}")).collect();
    let nodes = join_all(names.iter().map(|name| node(&servers, name))).await;
    assert!(nodes.iter().all(|node| node.cluster_id() == nodes[0].cluster_id()), "all have the same tail");
    let mut reader = Reader::new();
    for round in 1..=3 {
        let attempts = nodes.iter().zip(&names).map(|(nats, name)| take_over(nats, name, reader));
        let won: Vec<_> = join_all(attempts).await.into_iter().flatten().collect();
        // Who comes late knows the epoch of the winner, and is its successor: each epoch has one owner.
        let mut epochs: Vec<u64> = won.iter().map(|(epoch, ..)| *epoch).collect();
        epochs.sort_unstable();
        assert!(!epochs.is_empty() && epochs.windows(2).all(|pair| pair[0] < pair[1]), "round {round}: {epochs:?}");
        (_, reader) = read_log(&nodes[0], reader).await;
        assert!(epochs.contains(&reader.epoch), "round {round}: {epochs:?}, {reader:?}");
    }
}

#[tokio::test]
async fn a_former_owner_that_ships_ahead_reports_nothing_behind_its_successor() {
    if nats_servers::is_missing() {
        return;
    }
    let servers = Servers::three();
    let (one, two, judge) = (node(&servers, "one").await, node(&servers, "two").await, node(&servers, "judge").await);
    for window in [4, 64] {
        let (_, start) = read_log(&judge, Reader::new()).await;
        let (epoch, reader, _) = take_over(&one, "one", start).await.expect("no rival");
        let mut owner = Owner::new(one.clone(), epoch, reader, window);
        owner.ship_up_to(reader.next + 50, 4_096, window as u64).await;
        let rival = tokio::spawn({
            let two = two.clone();
            async move { take_over(&two, "two", start).await.expect("no rival") }
        });
        while owner.replicator.fault().is_none() {
            while owner.replicator.next_number() <= owner.replicator.replicated() + 64 {
                owner.ship(4_096);
            }
            owner.turn().await;
        }
        let (second, reader, commits) = rival.await.unwrap();
        assert_eq!(owner.replicator.fault(), Some(Fault::Fenced(second)), "window {window}");
        assert!(
            owner.replicator.replicated() < reader.next,
            "window {window}: {} was reported, and its successor has {}",
            owner.replicator.replicated(),
            reader.next - 1
        );
        let numbers: Vec<u64> = commits.iter().map(|commit| commit.number).collect();
        assert_eq!(numbers, (start.next..reader.next).collect::<Vec<_>>());
        // The successor goes on behind what is left of the window, and everybody reads the same.
        let mut successor = Owner::new(two.clone(), second, reader, 4);
        successor.ship_up_to(reader.next + 20, 100, 4).await;
        let log = read_log_up_to(&judge, successor.replicator.reader().position).await;
        assert!(log.iter().all(|commit| commit.batch == batch(commit.number, commit.batch.len())));
        assert_eq!(log.len() as u64, reader.next + 20, "window {window}");
    }
}

#[tokio::test]
async fn trimming_removes_commits_below_a_position_and_moves_nothing() {
    if nats_servers::is_missing() {
        return;
    }
    let mut servers = Servers::three();
    let nats = node(&servers, "one").await;
    let (epoch, reader, _) = take_over(&nats, "one", Reader::new()).await.unwrap();
    let mut owner = Owner::new(nats.clone(), epoch, reader, 8);
    owner.ship_up_to(200, 10_000, 8).await;
    let bytes = nats.tail().await.unwrap().bytes;
    nats.trim(150).await.unwrap();
    let tail = nats.tail().await.unwrap();
    assert!(tail.bytes < bytes / 3, "{} of {bytes} bytes are left", tail.bytes);
    assert_eq!((tail.first, tail.last), (1, 201), "the epoch entry and the last entry are where they were");
    assert_eq!((tail.others.len(), tail.bytes_max), (2, Some(1 << 30)));
    let positions = |reply: Reply| {
        let Reply::Entries { entries, is_end: true } = reply else { panic!("{reply:?}") };
        entries.iter().map(|found| found.position).collect::<Vec<_>>()
    };
    let all: Vec<u64> = [1].into_iter().chain(150..=201).collect();
    assert_eq!(positions(nats.perform(Request::Read { after: 0 }).await), all);
    // Beyond the end: the last entry stays, so that all know where the stream ends.
    nats.trim(u64::MAX).await.unwrap();
    assert_eq!(positions(nats.perform(Request::Read { after: 0 }).await), [1, 201]);
    for index in 0..3 {
        servers.kill(index);
    }
    for index in 0..3 {
        servers.begin(index);
    }
    servers.wait_until_ready();
    let position = owner.replicator.reader().position;
    owner.ship_up_to(205, 100, 4).await;
    assert_eq!(owner.replicator.reader().position, position + 5);
    let Reply::Epoch(Some(found)) = nats.perform(Request::ReadEpoch).await else { panic!("no epoch entry") };
    assert_eq!(found.position, 1);
}

#[tokio::test]
async fn a_follower_gets_each_entry_once_and_in_order() {
    if nats_servers::is_missing() {
        return;
    }
    let servers = Servers::three();
    let (owner, follower) = (node(&servers, "one").await, node(&servers, "two").await);
    let (epoch, reader, _) = take_over(&owner, "one", Reader::new()).await.unwrap();
    let mut owner = Owner::new(owner, epoch, reader, 8);
    let follow = async {
        let (mut reader, mut numbers) = (Reader::new(), Vec::new());
        while numbers.len() < 700 {
            for found in follower.follow(reader.position).await.unwrap() {
                if let Step::Commit(commit) = reader.step(CELL, &found).unwrap() {
                    assert_eq!(commit.batch, batch(commit.number, commit.batch.len()));
                    numbers.push(commit.number);
                }
            }
        }
        // Nothing more comes, and that takes a moment, not long.
        assert_eq!(follower.follow(reader.position).await.unwrap(), []);
        // From anywhere else, too.
        let again = follower.follow(350).await.unwrap();
        assert_eq!(again.first().map(|found| found.position), Some(351));
        // After something strange, the copy that leads is read.
        follower.move_leader().await.unwrap();
        let again = crate::driver::until_done(|| follower.follow(600)).await;
        assert_eq!(again.first().map(|found| found.position), Some(601));
        numbers
    };
    let ship = async {
        owner.ship_up_to(600, 64 * 1_024, 8).await;
        owner.ship_up_to(690, 900 * 1_024, 8).await;
        owner.ship_up_to(700, 10, 8).await;
    };
    let (numbers, ()) = futures_util::future::join(follow, ship).await;
    assert_eq!(numbers, (1..=700).collect::<Vec<u64>>());
}

#[tokio::test]
async fn an_entry_can_be_as_large_as_is_said_and_not_larger() {
    if nats_servers::is_missing() {
        return;
    }
    let servers = Servers::start(&Setup { servers: 1, ..Setup::default() });
    let nats = node(&servers, "one").await;
    let most = nats.entry_bytes_max();
    assert!(most > 1_000_000, "{most}");
    let large = bytes::Bytes::from(vec![0; most]);
    assert_eq!(nats.perform(Request::Append { expected: 0, entry: large }).await, Reply::Appended(1));
    let larger = bytes::Bytes::from(vec![0; most + 257]);
    assert_eq!(nats.perform(Request::Append { expected: 1, entry: larger }).await, Reply::Unknown);
    assert!(nats.condition().trouble.is_some(), "somebody is told");
}

#[tokio::test]
async fn a_tail_is_made_once_and_one_that_keeps_less_is_refused() {
    if nats_servers::is_missing() {
        return;
    }
    let servers = Servers::three();
    let settings = config("one", &servers.urls());
    let error = Nats::connect(&settings, CreateStream::Never).await.unwrap_err();
    assert_eq!(error, EngineError::NoStream("ONCEMQ_oncemq_0".to_owned()));
    let first = connect(&settings).await;
    let again = Nats::connect(&settings, CreateStream::Never).await.unwrap();
    assert_eq!(first.cluster_id(), again.cluster_id());
    let other = connect(&oncemq::config::Cluster { name: "other".to_owned(), ..settings.clone() }).await;
    assert_ne!(first.cluster_id(), other.cluster_id());
    let one = oncemq::config::Cluster { name: "small".to_owned(), tail_copies: 1, ..settings.clone() };
    let small = connect(&one).await;
    let error = Nats::connect(&oncemq::config::Cluster { tail_copies: 3, ..one }, CreateStream::IfMissing).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("1 copies") && error.contains("cluster.tail_copies is 3"), "{error}");

    // Somebody removes a stream, or changes it, while a node uses it.
    let raw = async_nats::connect(servers.urls()).await.unwrap();
    let ask = async |operation: &str, request: String| {
        let answer = raw.request(format!("$JS.API.{operation}"), request.into()).await.unwrap();
        String::from_utf8_lossy(&answer.payload).into_owned()
    };
    let info = ask("STREAM.INFO.ONCEMQ_small_0", String::new()).await;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let mut changed = info["config"].clone();
    changed["max_age"] = serde_json::json!(3_600_000_000_000_u64);
    changed["duplicate_window"] = serde_json::json!(100_000_000_u64);
    let answer = ask("STREAM.UPDATE.ONCEMQ_small_0", changed.to_string()).await;
    assert!(!answer.contains("\"error\""), "{answer}");
    let error = small.tail().await.unwrap_err().to_string();
    assert!(error.contains("age"), "{error}");
    ask("STREAM.DELETE.ONCEMQ_oncemq_0", String::new()).await;
    let second = connect(&settings).await;
    assert_ne!(first.cluster_id(), second.cluster_id());
    assert_eq!(first.tail().await, Err(EngineError::Replaced));

    let alone = Servers::start(&Setup { servers: 1, ..Setup::default() });
    let three = oncemq::config::Cluster { tail_copies: 3, ..config("one", &alone.urls()) };
    let error = Nats::connect(&three, CreateStream::IfMissing).await.unwrap_err().to_string();
    assert!(error.contains("cluster.tail_copies"), "{error}");
}
