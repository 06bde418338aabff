//! An HTML report with the result of every statement.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape::escape;
use super::results::{CaseResult, Counts, Report};
use crate::registry::{self, NotTested};
use crate::wire::Version;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}\
table{border-collapse:collapse;width:100%}td,th{border:1px solid #ccc;padding:.3rem .5rem;text-align:left;\
vertical-align:top}pre{overflow:auto;background:#f6f6f6;padding:.5rem}.pass{color:#176317}.fail{color:#b00020;\
font-weight:bold}.skip,.beyond{color:#8a6100}";

pub(super) fn render(report: &Report) -> String {
    let mut text = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>MQTT conformance</title><style>{STYLE}</style>\n\
         <h1>MQTT conformance</h1>\n"
    );
    for version in report.versions() {
        let Counts { passed, failed, skipped, beyond } = report.counts(Some(version));
        // Writing to a String does not fail, here and below.
        let _ = writeln!(
            text,
            "<h2>MQTT {version}</h2><p>{passed} passed, {failed} failed, {skipped} skipped; {beyond} lost state in a crash</p>"
        );
        rows(&mut text, report, version);
    }
    text.push_str("</html>\n");
    text
}

fn rows(text: &mut String, report: &Report, version: Version) {
    let mut cases: BTreeMap<&str, Vec<&CaseResult>> = BTreeMap::new();
    for result in report.results.iter().filter(|result| result.version == version) {
        for id in result.case.statements(version) {
            cases.entry(id).or_default().push(result);
        }
    }
    let not_tested = registry::not_tested().unwrap_or_default();
    let reasons: BTreeMap<&str, &NotTested> =
        not_tested.iter().filter(|row| row.version == version).map(|row| (row.id.as_str(), row)).collect();
    text.push_str("<table><tr><th>statement<th>sentence<th>cases</tr>\n");
    for row in registry::rows().iter().filter(|row| row.version == version) {
        let _ = write!(text, "<tr><td>{}<td>{}<td>", escape(&row.id), escape(&row.sentence));
        if let Some(reason) = reasons.get(row.id.as_str()) {
            let _ = write!(text, "{}: {}", reason.kind.name(), escape(&reason.reason));
        }
        for result in cases.get(row.id.as_str()).into_iter().flatten() {
            case(text, result);
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table>\n");
}

fn case(text: &mut String, result: &CaseResult) {
    let (word, name) = (result.word(), escape(result.case.name));
    if result.outcome.is_ok() {
        let _ = write!(text, "<div class=\"{word}\">{name}</div>");
        return;
    }
    let explanation = escape(&result.explanation().join("\n"));
    let weight = result.weight();
    let trace = escape(&result.trace.join("\n"));
    let _ = write!(
        text,
        "<details class=\"{word}\"><summary>{word} {name}{weight}</summary><pre>{explanation}\n\n{trace}</pre></details>"
    );
}
