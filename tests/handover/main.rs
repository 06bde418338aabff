//! The listening sockets of the real binary pass to another process: from systemd, and from a running broker to a new one, under load. No
//! connect may be refused, no acknowledged message lost, and none at QoS 2 duplicated.
//!
//! `ONCEMQ_HANDOVER_CLIENTS` sets the number of clients, `ONCEMQ_HANDOVER_ROUNDS` the number of hand-overs with a `kill -9`,
//! `ONCEMQ_HANDOVER_SEED` repeats their times, and `ONCEMQ_HANDOVER_BINARY` names another build of the broker.

#![cfg(test)]

mod activation;
mod admin;
mod broker;
mod client;
mod reloaded;
mod world;

use std::future::Future;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use broker::{Broker, Place};
use world::World;

/// Several hand-overs in a row under load.
#[test]
fn clients_are_served_again_after_each_hand_over() {
    run(async {
        let clients = number("ONCEMQ_HANDOVER_CLIENTS").unwrap_or(CLIENTS);
        let place = Place::new();
        let mut broker = Broker::start(&place, &[]);
        place.listens().await;
        let world = World::start(place.address, clients);
        world.begin().await;
        for round in 1..=3 {
            sleep(Duration::from_millis(700)).await;
            let spawned = now();
            let mut next = Broker::start(&place, &["--take-over"]);
            assert_eq!(broker.exit_code().await, Some(0), "{}", place.log());
            world.all_lost(round).await;
            world.all_served(PATIENCE).await;
            let figures = world.figures();
            println!("hand-over {round}: {figures}, {:?} after the start of the new process", spawned.elapsed());
            assert!(next.is_running());
            assert!(world.were_told() || clients < 2, "5.0 clients get 0x8B Server shutting down");
            broker = next;
        }
        world.settle(PATIENCE).await;
        assert_eq!(world.refused(), 0, "no connect is refused");
        println!("{}", world.summary());
    });
}

/// One of the two processes is killed at a random moment.
#[test]
fn a_kill_of_either_process_at_any_moment_loses_and_doubles_nothing() {
    run(async {
        let seed = number("ONCEMQ_HANDOVER_SEED").unwrap_or_else(random);
        let rounds = number("ONCEMQ_HANDOVER_ROUNDS").unwrap_or(ROUNDS);
        println!("seed {seed}, {rounds} kills");
        let mut random = Random(seed as u64);
        let place = Place::new();
        let mut broker = Broker::start(&place, &[]);
        place.listens().await;
        let world = World::start(place.address, CLIENTS / 4);
        world.begin().await;
        let mut moments = (0, 0);
        for round in 1..=rounds {
            let logged = place.log().len();
            let mut next = Broker::start(&place, &["--take-over"]);
            // In half of the rounds from the beginning of the hand-over itself.
            if random.below(2) == 0 {
                place.logged("takes over: all clients are disconnected", PATIENCE, logged).await;
            }
            sleep(Duration::from_micros(random.below(120_000))).await;
            let kills_old = random.below(2) == 0;
            let refused = world.refused();
            if kills_old {
                broker.kill();
                broker = next;
                moments.0 += 1;
            } else {
                next.kill();
                moments.1 += 1;
            }
            sleep(Duration::from_millis(50)).await;
            let (mut has_ended, end) = (kills_old, now() + PATIENCE);
            while broker.ends_within(STABLE).await || !world.is_served() {
                assert!(now() < end, "round {round}: nobody is served\n{}", place.log());
                // The new process was killed when it had taken over, and the old one has ended: nobody listens until the next start.
                if !broker.is_running() {
                    has_ended = true;
                    broker = Broker::start(&place, &[]);
                }
                sleep(Duration::from_millis(5)).await;
            }
            assert!(
                has_ended || world.refused() == refused,
                "round {round}: the old process has the sockets\n{}",
                place.log()
            );
            assert!(broker.is_running(), "round {round}\n{}", place.log());
        }
        world.settle(PATIENCE).await;
        println!("{} times the old process, {} times the new one; {}", moments.0, moments.1, world.summary());
    });
}

/// What can't start does not disturb the running broker.
#[test]
fn a_process_that_cannot_start_leaves_the_running_broker_alone() {
    run(async {
        let place = Place::new();
        let mut broker = Broker::start(&place, &[]);
        place.listens().await;
        let world = World::start(place.address, 4);
        world.begin().await;
        // It has got the sockets when it finds that it can't listen at another address of its configuration.
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let in_use = ["--take-over", "--listen", &address];
        assert_eq!(Broker::start(&place, &in_use).exit_code().await, Some(3));
        place.logged("it ended before it was ready to start; this one serves on", PATIENCE, 0).await;
        let none = ["--take-over", "--durability", "none"];
        assert_eq!(Broker::start(&place, &none).exit_code().await, Some(8));
        sleep(Duration::from_millis(100)).await;
        assert!(broker.is_running());
        assert_eq!((world.lost(), world.refused()), (0, 0), "{}", place.log());
        world.settle(PATIENCE).await;
    });
}

/// Without a running broker, it starts as usual; and the admin listener moves too.
#[test]
fn taking_over_from_nobody_is_a_start_and_the_admin_listener_moves_too() {
    run(async {
        let (place, admin) = (Place::new(), Place::new().address);
        let admin = format!("127.0.0.1:{}", admin.port());
        // A single shard accepts connections itself.
        let arguments = ["--take-over", "--admin", &admin, "--shards", "1"];
        let mut broker = Broker::start(&place, &arguments);
        place.listens().await;
        let world = World::start(place.address, 4);
        world.begin().await;
        assert!(place.log().contains("nothing to take over"), "{}", place.log());
        let mut next = Broker::start(&place, &arguments);
        assert_eq!(broker.exit_code().await, Some(0), "{}", place.log());
        world.all_served(PATIENCE).await;
        assert!(!place.log().contains("running without the admin listener"), "{}", place.log());
        let socket = place.directory.path().join("data/handover.sock");
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(next.is_running());
        next.terminate();
        assert_eq!(next.exit_code().await, Some(0));
        assert!(!socket.exists());
    });
}

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(Duration::from_secs(300), test).await.expect("in time") });
}

/// The current time.
#[expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Pseudo-random numbers determined by a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[expect(clippy::disallowed_methods, reason = "each run shall find something new; the seed is printed")]
fn random() -> usize {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    usize::try_from(since_epoch.subsec_nanos()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<usize> {
    let text = variable(name)?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

const CLIENTS: usize = 300;
const ROUNDS: usize = 8;
/// A process that is about to end does so in this time.
const STABLE: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(30);
