//! Authentication and authorization: certificates, passwords and access rules.

use crate::broker::{Broker, Setup, Transport};
use crate::certificates::CLIENT_NAME;
use crate::mosquitto::{Subscriber, message, publish_at, try_publish};
use crate::peer;
use crate::raw::{CONNACK, Connect, PUBLISH, PUBREC, Publish, Version, Wire};

const BOTH: [Version; 2] = [Version::V311, Version::V5];

/// The arguments of mosquitto's clients for the first listener with TLS.
fn tls(broker: &Broker, authority: &str, certificate: Option<&str>) -> Vec<String> {
    let mut arguments = broker.target();
    arguments.extend(["--cafile".to_owned(), broker.file(authority)]);
    if let Some(name) = certificate {
        let (certificate, key) = (broker.file(&format!("{name}.pem")), broker.file(&format!("{name}.key")));
        arguments.extend(["--cert".to_owned(), certificate, "--key".to_owned(), key]);
    }
    arguments
}

#[test]
fn tls_carries_messages_in_both_versions() {
    let broker = Setup::new([Transport::Tls]).start();
    let target = tls(&broker, "ca.pem", None);
    for version in ["311", "5"] {
        for tls_version in ["tlsv1.2", "tlsv1.3"] {
            let common = ["-V", version, "--tls-version", tls_version, "-t", "tls", "-q", "2"];
            let mut subscriber = Subscriber::start_at(&target, &common);
            publish_at(&target, &[&common[..], &["-m", "secret"]].concat());
            assert_eq!(subscriber.next(), message("tls", "secret", 2));
        }
    }
    let stranger = tls(&broker, "stranger.pem", None);
    assert!(!try_publish(&stranger, &["-t", "tls", "-m", "x"], "").status.success(), "an unknown authority");
}

#[test]
fn a_client_certificate_is_required_and_its_name_is_the_user_name() {
    let mut setup = Setup::new([Transport::Tls]).access("user device-7\ntopic readwrite of/device-7\n");
    setup.listeners[0].client_certificates = true;
    let broker = setup.start();
    let target = tls(&broker, "ca.pem", Some("client"));
    for version in ["311", "5"] {
        let mut subscriber = Subscriber::start_at(&target, &["-V", version, "-t", "of/device-7", "-q", "1"]);
        publish_at(&target, &["-V", version, "-t", "of/device-7", "-m", CLIENT_NAME, "-q", "1"]);
        assert_eq!(subscriber.next(), message("of/device-7", CLIENT_NAME, 1));
    }
    for certificate in [None, Some("stranger")] {
        let target = tls(&broker, "ca.pem", certificate);
        let output = try_publish(&target, &["-t", "of/device-7", "-m", "x", "-q", "1"], "");
        assert!(!output.status.success(), "{certificate:?}");
    }
}

#[test]
fn a_wrong_password_is_refused() {
    let broker = Setup::default().users(&[("alice", "wonder land"), ("bob", "builder")]).start();
    for version in BOTH {
        let (unauthorized, bad_password) = if version == Version::V5 { (0x87, 0x86) } else { (5, 4) };
        let connect = Connect::new(version, "client");
        for (connect, expected) in [
            (Connect::new(version, "alice's").user("alice", "wonder land"), 0),
            (Connect::new(version, "bob's").user("bob", "builder"), 0),
            (connect.clone().user("alice", "builder"), bad_password),
            (connect.clone().user("alice", ""), bad_password),
            (connect.clone().user("carol", "wonder land"), bad_password),
            (connect.clone(), unauthorized),
        ] {
            let (mut wire, connack) = Wire::connect(broker.address(), &connect);
            let code = connack.reason_code();
            if peer::is_chosen() {
                assert_eq!(code == 0, expected == 0, "{:?}", connect.user);
                continue;
            }
            assert_eq!(code, expected, "{:?}", connect.user);
            if expected != 0 {
                wire.expect_closed();
            }
        }
    }
}

#[test]
fn mosquitto_connects_with_a_password() {
    let broker = Setup::default().users(&[("alice", "wonder land")]).start();
    let common = ["-u", "alice", "-P", "wonder land", "-t", "x", "-q", "1"];
    let mut subscriber = Subscriber::start(&broker, &common);
    publish_at(&broker.target(), &[&common[..], &["-m", "hello"]].concat());
    assert_eq!(subscriber.next(), message("x", "hello", 1));
    let output = try_publish(&broker.target(), &["-t", "x", "-m", "anonymous", "-q", "1"], "");
    assert!(!output.status.success());
}

/// All clients may read `news`; `alice` also her own topics, and each client those of its Client Identifier.
const RULES: &str = "pattern read news
pattern readwrite user/%u/#
pattern readwrite client/%c/#
user alice
topic write news
topic deny user/alice/secret
";

fn restricted() -> Broker {
    Setup::default().users(&[("alice", "a"), ("bob", "b")]).access(RULES).start()
}

#[test]
fn a_denied_publish_gets_0x87_and_is_not_delivered() {
    let broker = restricted();
    let mut alice = Wire::connected(broker.address(), &Connect::new(Version::V5, "c1").user("alice", "a"));
    let mut reader = Wire::connected(broker.address(), &Connect::new(Version::V5, "c3").user("bob", "b"));
    assert_eq!(reader.subscribe(Version::V5, "news", 0), 0);
    let mut bob = Wire::connected(broker.address(), &Connect::new(Version::V5, "c2").user("bob", "b"));
    assert_eq!(bob.publish(Version::V5, "news", "false"), 0x87);
    bob.send(&Version::V5.publish(PUBLISH | 0x04, "news", 7, b"false"));
    let pubrec = bob.expect(PUBREC);
    assert_eq!((pubrec.packet_id(), pubrec.reason_code()), (7, 0x87));
    bob.send(&Version::V5.publish(PUBLISH, "news", 0, b"false"));
    bob.ping();
    assert_eq!(alice.publish(Version::V5, "news", "true"), 0);
    assert_eq!(reader.expect_publish(Version::V5).payload, b"true");
}

#[test]
fn a_denied_publish_of_3_1_1_is_not_delivered() {
    let broker = restricted();
    let mut alice = Wire::connected(broker.address(), &Connect::new(Version::V311, "c1").user("alice", "a"));
    let mut reader = Wire::connected(broker.address(), &Connect::new(Version::V311, "c3").user("bob", "b"));
    assert_eq!(reader.subscribe(Version::V311, "news", 0), 0);
    let mut bob = Wire::connected(broker.address(), &Connect::new(Version::V311, "c2").user("bob", "b"));
    // 3.1.1 has no negative acknowledgement: the broker acknowledges the message and drops it.
    bob.publish(Version::V311, "news", "false");
    alice.publish(Version::V311, "news", "true");
    assert_eq!(reader.expect_publish(Version::V311).payload, b"true");
}

#[test]
fn a_denied_subscription_is_refused() {
    if peer::is_chosen() {
        return; // it grants, and drops what comes
    }
    let broker = restricted();
    for (version, denied) in [(Version::V311, 0x80), (Version::V5, 0x87)] {
        let mut bob = Wire::connected(broker.address(), &Connect::new(version, "c2").user("bob", "b"));
        for (filter, granted) in [
            ("news", true),
            ("user/bob/x", true),
            ("user/bob/#", true),
            ("client/c2/+/x", true),
            ("user/alice/x", false),
            ("client/c1/#", false),
            ("other", false),
        ] {
            assert_eq!(bob.subscribe(version, filter, 0), if granted { 0 } else { denied }, "{filter}");
        }
    }
}

#[test]
fn a_wider_subscription_receives_what_its_rules_allow() {
    let broker = restricted();
    let mut alice = Wire::connected(broker.address(), &Connect::new(Version::V5, "c1").user("alice", "a"));
    let mut bob = Wire::connected(broker.address(), &Connect::new(Version::V5, "c2").user("bob", "b"));
    assert_eq!(bob.subscribe(Version::V5, "#", 0), 0);
    alice.publish(Version::V5, "user/alice/x", "private");
    alice.publish(Version::V5, "news", "public");
    assert_eq!(bob.expect_publish(Version::V5).topic, "news");
}

#[test]
fn a_deny_rule_overrides_allow_rules() {
    let broker = restricted();
    let mut alice = Wire::connected(broker.address(), &Connect::new(Version::V5, "c1").user("alice", "a"));
    assert!(alice.publish(Version::V5, "user/alice/x", "") < 0x80);
    if !peer::is_chosen() {
        assert_eq!(alice.publish(Version::V5, "user/alice/secret", ""), 0x87);
    }
}

#[test]
fn a_will_that_may_not_be_published_is_refused_at_connect() {
    if peer::is_chosen() {
        return; // it accepts, and drops it
    }
    let broker = restricted();
    for (version, denied) in [(Version::V311, 5), (Version::V5, 0x87)] {
        let mut connect = Connect::new(version, "c2").user("bob", "b");
        connect.will = Some(Publish { qos: 1, ..Publish::new("news", "") });
        let mut wire = Wire::open(broker.address());
        wire.send(&connect.bytes());
        assert_eq!(wire.expect(CONNACK).reason_code(), denied);
        wire.expect_closed();
        connect.will = Some(Publish { qos: 1, ..Publish::new("user/bob/will", "") });
        Wire::connected(broker.address(), &connect).ping();
    }
}

#[test]
fn each_refusal_is_one_line_of_the_log() {
    if peer::is_chosen() {
        return;
    }
    let broker = restricted();
    Wire::connect(broker.address(), &Connect::new(Version::V5, "intruder").user("alice", "wrong"));
    let mut bob = Wire::connected(broker.address(), &Connect::new(Version::V5, "c2").user("bob", "b"));
    assert_eq!(bob.publish(Version::V5, "forbidden/topic", ""), 0x87);
    assert_eq!(bob.subscribe(Version::V5, "forbidden/filter", 0), 0x87);
    for words in [
        &["intruder", "alice", "127.0.0.1"][..],
        &["c2", "bob", "127.0.0.1", "forbidden/topic"],
        &["c2", "bob", "127.0.0.1", "forbidden/filter"],
    ] {
        let lines = crate::deadline::wait_for("the line of the log", || {
            let log = broker.log();
            let count = log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count();
            (count > 0).then_some(count)
        });
        assert_eq!(lines, 1, "{words:?}");
    }
}
