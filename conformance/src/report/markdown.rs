//! A Markdown report.

use std::fmt::Write as _;

use super::results::{Counts, Report};
use crate::registry;

pub(super) fn render(report: &Report) -> String {
    let mut text =
        "# MQTT conformance\n\n| version | passed | failed | skipped | lost state in a crash |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for version in report.versions() {
        let Counts { passed, failed, skipped, beyond } = report.counts(Some(version));
        // Writing to a String does not fail, here and below.
        let _ = writeln!(text, "| {version} | {passed} | {failed} | {skipped} | {beyond} |");
    }
    let mut bad = report.results.iter().filter(|result| result.outcome.is_err()).peekable();
    if bad.peek().is_some() {
        text.push_str("\n## Failed and skipped\n");
    }
    for result in bad {
        let _ =
            writeln!(text, "\n### {} {} ({}{})\n", result.word(), result.case.name, result.version, result.weight());
        for id in result.broken() {
            let sentence = registry::find(result.version, id).map_or("", |row| row.sentence.as_str());
            let _ = writeln!(text, "- {id}: {sentence}");
        }
        let _ = writeln!(text, "\n```text\n{}\n\n{}\n```", result.explanation().join("\n"), result.trace.join("\n"));
    }
    text.push_str("\n## All cases\n\n| version | case | statements | result |\n| --- | --- | --- | --- |\n");
    for result in &report.results {
        let statements = result.case.statements(result.version).join(", ");
        let _ = writeln!(text, "| {} | {} | {statements} | {} |", result.version, result.case.name, result.word());
    }
    text
}
