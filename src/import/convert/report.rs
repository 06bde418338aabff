//! What became of each line.

use std::collections::HashSet;
use std::fmt;

use crate::import::conf::Place;

/// What became of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is as before.
    Carried,
    /// It works in another way.
    Differs,
    /// It is not there.
    Missing,
    /// It is not there, and keeps out whom this broker would let in. Listeners that it concerns accept nobody.
    Guards,
}

/// What became of a line, and what the operator has to know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How well it is carried over.
    pub outcome: Outcome,
    /// The line.
    pub at: Place,
    /// The option.
    pub option: String,
    /// What became of it. It has no secrets.
    pub text: String,
}

/// What became of all lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, outcome: Outcome, at: &Place, option: &str, text: impl Into<String>) {
        self.findings.push(Finding { outcome, at: at.clone(), option: option.to_owned(), text: text.into() });
    }

    /// Everything, in the order of the lines.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What has this outcome.
    pub fn of(&self, outcome: Outcome) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.outcome == outcome)
    }

    /// The lines of which something is said.
    pub(super) fn places(&self) -> HashSet<Place> {
        self.findings.iter().map(|finding| finding.at.clone()).collect()
    }

    /// Puts everything in order, and removes what was said twice.
    pub(super) fn sort(&mut self, order: impl Fn(&Place) -> usize) {
        self.findings.sort_by_cached_key(|finding| {
            (order(&finding.at), finding.outcome, finding.option.clone(), finding.text.clone())
        });
        self.findings.dedup();
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        write!(formatter, "{}: {}: {text}", self.at, self.option)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = [
            (Outcome::Guards, "Not carried over, and dangerous to ignore: nobody can connect where it counts"),
            (Outcome::Carried, "Carried over"),
            (Outcome::Differs, "Differs"),
            (Outcome::Missing, "Not carried over"),
        ];
        let mut is_first = true;
        for (outcome, title) in groups {
            let mut findings = self.of(outcome).peekable();
            if findings.peek().is_none() {
                continue;
            }
            if !is_first {
                writeln!(formatter)?;
            }
            is_first = false;
            writeln!(formatter, "{title}:")?;
            for finding in findings {
                writeln!(formatter, "  {finding}")?;
            }
        }
        Ok(())
    }
}
