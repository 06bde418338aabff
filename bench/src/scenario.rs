//! The scenarios: their arguments, their defaults, and how they run.

mod arguments;
mod connects;
mod idle;
mod parameters;
mod steady;
mod stored;
mod stream_files;
mod streams;
mod subscriptions;
mod target;

use anyhow::Result;

pub(crate) use self::arguments::{Scenario, ScenarioArgs};
use self::parameters::Parameters;
pub(crate) use self::target::Target;
use crate::process;
use crate::report::Report;

/// Runs a scenario.
pub(crate) fn run(args: &ScenarioArgs, target: &Target) -> Result<Report> {
    let parameters = &Parameters::new(args, target.pid)?;
    process::ensure_open_files(parameters.connections())?;
    match args.scenario {
        Scenario::Idle => idle::run(parameters, target),
        Scenario::Connects => connects::run(parameters, target),
        Scenario::Takeovers => connects::run_takeovers(parameters, target),
        Scenario::Subscriptions => subscriptions::run(parameters, target),
        Scenario::Retained => stored::run_retained(parameters, target),
        Scenario::Offline => stored::run_offline(parameters, target),
        Scenario::StreamReplay => streams::run_replay(parameters, target),
        Scenario::Parked => stored::run_parked(parameters, target),
        Scenario::Pairs
        | Scenario::FanOut
        | Scenario::FanIn
        | Scenario::Shared
        | Scenario::Topics
        | Scenario::Wildcards
        | Scenario::Flood
        | Scenario::Large
        | Scenario::Mixed => steady::run(parameters, target),
    }
}

impl ScenarioArgs {
    /// The number of connections that the scenario needs.
    pub(crate) fn connections(&self) -> Result<usize> {
        Ok(Parameters::new(self, 0)?.connections())
    }
}

#[cfg(test)]
mod tests;
