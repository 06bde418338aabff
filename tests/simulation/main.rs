//! Simulates whole brokers with several shards and their clients in one thread, determined by one seed.
//!
//! The clients follow the standard. Networks, shards and the store have delays, connections break, and the broker
//! crashes and recovers from its store. The checks use only packets on the wire. `ONCEMQ_SIMULATION_SEEDS` sets the
//! number of seeds per mix; `ONCEMQ_SIMULATION_SEED` runs one seed and prints a trace if it fails.

#![cfg(test)]

mod checker;
mod client;
mod clocks;
mod connection;
mod consumers;
mod crash;
mod decide;
mod drive;
mod groups;
mod kept;
mod keys;
mod ledger;
mod log;
mod mix;
mod mounts;
mod network;
mod operator;
mod presence;
mod pressure;
mod profile;
mod react;
mod reader;
mod receipts;
mod refusal;
mod refusing;
mod rng;
mod store;
mod strangers;
mod stream_checks;
mod streams;
mod tap;
mod trace;
mod wills;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use mix::Mix;
use rng::Rng;
use trace::Tracing;
use world::World;

#[test]
fn delayed_messages_are_delivered_as_guaranteed() {
    run("calm", Mix::calm, 40);
}

#[test]
fn broken_connections_neither_lose_nor_duplicate_messages() {
    run("losses", Mix::losses, 80);
}

#[test]
fn sessions_move_between_shards_under_load() {
    run("sessions", Mix::sessions, 80);
}

#[test]
fn slow_receivers_get_all_messages() {
    run("slow", Mix::slow, 50);
}

#[test]
fn every_client_that_waits_for_a_store_a_shard_or_a_receiver_is_resumed() {
    run("pressure", Mix::pressure, 50);
}

#[test]
fn refused_messages_have_no_effect_and_publishers_without_room_are_resumed() {
    run("refusals", Mix::refusals, 50);
}

#[test]
fn full_disk_loses_no_message_and_publishers_continue_when_it_has_room() {
    run("full-disk", Mix::full_disk, 35);
}

#[test]
fn acknowledged_messages_survive_crashes_with_a_full_disk() {
    run("crash-full", Mix::crash_full, 35);
}

#[test]
fn a_shared_message_goes_to_one_member() {
    run("shares", Mix::shares, 65);
}

#[test]
fn wills_are_published_exactly_when_required() {
    run("wills", Mix::wills, 80);
}

#[test]
fn no_client_gets_a_message_of_another_mount_point() {
    run("mounts", Mix::mounts, 40);
}

#[test]
fn everything_at_once() {
    run("everything", Mix::everything, 80);
}

#[test]
fn acknowledged_messages_survive_the_end_of_the_process() {
    run("crash-process", Mix::crash_process, 45);
}

#[test]
fn acknowledged_messages_survive_power_loss() {
    run("crash-power", Mix::crash_power, 45);
}

#[test]
fn every_message_survives_according_to_its_durability_level() {
    run("crash-levels", Mix::crash_levels, 45);
}

#[test]
fn wills_and_shared_messages_of_ended_sessions_move_once_in_a_crash() {
    run("crash-ends", Mix::crash_ends, 45);
}

#[test]
fn streams_are_read_without_gap_or_repetition() {
    run("streams", Mix::streams, 50);
}

#[test]
fn streams_survive_the_end_of_the_process_and_power_loss() {
    run("crash-streams", Mix::crash_streams, 55);
}

#[test]
fn groups_get_all_messages_and_each_key_in_order() {
    run("groups", Mix::groups, 20);
}

#[test]
fn groups_lose_no_message_in_a_crash() {
    run("crash-groups", Mix::crash_groups, 35);
}

#[test]
fn a_message_that_members_refuse_is_acknowledged_later_or_a_dead_letter() {
    run("refused-groups", Mix::refused_groups, 25);
}

#[test]
fn durable_positions_have_no_gap_and_no_repetition() {
    run("positions", Mix::positions, 25);
}

#[test]
fn durable_positions_survive_the_end_of_the_process_and_power_loss() {
    run("crash-positions", Mix::crash_positions, 50);
}

#[test]
fn each_receipt_tells_what_became_of_its_message() {
    run("receipts", Mix::receipts, 30);
}

#[test]
fn each_acknowledged_message_has_its_receipt_after_crashes() {
    run("crash-receipts", Mix::crash_receipts, 50);
}

#[test]
fn the_newest_message_of_each_key_is_kept_through_crashes() {
    let removed = run("crash-keys", Mix::crash_keys, 40);
    assert!(removed > 0 || number("ONCEMQ_SIMULATION_SEED").is_some(), "no message was removed");
}

#[test]
fn a_refused_message_is_accepted_later_or_a_dead_letter() {
    run("redelivery", Mix::redelivery, 35);
}

#[test]
fn a_refused_message_has_one_fate_through_crashes() {
    run("crash-redelivery", Mix::crash_redelivery, 50);
}

/// The order of hash maps in the broker must not affect its behaviour.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..5 {
        for mix in [Mix::everything, Mix::crash_power, Mix::crash_keys, Mix::crash_receipts] {
            let (first, second) = (simulate(seed, mix, Tracing::All), simulate(seed, mix, Tracing::All));
            let lines = [first.trace.lines(), second.trace.lines()].map(|lines| {
                // A Session on its way to another shard is printed with hash maps, in any order.
                let is_printed_in_order = |line: &&(u64, Option<usize>, String)| !line.2.contains("Memberships");
                lines.iter().filter(is_printed_in_order).collect::<Vec<_>>()
            });
            let differs = lines[0].iter().zip(&lines[1]).find(|(one, other)| one != other);
            assert!(differs.is_none() && lines[0].len() == lines[1].len(), "seed {seed}: {differs:?}");
        }
    }
}

/// Returns how many messages were removed from streams because there were later ones with their keys.
fn run(name: &str, mix: fn(&mut Rng) -> Mix, seeds: u64) -> usize {
    let seeds = match (number("ONCEMQ_SIMULATION_SEED"), number("ONCEMQ_SIMULATION_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, more) => 0..more.unwrap_or(seeds),
    };
    let mut removed = 0;
    for seed in seeds {
        let world = simulate(seed, mix, Tracing::Off);
        removed += world.checker.streams.removed.len();
        if let Some(failure) = world.failure {
            // Repeat with a trace.
            let world = simulate(seed, mix, Tracing::All);
            let subject = world.failure.as_ref().and_then(|failure| failure.client);
            let one = number("ONCEMQ_SIMULATION_SEED").is_some();
            println!("{}", if one { world.trace.all() } else { world.trace.about(subject) });
            let again = world.failure.map_or("no failure".to_owned(), |failure| failure.text);
            panic!("{name}, seed {seed}: {} (again: {again})\n{:?}", failure.text, world.mix);
        }
    }
    removed
}

fn simulate(seed: u64, mix: fn(&mut Rng) -> Mix, tracing: Tracing) -> World {
    let mut rng = Rng(seed);
    let mix = mix(&mut rng);
    let mut world = World::new(mix, rng, tracing);
    if let Err(cause) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.fail(None, format!("panic: {}", text.unwrap_or_default()));
    }
    world
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}
