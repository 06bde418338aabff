//! What a bridge still has to do for the sessions of both brokers is not forgotten when its broker is killed, nor when a reload replaces it.

use std::collections::BTreeSet;
use std::time::Duration;

use wire::{PUBCOMP, PUBREC, PUBREL, PUBREL_KIND, Publish, SUBSCRIBE, acknowledge, free_port};

use crate::client::Client;
use crate::node::{Kind, Node};
use crate::passing::bridge;
use crate::scripted::{Link, Scripted};
use crate::{SILENCE, wait_for};

fn url(port: u16) -> String {
    format!("mqtt://127.0.0.1:{port}")
}

fn of_qos_2(packet_id: u16, payload: &str, dup: bool) -> Publish {
    Publish { qos: 2, packet_id, dup, ..Publish::new("in", payload) }
}

/// Answers the release of all Packet Identifiers.
#[track_caller]
fn answer_releases(link: &mut Link) {
    for number in 1..=u16::MAX {
        let pubrel = link.expect(PUBREL);
        assert_eq!(pubrel.packet_id(), number);
        link.send(&acknowledge(PUBCOMP, number));
    }
}

#[test]
fn packet_identifiers_of_a_lost_session_here_are_released_after_a_restart_or_a_reload_before_the_first_connection() {
    for is_reloaded in [false, true] {
        let port = free_port();
        let topics = ["filter = \"a\", direction = \"out\""];
        let mut here = Node::started(Kind::Oncemq, &bridge(&url(port), "", &topics));
        here.wait_for_log("bridge_failed");
        if is_reloaded {
            here.configure(&bridge(&url(port), "keep_alive = \"50s\"", &topics));
            here.signal("HUP");
            here.wait_for_log("settings_reloaded");
        } else {
            here.end("KILL");
            here.start();
        }
        here.wait_for_log_times("bridge_failed", 2);
        let there = Scripted::listen(port);
        // Its session is that of a broker whose data is gone.
        let mut link = there.connect(true);
        answer_releases(&mut link);
        here.wait_for_log("bridge_connected");
        wait_for("the end of the mark", || (!here.path().join("data/bridges/b").exists()).then_some(()));
        // From now on the sessions fit each other: a release would double what is on its way.
        drop(link);
        let mut link = there.connect(true);
        here.wait_for_log_times("bridge_connected", 2);
        while let Some(packet) = link.next(SILENCE) {
            assert_ne!(packet.kind(), PUBREL_KIND);
        }
    }
}

/// The session there may have begun with the CONNECT of a broker that was killed before it had the answer.
#[test]
fn packet_identifiers_here_are_released_after_a_kill_between_connect_and_connack_unless_the_session_there_is_old() {
    for is_new_there in [true, false] {
        let port = free_port();
        let there = Scripted::listen(port);
        let mut here = Node::started(Kind::Oncemq, &bridge(&url(port), "", &["filter = \"in\", direction = \"in\""]));
        let mut at_here = Client::subscribed(here.address, "at-here", "in");
        let mut link = there.connect(false);
        link.expect(SUBSCRIBE);
        for number in [7, 8] {
            link.publish(&of_qos_2(number, &format!("old {number}"), false));
            assert_eq!(link.expect(PUBREC).packet_id(), number);
        }
        at_here.run_until("both", |client| client.messages.len() == 2);
        drop(link);
        let unanswered = there.accept();
        here.end("KILL");
        drop(unanswered);
        here.start();
        let mut link = there.connect(true);
        let mut expected = vec!["in old 7 2", "in old 8 2"];
        if is_new_there {
            link.expect(SUBSCRIBE);
            for number in [7, 8] {
                link.publish(&of_qos_2(number, &format!("new {number}"), false));
                assert_eq!(link.expect(PUBREC).packet_id(), number);
            }
            expected.extend(["in new 7 2", "in new 8 2"]);
        } else {
            link.publish(&of_qos_2(7, "old 7", true));
            link.expect(SUBSCRIBE);
            assert_eq!(link.expect(PUBREC).packet_id(), 7);
            link.publish(&of_qos_2(8, "old 8", true));
            assert_eq!(link.expect(PUBREC).packet_id(), 8);
        }
        at_here.expect(&expected);
    }
}

/// Some may come twice: those that an earlier replay has put into the queue.
#[track_caller]
fn await_all(link: &mut Link, topics: &[String]) {
    let mut missing: BTreeSet<&str> = topics.iter().map(String::as_str).collect();
    wait_for("the retained messages", || {
        link.acknowledge(1, SILENCE).iter().for_each(|topic| _ = missing.remove(&**topic));
        missing.is_empty().then_some(())
    });
}

#[test]
fn retained_messages_that_are_owed_come_after_a_kill_and_after_a_connection_that_broke_at_once() {
    let port = free_port();
    let mut here = Node::new(Kind::Oncemq);
    here.configure("");
    here.start();
    let mut publisher = Client::new(here.address, "publisher");
    // More than are read at a time.
    let topics: Vec<String> = (100..300).map(|number| format!("kept/{number}")).collect();
    topics.iter().for_each(|topic| publisher.publish(topic, "x", 1, true));
    publisher.run_until("the acknowledgements", Client::is_idle);
    here.end("TERM");
    here.configure(&bridge(&url(port), "inflight_max = 1", &["filter = \"kept/#\""]));
    let there = Scripted::listen(port);
    here.start();
    let mut link = there.connect(false);
    let is_kept = |packet: &wire::Packet| packet.first & 0x06 == 0x02;
    wait_for("the first retained message", || link.next(SILENCE).filter(is_kept));
    here.end("KILL");
    drop(link);
    here.start();
    let mut link = there.connect(true);
    await_all(&mut link, &topics);
    wait_for("the end of the mark", || {
        link.next(Duration::from_millis(10));
        (!here.path().join("data/bridges/b").exists()).then_some(())
    });

    // The sessions are as they were: nothing comes again.
    drop(link);
    here.end("KILL");
    here.start();
    let mut link = there.connect(true);
    assert_eq!(link.acknowledge(1, 2 * SILENCE), Vec::<String>::new());

    // The other broker has lost its session, and the connection breaks before anything has passed.
    drop(link);
    drop(there.connect(false));
    let mut link = there.connect(true);
    await_all(&mut link, &topics);
}
