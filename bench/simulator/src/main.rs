//! Simulates a cluster: the pure core of the broker, for many cells and nodes and up to a million Sessions, under a virtual clock.
//!
//! What is pure is executed: shards with their Sessions, subscriptions and queues, what cells tell each other and want, the records and what a successor reads of
//! them. What is not pure is modelled with constants that were measured (`model.rs`): processors, commits, frames between nodes, and connecting. A run is the same
//! for the same arguments. docs/SCALE.md says what was simulated, and how far it agrees with real processes.
#![expect(clippy::indexing_slicing, reason = "the numbers are those of this simulation")]
#![expect(clippy::cast_possible_truncation, reason = "the numbers are bounded by the arguments")]
#![expect(clippy::wildcard_enum_match_arm, reason = "few reports of many are complaints")]

mod cell;
mod clients;
mod faults;
mod figures;
mod fleet;
mod links;
mod log;
mod machine;
mod model;
mod pace;
mod report;
mod rng;
mod run;
mod setup;
#[cfg(test)]
mod tests;
mod turns;
mod world;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::setup::Setup;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

/// Simulates a cluster with its clients.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    setup: Setup,
}

fn main() -> ExitCode {
    match simulate(Cli::parse().setup) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_BROKEN),
        Err(error) => {
            let _ = writeln!(io::stderr(), "simulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether nothing was broken.
fn simulate(setup: Setup) -> Result<bool> {
    let json = setup.json.clone();
    let report = run::run(setup)?;
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    write!(io::stdout(), "{report}")?;
    Ok(report.broken.is_empty())
}

/// Differs from 1, the code for a run that failed.
const EXIT_BROKEN: u8 = 3;
