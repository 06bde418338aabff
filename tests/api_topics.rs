//! Topics in the HTTP API of the real binary, over its Unix socket, with mosquitto's clients.

#![cfg(test)]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A broker with its data directory. Dropping it kills the process.
struct Broker {
    directory: TempDir,
    child: Child,
    mqtt: SocketAddr,
    admin: SocketAddr,
}

impl Broker {
    /// Starts a broker with two shards and these lines in its configuration.
    fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("oncemq.toml"), config).unwrap();
        let [mqtt, admin] = [(); 2].map(|()| wire::free_address());
        let child = spawn(directory.path(), (mqtt, admin));
        let broker = Self { directory, child, mqtt, admin };
        broker.wait_until_ready();
        broker
    }

    fn wait_until_ready(&self) {
        wait_for("the broker", || (self.try_ask("GET", "/bans", "")?.0 == 200).then_some(()));
        wait_for("its listener", || TcpStream::connect(self.mqtt).ok());
    }

    /// Kills the process, and starts another one with the same data.
    fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.directory.path(), (self.mqtt, self.admin));
        self.wait_until_ready();
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("data/admin.sock")
    }

    fn try_ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
        let stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        request(stream, (method, path, ""), body)
    }

    /// Over TCP, with a token.
    fn ask_as(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let header = format!("Authorization: Bearer {token}\r\n");
        request(stream, (method, path, &header), &body.to_string()).unwrap()
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.try_ask(method, path, &body).unwrap_or_else(|| panic!("{method} {path}"))
    }

    /// The answer to a GET that succeeds.
    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let (code, answer) = self.ask("GET", path, &Value::Null);
        assert_eq!(code, 200, "{path}: {answer}");
        answer
    }

    #[track_caller]
    fn publish(&self, message: &Value) -> Value {
        let (code, answer) = self.ask("POST", "/publish", message);
        assert_eq!(code, 200, "{message}: {answer}");
        answer
    }

    /// All entries of a list, page by page.
    #[track_caller]
    fn all(&self, path: &str, key: &str, limit: usize) -> Vec<Value> {
        let (mut all, mut cursor) = (Vec::new(), String::new());
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{separator}limit={limit}{cursor}"));
            let entries = page[key].as_array().unwrap();
            assert!(entries.len() <= limit);
            all.extend(entries.iter().cloned());
            match page["cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    fn mosquitto(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let (host, port) = (self.mqtt.ip().to_string(), self.mqtt.port().to_string());
        command.args(["-h", &host, "-p", &port]).args(arguments);
        command
    }

    /// Runs `mosquitto_pub`, and returns whether it succeeded.
    fn client_publishes(&self, arguments: &[&str]) -> bool {
        let status = self.mosquitto("mosquitto_pub", arguments).stderr(Stdio::null()).status();
        status.expect(HOW_TO_INSTALL).success()
    }

    /// A durable 5.0 session that subscribes and goes away.
    fn subscribe_and_leave(&self, client_id: &str, filters: &[&str]) {
        let filters = filters.iter().flat_map(|filter| ["-t", filter]);
        let mut arguments = vec!["-V", "5", "-c", "-x", "1000", "-q", "2", "-i", client_id, "-E"];
        arguments.extend(filters);
        assert!(self.mosquitto("mosquitto_sub", &arguments).status().expect(HOW_TO_INSTALL).success());
    }

    /// A client that is subscribed, and prints `TOPIC PAYLOAD` lines.
    fn subscriber(&self, client_id: &str, filter: &str, arguments: &[&str]) -> Subscriber {
        let arguments = [&["-v", "-i", client_id, "-t", filter, "-q", "2"], arguments].concat();
        let mut command = self.mosquitto("mosquitto_sub", &arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect(HOW_TO_INSTALL);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let subscriber = Subscriber { child, lines: Box::new(lines.map(Result::unwrap)) };
        wait_for("the subscription", || {
            let listed = self.get(&format!("/subscriptions?client_id={client_id}&filter={}", encoded(filter)));
            (!listed["subscriptions"].as_array().unwrap().is_empty()).then_some(())
        });
        subscriber
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            println!("{}", fs::read_to_string(self.directory.path().join("log")).unwrap_or_default());
        }
    }
}

struct Subscriber {
    child: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Subscriber {
    fn line(&mut self) -> String {
        self.lines.next().unwrap()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn spawn(directory: &Path, (mqtt, admin): (SocketAddr, SocketAddr)) -> Child {
    let log = File::options().create(true).append(true).open(directory.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.args(["--listen", &mqtt.to_string(), "--admin", &admin.to_string(), "--config"]);
    command.arg(directory.join("oncemq.toml")).arg("--data").arg(directory.join("data"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Sends a request and reads the answer.
fn request(
    mut stream: impl Read + Write,
    (method, path, header): (&str, &str, &str),
    body: &str,
) -> Option<(u16, Value)> {
    let length = body.len();
    let head =
        format!("{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\n{header}Content-Length: {length}\r\n\r\n");
    // The broker closes before it has read a body that is too large.
    let _ = stream.write_all((head + body).as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).unwrap_or(Value::Null)))
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

/// A Topic Name or Topic Filter in a URL.
fn encoded(text: &str) -> String {
    text.replace('%', "%25").replace('/', "%2F").replace('#', "%23")
}

const TWO_SHARDS: &str = "[server]\nshards = 2\n";
const PATIENCE: Duration = Duration::from_secs(30);
const HOW_TO_INSTALL: &str = "mosquitto's clients run: `bash tests/run` installs them";

#[test]
fn subscriptions_and_routes_show_who_would_get_a_message() {
    let broker = Broker::start(TWO_SHARDS);
    broker.subscribe_and_leave("away", &["sensors/#", "sensors/+/t"]);
    let _near = broker.subscriber("near", "$share/g/sensors/1/t", &[]);
    for number in 0..5 {
        broker.subscribe_and_leave(&format!("other-{number}"), &["other"]);
    }
    let all = broker.all("/subscriptions", "subscriptions", 1_000);
    assert_eq!(all.len(), 8);
    assert_eq!(broker.all("/subscriptions", "subscriptions", 3), all);
    let one = broker.get("/subscriptions?filter=sensors/%23");
    let expected = json!({
        "subscriptions": [{
            "client_id": "away", "filter": "sensors/#", "share": null, "qos": 2, "no_local": false,
            "retain_as_published": false, "retain_handling": 0, "id": null,
        }],
        "cursor": null,
    });
    assert_eq!(one, expected);
    assert_eq!(broker.all("/subscriptions?client_id=other-*", "subscriptions", 2).len(), 5);

    let route = broker.get("/routes?topic=sensors/1/t");
    let mut receivers: Vec<String> = route["receivers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {} {}",
                text("client_id"),
                one["connected"],
                text("share"),
                text("filter"),
                text("access")
            )
        })
        .collect();
    receivers.sort_unstable();
    assert_eq!(
        receivers,
        ["away false - sensors/# allowed", "away false - sensors/+/t allowed", "near true g sensors/1/t allowed",]
    );
    assert_eq!((&route["topic"], &route["retained"]), (&json!("sensors/1/t"), &json!(false)));
    assert_eq!(broker.all("/routes?topic=sensors/1/t", "receivers", 1).len(), 3);
    for path in [
        "/routes",
        "/routes?topic=a/%2B",
        "/routes?topic=",
        "/routes?topic=a&cursor=x",
        "/subscriptions?filter=a/%23/b",
    ] {
        assert_eq!(broker.ask("GET", path, &Value::Null).0, 400, "{path}");
    }
}

#[test]
fn a_message_of_the_operator_is_delivered_and_an_answer_survives_a_crash() {
    let mut broker = Broker::start(TWO_SHARDS);
    broker.subscribe_and_leave("away", &["a/#"]);
    let mut near = broker.subscriber("near", "a/#", &["-V", "5", "-F", "%t %p %C %R"]);
    let answer = broker.publish(&json!({
        "topic": "a/b", "payload": "héllo", "qos": 1, "content_type": "text/plain", "response_topic": "r",
    }));
    assert_eq!(answer["matched"], 2);
    assert_eq!(answer["message_id"].as_str().unwrap().len(), 33);
    assert_eq!(near.line(), "a/b héllo text/plain r");
    let answer = broker.publish(&json!({"topic": "a/c", "payload_base64": "eHl6", "qos": 2, "retain": true}));
    assert_eq!(answer["matched"], 2);
    broker.publish(&json!({"topic": "kept/q0", "payload": "k", "retain": true}));
    assert_eq!(broker.publish(&json!({"topic": "nobody"})), json!({"matched": 0, "message_id": null}));
    drop(near);
    broker.crash();
    let mut away = broker.subscriber("away", "a/#", &["-V", "5", "-c", "-x", "1000"]);
    assert_eq!((away.line(), away.line()), ("a/b héllo".to_owned(), "a/c xyz".to_owned()));
    let mut kept: Vec<Value> = broker.all("/retained", "retained", 10);
    kept.sort_unstable_by_key(|one| one["topic"].to_string());
    assert_eq!(kept.iter().map(|one| one["topic"].as_str().unwrap()).collect::<Vec<_>>(), ["a/c", "kept/q0"]);
    for (message, code) in [
        (json!({"topic": "$SYS/broker/uptime", "payload": "x"}), 403),
        (json!({"topic": "a/+"}), 400),
        (json!({"topic": "a", "qos": 3}), 400),
        (json!({"topic": "a", "unknown": 1}), 400),
        (json!({"topic": "a", "payload": "x".repeat(5_000_000)}), 413),
        (json!({"topic": "a", "payload": "x".repeat(1_000_000)}), 200),
    ] {
        let (answered, answer) = broker.ask("POST", "/publish", &message);
        assert_eq!(answered, code, "{answer}");
    }
    let audit = fs::read_to_string(broker.directory.path().join("data/audit.log")).unwrap();
    assert!(audit.contains("publish at QoS 2, retained") && audit.contains("the broker's own"), "{audit}");
}

#[test]
fn retained_messages_are_shown_and_deleted_for_good() {
    let mut broker = Broker::start(TWO_SHARDS);
    for (topic, payload) in [("a/1", "one"), ("a/2", "two"), ("b c/ü", "three"), ("x", "binary")] {
        assert!(broker.client_publishes(&["-i", "p", "-q", "1", "-r", "-t", topic, "-m", payload]));
    }
    let listed = broker.all("/retained?filter=a/%23", "retained", 1);
    let first = json!({
        "topic": "a/1", "qos": 1, "size": 3, "expires_at": null, "publisher": "p",
    });
    assert_eq!((listed.len(), &listed[0]), (2, &first));
    let one = broker.get("/retained/b%20c%2F%C3%BC");
    assert_eq!((&one["topic"], &one["payload_text"]), (&json!("b c/ü"), &json!("three")));
    assert_eq!(one["payload_base64"], "dGhyZWU=");
    assert_eq!(broker.ask("GET", "/retained/a%2F3", &Value::Null).0, 404);
    assert_eq!(broker.ask("GET", "/retained/a%2F%2B", &Value::Null).0, 400);
    let mut watcher = broker.subscriber("w", "a/1", &["-R"]);
    for (path, code) in [("/retained", 400), ("/retained?filter=%24SYS/%23", 403), ("/retained?filter=$share/g/a", 400)]
    {
        assert_eq!(broker.ask("DELETE", path, &Value::Null).0, code, "{path}");
    }
    let deleted = broker.ask("DELETE", "/retained?filter=a/%23", &Value::Null);
    assert_eq!(deleted, (200, json!({"deleted": 2, "complete": true})));
    assert_eq!(watcher.line(), "a/1 (null)");
    broker.crash();
    assert_eq!(broker.all("/retained", "retained", 10).len(), 2);
    assert_eq!(broker.ask("DELETE", "/retained?filter=%23", &Value::Null).1["deleted"], 2);
    assert_eq!(broker.get("/retained"), json!({"retained": [], "cursor": null}));
}

#[test]
fn refusals_drops_and_explanations_name_the_rule() {
    let directory = tempfile::tempdir().unwrap();
    let acl = directory.path().join("acl.conf");
    fs::write(&acl, "topic readwrite a/#\n# not this one\ntopic deny a/secret\npattern write own/%c\n").unwrap();
    let config = format!("{TWO_SHARDS}[security]\nacl_file = {acl:?}\n[limits]\nqueued_messages_max = 1\n");
    let broker = Broker::start(&config);
    let explain = |client_id: &str, action: &str, topic: &str| {
        let question = json!({"user": null, "client_id": client_id, "action": action, "topic": topic});
        let (code, answer) = broker.ask("POST", "/acl/explain", &question);
        assert_eq!(code, 200, "{answer}");
        answer
    };
    let denied = explain("c", "publish", "a/secret");
    assert_eq!((&denied["allowed"], &denied["file"], &denied["line"]), (&json!(false), &json!("acl.conf"), &json!(3)));
    assert_eq!(denied["rule"], "topic deny a/secret");
    let own = explain("c7", "publish", "own/c7");
    assert_eq!(
        (&own["allowed"], &own["line"], &own["rule"]),
        (&json!(true), &json!(4), &json!("pattern write own/%c"))
    );
    assert!(own["reason"].as_str().unwrap().contains("own/c7"), "{own}");
    assert_eq!(explain("c8", "publish", "own/c7")["allowed"], false);
    assert_eq!(explain("c", "subscribe", "a/#")["allowed"], true);
    let sys = explain("c", "publish", "$SYS/broker/uptime");
    assert!(sys["reason"].as_str().unwrap().contains("$SYS") && sys["file"].is_null(), "{sys}");
    for body in [
        json!({"client_id": "c", "action": "read", "topic": "a"}),
        json!({"client_id": "c", "action": "publish", "topic": "a/#"}),
    ] {
        assert_eq!(broker.ask("POST", "/acl/explain", &body).0, 400, "{body}");
    }

    assert!(broker.client_publishes(&["-V", "5", "-i", "pub-1", "-q", "1", "-t", "own/pub-1", "-m", "x"]));
    broker.client_publishes(&["-V", "5", "-i", "pub-1", "-q", "1", "-t", "a/secret", "-m", "x"]);
    let refused = wait_for("the refusal", || broker.get("/refusals")["refusals"].as_array().unwrap().last().cloned());
    assert_eq!(
        (&refused["kind"], &refused["client_id"], &refused["topic"]),
        (&json!("publish"), &json!("pub-1"), &json!("a/secret"))
    );
    assert_eq!((&refused["reason_code"], &refused["rule"]), (&json!(0x87), &json!("denied by acl.conf:3")));
    assert!(
        refused["address"].as_str().unwrap().starts_with("127.0.0.1:")
            && refused["at"].as_str().unwrap().ends_with('Z')
    );

    broker.subscribe_and_leave("away", &["a/q"]);
    for _ in 0..3 {
        assert!(broker.client_publishes(&["-i", "pub-2", "-q", "1", "-t", "a/q", "-m", "x"]));
    }
    let drops = broker.get("/drops");
    let drops = drops["drops"].as_array().unwrap();
    let count: u64 = drops.iter().map(|drop| drop["count"].as_u64().unwrap()).sum();
    assert_eq!(count, 2, "{drops:?}");
    assert_eq!(
        (&drops[0]["client_id"], &drops[0]["topic"], &drops[0]["reason"]),
        (&json!("away"), &json!("a/q"), &json!("queue_full"))
    );
}

#[test]
fn a_viewer_sees_no_payload_and_changes_nothing() {
    let broker = Broker::start(TWO_SHARDS);
    broker.publish(&json!({"topic": "a/b", "payload": "secret", "retain": true}));
    let token = |role: &str| {
        let (code, answer) = broker.ask("POST", "/tokens", &json!({"name": role, "role": role}));
        assert_eq!(code, 201, "{answer}");
        answer["token"].as_str().unwrap().to_owned()
    };
    let (viewer, operator) = (token("viewer"), token("operator"));
    let (code, one) = broker.ask_as(&viewer, "GET", "/retained/a%2Fb", &Value::Null);
    assert_eq!((code, &one["size"]), (200, &json!(6)));
    assert!(one["payload_base64"].is_null() && one["payload_text"].is_null(), "{one}");
    let message = json!({"topic": "a/b", "payload": "changed", "retain": true});
    assert_eq!(broker.ask_as(&viewer, "POST", "/publish", &message).0, 403);
    assert_eq!(broker.ask_as(&viewer, "DELETE", "/retained?filter=%23", &Value::Null).0, 403);
    for path in ["/subscriptions", "/routes?topic=a/b", "/retained", "/refusals", "/drops"] {
        assert_eq!(broker.ask_as(&viewer, "GET", path, &Value::Null).0, 200, "{path}");
    }
    let question = json!({"client_id": "c", "action": "publish", "topic": "a"});
    assert_eq!(broker.ask_as(&viewer, "POST", "/acl/explain", &question).1["allowed"], true);
    assert_eq!(broker.ask_as(&operator, "GET", "/retained/a%2Fb", &Value::Null).1["payload_text"], "secret");
    assert_eq!(broker.ask_as(&operator, "DELETE", "/retained?filter=%23", &Value::Null).1["deleted"], 1);
}

#[test]
fn what_became_of_a_message_is_told_and_after_a_crash_the_queues_are_left() {
    let mut broker = Broker::start(TWO_SHARDS);
    broker.subscribe_and_leave("away", &["a/#"]);
    let mut near = broker.subscriber("near", "a/#", &[]);
    let answer = broker.publish(&json!({"topic": "a/b", "payload": "x", "qos": 1}));
    let path = format!("/messages/{}", answer["message_id"].as_str().unwrap());
    assert_eq!(near.line(), "a/b x");
    let journey = wait_for("the acknowledgement", || {
        let journey = broker.get(&path);
        (journey["receivers"].to_string().contains("acknowledged")).then_some(journey)
    });
    let fields = json!({
        "message_id": answer["message_id"], "topic": "a/b", "qos": 1, "publisher": null, "stored": true, "matched": 2,
        "left_out": 0, "complete": true,
    });
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&journey[name], value, "{name} of {journey}");
    }
    let steps = |journey: &Value| -> Vec<String> {
        let steps = journey["steps"].as_array().unwrap().iter();
        steps.map(|step| format!("{} {}", step["step"].as_str().unwrap(), step["client_id"])).collect()
    };
    let mut sorted = steps(&journey);
    assert_eq!(sorted[0], "received null", "{journey}");
    sorted.sort_unstable();
    // The client that has no durable Session gets it before it is stable.
    let expected = ["acknowledged \"near\"", "queued \"away\"", "received null", "sent \"near\"", "stable null"];
    assert_eq!(sorted, expected, "{journey}");
    let place = |text: &str| steps(&journey).iter().position(|step| step == text);
    assert!(place("stable null") < place("queued \"away\""), "{journey}");
    assert!(journey["steps"].as_array().unwrap().iter().all(|step| step["at"].as_str().unwrap().ends_with('Z')));
    assert_eq!(
        (&journey["steps"][0]["reason"], &journey["received_at"]),
        (&json!("operator"), &journey["steps"][0]["at"])
    );
    let states = |journey: &Value| -> Vec<String> {
        let receivers = journey["receivers"].as_array().unwrap().iter();
        let mut states: Vec<_> = receivers.map(|one| format!("{} {}", one["client_id"], one["state"])).collect();
        states.sort_unstable();
        states
    };
    assert_eq!(states(&journey), ["\"away\" \"queued\"", "\"near\" \"acknowledged\""]);
    drop(near);
    broker.crash();
    let journey = broker.get(&path);
    assert_eq!(states(&journey), ["\"away\" \"queued\""]);
    assert_eq!((&journey["topic"], &journey["received_at"]), (&json!("a/b"), &Value::Null), "{journey}");
    assert_eq!((steps(&journey).len(), &journey["complete"]), (0, &json!(true)));
    let mut away = broker.subscriber("away", "a/#", &["-V", "5", "-c", "-x", "1000"]);
    assert_eq!(away.line(), "a/b x");
    wait_for("the steps of this run", || (states(&broker.get(&path)) == ["\"away\" \"acknowledged\""]).then_some(()));
    for (id, code) in [("0000000000000001-0000000000000001", 404), ("x", 400), ("00000001-00000001", 400), ("%2F", 400)]
    {
        assert_eq!(broker.ask("GET", &format!("/messages/{id}"), &Value::Null).0, code, "{id}");
    }
}
