//! The scenarios: what each is asked, its defaults, and how it runs.

mod arguments;
mod connects;
mod idle;
mod kept;
mod measures;
mod steady;
mod subscriptions;
mod target;

use anyhow::Result;

pub(crate) use self::arguments::{Scenario, ScenarioArgs};
use self::measures::Measures;
pub(crate) use self::target::Target;
use crate::process;
use crate::report::Report;

/// Runs a scenario.
pub(crate) fn run(args: &ScenarioArgs, target: &Target) -> Result<Report> {
    let measures = Measures::new(args, target.pid)?;
    process::ensure_open_files(measures.connections())?;
    match args.scenario {
        Scenario::Idle => idle::run(&measures, target),
        Scenario::Connects => connects::run(&measures, target),
        Scenario::Subscriptions => subscriptions::run(&measures, target),
        Scenario::Retained => kept::run_retained(&measures, target),
        Scenario::Offline => kept::run_offline(&measures, target),
        Scenario::Pairs
        | Scenario::FanOut
        | Scenario::FanIn
        | Scenario::Shared
        | Scenario::Topics
        | Scenario::Wildcards
        | Scenario::Flood
        | Scenario::Large
        | Scenario::Mixed => steady::run(&measures, target),
    }
}

impl ScenarioArgs {
    /// How many connections the scenario takes.
    pub(crate) fn connections(&self) -> Result<usize> {
        Ok(Measures::new(self, 0)?.connections())
    }
}

#[cfg(test)]
mod tests;
