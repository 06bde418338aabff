//! The result file: the JSON form of a run, which others can publish and compare.
//!
//! README.md documents each field, and `schema/result-1.json` is its JSON Schema.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use super::results::{CaseResult, Counts, Report};
use super::verdict::Verdict;
use crate::failure::Failure;
use crate::wire::Version;

/// The value of `format` in every result file.
pub const FORMAT: &str = "mqtt-conformance-result";
/// The version of the format. It rises when a field is removed, renamed or gets another meaning; new fields don't raise
/// it, so readers must ignore fields that they don't know.
pub const FORMAT_VERSION: u32 = 1;

/// A result file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultFile {
    /// [`FORMAT`].
    pub format: String,
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The suite that wrote the file.
    pub suite: Suite,
    /// The broker under test, as its tester describes it.
    pub broker: BrokerUnderTest,
    /// When the run began, in seconds since the Unix epoch.
    pub started: u64,
    /// The duration of the run.
    pub seconds: f64,
    /// The number of results of each kind, by version (`3.1.1`, `5.0`). It has the versions that were run.
    pub versions: BTreeMap<String, Counts>,
    /// The result of every case, in the order of the statements.
    pub cases: Vec<CaseEntry>,
}

/// The suite that wrote a result file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suite {
    /// The name of the package.
    pub name: String,
    /// The version of the package.
    pub version: String,
}

/// What a result file says about the broker. All fields but `command` are the tester's own words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BrokerUnderTest {
    /// Its name, empty if none was given.
    pub name: String,
    /// Its version, empty if none was given.
    pub version: String,
    /// Settings that matter for the results, empty if none were given.
    pub settings: String,
    /// The command that started it, or null if the suite connected to a running broker.
    pub command: Option<String>,
}

/// The result of a case in one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseEntry {
    /// The name of the case. It doesn't change as long as the case requires the same.
    pub case: String,
    /// The version: `3.1.1` or `5.0`.
    pub version: String,
    /// The statements that the case tests in this version.
    pub statements: Vec<String>,
    /// The result.
    pub result: Verdict,
    /// The violated statements, if the result is `fail` or `beyond`.
    pub broken: Vec<String>,
    /// Whether all violated statements are recommendations (SHOULD).
    pub should: bool,
    /// What the standard requires, if the result is `fail` or `beyond`.
    pub expected: Option<String>,
    /// What the broker did instead, if the result is `fail` or `beyond`.
    pub came: Option<String>,
    /// Why the case doesn't apply, if the result is `skip`.
    pub reason: Option<String>,
    /// The duration of the case.
    pub seconds: f64,
    /// The packets of all connections with their bytes, if the result is not `pass`.
    pub trace: Vec<String>,
}

impl ResultFile {
    /// The file of a run.
    pub fn new(report: &Report, broker: BrokerUnderTest) -> Self {
        let counts = |version: Version| (version.name().to_owned(), report.counts(Some(version)));
        Self {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            suite: Suite { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
            broker,
            started: report.started,
            seconds: report.time.as_secs_f64(),
            versions: report.versions().map(counts).collect(),
            cases: report.results.iter().map(CaseEntry::new).collect(),
        }
    }

    /// Reads a file. Another format, or a newer version of it, is an error.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{}", file.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        /// The fields that every version has.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            format_version: u32,
        }
        let head: Head = serde_json::from_str(text).context("this is no result file")?;
        ensure!(head.format == FORMAT, "the format is {}, not {FORMAT}", head.format);
        ensure!(
            head.format_version == FORMAT_VERSION,
            "the format has version {}; this suite reads version {FORMAT_VERSION}",
            head.format_version
        );
        Ok(serde_json::from_str(text)?)
    }

    pub(super) fn render(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

impl CaseEntry {
    fn new(result: &CaseResult) -> Self {
        let (mut expected, mut came, mut reason) = (None, None, None);
        match &result.outcome {
            Ok(()) => {}
            Err(Failure::Skipped(text)) => reason = Some(text.clone()),
            Err(Failure::Broken { expected: required, came: happened, .. }) => {
                expected = Some(required.clone());
                came = Some(happened.clone());
            }
        }
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        Self {
            case: result.case.name.to_owned(),
            version: result.version.name().to_owned(),
            statements: owned(result.case.statements(result.version)),
            result: result.verdict(),
            broken: owned(&result.broken()),
            should: result.breaks_only_recommendations(),
            expected,
            came,
            reason,
            seconds: result.time.as_secs_f64(),
            trace: if result.outcome.is_err() { result.trace.clone() } else { Vec::new() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_formats_and_versions_are_refused() {
        let refused = |text: &str| format!("{:#}", ResultFile::parse(text).unwrap_err());
        assert!(refused("{}").contains("no result file"));
        assert!(refused(r#"{"format": "other", "format_version": 1}"#).contains("the format is other"));
        assert!(refused(r#"{"format": "mqtt-conformance-result", "format_version": 2}"#).contains("has version 2"));
    }
}
