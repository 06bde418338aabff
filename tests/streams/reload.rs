//! Streams that come and go with the configuration.

use std::fs;

use wire::{DISCONNECT, Received, SUBACK, Version};

use super::deadline::{PATIENCE, wait_for};
use super::{Broker, connect};

fn stream(name: &str) -> String {
    format!("[[streams]]\nname = \"{name}\"\ntopic = \"{name}\"\n")
}

impl Broker {
    /// Configures these streams, and removes others.
    fn configure_only(&self, streams: &str) {
        self.configure("power-loss", streams);
        let path = self.path().join("oncemq.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text.replace("[server]\n", "[server]\nstreams_unlisted = \"remove\"\n")).unwrap();
    }
}

#[test]
fn streams_that_are_not_configured_are_removed_at_a_reload_or_a_start_if_the_configuration_says_so() {
    let mut broker = Broker::start("power-loss", &(stream("a") + &stream("b") + &stream("c")));
    for topic in ["a", "b", "c"] {
        broker.publish(topic, [format!("<{topic}>")]);
        wait_for("the message", || (broker.figure(topic, "next") == 2).then_some(()));
    }
    let names = |broker: &Broker| -> Vec<String> {
        let (_, answer) = broker.api("GET", "/streams");
        answer["streams"].as_array().unwrap().iter().map(|stream| stream["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut subscriber = connect(broker.mqtt, "subscriber").unwrap();
    subscriber.send(&Version::V5.subscribe(1, "$stream/b", 1));
    assert!(matches!(subscriber.receive(PATIENCE), Received::Packet(suback) if suback.kind() == SUBACK));
    broker.configure("power-loss", &(stream("a") + &stream("c")));
    broker.run(&["reload"]);
    assert_eq!(names(&broker), ["a", "b", "c"], "they are kept by default");
    // The list is the same, and the flag is new.
    broker.configure_only(&(stream("a") + &stream("c")));
    broker.run(&["reload"]);
    let Received::Packet(disconnect) = subscriber.receive(PATIENCE) else { panic!("the subscriber is not told") };
    assert_eq!((disconnect.kind(), disconnect.reason_code()), (DISCONNECT, 0x98));
    assert_eq!(names(&broker), ["a", "c"]);
    broker.kill();
    broker.configure_only(&stream("c"));
    for _ in 0..2 {
        broker.restart();
        assert_eq!(names(&broker), ["c"]);
        broker.kill();
    }
    assert_eq!(broker.kept(3).into_values().collect::<Vec<_>>(), ["c"]);
    assert!(broker.check().ends_with("sound\n"));
    // A stream of the same name begins anew.
    broker.configure_only(&(stream("a") + &stream("c")));
    broker.restart();
    assert_eq!((broker.figure("a", "next"), broker.figure("c", "next")), (1, 2));
}

#[test]
fn a_reload_that_failed_in_the_middle_is_carried_out_by_the_next_one() {
    let all = stream("a") + &stream("b") + &stream("c");
    let mut broker = Broker::start("power-loss", &all);
    for topic in ["a", "b", "c"] {
        broker.publish(topic, [format!("<{topic}>")]);
        wait_for("the message", || (broker.figure(topic, "next") == 2).then_some(()));
    }
    broker.kill();
    // The definitions are lost, so that a reload opens the files of two streams.
    for file in fs::read_dir(broker.path().join("data/log")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            fs::remove_file(path).unwrap();
        }
    }
    broker.configure("power-loss", &stream("a"));
    broker.restart();
    // The files of the second one can't be opened.
    let obstacle = broker.path().join("data/log/streams/3/new");
    fs::create_dir(&obstacle).unwrap();
    broker.configure("power-loss", &all);
    let (_, report) = broker.api("POST", "/reload");
    assert!(report.to_string().contains("stream c: "), "{report}");
    assert_eq!((broker.api("GET", "/streams/b").0, broker.api("GET", "/streams/c").0), (404, 404));
    fs::remove_dir(obstacle).unwrap();
    let (_, report) = broker.api("POST", "/reload");
    assert!(!report.to_string().contains("kept"), "{report}");
    for topic in ["b", "c"] {
        assert_eq!(broker.figure(topic, "next"), 2);
        broker.publish(topic, ["<next>".to_owned()]);
        wait_for("the message", || (broker.figure(topic, "next") == 3).then_some(()));
    }
    broker.kill();
    assert_eq!(broker.kept(2).into_values().collect::<Vec<_>>(), ["b", "next"]);
    assert_eq!(broker.kept(3).into_values().collect::<Vec<_>>(), ["c", "next"]);
}
