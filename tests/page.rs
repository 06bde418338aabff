//! The page of the admin listener in a headless browser: runs `tests/node/page.cjs` with the real binary.

#![cfg(test)]

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wire::free_address;

/// A broker with a listener for WebSocket if that is asked for. Dropping it kills the process.
struct Broker {
    directory: TempDir,
    child: Child,
    mqtt: SocketAddr,
    admin: SocketAddr,
    web_socket: Option<SocketAddr>,
}

impl Broker {
    fn start(with_web_socket: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mqtt, admin) = (free_address(), free_address());
        let web_socket = with_web_socket.then(free_address);
        fs::write(directory.path().join("rules.acl"), RULES).unwrap();
        let mut settings = format!(
            "[server]\ndata = \"data\"\n[admin]\naddress = \"{admin}\"\n[security]\nacl_file = \"rules.acl\"\n\
             [[listeners]]\naddress = \"{mqtt}\"\n"
        );
        if let Some(address) = web_socket {
            settings += &format!("[[listeners]]\naddress = \"{address}\"\ntransport = \"ws\"\n");
            settings += &bridges_and_sinks(mqtt);
            settings += "[[streams]]\nname = \"orders\"\ntopic = \"orders/#\"\n";
        }
        fs::write(directory.path().join("oncemq.toml"), settings).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.env_clear().current_dir(&directory).args(["--config", "oncemq.toml"]).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let broker = Self { directory, child, mqtt, admin, web_socket };
        broker.wait();
        broker
    }

    #[expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while [self.mqtt, self.admin].iter().any(|address| TcpStream::connect(address).is_err()) {
            let log = || fs::read_to_string(self.directory.path().join("log")).unwrap();
            assert!(Instant::now() < deadline, "the broker does not start: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A new token.
    fn token(&self, role: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        let data = self.directory.path().join("data");
        command.env_clear().args(["token", "create", "--role", role, role, "--data"]).arg(data);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Runs a part of the script.
    #[track_caller]
    fn check(&self, part: &str) {
        let mut command = Command::new("timeout");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/page.cjs");
        command.args(["--kill-after", "5", PATIENCE_SECONDS, "node"]).arg(script).arg(part).env("NODE_PATH", modules());
        command.env("PAGE_URL", format!("http://{}/", self.admin)).env("MQTT_URL", format!("mqtt://{}", self.mqtt));
        for role in ["viewer", "operator", "admin"] {
            command.env(format!("TOKEN_{}", role.to_uppercase()), self.token(role));
        }
        if let Some(address) = self.web_socket {
            command.env("WEB_SOCKET_URL", format!("ws://{address}/mqtt"));
        }
        let output = command.stdin(Stdio::null()).output().expect(HOW_TO_INSTALL);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{stdout}");
        assert!(output.status.success(), "{part}: {stdout}{stderr}\n{HOW_TO_INSTALL}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bridge to the broker itself, one to nobody, and a sink to nobody.
fn bridges_and_sinks(mqtt: SocketAddr) -> String {
    let bridge = |name: &str, address: SocketAddr| {
        format!(
            "[[bridges]]\nname = \"{name}\"\naddresses = [\"mqtt://{address}\"]\nnotifications = false\nbackoff_min = \"100ms\"\n\
             [[bridges.topics]]\nfilter = \"bridged/#\"\nremote_prefix = \"copy/\"\n"
        )
    };
    let url = format!("http://{}/", free_address());
    let sink = format!(
        "[[sinks]]\nname = \"alarms\"\ntype = \"webhook\"\nfilters = [\"alarms/#\"]\nurl = \"{url}\"\n\
         allow_private_addresses = true\nretries_max = 100000\nretry_max = \"1s\"\n"
    );
    bridge("self", mqtt) + &bridge("gone", free_address()) + &sink
}

/// Where `tests/run` installs the libraries of the script.
fn modules() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("node").join("node_modules")
}

#[test]
fn an_operator_sees_what_the_api_says_and_acts() {
    Broker::start(true).check("operator");
}

#[test]
fn a_viewer_and_an_empty_broker_are_told_what_is_not_there() {
    Broker::start(false).check("viewer");
}

#[test]
fn every_view_fits_three_widths_in_light_and_dark_and_works_by_keyboard() {
    Broker::start(true).check("layout");
}

/// Everything is allowed but one topic, and the bridges and the sink have what is theirs.
const RULES: &str = "topic readwrite #\ntopic deny secret/#\n\
                     user self\ntopic read bridged/#\nuser gone\ntopic read bridged/#\nuser alarms\ntopic read alarms/#\n";
/// Each part takes some ten seconds; the gate runs on loaded machines, too.
const PATIENCE_SECONDS: &str = "180";
const HOW_TO_INSTALL: &str = "`bash tests/run` installs chromium, node, playwright-core and mqtt.js";
