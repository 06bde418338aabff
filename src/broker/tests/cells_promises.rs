//! What is stable before which packet leaves, with several cells: one test for each row that one broker does not have. The store of a cell reports nothing
//! until the test says so.

use super::cells::World;
use super::harness::Client;
use super::packets::*;
use crate::codec::{Publish, Qos};

/// A publisher in cell 0, a subscriber in cell 1, and the store of `frozen` reports nothing any more.
fn with_subscriber(frozen: u8) -> (World, Client, Client) {
    let mut world = World::joined(1);
    let subscriber = world.cell(1).connect(durable("s"));
    world.cell(1).send(subscriber, subscribe("a", Q2));
    world.settle();
    assert_eq!(world.cell(1).received(subscriber), ["SUBACK 1 02"]);
    let publisher = world.cell(0).connect(durable("p"));
    world.cell(0).persist();
    world.cell(frozen).store_answers = false;
    (world, publisher, subscriber)
}

fn answer(qos: Qos) -> &'static str {
    if qos == Q1 { "PUBACK 5" } else { "PUBREC 5" }
}

fn delivery(qos: Qos) -> String {
    format!("PUBLISH a x q{} #1", qos.level())
}

#[test]
fn puback_and_pubrec_wait_for_the_record_of_the_publishers_cell_and_so_does_the_copy_for_another_cell() {
    for qos in [Q1, Q2] {
        let (mut world, publisher, subscriber) = with_subscriber(0);
        assert_eq!(world.cell(0).ask(publisher, publish("a", "x", qos, 5)), [""; 0]);
        world.settle();
        assert_eq!(world.cell(1).received(subscriber), [""; 0], "it is sent before it is stable");
        // So a crash that loses it leaves it nowhere, and who sends it again is the first to have sent it.
        world.crash(0);
        world.connect();
        world.settle();
        assert_eq!(world.cell(1).received(subscriber), [""; 0]);
        world.cell(0).store_answers = true;
        let publisher = world.cell(0).connect(durable("p"));
        let again = Publish { dup: true, ..message("a", "x", qos, 5) };
        assert_eq!(world.cell(0).ask(publisher, again.into()), [answer(qos)]);
        world.settle();
        assert_eq!(world.cell(1).received(subscriber), [delivery(qos)]);
    }
}

#[test]
fn puback_and_pubrec_do_not_wait_for_the_record_of_another_cell_which_gets_the_message_although_it_crashes() {
    for qos in [Q1, Q2] {
        let (mut world, publisher, subscriber) = with_subscriber(1);
        assert_eq!(world.cell(0).ask(publisher, publish("a", "x", qos, 5)), [answer(qos)]);
        world.settle();
        assert_eq!(world.cell(1).received(subscriber), [""; 0]);
        world.crash(1);
        world.cell(1).store_answers = true;
        world.connect();
        world.settle();
        let subscriber = world.cell(1).connect(durable("s"));
        assert_eq!(world.cell(1).received(subscriber), [delivery(qos)]);
    }
}

#[test]
fn publish_to_a_durable_session_waits_for_the_record_of_its_cell() {
    for qos in [Q1, Q2] {
        let (mut world, publisher, subscriber) = with_subscriber(1);
        world.cell(0).send(publisher, publish("a", "x", qos, 5));
        world.settle();
        assert_eq!(world.cell(1).received(subscriber), [""; 0], "a crash would forget its Packet Identifier");
        world.cell(1).persist();
        assert_eq!(world.cell(1).received(subscriber), [delivery(qos)]);
    }
}

#[test]
fn suback_waits_for_the_record_of_its_cell_also_if_all_other_cells_know_the_filter() {
    let mut world = World::joined(1);
    let subscriber = world.cell(1).connect(durable("s"));
    world.cell(1).persist();
    world.cell(1).store_answers = false;
    assert_eq!(world.cell(1).ask(subscriber, subscribe("a", Q1)), [""; 0]);
    world.settle();
    assert_eq!(world.cell(1).received(subscriber), [""; 0], "a crash would forget the subscription");
    world.cell(1).persist();
    assert_eq!(world.cell(1).received(subscriber), ["SUBACK 1 01"]);
}
