//! A JUnit XML report for CI.

use std::fmt::Write as _;

use super::escape::escape;
use super::results::{CaseResult, Report};
use crate::failure::Failure;

pub(super) fn render(report: &Report) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for version in report.versions() {
        let counts = report.counts(Some(version));
        let tests = counts.passed + counts.failed + counts.skipped;
        // Writing to a String does not fail, here and below.
        let _ = writeln!(
            text,
            "  <testsuite name=\"MQTT {version}\" tests=\"{tests}\" failures=\"{}\" skipped=\"{}\" errors=\"0\">",
            counts.failed,
            counts.skipped + counts.beyond
        );
        for result in report.results.iter().filter(|result| result.version == version) {
            case(&mut text, result);
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn case(text: &mut String, result: &CaseResult) {
    let (name, version) = (escape(result.case.name), result.version);
    let seconds = result.time.as_secs_f64();
    let _ = write!(text, "    <testcase classname=\"MQTT {version}\" name=\"{name}\" time=\"{seconds:.3}\"");
    match &result.outcome {
        Ok(()) => text.push_str("/>\n"),
        Err(Failure::Skipped(reason)) => {
            let _ = writeln!(text, "><skipped message=\"{}\"/></testcase>", escape(reason));
        }
        Err(Failure::Broken { expected, came, .. }) if result.killed => {
            let message = format!("beyond the standard, through kill -9: expected {expected}; came {came}");
            let _ = writeln!(text, "><skipped message=\"{}\"/></testcase>", escape(&message));
        }
        Err(Failure::Broken { expected, came, .. }) => {
            let message = format!("{}: expected {expected}; came {came}", result.broken().join(", "));
            let (message, trace) = (escape(&message), escape(&result.trace.join("\n")));
            let _ = writeln!(text, "><failure message=\"{message}\">{trace}</failure></testcase>");
        }
    }
}
