//! What a request has in it.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use pbkdf2::hmac::digest::KeyInit;
use pbkdf2::hmac::{Hmac, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::broker::Broker;
use crate::certificates;
use crate::deadline::wait_for;
use crate::http_service::{HttpService, Response};
use crate::{header, messages, payloads, sink};

const SECRET: &str = "a-secret-that-signs";

/// By the words of docs/SINKS.md.
fn is_signed(signature: &str, body: &[u8]) -> bool {
    let (time, code) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).unwrap();
    let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
    let expected = mac.chain_update(time).chain_update(".").chain_update(body).finalize().into_bytes();
    code == expected.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
}

#[test]
fn a_message_arrives_signed_and_is_acknowledged_and_no_secret_is_shown() {
    let service = HttpService::start(|_| Response::Json(204, String::new()));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), format!("{SECRET}\n")).unwrap();
    fs::write(directory.path().join("headers"), "Authorization: Bearer very-secret-token\n").unwrap();
    fs::write(directory.path().join("url"), service.url("/T0/very-secret-path")).unwrap();
    let settings =
        sink("alarms", "", "secret_file = \"DIR/secret\"\nheaders_file = \"DIR/headers\"\nurl_file = \"DIR/url\"");
    let settings = settings.replace("url = \"\"\n", "");
    let broker = Broker::start_in(directory, &settings);
    broker.wait_for_sink("alarms");
    assert!(broker.client("c").publish("alarms/door", "grün"));
    assert!(broker.client("c").publish("alarms/door", b"\xFF".to_vec()));
    assert!(broker.client("c").publish("elsewhere", "not for it"));
    wait_for("both requests", || (service.asked().len() == 2).then_some(()));
    let asked = service.asked();
    let body = &asked[0].body;
    let expected = json!({
        "id": body["id"], "topic": "alarms/door", "payload": "grün", "payload_encoding": "utf-8", "qos": 1, "retain": false,
        "content_type": null, "response_topic": null, "correlation_data": null, "user_properties": [],
        "message_expiry_interval": null, "timestamp_ms": body["timestamp_ms"],
    });
    assert_eq!(*body, expected);
    assert_eq!(body["id"].as_str().unwrap().len(), 33, "{body}");
    assert_eq!((&asked[1].body["payload"], &asked[1].body["payload_encoding"]), (&json!("/w=="), &json!("base64")));
    for asked in &asked {
        assert!(asked.head.starts_with("POST /T0/very-secret-path HTTP/1.1\r\n"), "{}", asked.head);
        assert_eq!(header(asked, "content-type").as_deref(), Some("application/json"));
        assert_eq!(header(asked, "authorization").as_deref(), Some("Bearer very-secret-token"));
        assert_eq!(header(asked, "oncemq-sink").as_deref(), Some("alarms"));
        assert_eq!(header(asked, "oncemq-attempt").as_deref(), Some("1"));
        assert!(is_signed(&header(asked, "oncemq-signature").unwrap(), &asked.bytes));
    }
    wait_for("the acknowledgements", || (broker.queued("alarms") == 0).then_some(()));
    let shown = broker.log() + &broker.api("/config").to_string();
    assert!(shown.contains("alarms") && shown.contains("secret_file"), "{shown}");
    for secret in [SECRET, "very-secret-token", "very-secret-path"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[test]
fn a_batch_is_a_list_and_waits_for_its_messages() {
    let service = HttpService::start(|_| Response::ok(""));
    let broker = Broker::start(&sink(
        "alarms",
        &service.url("/"),
        "batch_max = 3\nbatch_wait = \"30s\"\norder = \"all\"\nqos = 2",
    ));
    broker.wait_for_sink("alarms");
    let mut client = broker.client("c");
    for number in 1..=7 {
        assert!(client.publish(&format!("alarms/{number}"), number.to_string()));
    }
    wait_for("two requests", || (service.asked().len() == 2).then_some(()));
    let sizes: Vec<_> = service.asked().iter().map(|asked| messages(asked).len()).collect();
    assert_eq!((sizes, payloads(&service)), (vec![3, 3], ["1", "2", "3", "4", "5", "6"].map(str::to_owned).to_vec()));
    wait_for("the acknowledgements", || (broker.queued("alarms") == 1).then_some(()));
}

#[test]
fn https_is_verified_and_the_receiver_can_know_the_broker() {
    let directory = tempfile::tempdir().unwrap();
    certificates::write(directory.path());
    let service = HttpService::start_with(Some(certificates::server_config(directory.path())), |_| Response::ok(""));
    let url = format!("https://localhost:{}/hook", service.address().port());
    let trusting =
        sink("alarms", &url, "ca = \"DIR/ca.pem\"\ncertificate = \"DIR/client.pem\"\nkey = \"DIR/client.key\"");
    let strange = sink("alarms", &url, "ca = \"DIR/stranger-ca.pem\"");
    let broker = Broker::start_in(directory, &strange);
    broker.wait_for_sink("alarms");
    assert!(broker.client("c").publish("alarms/1", "x"));
    broker.wait_for_line("the sink alarms can't send messages to https://localhost:");
    assert_eq!(payloads(&service), [""; 0]);
    broker.reload(&trusting);
    wait_for("the request", || (payloads(&service) == ["x"]).then_some(()));
}

#[test]
fn the_example_of_the_documentation_verifies_signatures() {
    let document = include_str!("../../docs/SINKS.md");
    let example = document.split_once("```python\n").and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    let service = HttpService::start(|_| Response::ok(""));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("secret"), SECRET).unwrap();
    let broker = Broker::start_in(directory, &sink("alarms", &service.url("/"), "secret_file = \"DIR/secret\""));
    broker.wait_for_sink("alarms");
    assert!(broker.client("c").publish("alarms/1", "grün"));
    wait_for("the request", || (service.asked().len() == 1).then_some(()));
    let asked = &service.asked()[0];
    let script = broker.directory.path().join("verify.py");
    let calls = "import sys\nbody = sys.stdin.buffer.read()\nsecret, signature = sys.argv[1].encode(), sys.argv[2]\n\
                 print(is_genuine(secret, signature, body), is_genuine(secret, signature, body + b' '), is_genuine(secret, signature, body, -1))\n";
    fs::write(&script, format!("{example}{calls}")).unwrap();
    let mut command = Command::new("python3");
    command.arg(&script).arg(SECRET).arg(header(asked, "oncemq-signature").unwrap());
    let mut python = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(&asked.bytes).unwrap();
    let output = python.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "True False False");
}
