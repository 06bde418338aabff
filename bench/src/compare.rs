//! Compares brokers.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use crate::peers::BrokerSpec;
use crate::plot;
use crate::rounds::{Column, Compared, Entrant, Environment, RoundArgs, Runner, parse_scenario};
use crate::table;
use crate::verdict::Verdict;

/// The brokers and scenarios of a comparison.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// A name from the table of brokers, or NAME='COMMAND {port} {data}', run by `sh -c`: `exec` the broker if it isn't
    /// the only command
    #[arg(long, required = true)]
    broker: Vec<String>,
    /// The broker that the ratios refer to; by default the first
    #[arg(long)]
    baseline: Option<String>,
    /// A scenario with its arguments, as for `run`; by default a standard list
    #[arg(long)]
    scenario: Vec<String>,
    #[command(flatten)]
    rounds: RoundArgs,
    /// Write every run and the results to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Plot the medians to this file
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// All measurements.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    circumstances: Environment,
    baseline: String,
    pub(crate) scenarios: Vec<Compared>,
}

/// Runs every broker in every scenario.
pub(crate) fn run(args: &CompareArgs) -> Result<Verdict> {
    let usual = STANDARD.map(str::to_owned);
    let names = if args.scenario.is_empty() { usual.as_slice() } else { args.scenario.as_slice() };
    let scenarios = names.iter().map(|text| parse_scenario(text)).collect::<Result<Vec<_>>>()?;
    let runner = Runner::new(&args.rounds)?;
    let specs = args.broker.iter().map(|text| runner.peers.broker(text)).collect::<Result<Vec<_>>>()?;
    let baseline = baseline(args.baseline.as_deref(), &specs)?;

    let circumstances = runner.circumstances(args.rounds.cores, specs.clone());
    let mut comparison = Comparison { circumstances, baseline: baseline.clone(), scenarios: Vec::new() };
    let mut output = io::stdout().lock();
    write!(output, "{}", table::heading(&specs))?;
    for (name, scenario) in names.iter().zip(&scenarios) {
        let entrant =
            |spec: &BrokerSpec| Entrant { spec: spec.clone(), scenario: scenario.clone(), cores: args.rounds.cores };
        let entrants: Vec<_> = specs.iter().map(entrant).collect();
        let compared = Compared { scenario: name.clone(), brokers: runner.run(name, &entrants)? };
        write!(output, "{}", table::rows(&compared, &baseline))?;
        output.flush()?;
        comparison.scenarios.push(compared);
        // Written after each scenario, so that an interrupted comparison keeps its results.
        write_files(args, &comparison)?;
    }
    let broken = comparison.scenarios.iter().filter_map(|compared| compared.brokers.first()).any(Column::is_broken);
    Ok(if broken { Verdict::Broken } else { Verdict::Kept })
}

fn baseline(named: Option<&str>, specs: &[BrokerSpec]) -> Result<String> {
    let found = match named {
        Some(name) => specs.iter().find(|spec| spec.name == name),
        None => specs.first(),
    };
    found.map(|spec| spec.name.clone()).context("--baseline is the name of one of the brokers")
}

fn write_files(args: &CompareArgs, comparison: &Comparison) -> Result<()> {
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_string_pretty(comparison)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &args.svg {
        fs::write(file, plot::draw(&comparison.scenarios))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// The default scenarios.
const STANDARD: [&str; 54] = [
    "pairs",
    "pairs --qos 1",
    "pairs --qos 2",
    "pairs --window 1",
    "pairs --qos 1 --window 1",
    "pairs --qos 2 --window 1",
    "fan-out",
    "fan-out --qos 1",
    "fan-out --qos 2",
    "fan-out --window 1",
    "fan-out --qos 1 --window 1",
    "fan-out --qos 2 --window 1",
    "fan-in",
    "fan-in --qos 1",
    "fan-in --qos 2",
    "shared",
    "shared --qos 1",
    "shared --qos 2",
    "topics",
    "topics --qos 1",
    "topics --qos 2",
    "wildcards",
    "wildcards --qos 1",
    "wildcards --qos 2",
    "wildcards --count 100000",
    "wildcards --qos 1 --count 100000",
    "wildcards --qos 2 --count 100000",
    "retained --count 100000",
    "retained --qos 1 --count 100000",
    "retained --qos 2 --count 100000",
    "large",
    "large --qos 1",
    "pairs --qos 1 --durable",
    "pairs --qos 2 --durable",
    "offline --qos 1",
    "offline --qos 2",
    "offline --qos 1 --publishers 1 --window 1000 --count 20000",
    "offline --qos 2 --publishers 1 --window 1000 --count 20000",
    "pairs --transport tls",
    "pairs --transport tls --window 1",
    "pairs --transport ws",
    "pairs --transport ws --window 1",
    "flood",
    "mixed",
    "mixed --rate 5000",
    "pairs --rate 5000",
    "pairs --rate 5000 --qos 1",
    "pairs --rate 5000 --qos 1 --durable",
    "connects",
    "connects --transport tls --count 2000",
    "idle",
    "idle --count 50000",
    "idle --transport tls --count 5000",
    "subscriptions",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_scenarios_can_be_run() {
        for text in STANDARD {
            assert!(parse_scenario(text).is_ok(), "{text}");
        }
        assert!(parse_scenario("pairs --qos 3").is_err());
        assert!(parse_scenario("storm").is_err());
    }
}
