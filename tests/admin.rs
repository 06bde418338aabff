//! Metrics and health of the real binary over HTTP, while mosquitto's clients use it.

#![cfg(test)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use oncemq::admin::metrics;
use serde_json::Value;
use tempfile::TempDir;
use wire::{Connect, Publish, Received, Version, Wire, free_address};

/// A broker with an admin listener. Dropping it kills the process.
struct Broker {
    directory: TempDir,
    child: Child,
    mqtt: SocketAddr,
    admin: SocketAddr,
}

impl Broker {
    fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mqtt, admin) = (free_address(), free_address());
        let child = command(directory.path(), mqtt, admin).args(settings).spawn().unwrap();
        let broker = Self { directory, child, mqtt, admin };
        wait_for("the broker", || broker.is_ready().then_some(()));
        broker
    }

    /// The status code and the body of the response, if there is one.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        exchange(stream, &format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.admin))
    }

    fn is_ready(&self) -> bool {
        self.get("/health/ready").is_some_and(|(code, _)| code == 200)
    }

    /// The exit code of `oncemq health`, and what it prints.
    fn health(&self) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        let output = command.env_clear().args(["health", "--admin", &self.admin.to_string()]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// Asks as the operator of this machine, over the Unix socket. The code and the JSON of the response, `null` if it is empty.
    fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(self.directory.path().join("data").join("admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// How a client left the last time, when it is not connected any more.
    #[track_caller]
    fn left(&self, client_id: &str) -> Value {
        wait_for("the end of the connection", || {
            let (code, client) = self.ask("GET", &format!("/clients/{client_id}"));
            (code == 200 && client["connected"] == false).then(|| client["last_disconnect"].clone())
        })
    }

    /// The events of a client, by name.
    fn history(&self, client_id: &str) -> Vec<String> {
        let (code, body) = self.ask("GET", &format!("/clients/{client_id}/history"));
        assert_eq!(code, 200, "{body}");
        let events = body["events"].as_array().unwrap().iter();
        events.map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }

    /// A 5.0 client that has connected.
    fn wire(&self, connect: &Connect) -> Wire {
        let mut wire = Wire::open(self.mqtt, PATIENCE).unwrap();
        wire.send(&connect.bytes());
        let Received::Packet(connack) = wire.receive(PATIENCE) else { panic!("no CONNACK") };
        assert_eq!((connack.kind(), connack.reason_code()), (0x20, 0), "{connack:?}");
        wire
    }

    fn metrics(&self) -> String {
        let (code, text) = self.get("/metrics").unwrap();
        assert_eq!(code, 200, "{text}");
        text
    }

    /// The value of a series.
    fn figure(&self, series: &str) -> f64 {
        figure(&self.metrics(), series)
    }

    /// The arguments that connect mosquitto's clients to this broker.
    fn target(&self) -> [String; 4] {
        ["-h".to_owned(), self.mqtt.ip().to_string(), "-p".to_owned(), self.mqtt.port().to_string()]
    }

    /// Runs `mosquitto_pub` and returns whether it succeeded.
    fn try_publish(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("timeout");
        command.args([PATIENCE_SECONDS, "mosquitto_pub"]).args(self.target()).args(arguments);
        command.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    #[track_caller]
    fn publish(&self, arguments: &[&str]) {
        assert!(self.try_publish(arguments), "mosquitto_pub {arguments:?}: {HOW_TO_INSTALL}");
    }

    /// Starts a subscriber and waits until it has subscribed.
    #[track_caller]
    fn subscribe(&self, arguments: &[&str]) -> Subscriber {
        // stdbuf makes the output line-buffered. -W ends the process if no message arrives.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-d", "-W", PATIENCE_SECONDS]).args(self.target()).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let is_subscribed = lines.any(|line| line.starts_with("Subscribed"));
        let subscriber = Subscriber { child, _lines: Box::new(lines) };
        assert!(is_subscribed, "mosquitto_sub {arguments:?}: {HOW_TO_INSTALL}");
        subscriber
    }

    /// A client that subscribes to `a` and then stops reading.
    fn subscribe_and_stall(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.mqtt).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let connect = Connect { keep_alive: 0, ..Connect::new(Version::V311, "s") };
        stream.write_all(&[connect.bytes(), Version::V311.subscribe(1, "a", 0)].concat()).unwrap();
        let mut answer = [0; 9];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"\x20\x02\0\0\x90\x03\0\x01\0");
        stream
    }

    /// Kills the broker and starts it again.
    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = command(self.directory.path(), self.mqtt, self.admin).spawn().unwrap();
        wait_for("the broker", || self.is_ready().then_some(()));
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            println!("the broker's log:\n{}", self.log());
        }
    }
}

/// Sends a request; returns the status code and the body of the response, if there is one.
fn exchange(mut stream: impl Read + Write, request: &str) -> Option<(u16, String)> {
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A running `mosquitto_sub`. Dropping it kills the process.
struct Subscriber {
    child: Child,
    /// Keeps the pipe of its output open; the process ends if it is closed.
    _lines: Box<dyn Iterator<Item = String>>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(directory: &Path, mqtt: SocketAddr, admin: SocketAddr) -> Command {
    let log = File::create(directory.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.args(["--listen", &mqtt.to_string(), "--admin", &admin.to_string(), "--data"]).arg(directory.join("data"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

/// Repeats `ask` until it returns a value, or fails after a time limit.
#[expect(clippy::disallowed_methods, reason = "what is tested here is a process in real time")]
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "timeout while waiting for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn figure(text: &str, series: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
}

#[test]
fn metrics_count_what_clients_did() {
    let broker = Broker::start(&[]);
    let subscriber = broker.subscribe(&["-q", "2", "-t", "a/#"]);
    let shared = broker.subscribe(&["-q", "1", "-t", "$share/group/b"]);
    broker.publish(&["-q", "0", "-t", "a/0", "-m", "zero"]);
    broker.publish(&["-q", "1", "-t", "a/1", "-m", "one"]);
    broker.publish(&["-q", "2", "-t", "a/2", "-m", "two", "-r"]);

    wait_for("the PUBCOMP", || (broker.figure("oncemq_packets_received_total{type=\"pubcomp\"}") >= 1.0).then_some(()));
    let text = broker.metrics();
    for (series, value) in [
        ("oncemq_messages_received_total{qos=\"0\"}", 1.0),
        ("oncemq_messages_received_total{qos=\"1\"}", 1.0),
        ("oncemq_messages_received_total{qos=\"2\"}", 1.0),
        ("oncemq_messages_sent_total{qos=\"2\"}", 1.0),
        ("oncemq_payload_received_bytes_total", 10.0),
        ("oncemq_payload_sent_bytes_total", 10.0),
        ("oncemq_packets_received_total{type=\"subscribe\"}", 2.0),
        ("oncemq_packets_received_total{type=\"connect\"}", 5.0),
        ("oncemq_packets_sent_total{type=\"connack\"}", 5.0),
        ("oncemq_packets_sent_total{type=\"suback\"}", 2.0),
        ("oncemq_connects_accepted_total", 5.0),
        ("oncemq_connections_accepted_total", 5.0),
        ("oncemq_sessions_connected", 2.0),
        ("oncemq_sessions", 2.0),
        ("oncemq_subscriptions", 2.0),
        ("oncemq_subscriptions_shared", 1.0),
        ("oncemq_protocol_errors_total", 0.0),
        (concat!("oncemq_info{version=\"", env!("CARGO_PKG_VERSION"), "\",durability=\"power-loss\"}"), 1.0),
    ] {
        assert_eq!(figure(&text, series), value, "{series} in\n{text}");
    }
    assert!(figure(&text, "oncemq_retained_messages") >= 1.0, "{text}");
    assert!(figure(&text, "oncemq_received_bytes_total") > 100.0, "{text}");
    assert!(figure(&text, "oncemq_sent_bytes_total") > 50.0, "{text}");
    assert!(figure(&text, "process_resident_memory_bytes") > 1e6, "{text}");

    drop((subscriber, shared));
    wait_for("the end of the connections", || (broker.figure("oncemq_connections") == 0.0).then_some(()));
    wait_for("the end of the sessions", || (broker.figure("oncemq_sessions") == 0.0).then_some(()));
}

#[test]
fn queued_messages_are_counted_until_they_are_delivered() {
    let broker = Broker::start(&[]);
    let session = ["-V", "mqttv5", "-c", "-i", "away", "-x", "3600", "-q", "1", "-t", "queue"];
    drop(broker.subscribe(&session));
    wait_for("the end of the connection", || (broker.figure("oncemq_sessions_connected") == 0.0).then_some(()));
    broker.publish(&["-q", "1", "-t", "queue", "-m", "waits"]);
    wait_for("the queue", || (broker.figure("oncemq_queued_messages") == 1.0).then_some(()));
    assert!(broker.figure("oncemq_queued_bytes") >= 5.0);
    assert_eq!(broker.figure("oncemq_sessions"), 1.0);
    broker.publish(&["-q", "1", "-r", "-t", "kept", "-m", "x"]);
    wait_for("the end of the publishers", || (broker.figure("oncemq_connections") == 0.0).then_some(()));
    let (text, overview) = (broker.metrics(), broker.ask("GET", "/overview").1);
    for (field, series) in [
        (&overview["connections"], "oncemq_connections"),
        (&overview["sessions"], "oncemq_sessions"),
        (&overview["subscriptions"], "oncemq_subscriptions"),
        (&overview["retained_messages"], "oncemq_retained_messages"),
        (&overview["queued_messages"], "oncemq_queued_messages"),
        (&overview["queued_bytes"], "oncemq_queued_bytes"),
        (&overview["memory"]["max_bytes"], "oncemq_memory_max_bytes"),
    ] {
        assert_eq!(field.as_f64().unwrap(), figure(&text, series), "{series}: {overview}");
    }

    let _subscriber = broker.subscribe(&session);
    wait_for("the empty queue", || (broker.figure("oncemq_queued_messages") == 0.0).then_some(()));
    assert_eq!(broker.figure("oncemq_queued_bytes"), 0.0);
}

#[test]
fn latencies_are_measured_from_the_publisher_to_the_receiver_on_any_shard() {
    let broker = Broker::start(&["--shards", "2"]);
    let _subscriber = broker.subscribe(&["-q", "2", "-t", "a"]);
    // Before it, a message that waits for its receiver, and a retained one: their time is not a latency.
    broker.publish(&["-q", "1", "-r", "-t", "kept", "-m", "x"]);
    thread::sleep(Duration::from_secs(2));
    let _late = broker.subscribe(&["-q", "1", "-t", "kept"]);
    let counts = [
        "oncemq_publish_to_acknowledge_seconds_count{qos=\"1\"}",
        "oncemq_publish_to_acknowledge_seconds_count{qos=\"2\"}",
        "oncemq_publish_to_deliver_seconds_count{qos=\"0\"}",
        "oncemq_publish_to_deliver_seconds_count{qos=\"1\"}",
        "oncemq_publish_to_deliver_seconds_count{qos=\"2\"}",
        "oncemq_connect_seconds_count",
        "oncemq_store_commit_seconds_count",
        "oncemq_store_sync_seconds_count",
    ];
    let text = wait_for("all samples", || {
        for qos in ["0", "1", "2"] {
            broker.publish(&["-q", qos, "-t", "a", "-m", "x"]);
        }
        let text = broker.metrics();
        counts.iter().all(|series| figure(&text, series) >= 1.0).then_some(text)
    });
    for series in counts {
        let (count, sum) = (figure(&text, series), figure(&text, &series.replace("_count", "_sum")));
        assert!(sum > 0.0 && sum / count < 1.0, "{series}: {sum} s for {count} in\n{text}");
        let most = series.replace("_count{", "_bucket{").replace("_count", "_bucket{").replace('}', ",");
        assert_eq!(figure(&text, &format!("{}le=\"+Inf\"}}", most)), count, "{series}");
    }
    wait_for("a sample of each client", || {
        let text = broker.metrics();
        let accepted = figure(&text, "oncemq_connects_accepted_total");
        (figure(&text, "oncemq_connect_seconds_count") == accepted).then_some(())
    });
    let turns = (0..2).map(|shard| figure(&text, &format!("oncemq_shard_turn_seconds_count{{shard=\"{shard}\"}}")));
    assert!(turns.sum::<f64>() >= 10.0, "{text}");
    let busy = figure(&text, "oncemq_shard_busy_seconds_total{shard=\"0\"}");
    assert!(busy > 0.0 && busy < PATIENCE.as_secs_f64(), "{text}");
    assert!(figure(&text, "oncemq_disk_size_bytes") >= figure(&text, "oncemq_disk_free_bytes"), "{text}");
    assert!(figure(&text, "oncemq_disk_free_bytes") > 0.0, "{text}");
}

#[test]
fn refusals_and_disconnects_are_counted_by_listener_and_reason_code() {
    let directory = tempfile::tempdir().unwrap();
    let acl = directory.path().join("acl");
    fs::write(&acl, "topic readwrite open/#\n").unwrap();
    let acl = format!("security.acl_file={}", acl.display());
    let broker = Broker::start(&["--set", &acl]);
    let listener = broker.mqtt.to_string();
    let mut wire = broker.wire(&Connect::new(Version::V5, "a"));
    wire.send(&Version::V5.publish(0x32, "closed", 1, b"x"));
    wire.send(&Version::V5.subscribe(2, "closed", 0));
    wire.send(&[0xE0, 2, 0x04, 0]);
    drop(broker.wire(&Connect::new(Version::V311, "b")));
    let mut refused = Wire::open(broker.mqtt, PATIENCE).unwrap();
    refused.send(&Connect::new(Version::V5, &"c".repeat(5_000)).bytes());
    let expected = [
        format!("oncemq_refusals_total{{packet=\"publish\",listener=\"{listener}\",reason=\"not_authorized\"}}"),
        format!("oncemq_refusals_total{{packet=\"subscribe\",listener=\"{listener}\",reason=\"not_authorized\"}}"),
        format!(
            "oncemq_refusals_total{{packet=\"connect\",listener=\"{listener}\",reason=\"client_identifier_not_valid\"}}"
        ),
        format!(
            "oncemq_disconnects_total{{how=\"disconnect\",listener=\"{listener}\",reason=\"disconnect_with_will_message\"}}"
        ),
        format!("oncemq_disconnects_total{{how=\"closed\",listener=\"{listener}\",reason=\"none\"}}"),
    ];
    let has = |text: &str, series: &str| text.lines().any(|line| line == format!("{series} 1"));
    wait_for("the counts", || {
        let text = broker.metrics();
        expected.iter().all(|series| has(&text, series)).then_some(())
    });
}

#[test]
fn the_metrics_match_the_documentation() {
    let broker = Broker::start(&[]);
    let text = broker.metrics();
    let mut told: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    told.sort_unstable();
    let documentation = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATING.md")).unwrap();
    let documented = documentation.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| {
        let (name, rest) = row.split_once("` | ")?;
        let kind = rest.split(" |").next()?;
        ["counter", "gauge", "histogram"].contains(&kind).then(|| format!("{name} {kind}"))
    });
    let mut documented: Vec<String> = documented.collect();
    documented.sort_unstable();
    assert_eq!(told, documented);
    assert_eq!(told.len(), metrics().count());
}

#[test]
fn the_broker_is_ready_until_it_drains_and_live_to_the_end() {
    let mut broker = Broker::start(&["--set", "server.drain_timeout=15s"]);
    assert_eq!(broker.get("/health/live").unwrap().0, 200);
    assert_eq!(broker.get("/health/ready").unwrap(), (200, "{\"status\":\"ready\"}\n".to_owned()));
    assert_eq!(broker.health(), (Some(0), "{\"status\":\"ready\"}\n".to_owned()));

    // A client that doesn't read delays the drain, if there are more bytes than the operating system buffers.
    let stalled = broker.subscribe_and_stall();
    let large = broker.directory.path().join("large");
    fs::write(&large, vec![b'x'; 200_000]).unwrap();
    let repeat = ["-t", "a", "--repeat", "100", "--repeat-delay", "0", "-f"];
    broker.publish(&[repeat.as_slice(), &[large.to_str().unwrap()]].concat());
    wait_for("messages dropped", || {
        (broker.figure("oncemq_messages_dropped_total{reason=\"slow_receiver\"}") > 0.0).then_some(())
    });

    broker.signal("TERM");
    let (code, body) = wait_for("the drain", || broker.get("/health/ready").filter(|(code, _)| *code != 200));
    assert_eq!((code, body.as_str()), (503, "{\"status\":\"draining\"}\n"));
    let (code, text) = broker.health();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("/health/ready: answered 503: {\"status\":\"draining\"}"), "{text}");
    assert_eq!(broker.get("/health/live").unwrap().0, 200);
    TcpStream::connect(broker.mqtt).unwrap_err();
    drop(stalled);
    let status = wait_for("the end", || broker.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(broker.get("/health/live").is_none());
    let (code, text) = broker.health();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("does the broker run?"), "{text}");
}

#[test]
fn a_website_gets_nothing_after_dns_rebinding_and_a_configured_name_gets_the_metrics() {
    let broker = Broker::start(&["--set", "admin.allowed_hosts=broker,mqtt.example.com"]);
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(broker.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap(), answer)
    };
    let port = broker.admin.port();
    for path in ["/metrics", "/health/live", "/backup", "/api/v1/clients", "/nothing"] {
        for method in ["GET", "POST"] {
            let (code, answer) = ask(&format!("{method} {path} HTTP/1.1\r\nHost: evil.example:{port}"));
            assert!([403, 421].contains(&code), "{method} {path}: {answer}");
            let website = format!("Host: 127.0.0.1:{port}\r\nOrigin: http://evil.example");
            let (code, answer) = ask(&format!("{method} {path} HTTP/1.1\r\n{website}"));
            assert_eq!(code, 403, "{method} {path}: {answer}");
        }
    }
    for host in ["broker:9883", "mqtt.example.com", "localhost", "127.0.0.1", "192.0.2.1:9883"] {
        let (code, answer) = ask(&format!("GET /metrics HTTP/1.1\r\nHost: {host}"));
        assert_eq!(code, 200, "{host}: {answer}");
    }
    assert_eq!(ask("GET /health/live HTTP/1.0").0, 200, "a health check without Host");
    wait_for("the log", || broker.log().contains("the Host \"evil.example:").then_some(()));
}

#[test]
fn the_broker_runs_without_the_admin_listener_unless_that_is_required() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (mqtt, admin) = (free_address(), taken.local_addr().unwrap());
    let child = command(directory.path(), mqtt, admin).spawn().unwrap();
    let broker = Broker { directory, child, mqtt, admin };
    wait_for("a client's connection", || broker.try_publish(&["-t", "a", "-m", "b"]).then_some(()));
    wait_for("the warning", || broker.log().contains("running without the admin listener").then_some(()));

    let directory = tempfile::tempdir().unwrap();
    let mut command = command(directory.path(), free_address(), admin);
    let mut child = command.args(["--set", "admin.required=true"]).spawn().unwrap();
    assert_eq!(wait_for("the end", || child.try_wait().unwrap()).code(), Some(3));
}

#[test]
fn clients_of_all_shards_are_listed_in_pages_and_described() {
    let broker = Broker::start(&["--shards", "2"]);
    let away = ["-V", "mqttv5", "-c", "-i", "a/way é", "-x", "3600", "-q", "1", "-t", "queue"];
    drop(broker.subscribe(&away));
    wait_for("the end of the connection", || (broker.figure("oncemq_sessions_connected") == 0.0).then_some(()));
    broker.publish(&["-q", "1", "-t", "queue", "-m", "waits"]);
    let names: Vec<String> = (0..5).map(|number| format!("c{number}")).collect();
    let subscribe = |name: &String| broker.subscribe(&["-i", name, "-t", "queue", "-t", "$share/g/b", "-k", "33"]);
    let _subscribers: Vec<_> = names.iter().map(subscribe).collect();
    // mosquitto_pub has ended, but the broker may not know yet.
    wait_for("the sessions", || (broker.ask("GET", "/clients").1["clients"].as_array()?.len() == 6).then_some(()));

    let (mut listed, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = broker.ask("GET", &format!("/clients?limit=2{cursor}")).1;
        let clients = page["clients"].as_array().unwrap();
        assert!(clients.len() <= 2, "{page}");
        listed.extend(clients.iter().map(|client| client["client_id"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(pages >= 3);
    listed.sort_unstable();
    assert_eq!(listed, [["a/way é".to_owned()].as_slice(), &names].concat());

    let client = broker.ask("GET", "/clients/c3").1;
    assert!(client["connection"]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{client}");
    assert_eq!(client["connection"]["protocol_version"], "3.1.1");
    assert_eq!(client["connection"]["bridge"], false);
    assert_eq!(client["connection"]["keep_alive_seconds"], 33);
    assert_eq!(client["connection"]["paused_because"].as_array().unwrap().len(), 0);
    assert_eq!((client["connected"].as_bool(), client["subscriptions"].as_u64()), (Some(true), Some(2)));
    let subscriptions = broker.ask("GET", "/clients/c3/subscriptions").1;
    let filter = |place: usize| subscriptions["subscriptions"][place]["filter"].as_str().unwrap();
    assert_eq!((filter(0), filter(1)), ("queue", "$share/g/b"));

    let client = broker.ask("GET", "/clients/a%2Fway%20%C3%A9").1;
    assert_eq!((client["connected"].as_bool(), client["connection"].is_null()), (Some(false), true));
    assert!(client["disconnected_at_ms"].as_u64().unwrap() > 1_600_000_000_000, "{client}");
    assert_eq!(client["session_expiry_interval_seconds"], 3600);
    assert_eq!(client["queued_messages"], 1);
    assert_eq!(broker.ask("GET", "/clients/nobody").0, 404);
}

#[test]
fn tokens_are_honoured_and_revoked_while_the_broker_runs_and_survive_it() {
    let mut broker = Broker::start(&[]);
    let data = broker.directory.path().join("data");
    let token = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        let output = command.arg("token").args(arguments).arg("--data").arg(&data).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), text.trim_end().to_owned())
    };
    let (is_created, secret) = token(&["create", "--role", "viewer", "grafana"]);
    assert!(is_created && secret.starts_with("oncemq_"), "{secret}");
    assert!(!token(&["create", "--role", "admin", "grafana"]).0 && !token(&["create", "--role", "root", "x"]).0);
    let ask = |broker: &Broker, method: &str| {
        let stream = TcpStream::connect(broker.admin).unwrap();
        let head = format!("{method} /api/v1/bans HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n");
        exchange(stream, &format!("{head}Content-Length: 0\r\n\r\n")).unwrap().0
    };
    assert_eq!((broker.get("/api/v1/bans").unwrap().0, ask(&broker, "GET"), ask(&broker, "POST")), (401, 200, 403));
    let (_, list) = token(&["list"]);
    assert!(list.contains("grafana  viewer"), "{list}");
    let (_, list) = token(&["list", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&list).unwrap()[0]["role"], "viewer");

    broker.child.kill().unwrap();
    broker.child.wait().unwrap();
    assert!(data.join("admin.sock").exists(), "it was killed");
    broker.child = command(broker.directory.path(), broker.mqtt, broker.admin).spawn().unwrap();
    wait_for("the broker", || broker.is_ready().then_some(()));
    assert_eq!(ask(&broker, "GET"), 200);
    assert_eq!(token(&["revoke", "grafana"]), (true, String::new()));
    assert!(!token(&["revoke", "grafana"]).0);
    assert_eq!(ask(&broker, "GET"), 401);
    wait_for("the log", || broker.log().contains("from 127.0.0.1 refused: the token is not valid").then_some(()));
    for name in ["tokens", "audit.log", "admin.sock"] {
        let mode = fs::metadata(data.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let audit = fs::read_to_string(data.join("audit.log")).unwrap();
    assert!(audit.contains(r#""who":"grafana","role":"viewer","address":"127.0.0.1""#), "{audit}");

    broker.signal("TERM");
    wait_for("the end", || broker.child.try_wait().unwrap());
    assert!(!data.join("admin.sock").exists());
}

#[test]
fn a_data_directory_with_a_long_path_has_no_socket_and_a_warning_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("x".repeat(120));
    let (mqtt, admin) = (free_address(), free_address());
    let log = File::create(directory.path().join("log")).unwrap();
    let mut long = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    long.args(["--listen", &mqtt.to_string(), "--admin", &admin.to_string(), "--data"]).arg(&data);
    long.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let broker = Broker { child: long.spawn().unwrap(), directory, mqtt, admin };
    wait_for("the broker", || broker.is_ready().then_some(()));
    assert!(broker.log().contains("use a shorter server.data"), "{}", broker.log());
}

/// A 5.0 CONNECT for a Session that outlives its connection.
fn durable(client_id: &str) -> Connect {
    Connect::durable(Version::V5, client_id)
}

/// Reads DISCONNECT with this Reason Code, and the end of the connection.
#[track_caller]
fn expect_disconnect(mut wire: Wire, reason_code: u8) {
    let Received::Packet(packet) = wire.receive(PATIENCE) else { panic!("no DISCONNECT") };
    assert_eq!((packet.kind(), packet.body.first()), (0xE0, Some(&reason_code)), "{packet:?}");
    assert_eq!(wire.receive(PATIENCE), Received::Closed);
}

#[test]
fn how_each_client_left_is_told() {
    let broker = Broker::start(&["--shards", "2"]);
    // mosquitto_sub sends DISCONNECT when it has subscribed.
    let mut leaves = Command::new("mosquitto_sub");
    leaves.args(broker.target()).args(["-V", "mqttv5", "-c", "-x", "3600", "-i", "leaves", "-q", "1", "-t", "a", "-E"]);
    assert!(leaves.stdin(Stdio::null()).status().unwrap().success(), "{HOW_TO_INSTALL}");
    drop(broker.subscribe(&["-V", "mqttv5", "-c", "-x", "3600", "-i", "killed", "-q", "1", "-t", "a"]));
    let silent = broker.wire(&Connect { keep_alive: 1, ..durable("silent") });
    let taken = broker.wire(&durable("taken"));
    drop(broker.wire(&durable("taken")));
    let mut breaks = broker.wire(&durable("breaks"));
    breaks.send(&durable("breaks").bytes());
    let kicked = broker.wire(&durable("kicked"));
    assert_eq!(broker.ask("DELETE", "/clients/kicked/connection?reason_code=0x97").0, 204);

    for (client_id, how, reason_code) in [
        ("leaves", "disconnect", Some(0)),
        ("killed", "closed", None),
        ("silent", "keep-alive", Some(0x8D)),
        ("breaks", "protocol-error", Some(0x82)),
        ("kicked", "kicked", Some(0x97)),
    ] {
        let left = broker.left(client_id);
        assert_eq!((&left["how"], left["reason_code"].as_u64()), (&how.into(), reason_code), "{client_id}: {left}");
        assert!(left["at"].as_str().is_some_and(|at| at.len() == 24 && at.starts_with("20")), "{left}");
        assert!(!left["reason"].as_str().unwrap().is_empty(), "{left}");
        assert_eq!(broker.history(client_id), ["connected", "disconnected"]);
    }
    expect_disconnect(silent, 0x8D);
    expect_disconnect(taken, 0x8E);
    expect_disconnect(breaks, 0x82);
    expect_disconnect(kicked, 0x97);
    assert_eq!(broker.left("taken")["how"], "closed");
    assert_eq!(broker.history("taken"), ["connected", "taken-over", "connected", "disconnected"]);

    // A client whose Session ended with its connection.
    drop(broker.wire(&Connect::new(Version::V5, "short")));
    wait_for("the end of the session", || (broker.ask("GET", "/clients/short").0 == 404).then_some(()));
    assert_eq!(broker.history("short"), ["connected", "disconnected"]);
    let _again = (0..2).map(|_| broker.wire(&Connect::new(Version::V5, "short"))).collect::<Vec<_>>();
    assert_eq!(broker.ask("GET", "/clients/short").1["last_disconnect"]["how"], "takeover");
    assert_eq!(broker.ask("GET", "/clients/nobody/history").0, 404);
}

#[test]
fn a_client_is_kicked_banned_and_told_so() {
    let broker = Broker::start(&["--shards", "2"]);
    let watcher = broker.subscribe(&["-i", "watcher", "-t", "gone", "-C", "1"]);
    let will = Some(Publish::new("gone", "kicked"));
    let kicked = broker.wire(&Connect { will, ..durable("kicked") });
    for (path, code) in [
        ("/clients/nobody/connection", 404),
        ("/clients/kicked/connection?reason_code=4", 400),
        ("/clients/kicked/connection?ban=0", 400),
        ("/clients/kicked/connection?bann=9", 400),
        ("/clients/kicked/connection", 204),
        ("/clients/kicked/connection", 409),
    ] {
        let (found, body) = broker.ask("DELETE", path);
        assert_eq!(found, code, "{path}: {body}");
        assert_eq!(body.is_null(), code == 204, "{body}");
    }
    expect_disconnect(kicked, 0x98);
    let mut watcher = watcher;
    wait_for("the Will", || watcher.child.try_wait().unwrap());

    let banned = broker.wire(&Connect { client_id: "ba/n".to_owned(), ..durable("") });
    assert_eq!(broker.ask("DELETE", "/clients/ba%2Fn/connection?ban=60").0, 204);
    expect_disconnect(banned, 0x98);
    assert!(!broker.try_publish(&["-t", "a", "-m", "b"]), "the address is banned");
    let bans = broker.ask("GET", "/bans").1;
    assert_eq!((&bans["bans"][0]["address"], bans["bans"].as_array().unwrap().len()), (&"127.0.0.1".into(), 1));
    assert_eq!(broker.ask("DELETE", "/bans/address/127.0.0.1").0, 204);
    broker.publish(&["-t", "a", "-m", "b"]);
    let audit = fs::read_to_string(broker.directory.path().join("data").join("audit.log")).unwrap();
    assert!(audit.contains("disconnect with 0x98 and ban for 60 s") && audit.contains("ba/n"), "{audit}");
}

#[test]
fn a_forgotten_session_is_gone_after_a_crash() {
    let mut broker = Broker::start(&["--shards", "2"]);
    for client_id in ["away", "kept"] {
        let arguments = ["-V", "mqttv5", "-c", "-x", "3600", "-q", "1", "-t", "queue", "-i", client_id];
        drop(broker.subscribe(&arguments));
        broker.left(client_id);
    }
    let here = broker.wire(&durable("here"));
    broker.publish(&["-q", "1", "-t", "queue", "-m", "waits"]);
    for client_id in ["away", "here"] {
        assert_eq!(broker.ask("DELETE", &format!("/clients/{client_id}")).0, 204);
        assert_eq!(broker.ask("DELETE", &format!("/clients/{client_id}")).0, 404);
        assert_eq!(broker.history(client_id).last().unwrap(), "session-ended");
    }
    expect_disconnect(here, 0x98);
    broker.restart();
    let names = |clients: &Value| {
        let name = |client: &Value| client["client_id"].as_str().unwrap().to_owned();
        clients["clients"].as_array().unwrap().iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names(&broker.ask("GET", "/clients?connected=false").1), ["kept"]);
    let kept = broker.ask("GET", "/clients/kept").1;
    assert_eq!((&kept["queued_messages"], &kept["last_disconnect"]["how"]), (&1.into(), &Value::Null), "{kept}");
    assert!(kept["last_disconnect"]["at"].is_string(), "the store has the time");
}

#[test]
fn clients_are_filtered_and_their_traffic_and_queues_shown() {
    let broker = Broker::start(&["--shards", "2"]);
    let _sensors: Vec<_> = (0..4).map(|number| broker.wire(&durable(&format!("sensor-{number}")))).collect();
    drop(broker.subscribe(&["-V", "mqttv5", "-c", "-x", "3600", "-q", "1", "-t", "queue", "-i", "away"]));
    broker.left("away");
    broker.publish(&["-q", "1", "-t", "queue", "-m", "waits"]);
    let count = |query: &str| broker.ask("GET", &format!("/clients?{query}")).1["clients"].as_array().unwrap().len();
    wait_for("the publisher's end", || (count("") == 5).then_some(()));
    for (query, found) in [
        ("client_id=sensor-*", 4),
        ("client_id=sensor-?&connected=true&address=127.0.0.1", 4),
        ("client_id=*-3", 1),
        ("connected=false", 1),
        ("user=nobody", 0),
        ("address=192.0.2.1", 0),
    ] {
        assert_eq!(count(query), found, "{query}");
    }
    assert_eq!(broker.ask("GET", "/clients?address=x").0, 400);
    assert_eq!(broker.ask("GET", &format!("/clients?client_id={}", "a".repeat(257))).0, 400);

    let mut sensor = broker.wire(&durable("sensor-0"));
    sensor.send(&Version::V5.publish(0x30, "a", 0, b"12345"));
    let client = wait_for("the message", || {
        let client = broker.ask("GET", "/clients/sensor-0").1;
        (client["received"]["messages"] == 1).then_some(client)
    });
    let connect = durable("sensor-0").bytes().len() as u64;
    assert_eq!(client["received"]["bytes"], connect + 11);
    assert!(client["sent"]["bytes"].as_u64().unwrap() >= 5, "CONNACK: {client}");
    assert_eq!(
        (&client["version"], &client["keep_alive"], &client["clean_start"]),
        (&"5.0".into(), &60.into(), &false.into())
    );
    assert_eq!(client["session_expiry_interval"], 3_600);
    assert!(client["connected_since"].as_str().unwrap().ends_with('Z'));

    let message = &broker.ask("GET", "/clients/away/queue?preview=3").1["messages"][0];
    assert_eq!(
        (&message["topic"], &message["qos"], &message["state"]),
        (&"queue".into(), &1.into(), &"waiting".into())
    );
    assert_eq!((&message["preview"]["text"], &message["payload_bytes"]), (&"wai".into(), &5.into()));
    assert!(broker.ask("GET", "/clients/away/queue").1["messages"][0]["preview"].is_null());
    assert_eq!(broker.ask("GET", "/clients/away/queue?preview=257").0, 400);
    assert_eq!(broker.ask("GET", "/clients/nobody/queue").0, 404);
}

const PATIENCE: Duration = Duration::from_secs(20);
/// The same time limit, for programs.
const PATIENCE_SECONDS: &str = "20";
const HOW_TO_INSTALL: &str = "mosquitto's clients run: `bash tests/run` installs them";
