//! `[[user_limits]]` with the real binary.

use std::time::Instant;

use crate::broker::{Broker, Setup};
use crate::deadline::wait_for;
use crate::listeners::with_admin;
use crate::mosquitto::{Subscriber, publish_lines, try_publish};
use crate::peer;
use crate::raw::{CONNACK, Connect, PUBACK, PUBLISH, Version, Wire, acknowledge};

const V5: Version = Version::V5;
const USERS: [(&str, &str); 2] = [("sensor-1", "secret"), ("office", "secret")];

/// A broker with two shards and these limits of `sensor-*`.
fn setup(limits: &str) -> Setup {
    let entry = format!("[{{ users = [\"sensor-*\"], provider = \"password\"{limits} }}]");
    Setup::default().users(&USERS).set("server.shards", "2").set("user_limits", &entry)
}

fn sensor(client_id: &str) -> Connect {
    Connect::new(V5, client_id).user("sensor-1", "secret")
}

fn code(broker: &Broker, connect: &Connect) -> u8 {
    Wire::connect(broker.address(), connect).1.reason_code()
}

#[test]
fn a_user_has_so_many_connections_however_they_end() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(setup(", connections_max = 2"));
    let broker = setup.start();
    let arguments = ["-u", "sensor-1", "-P", "secret", "-t", "t", "-q", "1", "-i"];
    let subscriber = |client_id: &str| Subscriber::start(&broker, &[&arguments[..], &[client_id]].concat());
    let refused = |version: &str, client_id: &str| {
        let arguments = [&arguments[..], &[client_id, "-V", version, "-m", "x"]].concat();
        String::from_utf8(try_publish(&broker.target(), &arguments, "").stdout).unwrap()
    };
    let (first, second) = (subscriber("a"), subscriber("b"));
    for (version, expected) in [("5", "CONNACK (151)"), ("311", "CONNACK (3)"), ("31", "CONNACK (3)")] {
        let output = refused(version, "c");
        assert!(output.contains(expected), "{version}: {output}");
    }
    let line = "user_limits[0].connections_max (2) is reached by \"sensor-1\"";
    wait_for("the line in the log", || broker.log().contains(line).then_some(()));
    assert!(admin.get("/api/v1/refusals").contains("user_limits[0].connections_max (2) is reached"));
    admin.wait_for("oncemq_refusals_total", 3);
    // Killed, taken over, and after a protocol error: each leaves its place.
    first.kill();
    wait_for("the place of the killed client", || (code(&broker, &sensor("c")) == 0).then_some(()));
    let taken_over = Wire::connected(broker.address(), &sensor("b"));
    drop(second);
    let mut other = Wire::connected(broker.address(), &sensor("d"));
    assert_eq!(code(&broker, &sensor("e")), 0x97);
    other.send(&[0, 0]);
    other.expect_disconnect(V5, 0x81);
    wait_for("the place after an error", || (code(&broker, &sensor("e")) == 0).then_some(()));
    drop(taken_over);
    for number in 0..40 {
        let id = format!("loop-{number}");
        wait_for("a place", || (code(&broker, &sensor(&id)) == 0).then_some(()));
    }
    let mut office: Vec<Wire> = (0..5)
        .map(|number| {
            Wire::connected(broker.address(), &Connect::new(V5, &format!("o{number}")).user("office", "secret"))
        })
        .collect();
    office.iter_mut().for_each(Wire::ping);
}

#[test]
fn a_wrong_password_takes_no_place() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup(", connections_max = 1").start();
    for number in 0..3 {
        let connect = Connect::new(V5, &format!("c{number}")).user("sensor-1", "wrong");
        assert_eq!(code(&broker, &connect), 0x86);
    }
    let mut wire = Wire::connected(broker.address(), &sensor("a"));
    assert_eq!(code(&broker, &sensor("b")), 0x97);
    wire.ping();
}

#[test]
fn a_reload_keeps_those_that_are_connected_and_refuses_new_ones() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup(", connections_max = 3, subscriptions_per_session_max = 1").start();
    let mut wires: Vec<Wire> =
        (0..3).map(|number| Wire::connected(broker.address(), &sensor(&format!("c{number}")))).collect();
    assert_eq!(wires[0].subscribe(V5, "a", 0), 0);
    assert_eq!(wires[0].subscribe(V5, "b", 0), 0x97);
    let file = broker.path().join("oncemq.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("connections_max = 3, subscriptions_per_session_max = 1", "connections_max = 1");
    std::fs::write(&file, text).unwrap();
    broker.signal("HUP");
    wait_for("the reload", || broker.log().contains("these settings have new values: user_limits").then_some(()));
    wires.iter_mut().for_each(Wire::ping);
    wait_for("the new limit of subscriptions", || (wires[0].subscribe(V5, "b", 0) == 0).then_some(()));
    assert_eq!(code(&broker, &sensor("new")), 0x97);
    wires.truncate(1);
    wires[0].ping();
    assert_eq!(code(&broker, &sensor("new")), 0x97);
    wires.clear();
    wait_for("the place", || (code(&broker, &sensor("new")) == 0).then_some(()));
}

#[test]
fn a_user_is_read_at_its_rate_and_others_are_not_slowed_down() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup(", client_messages_per_second_max = 20").start();
    let lines = "x\n".repeat(61);
    let time_of = |user: &str| {
        let start = now();
        publish_lines(&broker, &["-u", user, "-P", "secret", "-t", "t", "-q", "1"], &lines);
        start.elapsed().as_secs_f64()
    };
    let limited = time_of("sensor-1");
    assert!((1.5..15.0).contains(&limited), "{limited}");
    let other = time_of("office");
    assert!(other < limited / 2.0, "{other} of {limited}");
}

#[test]
fn the_queue_of_a_user_that_is_away_keeps_its_limit_after_a_crash() {
    if peer::is_chosen() {
        return;
    }
    let mut broker = setup(", queued_messages_max = 2").start();
    for (user, expected) in [("sensor-1", &["2", "3"][..]), ("office", &["0", "1", "2", "3"])] {
        let connect = Connect::durable(V5, user).user(user, "secret");
        let mut away = Wire::connected(broker.address(), &connect);
        assert_eq!(away.subscribe(V5, user, 1), 1);
        drop(away);
        broker.crash_and_restart();
        let publisher = Connect::new(V5, "publisher").user("office", "secret");
        let mut publisher = Wire::connected(broker.address(), &publisher);
        (0..4).for_each(|number| assert!(publisher.publish(V5, user, &number.to_string()) < 0x80));
        let mut wire = Wire::connected(broker.address(), &connect);
        let received: Vec<String> = expected
            .iter()
            .map(|_| {
                let publish = wire.expect_publish(V5);
                wire.send(&acknowledge(PUBACK, publish.packet_id));
                String::from_utf8(publish.payload).unwrap()
            })
            .collect();
        assert_eq!(received, expected);
        wire.ping();
    }
}

#[test]
fn mqtt5_3_3_4_7_the_receive_maximum_of_a_user_is_announced() {
    if peer::is_chosen() {
        return;
    }
    let broker = setup(", receive_maximum = 2").start();
    let (_, connack) = Wire::connect(broker.address(), &sensor("a"));
    assert_eq!(connack.kind(), CONNACK);
    assert!(connack.body.windows(3).any(|bytes| bytes == [0x21, 0, 2]), "{connack:x?}");
}

#[test]
fn only_so_many_bytes_are_in_flight_to_a_client() {
    if peer::is_chosen() {
        return;
    }
    let limits = [
        ("limits.inflight_bytes_max", "\"1KiB\"", ""),
        ("limits.receive_maximum", "64", ", inflight_bytes_max = 1024"),
    ];
    for (key, value, own) in limits {
        let broker = setup(own).set(key, value).start();
        let mut subscriber = Wire::connected(broker.address(), &sensor("a"));
        assert_eq!(subscriber.subscribe(V5, "t", 1), 1);
        let publisher = Connect::new(V5, "publisher").user("office", "secret");
        let mut publisher = Wire::connected(broker.address(), &publisher);
        for _ in 0..4 {
            publisher.send(&V5.publish(PUBLISH | 0x02, "t", 1, &[b'.'; 600]));
            publisher.expect(PUBACK);
        }
        let first = subscriber.expect_publish(V5);
        subscriber.expect_publish(V5);
        subscriber.ping();
        subscriber.send(&acknowledge(PUBACK, first.packet_id));
        subscriber.expect_publish(V5);
        subscriber.ping();
    }
}

#[test]
fn an_entry_for_a_provider_that_there_is_not_stops_the_start() {
    if peer::is_chosen() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("oncemq.toml");
    std::fs::write(&file, "[[user_limits]]\nusers = [\"a\"]\nprovider = \"passwort\"\nconnections_max = 0\n").unwrap();
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_oncemq")).args(["config", "check"]).arg(&file).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(text.contains("oncemq.toml:3: `user_limits[0].provider` is \"passwort\""), "{text}");
    assert!(text.contains("did you mean password?"), "{text}");
    assert!(text.contains("oncemq.toml:4: `user_limits[0].connections_max` must be at least 1"), "{text}");
}

#[expect(clippy::disallowed_methods, reason = "a rate is a matter of real time")]
fn now() -> Instant {
    Instant::now()
}
