//! A receiver that refuses messages, the broker killed while they wait, and the commands about dead letters.

use std::thread;
use std::time::Duration;

use tempfile::tempdir;
use wire::{
    CONNACK, Connect, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL_KIND, Packet, Publish, Received, SUBACK, Version, Wire,
    acknowledge, free_address, packet,
};

use crate::messages::publish;
use crate::process::{Broker, wait_for};

/// A durable 5.0 client that decides about each message.
struct Receiver {
    wire: Wire,
}

impl Receiver {
    fn connect(broker: &Broker) -> Self {
        let mut wire = Wire::open(broker.mqtt, PATIENCE).unwrap();
        wire.send(&Connect::durable(Version::V5, "receiver").bytes());
        let mut receiver = Self { wire };
        receiver.packet(CONNACK);
        receiver
    }

    /// Connects for the first time.
    fn subscribe(broker: &Broker) -> Self {
        let mut receiver = Self::connect(broker);
        receiver.wire.send(&Version::V5.subscribe(1, "orders/#", 2));
        receiver.packet(SUBACK);
        receiver
    }

    /// The next packet, which has this type.
    #[track_caller]
    fn packet(&mut self, kind: u8) -> Packet {
        let received = self.wire.receive(PATIENCE);
        let Received::Packet(packet) = received else { panic!("{kind:#x} was expected: {received:?}") };
        assert_eq!(packet.kind(), kind, "{packet:?}");
        packet
    }

    /// The next message, and the number of its attempt.
    #[track_caller]
    fn message(&mut self) -> (Publish, u8) {
        let packet = self.packet(PUBLISH);
        let name = b"delivery-attempt\x00\x01";
        let place = packet.body.windows(name.len()).position(|bytes| bytes == name);
        let attempt = place.map_or(1, |place| packet.body[place + name.len()] - b'0');
        (Publish::parse(Version::V5, &packet).unwrap(), attempt)
    }

    fn refuse(&mut self, message: &Publish) {
        let first = if message.qos == 2 { PUBREC } else { PUBACK };
        let body = [&message.packet_id.to_be_bytes()[..], &[0x80]].concat();
        self.wire.send(&packet(first, &body));
    }

    #[track_caller]
    fn accept(&mut self, message: &Publish) {
        if message.qos < 2 {
            return self.wire.send(&acknowledge(PUBACK, message.packet_id));
        }
        self.wire.send(&acknowledge(PUBREC, message.packet_id));
        self.packet(PUBREL_KIND);
        self.wire.send(&acknowledge(PUBCOMP, message.packet_id));
    }
}

fn broker() -> Broker {
    let mqtt = free_address();
    let text = format!(
        "[[listeners]]\naddress = \"{mqtt}\"\n[[redelivery]]\ntopic = \"orders/#\"\nattempts = 2\nbackoff_first = \"1s\"\nbackoff_jitter = 0\n"
    );
    Broker::with_config(&text, tempdir().unwrap(), mqtt)
}

fn letters(broker: &Broker) -> Vec<u64> {
    let letters = broker.json(&["dead-letters", "list"]);
    letters.as_array().unwrap().iter().map(|letter| letter["number"].as_u64().unwrap()).collect()
}

#[test]
fn refused_messages_come_again_through_kill_9_and_dead_letters_are_redriven_once() {
    let mut broker = broker();
    let mut receiver = Receiver::subscribe(&broker);
    publish(&broker, &["-t", "orders/1", "-m", "one", "-q", "1"]).succeeded();
    publish(&broker, &["-t", "orders/2", "-m", "two", "-q", "2"]).succeeded();
    for _ in 0..2 {
        let (message, attempt) = receiver.message();
        assert_eq!((attempt, message.dup), (1, false));
        receiver.refuse(&message);
    }
    wait_for("the refusals", || broker.json(&["client", "receiver"])["in_flight_messages"] == 0);
    thread::sleep(Duration::from_millis(300)); // nothing waits for the records of refusals
    broker.kill();
    broker.start_again();
    let mut receiver = Receiver::connect(&broker);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (message, attempt) = receiver.message();
        assert_eq!(attempt, 2, "{message:?}");
        assert!(!message.dup && message.packet_id > 2, "a new PUBLISH: {message:?}");
        seen.push(String::from_utf8(message.payload.clone()).unwrap());
        receiver.refuse(&message);
    }
    seen.sort_unstable();
    assert_eq!(seen, ["one", "two"]);
    wait_for("two dead letters", || letters(&broker).len() == 2);
    broker.kill();
    broker.start_again();
    let all = letters(&broker);
    assert_eq!(all.len(), 2);
    assert_eq!(broker.json(&["dead-letters", "list", "--filter", "orders/2"]).as_array().unwrap().len(), 1);
    let table = broker.operate(&["dead-letters", "list"]).succeeded();
    assert!(table.contains("orders/1") && table.contains("receiver"), "{table}");
    let first = broker.json(&["dead-letters", "show", &all[0].to_string()]);
    assert_eq!((first["attempts"].as_u64(), first["reason_code"].as_u64()), (Some(2), Some(0x80)), "{first}");
    assert!(["one", "two"].contains(&first["payload_text"].as_str().unwrap()), "{first}");
    broker.operate(&["dead-letters", "redrive", "--filter", "orders/#"]).succeeded();
    broker.operate(&["dead-letters", "redrive", &all[0].to_string()]).failed(1, "no dead letter has this number");
    broker.kill();
    broker.start_again();
    assert_eq!(letters(&broker), [0; 0]);
    let mut receiver = Receiver::connect(&broker);
    // Both, before an answer: a PUBREL may come in front of the second.
    for (message, attempt) in [receiver.message(), receiver.message()] {
        assert_eq!(attempt, 1, "it has all its attempts again");
        receiver.accept(&message);
    }
    wait_for("an empty queue", || broker.json(&["client", "receiver"])["queued_messages"] == 0);
}

#[test]
fn a_dead_letter_of_a_session_that_ended_is_refused_in_words_and_discarded() {
    let broker = broker();
    let mut receiver = Receiver::subscribe(&broker);
    let message = ["-t", "orders/1", "-m", "one", "-q", "1"];
    let properties =
        ["content-type text/plain", "response-topic answers", "correlation-data seven", "user-property a b"];
    let properties = properties.iter().flat_map(|text| ["-D", "publish"].into_iter().chain(text.split(' ')));
    let arguments: Vec<&str> = message.into_iter().chain(properties).collect();
    publish(&broker, &arguments).succeeded();
    for _ in 0..2 {
        let (message, _) = receiver.message();
        receiver.refuse(&message);
    }
    wait_for("a dead letter", || letters(&broker).len() == 1);
    let number = letters(&broker)[0].to_string();
    let shown = broker.json(&["dead-letters", "show", &number]);
    let of_publisher = ["content_type", "response_topic", "correlation_data_base64"].map(|name| shown[name].as_str());
    assert_eq!(of_publisher, [Some("text/plain"), Some("answers"), Some("c2V2ZW4=")], "{shown}");
    assert_eq!(shown["user_properties"], serde_json::json!([["a", "b"]]), "{shown}");
    broker.operate(&["forget", "receiver"]).succeeded();
    broker.operate(&["dead-letters", "redrive", &number]).failed(1, "the session has ended");
    let _again = Receiver::connect(&broker);
    broker.operate(&["dead-letters", "redrive", &number]).failed(1, "the session has ended");
    assert_eq!(letters(&broker).len(), 1);
    broker.operate(&["dead-letters", "discard", &number]).succeeded();
    assert_eq!(letters(&broker), [0; 0]);
    broker.operate(&["dead-letters", "show", &number]).failed(1, "no dead letter has this number");
}

const PATIENCE: Duration = Duration::from_secs(20);
