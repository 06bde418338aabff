//! A Session belongs to a user.

use std::process::Command;

use crate::broker::{Broker, Setup};
use crate::listeners::with_admin;
use crate::mosquitto::{Subscriber, message, publish_at};
use crate::peer;
use crate::raw::{Connect, Version, Wire};

/// Alice, bob, and anonymous clients.
fn users() -> Setup {
    let setup = Setup::default().users(&[("alice", "a"), ("bob", "b")]);
    Setup { allow_anonymous: true, ..setup }
}

/// The arguments of `mosquitto_sub` for the durable Session `device` of a user, or of anonymous clients: `""`.
fn device(user: &'static str, version: &'static str) -> Vec<&'static str> {
    let mut arguments = vec!["-i", "device", "-c", "-q", "1", "-t", "private", "-V", version];
    if version == "5" {
        arguments.extend(["-x", "1000"]);
    }
    match user {
        "" => {}
        user => arguments.extend(["-u", user, "-P", &user[..1]]),
    }
    arguments
}

/// Subscribes, leaves, and lets a message be queued.
fn queue(broker: &Broker, user: &'static str, version: &'static str) {
    Subscriber::start(broker, &device(user, version)).kill();
    publish_at(&broker.target(), &["-t", "private", "-q", "1", "-m", "secret"]);
}

#[track_caller]
fn is_refused(broker: &Broker, user: &'static str, version: &'static str) {
    let mut stranger = Subscriber::spawn(&broker.target(), &device(user, version));
    assert!(!stranger.end().success(), "{user:?}: {}", stranger.output());
    assert_eq!(stranger.messages(), [], "{user:?}");
}

#[test]
fn nobody_else_gets_the_session_of_a_user_before_and_after_a_crash() {
    if peer::is_chosen() {
        return;
    }
    for version in ["311", "5"] {
        let mut broker = users().start();
        queue(&broker, "alice", version);
        for _ in 0..2 {
            for stranger in ["bob", ""] {
                is_refused(&broker, stranger, version);
            }
            broker.crash_and_restart();
        }
        let mut alice = Subscriber::start(&broker, &device("alice", version));
        assert_eq!(alice.next(), message("private", "secret", 1));
    }
}

#[test]
fn refused_connect_is_told_counted_and_logged_and_does_not_disturb_the_client() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(users());
    let broker = setup.start();
    for (version, code) in [(Version::V311, 2), (Version::V5, 0x85)] {
        for connect in [Connect::new(version, "device"), Connect::durable(version, "device")] {
            let mut alice = Wire::connected(broker.address(), &connect.clone().user("alice", "a"));
            for clean_start in [false, true] {
                let connect = Connect { clean_start, ..connect.clone() };
                for stranger in [connect.clone().user("bob", "b"), connect] {
                    let (mut wire, connack) = Wire::connect(broker.address(), &stranger);
                    assert_eq!(connack.reason_code(), code);
                    wire.expect_closed();
                }
            }
            alice.ping();
            alice.cut();
            // The next one begins anew.
            let again = Connect::new(version, "device").user("alice", "a");
            Wire::connected(broker.address(), &again).cut();
        }
    }
    admin.wait_for("oncemq_connects_of_other_owners_total", 16);
    let log = broker.log();
    let both = "its session belongs to user \"alice\" (password), not to user \"bob\" (password)";
    assert!(log.contains("client \"device\" user \"bob\" from") && log.contains(both), "{log}");
}

#[test]
fn user_ends_an_anonymous_session_or_gets_it_by_the_setting() {
    if peer::is_chosen() {
        return;
    }
    let setup = users().set("mqtt.dead_letter_topic", "\"dead\"");
    let (ends, admin) = with_admin(setup.clone());
    let broker = ends.start();
    let mut dead = Subscriber::start(&broker, &["-t", "dead", "-q", "1"]);
    queue(&broker, "", "5");
    let mut alice = Subscriber::start(&broker, &device("alice", "5"));
    assert_eq!(dead.next(), message("dead", "secret", 1));
    publish_at(&broker.target(), &["-t", "private", "-q", "1", "-m", "new"]);
    assert_eq!(alice.next(), message("private", "new", 1));
    admin.wait_for("oncemq_messages_dropped_total{reason=\"owner_changed\"}", 1);
    assert!(broker.log().contains("it belonged to anonymous clients"), "{}", broker.log());

    let broker = setup.set("security.anonymous_sessions", "\"adopt\"").start();
    queue(&broker, "", "5");
    let mut alice = Subscriber::start(&broker, &device("alice", "5"));
    assert_eq!(alice.next(), message("private", "secret", 1));
    alice.kill();
    is_refused(&broker, "", "5");
}

#[test]
fn operator_gives_a_session_to_another_user_and_that_survives_a_crash() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(users());
    let mut broker = setup.start();
    let owner = "/api/v1/clients/device/owner";
    assert!(admin.put(owner, "{\"user\":\"bob\"}").starts_with("HTTP/1.1 404 "));
    queue(&broker, "alice", "5");
    assert!(admin.get("/api/v1/clients/device").contains(r#""owner":{"user":"alice","provider":"password"}"#));
    for body in ["", "{}", "bob", r#"{"user":""}"#, r#"{"user":"bob","provider":"x"}"#, r#"{"user":"bob","x":1}"#] {
        let answer = admin.put(owner, body);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body}: {answer}");
    }
    let connected = Subscriber::start(&broker, &device("alice", "5"));
    assert_eq!(admin.put(owner, "{\"user\":\"bob\"}").lines().next(), Some("HTTP/1.1 204 No Content"));
    connected.wait_for_line("DISCONNECT");
    broker.crash_and_restart();
    assert!(admin.get("/api/v1/clients/device").contains(r#""owner":{"user":"bob","provider":null}"#));
    is_refused(&broker, "alice", "5");
    Subscriber::start(&broker, &device("bob", "5"));
    assert!(admin.get("/api/v1/clients/device").contains(r#""owner":{"user":"bob","provider":"password"}"#));
}

#[test]
fn the_command_gives_a_session_away_or_says_why_not() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(users());
    let give = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        command.args(["session", "give"]).args(arguments).args(["--data", &admin.data()]);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    let (code, text) = give(&["device", "--user", "bob"]);
    assert!(code == 7 && text.contains("admin.sock") && text.contains("--data"), "{code} {text}");
    let broker = setup.start();
    let (code, text) = give(&["device", "--user", "bob"]);
    assert!(code == 7 && text.contains("no session has this client identifier"), "{code} {text}");
    queue(&broker, "alice", "5");
    for wrong in [&["device"][..], &["device", "--provider", "password"], &["device", "--user", "a", "--anonymous"]] {
        assert_eq!(give(wrong).0, 2, "{wrong:?}");
    }
    let (code, text) = give(&["device", "--user", "bob", "--provider", "x"]);
    assert!(code == 2 && text.contains("it must be one of password, certificate"), "{code} {text}");
    let owner = |expected: &str| assert!(admin.get("/api/v1/clients/device").contains(expected), "{expected}");
    owner(r#""owner":{"user":"alice","provider":"password"}"#);
    assert_eq!(give(&["device", "--user", "bob"]).0, 0);
    owner(r#""owner":{"user":"bob","provider":null}"#);
    assert_eq!(give(&["device", "--user", "bob", "--provider", "certificate"]).0, 0);
    owner(r#""owner":{"user":"bob","provider":"certificate"}"#);
    assert_eq!(give(&["device", "--anonymous"]).0, 0);
    owner(r#""owner":{"user":null,"provider":"anonymous"}"#);
    let name = "a/b %c?d#\u{e9}\"";
    let _transient = Wire::connected(broker.address(), &Connect::new(Version::V5, name).user("alice", "a"));
    let (code, text) = give(&[name, "--user", "bob"]);
    assert!(code == 7 && text.contains("ends with its connection"), "{code} {text}");
}

#[test]
fn assigned_client_identifiers_have_nothing_in_common() {
    if peer::is_chosen() {
        return;
    }
    let broker = users().start();
    let assigned = || {
        let mut wire = Wire::open(broker.address());
        wire.send(&Connect::new(Version::V5, "").bytes());
        let connack = wire.expect(crate::raw::CONNACK);
        let bytes = connack.body.clone();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (_, number) = text.split_once("auto-").unwrap();
        u128::from_str_radix(&number[..32], 16).unwrap()
    };
    let numbers: Vec<u128> = (0..100).map(|_| assigned()).collect();
    for pair in numbers.windows(2) {
        assert!((pair[0] ^ pair[1]).count_ones() > 20, "{:032x} {:032x}", pair[0], pair[1]);
    }
}
