//! Runs of several brokers, round by round.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser};
use serde::{Serialize, Serializer};

use crate::broker::Launcher;
use crate::peers::{BrokerSpec, Peers};
use crate::process;
use crate::report::Report;
use crate::scenario::{self, ScenarioArgs};
use crate::statistics::Spread;

/// How compared runs are executed.
#[derive(Debug, Args)]
pub(crate) struct RoundArgs {
    /// Number of rounds
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// Seconds to measure in each run, instead of the scenario's
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Number of cores for the broker, starting at core 0
    #[arg(long, default_value_t = 1)]
    pub(crate) cores: usize,
    /// The core of the load generator; by default the one after the broker's, or the last
    #[arg(long)]
    pub(crate) load_core: Option<usize>,
    /// The table of brokers
    #[arg(long, default_value = "bench/peers.toml")]
    pub(crate) peers: PathBuf,
    /// Parent of the brokers' data directories; by default the system's directory for temporary files
    #[arg(long)]
    pub(crate) data_root: Option<PathBuf>,
}

/// A broker with a scenario.
#[derive(Debug, Clone)]
pub(crate) struct Entrant {
    pub(crate) spec: BrokerSpec,
    pub(crate) scenario: ScenarioArgs,
    pub(crate) cores: usize,
}

/// The results of one scenario, by broker.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) scenario: String,
    pub(crate) brokers: Vec<Column>,
}

/// The results of an entrant.
#[derive(Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) broker: String,
    /// The median of each figure.
    pub(crate) figures: BTreeMap<String, Spread>,
    /// By round; `None` if the run failed.
    pub(crate) runs: Vec<Option<Report>>,
    /// Why runs failed.
    pub(crate) failures: Vec<String>,
    /// Whether the broker supports the scenario, according to its entry in the table.
    pub(crate) offered: bool,
}

/// The machine and the brokers, to interpret the figures later.
#[derive(Debug, Serialize)]
pub(crate) struct Environment {
    pub(crate) processor: String,
    pub(crate) kernel: String,
    pub(crate) cores: usize,
    pub(crate) rounds: usize,
    pub(crate) disk_sync_us: f64,
    #[serde(serialize_with = "by_name")]
    pub(crate) brokers: Vec<BrokerSpec>,
}

/// State that all rounds share.
#[derive(Debug)]
pub(crate) struct Runner {
    launcher: Launcher,
    rounds: usize,
    seconds: Option<f64>,
    pub(crate) peers: Peers,
    pub(crate) disk_sync_us: f64,
}

#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct ScenarioLine {
    #[command(flatten)]
    scenario: ScenarioArgs,
}

impl Runner {
    /// Prepares the runs, and pins the load generator to its core.
    pub(crate) fn new(args: &RoundArgs) -> Result<Self> {
        let available = std::thread::available_parallelism()?.get();
        if args.rounds == 0 || !(1..=available).contains(&args.cores) {
            bail!("--rounds must be at least 1, and --cores from 1 to {available}");
        }
        let launcher = Launcher::new(args.data_root.clone().unwrap_or_else(std::env::temp_dir))?;
        let disk_sync_us = launcher.sync_time_us()?;
        process::pin_to_core(args.load_core.unwrap_or(args.cores.min(available - 1)))?;
        let peers = Peers::read(&args.peers)?;
        Ok(Self { launcher, rounds: args.rounds, seconds: args.seconds, peers, disk_sync_us })
    }

    /// Runs all entrants in each round, one after another, in reverse order in every other round.
    pub(crate) fn run(&self, what: &str, entrants: &[Entrant]) -> Result<Vec<Column>> {
        let mut columns: Vec<_> = entrants.iter().map(Column::new).collect();
        for round in 1..=self.rounds {
            let mut turns: Vec<_> = entrants.iter().zip(&mut columns).collect();
            if round % 2 == 0 {
                turns.reverse();
            }
            for (entrant, column) in turns {
                if !column.offered {
                    continue;
                }
                writeln!(io::stderr(), "{what}: round {round} of {}, {}", self.rounds, column.broker)?;
                let outcome = self.run_once(entrant);
                column.failures.extend(outcome.as_ref().err().map(|error| format!("{error:#}")));
                column.runs.push(outcome.ok());
            }
        }
        columns.iter_mut().for_each(Column::summarise);
        Ok(columns)
    }

    /// Describes the machine and the brokers.
    pub(crate) fn circumstances(&self, cores: usize, brokers: Vec<BrokerSpec>) -> Environment {
        Environment {
            processor: process::processor(),
            kernel: process::kernel(),
            cores,
            rounds: self.rounds,
            disk_sync_us: self.disk_sync_us,
            brokers,
        }
    }

    fn run_once(&self, entrant: &Entrant) -> Result<Report> {
        let mut scenario = entrant.scenario.clone();
        scenario.seconds = self.seconds.unwrap_or(scenario.seconds);
        // The broker inherits the limit.
        process::ensure_open_files(scenario.connections()?)?;
        let broker = self.launcher.start(&entrant.spec, entrant.cores, scenario.transport)?;
        let output_tail = || format!("the end of the broker's output: {}", broker.output_tail());
        let mut report = scenario::run(&scenario, &broker.target).with_context(output_tail)?;
        if scenario.is_stored() {
            for (figure, value) in broker.counters(&entrant.spec)? {
                report.add(figure, value);
            }
        }
        Ok(report)
    }
}

impl Column {
    fn new(entrant: &Entrant) -> Self {
        Self {
            broker: entrant.spec.name.clone(),
            figures: BTreeMap::new(),
            runs: Vec::new(),
            failures: Vec::new(),
            offered: entrant.spec.offers(entrant.scenario.qos_needed(), entrant.scenario.transport),
        }
    }

    /// Whether a run failed or broke a guarantee.
    pub(crate) fn is_broken(&self) -> bool {
        !self.failures.is_empty() || self.runs.iter().flatten().any(Report::is_broken)
    }

    /// The values of a figure, by round.
    pub(crate) fn values(&self, figure: &str) -> Vec<Option<f64>> {
        self.runs.iter().map(|run| run.as_ref().and_then(|report| report.figure(figure))).collect()
    }

    /// All failures and broken guarantees.
    pub(crate) fn complaints(&self) -> impl Iterator<Item = &String> {
        self.failures.iter().chain(self.runs.iter().flatten().flat_map(|run| &run.broken))
    }

    fn summarise(&mut self) {
        let names = self.runs.iter().flatten().flat_map(|run| &run.figures).map(|figure| figure.name.to_string());
        let names: Vec<_> = names.collect();
        for name in names {
            if let Some(spread) = Spread::of(self.values(&name).into_iter().flatten()) {
                self.figures.insert(name, spread);
            }
        }
    }
}

#[cfg(test)]
impl Column {
    /// A column whose runs have these values of one figure.
    pub(crate) fn with_values(broker: &str, figure: &'static str, values: &[f64]) -> Self {
        let runs = values.iter().map(|value| {
            let mut report = Report::new(crate::report::Guarantee::NoLoss, crate::ledger::Tally::default());
            report.add(figure, *value);
            Some(report)
        });
        let mut column = Self {
            broker: broker.to_owned(),
            figures: BTreeMap::new(),
            runs: runs.collect(),
            failures: Vec::new(),
            offered: true,
        };
        column.summarise();
        column
    }
}

/// Parses a scenario with its arguments from one line.
pub(crate) fn parse_scenario(text: &str) -> Result<ScenarioArgs> {
    let line = ScenarioLine::try_parse_from(text.split_whitespace());
    let scenario = line.map(|line| line.scenario).with_context(|| format!("scenario '{text}'"))?;
    scenario.connections().with_context(|| format!("scenario '{text}'"))?;
    Ok(scenario)
}

fn by_name<S: Serializer>(brokers: &[BrokerSpec], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(brokers.iter().map(|broker| (&broker.name, broker)))
}
