//! Brokers side by side.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser};
use serde::Serialize;

use crate::Verdict;
use crate::broker::BrokerSpec;
use crate::process;
use crate::report::{Report, digits};
use crate::scenario::{self, ScenarioArgs};

/// Which brokers, and what to put them through.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// NAME='COMMAND {port} {data}', run by `sh -c`: `exec` the broker if it isn't the only command
    #[arg(long, required = true)]
    broker: Vec<BrokerSpec>,
    /// A scenario with its arguments, as for `run`; without any, a standard list
    #[arg(long)]
    scenario: Vec<String>,
    /// How often each broker runs each scenario
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The core the brokers run on
    #[arg(long, default_value_t = 0)]
    broker_core: usize,
    /// The core the load generator runs on
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Write every run and the medians to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs every broker through every scenario, the brokers of a round one right after the other.
pub(crate) fn run(args: &CompareArgs) -> Result<Verdict> {
    if args.rounds == 0 {
        bail!("--rounds is at least 1");
    }
    let usual = STANDARD.map(str::to_owned);
    let names = if args.scenario.is_empty() { usual.as_slice() } else { args.scenario.as_slice() };
    let scenarios = names.iter().map(|text| parse(text)).collect::<Result<Vec<_>>>()?;
    for scenario in &scenarios {
        process::ensure_open_files(scenario.connections()?)?;
    }
    process::pin_to_core(args.load_core)?;
    let mut comparison = Comparison { scenarios: Vec::new() };
    let mut output = io::stdout().lock();
    writeln!(output, "{}", heading(&args.broker))?;
    for (name, scenario) in names.iter().zip(&scenarios) {
        let columns = run_scenario(args, name, scenario)?;
        let compared = Compared { scenario: name.clone(), brokers: columns };
        write!(output, "{}", compared.rows())?;
        output.flush()?;
        comparison.scenarios.push(compared);
    }
    if let Some(file) = &args.json {
        fs::write(file, serde_json::to_string_pretty(&comparison)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    let broken = comparison.scenarios.iter().filter_map(|compared| compared.brokers.first()).any(Column::is_broken);
    Ok(if broken { Verdict::Broken } else { Verdict::Kept })
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Comparison {
    scenarios: Vec<Compared>,
}

#[derive(Debug, Serialize)]
struct Compared {
    scenario: String,
    brokers: Vec<Column>,
}

/// One broker in one scenario.
#[derive(Debug, Serialize)]
struct Column {
    broker: String,
    median: Option<Report>,
    runs: Vec<Report>,
    /// Why runs could not be finished.
    failures: Vec<String>,
}

#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct ScenarioLine {
    #[command(flatten)]
    scenario: ScenarioArgs,
}

impl Compared {
    /// A line of the table for each of the scenario's principal figures.
    fn rows(&self) -> String {
        let mut rows = String::new();
        let mut label = self.scenario.as_str();
        for figure in PRINCIPAL {
            let values: Vec<_> = self.brokers.iter().map(|column| column.figure(figure)).collect();
            if values.iter().all(Option::is_none) {
                continue;
            }
            let first = values.first().copied().flatten();
            let cells: Vec<_> = values.iter().map(|value| cell(*value, first)).collect();
            rows += &format!("| {label:<34} | {figure:<24} | {} |\n", cells.join(" | "));
            label = "";
        }
        for column in &self.brokers {
            let complaints = column.failures.iter().chain(column.runs.iter().flat_map(|run| &run.broken));
            for complaint in complaints {
                rows += &format!("| {label:<34} | {} | {} |\n", column.broker, complaint.replace('\n', " "));
                label = "";
            }
        }
        rows
    }
}

impl Column {
    fn is_broken(&self) -> bool {
        !self.failures.is_empty() || self.runs.iter().any(Report::is_broken)
    }

    fn figure(&self, name: &str) -> Option<f64> {
        self.median.as_ref().and_then(|median| median.figure(name))
    }
}

fn parse(text: &str) -> Result<ScenarioArgs> {
    let line = ScenarioLine::try_parse_from(text.split_whitespace());
    line.map(|line| line.scenario).with_context(|| format!("--scenario '{text}'"))
}

fn run_scenario(args: &CompareArgs, name: &str, scenario: &ScenarioArgs) -> Result<Vec<Column>> {
    let empty =
        |spec: &BrokerSpec| Column { broker: spec.name.clone(), median: None, runs: Vec::new(), failures: Vec::new() };
    let mut columns: Vec<_> = args.broker.iter().map(empty).collect();
    for round in 1..=args.rounds {
        for (spec, column) in args.broker.iter().zip(&mut columns) {
            writeln!(io::stderr(), "{name}: round {round} of {}, {}", args.rounds, spec.name)?;
            match run_once(spec, args.broker_core, scenario) {
                Ok(report) => column.runs.push(report),
                Err(error) => column.failures.push(format!("{error:#}")),
            }
        }
    }
    for column in &mut columns {
        column.median = median(&column.runs);
    }
    Ok(columns)
}

fn run_once(spec: &BrokerSpec, core: usize, scenario: &ScenarioArgs) -> Result<Report> {
    let broker = spec.start(core)?;
    scenario::run(scenario, broker.target).with_context(|| format!("the broker's last words: {}", broker.last_words()))
}

/// The median of each figure; of an even number, the mean of the two in the middle.
fn median(runs: &[Report]) -> Option<Report> {
    let mut report = runs.first()?.clone();
    for figure in &mut report.figures {
        let mut values: Vec<_> = runs.iter().filter_map(|run| run.figure(figure.name)).collect();
        values.sort_by(f64::total_cmp);
        let upper = values.get(values.len() / 2).copied()?;
        let lower = values.get((values.len() - 1) / 2).copied()?;
        figure.value = f64::midpoint(lower, upper);
    }
    report.broken = runs.iter().flat_map(|run| run.broken.clone()).collect();
    Some(report)
}

fn heading(brokers: &[BrokerSpec]) -> String {
    let names: Vec<_> = brokers.iter().map(|broker| format!("{:>16}", broker.name)).collect();
    let rule = vec!["---:"; brokers.len()].join(" | ");
    format!("| {:<34} | {:<24} | {} |\n| --- | --- | {rule} |", "scenario", "median of", names.join(" | "))
}

/// A value, and how often it holds the first broker's.
fn cell(value: Option<f64>, first: Option<f64>) -> String {
    let text = match (value, first) {
        (None, _) => "–".to_owned(),
        (Some(value), Some(first)) if first > 0.0 => format!("{} ({:.2}×)", digits(value), value / first),
        (Some(value), _) => digits(value),
    };
    format!("{text:>16}")
}

/// What the table shows; the file has the rest.
const PRINCIPAL: [&str; 10] = [
    "cpu_us_per_message",
    "messages_per_second",
    "load_cpu_us_per_message",
    "latency_p99_us",
    "store_cpu_us_per_message",
    "rss_bytes_per_connection",
    "cpu_us_per_connect",
    "connects_per_second",
    "peak_rss_mib",
    "lost",
];

/// What a broker meets: steady pairs, one at a time, fans, groups, wildcards, what is kept, and too much.
const STANDARD: [&str; 20] = [
    "pairs",
    "pairs --window 1",
    "pairs --qos 1",
    "pairs --qos 2",
    "fan-out",
    "fan-out --window 1",
    "fan-out --qos 1",
    "fan-out --qos 2",
    "fan-in",
    "fan-in --qos 1",
    "shared",
    "shared --qos 1",
    "wildcards",
    "wildcards --count 30000",
    "retained --count 50000",
    "offline --qos 1",
    "offline --qos 2",
    "large",
    "flood",
    "idle",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Tally;
    use crate::report::Promise;

    fn run_with(value: f64) -> Report {
        let mut report = Report::new(Promise::NoLoss, Tally::default());
        report.add("cpu_us_per_message", value);
        report
    }

    fn column(broker: &str, values: &[f64]) -> Column {
        let runs: Vec<_> = values.iter().copied().map(run_with).collect();
        Column { broker: broker.to_owned(), median: median(&runs), runs, failures: Vec::new() }
    }

    #[test]
    fn the_median_ignores_the_outlier() {
        assert_eq!(column("a", &[9.0, 1.0, 2.0]).figure("cpu_us_per_message"), Some(2.0));
        assert_eq!(column("a", &[3.0, 1.0]).figure("cpu_us_per_message"), Some(2.0));
        assert_eq!(column("a", &[]).figure("cpu_us_per_message"), None);
    }

    #[test]
    fn ratios_are_to_the_first_broker() {
        let compared =
            Compared { scenario: "pairs".to_owned(), brokers: vec![column("a", &[2.0]), column("b", &[5.0])] };
        let rows = compared.rows();
        assert!(rows.contains("2.00 (1.00×)") && rows.contains("5.00 (2.50×)"), "{rows}");
    }

    #[test]
    fn the_standard_scenarios_can_be_run() {
        for text in STANDARD {
            assert!(parse(text).and_then(|scenario| scenario.connections()).is_ok(), "{text}");
        }
        assert!(parse("pairs --qos 3").is_err());
        assert!(parse("storm").is_err());
    }
}
