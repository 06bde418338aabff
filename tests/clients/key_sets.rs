//! `jwks_url`: tokens signed with keys of a key set that a service gives out and changes.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use serde_json::{Value, json};

use crate::broker::{Broker, Setup};
use crate::deadline::wait_for;
use crate::http_service::{HttpService, Response, deaf};
use crate::peer;
use crate::raw::{Connect, Version, Wire};

/// A key of an issuer.
struct Key {
    id: &'static str,
    pair: KeyPair,
}

impl Key {
    fn new(id: &'static str) -> Self {
        Self { id, pair: KeyPair::generate_for(&PKCS_ED25519).unwrap() }
    }

    fn public(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.id, "use": "sig", "x": encode(self.pair.der_bytes())})
    }

    #[expect(clippy::disallowed_methods, reason = "tokens have the real time")]
    fn token(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({"alg": "EdDSA", "kid": self.id, "jku": "http://127.0.0.1:1/"});
        let claims = json!({"sub": "device-7", "exp": now + 3_600});
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        format!("{message}.{}", encode(self.pair.sign(message.as_bytes()).unwrap()))
    }

    fn connect(&self) -> Connect {
        Connect::new(Version::V5, "c").user("any", &self.token())
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn set(keys: &[&Key]) -> Response {
    let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
    Response::ok(&json!({ "keys": keys }).to_string())
}

fn start(url: &str, settings: &str) -> Broker {
    let entry = format!("[{{ type = \"jwt\", jwks_url = \"{url}\"{settings} }}]");
    Setup { allow_anonymous: false, ..Setup::default() }.set("auth", &entry).start()
}

fn code(broker: &Broker, connect: &Connect) -> u8 {
    Wire::connect(broker.address(), connect).1.reason_code()
}

fn reload(broker: &Broker) {
    let before = broker.log().len();
    broker.signal("HUP");
    wait_for("the reload", || broker.log()[before..].contains("reloaded").then_some(()));
}

#[test]
fn keys_are_fetched_and_rotated() {
    if peer::is_chosen() {
        return;
    }
    let (old, new, stranger) = (Key::new("old"), Key::new("new"), Key::new("old"));
    let of_old = set(&[&old]);
    let service = HttpService::start(move |_| of_old.clone());
    let broker = start(&service.url("/keys.json"), "");
    // A client that comes before the keys waits for them.
    let first = Connect::new(Version::V5, "first").user("any", &old.token());
    let mut wire = Wire::connected(broker.address(), &first);
    assert_eq!(service.asked()[0].path(), "/keys.json");
    assert_eq!(code(&broker, &stranger.connect()), 0x86, "it has the name of a key, and not the key");
    assert_eq!(code(&broker, &new.connect()), 0x86, "the keys were fetched a moment ago");
    assert_eq!(service.asked().len(), 1, "nobody makes the broker fetch them all the time");
    let of_new = set(&[&new]);
    service.answer(move |_| of_new.clone());
    // After ten seconds, a kid that is not known makes it fetch them.
    wait_for("the new key", || (code(&broker, &new.connect()) == 0).then_some(()));
    assert!(service.asked().len() <= 3);
    assert_eq!(code(&broker, &old.connect()), 0x86, "new tokens of the key that is gone");
    // Who was accepted stays until its token expires, after a reload, too.
    reload(&broker);
    assert_eq!(wire.subscribe(Version::V5, "a", 0), 0);
}

#[test]
fn a_key_set_is_fetched_again_after_its_time_and_at_a_reload() {
    if peer::is_chosen() {
        return;
    }
    let (old, new) = (Key::new("old"), Key::new("new"));
    let of_old = set(&[&old]);
    let service = HttpService::start(move |_| of_old.clone());
    let broker = start(&service.url("/"), ", jwks_refresh = \"10s\"");
    assert_eq!(code(&broker, &old.connect()), 0);
    wait_for("the next request", || (service.asked().len() >= 2).then_some(()));
    let of_new = set(&[&new]);
    service.answer(move |_| of_new.clone());
    reload(&broker);
    wait_for("the new key", || (code(&broker, &new.connect()) == 0).then_some(()));
}

#[test]
fn keys_stay_in_force_while_the_url_does_not_answer() {
    if peer::is_chosen() {
        return;
    }
    let (key, other) = (Key::new("1"), Key::new("2"));
    let of_key = set(&[&key]);
    let service = HttpService::start(move |_| of_key.clone());
    let broker = start(&service.url("/"), "");
    assert_eq!(code(&broker, &key.connect()), 0);
    let elsewhere = HttpService::start(|_| Response::deny());
    let location = elsewhere.url("/");
    for answer in [
        Response::Json(500, String::new()),
        Response::ok("{\"keys\":[]}"),
        Response::ok("nonsense"),
        Response::Endless,
        Response::Redirect(location),
        Response::Bytes(Vec::new()),
    ] {
        let asked = service.asked().len();
        service.answer(move |_| answer.clone());
        reload(&broker);
        wait_for("the request", || (service.asked().len() > asked).then_some(()));
        assert_eq!(code(&broker, &key.connect()), 0);
        assert_eq!(code(&broker, &other.connect()), 0x88, "newer keys may be there");
    }
    assert_eq!(elsewhere.asked().len(), 0);
    wait_for("the log", || broker.log().contains("the keys could not be fetched").then_some(()));
}

#[test]
fn without_keys_the_broker_starts_and_refuses_tokens_until_it_has_them() {
    if peer::is_chosen() {
        return;
    }
    let (address, listener) = deaf();
    drop(listener);
    let key = Key::new("1");
    let broker = start(&format!("http://{address}/"), "");
    assert_eq!(code(&broker, &key.connect()), 0x88);
    assert_eq!(code(&broker, &Connect::new(Version::V5, "c").user("any", "no token")), 0x86);
    // The keys are there, where the reload says.
    let of_key = set(&[&key]);
    let service = HttpService::start(move |_| of_key.clone());
    let file = broker.path().join("oncemq.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&format!("http://{address}/"), &service.url("/"))).unwrap();
    reload(&broker);
    assert_eq!(code(&broker, &key.connect()), 0);
    // A set that takes longer than its time counts as none.
    service.answer(|_| Response::Late(Duration::from_secs(60), Box::new(Response::deny())));
    reload(&broker);
    assert_eq!(code(&broker, &key.connect()), 0);
}

#[test]
fn a_key_set_is_not_fetched_in_plain_text_from_elsewhere() {
    if peer::is_chosen() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("oncemq.toml");
    for (settings, key) in [
        ("jwks_url = \"http://id.example.com/keys\"", "auth[0].jwks_url"),
        ("jwks_url = \"https://id.example.com/keys\"\npublic_key_file = \"/dev/null\"", "auth[0].jwks_url"),
        ("jwks_url = \"https://id.example.com/keys\"\nalgorithms = [\"HS256\"]", "auth[0].algorithms"),
        ("jwks_url = \"https://id.example.com/keys\"\njwks_refresh = \"1s\"", "auth[0].jwks_refresh"),
        ("secret_file = \"/dev/null\"\njwks_refresh = \"1m\"", "auth[0].jwks_refresh"),
    ] {
        fs::write(&file, format!("[[auth]]\ntype = \"jwt\"\n{settings}\n")).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_oncemq"))
            .args(["config", "check", &file.display().to_string()])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains(key), "{settings}: {text}");
    }
}
