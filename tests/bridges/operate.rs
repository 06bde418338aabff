//! What an operator sees and changes.

use wire::{Publish, free_port};

use crate::client::Client;
use crate::node::{Kind, Node};
use crate::passing::bridge;
use crate::scripted::Scripted;
use crate::wait_for;

#[test]
fn the_state_of_a_bridge_is_retained_on_both_sides() {
    for other in [Kind::Oncemq, Kind::Mosquitto] {
        let there = Node::started(other, "");
        let mut here = Node::started(Kind::Oncemq, &bridge(&there.url(), "", &["filter = \"a\""]));
        here.wait_for_log("bridge_connected");
        let topic = "$SYS/broker/connection/oncemq-b/state";
        let mut watchers = [&here, &there].map(|broker| Client::subscribed(broker.address, "watcher", topic));
        for watcher in &mut watchers {
            watcher.run_until("state 1", |client| client.texts().last().is_some_and(|text| text.contains(" 1 ")));
        }
        here.end("KILL");
        watchers[1].run_until("state 0", |client| client.texts().last().is_some_and(|text| text.contains(" 0 ")));
        drop(here);
    }
}

#[test]
fn messages_wait_for_a_broker_that_was_never_there() {
    for other in [Kind::Oncemq, Kind::Mosquitto] {
        let mut there = Node::started(other, "");
        let mut at_there = Client::subscribed(there.address, "at-there", "r/#");
        there.end("TERM");
        let topics = ["filter = \"#\", qos = 2, remote_prefix = \"r/\""];
        let mut here = Node::new(Kind::Oncemq);
        here.configure("");
        here.start();
        Client::new(here.address, "publisher").publish_now("kept", "before the bridge", 1, true);
        here.end("KILL");
        here.configure(&bridge(&there.url(), "", &topics));
        here.start();
        here.wait_for_log("bridge_failed");
        Client::new(here.address, "publisher").publish_now("a", "1", 2, false);
        // The Session of the bridge is there after a restart, and the retained message still follows.
        here.end("KILL");
        here.start();
        here.wait_for_log_times("bridge_failed", 2);
        Client::new(here.address, "publisher").publish_now("a", "2", 2, false);
        there.start();
        at_there
            .run_until("all", |client| client.messages.iter().filter(|message| message.topic == "r/a").count() == 2);
        at_there.run_for(crate::SILENCE);
        // The retained message may come before or after the client is back there.
        let (kept, queued): (Vec<String>, Vec<String>) =
            at_there.texts().into_iter().partition(|text| text.starts_with("r/kept"));
        assert_eq!(queued, ["r/a 1 2", "r/a 2 2"]);
        assert!(kept.iter().any(|text| text.starts_with("r/kept before the bridge 1")), "{kept:?}");
    }
}

#[test]
fn a_bridge_fails_over_to_the_next_address() {
    let there = Node::started(Kind::Oncemq, "");
    let dead = Node::new(Kind::Oncemq);
    let text =
        bridge("URL", "", &["filter = \"a\""]).replace("\"URL\"", &format!("{:?}, {:?}", dead.url(), there.url()));
    let here = Node::started(Kind::Oncemq, &text);
    here.wait_for_log("bridge_connected");
    assert!(here.log().contains("bridge_failed"));
    let mut at_there = Client::subscribed(there.address, "at-there", "a");
    Client::new(here.address, "publisher").publish_now("a", "x", 2, false);
    at_there.expect(&["a x 2"]);
}

#[test]
fn a_bridge_goes_round_its_addresses_or_prefers_the_first() {
    for (order, expected) in [("round-robin", [0, 1, 0]), ("fail-over", [0, 0, 0])] {
        let second = free_port();
        let there = Node::started(Kind::Oncemq, &format!("[[listeners]]\naddress = \"127.0.0.1:{second}\"\n"));
        let urls = [there.url(), format!("mqtt://127.0.0.1:{second}")];
        let settings = format!("address_order = {order:?}");
        let text = bridge("URL", &settings, &["filter = \"a\""]);
        let mut here = Node::new(Kind::Oncemq);
        here.configure(&text.replace("\"URL\"", &format!("{:?}, {:?}", urls[0], urls[1])));
        here.enable_commands();
        here.start();
        let mut at_there = Client::subscribed(there.address, "at-there", "a");
        let mut publisher = Client::new(here.address, "publisher");
        for (round, number) in expected.into_iter().enumerate() {
            here.wait_for_log_times("\"bridge_connected\"", round + 1);
            let log = here.log();
            let connected = log.lines().rfind(|line| line.contains("\"bridge_connected\"")).unwrap();
            assert!(connected.contains(&format!("{:?}", urls[number])), "{order}, {round}: {connected}");
            publisher.publish_now("a", &round.to_string(), 2, false);
            at_there.run_until("the message", |client| client.messages.len() > round);
            here.run(&["kick", "$bridge/b"]);
        }
        at_there.expect(&["a 0 2", "a 1 2", "a 2 2"]);
    }
}

#[test]
fn a_lazy_bridge_connects_when_messages_are_queued_and_leaves_when_there_are_none() {
    let there = Node::started(Kind::Oncemq, "");
    let settings = "start = \"lazy\"\nlazy_threshold = 3\nidle_timeout = \"1s\"";
    let here = Node::started(Kind::Oncemq, &bridge(&there.url(), settings, &["filter = \"a\""]));
    let mut at_there = Client::subscribed(there.address, "at-there", "a");
    let mut publisher = Client::new(here.address, "publisher");
    here.wait_for_log("client_connected");
    publisher.run_for(crate::SILENCE); // the bridge has subscribed
    for number in 0..2 {
        publisher.publish_now("a", &number.to_string(), 1, false);
    }
    publisher.run_for(std::time::Duration::from_millis(1_500));
    assert!(!here.log().contains("bridge_connected"));
    publisher.publish_now("a", "2", 1, false);
    at_there.expect(&["a 0 1", "a 1 1", "a 2 1"]);
    there.wait_for_log("client_disconnected");
    for number in 3..6 {
        publisher.publish_now("a", &number.to_string(), 1, false);
    }
    at_there.run_until("three more", |client| client.messages.len() == 6);
    here.wait_for_log_times("bridge_connected", 2);
}

#[test]
fn a_bridge_whose_session_here_is_deleted_collects_messages_again() {
    for start in ["start = \"lazy\"\nlazy_threshold = 1", ""] {
        let port = free_port();
        let here = Node::new(Kind::Oncemq);
        here.configure(&bridge(&format!("mqtt://127.0.0.1:{port}"), start, &["filter = \"a\""]));
        here.enable_commands();
        let mut here = here;
        here.start();
        let count = || here.log().matches("\"client_connected\"").count();
        wait_for("its session", || (count() >= 1).then_some(()));
        let before = count();
        here.run(&["forget", "$bridge/b"]);
        wait_for("its next session", || (count() > before).then_some(()));
        let mut publisher = Client::new(here.address, "publisher");
        publisher.run_for(crate::SILENCE);
        publisher.publish_now("a", "x", 2, false);
        let there = Scripted::listen(port);
        let mut link = there.connect(false);
        link.expect(wire::PUBLISH | 2 << 1);
    }
}

#[test]
fn a_bridge_that_starts_once_does_not_come_back() {
    let mut there = Node::started(Kind::Oncemq, "");
    let here = Node::started(Kind::Oncemq, &bridge(&there.url(), "start = \"once\"", &["filter = \"a\""]));
    here.wait_for_log("bridge_connected");
    there.end("KILL");
    here.wait_for_log("bridge_disconnected");
    there.start();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(here.log().matches("bridge_connected").count(), 1);
}

#[test]
fn a_reload_starts_ends_and_replaces_only_the_bridges_that_have_changed() {
    let there = Node::started(Kind::Oncemq, "");
    let named = |name: &str, filter: &str| {
        bridge(&there.url(), "", &[&format!("filter = {filter:?}, direction = \"both\"")])
            .replace("\"b\"", &format!("{name:?}"))
    };
    let here = Node::started(Kind::Oncemq, &format!("{}{}", named("stays", "s/#"), named("changes", "old/#")));
    here.wait_for_log_times("bridge_connected", 2);
    here.configure(&format!("{}{}{}", named("stays", "s/#"), named("changes", "new/#"), named("comes", "c/#")));
    here.signal("HUP");
    here.wait_for_log_times("bridge_connected", 4);
    let mut publisher = Client::new(here.address, "publisher");
    let mut at_there = Client::subscribed(there.address, "at-there", "#");
    let mut at_here = Client::subscribed(here.address, "at-here", "#");
    for topic in ["old/1", "new/1", "s/1", "c/1"] {
        publisher.publish_now(topic, "x", 2, false);
    }
    at_there.expect(&["new/1 x 2", "s/1 x 2", "c/1 x 2"]);
    for topic in ["old/2", "new/2"] {
        at_there.publish_now(topic, "y", 2, false);
    }
    at_here.expect(&["old/1 x 2", "new/1 x 2", "s/1 x 2", "c/1 x 2", "new/2 y 2"]);
    assert_eq!(here.log().matches("bridge stays is connected").count(), 1);
    here.configure(&named("stays", "s/#"));
    here.signal("HUP");
    here.wait_for_log_times("bridge_session_left", 2);
    publisher.publish_now("s/2", "x", 2, false);
    at_there.run_until("s/2", |client| client.texts().contains(&"s/2 x 2".to_owned()));
    assert_eq!(here.log().matches("bridge stays is connected").count(), 1);
}

#[test]
fn a_stop_of_either_side_loses_and_doubles_nothing() {
    let mut there = Node::started(Kind::Oncemq, "");
    let mut here = Node::started(Kind::Oncemq, &bridge(&there.url(), "", &["filter = \"a\""]));
    here.wait_for_log("bridge_connected");
    let mut at_there = Client::subscribed(there.address, "at-there", "a");
    let mut publisher = Client::new(here.address, "publisher");
    let mut expected = Vec::new();
    for number in 0..60 {
        publisher.publish_now("a", &number.to_string(), 2, false);
        expected.push(format!("a {number} 2"));
        match number {
            20 => {
                here.end("TERM");
                here.start();
            }
            40 => {
                there.end("TERM");
                there.start();
            }
            _ => {}
        }
    }
    at_there.run_until("all messages", |client| client.messages.len() >= 60);
    at_there.run_for(crate::SILENCE);
    assert_eq!(at_there.texts(), expected);
}

#[test]
fn a_bridge_with_another_user_keeps_its_queue() {
    let mut there = Node::started(Kind::Oncemq, "");
    let topics = ["filter = \"a\""];
    let here = Node::started(Kind::Oncemq, &bridge(&there.url(), "", &topics));
    here.wait_for_log("bridge_connected");
    let mut at_there = Client::subscribed(there.address, "at-there", "a");
    there.end("KILL");
    Client::new(here.address, "publisher").publish_now("a", "x", 2, false);
    here.configure(&bridge(&there.url(), "user = \"other\"", &topics));
    here.signal("HUP");
    here.wait_for_log("settings_reloaded");
    there.start();
    at_there.expect(&["a x 2"]);
}

#[test]
fn a_filter_that_a_reload_adds_while_the_other_broker_is_away_has_a_queue() {
    let mut there = Node::started(Kind::Oncemq, "");
    let here = Node::started(Kind::Oncemq, &bridge(&there.url(), "", &["filter = \"a\""]));
    here.wait_for_log("bridge_connected");
    let mut at_there = Client::subscribed(there.address, "at-there", "b");
    there.end("KILL");
    let mut publisher = Client::new(here.address, "publisher");
    publisher.publish_now("b", "kept", 1, true);
    here.configure(&bridge(&there.url(), "", &["filter = \"a\"", "filter = \"b\""]));
    here.signal("HUP");
    here.wait_for_log("settings_reloaded");
    publisher.run_for(crate::SILENCE);
    publisher.publish_now("b", "x", 2, false);
    there.start();
    at_there.run_until("both", |client| {
        let has = |start: &str| client.texts().iter().any(|text| text.starts_with(start));
        has("b x 2") && has("b kept 1")
    });
}

#[test]
fn what_is_published_before_the_other_broker_is_there_for_the_first_time_waits_for_it() {
    let mut there = Node::new(Kind::Oncemq);
    there.configure("");
    let here = Node::started(Kind::Oncemq, &bridge(&there.url(), "", &["filter = \"a\""]));
    here.wait_for_log("bridge_failed");
    Client::new(here.address, "publisher").publish_now("a", "x", 2, true);
    there.start();
    let mut late = Client::subscribed(there.address, "at-there", "a");
    // As a message of the queue and as a retained one, of which a late subscriber may see the last alone.
    late.run_until("the message", |client| !client.messages.is_empty());
    late.run_for(crate::SILENCE);
    assert!(
        late.texts().iter().all(|text| text.starts_with("a x 2")) && late.messages.len() <= 2,
        "{:?}",
        late.texts()
    );
    assert!(!here.log().contains("bridge_session_lost"));
}

/// Neither takes the Will of the bridge, nor what exceeds its own Maximum QoS.
#[test]
fn messages_pass_between_brokers_that_have_less_than_qos_2_and_retained_messages() {
    let there = Node::started(Kind::Oncemq, "retain_available = false\nmaximum_qos = 0\n");
    let mut at_there = Client::subscribed(there.address, "at-there", "a");
    let topics = ["filter = \"a\"", "filter = \"in\", direction = \"in\""];
    let settings = bridge(&there.url(), "", &topics);
    let here = Node::started(Kind::Oncemq, &format!("[mqtt]\nretain_available = false\nmaximum_qos = 1\n{settings}"));
    here.wait_for_log("bridge_connected");
    Client::new(here.address, "publisher").publish_now("a", "x", 1, false);
    at_there.expect(&["a x 0"]);
    let mut at_here = Client::subscribed(here.address, "at-here", "in");
    Client::new(there.address, "publisher").publish_now("in", "y", 0, false);
    at_here.expect(&["in y 0"]);
}

#[test]
fn a_message_whose_handshake_began_before_the_maximum_qos_was_lowered_comes_once() {
    let port = free_port();
    let there = Scripted::listen(port);
    let text = bridge(&format!("mqtt://127.0.0.1:{port}"), "", &["filter = \"in\", direction = \"in\""]);
    let mut here = Node::started(Kind::Oncemq, &text);
    let mut at_here = Client::subscribed(here.address, "at-here", "in");
    let mut link = there.connect(false);
    link.expect(wire::SUBSCRIBE);
    let of_qos_2 = |packet_id, dup| Publish { qos: 2, packet_id, dup, ..Publish::new("in", packet_id.to_string()) };
    link.publish(&of_qos_2(7, false));
    assert_eq!(link.expect(wire::PUBREC).packet_id(), 7);
    here.end("KILL");
    drop(link);
    here.configure(&format!("[mqtt]\nmaximum_qos = 1\n{text}"));
    here.start();
    let mut link = there.connect(true);
    // The last one is new, and has an identifier that is free again.
    for (packet_id, dup) in [(7, true), (8, true), (7, false)] {
        link.publish(&of_qos_2(packet_id, dup));
        let pubrec = link.expect(wire::PUBREC);
        assert_eq!(pubrec.packet_id(), packet_id);
        if pubrec.reason_code() < 0x80 {
            link.send(&wire::acknowledge(wire::PUBREL, packet_id));
            assert_eq!(link.expect(wire::PUBCOMP).packet_id(), packet_id);
        }
    }
    at_here.run_until("all", |client| client.messages.len() >= 3);
    at_here.run_for(crate::SILENCE);
    let payloads: Vec<_> = at_here.messages.iter().map(|message| message.payload.clone()).collect();
    assert_eq!(payloads, [b"7", b"8", b"7"]);
}
