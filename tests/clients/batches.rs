//! Batches: the examples of `docs/DELIVERY.md` as they are but for the port, and `kill -9`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::broker::{Broker, Setup};
use crate::deadline::PATIENCE;
use crate::mosquitto::{Subscriber, create_session, message};
use crate::peer;
use crate::python::interpreter;
use crate::raw::{Connect, PUBACK, PUBLISH, Received, Version, Wire, acknowledge};

/// The first example in this language in the section about batches, for the port of the broker.
fn example(language: &str, broker: &Broker) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/DELIVERY.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once("\n## Batches\n").unwrap();
    let (_, rest) = section.split_once(&format!("```{language}\n")).unwrap();
    let port = broker.address().port().to_string();
    let example = rest.split_once("\n```").unwrap().0;
    example
        .replace("mosquitto_sub ", &format!("mosquitto_sub -p {port} "))
        .replace("1883", &port)
        .replace("mosquitto_pub ", &format!("mosquitto_pub -p {port} "))
}

fn output(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_example_for_the_shell_works() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().start();
    let mut auditor = Subscriber::start(&broker, &["-t", "audit/#", "-q", "1"]);
    let mut shell = Command::new("timeout");
    shell.args(["60", "bash", "-euc", &example("sh", &broker)]);
    assert_eq!(output(shell), "stock/a -1\nstock/b +1\n");
    assert_eq!(auditor.next(), message("audit/moves", "a to b", 1));
}

#[test]
fn the_example_in_python_works() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().start();
    create_session(&broker, &["-i", "warehouse", "-q", "1", "-t", "stock/#"]);
    let mut python = Command::new("timeout");
    python.args(["60", &interpreter(), "-B", "-c", &example("python", &broker)]);
    let text = output(python);
    let lines: Vec<_> = text.lines().collect();
    let [first, second, third] = &lines[..] else { panic!("{text}") };
    assert_eq!(*first, "(0, {'durability': 'power-loss', 'receivers': '2'})");
    assert_eq!(*second, "(0, {'duplicate': 'true'})");
    assert!(third.starts_with("(153, 'message 3: topic: "), "{third}");
    let mut warehouse = Subscriber::start(&broker, &["-c", "-i", "warehouse", "-q", "1", "-t", "stock/#"]);
    assert_eq!([warehouse.next(), warehouse.next()], [message("stock/a", "-1", 1), message("stock/b", "+1", 1)]);
}

/// The messages of a batch: three for `whole/#`, one of them retained.
fn payload(number: usize) -> String {
    let message = |place: usize| {
        let retain = place == 1;
        format!(r#"{{"topic":"whole/{place}","payload":"{number}","qos":1,"retain":{retain}}}"#)
    };
    format!("[{}]", [0, 1, 2].map(message).join(","))
}

#[test]
fn a_batch_is_there_as_a_whole_or_not_at_all_after_kill_9() {
    const V5: Version = Version::V5;
    if peer::is_chosen() {
        return;
    }
    let mut broker = Setup::default().start();
    create_session(&broker, &["-i", "s", "-q", "1", "-t", "whole/#"]);
    let (mut number, mut acknowledged) = (0_usize, Vec::new());
    for round in 0..4_u64 {
        let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "p"));
        let delay = format!("sleep 0.{}; kill -9 {}", 1 + 2 * round, broker.id());
        let mut killer = Command::new("sh").args(["-c", &delay]).spawn().unwrap();
        // Several are on their way at any time.
        let mut open = Vec::new();
        loop {
            while open.len() < 8 {
                number += 1;
                let packet_id = u16::try_from(number % 60_000 + 1).unwrap();
                publisher.send(&V5.publish(PUBLISH | 0x02, "$batch", packet_id, payload(number).as_bytes()));
                open.push((packet_id, number));
            }
            let Received::Packet(packet) = publisher.receive(PATIENCE) else { break };
            assert_eq!((packet.kind(), packet.reason_code()), (PUBACK, 0));
            let place = open.iter().position(|(packet_id, _)| *packet_id == packet.packet_id()).unwrap();
            acknowledged.push(open.remove(place).1);
        }
        killer.wait().unwrap();
        broker.end();
        broker.start_again();
    }
    assert!(acknowledged.len() > 10, "{acknowledged:?}");

    let mut subscriber = Wire::connected(broker.address(), &Connect::durable(V5, "s"));
    let mut counts = BTreeMap::<usize, [u32; 3]>::new();
    let marker = || V5.publish(PUBLISH | 0x02, "whole/end", 1, b"");
    let mut other = Wire::connected(broker.address(), &Connect::new(V5, "end"));
    other.send(&marker());
    other.expect(PUBACK);
    loop {
        let publish = subscriber.expect_publish(V5);
        subscriber.send(&acknowledge(PUBACK, publish.packet_id));
        let Some(place) = publish.topic.strip_prefix("whole/").and_then(|place| place.parse::<usize>().ok()) else {
            break;
        };
        let number = String::from_utf8(publish.payload).unwrap().parse().unwrap();
        counts.entry(number).or_default()[place] += 1;
    }
    let parts: Vec<_> = counts.iter().filter(|(_, count)| **count != [1, 1, 1]).collect();
    assert!(parts.is_empty(), "batches that are not whole: {parts:?}");
    let lost: Vec<_> = acknowledged.iter().filter(|number| !counts.contains_key(*number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let retained = {
        let mut late = Wire::connected(broker.address(), &Connect::new(V5, "late"));
        late.subscribe(V5, "whole/1", 0);
        String::from_utf8(late.expect_publish(V5).payload).unwrap()
    };
    assert_eq!(Some(retained.parse().unwrap()), counts.keys().last().copied(), "the last batch that is there");
}
