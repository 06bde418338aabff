//! A JSON report.

use serde_json::json;

use super::results::{Counts, Report};

pub(super) fn render(report: &Report) -> serde_json::Result<String> {
    let counts = |Counts { passed, failed, skipped, beyond }| json!({"passed": passed, "failed": failed, "skipped": skipped, "beyond": beyond});
    let versions: serde_json::Map<_, _> =
        report.versions().map(|version| (version.name().to_owned(), counts(report.counts(Some(version))))).collect();
    let cases: Vec<_> = report.results.iter().map(case).collect();
    let seconds = report.time.as_secs_f64();
    serde_json::to_string_pretty(&json!({"versions": versions, "seconds": seconds, "cases": cases}))
}

fn case(result: &super::CaseResult) -> serde_json::Value {
    json!({
        "case": result.case.name,
        "version": result.version.name(),
        "statements": result.case.statements(result.version),
        "result": result.word(),
        "broken": result.broken(),
        "explanation": result.explanation(),
        "seconds": result.time.as_secs_f64(),
        "trace": if result.outcome.is_err() { result.trace.as_slice() } else { &[] },
    })
}
