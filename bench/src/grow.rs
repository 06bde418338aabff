//! Growth: a figure at three sizes, and its ratio to the figure at the smallest.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::goal_table::{GoalTable, Growth};
use crate::report::digits;
use crate::rounds::{Column, Entrant, Environment, RoundArgs, Runner, parse_scenario};
use crate::statistics::{self, Spread};
use crate::table::on_one_line;
use crate::verdict::Verdict;

/// Which growth to measure.
#[derive(Debug, Args)]
pub(crate) struct GrowArgs {
    /// The name of a growth, or its beginning; by default all
    #[arg(long)]
    growth: Vec<String>,
    /// The table of goals
    #[arg(long, default_value = "bench/goals.toml")]
    goals: PathBuf,
    /// Leave the peers out
    #[arg(long)]
    alone: bool,
    /// Run this broker, by its name or as NAME=COMMAND, instead of the one that the table names
    #[arg(long)]
    broker: Option<String>,
    #[command(flatten)]
    rounds: RoundArgs,
    /// Write every run and the results to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The growth of one broker's figure.
#[derive(Debug, Serialize)]
struct Curve {
    broker: String,
    /// The figure at each size.
    values: [Option<Spread>; 3],
    /// Its ratio to the figure at the first size, in the same round.
    ratios: [Option<Spread>; 3],
    /// Failures and broken guarantees.
    complaints: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    growth: Growth,
    /// The project's broker first, then its peers.
    curves: Vec<Curve>,
    kept: bool,
}

#[derive(Debug, Serialize)]
struct Outcomes {
    circumstances: Environment,
    growth: Vec<Outcome>,
}

/// Runs each growth, and reports which limits are kept.
pub(crate) fn run(args: &GrowArgs) -> Result<Verdict> {
    let wanted =
        |growth: &Growth| args.growth.is_empty() || args.growth.iter().any(|name| growth.name.starts_with(name));
    let growths: Vec<_> = GoalTable::read(&args.goals)?.growth.into_iter().filter(wanted).collect();
    if growths.is_empty() {
        bail!("no such growth in {}", args.goals.display());
    }
    let runner = Runner::new(&args.rounds)?;
    let mut outcomes =
        Outcomes { circumstances: runner.circumstances(args.rounds.cores, Vec::new()), growth: Vec::new() };
    let mut output = io::stdout().lock();
    writeln!(output, "| growth | of | broker | small | larger | largest | limit | |")?;
    writeln!(output, "| --- | --- | --- | ---: | ---: | ---: | ---: | --- |")?;
    for mut growth in growths {
        if args.alone {
            growth.peers.clear();
        }
        if let Some(broker) = &args.broker {
            growth.broker.clone_from(broker);
        }
        let outcome = growth.measure(&runner, args.rounds.cores)?;
        write!(output, "{}", outcome.rows())?;
        output.flush()?;
        outcomes.growth.push(outcome);
        if let Some(file) = &args.json {
            fs::write(file, serde_json::to_string_pretty(&outcomes)?)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    let missed = outcomes.growth.iter().any(|outcome| !outcome.kept);
    Ok(if missed { Verdict::Broken } else { Verdict::Kept })
}

impl Growth {
    /// Runs all brokers at all sizes, interleaved.
    fn measure(self, runner: &Runner, cores: usize) -> Result<Outcome> {
        let mut entrants = Vec::new();
        for broker in [&self.broker].into_iter().chain(&self.peers) {
            let spec = runner.peers.broker(broker)?;
            for size in self.sizes {
                let scenario = parse_scenario(&at_size(&self.scenario, size)?)?;
                entrants.push(Entrant { spec: spec.clone(), scenario, cores });
            }
        }
        let columns = runner.run(&self.name, &entrants)?;
        let curves: Vec<_> =
            columns.chunks(self.sizes.len()).map(|columns| Curve::new(columns, &self.figure)).collect();
        Ok(self.judge(curves))
    }

    /// Whether the curve of the project's broker, which is the first, keeps the limits.
    fn judge(self, curves: Vec<Curve>) -> Outcome {
        let within = |spread: &Option<Spread>, limit: f64| spread.is_some_and(|spread| spread.median <= limit);
        let kept = curves.first().is_some_and(|curve| {
            curve.complaints.is_empty()
                && curve.ratios.iter().skip(1).all(|ratio| within(ratio, self.at_most))
                && self.figure_at_most.is_none_or(|limit| curve.values.iter().all(|value| within(value, limit)))
        });
        Outcome { growth: self, curves, kept }
    }

    fn limit(&self) -> String {
        let ratio = format!("≤ {:.2}×", self.at_most);
        self.figure_at_most.map_or_else(|| ratio.clone(), |limit| format!("{ratio}, ≤ {}", digits(limit)))
    }
}

impl Curve {
    /// The curve of the columns of one broker, by size.
    fn new(columns: &[Column], figure: &str) -> Self {
        let values = |size: usize| columns.get(size).map(|column| column.values(figure)).unwrap_or_default();
        let first = values(0);
        let sizes = [0, 1, 2];
        Self {
            broker: columns.first().map(|column| column.broker.clone()).unwrap_or_default(),
            values: sizes.map(|size| Spread::of(values(size).into_iter().flatten())),
            ratios: sizes.map(|size| statistics::ratio(&values(size), &first)),
            complaints: columns.iter().flat_map(Column::complaints).cloned().collect(),
        }
    }

    /// The figure and its ratio, at each size.
    fn cells(&self, sizes: [u64; 3]) -> [String; 3] {
        let mut cells = sizes.map(|size| format!("{size}: –"));
        for (((cell, size), value), ratio) in cells.iter_mut().zip(sizes).zip(&self.values).zip(&self.ratios) {
            if let Some(value) = value {
                *cell = format!("{size}: {}", digits(value.median));
                if let Some(ratio) = ratio.filter(|_| size != sizes[0]) {
                    *cell += &format!(" ({:.2}×)", ratio.median);
                }
            }
        }
        cells
    }
}

impl Outcome {
    fn rows(&self) -> String {
        let Growth { name, of, figure, sizes, .. } = &self.growth;
        let verdict = if self.kept { "kept" } else { "missed" };
        let mut rows = String::new();
        for (number, curve) in self.curves.iter().enumerate() {
            let cells = curve.cells(*sizes).join(" | ");
            rows += &match number {
                0 => format!(
                    "| {name} | {of}, {figure} | {} | {cells} | {} | {verdict} |\n",
                    curve.broker,
                    self.growth.limit()
                ),
                _ => format!("| | | {} | {cells} | | |\n", curve.broker),
            };
            if let Some(complaint) = curve.complaints.first() {
                rows += &format!("| | {}: {} | | | | | | |\n", curve.broker, on_one_line(complaint));
            }
        }
        rows
    }
}

/// The scenario at a size: `{n}` is replaced by it, and `{NUMBER/n}` by the number divided by it, rounded up.
fn at_size(scenario: &str, size: u64) -> Result<String> {
    let mut text = String::new();
    let mut rest = scenario;
    while let Some((before, after)) = rest.split_once('{') {
        let (place, after) = after.split_once('}').with_context(|| format!("'{scenario}': '{{' without '}}'"))?;
        let value = match place.split_once('/') {
            None if place == "n" => size,
            Some((number, "n")) => {
                let number: u64 = number.parse().with_context(|| format!("'{scenario}': '{{{place}}}'"))?;
                number.div_ceil(size.max(1))
            }
            None | Some(_) => bail!("'{scenario}': '{{{place}}}' is neither {{n}} nor {{NUMBER/n}}"),
        };
        text += before;
        text += &value.to_string();
        rest = after;
    }
    text += rest;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::peers::Peers;

    fn growth(text: &str) -> Growth {
        let head = "[[growth]]\nname = 'g'\nof = 'receivers'\nfigure = 'f'\nbroker = 'ours'\nscenario = 'fan-out'\n";
        let table: GoalTable = toml::from_str(&format!("{head}sizes = [1, 10, 100]\n{text}")).unwrap();
        table.growth.into_iter().next().unwrap()
    }

    fn curve(values: [f64; 3]) -> Curve {
        Curve::new(&values.map(|value| Column::with_values("ours", "f", &[value, value * 2.0])), "f")
    }

    #[test]
    fn the_size_takes_its_places_in_the_scenario() {
        assert_eq!(
            at_size("fan-out --subscribers {n} --count {1000/n}", 300).unwrap(),
            "fan-out --subscribers 300 --count 4"
        );
        assert_eq!(at_size("pairs", 3).unwrap(), "pairs");
        for wrong in ["pairs {n", "pairs {m}", "pairs {x/n}", "pairs {10/m}"] {
            assert!(at_size(wrong, 1).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_ratio_must_keep_the_limit() {
        let kept = |text: &str, values| growth(text).judge(vec![curve(values)]).kept;
        assert!(kept("at_most = 1.3", [2.0, 2.2, 2.5]));
        assert!(!kept("at_most = 1.3", [2.0, 2.8, 2.5]));
        assert!(!kept("at_most = 1.3", [2.0, 2.2, 2.8]));
        assert!(!kept("at_most = 1.3\nfigure_at_most = 3.5", [2.0, 2.2, 2.5]));
        // The median of two rounds is 3, 3.3 and 3.75.
        assert!(kept("at_most = 1.3\nfigure_at_most = 3.8", [2.0, 2.2, 2.5]));
    }

    #[test]
    fn a_missing_figure_or_a_broken_guarantee_keeps_no_limit() {
        let mut broken = curve([1.0; 3]);
        broken.complaints.push("3 lost".to_owned());
        assert!(!growth("at_most = 1.3").judge(vec![broken]).kept);
        let missing = Curve::new(&[Column::with_values("ours", "f", &[1.0])], "f");
        let outcome = growth("at_most = 1.3").judge(vec![missing]);
        assert!(!outcome.kept);
        assert!(outcome.rows().contains("| 1: 1.00 | 10: – | 100: – | ≤ 1.30× | missed |"), "{}", outcome.rows());
    }

    #[test]
    fn the_growth_of_the_repository_can_be_run() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let peers = Peers::read(&directory.join("peers.toml")).unwrap();
        let growths = GoalTable::read(&directory.join("goals.toml")).unwrap().growth;
        assert!(!growths.is_empty());
        for growth in growths {
            for size in growth.sizes {
                let scenario = at_size(&growth.scenario, size).unwrap();
                assert!(parse_scenario(&scenario).is_ok(), "{}: {scenario}", growth.name);
            }
            for broker in [&growth.broker].into_iter().chain(&growth.peers) {
                assert!(peers.broker(broker).is_ok(), "{}: {broker}", growth.name);
            }
        }
    }
}
