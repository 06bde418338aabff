//! `[[auth]]`: chains of providers, and JSON Web Tokens.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pbkdf2::hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;

use crate::broker::{Broker, Listener, Setup, Transport};
use crate::deadline::wait_for;
use crate::peer;
use crate::raw::{CONNACK, Connect, DISCONNECT, Publish, Version, Wire};

const BOTH: [Version; 2] = [Version::V311, Version::V5];
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A broker that accepts tokens signed with the secret in a file.
struct Tokens {
    broker: Broker,
    directory: TempDir,
}

impl Tokens {
    /// With these settings of the provider, and these of the broker.
    fn start(provider: &str, change: impl FnOnce(Setup, &str) -> Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("secret");
        fs::write(&secret, SECRET).unwrap();
        let entry = format!("{{ type = \"jwt\", secret_file = {:?}{provider} }}", secret.display().to_string());
        let setup = Setup { allow_anonymous: false, ..Setup::default() };
        let setup = change(setup, &entry);
        let is_set = setup.settings.iter().any(|(key, _)| *key == "auth");
        let setup = if is_set { setup } else { setup.set("auth", &format!("[{entry}]")) };
        Self { broker: setup.start(), directory }
    }

    fn secret(&self) -> PathBuf {
        self.directory.path().join("secret")
    }

    fn code(&self, connect: &Connect) -> u8 {
        Wire::connect(self.broker.address(), connect).1.reason_code()
    }
}

#[expect(clippy::disallowed_methods, reason = "tokens have the real time")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signed_with(secret: &str, claims: &Value) -> String {
    let encode = |text: &[u8]| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(claims.to_string().as_bytes()));
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&message).finalize();
    format!("{message}.{}", encode(&mac.into_bytes()))
}

/// A token for `device-7` with these claims in addition, which is valid for an hour if they don't say otherwise.
fn token(others: Value) -> String {
    let mut claims = json!({"sub": "device-7", "exp": now() + 3_600});
    claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
    signed_with(SECRET, &claims)
}

#[test]
fn a_token_is_accepted_from_the_password_or_the_user_name() {
    if peer::is_chosen() {
        return;
    }
    for (from, provider) in [("password", ""), ("username", ", from = \"username\"")] {
        let tokens = Tokens::start(provider, |setup, _| setup);
        let (good, bad) = (token(json!({})), signed_with("another", &json!({"sub": "device-7", "exp": now() + 3_600})));
        for version in BOTH {
            let with = |token: &str| match from {
                "password" => Connect::new(version, "c").user("any", token),
                _ => Connect::new(version, "c").user(token, ""),
            };
            let wrong = if version == Version::V5 { 0x86 } else { 4 };
            assert_eq!(tokens.code(&with(&good)), 0, "{from}");
            assert_eq!(tokens.code(&with(&bad)), wrong, "{from}");
            assert_eq!(tokens.code(&with("sesam")), wrong, "{from}");
            assert_eq!(tokens.code(&Connect::new(version, "c")), if version == Version::V5 { 0x87 } else { 5 });
        }
        let log = tokens.broker.log();
        assert!(log.contains("the signature of the token is wrong"), "{log}");
        // Who reads the log must not be able to use what is in it.
        let part = |token: &str| token.rsplit_once('.').unwrap().1.to_owned();
        assert!(!log.contains(&part(&good)) && !log.contains(&part(&bad)), "{log}");
    }
}

#[test]
fn a_connection_ends_when_its_token_expires() {
    if peer::is_chosen() {
        return;
    }
    let tokens = Tokens::start("", |setup, _| setup);
    for (version, keep_alive) in [(Version::V5, 0), (Version::V5, 60), (Version::V311, 60)] {
        let short = token(json!({"exp": now() + 2}));
        let connect = Connect { keep_alive, ..Connect::new(version, "short").user("any", &short) };
        let mut wire = Wire::connected(tokens.broker.address(), &connect);
        wire.ping();
        if version == Version::V5 {
            let packet = wire.expect(DISCONNECT);
            assert_eq!(packet.reason_code(), 0x87);
            assert!(String::from_utf8_lossy(&packet.body).contains("the credentials of the client have expired"));
        }
        wire.expect_closed();
        let refused = if version == Version::V5 { 0x86 } else { 4 };
        assert_eq!(tokens.code(&connect), refused, "it can't connect again");
    }
    assert!(tokens.broker.log().contains("the token has expired"));
}

#[test]
fn topics_in_a_token_are_enforced_on_publish_and_subscribe() {
    if peer::is_chosen() {
        return;
    }
    let tokens = Tokens::start("", |setup, _| setup.access("pattern readwrite #\n"));
    let acl = json!({"acl": {"publish": ["up/%u/%c"], "subscribe": ["down/%u/#"]}});
    let connect = |id: &str, claims: Value| Connect::new(Version::V5, id).user("any", &token(claims));
    let address = tokens.broker.address();
    let mut device = Wire::connected(address, &connect("c1", acl));
    let mut free = Wire::connected(address, &connect("c2", json!({})));
    assert_eq!(free.subscribe(Version::V5, "#", 0), 0, "the ACL file decides without topics in the token");
    assert_eq!(device.subscribe(Version::V5, "up/#", 0), 0x87);
    assert_eq!(device.subscribe(Version::V5, "down/device-7/#", 0), 0);
    assert_eq!(device.subscribe(Version::V5, "#", 0), 0, "a part of it");
    for (topic, expected) in [("up/device-7/c2", 0x87), ("down/device-7/a", 0x87), ("up/device-7/c1", 0)] {
        assert_eq!(device.publish(Version::V5, topic, topic), expected, "{topic}");
    }
    assert_eq!(free.expect_publish(Version::V5).topic, "up/device-7/c1");
    let mut publisher = Wire::connected(address, &connect("c3", json!({})));
    assert_eq!(publisher.publish(Version::V5, "secret", "no"), 0);
    assert_eq!(publisher.publish(Version::V5, "down/device-7/a", "yes"), 0);
    let received = device.expect_publish(Version::V5);
    assert_eq!(received.topic, "down/device-7/a");
}

#[test]
fn another_key_closes_the_connections_of_the_old_one() {
    if peer::is_chosen() {
        return;
    }
    let tokens = Tokens::start("", |setup, _| setup);
    let address = tokens.broker.address();
    let connect = Connect::new(Version::V5, "c").user("any", &token(json!({})));
    let mut wire = Wire::connected(address, &connect);
    let reload = || {
        let before = tokens.broker.log().len();
        tokens.broker.signal("HUP");
        wait_for("the reload", || tokens.broker.log()[before..].contains("reloaded the password file").then_some(()));
    };
    reload();
    wire.ping();
    let other = "another secret that is long enough";
    fs::write(tokens.secret(), other).unwrap();
    reload();
    wire.expect_disconnect(Version::V5, 0x87);
    wire.expect_closed();
    let cause = "the key or the settings that verified its token have changed";
    wait_for("the cause", || tokens.broker.log().contains(cause).then_some(()));
    assert_eq!(tokens.code(&connect), 0x86);
    let renewed = signed_with(other, &json!({"sub": "device-7", "exp": now() + 3_600}));
    assert_eq!(tokens.code(&Connect::new(Version::V5, "c").user("any", &renewed)), 0);
    // An unusable key changes nothing.
    fs::write(tokens.secret(), "").unwrap();
    let before = tokens.broker.log().len();
    tokens.broker.signal("HUP");
    wait_for("the refusal", || tokens.broker.log()[before..].contains("the secret is empty").then_some(()));
    assert_eq!(tokens.code(&Connect::new(Version::V5, "c").user("any", &renewed)), 0);
}

#[test]
fn a_session_is_its_users_and_gets_what_the_token_of_the_day_allows() {
    if peer::is_chosen() {
        return;
    }
    let mut tokens = Tokens::start("", |setup, _| setup);
    let subscribed = |filters: &[&str]| json!({"acl": {"subscribe": filters, "publish": ["#"]}});
    let reader = |claims: Value| Connect::durable(Version::V5, "reader").user("any", &token(claims));
    let mut wire = Wire::connected(tokens.broker.address(), &reader(subscribed(&["#"])));
    assert_eq!(wire.subscribe(Version::V5, "#", 1), 1);
    wire.cut();
    tokens.broker.crash_and_restart();
    let publisher = Connect::new(Version::V5, "publisher").user("any", &token(subscribed(&[])));
    let mut wire = Wire::connected(tokens.broker.address(), &publisher);
    for topic in ["secret/1", "open/1", "secret/2", "open/2"] {
        let publish = Publish { qos: 1, packet_id: 1, ..Publish::new(topic, topic) };
        wire.send(&publish.bytes(Version::V5));
        assert_eq!(wire.expect(crate::raw::PUBACK).reason_code(), 0);
    }
    let stranger = Connect { user: Some(("any".into(), token(json!({"sub": "else"})))), ..reader(json!({})) };
    assert_eq!(tokens.code(&stranger), 0x85, "the session is of another user");
    let (mut wire, connack) = Wire::connect(tokens.broker.address(), &reader(subscribed(&["open/#"])));
    assert_eq!((connack.reason_code(), connack.body[0]), (0, 1), "{connack:?}");
    for topic in ["open/1", "open/2"] {
        assert_eq!(wire.expect_publish(Version::V5).topic, topic);
    }
    wire.ping();
}

#[test]
fn a_listener_has_its_own_chain_and_providers_are_asked_in_order() {
    if peer::is_chosen() {
        return;
    }
    let tokens = Tokens::start("", |setup, entry| {
        let mut setup = setup.users(&[("alice", "sesam")]);
        let listener = |extra| Listener { extra, ..Listener::new(Transport::Tcp) };
        setup.listeners = vec![
            Listener::new(Transport::Tcp),
            listener("auth = [\"password\"]"),
            listener("auth = []\nallow_anonymous = true"),
        ];
        setup.set("auth", &format!("[{entry}, {{ type = \"password-file\" }}]"))
    });
    let by_token = Connect::new(Version::V5, "c").user("any", &token(json!({})));
    let by_password = Connect::new(Version::V5, "c").user("alice", "sesam");
    let nobody = Connect::new(Version::V5, "c");
    for (listener, expected) in [(0, [0, 0, 0x87]), (1, [0x86, 0, 0x87]), (2, [0x86, 0x86, 0])] {
        let codes = [&by_token, &by_password, &nobody].map(|connect| {
            let mut wire = Wire::open(tokens.broker.address_of(listener));
            wire.send(&connect.bytes());
            wire.expect(CONNACK).reason_code()
        });
        assert_eq!(codes, expected, "listener {listener}");
    }
}
