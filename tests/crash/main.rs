//! Kills the real binary with SIGKILL at random times under load and restarts it with the same data: no acknowledged
//! message may be lost, and none at QoS 2 duplicated.
//!
//! The clients follow the standard and outlive every crash. The checks use only packets on the wire.
//! `ONCEMQ_CRASH_ROUNDS` sets the number of kills of each test. `ONCEMQ_CRASH_SEED` repeats the decisions of a run, but
//! not its timing. The test with power loss needs `strace`.

#![cfg(test)]

mod broker;
mod client;
mod clocks;
mod consumers;
mod content;
mod damage;
mod disks;
mod judge;
mod ledger;
mod machines;
mod namespaces;
mod nemesis;
mod network;
mod nodes;
mod operator;
mod power_loss;
mod probe;
mod publisher;
mod reader;
#[path = "../simulation/rng.rs"]
mod rng;
mod subscriber;
mod world;

use std::time::Instant;

use broker::{Broker, Loss, Service};
use nemesis::Kind;
use nodes::Nodes;
use world::{Scenario, World};

#[test]
fn written_messages_survive_kill_9() {
    run("crash", Loss::Process, Scenario::Queues);
}

#[test]
fn synced_messages_survive_kill_9() {
    run("power-loss", Loss::Process, Scenario::Queues);
}

#[test]
fn synced_messages_survive_power_loss() {
    run("power-loss", Loss::Power, Scenario::Queues);
}

#[test]
fn streams_batches_and_refused_messages_survive_kill_9() {
    run("crash", Loss::Process, Scenario::Streams);
}

#[test]
fn streams_batches_and_refused_messages_survive_power_loss() {
    run("power-loss", Loss::Power, Scenario::Streams);
}

/// Brokers and servers of NATS are killed, stopped, and all at once; what follows is a fail-over.
#[test]
fn replicated_messages_survive_the_loss_of_a_broker_a_server_or_both() {
    if nats_servers::is_missing() {
        return;
    }
    let kills = number("ONCEMQ_FAILOVER_ROUNDS").unwrap_or(FAILOVERS);
    run_world(kills, Scenario::Cluster, || Box::new(Nodes::new(None)));
}

/// Machines do not reach each other, in namespaces of the network that the test makes.
#[test]
fn replicated_messages_survive_partitions() {
    run_machines(None, &[Kind::Partitions], PARTITIONS);
}

/// Of all machines, or one, with their disks.
#[test]
fn replicated_messages_survive_power_loss_of_all_machines() {
    run_machines(None, &[Kind::Power], POWER_LOSSES);
}

/// The control of the test before: servers of NATS that sync every two minutes, their default, lose what they have acknowledged.
#[test]
fn a_loss_of_power_is_noticed_if_servers_do_not_sync() {
    // It waits in vain for what is lost.
    let Some(rounds) = number("ONCEMQ_FAILOVER_ROUNDS").filter(|_| !nats_servers::is_missing()) else { return };
    let Some(nodes) = Nodes::on_machines(Some("2m"), &[Kind::PowerOfAll]) else { return };
    let mut world = World::new(random(), Box::new(nodes), Scenario::Cluster);
    let fault = world.run(rounds).expect_err("nothing was lost");
    println!("{}", world.report(0, &fault));
}

#[test]
fn replicated_messages_survive_changed_bits() {
    run_machines(None, &[Kind::Damage], 0);
}

#[test]
fn replicated_messages_survive_full_disks() {
    run_machines(None, &[Kind::Space], 0);
}

/// By hours, forwards and backwards.
#[test]
fn replicated_messages_survive_changed_clocks() {
    run_machines(None, &[Kind::Clocks], 0);
}

/// All kinds, one after the other.
#[test]
fn replicated_messages_survive_what_happens_to_machines() {
    run_machines(None, ALL_KINDS, 0);
}

#[test]
fn groups_positions_receipts_and_keys_survive_kill_9() {
    run("crash", Loss::Process, Scenario::Consumers);
}

#[test]
fn groups_positions_receipts_and_keys_survive_power_loss() {
    run("power-loss", Loss::Power, Scenario::Consumers);
}

/// On three machines, to which something of these kinds happens.
fn run_machines(sync_interval: Option<&str>, kinds: &'static [Kind], rounds: u64) {
    if nats_servers::is_missing() {
        return;
    }
    let rounds = number("ONCEMQ_FAILOVER_ROUNDS").unwrap_or(rounds);
    if rounds > 0
        && let Some(nodes) = Nodes::on_machines(sync_interval, kinds)
    {
        run_world(rounds, Scenario::Cluster, || Box::new(nodes));
    }
}

fn run(durability: &'static str, loss: Loss, scenario: Scenario) {
    let kills = number("ONCEMQ_CRASH_ROUNDS").unwrap_or(KILLS);
    println!("--durability {durability}");
    run_world(kills, scenario, || Box::new(Broker::new(durability, loss, &scenario.config())));
}

fn run_world(kills: u64, scenario: Scenario, service: impl FnOnce() -> Box<dyn Service>) {
    let seed = number("ONCEMQ_CRASH_SEED").unwrap_or_else(random);
    println!("seed {seed}, {kills} kills");
    let mut world = World::new(seed, service(), scenario);
    match world.run(kills) {
        Ok(summary) => println!("{summary}"),
        Err(fault) => panic!("{}", world.report(seed, &fault)),
    }
}

/// The current time.
#[expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
fn now() -> Instant {
    Instant::now()
}

/// A new random seed.
#[expect(clippy::disallowed_methods, reason = "each run shall find something new; the seed is printed")]
fn random() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::from(since_epoch.subsec_nanos()) << 16 | u64::from(std::process::id() & 0xFFFF)
}

/// Whether a test that cannot run is a failure.
#[expect(clippy::disallowed_methods, reason = "CI says so in the environment")]
fn is_in_ci() -> bool {
    std::env::var_os("CI").is_some()
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// Default number of kills of nodes and servers.
const FAILOVERS: u64 = 4;
const ALL_KINDS: &[Kind] = &[Kind::Processes, Kind::Partitions, Kind::Power, Kind::Damage, Kind::Space, Kind::Clocks];
/// Default number of losses of power.
const POWER_LOSSES: u64 = 2;
/// Default number of partitions.
const PARTITIONS: u64 = 2;
/// Default number of kills of a test.
const KILLS: u64 = 5;
