//! Output for the terminal.

use std::fmt::Write as _;

use super::results::{CaseResult, Counts, Report};
use crate::failure::Failure;
use crate::registry;

/// Each failure with its statements, expectation, actual behaviour and trace; and each skip with its reason.
pub fn failures(report: &Report) -> String {
    let mut text = String::new();
    for result in &report.results {
        match &result.outcome {
            Ok(()) => {}
            Err(Failure::Skipped(reason)) => {
                // Writing to a String does not fail, here and below.
                let _ = writeln!(text, "skip {} ({}): {reason}", result.case.name, result.version);
            }
            Err(Failure::Broken { .. }) => failure(&mut text, result),
        }
    }
    text
}

/// One line for each version, and one for all.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    for version in report.versions() {
        let Counts { passed, failed, skipped, beyond } = report.counts(Some(version));
        let _ = writeln!(
            text,
            "MQTT {version}: {passed} passed, {failed} failed, {skipped} skipped; {beyond} lost state in a crash"
        );
    }
    let _ = writeln!(text, "{} cases in {:.1} s", report.results.len(), report.time.as_secs_f64());
    text
}

fn failure(text: &mut String, result: &CaseResult) {
    let _ =
        writeln!(text, "{} {} ({}{})", result.word().to_uppercase(), result.case.name, result.version, result.weight());
    for id in result.broken() {
        let sentence = registry::find(result.version, id).map_or("", |row| row.sentence.as_str());
        let _ = writeln!(text, "  {id}: {sentence}");
    }
    for line in result.explanation() {
        let _ = writeln!(text, "  {line}");
    }
    for line in &result.trace {
        let _ = writeln!(text, "    {line}");
    }
    text.push('\n');
}
