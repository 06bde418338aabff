//! Runs the conformance suite: every case must pass, and none may be skipped.

#![cfg(test)]

use conformance::broker::Template;
use conformance::runner::{self, Selection, Target};
use conformance::{cases, report};

/// Also below a mount point: a client can't tell that it has one. One after the other, because the cases have time limits.
#[test]
fn every_case_passes_and_none_is_skipped() {
    run("");
    run("'mount_point = \"tenants/a/\"'");
}

/// `setting`: of the listeners, for the shell.
fn run(setting: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/conformance/brokers/oncemq.sh");
    let command = format!("'{script}' '{}' {{port}} {{websocket}} {{data}} {setting}", env!("CARGO_BIN_EXE_oncemq"));
    let selection = Selection { versions: Vec::new(), statements: Vec::new(), cases: Vec::new() };
    let found = runner::run(&Target::Started(Template::new(command)), &selection, &cases::all(), 48).unwrap();
    let counts = found.counts(None);
    assert_eq!((counts.failed, counts.skipped, counts.beyond), (0, 0, 0), "\n{}", report::failures(&found));
}
