//! Command-line tools and daemons of other projects that speak MQTT. `docs/COMPATIBILITY.md` has the table of what was
//! seen.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use wire::free_port;

use crate::broker::{Broker, Setup, Transport};
use crate::deadline::wait_for;
use crate::mosquitto::{Subscriber, message, publish};

/// A process that is killed when it is dropped.
struct Daemon(Child);

#[test]
fn curl_publishes_and_subscribes() {
    let broker = Setup::default().start();
    let url = |topic: &str| format!("mqtt://{}/{topic}", broker.address());
    let mut watcher = Subscriber::start(&broker, &["-t", "curl/#", "-q", "1"]);
    run(limited("curl").args(["-sS", "-d", "from curl", &url("curl/out")]));
    assert_eq!(watcher.next(), message("curl/out", "from curl", 0));
    publish(&broker, &["-t", "curl/kept", "-m", "to curl\n", "-r", "-q", "1"]);
    // curl writes the packet after its fixed header: the length of the Topic Name, the Topic Name, and the payload.
    first_line(
        Command::new("timeout").args([PATIENCE_SECONDS, "curl", "-sS", "-N", &url("curl/kept")]),
        "curl/keptto curl",
    );
}

#[test]
fn mosquitto_rr_gets_its_answer() {
    let broker = Setup::default().start();
    for version in ["311", "5"] {
        let mut watcher = Subscriber::start(&broker, &["-V", version, "-t", "request", "-q", "1"]);
        let mut command = Command::new("timeout");
        command.args([PATIENCE_SECONDS, "mosquitto_rr", "-V", version, "-q", "1"]).args(broker.target());
        command.args(["-t", "request", "-e", "answer", "-m", "ping"]).stdout(Stdio::piped());
        let asking = command.spawn().expect(HOW_TO_INSTALL);
        assert_eq!(watcher.next(), message("request", "ping", 1));
        publish(&broker, &["-V", version, "-t", "answer", "-m", "pong", "-q", "1"]);
        let output = asking.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "pong\n");
    }
}

#[test]
fn the_tools_of_paho_c_publish_and_subscribe() {
    let broker = Setup::new([Transport::Tcp, Transport::Tls]).start();
    let plain = format!("tcp://{}", broker.address());
    for version in ["31", "311", "5"] {
        let mut watcher = Subscriber::start(&broker, &["-t", "paho/#", "-q", "2"]);
        for qos in 0..=2 {
            let level = qos.to_string();
            let arguments = ["-c", &plain, "-V", version, "-t", "paho/x", "-m", "hello", "-q", &level];
            run(limited("paho_c_pub").args(arguments));
            assert_eq!(watcher.next(), message("paho/x", "hello", qos));
        }
        publish(&broker, &["-t", "kept", "-m", "to paho", "-r", "-q", "1"]);
        let arguments = [PATIENCE_SECONDS, "paho_c_sub", "-c", &plain, "-V", version, "-t", "kept", "-q", "2"];
        first_line(Command::new("timeout").args(arguments), "to paho");
    }
    let encrypted = format!("ssl://{}", broker.address_of(1));
    let authority = broker.file("ca.pem");
    let mut watcher = Subscriber::start(&broker, &["-t", "secret", "-q", "1"]);
    run(limited("paho_cs_pub")
        .args(["-c", &encrypted, "--cafile", &authority, "-t", "secret", "-m", "over TLS", "-q", "1"]));
    assert_eq!(watcher.next(), message("secret", "over TLS", 1));
}

#[test]
fn collectd_publishes_before_and_after_a_crash_of_the_broker() {
    let mut broker = Setup::default().start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let port = broker.address().port();
    let configuration = format!(
        "BaseDir \"{path}\"\nPIDFile \"{path}/pid\"\nHostname \"probe\"\nInterval 1\nLoadPlugin load\nLoadPlugin mqtt\n\
         <Plugin mqtt>\n<Publish \"broker\">\nHost \"127.0.0.1\"\nPort {port}\nQoS 1\nPrefix \"collectd\"\n</Publish>\n</Plugin>\n"
    );
    let file = directory.path().join("collectd.conf");
    fs::write(&file, configuration).unwrap();
    let _daemon = Daemon::start(Command::new("/usr/sbin/collectd").arg("-f").arg("-C").arg(file));
    wait_for_load(&broker);
    broker.crash_and_restart();
    wait_for_load(&broker);
}

#[track_caller]
fn wait_for_load(broker: &Broker) {
    let mut watcher = Subscriber::start(broker, &["-t", "collectd/#", "-q", "1"]);
    assert_eq!(watcher.next().topic, "collectd/probe/load/load");
}

#[test]
fn prometheus_mqtt_exporter_reads_before_and_after_a_crash_of_the_broker() {
    let mut broker = Setup::default().start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("exporter.yaml");
    let configuration = format!(
        "mqtt:\n  server: tcp://{}\n  topic_path: sensors/+\n  qos: 1\nmetrics:\n\
         \x20 - prom_name: temperature\n    mqtt_name: temperature\n    help: degrees\n    type: gauge\n",
        broker.address()
    );
    fs::write(&file, configuration).unwrap();
    let port = free_port().to_string();
    let mut command = Command::new("prometheus-mqtt-exporter");
    command.arg("-config").arg(&file).args(["-listen-address", "127.0.0.1", "-listen-port", &port]);
    let _daemon = Daemon::start(&mut command);
    for temperature in ["21.5", "22.5"] {
        let payload = format!("{{\"temperature\": {temperature}}}");
        publish(&broker, &["-t", "sensors/x", "-m", &payload, "-r", "-q", "1"]);
        wait_for("the metric", || {
            let output = Command::new("curl").args(["-s", &format!("127.0.0.1:{port}/metrics")]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines().any(|line| line.starts_with("temperature{") && line.contains(temperature)).then_some(())
        });
        broker.crash_and_restart();
    }
}

impl Daemon {
    #[track_caller]
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect(HOW_TO_INSTALL))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs the command; it must succeed.
#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().expect(HOW_TO_INSTALL);
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A command with a time limit. Paho's tools try to connect for ever, also after SIGTERM.
fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal", "KILL", PATIENCE_SECONDS, program]);
    command
}

/// Runs the command until it has written a line that contains `text`. It has a time limit of its own.
#[track_caller]
fn first_line(command: &mut Command, text: &str) {
    let mut child = Daemon(command.stdout(Stdio::piped()).spawn().expect(HOW_TO_INSTALL));
    let mut output = BufReader::new(child.0.stdout.take().unwrap());
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).unwrap() > 0 {
        if String::from_utf8_lossy(&line).contains(text) {
            // SIGTERM lets `timeout` end its command, too.
            run(Command::new("kill").arg(child.0.id().to_string()));
            child.0.wait().unwrap();
            return;
        }
        line.clear();
    }
    panic!("{command:?} ended without {text:?}");
}

const PATIENCE_SECONDS: &str = "20";
const HOW_TO_INSTALL: &str = "`bash tests/run` installs the tools";
