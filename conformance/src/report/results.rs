//! The results of the cases.

use std::time::Duration;

use crate::case::Case;
use crate::failure::{Failure, Outcome};
use crate::rows;
use crate::wire::Version;

/// The result of a case in one version.
#[derive(Debug)]
pub struct CaseResult {
    /// The case.
    pub case: &'static Case,
    /// The version.
    pub version: Version,
    /// Pass, failure or skip.
    pub outcome: Outcome,
    /// Whether the broker was killed with SIGKILL before the case ended.
    pub killed: bool,
    /// Its duration.
    pub time: Duration,
    /// The bytes on the wire.
    pub trace: Vec<String>,
}

impl CaseResult {
    /// `pass`, `fail`, `skip`, or `beyond`: state was lost in a crash, which the standards allow.
    pub fn word(&self) -> &'static str {
        match &self.outcome {
            Ok(()) => "pass",
            Err(Failure::Broken { .. }) if self.killed => "beyond",
            Err(Failure::Broken { .. }) => "fail",
            Err(Failure::Skipped(_)) => "skip",
        }
    }

    /// The violated statements: those of the case, unless the failure names one.
    pub fn broken(&self) -> Vec<&str> {
        match &self.outcome {
            Err(Failure::Broken { statement: Some(statement), .. }) => vec![statement],
            Err(Failure::Broken { statement: None, .. }) => self.case.statements(self.version).to_vec(),
            Err(Failure::Skipped(_)) | Ok(()) => Vec::new(),
        }
    }

    /// A remark on a failure, if the statement isn't a MUST.
    pub fn weight(&self) -> &'static str {
        let broken = self.broken();
        let should = |id: &&str| rows::find(self.version, id).is_some_and(rows::Row::is_should);
        if self.word() == "beyond" {
            ", beyond the standard: through kill -9"
        } else if !broken.is_empty() && broken.iter().all(should) {
            ", a SHOULD"
        } else {
            ""
        }
    }

    /// The failure, or the reason for the skip, as lines.
    pub fn explanation(&self) -> Vec<String> {
        match &self.outcome {
            Ok(()) => Vec::new(),
            Err(Failure::Skipped(reason)) => vec![reason.clone()],
            Err(Failure::Broken { expected, came, .. }) => {
                vec![format!("expected: {expected}"), format!("came:     {came}")]
            }
        }
    }
}

/// All results of a run, in the order of the statements.
#[derive(Debug)]
pub struct Report {
    /// The results.
    pub results: Vec<CaseResult>,
    /// The duration of the whole run.
    pub time: Duration,
}

/// The number of results of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// The broker complied.
    pub passed: usize,
    /// The broker didn't comply.
    pub failed: usize,
    /// The case didn't apply.
    pub skipped: usize,
    /// State was lost in a crash, which the standards permit.
    pub beyond: usize,
}

impl Report {
    /// Sorts the results.
    pub(crate) fn new(mut results: Vec<CaseResult>, time: Duration) -> Self {
        results.sort_by_key(order);
        Self { results, time }
    }

    /// Counts the results of each kind, in one version or in both.
    pub fn counts(&self, version: Option<Version>) -> Counts {
        let mut counts = Counts::default();
        for result in self.results.iter().filter(|result| version.is_none_or(|version| result.version == version)) {
            match &result.outcome {
                Ok(()) => counts.passed += 1,
                Err(Failure::Broken { .. }) if result.killed => counts.beyond += 1,
                Err(Failure::Broken { .. }) => counts.failed += 1,
                Err(Failure::Skipped(_)) => counts.skipped += 1,
            }
        }
        counts
    }

    /// The versions that were run.
    pub(super) fn versions(&self) -> impl Iterator<Item = Version> {
        Version::ALL.into_iter().filter(|version| self.results.iter().any(|result| result.version == *version))
    }
}

/// The sort key of a result in a report: by its first statement, then by its name.
fn order(result: &CaseResult) -> (Version, usize, &'static str) {
    let statements = result.case.statements(result.version);
    let first = statements.iter().filter_map(|id| rows::place(result.version, id)).min();
    (result.version, first.unwrap_or(usize::MAX), result.case.name)
}
