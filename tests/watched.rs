//! Bridges and sinks as operators see them: metrics, API and commands of the real binary, while the other side is there and while it is not.

#![cfg(test)]

#[path = "clients/deadline.rs"]
#[expect(dead_code, reason = "the tests with real clients use more of it")]
mod deadline;
#[path = "clients/http_service.rs"]
#[expect(dead_code, reason = "the tests with real clients use more of it")]
mod http_service;

use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use wire::{Connect, PUBACK, Publish, Received, Version, Wire, free_address};

use deadline::{PATIENCE, wait_for};
use http_service::{HttpService, Response};

/// A broker with an admin listener. Dropping it kills the process.
struct Broker {
    directory: TempDir,
    child: Child,
    mqtt: SocketAddr,
    admin: SocketAddr,
}

impl Broker {
    /// Starts one with these settings, in which `DIR` stands for its directory.
    #[track_caller]
    fn start(settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mqtt, admin) = (free_address(), free_address());
        let path = directory.path().display().to_string();
        let settings = settings.replace("DIR", &path);
        let config = format!(
            "[server]\ndata = \"{path}/data\"\nshards = 2\ndurability = \"crash\"\n[admin]\naddress = \"{admin}\"\n{settings}"
        );
        fs::write(directory.path().join("oncemq.toml"), config).unwrap();
        let child = spawn(directory.path(), mqtt);
        let broker = Self { directory, child, mqtt, admin };
        broker.wait_until_ready();
        broker
    }

    #[track_caller]
    fn wait_until_ready(&self) {
        wait_for("the broker", || self.http("/health/ready").filter(|(code, _)| *code == 200));
    }

    fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    #[track_caller]
    fn restart(&mut self) {
        self.child = spawn(self.directory.path(), self.mqtt);
        self.wait_until_ready();
    }

    fn http(&self, path: &str) -> Option<(u16, String)> {
        let stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(stream, path)
    }

    /// What the API answers, to the operator of this machine.
    #[track_caller]
    fn api(&self, path: &str) -> (u16, Value) {
        let stream = UnixStream::connect(self.directory.path().join("data/admin.sock")).unwrap();
        let (code, body) = exchange(stream, &format!("/api/v1{path}")).unwrap();
        (code, serde_json::from_str(&body).unwrap())
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let (code, body) = self.api(path);
        assert_eq!(code, 200, "{path}: {body}");
        body
    }

    /// The value of a series; `None`: it is not there.
    fn figure(&self, series: &str) -> Option<f64> {
        let (_, text) = self.http("/metrics")?;
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// Waits until a series has this value.
    #[track_caller]
    fn expect_figure(&self, series: &str, value: f64) {
        let mut last = None;
        for _ in 0..PATIENCE.as_millis() / 50 {
            last = self.figure(series);
            if last == Some(value) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{series} is {last:?} instead of {value}\n{}", self.log());
    }

    /// Runs a command on this broker: its exit code and what it prints.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.env_clear().args(arguments).arg("--data").arg(self.directory.path().join("data"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    #[track_caller]
    fn prints(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        text
    }

    /// Publishes at QoS 1, and waits for the acknowledgement.
    #[track_caller]
    fn publish(&self, topic: &str, payload: &str) {
        let mut wire = Wire::open(self.mqtt, PATIENCE).unwrap();
        wire.send(&Connect::new(Version::V5, "publisher").bytes());
        assert!(matches!(wire.receive(PATIENCE), Received::Packet(connack) if connack.reason_code() == 0));
        let publish = Publish { qos: 1, packet_id: 1, ..Publish::new(topic, payload) };
        wire.send(&publish.bytes(Version::V5));
        assert!(
            matches!(wire.receive(PATIENCE), Received::Packet(ack) if ack.kind() == PUBACK && ack.reason_code() < 0x80)
        );
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("{}", self.log());
        }
    }
}

fn spawn(directory: &Path, mqtt: SocketAddr) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.env_clear().args(["--listen", &mqtt.to_string(), "--allow-anonymous", "--config"]);
    command.arg(directory.join("oncemq.toml")).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Code and body of the answer to a GET.
fn exchange(mut stream: impl std::io::Read + std::io::Write, path: &str) -> Option<(u16, String)> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn sink(name: &str, url: &str, settings: &str) -> String {
    format!(
        "[[sinks]]\nname = \"{name}\"\ntype = \"webhook\"\nfilters = [\"{name}/#\"]\nurl = \"{url}\"\n\
         allow_private_addresses = true\nretry_min = \"50ms\"\nretry_max = \"200ms\"\n{settings}\n"
    )
}

fn bridge(name: &str, address: SocketAddr) -> String {
    format!(
        "[[bridges]]\nname = \"{name}\"\naddresses = [\"mqtt://{address}\"]\nbackoff_min = \"100ms\"\nbackoff_max = \"200ms\"\n\
         [[bridges.topics]]\nfilter = \"{name}/#\"\ndirection = \"both\"\nremote_prefix = \"site/\"\n"
    )
}

/// The lines of a table: the titles, and the row that begins with a name.
fn row(table: &str, name: &str) -> String {
    let rows = table.lines().filter(|line| line.split(' ').next() == Some(name));
    rows.map(str::to_owned).next().unwrap_or_else(|| panic!("{name} is not in\n{table}"))
}

#[test]
fn a_sink_shows_what_it_delivers_refuses_and_can_not_deliver() {
    let status = Arc::new(AtomicU16::new(204));
    let of_service = Arc::clone(&status);
    let service = HttpService::start(move |_| Response::Json(of_service.load(Ordering::Relaxed), String::new()));
    let gone = free_address();
    let url = format!("http://{gone}/T0/very-secret-path");
    let broker = Broker::start(
        &(sink("alarms", &service.url("/hook"), "secret_file = \"DIR/oncemq.toml\"")
            + &sink("gone", &url, "retries_max = 100000")),
    );
    broker.expect_figure("oncemq_sink_connected{sink=\"alarms\"}", 1.0);
    broker.expect_figure("oncemq_sink_connected{sink=\"gone\"}", 1.0);
    broker.publish("alarms/door", "open");
    broker.publish("gone/1", "x");
    broker.expect_figure("oncemq_sink_messages_delivered_total{sink=\"alarms\"}", 1.0);
    broker.expect_figure("oncemq_sink_requests_total{sink=\"alarms\",result=\"delivered\"}", 1.0);
    assert_eq!(broker.figure("oncemq_sink_failing_seconds{sink=\"alarms\"}"), Some(0.0));
    assert_eq!(broker.figure("oncemq_sink_messages_dropped_total{sink=\"alarms\",reason=\"given_up\"}"), Some(0.0));
    wait_for("retries", || broker.figure("oncemq_sink_retries_total{sink=\"gone\"}").filter(|count| *count > 1.0));
    wait_for("the failure", || {
        broker.figure("oncemq_sink_failing_seconds{sink=\"gone\"}").filter(|seconds| *seconds > 0.0)
    });
    broker.expect_figure("oncemq_sink_messages_held{sink=\"gone\"}", 1.0);
    broker.expect_figure("oncemq_sink_queued_messages{sink=\"gone\"}", 1.0);
    broker.expect_figure("oncemq_sink_queued_messages{sink=\"alarms\"}", 0.0);

    let sinks = broker.get("/sinks");
    let names: Vec<_> = sinks["sinks"].as_array().unwrap().iter().map(|sink| (&sink["name"], &sink["state"])).collect();
    assert_eq!(names, [(&json!("alarms"), &json!("well")), (&json!("gone"), &json!("failing"))]);
    let alarms = broker.get("/sinks/alarms");
    assert_eq!(alarms["endpoint"], service.url(""));
    assert_eq!((&alarms["delivered_messages"], &alarms["last_status"]), (&json!(1), &json!(204)));
    assert_eq!((&alarms["last_error"], &alarms["queue"]["messages"]), (&Value::Null, &json!(0)));
    assert!(alarms["last_success"].is_string() && alarms["connected_since"].is_string(), "{alarms}");
    assert_eq!(alarms["configuration"]["filters"], json!(["alarms/#"]));
    assert!(alarms["configuration"]["secret_file"].as_str().unwrap().ends_with("/oncemq.toml"), "{alarms}");
    let gone = &sinks["sinks"][1];
    assert!(gone["last_error"].as_str().unwrap().contains("refused"), "{gone}");
    assert!(gone["failing_since"].is_string() && gone["requests"]["unanswered"].as_u64() > Some(0), "{gone}");
    assert_eq!((&gone["queue"]["messages"], &gone["client_id"]), (&json!(1), &json!("$sink/gone")));
    assert!(!sinks.to_string().contains("very-secret-path"), "{sinks}");

    let table = broker.prints(&["sinks"]);
    assert!(row(&table, "alarms").contains("  well ") && row(&table, "gone").contains("  failing "), "{table}");
    let one = broker.prints(&["sinks", "gone"]);
    assert!(one.contains("failing") && one.contains("configuration.retries_max"), "{one}");
    let listed: Value = serde_json::from_str(&broker.prints(&["sinks", "--json"])).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[1]["state"]), (2, &json!("failing")));
    let (code, text) = broker.run(&["sinks", "nobody"]);
    assert!(code != Some(0) && text.contains("the configuration has no sink of this name"), "{text}");

    // What the receiver refuses is lost, because there is no dead letter topic.
    status.store(400, Ordering::Relaxed);
    broker.publish("alarms/door", "closed");
    broker.expect_figure("oncemq_sink_messages_dropped_total{sink=\"alarms\",reason=\"given_up\"}", 1.0);
    broker.expect_figure("oncemq_sink_requests_total{sink=\"alarms\",result=\"refused\"}", 1.0);
    let alarms = broker.get("/sinks/alarms");
    assert_eq!(
        (&alarms["state"], &alarms["last_status"], &alarms["dropped_messages"]),
        (&json!("failing"), &json!(400), &json!(1))
    );
}

#[test]
fn a_bridge_shows_whether_it_is_connected_what_has_passed_and_why_it_is_not() {
    let mut there = Broker::start("");
    let here = Broker::start(&(bridge("cloud", there.mqtt) + &bridge("lost", free_address())));
    here.expect_figure("oncemq_bridge_connected{bridge=\"cloud\"}", 1.0);
    here.publish("cloud/1", "four");
    here.expect_figure("oncemq_bridge_messages_total{bridge=\"cloud\",direction=\"out\"}", 1.0);
    // The topic without prefix, and the payload.
    wait_for("the bytes", || {
        here.figure("oncemq_bridge_bytes_total{bridge=\"cloud\",direction=\"out\"}").filter(|bytes| *bytes >= 11.0)
    });
    there.publish("site/cloud/2", "x");
    here.expect_figure("oncemq_bridge_messages_total{bridge=\"cloud\",direction=\"in\"}", 1.0);
    assert_eq!(here.figure("oncemq_bridge_connected{bridge=\"lost\"}"), Some(0.0));
    wait_for("failures", || {
        here.figure("oncemq_bridge_connect_failures_total{bridge=\"lost\"}").filter(|count| *count > 1.0)
    });
    wait_for("the time", || {
        here.figure("oncemq_bridge_disconnected_seconds{bridge=\"lost\"}").filter(|seconds| *seconds > 0.0)
    });
    for reason in ["unmapped", "looped", "too_large", "congested", "queue_full"] {
        here.expect_figure(
            &format!("oncemq_bridge_messages_dropped_total{{bridge=\"cloud\",reason=\"{reason}\"}}"),
            0.0,
        );
    }

    let bridges = here.get("/bridges");
    let states: Vec<_> =
        bridges["bridges"].as_array().unwrap().iter().map(|one| (&one["name"], &one["state"])).collect();
    assert_eq!(states, [(&json!("cloud"), &json!("connected")), (&json!("lost"), &json!("connecting"))]);
    let cloud = here.get("/bridges/cloud");
    assert_eq!(
        (&cloud["connected"], &cloud["connects"], &cloud["last_error"]),
        (&json!(true), &json!(1), &Value::Null)
    );
    assert_eq!((&cloud["out"]["messages"], &cloud["in"]["messages"]), (&json!(1), &json!(1)));
    assert_eq!(cloud["address"], format!("mqtt://{}", there.mqtt));
    assert_eq!((&cloud["client_id"], &cloud["refused"]), (&json!("$bridge/cloud"), &json!({ "here": 0, "there": 0 })));
    assert_eq!(cloud["configuration"]["topics"][0]["remote_prefix"], "site/");
    let lost = &bridges["bridges"][1];
    assert!(lost["last_error"].as_str().unwrap().contains("refused") && lost["last_error_at"].is_string(), "{lost}");

    let table = here.prints(&["bridges"]);
    assert!(row(&table, "cloud").contains("  connected ") && row(&table, "lost").contains("refused"), "{table}");
    let one = here.prints(&["bridges", "cloud"]);
    assert!(one.contains("out.messages") && one.contains("configuration.backoff_max"), "{one}");
    let listed: Value = serde_json::from_str(&here.prints(&["bridges", "--json"])).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["connected"]), (2, &json!(true)));
    let (code, text) = here.run(&["bridges", "nobody"]);
    assert!(code != Some(0) && text.contains("the configuration has no bridge of this name"), "{text}");

    // What an operator does to a client, ends both connections of the bridge; it connects again.
    here.prints(&["kick", "$bridge/cloud"]);
    here.expect_figure("oncemq_bridge_connects_total{bridge=\"cloud\"}", 2.0);
    here.expect_figure("oncemq_bridge_disconnects_total{bridge=\"cloud\"}", 1.0);
    here.expect_figure("oncemq_bridge_connected{bridge=\"cloud\"}", 1.0);
    assert!(here.get("/bridges/cloud")["last_error"].as_str().unwrap().contains("this broker"));

    there.kill();
    here.expect_figure("oncemq_bridge_connected{bridge=\"cloud\"}", 0.0);
    here.publish("cloud/1", "waits");
    here.expect_figure("oncemq_bridge_queued_messages{bridge=\"cloud\"}", 1.0);
    wait_for("how full it is", || {
        here.figure("oncemq_bridge_queue_used_ratio{bridge=\"cloud\"}").filter(|used| *used > 0.0)
    });
    assert_eq!(here.get("/bridges/cloud")["queue"]["messages"], 1);
    there.restart();
    here.expect_figure("oncemq_bridge_connected{bridge=\"cloud\"}", 1.0);
    here.expect_figure("oncemq_bridge_queued_messages{bridge=\"cloud\"}", 0.0);
    here.expect_figure("oncemq_bridge_sessions_lost_total{bridge=\"cloud\",at=\"there\"}", 0.0);
}
