//! What is said about the rows without a case, and whether rows and cases fit together.

use std::collections::{BTreeMap, BTreeSet};

use crate::case::Case;
use crate::csv;
pub use crate::rows::{Row, find, rows};
use crate::wire::Version;

/// The reason why a statement has no case.
#[derive(Debug)]
pub struct NotTested {
    /// The version.
    pub version: Version,
    /// The row.
    pub id: String,
    /// The kind of reason.
    pub kind: Untestable,
    /// An explanation.
    pub reason: String,
}

/// Kinds of statements without a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untestable {
    /// It binds the client only.
    Client,
    /// Compliance can't be observed from outside the broker, or the broker has a choice.
    Unobservable,
}

impl Untestable {
    /// The name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Unobservable => "unobservable",
        }
    }
}

/// The statements without a case. A line of the file that can't be parsed is an error.
pub fn not_tested() -> Result<Vec<NotTested>, String> {
    let read = |record: &csv::Record| {
        let id = record.get("id").to_owned();
        let version = Version::ALL.into_iter().find(|version| version.name() == record.get("version"));
        let kinds = [Untestable::Client, Untestable::Unobservable];
        let kind = kinds.into_iter().find(|kind| kind.name() == record.get("kind"));
        let (Some(version), Some(kind), false) = (version, kind, record.get("reason").is_empty()) else {
            return Err(format!("not-tested.csv: {record:?} has no version, kind or reason"));
        };
        Ok(NotTested { version, id, kind, reason: record.get("reason").to_owned() })
    };
    csv::read(include_str!("../statements/not-tested.csv")).iter().map(read).collect()
}

/// All inconsistencies: statements without case and reason, cases without a statement, and contradictions.
pub fn check(cases: &[&Case]) -> Vec<String> {
    let mut problems = Vec::new();
    let reasons = match not_tested() {
        Ok(reasons) => reasons,
        Err(problem) => return vec![problem],
    };
    let mut tested: BTreeMap<(Version, &str), &str> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for case in cases {
        if !names.insert(case.name) {
            problems.push(format!("two cases are called {}", case.name));
        }
        for version in Version::ALL {
            for id in case.statements(version) {
                if find(version, id).is_none() {
                    problems.push(format!("case {} names {id}, which {version} doesn't have", case.name));
                }
                tested.insert((version, id), case.name);
            }
        }
    }
    let mut excused = BTreeSet::new();
    for NotTested { version, id, .. } in &reasons {
        if find(*version, id).is_none() {
            problems.push(format!("not-tested.csv names {id}, which {version} doesn't have"));
        }
        if !excused.insert((*version, id.as_str())) {
            problems.push(format!("not-tested.csv names {id} of {version} twice"));
        }
        if let Some(case) = tested.get(&(*version, id.as_str())) {
            problems.push(format!("{id} of {version} is in not-tested.csv and tested by {case}"));
        }
    }
    for Row { version, id, sentence, .. } in rows() {
        if !tested.contains_key(&(*version, id.as_str())) && !excused.contains(&(*version, id.as_str())) {
            problems.push(format!("{id} of {version} has neither a case nor a reason: {sentence}"));
        }
    }
    problems
}
