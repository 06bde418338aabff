//! Goals: limits of figures and of their ratios, and whether they are met.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::goal_table::{Goal, GoalTable, Reference};
use crate::report::digits;
use crate::rounds::{Column, Entrant, Environment, RoundArgs, Runner, parse_scenario};
use crate::statistics::{self, Spread};
use crate::table::{on_one_line, proportion};
use crate::verdict::Verdict;

/// Which goals to check.
#[derive(Debug, Args)]
pub(crate) struct GoalsArgs {
    /// The name of a goal, or its beginning; by default all goals
    #[arg(long)]
    goal: Vec<String>,
    /// The table of goals
    #[arg(long, default_value = "bench/goals.toml")]
    goals: PathBuf,
    #[command(flatten)]
    rounds: RoundArgs,
    /// Write every run and the results to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the results alone to this file, with the versions of the brokers; docs/figures/ has one for each version of ours
    #[arg(long)]
    figures: Option<PathBuf>,
}

/// The result of a goal.
#[derive(Debug, Serialize)]
struct Outcome {
    goal: Goal,
    /// The figure.
    value: Option<Spread>,
    /// The ratio to the reference.
    ratio: Option<Spread>,
    /// The broker with the best figure.
    best: Option<String>,
    kept: Option<bool>,
    columns: Vec<Column>,
}

/// What [`GoalsArgs::figures`] contains.
#[derive(Debug, Serialize)]
struct Figures<'a> {
    processor: &'a str,
    kernel: &'a str,
    cores: usize,
    rounds: usize,
    disk_sync_us: f64,
    versions: BTreeMap<&'a str, Option<&'a str>>,
    goals: BTreeMap<&'a str, Figure<'a>>,
}

/// The result of a goal: lower quartile, median and upper quartile of the rounds.
#[derive(Debug, Serialize)]
struct Figure<'a> {
    figure: &'a str,
    value: Option<[f64; 3]>,
    ratio: Option<[f64; 3]>,
    best_peer: Option<&'a str>,
    limit: String,
    kept: Option<bool>,
}

/// With three significant digits, which is more than the figures repeat.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

#[derive(Debug, Serialize)]
struct Outcomes {
    circumstances: Environment,
    goals: Vec<Outcome>,
}

/// Runs what each goal needs, and reports which goals are met.
pub(crate) fn run(args: &GoalsArgs) -> Result<Verdict> {
    let wanted = |goal: &Goal| args.goal.is_empty() || args.goal.iter().any(|name| goal.name.starts_with(name));
    let goals: Vec<_> = GoalTable::read(&args.goals)?.goal.into_iter().filter(wanted).collect();
    if goals.is_empty() {
        bail!("no such goal in {}", args.goals.display());
    }
    let runner = Runner::new(&args.rounds)?;
    let mut brokers = BTreeMap::new();
    for goal in &goals {
        let entrants = goal.entrants(&runner, args.rounds.cores)?;
        brokers.extend(entrants.into_iter().map(|entrant| (entrant.spec.name.clone(), entrant.spec)));
    }
    let circumstances = runner.circumstances(args.rounds.cores, brokers.into_values().collect());
    let mut outcomes = Outcomes { circumstances, goals: Vec::new() };
    let mut output = io::stdout().lock();
    writeln!(output, "| goal | figure | ratio | limit | |\n| --- | ---: | ---: | ---: | --- |")?;
    for goal in goals {
        let outcome = goal.measure(&runner, args.rounds.cores)?;
        write!(output, "{}", outcome.rows())?;
        output.flush()?;
        outcomes.goals.push(outcome);
        // Written after each goal, so that an interrupted run keeps its results.
        if let Some(file) = &args.json {
            write_json(file, &outcomes)?;
        }
        if let Some(file) = &args.figures {
            write_json(file, &outcomes.figures())?;
        }
    }
    let missed = outcomes.goals.iter().any(|outcome| outcome.kept != Some(true));
    Ok(if missed { Verdict::Broken } else { Verdict::Kept })
}

fn write_json(file: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

impl Outcomes {
    fn figures(&self) -> Figures<'_> {
        let Environment { processor, kernel, cores, rounds, disk_sync_us, brokers } = &self.circumstances;
        let (cores, rounds, disk_sync_us) = (*cores, *rounds, rounded(*disk_sync_us));
        let versions = brokers.iter().map(|broker| (&*broker.name, broker.version.as_deref())).collect();
        let goals = self.goals.iter().map(|outcome| (&*outcome.goal.name, outcome.figure())).collect();
        Figures { processor, kernel, cores, rounds, disk_sync_us, versions, goals }
    }
}

impl Goal {
    /// Runs the goal and its reference, interleaved. `cores` is the default for goals without a number of cores.
    fn measure(self, runner: &Runner, cores: usize) -> Result<Outcome> {
        let entrants = self.entrants(runner, cores)?;
        let columns = runner.run(&self.name, &entrants)?;
        Ok(self.judge(columns, runner.disk_sync_us))
    }

    fn entrants(&self, runner: &Runner, cores: usize) -> Result<Vec<Entrant>> {
        let entrant = |broker: &str, scenario: &str, own: Option<usize>| -> Result<Entrant> {
            let spec = runner.peers.broker(broker)?;
            Ok(Entrant { spec, scenario: parse_scenario(scenario)?, cores: own.unwrap_or(cores) })
        };
        let mut entrants = vec![entrant(&self.broker, &self.scenario, self.cores)?];
        match &self.to {
            None | Some(Reference::DiskSync) => {}
            // Another figure of the same run.
            Some(Reference::Run { broker: None, scenario: None, cores: None, .. }) => {}
            Some(Reference::Run { broker, scenario, cores, .. }) => {
                let broker = broker.as_ref().unwrap_or(&self.broker);
                entrants.push(entrant(broker, scenario.as_ref().unwrap_or(&self.scenario), *cores)?);
            }
            Some(Reference::BestOf(brokers)) => {
                for broker in brokers {
                    entrants.push(entrant(broker, &self.scenario, self.cores)?);
                }
            }
        }
        Ok(entrants)
    }

    fn judge(self, columns: Vec<Column>, disk_sync_us: f64) -> Outcome {
        let own = columns.first().map(|column| column.values(&self.figure)).unwrap_or_default();
        let others = columns.get(1..).unwrap_or_default();
        let mut best = None;
        let to = match &self.to {
            None => None,
            Some(Reference::DiskSync) => Some(vec![Some(disk_sync_us); own.len()]),
            Some(Reference::Run { figure, .. }) => {
                let figure = figure.as_ref().unwrap_or(&self.figure);
                others.first().or(columns.first()).map(|column| column.values(figure))
            }
            Some(Reference::BestOf(_)) => {
                // A broker that loses messages is not a reference.
                let sound = others.iter().filter(|column| !column.is_broken());
                let medians = sound.filter_map(|column| Some((column, column.figures.get(&self.figure)?.median)));
                let column = medians.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(column, _)| column);
                best = column.map(|column| column.broker.clone());
                Some(column.map(|column| column.values(&self.figure)).unwrap_or_default())
            }
        };
        let value = Spread::of(own.iter().copied().flatten());
        let ratio = to.as_ref().and_then(|to| statistics::ratio(&own, to));
        let judged = if self.to.is_some() { ratio } else { value };
        let sound = columns.first().is_some_and(|column| !column.is_broken());
        let kept = judged.map(|judged| sound && self.allows(judged.median));
        Outcome { value, ratio, best, kept, columns, goal: self }
    }

    fn allows(&self, value: f64) -> bool {
        self.at_most.is_none_or(|limit| value <= limit) && self.at_least.is_none_or(|limit| value >= limit)
    }

    fn limit(&self) -> String {
        match (self.at_most, self.at_least) {
            (Some(limit), _) => format!("≤ {}", digits(limit)),
            (None, Some(limit)) => format!("≥ {}", digits(limit)),
            (None, None) => String::new(),
        }
    }
}

impl Outcome {
    fn figure(&self) -> Figure<'_> {
        Figure {
            figure: &self.goal.figure,
            value: self.value.map(|value| [value.low, value.median, value.high].map(rounded)),
            ratio: self.ratio.map(|ratio| [ratio.low, ratio.median, ratio.high].map(rounded)),
            best_peer: self.best.as_deref(),
            limit: self.goal.limit(),
            kept: self.kept,
        }
    }

    fn rows(&self) -> String {
        let value = self.value.map_or_else(|| "–".to_owned(), |value| digits(value.median));
        let ratio = self.ratio.as_ref().map_or_else(|| "–".to_owned(), proportion);
        let ratio = self.best.as_ref().map_or_else(|| ratio.clone(), |best| format!("{ratio} of {best}"));
        let verdict = match self.kept {
            Some(true) => "kept",
            Some(false) => "missed",
            None => "no reference",
        };
        let Goal { name, figure, .. } = &self.goal;
        let mut rows = format!("| {name} | {value} {figure} | {ratio} | {} | {verdict} |\n", self.goal.limit());
        for column in &self.columns {
            if let Some(complaint) = column.complaints().next() {
                rows += &format!("| | {}: {} | | | |\n", column.broker, on_one_line(complaint));
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Peers;

    fn goal(text: &str) -> Goal {
        let head = "[[goal]]\nname = 'g'\nfigure = 'f'\nbroker = 'ours'\nscenario = 'pairs'\n";
        let table: GoalTable = toml::from_str(&format!("{head}{text}")).unwrap();
        table.goal.into_iter().next().unwrap()
    }

    fn column(broker: &str, values: &[f64]) -> Column {
        Column::with_values(broker, "f", values)
    }

    #[test]
    fn the_reference_is_the_best_broker_that_loses_no_messages() {
        let columns = |lossy: bool| {
            let mut fastest = column("fastest", &[1.0]);
            if lossy {
                fastest.failures.push("it ended".to_owned());
            }
            vec![column("ours", &[2.0]), fastest, column("second", &[4.0])]
        };
        let goal = goal("to = { best_of = ['fastest', 'second'] }\nat_most = 0.7");
        let outcome = goal.clone().judge(columns(false), 0.0);
        assert_eq!((outcome.best.as_deref(), outcome.kept), (Some("fastest"), Some(false)));
        let outcome = goal.judge(columns(true), 0.0);
        assert_eq!((outcome.best.as_deref(), outcome.kept), (Some("second"), Some(true)));
    }

    #[test]
    fn the_file_of_figures_has_three_digits_and_no_runs() {
        let outcome = goal("at_most = 3.0").judge(vec![column("ours", &[2.0, 1.234_567])], 0.0);
        let text = serde_json::to_string(&outcome.figure()).unwrap();
        let ends = "\"ratio\":null,\"best_peer\":null,\"limit\":\"≤ 3.00\",\"kept\":true}";
        assert_eq!(text, format!("{{\"figure\":\"f\",\"value\":[1.43,1.62,1.81],{ends}"));
    }

    #[test]
    fn a_goal_without_a_reference_limits_the_figure() {
        assert_eq!(goal("at_most = 3.0").judge(vec![column("ours", &[2.0])], 0.0).kept, Some(true));
        assert_eq!(goal("at_least = 3.0").judge(vec![column("ours", &[2.0])], 0.0).kept, Some(false));
        assert_eq!(goal("at_least = 3.0").judge(vec![column("ours", &[])], 0.0).kept, None);
    }

    #[test]
    fn the_disk_and_another_run_can_be_references() {
        let outcome = goal("to = 'disk_sync'\nat_most = 2.0").judge(vec![column("ours", &[900.0])], 500.0);
        assert_eq!(outcome.ratio.map(|ratio| ratio.median), Some(1.8));
        let columns = vec![column("ours", &[3.0, 6.0]), column("ours", &[2.0, 4.0])];
        let outcome = goal("to = { run = { scenario = 'fan-in' } }\nat_most = 1.4").judge(columns, 0.0);
        assert_eq!((outcome.ratio.map(|ratio| ratio.median), outcome.kept), (Some(1.5), Some(false)));
    }

    #[test]
    fn the_goals_of_the_repository_can_be_run() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let peers = Peers::read(&directory.join("peers.toml")).unwrap();
        for goal in GoalTable::read(&directory.join("goals.toml")).unwrap().goal {
            let mut brokers = vec![goal.broker.clone()];
            let mut scenarios = vec![goal.scenario.clone()];
            match goal.to {
                Some(Reference::BestOf(others)) => brokers.extend(others),
                Some(Reference::Run { broker, scenario, .. }) => {
                    brokers.extend(broker);
                    scenarios.extend(scenario);
                }
                Some(Reference::DiskSync) | None => {}
            }
            for broker in brokers {
                assert!(peers.broker(&broker).is_ok(), "{}: {broker}", goal.name);
            }
            for scenario in scenarios {
                assert!(parse_scenario(&scenario).is_ok(), "{}: {scenario}", goal.name);
            }
        }
    }
}
