//! Receipts: the example of `docs/DELIVERY.md` as it is but for the port, and `kill -9`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::broker::{Broker, Setup};
use crate::mosquitto::{create_session, publish};
use crate::peer;
use crate::raw::{Connect, PUBACK, PUBLISH, Version, Wire, acknowledge};

const V5: Version = Version::V5;

/// The example, for the port of the broker.
fn example(broker: &Broker) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/DELIVERY.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## Receipts\n").unwrap();
    let (_, rest) = section.split_once("```sh\n").unwrap();
    let port = broker.address().port().to_string();
    let example = rest.split_once("\n```").unwrap().0;
    ["mosquitto_sub ", "mosquitto_pub "]
        .into_iter()
        .fold(example.to_owned(), |text, tool| text.replace(tool, &format!("{tool}-p {port} ")))
}

#[test]
fn the_example_of_receipts_works() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().start();
    let mut shell = Command::new("timeout");
    shell.args(["60", "bash", "-euc", &example(&broker)]).stdin(Stdio::null());
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let [message, receipt] = &lines[..] else { panic!("{text}") };
    assert_eq!(*message, "-1");
    let receipt: Value = serde_json::from_str(receipt).unwrap();
    assert_eq!(receipt["topic"], "stock/a");
    assert_eq!((&receipt["receivers"], &receipt["outstanding"]), (&1.into(), &0.into()));
    assert_eq!(receipt["outcomes"], serde_json::json!({"acknowledged": 1}));
    let times = ["accepted_at", "first_outcome_at", "last_outcome_at"].map(|name| receipt[name].as_u64().unwrap());
    assert!(times[0] <= times[1] && times[1] == times[2], "{times:?}");
}

/// Receives and acknowledges messages, until that to `end` comes.
fn drain(broker: &Broker, client: &str, end: &str) {
    let mut other = Wire::connected(broker.address(), &Connect::new(V5, "end"));
    other.send(&V5.publish(PUBLISH | 0x02, end, 1, b""));
    other.expect(PUBACK);
    let mut subscriber = Wire::connected(broker.address(), &Connect::durable(V5, client));
    loop {
        let publish = subscriber.expect_publish(V5);
        subscriber.send(&acknowledge(PUBACK, publish.packet_id));
        if publish.topic == end {
            return subscriber.ping(); // the broker has read the acknowledgements
        }
    }
}

#[test]
fn each_acknowledged_message_has_its_receipt_after_kill_9_between_all_steps() {
    if peer::is_chosen() {
        return;
    }
    let mut broker = Setup::default().start();
    create_session(&broker, &["-i", "s", "-q", "1", "-t", "t/#"]);
    create_session(&broker, &["-i", "shop", "-q", "1", "-t", "receipts"]);
    let ask = ["-V", "5", "-q", "1", "-m", "m", "-D", "publish", "user-property", "receipt-to", "receipts", "-t"];
    let topics: Vec<String> = (0..6).map(|number| format!("t/{number}")).collect();
    for (number, topic) in topics.iter().enumerate() {
        publish(&broker, &[&ask[..], &[topic]].concat());
        if number % 2 == 0 {
            broker.crash_and_restart();
        }
    }
    // Some acknowledgements are lost with the process.
    let mut subscriber = Wire::connected(broker.address(), &Connect::durable(V5, "s"));
    for _ in 0..3 {
        let publish = subscriber.expect_publish(V5);
        subscriber.send(&acknowledge(PUBACK, publish.packet_id));
    }
    broker.crash_and_restart();
    drain(&broker, "s", "t/first");
    broker.crash_and_restart();
    drain(&broker, "s", "t/second");
    let mut reader = Wire::connected(broker.address(), &Connect::durable(V5, "shop"));
    let mut found = BTreeMap::new();
    while found.len() < topics.len() {
        let receipt = reader.expect_publish(V5);
        reader.send(&acknowledge(PUBACK, receipt.packet_id));
        let receipt: Value = serde_json::from_slice(&receipt.payload).unwrap();
        assert_eq!(receipt["outcomes"], serde_json::json!({"acknowledged": 1}), "{receipt}");
        assert_eq!((&receipt["receivers"], &receipt["outstanding"]), (&1.into(), &0.into()), "{receipt}");
        let topic = receipt["topic"].as_str().unwrap().to_owned();
        let before = found.insert(topic, receipt.clone());
        assert!(before.as_ref().is_none_or(|before| *before == receipt), "{before:?} {receipt}");
    }
    assert!(found.keys().eq(&topics));
}
