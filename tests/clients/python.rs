//! Runs the tests in `tests/python`, which use paho-mqtt, because it exposes every property of 5.0.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::broker::{Broker, Setup};
use crate::peer;

/// Runs one module against the broker's first listener. Every test in it must pass.
#[track_caller]
pub(crate) fn run(broker: &Broker, module: &str, environment: &[(&str, &str)]) {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after", "5", PATIENCE_SECONDS, &interpreter()])
        .args(["-B", "-m", "unittest", "--verbose", module])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python"))
        .env("BROKER_PORT", broker.address().port().to_string())
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if peer::is_chosen() {
        command.env("BROKER_IS_PEER", "1");
    }
    let child = command.spawn().expect("python3 runs: `bash tests/run` installs it");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success(), "{module} failed (if paho is missing: `bash tests/run` installs it)");
}

/// The Python interpreter of the environment that `tests/run` creates, or the system's.
pub(crate) fn interpreter() -> String {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python").join("bin/python3");
    if own.exists() { own.display().to_string() } else { "python3".to_owned() }
}

#[test]
fn properties_pass_unaltered() {
    run(&Setup::default().start(), "test_properties", &[]);
}

#[test]
fn messages_reach_their_receivers_and_publishers_get_reason_codes() {
    run(&Setup::default().start(), "test_publish", &[]);
}

#[test]
fn sessions_last_for_their_expiry_interval() {
    let broker = Setup::default()
        .set("limits.keep_alive_max", "\"100s\"")
        .set("limits.session_expiry_max", "\"2h\"")
        .set("limits.maximum_packet_size", "100000")
        .set("mqtt.response_information", "\"answers/\"")
        .start();
    let environment = [
        ("KEEP_ALIVE_MAX", "100"),
        ("SESSION_EXPIRY_MAX", "7200"),
        ("PACKET_SIZE_MAX", "100000"),
        ("RESPONSE_INFORMATION", "answers/"),
    ];
    run(&broker, "test_sessions", &environment);
}

/// The time limit of a module in seconds; some tests wait for seconds to pass.
const PATIENCE_SECONDS: &str = "120";
