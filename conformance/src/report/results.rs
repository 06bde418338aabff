//! The results of the cases.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::verdict::Verdict;
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
    /// The kind of result.
    pub fn verdict(&self) -> Verdict {
        match &self.outcome {
            Ok(()) => Verdict::Pass,
            Err(Failure::Broken { .. }) if self.killed => Verdict::Beyond,
            Err(Failure::Broken { .. }) => Verdict::Fail,
            Err(Failure::Skipped(_)) => Verdict::Skip,
        }
    }

    /// The kind of result as in reports: `pass`, `fail`, `skip`, or `beyond`.
    pub fn word(&self) -> &'static str {
        match self.verdict() {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Skip => "skip",
            Verdict::Beyond => "beyond",
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
        if self.verdict() == Verdict::Beyond {
            ", beyond the standard: through kill -9"
        } else if self.breaks_only_recommendations() {
            ", a SHOULD"
        } else {
            ""
        }
    }

    /// Whether statements are violated, and all of them are recommendations (SHOULD).
    pub fn breaks_only_recommendations(&self) -> bool {
        let broken = self.broken();
        let should = |id: &&str| rows::find(self.version, id).is_some_and(rows::Row::is_should);
        !broken.is_empty() && broken.iter().all(should)
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
    /// When the run began, in seconds since the Unix epoch.
    pub started: u64,
    /// The duration of the whole run.
    pub time: Duration,
}

/// The number of results of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    pub(crate) fn new(mut results: Vec<CaseResult>, started: u64, time: Duration) -> Self {
        results.sort_by_key(order);
        Self { results, started, time }
    }

    /// Counts the results of each kind, in one version or in both.
    pub fn counts(&self, version: Option<Version>) -> Counts {
        let mut counts = Counts::default();
        for result in self.results.iter().filter(|result| version.is_none_or(|version| result.version == version)) {
            match result.verdict() {
                Verdict::Pass => counts.passed += 1,
                Verdict::Beyond => counts.beyond += 1,
                Verdict::Fail => counts.failed += 1,
                Verdict::Skip => counts.skipped += 1,
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
