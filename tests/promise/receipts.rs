//! Receipts: a message that was acknowledged has its receipt, which says what became of it, through a crash at every step.

use std::panic::{AssertUnwindSafe, catch_unwind};

use oncemq::codec::{ProtocolVersion, Qos};
use oncemq::store::Level;
use oncemq::store::sim::Loss;

use crate::client::Lifetime::{self, Durable, Transient};
use crate::lab::Lab;
use crate::steps::crashes_of;

const Q1: Qos = Qos::AtLeastOnce;
const Q2: Qos = Qos::ExactlyOnce;

/// Publishes a message that asks for a receipt, to two durable receivers that are connected, or to none. Returns the number of steps.
fn play(lab: &mut Lab, (lifetime, qos): (Lifetime, Qos), receivers: u32) -> u64 {
    let publisher = lab.client("publisher", ProtocolVersion::V5, lifetime);
    let [first, second, reader] =
        ["first", "second", "reader"].map(|name| lab.client(name, ProtocolVersion::V5, Durable));
    let subscriptions: &[(usize, &'static str)] =
        if receivers > 0 { &[(reader, "receipts"), (first, "t"), (second, "t")] } else { &[(reader, "receipts")] };
    for (client, filter) in subscriptions {
        lab.connect(*client);
        lab.subscribe(*client, filter, Q2);
        lab.run();
    }
    lab.connect(publisher);
    lab.publish(publisher, "t", "receipt: m", qos);
    lab.run();
    let steps = lab.steps;
    lab.finish();
    lab.pass(1);
    lab.pass(1);
    let is_acknowledged = lab.ledger.messages[0].acknowledged;
    let is_there = receivers > 0 && [first, second].iter().any(|client| lab.count(*client, "receipt: m") > 0);
    let receipts: Vec<_> = lab.deliveries(reader).map(|got| (got.payload.clone(), got.dup)).collect();
    if receipts.is_empty() && (is_acknowledged || is_there) {
        lab.fail("\"m\" was acknowledged, and has no receipt");
    }
    if receipts.iter().filter(|(_, dup)| !dup).count() > 1 && (lifetime, qos) == (Durable, Q2) {
        lab.fail(&format!("\"m\" has several receipts: {receipts:?}"));
    }
    let outcomes = if receivers > 0 { format!("\"acknowledged\":{receivers}") } else { String::new() };
    let told = format!(
        "\"topic\":\"t\",\"receivers\":{receivers},\"outcomes\":{{{outcomes}}},\"outstanding\":0,\"reason_codes\":{{}}"
    );
    if let Some((receipt, _)) = receipts.iter().find(|(receipt, _)| !receipt.contains(&told)) {
        lab.fail(&format!("a receipt says {receipt}, not {told}"));
    }
    if lab.shared.receipts_len() > 0 {
        lab.fail("the receipt is still open");
    }
    steps
}

#[test]
fn an_acknowledged_message_has_its_receipt_through_a_crash_at_every_step() {
    for (qos, loss, shards, lifetime) in [
        (Q1, Loss::Process, 1, Durable),
        (Q2, Loss::Process, 2, Durable),
        (Q2, Loss::Power, 1, Durable),
        (Q1, Loss::Power, 2, Transient),
    ] {
        let level = if loss == Loss::Process { Level::Crash } else { Level::PowerLoss };
        for receivers in [0, 2] {
            let steps = play(&mut Lab::new(shards, level), (lifetime, qos), receivers);
            assert!(steps > 15, "{steps} steps");
            for (step, crash) in (1..=steps).flat_map(|step| crashes_of(loss, step).map(move |crash| (step, crash))) {
                let run = |trace: Option<Vec<String>>| {
                    let mut lab = Lab::new(shards, level);
                    (lab.trace, lab.crash_at) = (trace, Some((step, crash)));
                    play(&mut lab, (lifetime, qos), receivers);
                    assert!(lab.crash_at.is_none(), "it didn't come");
                };
                if catch_unwind(AssertUnwindSafe(|| run(None))).is_err() {
                    println!("{lifetime:?}, {qos:?}, {receivers} receivers, before step {step}, again:");
                    run(Some(Vec::new()));
                }
            }
        }
    }
}

#[test]
fn a_receipt_begins_in_the_record_of_its_message_and_ends_in_that_of_its_publication() {
    let mut lab = Lab::new(1, Level::PowerLoss);
    let [publisher, first, reader] = ["publisher", "first", "reader"].map(|name| lab.connected(name, Durable));
    lab.subscribe(first, "t", Q1);
    lab.subscribe(reader, "receipts", Q1);
    lab.run();
    lab.lose(first);
    lab.run();
    let before = lab.log.appended;
    lab.publish(publisher, "t", "receipt: m", Q1);
    lab.run();
    assert_eq!(lab.log.appended, before + 1, "the message in the queue, and its receipt");
    lab.connect(first);
    lab.run();
    // The connection, the removal from the queue with its outcome, the publication of the receipt, and its removal from the queue.
    assert_eq!((lab.log.appended, lab.deliveries(reader).count()), (before + 5, 1));
    assert_eq!(lab.shared.receipts_len(), 0);
}
