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

/// Without a provider that knows an Authentication Method, these cases see only refusals.
#[test]
fn the_cases_of_enhanced_authentication_pass_at_a_broker_with_scram() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("oncemq.toml");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/scram.users");
    // The cases are refused often.
    let text =
        format!("auth = [{{ type = \"scram\", file = {file:?} }}]\nbans.delay_max = \"0s\"\nadmin.enabled = false\n");
    std::fs::write(&config, text).unwrap();
    let binary = env!("CARGO_BIN_EXE_oncemq");
    let command = format!("'{binary}' --config '{}' --listen 127.0.0.1:{{port}} --data {{data}}", config.display());
    let statements =
        ["MQTT-4.12.0-2", "MQTT-4.12.0-4", "MQTT-4.12.0-5", "MQTT-4.12.1-2", "MQTT-3.15.2-2", "MQTT-3.1.2-30"];
    let statements = statements.map(str::to_owned).into();
    let selection = Selection { versions: Vec::new(), statements, cases: Vec::new() };
    let found = runner::run(&Target::Started(Template::new(command)), &selection, &cases::all(), 8).unwrap();
    let counts = found.counts(None);
    assert!(counts.passed >= 5, "{counts:?}");
    assert_eq!((counts.failed, counts.skipped, counts.beyond), (0, 0, 0), "\n{}", report::failures(&found));
}
