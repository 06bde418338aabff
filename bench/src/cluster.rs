//! Nodes with replicated logs, of one cell or of several: what a message costs, and how long a fail-over takes.

mod deaths;
mod nodes;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;

use self::deaths::Death;
use self::nodes::{Cluster, Programs, Shape};
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
    /// Nodes for `--scenario`: 1 to 3, or 0 for one broker without a cluster
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    nodes: u8,
    /// Cells for `--scenario`
    #[arg(long, default_value_t = 1)]
    cells: u8,
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
    shape: Shape,
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
    let shape = Shape { nodes: args.nodes.into(), cells: args.cells.into() };
    let mut runs: Vec<(Shape, String)> = args.scenario.iter().map(|scenario| (shape, scenario.clone())).collect();
    for goal in &goals {
        runs.push((Shape::of(goal), goal.scenario.clone()));
        runs.extend(goal.to_single.then(|| (SINGLE, goal.scenario.clone())));
    }
    if runs.is_empty() {
        bail!("no such goal in {}", args.goals.display());
    }
    // One after the other by their processes, which each shape starts once.
    runs.sort();
    runs.dedup();
    let nats = args.nats_server.clone().or_else(|| std::env::var_os("NATS_SERVER").map(PathBuf::from));
    let programs = Programs {
        broker: args.broker.clone().unwrap_or_else(|| PathBuf::from(peers::bin()).join("oncemq")),
        nats: nats.unwrap_or_else(|| "nats-server".into()),
        data_root: args.data_root.clone().unwrap_or_else(std::env::temp_dir),
    };
    let mut results = Results { outcomes: Vec::new(), goals };
    for shape_runs in runs.chunk_by(|(one, _), (other, _)| one == other) {
        let [(shape, _), ..] = shape_runs else { continue };
        let mut cluster = Cluster::start(*shape, &programs)?;
        for (shape, scenario) in shape_runs {
            let runs = match scenario.as_str() {
                DEATHS => vec![deaths(&mut cluster, Death::Node, args.deaths)?],
                MACHINE_DEATHS => vec![deaths(&mut cluster, Death::Machine, args.deaths)?],
                _ => loads(args, &cluster, scenario)?,
            };
            results.outcomes.push(Outcome { shape: *shape, scenario: scenario.clone(), runs });
            results.print_last(args.scenario.contains(scenario))?;
            if let Some(file) = &args.json {
                let text = serde_json::to_string_pretty(&results.outcomes)? + "\n";
                fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
            }
        }
    }
    Ok(results.verdict())
}

fn loads(args: &ClusterArgs, cluster: &Cluster, text: &str) -> Result<Vec<Report>> {
    let mut scenario = parse_scenario(text)?;
    scenario.seconds = args.seconds.unwrap_or(scenario.seconds);
    let run = |_| {
        let before = cluster.counters();
        let mut report = scenario::run(&scenario, &cluster.target(scenario.placement)?)?;
        let delivered = report.figure("delivered").unwrap_or_default();
        for ((figure, before), (_, after)) in before.into_iter().zip(cluster.counters()) {
            // With the warm-up, which is short.
            report.add(figure, (after - before) / delivered.max(1.0));
        }
        Ok(report)
    };
    (0..args.rounds).map(run).collect()
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

impl Shape {
    fn of(goal: &ClusterGoal) -> Self {
        Self { nodes: goal.nodes, cells: goal.cells }
    }
}

impl Outcome {
    fn figure(&self, name: &str) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.figure(name)))
    }
}

/// What has been run, and what it is to be compared with.
struct Results {
    outcomes: Vec<Outcome>,
    goals: Vec<ClusterGoal>,
}

impl Results {
    /// Shows all figures of the last outcome, or those with a goal.
    fn print_last(&self, shows_all: bool) -> Result<()> {
        let Some(outcome) = self.outcomes.last() else { return Ok(()) };
        let mut output = io::stdout().lock();
        let Shape { nodes, cells } = outcome.shape;
        writeln!(output, "{nodes} nodes, {cells} cells: {}", outcome.scenario)?;
        let is_about = |goal: &&ClusterGoal| Shape::of(goal) == outcome.shape && goal.scenario == outcome.scenario;
        let goals: Vec<&ClusterGoal> = self.goals.iter().filter(is_about).collect();
        let names: Vec<&str> =
            outcome.runs.iter().take(1).flat_map(|run| &run.figures).map(|figure| &*figure.name).collect();
        let has_goal = |name: &str| goals.iter().any(|goal| goal.figure == name);
        for name in names.into_iter().filter(|name| shows_all || has_goal(name) || SHOWN.contains(name)) {
            let Some(spread) = outcome.figure(name) else { continue };
            let [low, median, high] = [spread.low, spread.median, spread.high].map(digits);
            writeln!(output, "  {name:<34}{median:>10}   ({low} to {high})")?;
        }
        for goal in goals {
            let value = self.value(goal).map_or("nothing".to_owned(), digits);
            let of = if goal.to_single { "times that of one broker" } else { "" };
            let verdict = if self.is_kept(goal) { "kept" } else { "missed" };
            writeln!(output, "  {}: {} {value} {of}: {verdict}", goal.name, goal.figure)?;
        }
        for what in outcome.runs.iter().flat_map(|run| &run.broken) {
            writeln!(output, "  BROKEN: {what}")?;
        }
        Ok(output.flush()?)
    }

    /// What a goal limits.
    fn value(&self, goal: &ClusterGoal) -> Option<f64> {
        let of = |shape: Shape, figure: &str| {
            let found = |outcome: &&Outcome| outcome.shape == shape && outcome.scenario == goal.scenario;
            Some(self.outcomes.iter().find(found)?.figure(figure)?.median)
        };
        let value = of(Shape::of(goal), &goal.figure)?;
        if !goal.to_single {
            return Some(value);
        }
        // A single broker has no processes beside it.
        let single = of(SINGLE, &goal.figure).or_else(|| of(SINGLE, goal.figure.strip_prefix("all_")?))?;
        Some(value / single)
    }

    fn is_kept(&self, goal: &ClusterGoal) -> bool {
        self.value(goal).is_some_and(|value| goal.allows(value))
    }

    fn verdict(&self) -> Verdict {
        let is_broken = self.outcomes.iter().flat_map(|outcome| &outcome.runs).any(Report::is_broken);
        let is_kept = !is_broken && self.goals.iter().all(|goal| self.is_kept(goal));
        if is_kept { Verdict::Kept } else { Verdict::Broken }
    }
}

/// One broker without a cluster.
const SINGLE: Shape = Shape { nodes: 0, cells: 0 };
const DEATHS: &str = "deaths";
const MACHINE_DEATHS: &str = "machine-deaths";
const FAILOVER_MAX_MS: u64 = 60_000;
const FAILOVER: [(&str, f64); 4] =
    [("failover_min_ms", 0.0), ("failover_p50_ms", 0.5), ("failover_p99_ms", 0.99), ("failover_max_ms", 1.0)];
/// Shown without a goal, too.
const SHOWN: [&str; 10] = [
    "messages_per_second",
    "all_cpu_us_per_message",
    "cpu_us_per_message",
    "servers_cpu_us_per_message",
    "standbys_cpu_us_per_message",
    "load_cpu_us_per_message",
    "servers_cpu_share",
    "failover_min_ms",
    "failover_p50_ms",
    "failover_max_ms",
];
