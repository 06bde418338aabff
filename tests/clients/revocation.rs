//! A reload takes rights away at once: from connected clients, from sessions that are away, and from messages that are queued already.

use std::fs;
use std::process::Command;

use crate::broker::{Broker, Setup, Transport};
use crate::deadline::wait_for;
use crate::listeners::with_admin;
use crate::mosquitto::{Subscriber, create_session, message, publish, try_publish};
use crate::peer;
use crate::raw::{CONNACK, Connect, Publish, Version, Wire};

const BOTH: [Version; 2] = [Version::V311, Version::V5];

/// Sends SIGHUP and waits until the broker has read the password file and the ACL file.
#[track_caller]
fn reload(broker: &Broker) {
    let before = broker.log().len();
    broker.signal("HUP");
    wait_for("the reload", || broker.log()[before..].contains("reloaded the password file").then_some(()));
}

#[track_caller]
fn rewrite(broker: &Broker, file: &str, content: &str) {
    fs::write(broker.path().join(file), content).unwrap();
    reload(broker);
}

#[test]
fn queued_messages_are_judged_by_the_rules_when_they_are_delivered() {
    if peer::is_chosen() {
        return; // it judges them when they are queued
    }
    for version in ["311", "5"] {
        let (setup, admin) = with_admin(Setup::default().access("topic readwrite #\n"));
        let broker = setup.start();
        let session = ["-i", "reader", "-V", version, "-q", "2", "-t", "open/#", "-t", "secret/#"];
        let session = match version {
            "5" => [&session[..], &["-x", "3600"]].concat(),
            _ => session.to_vec(),
        };
        create_session(&broker, &session);
        for qos in ["1", "2"] {
            publish(&broker, &["-t", "secret/x", "-m", "no", "-q", qos]);
            publish(&broker, &["-t", "open/x", "-m", "yes", "-q", qos]);
        }
        rewrite(&broker, "access", "topic readwrite open/#\n");
        let mut reader = Subscriber::spawn(&broker.target(), &[&["-c", "-C", "2"], &session[..]].concat());
        assert!(reader.end().success(), "{}", reader.output());
        assert_eq!(reader.messages(), [message("open/x", "yes", 1), message("open/x", "yes", 2)]);
        admin.wait_for("oncemq_messages_dropped_total{reason=\"not_authorized\"}", 2);
    }
}

#[test]
fn a_removed_user_is_disconnected_and_its_will_is_not_published() {
    if peer::is_chosen() {
        return; // its connections stay
    }
    for version in BOTH {
        let broker = Setup::default().users(&[("alice", "a"), ("bob", "b")]).start();
        let mut bob = Wire::connected(broker.address(), &Connect::new(version, "bob").user("bob", "b"));
        assert_eq!(bob.subscribe(version, "will", 0), 0);
        let mut connect = Connect::new(version, "alice").user("alice", "a");
        connect.will = Some(Publish::new("will", "gone"));
        let mut alice = Wire::connected(broker.address(), &connect);
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
        assert!(command.args(["passwd", "-D", &broker.file("users"), "alice"]).status().unwrap().success());
        reload(&broker);
        alice.expect_disconnect(version, 0x87);
        let (_, connack) = Wire::connect(broker.address(), &connect);
        assert_ne!(connack.reason_code(), 0);
        bob.ping();
        assert!(broker.log().contains("its user was removed from the password file"));
    }
}

#[test]
fn a_new_password_ends_the_connections_of_its_user_alone() {
    if peer::is_chosen() {
        return; // its connections stay
    }
    for version in BOTH {
        let setup = Setup::default().users(&[("alice", "old"), ("bob", "b")]);
        let broker = setup.start();
        let connect = |name: &str, password| Connect::new(version, name).user(name, password);
        let mut alice = Wire::connected(broker.address(), &connect("alice", "old"));
        let mut bob = Wire::connected(broker.address(), &connect("bob", "b"));
        let users = setup.users.clone().unwrap();
        let new = setup.clone().users(&[("alice", "new")]).users.unwrap();
        let of_bob = users.lines().find(|line| line.starts_with("bob:")).unwrap();
        rewrite(&broker, "users", &format!("# changed\n{of_bob}\n{new}"));
        alice.expect_disconnect(version, 0x87);
        bob.ping();
        Wire::connected(broker.address(), &connect("alice", "new")).ping();
    }
}

#[test]
fn a_session_of_a_removed_user_gets_nothing_while_it_is_away() {
    if peer::is_chosen() {
        return;
    }
    let setup = Setup::default().users(&[("alice", "a"), ("bob", "b")]);
    let broker = setup.start();
    let alice = ["-i", "alice", "-u", "alice", "-P", "a", "-q", "1", "-t", "news"];
    create_session(&broker, &alice);
    let write = |payload| publish(&broker, &["-u", "bob", "-P", "b", "-t", "news", "-m", payload, "-q", "1"]);
    write("before");
    let users = setup.users.clone().unwrap();
    let of_bob = users.lines().find(|line| line.starts_with("bob:")).unwrap();
    rewrite(&broker, "users", &format!("{of_bob}\n"));
    // The rules of sessions that are away are renewed soon after the reload.
    let mut bob = Wire::connected(broker.address(), &Connect::new(Version::V5, "bob").user("bob", "b"));
    wait_for("no receiver", || (bob.publish(Version::V5, "news", "while removed") == 0x10).then_some(()));
    rewrite(&broker, "users", &users);
    let mut reader = Subscriber::spawn(&broker.target(), &[&["-c", "-C", "1"], &alice[..]].concat());
    assert!(reader.end().success(), "{}", reader.output());
    assert_eq!(reader.messages()[0], message("news", "before", 1), "what was queued before comes when it may");
}

#[test]
fn a_will_is_judged_by_the_rules_when_it_is_published() {
    if peer::is_chosen() {
        return;
    }
    for version in BOTH {
        let broker = Setup::default().access("topic readwrite will\ntopic readwrite old\n").start();
        let mut watcher = Wire::connected(broker.address(), &Connect::new(version, "watcher"));
        assert_eq!(watcher.subscribe(version, "will", 0), 0);
        let mut connect = Connect::new(version, "alice");
        connect.will = Some(Publish::new("will", "gone"));
        let mut alice = Wire::connected(broker.address(), &connect);
        rewrite(&broker, "access", "topic read will\n");
        // Each thread applies the rules at its own time.
        wait_for("the new rules", || (alice.subscribe(version, "old", 0) >= 0x80).then_some(()));
        alice.cut();
        wait_for("the line of the Will", || broker.log().contains("Will").then_some(()));
        watcher.ping();
    }
}

#[test]
fn a_certificate_that_the_new_list_names_ends_its_connection() {
    if peer::is_chosen() {
        return; // its connections stay
    }
    let mut setup = Setup::new([Transport::Tls]);
    (setup.listeners[0].client_certificates, setup.listeners[0].revocation_list) = (true, true);
    let broker = setup.start();
    let with = |name: &str| {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        let files = [("--cafile", "ca.pem"), ("--cert", &*certificate), ("--key", &*key)];
        let files = files.iter().flat_map(|(option, file)| [(*option).to_owned(), broker.file(file)]);
        broker.target().into_iter().chain(files).collect::<Vec<_>>()
    };
    let _revoked = Subscriber::start_at(&with("client"), &["-i", "revoked", "-t", "x", "-q", "1"]);
    let _stays = Subscriber::start_at(&with("server"), &["-i", "stays", "-t", "x", "-q", "1"]);
    fs::copy(broker.path().join("revoked.crl"), broker.path().join("client.crl")).unwrap();
    broker.signal("HUP");
    wait_for("the end of the connection", || {
        let is_end = |line: &str| line.contains("\"revoked\"") && line.contains("its certificate is revoked");
        broker.log().lines().any(is_end).then_some(())
    });
    let publish = ["-t", "x", "-m", "x", "-q", "1"];
    assert!(!try_publish(&with("client"), &publish, "").status.success());
    assert!(try_publish(&with("server"), &publish, "").status.success());
    assert!(!broker.log().lines().any(|line| line.contains("\"stays\"") && line.contains("disconnected")));
}

#[test]
fn an_authority_that_is_removed_ends_the_connections_of_its_clients_alone() {
    if peer::is_chosen() {
        return; // its connections stay
    }
    let mut setup = Setup::new([Transport::Tls]);
    setup.listeners[0].client_certificates = true;
    let broker = setup.start();
    let with = |name: &str| {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        let files = [("--cafile", "server-ca.pem"), ("--cert", &*certificate), ("--key", &*key)];
        let files = files.iter().flat_map(|(option, file)| [(*option).to_owned(), broker.file(file)]);
        broker.target().into_iter().chain(files).collect::<Vec<_>>()
    };
    let (ca, stranger) = (broker.path().join("ca.pem"), broker.path().join("stranger-ca.pem"));
    let [ours, others] = [&ca, &stranger].map(|file| fs::read_to_string(file).unwrap());
    fs::write(broker.path().join("server-ca.pem"), &ours).unwrap();
    let publish = ["-t", "x", "-m", "x", "-q", "1"];
    assert!(!try_publish(&with("stranger"), &publish, "").status.success());
    rewrite(&broker, "ca.pem", &format!("{ours}{others}"));
    let _stranger = Subscriber::start_at(&with("stranger"), &["-i", "stranger", "-t", "x", "-q", "1"]);
    let mut stays = Subscriber::start_at(&with("client"), &["-i", "stays", "-t", "x", "-q", "1"]);
    rewrite(&broker, "ca.pem", &format!("{others}{ours}"));
    assert!(try_publish(&with("stranger"), &publish, "").status.success());
    assert_eq!(stays.next(), message("x", "x", 1));
    rewrite(&broker, "ca.pem", &ours);
    wait_for("the end of the connection", || {
        let is_end = |line: &str| line.contains("\"stranger\"") && line.contains("since an authority was removed");
        broker.log().lines().any(is_end).then_some(())
    });
    assert!(!try_publish(&with("stranger"), &publish, "").status.success());
    assert!(try_publish(&with("client"), &publish, "").status.success());
    assert_eq!(stays.next(), message("x", "x", 1));
    assert!(!broker.log().lines().any(|line| line.contains("\"stays\"") && line.contains("disconnected")));
}

#[test]
fn a_connect_that_is_being_judged_during_the_reload_is_judged_by_the_new_files() {
    if peer::is_chosen() {
        return;
    }
    let setup = Setup::default().users(&[("alice", "a"), ("bob", "b")]);
    let broker = setup.start();
    let users = setup.users.clone().unwrap();
    let of_bob = users.lines().find(|line| line.starts_with("bob:")).unwrap();
    fs::write(broker.path().join("users"), format!("{of_bob}\n")).unwrap();
    // Each is accepted before the reload and disconnected by it, or refused after it; none stays.
    let mut wires: Vec<_> = (0..20).map(|_| Wire::open(broker.address())).collect();
    for (number, wire) in wires.iter_mut().enumerate() {
        wire.send(&Connect::new(Version::V5, &format!("alice {number}")).user("alice", "a").bytes());
    }
    broker.signal("HUP");
    for wire in &mut wires {
        match wire.expect(CONNACK).reason_code() {
            0 => wire.expect_disconnect(Version::V5, 0x87),
            code => assert_eq!(code, 0x86),
        }
    }
}
