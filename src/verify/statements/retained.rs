//! Retained messages.

use oncemq::codec::{Publish, Qos};

use super::bench::{Bench, Statement, V3, V5, ensure};
use crate::verify::client::Outcome;

pub(super) const STATEMENTS: &[Statement] = &[
    Statement { id: "MQTT-3.3.1-6", version: V3, what: "a new subscription gets the retained message", check: kept },
    Statement { id: "MQTT-3.3.1-5", version: V5, what: "the newest retained message replaces the others", check: kept },
    Statement {
        id: "MQTT-3.3.1-12",
        version: V5,
        what: "RETAIN is 0 for an established subscription",
        check: established,
    },
    Statement {
        id: "MQTT-3.3.1-6",
        version: V5,
        what: "an empty payload removes the retained message",
        check: removed,
    },
];

fn retain(bench: &Bench, topic: &str, payload: &str) -> Outcome {
    let mut publisher = bench.client("publisher")?;
    let publish = publisher.compose(topic, payload, Qos::AtLeastOnce)?;
    publisher.put_packet(Publish { retain: true, ..publish })
}

fn kept(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    retain(bench, &topic, "old")?;
    retain(bench, &topic, "new")?;
    let mut subscriber = bench.client("subscriber")?;
    subscriber.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    let got = subscriber.message("new")?;
    ensure(got.retain, || "RETAIN is 0".to_owned())
}

fn established(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    let mut subscriber = bench.client("subscriber")?;
    subscriber.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    retain(bench, &topic, "m")?;
    let got = subscriber.message("m")?;
    ensure(!got.retain, || "RETAIN is 1".to_owned())
}

fn removed(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    retain(bench, &topic, "m")?;
    retain(bench, &topic, "")?;
    let mut subscriber = bench.client("subscriber")?;
    subscriber.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    subscriber.expect_nothing()
}
