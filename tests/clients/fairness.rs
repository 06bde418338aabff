//! Clients that try too often, send too fast, or leave before their password is checked.

use std::time::Duration;

use crate::broker::{Broker, Setup};
use crate::deadline::{PATIENCE, now, wait_for};
use crate::listeners::{Admin, with_admin};
use crate::peer;
use crate::raw::{CONNACK, Connect, Received, Version, Wire};

const V5: Version = Version::V5;

/// The Reason Code of the answer to a CONNECT with this password, and how long it took. `None`: closed without an answer.
fn log_in(broker: &Broker, user: &str, password: &str) -> (Option<u8>, Duration) {
    let began = now();
    let mut wire = Wire::open(broker.address());
    wire.send(&Connect::new(V5, user).user(user, password).bytes());
    match wire.receive(PATIENCE) {
        Received::Packet(packet) if packet.kind() == CONNACK => (Some(packet.reason_code()), began.elapsed()),
        Received::Packet(packet) => panic!("{packet:?}"),
        Received::Nothing | Received::Closed => (None, began.elapsed()),
    }
}

fn with_users() -> (Setup, Admin) {
    with_admin(Setup::default().users(&[("alice", "wonder land"), ("bob", "builder")]))
}

#[test]
fn credentials_are_hashed_once_until_their_line_changes() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_users();
    let broker = setup.start();
    for _ in 0..5 {
        assert_eq!(log_in(&broker, "alice", "wonder land").0, Some(0));
    }
    admin.wait_for("oncemq_password_checks_total{result=\"judged\"}", 1);
    assert_eq!(log_in(&broker, "alice", "wrong").0, Some(0x86));
    assert_eq!(log_in(&broker, "alice", "wonder land").0, Some(0));
    admin.wait_for("oncemq_password_checks_total{result=\"judged\"}", 2);

    let users = std::fs::read_to_string(broker.file("users")).unwrap();
    let without: String =
        users.lines().filter(|line| !line.starts_with("alice:")).map(|line| format!("{line}\n")).collect();
    std::fs::write(broker.file("users"), without).unwrap();
    broker.signal("HUP");
    wait_for("the reload", || broker.log().contains("reloaded the password file").then_some(()));
    assert_eq!(log_in(&broker, "alice", "wonder land").0, Some(0x86));
    assert_eq!(log_in(&broker, "bob", "builder").0, Some(0));
}

#[test]
fn a_flood_of_logins_that_have_gone_is_not_hashed() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_users();
    let broker = setup.start();
    let strangers: Vec<Wire> = (0..300)
        .map(|number| {
            let mut wire = Wire::open(broker.address());
            wire.send(&Connect::new(V5, &format!("s{number}")).user("alice", &format!("guess {number}")).bytes());
            wire
        })
        .collect();
    wait_for("waiting passwords", || (admin.figure("oncemq_password_checks_waiting") > 50).then_some(()));
    drop(strangers);
    wait_for("an empty queue", || {
        let judged = admin.figure("oncemq_connections_accepted_total") >= 300;
        (judged && admin.figure("oncemq_password_checks_waiting") == 0).then_some(())
    });
    assert!(admin.figure("oncemq_password_checks_total{result=\"abandoned\"}") > 0);
    assert_eq!(log_in(&broker, "alice", "wonder land").0, Some(0));
}

#[test]
fn refused_logins_are_delayed_more_and_more_and_right_ones_are_not() {
    if peer::is_chosen() {
        return;
    }
    let broker = with_users().0.start();
    assert_eq!(log_in(&broker, "bob", "builder").0, Some(0));
    let delays: Vec<Duration> = (0..4)
        .map(|_| {
            let (code, delay) = log_in(&broker, "bob", "wrong");
            assert_eq!(code, Some(0x86));
            delay
        })
        .collect();
    assert!(delays[0] >= Duration::from_millis(100) && delays[3] >= Duration::from_millis(800), "{delays:?}");
    let (code, delay) = log_in(&broker, "bob", "builder");
    assert!(code == Some(0) && delay < Duration::from_millis(400), "{delay:?}");
}

#[test]
fn an_address_with_too_many_refused_logins_is_banned_until_an_operator_ends_it() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_users();
    let broker = setup.set("bans.refused_logins_max", "2").set("bans.delay_max", "\"0s\"").start();
    let mut open = Wire::connected(broker.address(), &Connect::new(V5, "open").user("alice", "wonder land"));
    for _ in 0..3 {
        assert_eq!(log_in(&broker, "alice", "wrong").0, Some(0x86));
    }
    assert_eq!(log_in(&broker, "alice", "wonder land").0, None, "closed before CONNECT");
    open.ping();
    admin.wait_for("oncemq_connections_refused_total{limit=\"banned\"}", 1);
    let list = admin.request("GET", "/api/v1/bans", "");
    assert!(list.contains("\"address\":\"127.0.0.1\""), "{list}");
    let removed = admin.request("DELETE", "/api/v1/bans/address/127.0.0.1", "");
    assert!(removed.starts_with("HTTP/1.1 204"), "{removed}");
    assert_eq!(log_in(&broker, "alice", "wonder land").0, Some(0));
    // A thread of its own writes the log.
    for line in ["banned for 600 s: address 127.0.0.1", "the ban was removed"] {
        wait_for(line, || broker.log().contains(line).then_some(()));
    }
}

#[test]
fn a_banned_user_is_refused_once_verified_and_others_are_not() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_users();
    let broker = setup.start();
    let added = admin.request("POST", "/api/v1/bans", "{\"user\":\"alice\",\"seconds\":60}");
    assert!(added.starts_with("HTTP/1.1 204"), "{added}");
    assert_eq!(log_in(&broker, "alice", "wonder land").0, Some(0x8A));
    assert_eq!(log_in(&broker, "bob", "builder").0, Some(0));
    for body in ["", "{}", "{\"user\":\"a\",\"address\":\"::1\",\"seconds\":1}", "{\"address\":\"x\",\"seconds\":1}"] {
        let refused = admin.request("POST", "/api/v1/bans", body);
        assert!(refused.starts_with("HTTP/1.1 400"), "{body}: {refused}");
    }
    assert!(admin.request("DELETE", "/api/v1/bans/user/bob", "").starts_with("HTTP/1.1 404"));
    assert!(admin.request("DELETE", "/api/v1/bans/user/alice", "").starts_with("HTTP/1.1 204"));
    assert_eq!(log_in(&broker, "alice", "wonder land").0, Some(0));
}

#[test]
fn a_user_whose_connections_are_short_is_banned_by_setting_and_a_normal_end_does_not_count() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_users();
    let broker = setup.set("bans.short_connections_max", "5").set("bans.exempt", "[]").start();
    for _ in 0..10 {
        let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "n").user("alice", "wonder land"));
        wire.send(&[0xE0, 0]);
        wire.expect_closed();
    }
    assert_eq!(admin.figure("oncemq_bans"), 0);
    for _ in 0..6 {
        Wire::connected(broker.address(), &Connect::new(V5, "n").user("alice", "wonder land")).cut();
    }
    wait_for("the bans of the user and of the address", || (admin.figure("oncemq_bans") == 2).then_some(()));
}

#[test]
fn a_client_beyond_its_rate_is_slowed_down_and_loses_nothing() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().set("limits.client_messages_per_second_max", "20").start();
    let mut subscriber = Wire::connected(broker.address(), &Connect::new(V5, "s"));
    subscriber.subscribe(V5, "x", 0);
    let mut publisher = Wire::connected(broker.address(), &Connect::new(V5, "p"));
    let began = now();
    for number in 0..50 {
        publisher.send(&V5.publish(crate::raw::PUBLISH, "x", 0, format!("{number}").as_bytes()));
    }
    for number in 0..50 {
        assert_eq!(subscriber.expect_publish(V5).payload, format!("{number}").as_bytes());
    }
    assert!(began.elapsed() >= Duration::from_millis(1_300), "{:?}", began.elapsed());
    publisher.ping();
}
