//! Runs the tests against mosquitto, to validate the tests.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::broker::{Place, Setup, Transport};

/// Whether the tests run against mosquitto.
#[expect(clippy::disallowed_methods, reason = "the choice is made on the command line that runs the tests")]
pub(crate) fn is_chosen() -> bool {
    std::env::var("ONCEMQ_TEST_PEER").is_ok()
}

/// The command that starts mosquitto with the configuration of `setup`.
pub(crate) fn command(setup: &Setup, places: &[Place], path: &Path) -> Command {
    let file = path.join("mosquitto.conf");
    fs::write(&file, configuration(setup, places, path)).unwrap();
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(file);
    command
}

/// Adds a user to the password file of the broker under test.
pub(crate) fn add_user(file: &Path, user: &str, password: &str) {
    let mut command = if is_chosen() {
        fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        let mut command = Command::new("mosquitto_passwd");
        command.arg("-b").arg(file).arg(user).arg(password);
        command
    } else {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.args(["passwd", "--password-stdin"]).args((!file.exists()).then_some("--create")).arg(file).arg(user);
        command
    };
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn configuration(setup: &Setup, places: &[Place], path: &Path) -> String {
    let mut text = String::from("user root\nset_tcp_nodelay true\nmax_queued_messages 100000\n");
    writeln!(text, "allow_anonymous {}", setup.allow_anonymous).unwrap();
    if setup.users.is_some() {
        writeln!(text, "password_file {}", path.join("users").display()).unwrap();
    }
    if setup.access.is_some() {
        writeln!(text, "acl_file {}", path.join("access").display()).unwrap();
    }
    for (key, value) in &setup.settings {
        match *key {
            "limits.keep_alive_max" => writeln!(text, "max_keepalive {}", value.trim_matches(['"', 's'])).unwrap(),
            "limits.maximum_packet_size" => writeln!(text, "max_packet_size {value}").unwrap(),
            _ => {}
        }
    }
    for (listener, place) in setup.listeners.iter().zip(places) {
        match place {
            Place::Ip(address) => writeln!(text, "listener {} {}", address.port(), address.ip()).unwrap(),
            Place::Unix(path) => writeln!(text, "listener 0 {}", path.display()).unwrap(),
        }
        if matches!(listener.transport, Transport::Ws | Transport::Wss) {
            text.push_str("protocol websockets\n");
        }
        if listener.is_encrypted() {
            let (certificate, key) = (path.join("server.pem"), path.join("server.key"));
            writeln!(text, "certfile {}\nkeyfile {}", certificate.display(), key.display()).unwrap();
        }
        if listener.client_certificates {
            writeln!(text, "cafile {}", path.join("ca.pem").display()).unwrap();
            text.push_str("require_certificate true\nuse_identity_as_username true\n");
        }
    }
    text
}
