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
mod former_owner;
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
mod routes;
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
    run_world(kills, Scenario::Cluster, || Box::new(Nodes::new(1)));
}

/// The same with the clients spread over the cells of all nodes, so that most messages cross cells.
#[test]
fn messages_between_cells_survive_the_loss_of_a_broker_a_server_or_both() {
    if nats_servers::is_missing() {
        return;
    }
    let kills = number("ONCEMQ_FAILOVER_ROUNDS").unwrap_or(CELLS_FAILOVERS);
    run_world(kills, Scenario::Cluster, || Box::new(Nodes::new(CELLS)));
}

/// What can happen to three machines, in turn: partitions, losses of power, changed bits, full disks, clocks that change, and processes that end.
#[test]
fn replicated_messages_survive_what_happens_to_machines() {
    run_machines(1, number("ONCEMQ_FAILOVER_ROUNDS").unwrap_or(MACHINE_ROUNDS));
}

/// The same with the clients spread over cells. By default there is nothing to do: `tests/spread` and the tests above have a part of it.
#[test]
fn messages_between_cells_survive_what_happens_to_machines() {
    run_machines(CELLS, number("ONCEMQ_FAILOVER_ROUNDS").unwrap_or(0));
}

fn run_machines(cells: usize, rounds: u64) {
    if rounds == 0 || nats_servers::is_missing() {
        return;
    }
    let kinds = text("ONCEMQ_FAILOVER_KINDS").map_or(Kind::ALL.into(), |names| Kind::named(&names));
    if let Some(nodes) = Nodes::on_machines(cells, None, &kinds) {
        run_world(rounds, Scenario::Cluster, || Box::new(nodes));
    }
}

/// The control of the losses of power: servers of NATS that sync every two minutes, their default, lose what they have acknowledged.
#[test]
#[ignore = "it waits a minute for what is lost: docs/PROOFS.md"]
fn a_loss_of_power_is_noticed_if_servers_do_not_sync() {
    let Some(nodes) = Nodes::on_machines(1, Some("2m"), &[Kind::Power]) else { return };
    let mut world = World::new(random(), Box::new(nodes), Scenario::Cluster);
    let fault = world.run(CONTROL_ROUNDS).expect_err("nothing was lost");
    println!("{fault:?}");
}

#[test]
fn groups_positions_receipts_and_keys_survive_kill_9() {
    run("crash", Loss::Process, Scenario::Consumers);
}

#[test]
fn groups_positions_receipts_and_keys_survive_power_loss() {
    run("power-loss", Loss::Power, Scenario::Consumers);
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

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn text(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

fn number(variable: &str) -> Option<u64> {
    let text = text(variable)?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// Default number of kills of nodes and servers.
const FAILOVERS: u64 = 4;
/// The same with cells.
const CELLS_FAILOVERS: u64 = 2;
/// Two of each node.
const CELLS: usize = 6;
/// How often the power is lost, at most, until something is missing.
const CONTROL_ROUNDS: u64 = 5;
/// Default number of what happens to machines.
const MACHINE_ROUNDS: u64 = 2;
/// Default number of kills of a test.
const KILLS: u64 = 5;
