//! Traces of messages, as an OpenTelemetry collector gets them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};
use wire::free_port;

use crate::broker::{Broker, Setup};
use crate::deadline::{PATIENCE, wait_for};
use crate::listeners::{Admin, with_admin};
use crate::peer;
use crate::raw::{
    Connect, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, PUBREL_KIND, Version, Wire, acknowledge, packet, string,
};

const V5: Version = Version::V5;
/// 0x10 No matching subscribers.
const NOBODY: u8 = 0x10;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A collector: an HTTP server on a thread, until the end of the test.
struct Collector {
    address: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    /// Statuses of the next answers; then 200.
    answers: Vec<&'static str>,
    rejects: i64,
    heads: Vec<String>,
    requests: Vec<ExportTraceServiceRequest>,
}

impl Collector {
    fn start() -> Self {
        Self::start_with(None)
    }

    fn start_with(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                match &tls {
                    None => answer(stream, &shared),
                    Some(config) => {
                        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
                        answer(StreamOwned::new(connection, stream), &shared);
                    }
                }
            }
        });
        Self { address, seen }
    }

    fn spans(&self) -> Vec<Span> {
        let seen = self.seen.lock().unwrap();
        let resources = seen.requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Waits for so many spans with this topic, in the order of their begin.
    #[track_caller]
    fn spans_of(&self, topic: &str, count: usize) -> Vec<Span> {
        let mut spans = wait_for(&format!("{count} spans of {topic}"), || {
            let mut spans = self.spans();
            spans.retain(|span| value(span, "messaging.destination.name").as_deref() == Some(topic));
            (spans.len() >= count).then_some(spans)
        });
        assert_eq!(spans.len(), count, "{spans:?}");
        spans.sort_by_key(|span| (span.start_time_unix_nano, span.name != "publish", span.name != "commit"));
        spans
    }
}

/// Reads a request and answers it.
fn answer(mut stream: impl Read + Write, seen: &Mutex<Seen>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
    let (head, length) = loop {
        let count = stream.read(&mut chunk).unwrap_or(0);
        if count == 0 {
            return;
        }
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes.drain(..end + 4).collect()).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        break (head, length.unwrap());
    };
    let read = bytes.len();
    bytes.resize(length, 0);
    stream.read_exact(&mut bytes[read..]).unwrap();
    let mut seen = seen.lock().unwrap();
    let status = if seen.answers.is_empty() { "200 OK" } else { seen.answers.remove(0) };
    seen.heads.push(head);
    let mut answer = ExportTraceServiceResponse::default();
    if status == "200 OK" {
        seen.requests.push(ExportTraceServiceRequest::decode(&*bytes).unwrap());
        let partial = ExportTracePartialSuccess { rejected_spans: seen.rejects, error_message: String::new() };
        answer.partial_success = (seen.rejects > 0).then_some(partial);
    }
    let body = answer.encode_to_vec();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n", body.len());
    // A broker that was killed does not read it.
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).and_then(|()| stream.flush());
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    if let Value::StringValue(text) = value {
        Some(text)
    } else if let Value::IntValue(number) = value {
        Some(number.to_string())
    } else if let Value::BoolValue(flag) = value {
        Some(flag.to_string())
    } else {
        panic!("{value:?}")
    }
}

fn value(span: &Span, key: &str) -> Option<String> {
    attribute(&span.attributes, key)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn traced(address: &str, ratio: &str) -> (Broker, Admin) {
    traced_with(&format!("http://{address}"), ratio, Setup::default())
}

fn traced_with(endpoint: &str, ratio: &str, setup: Setup) -> (Broker, Admin) {
    let setup = setup.set("telemetry.sampling_ratio", ratio).set("telemetry.timeout", "\"1s\"");
    let (setup, admin) = with_admin(setup.set("telemetry.endpoint", &format!("{endpoint:?}")));
    (setup.start(), admin)
}

fn spans_counted(admin: &Admin, result: &str) -> u64 {
    admin.figure(&format!("oncemq_telemetry_spans_total{{result=\"{result}\"}}"))
}

/// A PUBLISH at QoS 1 with a User Property.
fn with_parent(topic: &str, value: &str) -> Vec<u8> {
    let property = [&[0x26][..], &string("traceparent"), &string(value)].concat();
    let length = u8::try_from(property.len()).unwrap();
    packet(PUBLISH | 0x02, &[&string(topic)[..], &[0, 1, length], &property, b"x"].concat())
}

#[test]
fn messages_have_spans_from_their_receipt_to_their_delivery() {
    if peer::is_chosen() {
        return;
    }
    let collector = Collector::start();
    let (broker, admin) = traced(&collector.address, "1");
    let mut subscriber = Wire::connected(broker.address(), &Connect::durable(V5, "sub"));
    subscriber.subscribe(V5, "q/#", 2);
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "pub"));
    assert_eq!(publisher.publish(V5, "q/1", "one"), 0);
    let first = subscriber.expect_publish(V5);
    subscriber.send(&acknowledge(PUBACK, first.packet_id));
    publisher.send(&V5.publish(PUBLISH | 0x04, "q/2", 2, b"two"));
    publisher.expect(PUBREC);
    publisher.send(&acknowledge(PUBREL, 2));
    publisher.expect(PUBCOMP);
    let second = subscriber.expect_publish(V5);
    subscriber.send(&acknowledge(PUBREC, second.packet_id));
    subscriber.expect(PUBREL_KIND);
    subscriber.send(&acknowledge(PUBCOMP, second.packet_id));
    publisher.send(&V5.publish(PUBLISH, "q/0", 0, b"zero"));

    for (topic, events) in [("q/1", &["sent", "acknowledged"][..]), ("q/2", &["sent", "released", "completed"])] {
        let spans = collector.spans_of(topic, 3);
        let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
        assert_eq!(names, ["publish", "commit", "deliver"]);
        let [publish, commit, deliver] = &spans[..] else { panic!() };
        assert!(publish.parent_span_id.is_empty());
        for child in [commit, deliver] {
            assert_eq!((&child.parent_span_id, &child.trace_id), (&publish.span_id, &publish.trace_id));
        }
        assert!(publish.start_time_unix_nano <= commit.end_time_unix_nano);
        assert_eq!(publish.end_time_unix_nano, commit.end_time_unix_nano, "acknowledged when stable");
        assert!(deliver.start_time_unix_nano >= commit.end_time_unix_nano, "delivered when stable");
        assert!(deliver.end_time_unix_nano >= deliver.start_time_unix_nano);
        let seen: Vec<_> = deliver.events.iter().map(|event| &*event.name).filter(|name| *name != "queued").collect();
        assert_eq!(seen, events);
        assert_eq!(value(publish, "messaging.client.id").as_deref(), Some("pub"));
        assert_eq!(value(deliver, "messaging.client.id").as_deref(), Some("sub"));
        assert_eq!(value(publish, "messaging.system").as_deref(), Some("mqtt"));
        assert_eq!(value(publish, "oncemq.receivers").as_deref(), Some("1"));
        let id = value(publish, "messaging.message.id").unwrap();
        assert!(admin.get(&format!("/api/v1/messages/{id}")).contains(topic), "{id}");
    }
    let [publish] = &collector.spans_of("q/0", 1)[..] else { panic!() };
    assert_eq!((&*publish.name, value(publish, "oncemq.qos").as_deref()), ("publish", Some("0")));
    wait_for("counts", || (spans_counted(&admin, "sent") == 7).then_some(()));
    assert_eq!((spans_counted(&admin, "dropped"), spans_counted(&admin, "failed")), (0, 0));
    let seen = collector.seen.lock().unwrap();
    assert!(seen.heads[0].starts_with("post /v1/traces http/1.1\r\n"), "{:?}", seen.heads);
    assert!(seen.heads[0].contains("content-type: application/x-protobuf"), "{:?}", seen.heads);
    let resource = seen.requests[0].resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(attribute(&resource.attributes, "service.name").as_deref(), Some("oncemq"));
}

#[test]
fn the_trace_of_a_publisher_is_continued_if_it_is_sampled() {
    if peer::is_chosen() {
        return;
    }
    let collector = Collector::start();
    let (broker, _admin) = traced(&collector.address, "0");
    let mut subscriber = Wire::connected(broker.address(), &Connect::new(V5, "sub"));
    subscriber.subscribe(V5, "#", 1);
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "pub"));
    for (topic, flags) in [("without", "00"), ("with", "01"), ("malformed", "0")] {
        let parent = format!("00-{TRACE}-{PARENT}-{flags}");
        publisher.send(&with_parent(topic, &parent));
        publisher.expect(PUBACK);
        let packet = subscriber.expect(PUBLISH);
        let received = [string("traceparent"), string(&parent)].concat();
        assert!(packet.body.windows(received.len()).any(|bytes| bytes == received), "it is passed on: {topic}");
        subscriber.send(&acknowledge(PUBACK, crate::raw::Publish::parse(V5, &packet).unwrap().packet_id));
    }
    let spans = collector.spans_of("with", 2);
    assert_eq!((&*spans[0].name, hex(&spans[0].parent_span_id)), ("publish", PARENT.to_owned()));
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    assert_eq!((&*spans[1].name, &spans[1].parent_span_id), ("deliver", &spans[0].span_id));
    assert_eq!(collector.spans().len(), 2, "the others are not sampled");
}

#[test]
fn a_collector_that_is_gone_costs_nothing_but_spans() {
    if peer::is_chosen() {
        return;
    }
    let (broker, admin) = traced(&format!("127.0.0.1:{}", free_port()), "1");
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "pub"));
    assert_eq!(publisher.publish(V5, "a", "x"), NOBODY);
    wait_for("failed spans", || (spans_counted(&admin, "failed") >= 1).then_some(()));
    assert!(
        broker.log().contains("telemetry_failed") || broker.log().contains("could not be sent"),
        "{}",
        broker.log()
    );
    assert_eq!(publisher.publish(V5, "a", "x"), NOBODY);
    assert_eq!(spans_counted(&admin, "sent"), 0);
}

#[test]
fn https_is_verified_with_the_authorities_of_a_file() {
    if peer::is_chosen() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    crate::certificates::write(directory.path());
    let collector = Collector::start_with(Some(crate::certificates::server_config(directory.path())));
    let port = collector.address.rsplit(':').next().unwrap();
    let (ca, trusted) = (directory.path().join("trusted.pem"), directory.path().join("ca.pem"));
    std::fs::copy(directory.path().join("stranger-ca.pem"), &ca).unwrap();
    let setup = Setup::default().set("telemetry.ca", &format!("{ca:?}"));
    let (broker, admin) = traced_with(&format!("https://localhost:{port}"), "1", setup);
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "pub"));
    for failed in 1..=2 {
        assert_eq!(publisher.publish(V5, "untrusted", "x"), NOBODY);
        wait_for("failed spans", || (spans_counted(&admin, "failed") == failed).then_some(()));
    }
    assert_eq!(broker.log().matches("could not be sent").count(), 1, "{}", broker.log());
    assert!(broker.log().contains("invalid peer certificate"), "{}", broker.log());
    let reload = |expected: &str| {
        let before = broker.log().len();
        broker.signal("HUP");
        wait_for(expected, || broker.log()[before..].contains(expected).then_some(()));
    };
    std::fs::write(&ca, "no certificate").unwrap();
    reload("traces go on as before: the file with trusted authorities has no certificate");
    std::fs::copy(trusted, &ca).unwrap();
    reload("traces of messages are sent to https://localhost");
    assert_eq!(publisher.publish(V5, "trusted", "x"), NOBODY);
    assert_eq!(collector.spans_of("trusted", 1)[0].name, "publish");
    wait_for("sent spans", || (spans_counted(&admin, "sent") == 1).then_some(()));
    assert_eq!((collector.spans().len(), spans_counted(&admin, "failed")), (1, 2));
}

#[test]
fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    if peer::is_chosen() {
        return;
    }
    let collector = Collector::start();
    collector.seen.lock().unwrap().answers =
        vec!["503 Service Unavailable", "429 Too Many Requests", "200 OK", "400 Bad Request"];
    let (broker, admin) = traced(&collector.address, "1");
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "pub"));
    assert_eq!(publisher.publish(V5, "first", "x"), NOBODY);
    assert_eq!(collector.spans_of("first", 1).len(), 1);
    wait_for("sent spans", || (spans_counted(&admin, "sent") == 1).then_some(()));
    assert_eq!(publisher.publish(V5, "refused", "x"), NOBODY);
    wait_for("failed spans", || (spans_counted(&admin, "failed") == 1).then_some(()));
    collector.seen.lock().unwrap().rejects = 1;
    assert_eq!(publisher.publish(V5, "rejected", "x"), NOBODY);
    wait_for("rejected spans", || (spans_counted(&admin, "failed") == 2).then_some(()));
    assert_eq!(collector.seen.lock().unwrap().heads.len(), 5);
    assert!(broker.log().contains("are sent to"), "{}", broker.log());
}

#[test]
fn a_reload_begins_and_ends_traces() {
    if peer::is_chosen() {
        return;
    }
    let collector = Collector::start();
    let (setup, admin) = with_admin(Setup::default());
    let broker = setup.start();
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "pub"));
    assert_eq!(publisher.publish(V5, "before", "x"), NOBODY);
    assert!(!admin.get("/metrics").contains("oncemq_telemetry_spans_total{"));
    let path = broker.path().join("oncemq.toml");
    let plain = std::fs::read_to_string(&path).unwrap();
    let headers = broker.path().join("headers");
    std::fs::write(&headers, "Authorization: Bearer secret\n").unwrap();
    let telemetry = format!(
        "telemetry.endpoint = \"http://{}/base\"\ntelemetry.sampling_ratio = 1\ntelemetry.headers_file = {headers:?}\ntelemetry.service = \"other\"\n",
        collector.address
    );
    std::fs::write(&path, telemetry + &plain).unwrap();
    broker.signal("HUP");
    wait_for("the reload", || broker.log().contains("traces of messages are sent to").then_some(()));
    assert_eq!(publisher.publish(V5, "with", "x"), NOBODY);
    collector.spans_of("with", 1);
    {
        let seen = collector.seen.lock().unwrap();
        assert!(seen.heads[0].starts_with("post /base/v1/traces "), "{:?}", seen.heads);
        assert!(seen.heads[0].contains("authorization: bearer secret"), "{:?}", seen.heads);
        let resource = seen.requests[0].resource_spans[0].resource.as_ref().unwrap();
        assert_eq!(attribute(&resource.attributes, "service.name").as_deref(), Some("other"));
    }
    std::fs::write(&path, plain).unwrap();
    broker.signal("HUP");
    wait_for("the reload", || (broker.log().matches("telemetry.endpoint").count() >= 2).then_some(()));
    assert_eq!(publisher.publish(V5, "after", "x"), NOBODY);
    assert!(!broker.log().contains("secret"));
    assert_eq!(collector.spans().len(), 1);
}

#[test]
fn the_last_spans_are_sent_when_the_broker_ends() {
    if peer::is_chosen() {
        return;
    }
    let collector = Collector::start();
    let (mut broker, _admin) = traced(&collector.address, "1");
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "pub"));
    assert_eq!(publisher.publish(V5, "last", "x"), NOBODY);
    broker.signal("TERM");
    assert!(broker.end().success());
    assert_eq!(collector.spans_of("last", 1)[0].name, "publish");
}

#[test]
fn config_check_names_what_can_not_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let (path, headers) = (directory.path().join("oncemq.toml"), directory.path().join("headers"));
    std::fs::write(&headers, "no header\n").unwrap();
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_oncemq")).args(["config", "check"]).arg(&path).output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap(),
        )
    };
    let good = "[telemetry]\nendpoint = \"http://127.0.0.1:4318\"\nsampling_ratio = 0.5\n";
    assert!(check(good).0);
    crate::certificates::write(directory.path());
    let ca = directory.path().join("ca.pem");
    let (is_good, output) = check(&format!("[telemetry]\nendpoint = \"https://127.0.0.1\"\nca = {ca:?}\n"));
    assert!(is_good, "{output}");
    let headers = format!("headers_file = {headers:?}");
    for (line, text) in [
        ("endpoint = \"ftp://127.0.0.1:4318\"", "telemetry.endpoint"),
        ("endpoint = \"collector\"", "telemetry.endpoint"),
        ("sampling_ratio = 1.5", "a number from 0 to 1"),
        ("timeout = \"1ms\"", "telemetry.timeout"),
        ("service = \"\"", "telemetry.service"),
        ("headers_file = \"/does/not/exist\"", "telemetry.headers_file"),
        (&headers, "line 1 of"),
        ("headers_file = \"/dev/null\"", "has no header"),
        ("ca = \"/does/not/exist\"", "telemetry.ca"),
        ("endpoint = \"https://127.0.0.1\"\nca = \"/dev/null\"", "has no certificate"),
        ("interval = 1", "interval"),
    ] {
        let (is_good, output) = check(&format!("[telemetry]\n{line}\n"));
        assert!(!is_good && output.contains(text), "{line}: {output}");
    }
    let (is_good, output) = check(&format!("{good}[admin]\njourney_steps_max = 0\n"));
    assert!(!is_good && output.contains("needs admin.journey_steps_max"), "{output}");
}
