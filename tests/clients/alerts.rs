//! Metrics and alerts with the tools of Prometheus: `promtool` checks the text and the rules, and a real Prometheus fires the alerts.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use wire::free_port;

use crate::broker::{Setup, Transport};
use crate::certificates;
use crate::deadline::{PATIENCE, wait_for};
use crate::full_disk::{self, SmallDisk};
use crate::listeners::{Admin, with_admin};
use crate::peer;
use crate::probe;
use crate::raw::{Connect, PUBLISH, Version, Wire};

/// A running Prometheus. Dropping it kills the process.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Prometheus {
    /// Scrapes these targets, each with the name of its instance, and evaluates the alerts every second; those that wait before they fire do
    /// not wait.
    #[track_caller]
    fn start(targets: &[(&str, SocketAddr)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let rules = fs::read_to_string(repository("configs/prometheus/alerts.yml")).unwrap();
        let impatient: Vec<&str> = rules.lines().filter(|line| !line.trim_start().starts_with("for: ")).collect();
        assert!(impatient.len() + 5 < rules.lines().count(), "the alerts wait");
        fs::write(directory.path().join("alerts.yml"), impatient.join("\n")).unwrap();
        let mut config = "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\n\
                          rule_files: [alerts.yml]\nscrape_configs:\n  - job_name: oncemq\n    static_configs:\n"
            .to_owned();
        for (instance, address) in targets {
            config += &format!("      - {{ targets: [\"{address}\"], labels: {{ instance: {instance} }} }}\n");
        }
        fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new("prometheus");
        command.current_dir(directory.path()).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}")).args(["--log.level=warn"]);
        let log = fs::File::create(directory.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let prometheus = Self { child: command.spawn().expect(HOW_TO_INSTALL), address, directory };
        wait_for("Prometheus", || prometheus.ask("/-/ready")?.starts_with("HTTP/1.0 200").then_some(()));
        prometheus
    }

    fn ask(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// An expression must have a result, at the latest when a new series was read twice.
    #[track_caller]
    fn expect_result(&self, expression: &str) {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        wait_for(expression, || {
            let answer = self.ask(&format!("/api/v1/query?query={encoded}"))?;
            let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
            body["data"]["result"].as_array().filter(|results| !results.is_empty()).map(drop)
        });
    }

    /// The [`WATCHED`] alerts that fire, each with its instance.
    fn firing(&self) -> BTreeSet<(String, String)> {
        let answer = self.ask("/api/v1/alerts").unwrap();
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        let alerts = body["data"]["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing");
        let text = |alert: &Value, label: &str| alert["labels"][label].as_str().unwrap_or_default().to_owned();
        let named = alerts.map(|alert| (text(alert, "alertname"), text(alert, "instance")));
        named.filter(|(name, _)| WATCHED.contains(&name.as_str())).collect()
    }

    /// Waits until exactly these of the [`WATCHED`] alerts fire.
    #[track_caller]
    fn expect(&self, alerts: &[(&str, &str)]) {
        let expected: BTreeSet<_> = alerts.iter().map(|(name, at)| ((*name).to_owned(), (*at).to_owned())).collect();
        let mut found = BTreeSet::new();
        for _ in 0..PATIENCE.as_secs() {
            found = self.firing();
            if found == expected {
                return;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        panic!("{found:?} fire instead of {expected:?}");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            println!("the log of Prometheus:\n{}", fs::read_to_string(self.directory.path().join("log")).unwrap());
        }
    }
}

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs promtool, which must have no objection.
#[track_caller]
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(repository("."));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(HOW_TO_INSTALL);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && output.stderr.is_empty(), "promtool {arguments:?}: {said}");
}

fn metrics(admin: &Admin) -> String {
    let answer = admin.get("/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn promtool_has_no_objection_to_the_metrics_the_rules_and_the_configuration() {
    if peer::is_chosen() {
        return;
    }
    let setup = Setup::new([Transport::Tcp, Transport::Tls]).access("topic read a\n").set("sinks", SINKS);
    let (setup, admin) = with_admin(setup);
    let broker = setup.start();
    // Something of everything: refused, dropped, acknowledged, disconnected.
    let mut wire = Wire::connected(broker.address(), &Connect::new(Version::V5, "client"));
    wire.subscribe(Version::V5, "a", 1);
    assert_eq!(wire.publish(Version::V5, "b", "denied"), 0x87);
    wire.cut();
    let text = wait_for("the counts", || {
        let text = metrics(&admin);
        (text.contains("oncemq_refusals_total{") && text.contains("oncemq_disconnects_total{")).then_some(text)
    });
    promtool(&["check", "metrics"], &text);
    promtool(&["check", "rules", "configs/prometheus/alerts.yml"], "");
    promtool(&["check", "config", "configs/prometheus/prometheus.yml"], "");
    promtool(&["test", "rules", "tests/prometheus/alerts_test.yml"], "");
}

#[test]
fn alerts_fire_for_a_full_disk_a_slow_receiver_an_expiring_certificate_a_failing_probe_and_a_broker_that_is_gone() {
    if peer::is_chosen() {
        return;
    }
    // The access rules refuse its topic.
    let (setup, probed_admin) = probe::probed(Setup::default().access("topic readwrite other/#\n"));
    let probed = setup.start();
    let bridge = format!(
        "[{{ name = \"a\", addresses = [\"mqtt://{}\"], topics = [{{ filter = \"bridged/#\" }}] }}]",
        probed.address()
    );
    let setup = Setup::new([Transport::Tcp, Transport::Tls]).set("bridges", &bridge).set("sinks", SINKS);
    let (setup, admin) = with_admin(setup);
    let broker = setup.start();
    let disk = SmallDisk::new("24m");
    let disk_admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let full = full_disk::Broker::start_with_admin(&disk, &disk_admin.to_string());
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let targets =
        [("served", admin.address()), ("full", disk_admin), ("probed", probed_admin.address()), ("gone", nobody)];
    let prometheus = Prometheus::start(&targets);
    prometheus.expect(&[("OnceMQDown", "gone"), ("OnceMQProbeFailing", "probed")]);

    let away = Connect::durable(Version::V5, "away");
    let mut wire = Wire::connected(full.address, &away);
    wire.subscribe(Version::V5, "t", 2);
    wire.cut();
    full_disk::fill(&mut Wire::connected(full.address, &Connect::new(Version::V5, "publisher")));
    certificates::replace_for_days(broker.path(), 1);
    broker.signal("HUP");
    let mut slow = Wire::connected(broker.address(), &Connect::new(Version::V311, "slow"));
    slow.subscribe(Version::V311, "much", 0);
    let mut publisher = Wire::connected(broker.address(), &Connect::new(Version::V311, "publisher"));
    let payload = vec![0; 256 << 10];
    wait_for("dropped messages", || {
        for _ in 0..16 {
            publisher.send(&Version::V311.publish(PUBLISH, "much", 0, &payload));
        }
        publisher.ping();
        metrics(&admin)
            .lines()
            .any(|line| {
                let dropped = line.strip_prefix("oncemq_messages_dropped_total{reason=\"slow_receiver\"} ");
                dropped.is_some_and(|dropped| dropped != "0")
            })
            .then_some(())
    });
    prometheus.expect(&[
        ("OnceMQDown", "gone"),
        ("OnceMQProbeFailing", "probed"),
        ("OnceMQDiskFull", "full"),
        ("OnceMQSlowReceiver", "served"),
        ("OnceMQCertificateExpiresSoon", "served"),
        ("OnceMQCertificateExpires", "served"),
    ]);
    // Every panel of the dashboard has something to show.
    for expression in dashboard() {
        prometheus.expect_result(&expression);
    }
}

/// The expressions of the dashboard, for all brokers and the last minute.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(repository("configs/grafana/dashboards/oncemq.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    // The broker of this test is not part of a cluster.
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    let expressions = expressions.filter(|expression| !expression.contains("oncemq_cluster_"));
    let all: Vec<_> =
        expressions.map(|expression| expression.replace("$__rate_interval", "1m").replace("$instance", ".*")).collect();
    assert!(all.len() > 40, "{all:?}");
    all
}

/// What the test causes. The machine that runs the tests may have a full or slow disk itself.
const WATCHED: [&str; 6] = [
    "OnceMQDown",
    "OnceMQDiskFull",
    "OnceMQSlowReceiver",
    "OnceMQCertificateExpiresSoon",
    "OnceMQCertificateExpires",
    "OnceMQProbeFailing",
];
/// Nobody listens there.
const SINKS: &str = r#"[{ name = "gone", type = "webhook", filters = ["alarms/#"], url = "http://127.0.0.1:1/", allow_private_addresses = true }]"#;
const HOW_TO_INSTALL: &str = "prometheus and promtool run: `bash tests/run` installs them";
