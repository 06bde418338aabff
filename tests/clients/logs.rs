//! The log: levels, the filter by client, SIGHUP, JSON on every stream, and what is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Map, Value};
use wire::free_port;

use crate::broker::{Broker, Setup};
use crate::deadline::{PATIENCE, wait_for};
use crate::peer;
use crate::raw::{CONNACK, Connect, DISCONNECT, PUBLISH, Received, Version, Wire, packet};

const V5: Version = Version::V5;
const V4: Version = Version::V311;

/// The fields of every line.
const COMMON: [&str; 4] = ["timestamp", "level", "event", "message"];
const CLIENT: [&str; 5] = ["client_id", "user", "address", "listener", "protocol_version"];

/// Level and fields of an event.
type Documented = BTreeMap<String, (String, BTreeSet<String>)>;

/// The events of `docs/EVENTS.md`.
fn documented() -> Documented {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/EVENTS.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, table) = text.split_once("\n## Events\n").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let fields = cells[2].split(", ").flat_map(|field| match field {
            "the client" => CLIENT.map(str::to_owned).to_vec(),
            "" => Vec::new(),
            field => vec![field.trim_matches('`').to_owned()],
        });
        (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), fields.collect()))
    })
    .collect()
}

/// The lines as JSON objects, each with a documented event, its level, and no field but the documented ones.
#[track_caller]
fn checked(text: &str) -> Vec<Map<String, Value>> {
    let documented = documented();
    let check = |line: &str| {
        let object: Map<String, Value> =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        for field in COMMON {
            assert!(object.contains_key(field), "no {field} in {line}");
        }
        let event = object["event"].as_str().unwrap();
        let (level, fields) = documented.get(event).unwrap_or_else(|| panic!("{event} is not documented: {line}"));
        assert!(level.to_uppercase().contains(object["level"].as_str().unwrap()), "{line}");
        for field in object.keys().filter(|field| !COMMON.contains(&field.as_str())) {
            assert!(fields.contains(field), "{field} of {event} is not documented: {line}");
        }
        object
    };
    text.lines().map(check).collect()
}

/// The complete lines of the broker's log so far that contain all words.
fn lines(broker: &Broker, words: &[&str]) -> Vec<String> {
    let log = broker.log();
    let complete = log.rsplit_once('\n').map_or("", |(complete, _)| complete);
    complete.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
}

/// Waits for a line that contains all words.
#[track_caller]
fn line(broker: &Broker, words: &[&str]) -> String {
    wait_for(&format!("{words:?} in the log"), || lines(broker, words).pop())
}

fn json(level: &str) -> Setup {
    Setup::default().set("log.format", "\"json\"").set("log.level", level)
}

fn run(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.args(arguments).current_dir(directory.path()).stdin(Stdio::null()).output().unwrap()
}

fn disconnect(wire: &mut Wire) {
    wire.send(&packet(DISCONNECT, &[]));
    wait_for("the end of the connection", || (wire.receive(PATIENCE) == Received::Closed).then_some(()));
}

#[test]
fn every_line_of_both_streams_is_json_with_a_documented_event_and_its_fields() {
    if peer::is_chosen() {
        return;
    }
    let setup = json("\"trace\"").users(&[("alice", "a"), ("bob", "b")]);
    let mut broker = setup.access("user alice\ntopic readwrite open/#\n").start();
    let alice = |version| Connect::new(version, "phone\n\"7\"").user("alice", "a");
    let mut first = Wire::connected(broker.address(), &alice(V4));
    first.subscribe(V4, "open/+", 1);
    first.send(&V4.publish(PUBLISH | 0x02, "open/x", 1, b"xyzzy-payload"));
    let _answers = [first.expect_any(), first.expect_any()];
    let mut second = Wire::connected(broker.address(), &alice(V5));
    assert_eq!(second.publish(V5, "closed/x", ""), 0x87);
    assert_eq!(second.subscribe(V5, "closed/#", 0), 0x87);
    second.send(&V5.unsubscribe(9, "open/+"));
    second.expect_any();
    disconnect(&mut second);
    let (_, connack) = Wire::connect(broker.address(), &Connect::new(V5, "bad").user("bob", "xyzzy-password"));
    assert_eq!(connack.reason_code(), 0x86);
    let mut garbage = Wire::open(broker.address());
    garbage.send(b"GET / HTTP/1.1\r\n\r\n");
    garbage.expect_closed();
    broker.signal("HUP");
    line(&broker, &["files_reloaded"]);
    broker.signal("TERM");
    assert!(broker.end().success());
    let lines = checked(&broker.log());
    let seen: BTreeSet<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    for event in [
        "listening",
        "listener_open",
        "durability_chosen",
        "client_connected",
        "session_created",
        "session_taken_over",
        "session_ended",
        "client_disconnected",
        "client_refused",
        "packet_denied",
        "filter_subscribed",
        "filter_unsubscribed",
        "message_published",
        "packet_received",
        "packet_sent",
        "files_reloaded",
        "stopping",
        "stopped",
    ] {
        assert!(seen.contains(event), "{event} is not in {seen:?}");
    }
    let one = |event: &str, key: &str, value: Value| {
        let found = lines.iter().find(|line| line["event"] == *event && line.get(key) == Some(&value));
        found.unwrap_or_else(|| panic!("no {event} with {key} {value}"))
    };
    let connected = one("client_connected", "protocol_version", "3.1.1".into());
    assert_eq!(connected["client_id"], "phone\n\"7\"");
    assert_eq!(connected["user"], "alice");
    assert!(connected["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    let denied = one("packet_denied", "packet", "SUBSCRIBE".into());
    assert_eq!(denied["topic"], "closed/#");
    assert_eq!(denied["reason_code"], 0x87);
    assert!(!denied["rule"].as_str().unwrap().is_empty());
    assert_eq!(one("client_refused", "reason_code", 0x86.into())["user"], "bob");
    assert!(!broker.log().contains("xyzzy"), "a payload or a password is in the log");
}

#[test]
fn a_failing_start_is_json_on_every_path() {
    if peer::is_chosen() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let misspelt = file("misspelt", "[limits]\nconections_max = 3\n");
    let broken = file("broken", "[limits]\nx = = 3\n[log]\nformat = \"json\"\n");
    let socket = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let taken = socket.local_addr().unwrap().to_string();
    for (arguments, code, words) in [
        (&["--log-format", "json", "--config", &misspelt][..], 2, "conections_max"),
        (&["--config", &broken], 2, "broken:2:"),
        (&["--log-format=json", "--no-such-flag"], 2, "--no-such-flag"),
        (&["--set", "log.format=json", "--set", "limits.x=1"], 2, "limits.x"),
        (&["--log-format", "json", "--config", "/does/not/exist"], 2, "/does/not/exist"),
        (&["--log-format", "json", "--listen", &taken, "--admin", "off"], 3, &taken),
        (&["--log-format", "json", "--password-file", &misspelt, "--admin", "off"], 4, "misspelt"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let lines =
            [checked(&String::from_utf8(output.stdout).unwrap()), checked(&String::from_utf8(output.stderr).unwrap())];
        let last = lines[1].last().unwrap();
        assert_eq!(last["event"], "failed", "{arguments:?}");
        assert_eq!(last["exit_code"], code);
        assert!(last["message"].as_str().unwrap().contains(words), "{last:?}");
    }
    // Commands for people answer in words.
    let output = run(&["config", "check", &broken]);
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("oncemq: "));
    let output = run(&["--no-such-flag"]);
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("error: "));
}

#[test]
fn debug_says_what_was_granted_and_who_received_and_info_does_not() {
    if peer::is_chosen() {
        return;
    }
    let traffic = |broker: &Broker| {
        let mut wire = Wire::connected(broker.address(), &Connect::durable(V5, "c1"));
        assert_eq!(wire.subscribe(V5, "a/+", 1), 1);
        wire.send(&V5.publish(PUBLISH | 0x03, "a/b", 7, b"12345"));
        let _answers = [wire.expect_any(), wire.expect_any()];
        wire.publish(V5, "nobody", "x");
        wire.send(&V5.unsubscribe(9, "a/+"));
        wire.expect_any();
        wire.send(&V5.unsubscribe(10, "never"));
        wire.expect_any();
        disconnect(&mut wire);
        disconnect(&mut Wire::connected(broker.address(), &Connect::durable(V5, "c1")));
    };
    let broker = Setup::default().set("log.level", "\"debug\"").start();
    traffic(&broker);
    line(&broker, &["DEBUG client \"c1\"", "Session resumed, "]);
    for words in [
        &["DEBUG client \"c1\" from 127.0.0.1:", "new Session"][..],
        &["DEBUG client \"c1\"", "SUBSCRIBE \"a/+\": granted QoS 1 (0x01)"],
        &["DEBUG client \"c1\"", "published \"a/b\": QoS 1, RETAIN, 5 bytes, receivers: 1 (0x00)"],
        &["DEBUG client \"c1\"", "published \"nobody\": QoS 1, 1 bytes, receivers: 0 (0x10)"],
        &["DEBUG client \"c1\"", "UNSUBSCRIBE \"a/+\"", "(0x00)"],
        &["DEBUG client \"c1\"", "UNSUBSCRIBE \"never\"", "(0x11)"],
    ] {
        assert_eq!(lines(&broker, words).len(), 1, "{words:?} in\n{}", broker.log());
    }
    assert!(lines(&broker, &["TRACE"]).is_empty());

    let broker = Setup::default().start();
    traffic(&broker);
    wait_for("two ends", || (lines(&broker, &["disconnected"]).len() == 2).then_some(()));
    assert!(lines(&broker, &["DEBUG"]).is_empty(), "{}", broker.log());
}

#[test]
fn trace_writes_every_packet_without_payloads_and_passwords() {
    if peer::is_chosen() {
        return;
    }
    let setup = Setup::default().set("log.level", "\"trace\"").users(&[("alice", "secret-word")]);
    let broker = setup.start();
    let mut wire = Wire::connected(broker.address(), &Connect::new(V4, "c1").user("alice", "secret-word"));
    wire.subscribe(V4, "a", 0);
    wire.send(&V4.publish(PUBLISH | 0x02, "a", 7, b"secret-payload"));
    let _answers = [wire.expect_any(), wire.expect_any()];
    wire.ping();
    disconnect(&mut wire);
    line(&broker, &["TRACE client \"c1\"", "sent DISCONNECT: 2 bytes"]);
    for words in [
        &["TRACE client \"c1\"", "sent CONNECT: ", "MQTT 3.1.1", "User Name \"alice\", a Password"][..],
        &["TRACE client \"c1\" user \"alice\"", "was sent CONNACK: 4 bytes, 0x00"],
        &["sent SUBSCRIBE: 8 bytes, Packet Identifier 1, filter \"a\" at QoS 0"],
        &["was sent SUBACK: 5 bytes, Packet Identifier 1, 0x00"],
        &["sent PUBLISH: 21 bytes, Packet Identifier 7, QoS 1, topic \"a\", payload of 14 bytes"],
        &["was sent PUBACK: 4 bytes, Packet Identifier 7, 0x00"],
        &["was sent PUBLISH: 19 bytes, QoS 0, topic \"a\", payload of 14 bytes"],
        &["sent PINGREQ: 2 bytes"],
        &["was sent PINGRESP: 2 bytes"],
    ] {
        assert_eq!(lines(&broker, words).len(), 1, "{words:?} in\n{}", broker.log());
    }
    // The last packet of a connection is written after the broker has ended it.
    let taken = || Wire::connected(broker.address(), &Connect::new(V5, "c2").user("alice", "secret-word"));
    let _connections = [taken(), taken()];
    line(&broker, &["TRACE client \"c2\" user \"alice\" from 127.0.0.1:", "was sent DISCONNECT: ", "0x8E"]);
    assert!(!broker.log().contains("secret"), "{}", broker.log());
}

#[test]
fn details_are_only_of_the_clients_that_match_and_change_on_sighup() {
    if peer::is_chosen() {
        return;
    }
    let setup = Setup::default().set("log.level", "\"trace\"").set("log.clients", "[\"sensor-*\", \"x\"]");
    let broker = setup.start();
    let mut sensor = Wire::connected(broker.address(), &Connect::new(V5, "sensor-1"));
    let mut other = Wire::connected(broker.address(), &Connect::new(V5, "other"));
    other.publish(V5, "t", "");
    sensor.publish(V5, "t", "");
    line(&broker, &["TRACE client \"sensor-1\"", "PUBACK"]);
    line(&broker, &["DEBUG client \"sensor-1\"", "published"]);
    line(&broker, &["INFO client \"other\"", "connected"]);
    for level in ["DEBUG", "TRACE"] {
        assert!(lines(&broker, &[level, "other"]).is_empty(), "{}", broker.log());
    }

    let file = broker.path().join("oncemq.toml");
    let configuration = fs::read_to_string(&file).unwrap();
    let changed = configuration.replace("sensor-*", "oth*").replace("\"trace\"", "\"debug\"");
    fs::write(&file, &changed).unwrap();
    broker.signal("HUP");
    line(&broker, &["reloaded the settings of the log: level debug, details of the clients oth*, x"]);
    let traces = lines(&broker, &["TRACE"]).len();
    // The shards have the new filter when their mail has been read.
    wait_for("details of the other client", || {
        other.publish(V5, "t", "");
        (!lines(&broker, &["DEBUG client \"other\"", "published"]).is_empty()).then_some(())
    });
    let before = lines(&broker, &["DEBUG client \"sensor-1\""]).len();
    sensor.publish(V5, "t", "");
    other.publish(V5, "last", "");
    line(&broker, &["DEBUG client \"other\"", "published \"last\""]);
    assert_eq!(lines(&broker, &["DEBUG client \"sensor-1\""]).len(), before);
    assert_eq!(lines(&broker, &["TRACE"]).len(), traces);
}

#[test]
fn a_level_changes_on_sighup_and_a_format_needs_a_restart() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("log.level", "\"info\"").start();
    let file = broker.path().join("oncemq.toml");
    let configuration = fs::read_to_string(&file).unwrap();
    let reload = |text: &str, words: &[&str]| {
        fs::write(&file, text).unwrap();
        let before = lines(&broker, words).len();
        broker.signal("HUP");
        wait_for(&format!("{words:?}"), || (lines(&broker, words).len() > before).then_some(()));
    };
    let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "c1"));
    wire.publish(V5, "before", "");
    reload(&configuration.replace("\"info\"", "\"debug\""), &["INFO", "level debug"]);
    wait_for("a detail", || {
        wire.publish(V5, "after", "");
        (!lines(&broker, &["DEBUG", "published \"after\""]).is_empty()).then_some(())
    });
    reload("[log]\nlevel = \"loud\"\n", &["ERROR", "kept the previous configuration", "loud"]);
    wire.publish(V5, "still", "");
    line(&broker, &["DEBUG", "published \"still\""]);
    let other_format = format!("log.format = \"json\"\n{}", configuration.replace("\"info\"", "\"debug\""));
    reload(&other_format, &["WARN", "need a restart", "log.format"]);
    reload(&configuration.replace("\"info\"", "\"error\""), &["INFO", "level error"]);
    wire.publish(V5, "unheard", "");
    disconnect(&mut wire);
    reload("nonsense", &["ERROR", "kept the previous configuration"]);
    assert!(lines(&broker, &["unheard"]).is_empty());
    assert!(lines(&broker, &["c1", "disconnected"]).is_empty());
    assert!(lines(&broker, &["before"]).is_empty());
}

#[test]
fn suppressed_lines_are_summed_up_with_who_caused_them_although_none_follows() {
    if peer::is_chosen() {
        return;
    }
    let broker = json("\"info\"").access("topic readwrite open/#\n").start();
    let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "noisy"));
    for number in 0..300 {
        wire.send(&V5.publish(PUBLISH, &format!("closed/{number}"), 0, b""));
    }
    wire.ping();
    let summary = line(&broker, &["lines_suppressed"]);
    let lines = checked(&broker.log());
    let denied = lines.iter().filter(|line| line["event"] == "packet_denied").count() as u64;
    let [summary] = &checked(&summary)[..] else { panic!("{summary}") };
    assert_eq!(summary["suppressed"], "packet_denied");
    // On a slow machine the packets may take more than one second.
    let suppressed: u64 =
        lines.iter().filter_map(|line| line.get("suppressed").and_then(|_| line["lines"].as_u64())).sum();
    assert!(suppressed > 0 && suppressed + denied <= 300, "{suppressed} and {denied}");
    assert!(summary["clients"].as_str().unwrap().starts_with("\"noisy\" ("), "{summary:?}");
    assert!(summary["addresses"].as_str().unwrap().starts_with("127.0.0.1 ("), "{summary:?}");
}

#[test]
fn clients_that_take_one_session_from_each_other_do_not_fill_the_log() {
    if peer::is_chosen() {
        return;
    }
    let broker = json("\"info\"").start();
    let (address, is_over) = (broker.address(), AtomicBool::new(false));
    let summary = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let connect = Connect::new(V5, "war").bytes();
                while !is_over.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(address) else { continue };
                    // CONNACK, or the end of the connection, because another one has taken the Session.
                    let _ = stream.write_all(&connect).and_then(|()| stream.read(&mut [0; 64]));
                }
            });
        }
        let summary = line(&broker, &["lines_suppressed", "client_connected"]);
        is_over.store(true, Ordering::Relaxed);
        summary
    });
    let [summary] = &checked(&summary)[..] else { panic!("{summary}") };
    assert!(summary["clients"].as_str().unwrap().starts_with("\"war\" ("), "{summary:?}");
    let mut seconds = BTreeMap::<String, usize>::new();
    for connected in checked(&broker.log()).iter().filter(|line| line["event"] == "client_connected") {
        *seconds.entry(connected["timestamp"].as_str().unwrap()[..19].to_owned()).or_default() += 1;
    }
    // A second of the clock may have a part of two seconds of the budget.
    assert!(seconds.values().all(|lines| *lines <= 2_000), "{seconds:?}");
}

#[test]
fn a_long_client_identifier_or_topic_is_cut_in_the_log() {
    if peer::is_chosen() {
        return;
    }
    let broker = json("\"debug\"").access("topic readwrite open/#\n").start();
    let long = "n".repeat(60_000);
    let mut wire = Wire::open(broker.address());
    wire.send(&Connect::new(V5, &long).bytes());
    let _answer = wire.expect(CONNACK);
    let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "c1"));
    wire.publish(V5, &format!("open/{}", "t".repeat(900)), "");
    wire.publish(V5, &format!("closed/{}", "t".repeat(900)), "");
    line(&broker, &["packet_denied"]);
    let lines = checked(&broker.log());
    let denied = lines.iter().find(|line| line["event"] == "packet_denied").unwrap();
    assert_eq!(denied["topic"], format!("closed/{}… (907 bytes)", "t".repeat(249)));
    assert!(lines.iter().all(|line| line.values().all(|value| value.to_string().len() < 1_500)), "{lines:?}");
}

/// The answer of the admin listener.
fn metrics(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn lines_that_a_slow_standard_error_loses_are_counted_and_reported() {
    if peer::is_chosen() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [listen, admin] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let mut broker = Command::new(env!("CARGO_BIN_EXE_oncemq"))
        .args(["--log-format", "json", "--log-level", "trace", "--durability", "none"])
        .args(["--listen", &listen.to_string(), "--admin", &admin.to_string()])
        .current_dir(&directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the broker", || TcpStream::connect(listen).ok());
    let mut wire = Wire::connected(listen, &Connect::new(V5, "loud"));
    // Two lines each; 128,000 wait, and some more in the pipe.
    let batch = V5.publish(PUBLISH, "t", 0, b"").repeat(1_000);
    let dropped = wait_for("lost lines", || {
        wire.send(&batch);
        wire.ping();
        let text = metrics(admin)?;
        let line = text.lines().find(|line| line.starts_with("oncemq_log_lines_dropped_total "))?;
        line.rsplit(' ').next()?.parse::<u64>().ok().filter(|dropped| *dropped > 0)
    });
    let mut stderr = broker.stderr.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    // The broker looks once a second.
    thread::sleep(std::time::Duration::from_millis(2_500));
    assert!(Command::new("kill").arg(broker.id().to_string()).status().unwrap().success());
    assert!(crate::deadline::wait_for_end("the broker", &mut broker).success());
    let text = reader.join().unwrap().unwrap();
    let reports: Vec<_> = text.lines().filter(|line| line.contains("\"lines_lost\"")).collect();
    let lost: u64 = checked(&reports.join("\n")).iter().filter_map(|line| line["lines"].as_u64()).sum();
    assert!(lost >= dropped, "{lost} of {dropped}");
}
