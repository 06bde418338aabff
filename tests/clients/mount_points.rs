//! Two tenants at listeners of their own, with mosquitto's clients: each has its own topics, and nobody else's.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::broker::{Broker, Listener, Setup, Transport};
use crate::deadline::wait_for;
use crate::listeners::with_admin;
use crate::mosquitto::{Message, Subscriber, message, publish_at};
use crate::peer;
use crate::raw::{Connect, Version, Wire};

/// The listeners: without a mount point, and of the tenants a and b.
const ROOT: usize = 0;
const A: usize = 1;
const B: usize = 2;

fn tenants() -> Setup {
    let listener = |extra| Listener { extra, ..Listener::new(Transport::Tcp) };
    let listeners = ["name = \"root\"", "name = \"a\"\nmount_point = \"tenants/a/\"", "mount_point = \"tenants/b/\""];
    Setup { listeners: listeners.map(listener).into(), ..Setup::default() }
}

fn subscriber(broker: &Broker, listener: usize, arguments: &[&str]) -> Subscriber {
    Subscriber::start_at(&broker.target_of(listener), arguments)
}

fn publish(broker: &Broker, listener: usize, arguments: &[&str]) {
    publish_at(&broker.target_of(listener), arguments);
}

fn retained(topic: &str, payload: &str, qos: u8) -> Message {
    Message { retain: true, ..message(topic, payload, qos) }
}

#[track_caller]
fn logged(broker: &Broker, text: &str) {
    wait_for(text, || broker.log().contains(text).then_some(()));
}

/// The output of a command of the operator, as JSON.
fn ask(data: &str, arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_oncemq")).args(arguments).args(["--data", data, "--json"]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn tenants_have_the_same_names_for_different_topics() {
    if peer::is_chosen() {
        return;
    }
    for version in ["311", "5"] {
        let broker = tenants().start();
        publish(&broker, A, &["-t", "state", "-m", "kept", "-r", "-q", "1"]);
        let all = ["-t", "#", "-q", "2", "-V", version];
        let mut of_a = subscriber(&broker, A, &all);
        let mut of_b = subscriber(&broker, B, &all);
        let mut of_root = subscriber(&broker, ROOT, &all);
        assert_eq!(of_a.next(), retained("state", "kept", 1));
        assert_eq!(of_root.next(), retained("tenants/a/state", "kept", 1));
        for qos in ["0", "1", "2"] {
            let number = qos.parse().unwrap();
            publish(&broker, A, &["-t", "/x//y", "-m", qos, "-q", qos, "-V", version]);
            assert_eq!(of_a.next(), message("/x//y", qos, number));
            assert_eq!(of_root.next(), message("tenants/a//x//y", qos, number));
            publish(&broker, B, &["-t", "tenants/a/x", "-m", qos, "-q", qos, "-V", version]);
            assert_eq!(of_b.next(), message("tenants/a/x", qos, number));
            assert_eq!(of_root.next(), message("tenants/b/tenants/a/x", qos, number));
            publish(&broker, ROOT, &["-t", "tenants/b/x", "-m", qos, "-q", qos, "-V", version]);
            assert_eq!(of_b.next(), message("x", qos, number));
            assert_eq!(of_root.next(), message("tenants/b/x", qos, number));
        }
        for (listener, name) in [(ROOT, "tenants/a"), (ROOT, "tenants/a/"), (ROOT, "tenants/ab"), (ROOT, "state")] {
            publish(&broker, listener, &["-t", name, "-m", "outside", "-q", "1"]);
        }
        // A Will, by the end of a client without DISCONNECT.
        let arguments =
            ["-t", "nothing", "--will-topic", "gone", "--will-payload", "bye", "--will-qos", "1", "--will-retain"];
        subscriber(&broker, B, &arguments).kill();
        assert_eq!(of_b.next(), message("gone", "bye", 1));
        publish(&broker, A, &["-t", "last", "-m", "last"]);
        assert_eq!(of_a.next(), message("last", "last", 0), "nothing of tenant b or outside came before");
        assert_eq!(subscriber(&broker, B, &["-t", "gone", "-q", "1"]).next(), retained("gone", "bye", 1));
        assert_eq!(subscriber(&broker, ROOT, &["-t", "tenants/b/gone", "-q", "1"]).next().topic, "tenants/b/gone");
    }
}

#[test]
fn sys_is_hidden_and_shares_are_separate() {
    if peer::is_chosen() {
        return;
    }
    let broker = tenants().set("mqtt.sys_interval", "\"1s\"").set("mqtt.client_events", "true").start();
    for (version, refused) in [(Version::V311, 0x80), (Version::V5, 0x8F)] {
        let mut wire = Wire::connected(broker.address_of(A), &Connect::new(version, "curious"));
        for filter in ["$SYS/#", "$SYS/broker/uptime", "$share/g/$SYS/#"] {
            assert_eq!(wire.subscribe(version, filter, 0), refused, "{filter}");
        }
        assert_eq!(wire.subscribe(version, "#", 0), 0);
        assert_eq!(wire.subscribe(version, "+/#", 0), 0);
        publish(&broker, A, &["-t", "own", "-m", "x"]);
        assert_eq!(wire.expect_publish(version).topic, "own");
    }
    subscriber(&broker, ROOT, &["-t", "$SYS/broker/uptime"]).next();
    let share = ["-t", "$share/g/jobs/#", "-q", "1"];
    let (mut a, mut b) = (subscriber(&broker, A, &share), subscriber(&broker, B, &share));
    for number in ["1", "2", "3", "4"] {
        publish(&broker, A, &["-t", "jobs/x", "-m", number, "-q", "1"]);
        assert_eq!(a.next(), message("jobs/x", number, 1));
        publish(&broker, B, &["-t", "jobs/x", "-m", number, "-q", "1"]);
        assert_eq!(b.next(), message("jobs/x", number, 1));
    }
}

#[test]
fn sessions_that_are_away_get_their_own_messages_after_kill_9() {
    if peer::is_chosen() {
        return;
    }
    for version in ["311", "5"] {
        let mut broker = tenants().start();
        let session = |id: &'static str| {
            let mut arguments = vec!["-i", id, "-c", "-q", "2", "-t", "job/+", "-V", version];
            arguments.extend_from_slice(if version == "5" { &["-x", "1000"] } else { &[] });
            arguments
        };
        subscriber(&broker, A, &session("worker-a")).kill();
        subscriber(&broker, B, &session("worker-b")).kill();
        for (listener, payload) in [(A, "for a"), (B, "for b")] {
            publish(&broker, listener, &["-t", "job/1", "-m", payload, "-q", "2"]);
        }
        broker.crash_and_restart();
        // The mount point is a part of the owner: at the other listener, the Client Identifier is taken.
        let mut stranger = Subscriber::spawn(&broker.target_of(B), &session("worker-a"));
        assert!(!stranger.end().success(), "{}", stranger.output());
        assert_eq!(stranger.messages(), []);
        logged(
            &broker,
            "its session belongs to anonymous clients below \"tenants/a/\", not to anonymous clients below",
        );
        publish(&broker, ROOT, &["-t", "tenants/a/job/2", "-m", "late", "-q", "2"]);
        let mut a = subscriber(&broker, A, &session("worker-a"));
        assert_eq!([a.next(), a.next()], [message("job/1", "for a", 2), message("job/2", "late", 2)]);
        assert_eq!(subscriber(&broker, B, &session("worker-b")).next(), message("job/1", "for b", 2));
    }
}

#[test]
fn requests_are_answered_within_a_mount_point() {
    if peer::is_chosen() {
        return;
    }
    let broker = tenants().start();
    // The place of the topic has the Response Topic.
    let mut responder = subscriber(&broker, A, &["-t", "ask", "-V", "5", "-F", "MESSAGE|%q|%r|%R|%p"]);
    let mut other = subscriber(&broker, B, &["-t", "#", "-V", "5"]);
    let requester = Command::new("timeout")
        .args(["30", "mosquitto_rr", "-t", "ask", "-e", "answers/7", "-m", "question", "-V", "5"])
        .args(broker.target_of(A))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let request = responder.next();
    assert_eq!(request, message("answers/7", "question", 0));
    publish(&broker, B, &["-t", &request.topic, "-m", "forged"]);
    publish(&broker, A, &["-t", &request.topic, "-m", "answer"]);
    let output = requester.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "answer");
    assert_eq!(other.next(), message("answers/7", "forged", 0));
}

#[test]
fn a_mount_point_that_is_added_applies_at_once_and_old_sessions_stay_outside() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(Setup::default().users(&[("acme-1", "a"), ("staff", "s")]));
    let setup = Setup { allow_anonymous: true, ..setup };
    let broker = setup.start();
    let data = admin.data();
    let connect = |id: &str, user: &str| Connect::durable(Version::V5, id).user(user, &user[..1]);
    let mut device = Wire::connected(broker.address(), &connect("device", "acme-1"));
    assert_eq!(device.subscribe(Version::V5, "secret", 1), 1);
    let mut anonymous = Wire::connected(broker.address(), &Connect::durable(Version::V5, "nameless"));
    let mut staff = Wire::connected(broker.address(), &connect("desk", "staff"));
    assert_eq!(ask(&data, &["client", "device"])["mount_point"], Value::Null);

    let file = broker.path().join("oncemq.toml");
    let text = fs::read_to_string(&file).unwrap();
    let of_users = "security.mount_points = [{ user = \"staff\", mount_point = \"\" }, { user = \"acme-*\", \
                    mount_point = \"tenants/%u/\" }]\n";
    let changed = format!("{of_users}{text}mount_point = \"others/\"\n");
    fs::write(&file, changed).unwrap();
    broker.signal("HUP");
    device.expect_disconnect(Version::V5, 0x87);
    anonymous.expect_disconnect(Version::V5, 0x87);
    staff.ping();
    logged(&broker, "its mount point has changed");

    // The user gets a new Session; nobody gets the anonymous one, until an operator forgets it.
    let (mut device, connack) = Wire::connect(broker.address(), &connect("device", "acme-1"));
    assert_eq!(connack.body[..2], [0, 0], "no Session is present");
    logged(&broker, "user \"acme-1\" (password) below \"tenants/acme-1/\"");
    assert_eq!(device.subscribe(Version::V5, "#", 1), 1);
    staff.publish(Version::V5, "secret", "x");
    staff.publish(Version::V5, "tenants/acme-1/y", "x");
    assert_eq!(device.expect_publish(Version::V5).topic, "y");
    let nameless = Connect::durable(Version::V5, "nameless");
    assert_eq!(Wire::connect(broker.address(), &nameless).1.reason_code(), 0x85);
    ask(&data, &["forget", "nameless"]);
    let mut anonymous = Wire::connected(broker.address(), &nameless);
    anonymous.ping();

    assert_eq!(ask(&data, &["client", "device"])["mount_point"], "tenants/acme-1/");
    assert_eq!(ask(&data, &["client", "nameless"])["mount_point"], "others/");
    assert_eq!(ask(&data, &["client", "desk"])["mount_point"], Value::Null);
    let filters = ask(&data, &["client", "device", "--subscriptions"]);
    assert_eq!(filters[0]["filter"], "tenants/acme-1/#", "the operator sees full topics: {filters}");
}

#[test]
fn a_client_whose_mount_point_cannot_be_made_is_refused() {
    if peer::is_chosen() {
        return;
    }
    let users = [("alice", "a"), ("$SYS", "$"), ("a+b", "a"), ("a/b", "a"), ("a#", "a")];
    let mut setup = Setup::default().users(&users);
    setup.allow_anonymous = true;
    setup.listeners[0].extra = "mount_point = \"%u/\"";
    let broker = setup.start();
    let code = |connect: &Connect| Wire::connect(broker.address(), connect).1.reason_code();
    assert_eq!(code(&Connect::new(Version::V5, "c").user("alice", "a")), 0);
    for (user, password) in &users[1..] {
        assert_eq!(code(&Connect::new(Version::V5, "c").user(user, password)), 0x87, "{user}");
    }
    assert_eq!(code(&Connect::new(Version::V5, "c")), 0x87, "an anonymous client has no user name");
    assert_eq!(code(&Connect::new(Version::V311, "c")), 5);
    logged(&broker, "its mount point needs a verified user name");
}
