//! From a configuration of mosquitto to one of ours, and a report of what became of each line.

mod access;
mod bridges;
mod chain;
mod document;
mod dynsec;
mod files;
mod global;
mod listeners;
mod outcome;
mod passwords;
mod report;
mod rules;
mod saved;
mod saved_state;
mod sources;
mod tls;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use super::conf::{Model, Place};
use document::{Document, Text};
use files::Files;

pub use files::{FileNames, GeneratedFile};
pub(super) use global::DATA;
pub use report::{Finding, Outcome, Report};
pub use saved_state::SavedState;

/// What the result depends on beside the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The directory where generated files will be.
    pub files: PathBuf,
    /// How they are named.
    pub names: FileNames,
    /// The data directory of ours, if it is not one in mosquitto's `persistence_location`.
    pub data: Option<PathBuf>,
    /// The first line of the configuration.
    pub title: String,
}

/// A configuration of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    pub(in crate::import) text: Text,
    /// Files that it names, for the directory [`Terms::files`].
    pub files: Vec<GeneratedFile>,
    /// What became of each line.
    pub report: Report,
    /// The state that mosquitto saves, if it does.
    pub state: Option<SavedState>,
}

/// What is being made.
struct Conversion<'a> {
    model: &'a Model,
    terms: &'a Terms,
    report: Report,
    document: Document,
    files: Files<'a>,
    guarded: Guarded,
}

/// Who must not be let in, because something that keeps them out is not there.
#[derive(Debug, Default)]
struct Guarded {
    /// At every listener.
    all: bool,
    /// At these.
    listeners: BTreeSet<usize>,
    /// Bridges that must not run.
    bridges: BTreeSet<usize>,
}

impl Guarded {
    fn has(&self, listener: usize) -> bool {
        self.all || self.listeners.contains(&listener)
    }
}

/// Makes our configuration. It reads files that the configuration names, and writes none.
pub(super) fn convert(model: &Model, terms: &Terms) -> Converted {
    let mut conversion = Conversion {
        model,
        terms,
        report: Report::default(),
        document: Document::default(),
        files: Files::new(&terms.files, terms.names),
        guarded: Guarded::default(),
    };
    conversion.outcomes();
    let access = conversion.access();
    conversion.server();
    conversion.security(&access);
    conversion.listeners(&access);
    conversion.mqtt();
    conversion.limits();
    conversion.log();
    conversion.bridges();
    conversion.finish()
}

impl Conversion<'_> {
    fn add(&mut self, outcome: Outcome, at: &Place, option: &str, text: impl Into<String>) {
        self.report.add(outcome, at, option, text);
    }

    fn finish(mut self) -> Converted {
        let said = self.report.places();
        for (at, option) in self.model.lines.iter().filter(|(at, _)| !said.contains(at)) {
            self.report.add(Outcome::Missing, at, option, "it has no effect here");
        }
        let lines = self.model.lines.iter().enumerate();
        let order: HashMap<&Place, usize> = lines.map(|(number, (at, _))| (at, number)).collect();
        self.report.sort(|at| order.get(at).copied().unwrap_or(usize::MAX));
        let text = self.document.render(&self.terms.title);
        let state = self.saved_state();
        Converted { text, files: self.files.done(), report: self.report, state }
    }
}

#[cfg(test)]
mod tests;
