//! `kill -9` of either side, again and again, under load in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use wire::{Publish, Version};

use crate::client::Client;
use crate::node::{Kind, Node};
use crate::overheard::Overheard;
use crate::passing::bridge;
use crate::{PATIENCE, now};

/// Clients at both brokers: what one publishes, the subscriber at the other one must get.
struct Load {
    publishers: [Client; 2],
    subscribers: [Client; 2],
    published: [u32; 2],
}

impl Load {
    fn new(brokers: [&Node; 2]) -> Self {
        let subscribers = [
            Client::subscribed(brokers[0].address, "subscriber", "in/#"),
            Client::subscribed(brokers[1].address, "subscriber", "out/#"),
        ];
        let publishers = brokers.map(|broker| Client::new(broker.address, "publisher"));
        Self { publishers, subscribers, published: [0; 2] }
    }

    fn step(&mut self, publishes: bool) {
        for (side, publisher) in self.publishers.iter_mut().enumerate() {
            if publishes && publisher.is_idle() {
                for _ in 0..8 {
                    let number = self.published[side];
                    let qos = 1 + u8::try_from(number % 2).unwrap();
                    let direction = if side == 0 { "out" } else { "in" };
                    publisher.publish(&format!("{direction}/{qos}"), &number.to_string(), qos, false);
                    self.published[side] += 1;
                }
            }
            publisher.step();
        }
        self.subscribers.iter_mut().for_each(Client::step);
        std::thread::sleep(Duration::from_millis(1));
    }

    fn run_for(&mut self, time: Duration) {
        let end = now() + time;
        while now() < end {
            self.step(true);
        }
    }

    /// Waits until everything has arrived, and a while for what comes twice. `discarded` is the number of those that the other broker says it has
    /// discarded although they look acknowledged.
    fn finish(&mut self, discarded: impl Fn() -> usize) {
        let deadline = now() + PATIENCE;
        let mut excused = discarded();
        for step in 1.. {
            let is_idle = self.publishers.iter().all(Client::is_idle);
            if is_idle && self.missing(0).is_empty() && self.missing(1).len() <= excused {
                break;
            }
            assert!(now() < deadline, "lost: {}", self.report());
            self.step(false);
            if step % 1_000 == 0 {
                excused = discarded();
            }
        }
        self.run_idle(Duration::from_secs(1));
    }

    fn run_idle(&mut self, time: Duration) {
        let end = now() + time;
        while now() < end {
            self.step(false);
        }
    }

    /// The messages that the subscriber of this side has not got.
    fn missing(&self, side: usize) -> BTreeSet<u32> {
        let found: BTreeSet<u32> = numbers(&self.subscribers[side], None).into_iter().collect();
        (0..self.published[1 - side]).filter(|number| !found.contains(number)).collect()
    }

    fn report(&self) -> String {
        let of = |side: usize| {
            let missing: Vec<u32> = self.missing(side).into_iter().take(20).collect();
            format!("{} published, missing {missing:?}", self.published[1 - side])
        };
        format!("out: {}; in: {}", of(1), of(0))
    }

    /// Nothing of QoS 2 came twice, and all of it came that is not missing anyhow.
    fn judge(&self, side: usize) {
        let mut of_qos_2 = numbers(&self.subscribers[side], Some(2));
        of_qos_2.sort_unstable();
        let missing = self.missing(side);
        let is_expected = |number: &u32| number % 2 == 1 && !missing.contains(number);
        let expected: Vec<u32> = (0..self.published[1 - side]).filter(is_expected).collect();
        assert_eq!(of_qos_2, expected, "QoS 2: doubled");
    }

    /// The first arrivals are in order.
    fn judge_order(&self, side: usize, qos: u8) {
        let mut seen = BTreeSet::new();
        let firsts: Vec<u32> =
            numbers(&self.subscribers[side], Some(qos)).into_iter().filter(|number| seen.insert(*number)).collect();
        assert!(firsts.is_sorted(), "QoS {qos} is not in order");
    }
}

fn numbers(client: &Client, qos: Option<u8>) -> Vec<u32> {
    let is_wanted = |publish: &&Publish| qos.is_none_or(|qos| publish.topic.ends_with(&qos.to_string()));
    let number = |publish: &Publish| std::str::from_utf8(&publish.payload).unwrap().parse().unwrap();
    client.messages.iter().filter(is_wanted).map(number).collect()
}

/// How many messages of the bridge mosquitto says it has discarded.
fn discarded(log: &str) -> usize {
    log.lines().filter(|line| line.contains(" to oncemq-b (m") && line.ends_with("rc151)")).count()
}

const TOPICS: [&str; 2] = ["filter = \"out/#\", direction = \"out\"", "filter = \"in/#\", direction = \"in\""];

#[test]
fn between_two_of_ours_qos_2_is_exactly_once_through_kill_9_of_either_side() {
    for settings in ["", "protocol_version = \"3.1.1\""] {
        let there = Node::started(Kind::Oncemq, "");
        let here = Node::started(Kind::Oncemq, &bridge(&there.url(), settings, &TOPICS));
        here.wait_for_log("bridge_connected");
        let mut brokers = [here, there];
        let mut load = Load::new([&brokers[0], &brokers[1]]);
        load.run_for(Duration::from_millis(500));
        for round in 0..rounds() {
            load.run_for(Duration::from_millis(200 + random() % 1_000));
            let which = if round % 3 == 2 { [0, 1].as_slice() } else { &[round % 2] };
            which.iter().for_each(|number| brokers[*number].end("KILL"));
            load.run_for(Duration::from_millis(random() % 300));
            which.iter().for_each(|number| brokers[*number].spawn());
        }
        load.finish(|| 0);
        println!("{settings:?}: {:?} messages, {} kills", load.published, rounds());
        for side in [0, 1] {
            load.judge(side);
            load.judge_order(side, 1);
            load.judge_order(side, 2);
        }
    }
}

/// mosquitto 2.0.11 keeps what it has acknowledged in memory, so it is ended by SIGTERM only. It sends a message of QoS 2 again after PUBCOMP, so
/// what it sends may come twice. And it discards messages when the window of its subscriber is full, with the reason 0x97 (151): in 5.0 the bridge
/// sends these again, and in 3.1.1 they look acknowledged, so only the log of mosquitto tells that they are none of ours.
#[test]
fn with_mosquitto_over_5_nothing_is_lost_and_nothing_that_we_send_comes_twice() {
    with_mosquitto("");
}

#[test]
fn with_mosquitto_over_3_1_1_nothing_is_lost_and_nothing_that_we_send_comes_twice() {
    with_mosquitto("protocol_version = \"3.1.1\"");
}

fn with_mosquitto(settings: &str) {
    let there = Node::started(Kind::Mosquitto, "");
    let here = Node::started(Kind::Oncemq, &bridge(&there.url(), settings, &TOPICS));
    here.wait_for_log("bridge_connected");
    let mut brokers = [here, there];
    let mut load = Load::new([&brokers[0], &brokers[1]]);
    for round in 0..rounds() {
        load.run_for(Duration::from_millis(200 + random() % 1_000));
        let (which, signal) = if round % 3 == 2 { (1, "TERM") } else { (0, "KILL") };
        brokers[which].end(signal);
        load.run_for(Duration::from_millis(random() % 300));
        brokers[which].spawn();
    }
    load.finish(|| if settings.is_empty() { 0 } else { discarded(&brokers[1].log()) });
    println!("{settings:?}: {:?} messages, {} ends", load.published, rounds());
    load.judge(1);
    // With 3.1.1, mosquitto cannot say how many messages it takes at a time, and reorders those beyond them. In two of four runs of 100
    // rounds with 5.0, messages came to its subscriber in another order; whether it restores queues so is not known.
}

/// mosquitto loses what it has acknowledged, and its sessions, when it is killed. So only that is judged which a proxy between both brokers has
/// overheard: what the bridge has acknowledged is here, and what was published here has been acknowledged by mosquitto, each of them once as far
/// as it is ours.
#[test]
fn what_we_owe_over_5_to_a_mosquitto_that_is_killed_is_neither_lost_nor_doubled() {
    with_a_mosquitto_that_is_killed("", Version::V5);
}

#[test]
fn what_we_owe_over_3_1_1_to_a_mosquitto_that_is_killed_is_neither_lost_nor_doubled() {
    with_a_mosquitto_that_is_killed("protocol_version = \"3.1.1\"", Version::V311);
}

fn with_a_mosquitto_that_is_killed(settings: &str, version: Version) {
    let there = Node::started(Kind::Mosquitto, "");
    let overheard = Overheard::start(there.address, version);
    let here = Node::started(Kind::Oncemq, &bridge(&overheard.url(), settings, &TOPICS));
    here.wait_for_log("bridge_connected");
    let mut brokers = [here, there];
    let mut load = Load::new([&brokers[0], &brokers[1]]);
    for round in 0..rounds() {
        load.run_for(Duration::from_millis(200 + random() % 1_000));
        let which = match round % 4 {
            3 => [0, 1].as_slice(),
            2 => &[0],
            _ => &[1],
        };
        which.iter().for_each(|number| brokers[*number].end("KILL"));
        load.run_for(Duration::from_millis(random() % 300));
        let connects = |here: &Node| here.log().matches("\"bridge_connected\"").count();
        let before = connects(&brokers[0]);
        which.iter().for_each(|number| brokers[*number].spawn());
        // In every second round, the next kill hits a bridge that is connected.
        let deadline = now() + PATIENCE;
        while round % 2 == 0 && connects(&brokers[0]) == before {
            assert!(now() < deadline, "the bridge does not connect");
            load.run_for(Duration::from_millis(50));
        }
    }
    let unsettled = |load: &Load| -> (Vec<u32>, Vec<u32>) {
        let of_here = overheard.unacknowledged(0..load.published[0]);
        let found = numbers(&load.subscribers[0], None).into_iter().collect();
        let lost_here = overheard.acknowledged_by_us().difference(&found).copied().collect();
        (of_here, lost_here)
    };
    // Many messages may wait, so there is time as long as some arrive.
    let (mut deadline, mut least) = (now() + PATIENCE, usize::MAX);
    loop {
        let (of_here, lost_here) = unsettled(&load);
        let left = of_here.len() + lost_here.len();
        if left == 0 && load.publishers[0].is_idle() {
            break;
        }
        if left < least {
            (deadline, least) = (now() + PATIENCE, left);
        }
        assert!(now() < deadline, "lost (out, in): {of_here:?}, {lost_here:?}");
        load.run_idle(Duration::from_millis(200));
    }
    load.run_idle(Duration::from_secs(1));
    let taken = overheard.acknowledged_by_us().len();
    println!("{settings:?}: {:?} published, {taken} taken from mosquitto, {} kills", load.published, rounds());
    assert_eq!(overheard.sent_again_after_release(), Vec::<u32>::new());
    let sent = overheard.sent_by_mosquitto();
    let mut delivered: BTreeMap<u32, usize> = BTreeMap::new();
    numbers(&load.subscribers[0], Some(2)).into_iter().for_each(|number| *delivered.entry(number).or_default() += 1);
    for (number, count) in delivered {
        let sent = sent.get(&number).copied().unwrap_or_default();
        assert!(count <= sent, "{number} was delivered {count} times, and sent {sent} times");
    }
}

/// A broker that comes back without its data uses Packet Identifiers again that the other one may have received: nothing that is published after
/// that may be taken for a repeat.
#[test]
fn a_broker_that_has_lost_its_data_loses_no_later_message() {
    for lost in [0, 1] {
        let there = Node::started(Kind::Oncemq, "");
        let here = Node::started(Kind::Oncemq, &bridge(&there.url(), "", &TOPICS));
        let mut brokers = [here, there];
        let (from, to, direction) = if lost == 0 { (0, 1, "out") } else { (1, 0, "in") };
        for round in 1..=5 {
            brokers[0].wait_for_log_times("bridge_connected", round);
            let mut subscriber = Client::subscribed(brokers[to].address, "subscriber", &format!("{direction}/{round}"));
            let mut publisher = Client::new(brokers[from].address, "publisher");
            for number in 0..40 {
                publisher.publish(&format!("{direction}/{round}"), &number.to_string(), 2, false);
            }
            publisher.run_until("the acknowledgements", Client::is_idle);
            subscriber.run_until("all messages", |client| client.messages.len() >= 40);
            // Some of these are on their way when the broker ends.
            for number in 0..40 {
                publisher.publish(&format!("{direction}/lost"), &number.to_string(), 2, false);
            }
            publisher.run_for(Duration::from_millis(random() % 20));
            brokers[lost].end("KILL");
            std::fs::remove_dir_all(brokers[lost].path().join("data/log")).unwrap();
            brokers[lost].spawn();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the length is chosen on the command line")]
fn rounds() -> usize {
    std::env::var("ONCEMQ_BRIDGE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS)
}

/// The kills shall fall into other moments at each run.
#[expect(clippy::disallowed_methods, reason = "each run shall find something new")]
fn random() -> u64 {
    std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), std::time::SystemTime::now())
}

const ROUNDS: usize = 10;
