//! Compares result files, as Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::file::{CaseEntry, ResultFile};
use super::results::Counts;
use super::verdict::Verdict;
use crate::rows;
use crate::wire::Version;

/// A table with one row for each broker and version, then for each broker the cases that it failed.
///
/// Files of the same broker and version of the broker are runs of the same thing: a case counts with its worst result.
pub fn table(files: &[ResultFile]) -> String {
    let brokers = brokers(files);
    let mut text =
        "| broker | MQTT | passed | failed | of these only SHOULD | not applicable | lost state in a crash | runs |\n\
                    | --- | --- | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for broker in &brokers {
        for OfVersion { version, counts, should, runs } in broker.versions() {
            let Counts { passed, failed, skipped, beyond } = counts;
            // Writing to a String does not fail, here and below.
            let _ = writeln!(
                text,
                "| {} | {version} | {passed} | {failed} | {should} | {skipped} | {beyond} | {runs} |",
                cell(&broker.title)
            );
        }
    }
    for broker in &brokers {
        failures(&mut text, broker);
    }
    text
}

/// All runs of a broker.
struct Broker<'a> {
    title: String,
    commands: BTreeSet<&'a str>,
    settings: BTreeSet<&'a str>,
    /// The results of each case, by the version and the place of its first statement.
    cases: BTreeMap<(&'a str, usize, &'a str), Vec<&'a CaseEntry>>,
}

/// The results of a broker in one version of MQTT.
struct OfVersion<'a> {
    version: &'a str,
    counts: Counts,
    /// How many of the failures break recommendations only.
    should: usize,
    runs: usize,
}

fn brokers(files: &[ResultFile]) -> Vec<Broker<'_>> {
    let mut brokers: Vec<Broker<'_>> = Vec::new();
    for file in files {
        let name = if file.broker.name.is_empty() { "unnamed" } else { &file.broker.name };
        let title = format!("{name} {}", file.broker.version).trim_end().to_owned();
        let place = brokers.iter().position(|broker| broker.title == title);
        let place = place.unwrap_or_else(|| {
            let (commands, settings) = (BTreeSet::new(), BTreeSet::new());
            brokers.push(Broker { title, commands, settings, cases: BTreeMap::new() });
            brokers.len() - 1
        });
        let Some(broker) = brokers.get_mut(place) else { continue };
        broker.commands.extend(file.broker.command.as_deref());
        broker.settings.extend((!file.broker.settings.is_empty()).then_some(file.broker.settings.as_str()));
        for case in &file.cases {
            let key = (case.version.as_str(), first_place(case), case.case.as_str());
            broker.cases.entry(key).or_default().push(case);
        }
    }
    brokers
}

/// The place of the first statement of a case. Statements that this suite doesn't have come last.
fn first_place(case: &CaseEntry) -> usize {
    let version = Version::ALL.into_iter().find(|version| version.name() == case.version);
    let place = |id: &String| version.and_then(|version| rows::place(version, id));
    case.statements.iter().filter_map(place).min().unwrap_or(usize::MAX)
}

fn worst<'a>(results: &[&'a CaseEntry]) -> Option<&'a CaseEntry> {
    results.iter().copied().max_by_key(|case| case.result)
}

impl<'a> Broker<'a> {
    fn versions(&self) -> Vec<OfVersion<'a>> {
        let mut versions: BTreeMap<&str, OfVersion<'_>> = BTreeMap::new();
        for ((version, ..), results) in &self.cases {
            let Some(case) = worst(results) else { continue };
            let new = || OfVersion { version, counts: Counts::default(), should: 0, runs: 0 };
            let OfVersion { counts, should, runs, .. } = versions.entry(version).or_insert_with(new);
            *runs = results.len().max(*runs);
            match case.result {
                Verdict::Pass => counts.passed += 1,
                Verdict::Skip => counts.skipped += 1,
                Verdict::Beyond => counts.beyond += 1,
                Verdict::Fail => {
                    counts.failed += 1;
                    *should += usize::from(case.should);
                }
            }
        }
        versions.into_values().collect()
    }
}

fn failures(text: &mut String, broker: &Broker<'_>) {
    let _ = writeln!(text, "\n## {}\n", broker.title);
    for command in &broker.commands {
        let _ = writeln!(text, "Command: `{command}`\n");
    }
    for settings in &broker.settings {
        let _ = writeln!(text, "Settings: {settings}\n");
    }
    let bad = || broker.cases.iter().filter_map(|(key, results)| Some((key, results, worst(results)?)));
    let mut bad = bad().filter(|(.., case)| matches!(case.result, Verdict::Fail | Verdict::Beyond)).peekable();
    if bad.peek().is_none() {
        text.push_str("No case failed.\n");
        return;
    }
    text.push_str("| MQTT | statement | case | expected | came | |\n| --- | --- | --- | --- | --- | --- |\n");
    for ((version, ..), results, case) in bad {
        let times = results.iter().filter(|result| result.result == case.result).count();
        let mut remarks = Vec::new();
        if case.result == Verdict::Beyond {
            remarks.push("lost in a crash".to_owned());
        } else if case.should {
            remarks.push("SHOULD".to_owned());
        }
        if times < results.len() {
            remarks.push(format!("in {times} of {} runs", results.len()));
        }
        let _ = writeln!(
            text,
            "| {version} | {} | `{}` | {} | {} | {} |",
            cell(&case.broken.join(", ")),
            case.case,
            cell(case.expected.as_deref().unwrap_or_default()),
            cell(case.came.as_deref().unwrap_or_default()),
            remarks.join("; ")
        );
    }
}

/// Text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::super::file::{BrokerUnderTest, FORMAT, FORMAT_VERSION, Suite};
    use super::*;

    fn file(broker: &str, cases: Vec<CaseEntry>) -> ResultFile {
        ResultFile {
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            suite: Suite { name: "suite".to_owned(), version: "1".to_owned() },
            broker: BrokerUnderTest { name: broker.to_owned(), ..BrokerUnderTest::default() },
            started: 0,
            seconds: 1.0,
            versions: BTreeMap::new(),
            cases,
        }
    }

    fn case(name: &str, result: Verdict, came: &str) -> CaseEntry {
        CaseEntry {
            case: name.to_owned(),
            version: "5.0".to_owned(),
            statements: vec!["MQTT-3.3.1-5".to_owned()],
            result,
            broken: vec!["MQTT-3.3.1-5".to_owned()],
            should: false,
            expected: Some("one | two".to_owned()),
            came: Some(came.to_owned()),
            reason: None,
            seconds: 1.0,
            trace: Vec::new(),
        }
    }

    #[test]
    fn runs_of_a_broker_count_with_the_worst_result_of_each_case() {
        let files = [
            file("one", vec![case("a", Verdict::Pass, ""), case("b", Verdict::Fail, "b1")]),
            file("one", vec![case("a", Verdict::Fail, "a2"), case("b", Verdict::Fail, "b2")]),
            file("two", vec![case("a", Verdict::Beyond, "x"), case("b", Verdict::Skip, "")]),
        ];
        let text = table(&files);
        assert!(text.contains("| one | 5.0 | 0 | 2 | 0 | 0 | 0 | 2 |"), "{text}");
        assert!(text.contains("| two | 5.0 | 0 | 0 | 0 | 1 | 1 | 1 |"), "{text}");
        assert!(text.contains("| 5.0 | MQTT-3.3.1-5 | `a` | one \\| two | a2 | in 1 of 2 runs |"), "{text}");
        assert!(text.contains("| `a` | one \\| two | x | lost in a crash |"), "{text}");
    }

    #[test]
    fn a_broker_without_failures_says_so() {
        let text = table(&[file("good", vec![case("a", Verdict::Pass, "")])]);
        assert!(text.contains("No case failed."), "{text}");
    }
}
