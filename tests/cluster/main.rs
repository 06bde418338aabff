//! The machines of `oncemq::cluster` under a nemesis: requests that are late, lost, or carried out without a reply, rivals, crashes, loss of power and of a
//! disk, reads from a replica that is behind or has lost entries. Everything from one seed.

#![cfg(test)]

mod engine;
mod node;
#[path = "../simulation/rng.rs"]
mod rng;
mod world;

use world::{Bugs, World};

/// Runs a world, and returns what is wrong with it.
fn run(seed: u64, steps: u32, bugs: Bugs) -> Result<u64, String> {
    let mut world = World::new(seed, bugs);
    for step in 0..steps {
        world.step().map_err(|fault| format!("seed {seed}, step {step}: {fault}"))?;
    }
    world.settle().map_err(|fault| format!("seed {seed}, at the end: {fault}"))
}

/// The number of worlds: `ONCEMQ_CLUSTER_WORLDS`, and where they begin: `ONCEMQ_CLUSTER_SEED`.
#[expect(clippy::disallowed_methods, reason = "a test is told how much to do")]
fn worlds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let first = number("ONCEMQ_CLUSTER_SEED").unwrap_or(1);
    first..first + number("ONCEMQ_CLUSTER_WORLDS").unwrap_or(400)
}

const STEPS: u32 = 1_500;

#[test]
fn whatever_happens_all_acknowledged_commits_are_in_the_log_of_each_owner_once_and_in_order() {
    let mut acknowledged = 0;
    for seed in worlds() {
        acknowledged += run(seed, STEPS, Bugs::default()).unwrap_or_else(|fault| panic!("{fault}"));
    }
    println!("{acknowledged} commits were acknowledged");
    assert!(acknowledged > 10_000, "{acknowledged}: the worlds do next to nothing");
}

/// The worlds find an error that is made on purpose.
#[track_caller]
fn is_found(bugs: Bugs) {
    let fault = worlds().find_map(|seed| run(seed, STEPS, bugs).err());
    println!("{}", fault.expect("nobody notices"));
}

#[test]
fn it_is_noticed_when_an_owner_reports_any_acknowledgement() {
    is_found(Bugs { no_prefix_rule: true, ..Bugs::default() });
}

#[test]
fn it_is_noticed_when_readers_take_what_a_former_owner_appends() {
    is_found(Bugs { no_reader_rule: true, ..Bugs::default() });
}

#[test]
fn it_is_noticed_when_readers_take_what_was_shipped_behind_a_refused_commit() {
    is_found(Bugs { no_chain: true, ..Bugs::default() });
}

#[test]
fn it_is_noticed_when_a_gap_is_passed_over() {
    is_found(Bugs { passes_gaps: true, ..Bugs::default() });
}

#[test]
fn it_is_noticed_when_epoch_entries_are_trimmed() {
    is_found(Bugs { trims_epochs: true, ..Bugs::default() });
}

#[test]
fn it_is_noticed_when_a_former_owner_keeps_what_was_not_replicated() {
    is_found(Bugs { keeps_unreplicated: true, ..Bugs::default() });
}

#[test]
fn it_is_noticed_when_the_stream_is_trimmed_before_a_follower_has_it() {
    is_found(Bugs { trims_early: true, ..Bugs::default() });
}
