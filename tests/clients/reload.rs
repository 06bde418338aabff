//! SIGHUP reloads certificates, passwords and access rules; an invalid file has no effect.

use std::fs;
use std::time::Duration;

use crate::broker::{Broker, Setup, Transport};
use crate::certificates;
use crate::deadline::wait_for;
use crate::listeners::with_admin;
use crate::mosquitto::{Subscriber, message, publish_at, try_publish};
use crate::peer;
use crate::raw::{CONNACK, Connect, Received, Version, Wire};

const V5: Version = Version::V5;

fn connects(broker: &Broker, user: &str, password: &str) -> bool {
    let connect = Connect::new(V5, "tries").user(user, password);
    Wire::connect(broker.address(), &connect).1.reason_code() == 0
}

/// Sends SIGHUP while one of the files is invalid, and waits until the log names it.
#[track_caller]
fn reload_with_an_invalid_file(broker: &Broker, file: &str) {
    let before = broker.log().len();
    broker.signal("HUP");
    wait_for("the error in the log", || {
        let log = broker.log();
        log[before..].lines().any(|line| line.contains(file)).then_some(())
    });
}

#[test]
fn passwords_are_reloaded_and_connections_stay_if_that_is_set() {
    let setup = Setup::default().users(&[("alice", "old")]).set("security.on_password_change", "\"keep\"");
    let broker = setup.start();
    let mut connected = Wire::connected(broker.address(), &Connect::new(V5, "stays").user("alice", "old"));
    fs::write(broker.path().join("users"), setup.users(&[("alice", "new"), ("bob", "b")]).users.unwrap()).unwrap();
    assert!(connects(&broker, "alice", "old"), "read before the signal");
    broker.signal("HUP");
    wait_for("the new password", || connects(&broker, "alice", "new").then_some(()));
    assert!(connects(&broker, "bob", "b"));
    assert!(!connects(&broker, "alice", "old"));
    connected.ping();
}

#[test]
fn a_password_that_is_being_hashed_during_a_reload_is_judged_by_the_new_file() {
    if peer::is_chosen() {
        return; // it does nothing else while it hashes
    }
    let mut setup = Setup::default().users(&[("bob", "b")]);
    setup.users = Some(SLOW_ALICE.to_owned());
    let broker = setup.start();
    let mut wire = Wire::open(broker.address());
    wire.send(&Connect::new(V5, "slow").user("alice", "sesam").bytes());
    assert_eq!(wire.receive(Duration::from_millis(200)), Received::Nothing, "the hash is not slow enough");
    fs::write(broker.path().join("users"), Setup::default().users(&[("bob", "b")]).users.unwrap()).unwrap();
    broker.signal("HUP");
    assert_eq!(wire.expect(CONNACK).reason_code(), 0x86);
}

#[test]
fn the_time_until_a_certificate_expires_is_measured_and_named() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(Setup::new([Transport::Tls, Transport::Tcp]));
    let broker = setup.start();
    let days = || admin.figure("oncemq_certificate_expires_seconds") / 86_400;
    assert!(days() > 365, "{}", days());
    assert!(!broker.log().contains("WARN"), "{}", broker.log());
    for (left, is_near) in [(32, false), (20, true), (1, true)] {
        let before = broker.log().len();
        certificates::replace_for_days(broker.path(), left);
        broker.signal("HUP");
        wait_for("the new certificate", || (days() == left - 1).then_some(()));
        wait_for("the line", || broker.log()[before..].contains("reloaded the certificates").then_some(()));
        let line = format!("server.pem: expires in {} days", left - 1);
        assert_eq!(broker.log()[before..].contains(&line), is_near, "{}", broker.log());
    }
}

#[test]
fn a_bad_password_file_keeps_the_old_one() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().users(&[("alice", "old")]).start();
    let mut connected = Wire::connected(broker.address(), &Connect::new(V5, "stays").user("alice", "old"));
    for content in [Some("alice\n"), Some("alice:$9$what$is$this\n"), None] {
        match content {
            Some(content) => fs::write(broker.path().join("users"), content).unwrap(),
            None => fs::remove_file(broker.path().join("users")).unwrap(),
        }
        reload_with_an_invalid_file(&broker, "users");
        assert!(connects(&broker, "alice", "old"));
        assert!(!connects(&broker, "alice", "what"));
    }
    connected.ping();
}

#[test]
fn access_rules_are_reloaded_and_apply_to_connected_clients() {
    let broker = Setup::default().access("topic readwrite old/#\n").start();
    let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "stays"));
    assert_eq!(wire.subscribe(V5, "old/#", 0), 0);
    assert_eq!(wire.publish(V5, "new/x", ""), 0x87);
    fs::write(broker.path().join("access"), "topic readwrite new/#\n").unwrap();
    broker.signal("HUP");
    wait_for("the new rules", || (wire.publish(V5, "new/x", "") != 0x87).then_some(()));
    assert_eq!(wire.publish(V5, "old/x", ""), 0x87);
}

#[test]
fn access_rules_are_read_again_for_more_connections_than_one_turn_renews() {
    let broker = Setup::default().access("topic readwrite old/#\n").start();
    let connect = |number| Wire::connected(broker.address(), &Connect::new(V5, &format!("client {number}")));
    let mut wires: Vec<_> = (0..300).map(connect).collect();
    fs::write(broker.path().join("access"), "topic readwrite new/#\n").unwrap();
    broker.signal("HUP");
    for wire in &mut wires {
        wait_for("the new rules", || (wire.publish(V5, "new/x", "") != 0x87).then_some(()));
        assert_eq!(wire.publish(V5, "old/x", ""), 0x87);
    }
}

#[test]
fn bad_access_rules_keep_the_old_ones() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().access("topic readwrite old/#\n").start();
    let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "stays"));
    for content in ["topic readwrite new/#\ntopic sometimes x\n", "topic readwrite new/#\ntopic read a/#/b\n"] {
        fs::write(broker.path().join("access"), content).unwrap();
        reload_with_an_invalid_file(&broker, "access");
        assert_eq!(wire.publish(V5, "new/x", ""), 0x87);
        assert_ne!(wire.publish(V5, "old/x", ""), 0x87);
    }
}

#[test]
fn certificates_are_reloaded_and_connections_stay() {
    if peer::is_chosen() {
        return; // its certificates need a restart
    }
    let broker = Setup::new([Transport::Tls]).start();
    let with = |authority: &str| [broker.target(), vec!["--cafile".to_owned(), broker.file(authority)]].concat();
    let arguments = ["-t", "reload", "-q", "1", "-m", "hello"];
    let mut subscriber = Subscriber::start_at(&with("ca.pem"), &arguments[..4]);
    certificates::replace(broker.path());
    broker.signal("HUP");
    wait_for("the new certificate", || try_publish(&with("ca2.pem"), &arguments, "").status.success().then_some(()));
    assert!(!try_publish(&with("ca.pem"), &arguments, "").status.success());
    assert_eq!(subscriber.next(), message("reload", "hello", 1));

    fs::write(broker.path().join("server.pem"), "no certificate").unwrap();
    reload_with_an_invalid_file(&broker, "server.pem");
    publish_at(&with("ca2.pem"), &arguments);
    assert_eq!(subscriber.next(), message("reload", "hello", 1));
}

/// User `alice` with the password `sesam`, whose hash takes a second or more to compute.
const SLOW_ALICE: &str = "alice:$7$100000$MDEyMzQ1Njc4OWFi$M6QBnOYNSoWOFigjA5JgYJZ6FGPQeKzXamS7MWWPG/DSTnC1R+eCPXjv0Gpe4WCSBzlVdG34p9hEQTzme33LZQ==";
