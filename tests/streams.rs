//! Streams of the real binary: numbers without gaps through `kill -9`, what an acknowledgement says, retention, reloads, backups.

#![cfg(test)]

#[path = "clients/deadline.rs"]
#[expect(dead_code, reason = "the tests with real clients use more of it")]
mod deadline;
#[path = "streams/positions.rs"]
mod positions;
#[path = "streams/read.rs"]
mod read;
#[path = "streams/reload.rs"]
mod reload;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use oncemq::store::{StreamLog, StreamOptions};
use serde_json::Value;
use tempfile::TempDir;
use wire::{Connect, DISCONNECT, PUBACK, Publish, Received, SUBACK, Version, Wire, acknowledge, free_address};

use deadline::{PATIENCE, wait_for};

/// A broker with an admin listener. Dropping it kills the process.
struct Broker {
    directory: TempDir,
    child: Child,
    mqtt: SocketAddr,
    admin: SocketAddr,
}

impl Broker {
    #[track_caller]
    fn start(durability: &str, streams: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mqtt, admin) = (free_address(), free_address());
        let mut broker = Self { child: no_process(), directory, mqtt, admin };
        broker.configure(durability, streams);
        broker.restart();
        broker
    }

    fn configure(&self, durability: &str, streams: &str) {
        let (path, admin) = (self.path().display(), self.admin);
        let config = format!(
            "[server]\ndata = \"{path}/data\"\nshards = 2\nsegment_size = \"1MiB\"\ndurability = \"{durability}\"\n\
             [admin]\naddress = \"{admin}\"\n{streams}"
        );
        fs::write(self.path().join("oncemq.toml"), config).unwrap();
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    #[track_caller]
    fn restart(&mut self) {
        self.child = spawn(self.path(), self.mqtt);
        let ready = || {
            let stream = TcpStream::connect(self.admin).ok()?;
            exchange(stream, "GET", "/health/ready").filter(|(code, _)| *code == 200)
        };
        wait_for("the broker", ready);
    }

    #[track_caller]
    fn api(&self, method: &str, path: &str) -> (u16, Value) {
        let stream = UnixStream::connect(self.path().join("data/admin.sock")).unwrap();
        let (code, body) = exchange(stream, method, &format!("/api/v1{path}")).unwrap();
        (code, serde_json::from_str(&body).unwrap_or_default())
    }

    /// A figure of a stream.
    #[track_caller]
    fn figure(&self, stream: &str, name: &str) -> u64 {
        let (code, answer) = self.api("GET", &format!("/streams/{stream}"));
        assert_eq!(code, 200, "{answer}");
        answer[name].as_u64().unwrap()
    }

    /// What a command prints.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        let output = command.args(arguments).arg("--config").arg(self.path().join("oncemq.toml")).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the check of its store prints, once it does not run any more.
    #[track_caller]
    fn check(&mut self) -> String {
        self.kill();
        self.run(&["store", "check"])
    }

    /// Publishes at QoS 1, and waits for each acknowledgement.
    #[track_caller]
    fn publish(&self, topic: &str, payloads: impl IntoIterator<Item = String>) {
        let mut wire = connect(self.mqtt, "publisher").unwrap();
        for payload in payloads {
            wire.send(&Publish { qos: 1, packet_id: 1, ..Publish::new(topic, payload) }.bytes(Version::V5));
            let answer = wire.receive(PATIENCE);
            assert!(
                matches!(&answer, Received::Packet(ack) if ack.kind() == PUBACK && ack.reason_code() < 0x80),
                "{answer:?}"
            );
        }
    }

    /// The messages of a stream in its files, by their sequences. The broker must not run.
    fn kept(&self, stream: u32) -> BTreeMap<u64, String> {
        kept(&self.path().join(format!("data/log/streams/{stream}")), stream)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            println!("{}", fs::read_to_string(self.path().join("output")).unwrap_or_default());
        }
    }
}

/// The payloads between `<` and `>`.
fn kept(directory: &Path, stream: u32) -> BTreeMap<u64, String> {
    let options = StreamOptions::new(stream);
    let (log, opened) = StreamLog::open_directory(directory, &options, Duration::from_secs(5)).unwrap();
    assert_eq!(opened.damages, []);
    let reader = log.reader();
    let (mut kept, mut from) = (BTreeMap::new(), reader.oldest());
    while from < reader.end() {
        let read = reader.read(from, 1 << 20, &mut |message| {
            let body = String::from_utf8_lossy(message.body);
            let payload = body.split_once('<').and_then(|(_, rest)| rest.split_once('>')).unwrap().0.to_owned();
            assert!(message.timestamp > 1_700_000_000_000);
            assert!(kept.insert(message.sequence, payload).is_none());
            ControlFlow::Continue(())
        });
        from = read.unwrap();
    }
    kept
}

fn no_process() -> Child {
    Command::new("true").spawn().unwrap()
}

fn spawn(directory: &Path, mqtt: SocketAddr) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(directory.join("output")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.env_clear().args(["--listen", &mqtt.to_string(), "--allow-anonymous", "--config"]);
    command.arg(directory.join("oncemq.toml")).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Code and body of an answer.
fn exchange(mut stream: impl std::io::Read + std::io::Write, method: &str, path: &str) -> Option<(u16, String)> {
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn connect(address: SocketAddr, client_id: &str) -> Option<Wire> {
    let mut wire = Wire::open(address, PATIENCE).ok()?;
    wire.send(&Connect::new(Version::V5, client_id).bytes());
    matches!(wire.receive(PATIENCE), Received::Packet(connack) if connack.reason_code() == 0).then_some(wire)
}

/// Publishes numbered messages at QoS 1, a window at a time, until the connection ends. Returns how many were sent and which were acknowledged.
fn flood(address: SocketAddr, publisher: u32, first: u32) -> (u32, Vec<u32>) {
    let (mut sent, mut acknowledged) = (first, Vec::new());
    let Some(mut wire) = connect(address, &format!("p{publisher}")) else { return (sent, acknowledged) };
    let mut open = 0;
    loop {
        while open < WINDOW {
            let payload = format!("<{publisher} {sent}>");
            let packet_id = u16::try_from(sent % 60_000 + 1).unwrap();
            let publish = Publish { qos: 1, packet_id, ..Publish::new(&format!("orders/{publisher}"), payload) };
            wire.send(&publish.bytes(Version::V5));
            (sent, open) = (sent + 1, open + 1);
        }
        match wire.receive(PATIENCE) {
            Received::Packet(ack) if ack.kind() == PUBACK => {
                assert!(ack.reason_code() < 0x80);
                let number = u32::from(ack.packet_id()) - 1;
                // The packet identifiers of a window are unique.
                let number = (sent - open..sent).rev().find(|sent| sent % 60_000 == number).unwrap_or(number);
                acknowledged.push(number);
                open -= 1;
            }
            Received::Packet(_) | Received::Nothing | Received::Closed => return (sent, acknowledged),
        }
    }
}

#[test]
fn numbers_have_no_gap_and_no_acknowledged_message_is_lost_or_doubled_by_kill_9() {
    for durability in ["crash", "power-loss"] {
        let streams =
            "[[streams]]\nname = \"orders\"\ntopic = \"orders/#\"\n[[streams]]\nname = \"one\"\ntopic = \"orders/1\"\n";
        let mut broker = Broker::start(durability, streams);
        let mut sent = [0; PUBLISHERS];
        let mut acknowledged: Vec<Vec<u32>> = vec![Vec::new(); PUBLISHERS];
        for round in 0..3 {
            let address = broker.mqtt;
            let publishers: Vec<_> =
                (0..).zip(sent).map(|(p, first)| thread::spawn(move || flood(address, p, first))).collect();
            thread::sleep(Duration::from_millis(600 + 300 * round));
            broker.kill();
            for (index, publisher) in publishers.into_iter().enumerate() {
                let (next, acks) = publisher.join().unwrap();
                sent[index] = next;
                acknowledged[index].extend(acks);
            }
            // The start writes to the streams what only the log has.
            broker.restart();
            let next = broker.figure("orders", "next");
            broker.kill();
            let kept = broker.kept(1);
            assert_eq!(kept.keys().copied().collect::<Vec<_>>(), (1..next).collect::<Vec<_>>(), "a gap");
            check(&kept, &acknowledged);
            let of_one: Vec<_> = kept.values().filter(|payload| payload.starts_with("1 ")).collect();
            let one = broker.kept(2);
            assert_eq!(
                one.values().collect::<Vec<_>>(),
                of_one,
                "the streams have the same messages in the same order"
            );
            broker.restart();
        }
        let count: usize = acknowledged.iter().map(Vec::len).sum();
        assert!(count > 1_000, "only {count} messages were acknowledged");
    }
}

/// Each acknowledged message is there once, and those of each publisher are in their order.
fn check(kept: &BTreeMap<u64, String>, acknowledged: &[Vec<u32>]) {
    let mut of_publishers = vec![Vec::new(); PUBLISHERS];
    for payload in kept.values() {
        let (publisher, number) = payload.split_once(' ').unwrap();
        of_publishers[publisher.parse::<usize>().unwrap()].push(number.parse::<u32>().unwrap());
    }
    for (kept, acknowledged) in of_publishers.iter().zip(acknowledged) {
        assert!(kept.is_sorted_by(|one, next| one < next), "doubled or out of order");
        for number in acknowledged {
            assert!(kept.binary_search(number).is_ok(), "message {number} was acknowledged and is lost");
        }
    }
}

#[test]
fn streams_are_listed_trimmed_bounded_and_changed_by_a_reload() {
    let stream = |settings: &str| format!("[[streams]]\nname = \"a\"\ntopic = \"a/#\"\n{settings}\n");
    let mut broker = Broker::start("crash", &stream(""));
    broker.publish("a/b", (0..100).map(|number| format!("<{number}>")));
    broker.publish("b", ["<not in it>".to_owned()]);
    wait_for("the messages", || (broker.figure("a", "next") == 101).then_some(()));
    let table = broker.run(&["streams"]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..6], ["a", "a/#", "yes", "1", "101", "100"], "{table}");
    broker.run(&["streams", "trim", "a", "--below", "51"]);
    assert_eq!((broker.figure("a", "oldest"), broker.figure("a", "messages")), (51, 50));
    let metrics = exchange(TcpStream::connect(broker.admin).unwrap(), "GET", "/metrics").unwrap().1;
    assert!(metrics.contains("oncemq_stream_oldest_sequence{stream=\"a\"} 51\n"), "{metrics}");
    assert_eq!(broker.api("GET", "/streams/b").0, 404);
    // A bound, and a second stream.
    broker.configure("crash", &(stream("max_messages = 10") + "[[streams]]\nname = \"b\"\ntopic = \"b\"\n"));
    broker.run(&["reload"]);
    wait_for("the bound", || (broker.figure("a", "oldest") == 91).then_some(()));
    broker.publish("b", ["<first>".to_owned()]);
    wait_for("the second stream", || (broker.figure("b", "messages") == 1).then_some(()));
    // A stream that is not configured any more keeps its messages, and takes no more.
    broker.configure("crash", "[[streams]]\nname = \"b\"\ntopic = \"b\"\n");
    broker.run(&["reload"]);
    broker.publish("a/b", ["<too late>".to_owned()]);
    for _ in 0..2 {
        let (_, answer) = broker.api("GET", "/streams/a");
        assert_eq!((&answer["open"], &answer["next"], &answer["oldest"]), (&false.into(), &101.into(), &91.into()));
        broker.kill();
        broker.restart();
    }
    // It is found again under its number.
    broker.configure("crash", &(stream("") + "[[streams]]\nname = \"b\"\ntopic = \"b\"\n"));
    broker.run(&["reload"]);
    broker.publish("a/b", ["<again>".to_owned()]);
    wait_for("the old stream", || (broker.figure("a", "next") == 102).then_some(()));
    broker.kill();
    assert_eq!(broker.kept(1).last_key_value(), Some((&101, &"again".to_owned())));
    assert_eq!(broker.kept(2).into_values().collect::<Vec<_>>(), ["first"]);
}

#[test]
fn a_backup_has_the_streams() {
    let mut broker = Broker::start("power-loss", "[[streams]]\nname = \"a\"\ntopic = \"a\"\n");
    broker.publish("a", (0..200).map(|number| format!("<{number}>")));
    let copy = broker.path().join("copy");
    broker.run(&["store", "backup", copy.to_str().unwrap()]);
    broker.publish("a", ["<later>".to_owned()]);
    broker.kill();
    fs::remove_dir_all(broker.path().join("data/log")).unwrap();
    broker.run(&["store", "restore", copy.to_str().unwrap()]);
    broker.restart();
    assert_eq!(broker.figure("a", "next"), 201);
    broker.publish("a", ["<next>".to_owned()]);
    wait_for("the next message", || (broker.figure("a", "next") == 202).then_some(()));
    broker.kill();
    let kept = broker.kept(1);
    assert_eq!(kept.len(), 201);
    assert_eq!(kept.last_key_value(), Some((&201, &"next".to_owned())));
}

#[test]
fn a_stream_whose_definition_is_lost_is_found_by_its_name() {
    let stream = |name: &str| format!("[[streams]]\nname = \"{name}\"\ntopic = \"{name}\"\n");
    let mut broker = Broker::start("crash", &(stream("a") + &stream("b")));
    broker.publish("a", (0..3).map(|number| format!("<a{number}>")));
    broker.publish("b", ["<b>".to_owned()]);
    wait_for("the messages", || (broker.figure("a", "next") == 4 && broker.figure("b", "next") == 2).then_some(()));
    broker.kill();
    for file in fs::read_dir(broker.path().join("data/log")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            fs::remove_file(path).unwrap();
        }
    }
    broker.configure("crash", &(stream("new") + &stream("b") + &stream("a")));
    broker.restart();
    assert_eq!(["a", "b", "new"].map(|name| broker.figure(name, "next")), [4, 2, 1]);
    broker.publish("new", ["<new>".to_owned()]);
    broker.publish("b", ["<c>".to_owned()]);
    wait_for("the new messages", || {
        (broker.figure("new", "next") == 2 && broker.figure("b", "next") == 3).then_some(())
    });
    let checked = broker.check();
    assert!(checked.contains("stream 1    a: "), "{checked}");
    let kept = [1, 2, 3].map(|number| broker.kept(number).into_values().collect::<Vec<_>>());
    assert_eq!(kept, [vec!["a0", "a1", "a2"], vec!["b", "c"], vec!["new"]]);
}

#[test]
fn a_stream_that_is_not_configured_any_more_is_removed_for_ever() {
    let stream = |name: &str| format!("[[streams]]\nname = \"{name}\"\ntopic = \"{name}\"\n");
    let mut broker = Broker::start("power-loss", &(stream("a") + &stream("b")));
    broker.publish("b", (0..5).map(|number| format!("<b{number}>")));
    wait_for("the messages", || (broker.figure("b", "next") == 6).then_some(()));
    let mut subscriber = connect(broker.mqtt, "subscriber").unwrap();
    subscriber.send(&Version::V5.subscribe(1, "$stream/b", 1));
    assert!(matches!(subscriber.receive(PATIENCE), Received::Packet(suback) if suback.kind() == SUBACK));
    let (code, answer) = broker.api("DELETE", "/streams/b");
    assert_eq!(code, 409, "it is configured: {answer}");
    assert_eq!(broker.api("DELETE", "/streams/c").0, 404);
    broker.configure("power-loss", &stream("a"));
    broker.run(&["reload"]);
    broker.run(&["streams", "remove", "b"]);
    let Received::Packet(disconnect) = subscriber.receive(PATIENCE) else { panic!("the subscriber is not told") };
    assert_eq!((disconnect.kind(), disconnect.reason_code()), (DISCONNECT, 0x98));
    let files = |broker: &Broker| {
        let names = fs::read_dir(broker.path().join("data/log/streams/2")).unwrap();
        names.filter(|name| name.as_ref().unwrap().path().extension().is_some()).count()
    };
    for _ in 0..2 {
        assert_eq!((broker.api("GET", "/streams/b").0, files(&broker)), (404, 0));
        broker.kill();
        broker.restart();
    }
    // One of the same name begins anew, with another number.
    broker.configure("power-loss", &(stream("a") + &stream("b")));
    broker.run(&["reload"]);
    assert_eq!(broker.figure("b", "next"), 1);
    broker.publish("b", ["<new>".to_owned()]);
    wait_for("the message", || (broker.figure("b", "next") == 2).then_some(()));
    broker.kill();
    assert_eq!(broker.kept(3).into_values().collect::<Vec<_>>(), ["new"]);
}

#[test]
fn of_a_stream_with_a_key_the_last_message_of_each_key_is_kept() {
    let mut broker = Broker::start("crash", "[[streams]]\nname = \"a\"\ntopic = \"a/#\"\nkey = \"topic\"\n");
    let padding = "x".repeat(8_000);
    for topic in 0..10 {
        broker.publish(&format!("a/{topic}"), (0..30).map(|number| format!("<{topic} {number}>{padding}")));
    }
    // 2.4 MB, in files of at most 1 MiB, of which two are complete.
    wait_for("the last message", || (broker.figure("a", "next") == 301).then_some(()));
    wait_for("the compaction", || (broker.figure("a", "bytes") < 1_000_000).then_some(()));
    for _ in 0..2 {
        assert_eq!((broker.figure("a", "oldest"), broker.figure("a", "next")), (1, 301));
        broker.kill();
        broker.restart();
    }
    broker.publish("a/0", ["<next>".to_owned()]);
    wait_for("the next message", || (broker.figure("a", "next") == 302).then_some(()));
    assert!(broker.check().ends_with("sound\n"));
    let kept = broker.kept(1);
    assert_eq!(kept.get(&301).map(String::as_str), Some("next"));
    let last = |topic: u64| kept.get(&(30 * (topic + 1))).cloned();
    assert_eq!(
        (0..10).map(last).collect::<Vec<_>>(),
        (0..10).map(|topic| Some(format!("{topic} 29"))).collect::<Vec<_>>()
    );
}

/// A member of the group `workers` of the stream `orders`.
fn member(broker: &Broker, client_id: &str) -> Wire {
    member_of(broker, client_id, "$share/workers/$stream/orders@earliest")
}

/// A member of the group of this subscription.
fn member_of(broker: &Broker, client_id: &str, filter: &str) -> Wire {
    let mut wire = connect(broker.mqtt, client_id).unwrap();
    wire.send(&Version::V5.subscribe(1, filter, 1));
    let answer = wire.receive(PATIENCE);
    assert!(
        matches!(&answer, Received::Packet(suback) if suback.kind() == SUBACK && suback.reason_code() == 1),
        "{answer:?}"
    );
    wire
}

/// The next message of a member, and its Packet Identifier; `None`: none comes for a while.
fn next_message(wire: &mut Wire, within: Duration) -> Option<(String, u16)> {
    let Received::Packet(packet) = wire.receive(within) else { return None };
    let publish = Publish::parse(Version::V5, &packet)?;
    Some((String::from_utf8(publish.payload).unwrap(), publish.packet_id))
}

#[test]
fn a_group_gets_all_messages_through_kill_9_and_operators_see_and_set_its_position() {
    let streams = "[[streams]]\nname = \"orders\"\ntopic = \"orders/#\"\ngroup_dispatch = \"hash-topic\"\n";
    let mut broker = Broker::start("power-loss", streams);
    drop(member(&broker, "first"));
    let mut handled: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..3 {
        for topic in 0..5 {
            broker.publish(&format!("orders/{topic}"), (0..20).map(|number| format!("{round} {topic} {number}")));
        }
        let mut members = [member(&broker, "a"), member(&broker, "b")];
        // Half of the round, by turns; the rest is in flight when the broker is killed.
        for number in 0..50 {
            let place = number % 2;
            let [a, b] = &mut members;
            let (wire, other) = if place == 0 { (a, b) } else { (b, a) };
            let moment = Duration::from_millis(50);
            let got = next_message(wire, moment).map(|message| (message, true));
            let got = got.or_else(|| next_message(other, moment).map(|message| (message, false)));
            let Some(((payload, packet_id), is_first)) = got else { continue };
            *handled.entry(payload).or_default() += 1;
            let to = if is_first { wire } else { other };
            to.send(&acknowledge(PUBACK, packet_id));
        }
        broker.kill();
        broker.restart();
    }
    let mut last = member(&broker, "last");
    while handled.len() < 300 {
        let Some((payload, packet_id)) = next_message(&mut last, PATIENCE) else {
            panic!("{} messages", handled.len())
        };
        *handled.entry(payload).or_default() += 1;
        last.send(&acknowledge(PUBACK, packet_id));
    }
    let group = || broker.api("GET", "/streams/orders/groups").1["groups"][0].clone();
    wait_for("the last acknowledgement", || (group()["lag"] == 0).then_some(()));
    assert_eq!(group()["position"], 301);
    assert_eq!(group()["members"], 1);
    let table = broker.run(&["streams", "groups", "orders"]);
    assert!(table.contains("workers") && table.contains("301"), "{table}");
    broker.run(&["streams", "reset", "orders", "workers", "--to", "seq:299"]);
    let again = [next_message(&mut last, PATIENCE), next_message(&mut last, PATIENCE)];
    assert_eq!(again.map(|message| message.unwrap().0), ["2 4 18", "2 4 19"]);
    let metrics = exchange(TcpStream::connect(broker.admin).unwrap(), "GET", "/metrics").unwrap().1;
    assert!(metrics.contains("oncemq_stream_group_members{stream=\"orders\",group=\"workers\"} 1"), "{metrics}");
    drop(last);
    wait_for("the end of the member", || (group()["members"] == 0).then_some(()));
    // What a command has set is stable.
    broker.run(&["streams", "reset", "orders", "workers", "--to", "seq:299"]);
    broker.kill();
    broker.restart();
    let group = || broker.api("GET", "/streams/orders/groups").1["groups"][0].clone();
    assert_eq!((group()["position"].as_u64(), group()["lag"].as_u64()), (Some(299), Some(2)));
    // A client that does not know streams.
    let mut command = Command::new("mosquitto_sub");
    let port = broker.mqtt.port().to_string();
    command.args(["-p", &port, "-q", "1", "-C", "2", "-W", "60", "-t", "$share/workers/$stream/orders", "-F", "%p"]);
    if let Ok(output) = command.output() {
        assert_eq!(String::from_utf8_lossy(&output.stdout), "2 4 18\n2 4 19\n");
    }
    wait_for("the end of the other member", || (group()["members"] == 0 && group()["in_flight"] == 0).then_some(()));
    an_empty_filter_names_the_group_without_one(&broker);
}

/// There is a group `workers`, without members. Of two groups of this name, an empty filter means the one without.
fn an_empty_filter_names_the_group_without_one(broker: &Broker) {
    drop(member_of(broker, "other", "$share/workers/$stream/orders/orders/1"));
    let command = ["streams", "reset", "orders", "workers", "--to"];
    broker.run(&[&command[..], &["seq:7", "--filter", ""]].concat());
    broker.run(&[&command[..], &["seq:8", "--filter", "orders/1"]].concat());
    let groups = || broker.api("GET", "/streams/orders/groups").1["groups"].clone();
    let positions = [0, 1].map(|place| (groups()[place]["filter"].clone(), groups()[place]["position"].as_u64()));
    assert_eq!(positions, [(Value::Null, Some(7)), ("orders/1".into(), Some(8))]);
    let (status, refused) = broker.api("DELETE", "/streams/orders/groups/workers");
    assert_eq!(status, 409);
    assert!(refused["error"].as_str().unwrap().contains("an empty one for the group without a filter"), "{refused}");
    wait_for("the end of the member", || (groups()[1]["members"] == 0).then_some(()));
    broker.run(&["streams", "remove-group", "orders", "workers", "--filter", ""]);
    assert_eq!(groups()[0]["filter"], "orders/1");
    broker.run(&["streams", "remove-group", "orders", "workers"]);
    assert_eq!(groups()[0], Value::Null);
}

const PUBLISHERS: usize = 4;
/// Messages of a publisher that are not acknowledged.
const WINDOW: u32 = 40;
