//! mqtt.js, the client of browsers and Node-RED, over WebSocket and TCP: runs `tests/node/mqtt_js.cjs`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::broker::{Setup, Transport};
use crate::deadline::wait_for;
use crate::peer;

/// Runs the exchange and returns its output.
fn run(url: &str, version: &str, authority: Option<&str>) -> Output {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after", "5", PATIENCE_SECONDS, "node"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/mqtt_js.cjs"))
        .args([url, version])
        .args(authority)
        .env("NODE_PATH", modules())
        .stdin(Stdio::null());
    command.output().expect(HOW_TO_INSTALL)
}

/// The exchange must succeed; returns the subprotocol.
#[track_caller]
fn exchange(url: &str, version: &str, authority: Option<&str>) -> String {
    let output = run(url, version, authority);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "mqtt.js {version} at {url}: {stdout}{stderr}\n{HOW_TO_INSTALL}");
    stdout.lines().find_map(|line| line.strip_prefix("subprotocol ")).unwrap().to_owned()
}

/// Where `tests/run` installs mqtt.js.
fn modules() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("node").join("node_modules")
}

#[test]
fn every_version_over_websocket_at_every_default_path() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::new([Transport::Ws]).set("log.level", "\"debug\"").start();
    for (version, path, subprotocol) in [
        ("3.1", "", "mqttv3.1"),
        ("3.1.1", "/", "mqtt"),
        ("5", "/ws", "mqtt"),
        ("5", "/mqtt", "mqtt"),
        ("3.1", "/mqtt?token=x", "mqttv3.1"),
    ] {
        assert_eq!(exchange(&format!("ws://{}{path}", broker.address()), version, None), subprotocol, "{path}");
    }
    for line in
        ["path \"/\", subprotocol mqttv3.1", "path \"/ws\", subprotocol mqtt", "path \"/mqtt\", subprotocol mqttv3.1"]
    {
        wait_for(line, || broker.log().contains(line).then_some(()));
    }
    assert!(!broker.log().contains("WARN"), "{}", broker.log());
}

#[test]
fn websocket_over_tls_and_plain_tcp() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::new([Transport::Wss, Transport::Tcp]).start();
    let url = format!("wss://{}/", broker.address());
    assert_eq!(exchange(&url, "5", Some(&broker.file("ca.pem"))), "mqtt");
    exchange(&format!("mqtt://{}", broker.address_of(1)), "3.1", None);
}

#[test]
fn a_path_that_is_not_the_configured_one_is_refused_and_named_in_the_log() {
    if peer::is_chosen() {
        return;
    }
    let mut setup = Setup::new([Transport::Ws]);
    setup.listeners[0].extra = "websocket_path = \"/broker\"";
    let broker = setup.start();
    exchange(&format!("ws://{}/broker", broker.address()), "5", None);
    let output = run(&format!("ws://{}/mqtt", broker.address()), "5", None);
    assert!(String::from_utf8_lossy(&output.stderr).contains("404"), "{output:?}");
    let line = "WebSocket: GET \"/mqtt\", subprotocol \"mqtt\", answered 404: the path must be /broker";
    wait_for(line, || broker.log().contains(line).then_some(()));
}

const HOW_TO_INSTALL: &str = "node and mqtt.js are needed: `bash tests/run` installs them";
/// The time limit of an exchange in seconds.
const PATIENCE_SECONDS: &str = "30";
