//! Three nodes with a replicated log: what a message costs, and how long a fail-over takes.

mod deaths;
mod nodes;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;

use self::deaths::Death;
use self::nodes::Cluster;
use crate::goal_table::{ClusterGoal, GoalTable};
use crate::ledger::Tally;
use crate::peers;
use crate::report::{Guarantee, Report, digits};
use crate::rounds::parse_scenario;
use crate::scenario;
use crate::statistics::Spread;
use crate::verdict::Verdict;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// The name of a goal, or its beginning; by default all `[[cluster]]` goals
    #[arg(long)]
    goal: Vec<String>,
    /// The table of goals
    #[arg(long, default_value = "bench/goals.toml")]
    goals: PathBuf,
    /// A further scenario, of which all figures are shown
    #[arg(long)]
    scenario: Vec<String>,
    /// How often each scenario is run
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds to measure in each run, instead of the scenario's
    #[arg(long)]
    seconds: Option<f64>,
    /// How often the owner dies, for goals about `deaths` and `machine-deaths`
    #[arg(long, default_value_t = 10)]
    deaths: usize,
    /// The program of the broker; by default the one of the same build
    #[arg(long)]
    broker: Option<PathBuf>,
    /// The program of NATS; by default what NATS_SERVER names, or nats-server in the PATH
    #[arg(long)]
    nats_server: Option<PathBuf>,
    /// Parent of the data directories; by default the system's directory for temporary files
    #[arg(long)]
    data_root: Option<PathBuf>,
    /// Write every run to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    scenario: String,
    runs: Vec<Report>,
}

/// Runs what the goals need, and reports which are met.
pub(crate) fn run(args: &ClusterArgs) -> Result<Verdict> {
    let wanted = |goal: &ClusterGoal| args.goal.is_empty() || args.goal.iter().any(|name| goal.name.starts_with(name));
    let mut goals: Vec<_> = GoalTable::read(&args.goals)?.cluster.into_iter().filter(wanted).collect();
    if !args.scenario.is_empty() && args.goal.is_empty() {
        goals.clear();
    }
    let mut scenarios: Vec<String> = args.scenario.clone();
    for goal in &goals {
        if !scenarios.contains(&goal.scenario) {
            scenarios.push(goal.scenario.clone());
        }
    }
    if scenarios.is_empty() {
        bail!("no such goal in {}", args.goals.display());
    }
    let broker = args.broker.clone().unwrap_or_else(|| PathBuf::from(peers::bin()).join("oncemq"));
    let nats = args.nats_server.clone().or_else(|| std::env::var_os("NATS_SERVER").map(PathBuf::from));
    let data_root = args.data_root.clone().unwrap_or_else(std::env::temp_dir);
    let mut cluster = Cluster::start(&broker, &nats.unwrap_or_else(|| "nats-server".into()), &data_root)?;
    let mut outcomes = Vec::new();
    let mut is_broken = false;
    for scenario in scenarios {
        let runs = match scenario.as_str() {
            DEATHS => vec![deaths(&mut cluster, Death::Node, args.deaths)?],
            MACHINE_DEATHS => vec![deaths(&mut cluster, Death::Machine, args.deaths)?],
            _ => loads(args, &cluster, &scenario)?,
        };
        is_broken |= runs.iter().any(Report::is_broken);
        let outcome = Outcome { scenario, runs };
        outcome.print(args.scenario.contains(&outcome.scenario), &goals)?;
        outcomes.push(outcome);
        if let Some(file) = &args.json {
            let text = serde_json::to_string_pretty(&outcomes)? + "\n";
            fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    let is_kept = |goal: &ClusterGoal| {
        let outcome = outcomes.iter().find(|outcome| outcome.scenario == goal.scenario);
        let figure = outcome.and_then(|outcome| outcome.figure(&goal.figure));
        figure.is_some_and(|spread| goal.allows(spread.median))
    };
    Ok(if is_broken || !goals.iter().all(is_kept) { Verdict::Broken } else { Verdict::Kept })
}

fn loads(args: &ClusterArgs, cluster: &Cluster, text: &str) -> Result<Vec<Report>> {
    let mut scenario = parse_scenario(text)?;
    scenario.seconds = args.seconds.unwrap_or(scenario.seconds);
    (0..args.rounds).map(|_| scenario::run(&scenario, &cluster.target()?)).collect()
}

fn deaths(cluster: &mut Cluster, death: Death, count: usize) -> Result<Report> {
    let mut times = Histogram::new_with_bounds(1, FAILOVER_MAX_MS, 3)?;
    for number in 1..=count {
        let took = deaths::die(cluster, death)?;
        writeln!(io::stderr(), "{death:?} {number} of {count}: {} ms", took.as_millis())?;
        times.saturating_record(u64::try_from(took.as_millis())?);
    }
    let mut report = Report::new(Guarantee::NoLoss, Tally::default());
    report.add_latency(&times, &FAILOVER);
    Ok(report)
}

impl Outcome {
    fn figure(&self, name: &str) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.figure(name)))
    }

    /// Shows all figures, or those with a goal.
    fn print(&self, shows_all: bool, goals: &[ClusterGoal]) -> Result<()> {
        let mut output = io::stdout().lock();
        writeln!(output, "{}", self.scenario)?;
        let names: Vec<&str> =
            self.runs.iter().take(1).flat_map(|run| &run.figures).map(|figure| &*figure.name).collect();
        let limits: BTreeMap<&str, &ClusterGoal> =
            goals.iter().filter(|goal| goal.scenario == self.scenario).map(|goal| (&*goal.figure, goal)).collect();
        for name in names.into_iter().filter(|name| shows_all || limits.contains_key(name) || SHOWN.contains(name)) {
            let Some(spread) = self.figure(name) else { continue };
            let [low, median, high] = [spread.low, spread.median, spread.high].map(digits);
            let verdict = match limits.get(name) {
                None => "",
                Some(goal) if goal.allows(spread.median) => "kept",
                Some(_) => "missed",
            };
            writeln!(output, "  {name:<34}{median:>10}   ({low} to {high})  {verdict}")?;
        }
        for what in self.runs.iter().flat_map(|run| &run.broken) {
            writeln!(output, "  BROKEN: {what}")?;
        }
        Ok(output.flush()?)
    }
}

const DEATHS: &str = "deaths";
const MACHINE_DEATHS: &str = "machine-deaths";
const FAILOVER_MAX_MS: u64 = 60_000;
const FAILOVER: [(&str, f64); 4] =
    [("failover_min_ms", 0.0), ("failover_p50_ms", 0.5), ("failover_p99_ms", 0.99), ("failover_max_ms", 1.0)];
/// Shown without a goal, too.
const SHOWN: [&str; 9] = [
    "messages_per_second",
    "cpu_us_per_message",
    "servers_cpu_us_per_message",
    "standbys_cpu_us_per_message",
    "load_cpu_us_per_message",
    "servers_cpu_share",
    "failover_min_ms",
    "failover_p50_ms",
    "failover_max_ms",
];
