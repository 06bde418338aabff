//! Startup and shutdown: output, drain and exit codes.

use std::fs;
use std::net::{TcpListener, TcpStream};

use wire::free_port;

use crate::broker::{Broker, Setup};
use crate::deadline::wait_for;
use crate::mosquitto::{Subscriber, message, publish_at};
use crate::peer;
use crate::raw::{Connect, Received, Version, Wire};

#[test]
fn a_signal_drains_and_ends_with_success() {
    for signal in ["TERM", "INT"] {
        let mut broker = Setup::default().start();
        let mut new = Wire::connected(broker.address(), &Connect::new(Version::V5, "new"));
        let mut old = Wire::connected(broker.address(), &Connect::new(Version::V311, "old"));
        let mut waiting = Wire::open(broker.address());
        broker.signal(signal);
        new.expect_disconnect(Version::V5, 0x8B);
        old.expect_closed();
        assert_eq!(waiting.receive(crate::deadline::PATIENCE), Received::Closed);
        assert_eq!(broker.end().code(), Some(0), "SIG{signal}");
        assert!(TcpStream::connect(broker.address()).is_err());
    }
}

#[test]
fn accepted_messages_are_flushed_before_the_exit() {
    if peer::is_chosen() {
        return;
    }
    let mut broker = Setup::default().set("server.shards", "1").start();
    let mut subscriber = Wire::connected(broker.address(), &Connect::new(Version::V5, "subscriber"));
    subscriber.subscribe(Version::V5, "flush", 0);
    let mut publisher = Wire::connected(broker.address(), &Connect::new(Version::V5, "publisher"));
    for number in 0..200 {
        publisher.send(&Version::V5.publish(crate::raw::PUBLISH, "flush", 0, format!("{number}").as_bytes()));
    }
    publisher.ping();
    broker.signal("TERM");
    for number in 0..200 {
        assert_eq!(subscriber.expect_publish(Version::V5).payload, format!("{number}").into_bytes());
    }
    subscriber.expect_disconnect(Version::V5, 0x8B);
    assert_eq!(broker.end().code(), Some(0));
}

#[test]
fn flags_are_enough_to_start() {
    if peer::is_chosen() {
        return;
    }
    let (first, second) = (format!("127.0.0.1:{}", free_port()), format!("[::1]:{}", free_port()));
    let arguments = ["--listen", &first, "--listen", &second, "--data", "elsewhere", "--durability", "crash"];
    let mut broker = Broker::start_with_arguments(&[&arguments[..], &["--allow-anonymous"]].concat());
    wait_for("both addresses", || {
        let output = fs::read_to_string(broker.path().join("stdout")).unwrap();
        (output.contains(&first) && output.contains(&second)).then_some(())
    });
    let target = |address: &str| {
        let port = address.rsplit(':').next().unwrap();
        ["-h", if address.starts_with('[') { "::1" } else { "127.0.0.1" }, "-p", port].map(str::to_owned)
    };
    let mut subscriber = Subscriber::start_at(&target(&first), &["-t", "flags", "-q", "1"]);
    publish_at(&target(&second), &["-t", "flags", "-m", "hello", "-q", "1"]);
    assert_eq!(subscriber.next(), message("flags", "hello", 1));
    broker.signal("TERM");
    assert_eq!(broker.end().code(), Some(0));
}

#[test]
fn an_address_in_use_is_an_error() {
    if peer::is_chosen() {
        return;
    }
    let listener = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut broker = Broker::start_with_arguments(&["--listen", &address]);
    assert!(!broker.end().success());
    assert!(broker.log().contains(&address), "{}", broker.log());
}

#[test]
fn a_misspelt_key_is_reported_with_file_line_and_suggestion() {
    if peer::is_chosen() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("oncemq.toml").display().to_string();
    fs::write(&file, "[limits]\n\nconections_max = 3\n").unwrap();
    for arguments in [&["--config", &file][..], &["config", "check", &file]] {
        let mut broker = Broker::start_with_arguments(arguments);
        assert!(!broker.end().success());
        let log = broker.log();
        for text in [&file[..], "3", "conections_max", "connections_max"] {
            assert!(log.contains(text), "{text:?} is not in {log}");
        }
    }
}
