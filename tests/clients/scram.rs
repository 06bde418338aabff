//! `[[auth]]` of the type `scram`: enhanced authentication, with a client of its own and with those of other projects.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pbkdf2::hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::broker::{Broker, Setup};
use crate::deadline::wait_for;
use crate::peer;
use crate::python;
use crate::raw::{CONNACK, Connect, Packet, Version, Wire, packet, string};

const METHOD: &str = "SCRAM-SHA-256";
const AUTH: u8 = 0xF0;
const CONTINUE: u8 = 0x18;
const RE_AUTHENTICATE: u8 = 0x19;

/// A broker whose users prove their passwords.
struct Scram {
    broker: Broker,
    directory: TempDir,
}

/// Sets the password of a user as an operator does.
fn passwd(file: &Path, options: &[&str], user: &str, password: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.args(["passwd", "--password-stdin"]).args(options).args((!file.exists()).then_some("--create"));
    let mut child = command.arg(file).arg(user).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), password.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

impl Scram {
    /// The users `alice` (SCRAM-SHA-256) and `bob` (SCRAM-SHA-512).
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("credentials");
        passwd(&file, &["--scram"], "alice", "sesam");
        passwd(&file, &["--scram=sha-512", "--iterations", "8192"], "bob", "secret");
        let entry = format!("[{{ type = \"scram\", file = {:?} }}]", file.display().to_string());
        let setup = Setup { allow_anonymous: false, ..Setup::default() }.access("user alice\ntopic readwrite a/#\n");
        Self { broker: setup.set("auth", &entry).start(), directory }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("credentials")
    }

    /// Sends CONNECT and returns the next packet.
    fn begin(&self, client_id: &str, user: &str) -> (Wire, Packet) {
        self.begin_with(&connect(client_id, Some(&first(user))))
    }

    fn begin_with(&self, connect: &Connect) -> (Wire, Packet) {
        let mut wire = Wire::open(self.broker.address());
        wire.send(&connect.bytes());
        let packet = wire.expect_any();
        (wire, packet)
    }

    /// A client that is accepted.
    fn connected(&self, client_id: &str, user: &str, password: &str) -> Wire {
        let (mut wire, challenge) = self.begin(client_id, user);
        let (message, signature) = answer(user, password, &challenge);
        wire.send(&auth(CONTINUE, METHOD, &message));
        let connack = wire.expect(CONNACK);
        assert_eq!(connack.reason_code(), 0);
        assert!(has(&connack, METHOD) && has(&connack, &signature), "{connack:x?}");
        wire
    }

    #[track_caller]
    fn reload(&self) {
        let before = self.broker.log().len();
        self.broker.signal("HUP");
        wait_for("the reload", || self.broker.log()[before..].contains("reloaded the password file").then_some(()));
    }
}

fn first(user: &str) -> String {
    format!("n,,n={user},r=abc")
}

fn properties(method: &str, data: Option<&str>) -> Vec<u8> {
    let of_data = data.map(|data| [&[0x16][..], &string(data)].concat());
    [&[0x15][..], &string(method), &of_data.unwrap_or_default()].concat()
}

fn connect(client_id: &str, data: Option<&str>) -> Connect {
    Connect { properties: properties(METHOD, data), ..Connect::new(Version::V5, client_id) }
}

fn auth(reason_code: u8, method: &str, data: &str) -> Vec<u8> {
    let properties = properties(method, Some(data));
    // Fewer than 16,384 bytes.
    let length = [u8::try_from(properties.len() % 128).unwrap() | 0x80, u8::try_from(properties.len() / 128).unwrap()];
    let length = if length[1] == 0 { &[length[0] & 0x7F][..] } else { &length };
    packet(AUTH, &[&[reason_code][..], length, &properties].concat())
}

fn has(packet: &Packet, text: &str) -> bool {
    packet.body.windows(text.len()).any(|part| part == text.as_bytes())
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text).finalize().into_bytes().to_vec()
}

/// The client-final-message that answers an AUTH, and the server-final-message that must follow (RFC 5802, section 3).
#[track_caller]
fn answer(user: &str, password: &str, challenge: &Packet) -> (String, String) {
    assert_eq!((challenge.kind(), challenge.body[0]), (AUTH, CONTINUE), "{challenge:x?}");
    let start = challenge.body.windows(5).position(|part| part == b"r=abc").unwrap();
    let challenge = std::str::from_utf8(&challenge.body[start..]).unwrap();
    let part = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
    let mut salted = [0; 32];
    let salt = STANDARD.decode(part("s=")).unwrap();
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, part("i=").parse().unwrap(), &mut salted);
    let client_key = hmac(&salted, "Client Key");
    let without_proof = format!("c=biws,r={}", part("r="));
    let signed = format!("n={user},r=abc,{challenge},{without_proof}");
    let signature = hmac(&Sha256::digest(&client_key), &signed);
    let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    let of_server = STANDARD.encode(hmac(&hmac(&salted, "Server Key"), &signed));
    (format!("{without_proof},p={}", STANDARD.encode(proof)), format!("v={of_server}"))
}

#[test]
fn mqtt5_4_12_0_5_a_user_proves_its_password_and_the_broker_that_it_knows_the_user() {
    if peer::is_chosen() {
        return;
    }
    let scram = Scram::start();
    let mut alice = scram.connected("alice", "alice", "sesam");
    assert_eq!(alice.subscribe(Version::V5, "a/b", 0), 0);
    assert_eq!(alice.subscribe(Version::V5, "b", 0), 0x87, "the rules are those of the user");
    // CONNECT may name the same user.
    let (_, challenge) = scram.begin_with(&connect("named", Some(&first("alice"))).user("alice", "ignored"));
    assert_eq!(challenge.kind(), AUTH);
    alice.ping();
}

#[test]
fn mqtt5_4_12_0_4_wrong_proofs_unknown_users_and_wrong_messages_are_refused() {
    if peer::is_chosen() {
        return;
    }
    let scram = Scram::start();
    for (user, password) in [("alice", "wrong"), ("nobody", "sesam"), ("bob", "secret")] {
        let (mut wire, challenge) = scram.begin("c", user);
        wire.send(&auth(CONTINUE, METHOD, &answer(user, password, &challenge).0));
        assert_eq!(wire.expect(CONNACK).reason_code(), 0x86, "{user}");
        wire.expect_closed();
    }
    wait_for("the causes", || {
        let log = scram.broker.log();
        ["wrong proof (user alice)", "unknown user name (user nobody)"]
            .iter()
            .all(|text| log.contains(text))
            .then_some(())
    });
    for (connect, code) in [
        (connect("c", None), 0x87),
        (connect("c", Some("p=tls-unique,,n=alice,r=abc")), 0x87),
        (connect("c", Some(&first("alice"))).user("bob", "secret"), 0x86),
        (Connect { properties: properties("SCRAM-SHA-1", Some(&first("alice"))), ..connect("c", None) }, 0x8C),
        (Connect::new(Version::V5, "c").user("alice", "sesam"), 0x86),
        (Connect::new(Version::V5, "c"), 0x87),
    ] {
        let (mut wire, connack) = scram.begin_with(&connect);
        assert_eq!((connack.kind(), connack.reason_code()), (CONNACK, code), "{connect:?}");
        wire.expect_closed();
    }
    // Another method in between; AUTH 0x19 before CONNACK.
    for bytes in [auth(CONTINUE, "SCRAM-SHA-512", "c=biws"), auth(RE_AUTHENTICATE, METHOD, &first("alice"))] {
        let (mut wire, _) = scram.begin("c", "alice");
        wire.send(&bytes);
        assert_eq!(wire.expect(CONNACK).reason_code(), 0x82);
        wire.expect_closed();
    }
}

#[test]
fn mqtt5_4_12_1_1_a_client_may_authenticate_again_as_the_same_user() {
    // covers: MQTT-4.12.1-2
    if peer::is_chosen() {
        return;
    }
    let scram = Scram::start();
    let mut alice = scram.connected("alice", "alice", "sesam");
    // Begun twice: the second one counts.
    alice.send(&auth(RE_AUTHENTICATE, METHOD, &first("alice")));
    alice.expect(AUTH);
    alice.send(&auth(RE_AUTHENTICATE, METHOD, &first("alice")));
    let challenge = alice.expect(AUTH);
    // Other packets go on meanwhile.
    alice.ping();
    assert_eq!(alice.publish(Version::V5, "a/b", "x"), 0x10);
    let (message, signature) = answer("alice", "sesam", &challenge);
    alice.send(&auth(CONTINUE, METHOD, &message));
    let done = alice.expect(AUTH);
    assert!(done.body[0] == 0 && has(&done, &signature), "{done:x?}");
    alice.ping();
    // The exchange is over.
    alice.send(&auth(CONTINUE, METHOD, &message));
    alice.expect_disconnect(Version::V5, 0x82);

    let mut alice = scram.connected("alice", "alice", "sesam");
    alice.send(&auth(CONTINUE, METHOD, &message));
    alice.expect_disconnect(Version::V5, 0x82);

    for user in ["bob", "nobody"] {
        let mut alice = scram.connected("alice", "alice", "sesam");
        alice.send(&auth(RE_AUTHENTICATE, METHOD, &first(user)));
        alice.expect_disconnect(Version::V5, 0x86);
    }
    let mut alice = scram.connected("alice", "alice", "sesam");
    alice.send(&auth(RE_AUTHENTICATE, METHOD, &first("alice")));
    let challenge = alice.expect(AUTH);
    alice.send(&auth(CONTINUE, METHOD, &answer("alice", "wrong", &challenge).0));
    alice.expect_disconnect(Version::V5, 0x86);
}

#[test]
fn a_reload_ends_connections_and_exchanges_of_changed_users() {
    if peer::is_chosen() {
        return;
    }
    let scram = Scram::start();
    passwd(&scram.file(), &["--scram"], "carol", "carol");
    scram.reload();
    let mut alice = scram.connected("alice", "alice", "sesam");
    let mut carol = scram.connected("carol", "carol", "carol");
    // In the middle of an exchange.
    let (mut half, challenge) = scram.begin("half", "carol");
    let mut again = scram.connected("again", "carol", "carol");
    again.send(&auth(RE_AUTHENTICATE, METHOD, &first("carol")));
    again.expect(AUTH);
    passwd(&scram.file(), &["--scram"], "carol", "new");
    scram.reload();
    carol.expect_disconnect(Version::V5, 0x87);
    again.expect_disconnect(Version::V5, 0x87);
    half.send(&auth(CONTINUE, METHOD, &answer("carol", "carol", &challenge).0));
    assert_eq!(half.expect(CONNACK).reason_code(), 0x86);
    let mut carol = scram.connected("carol", "carol", "new");
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    assert!(command.args(["passwd", "-D"]).arg(scram.file()).arg("carol").status().unwrap().success());
    scram.reload();
    carol.expect_disconnect(Version::V5, 0x87);
    alice.ping();
    // A line that is damaged changes nothing.
    fs::write(scram.file(), "alice:SCRAM-SHA-256$1:x$y:z\n").unwrap();
    scram.broker.signal("HUP");
    let line = format!("{}:1: ", scram.file().display());
    wait_for("the error", || scram.broker.log().contains(&line).then_some(()));
    scram.connected("alice", "alice", "sesam").ping();
}

/// mqttium speaks MQTT, scramp speaks SCRAM.
#[test]
fn clients_of_other_projects_authenticate() {
    if peer::is_chosen() {
        return;
    }
    python::run(&Scram::start().broker, "test_scram", &[]);
}
