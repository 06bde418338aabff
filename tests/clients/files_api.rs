//! The API that reloads the broker, shows its settings, and changes users and rules, over the Unix socket in the data directory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::{Broker, Setup};
use crate::deadline::{PATIENCE, wait_for};
use crate::peer;
use crate::raw::{Connect, Version, Wire};

const V5: Version = Version::V5;

fn socket(broker: &Broker) -> PathBuf {
    broker.path().join("data").join("admin.sock")
}

/// The code and the body of a response; `None`: the broker has gone.
fn try_request(socket: &Path, method_and_path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!("{method_and_path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

#[track_caller]
fn request(broker: &Broker, method_and_path: &str, body: &str) -> (u16, String) {
    let (method, path) = method_and_path.split_once(' ').unwrap();
    try_request(&socket(broker), &format!("{method} /api/v1{path}"), body).expect("an answer")
}

#[track_caller]
fn json_of(broker: &Broker, method_and_path: &str) -> Value {
    let (code, body) = request(broker, method_and_path, "");
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The lines of the audit log: what, on what, and with which result.
fn audited(broker: &Broker) -> Vec<[String; 3]> {
    let text = fs::read_to_string(broker.path().join("data").join("audit.log")).unwrap_or_default();
    let fields = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        ["what", "target", "result"].map(|field| line[field].as_str().unwrap_or_default().to_owned())
    };
    text.lines().map(fields).collect()
}

fn login(broker: &Broker, user: &str, password: &str) -> u8 {
    let connect = Connect::new(V5, &format!("login {user}")).user(user, password);
    Wire::connect(broker.address(), &connect).1.reason_code()
}

#[test]
fn a_reload_says_what_became_of_each_part_and_the_settings_in_force_have_their_origin() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().users(&[("alice", "a")]).access("topic readwrite #\n").start();
    let file = broker.path().join("oncemq.toml");
    let original = fs::read_to_string(&file).unwrap();
    let result = |report: &Value, name: &str| {
        let part = report["files"].as_array().unwrap().iter().find(|part| part["name"] == name);
        let part = part.unwrap_or_else(|| panic!("no {name} in {report}")).clone();
        (part["result"].as_str().unwrap().to_owned(), part["error"].as_str().unwrap_or_default().to_owned())
    };
    let unchanged = ("unchanged".to_owned(), String::new());
    let report = json_of(&broker, "POST /reload");
    let listener = format!("listener {}", broker.address());
    for part in ["configuration", "access", "limits", "mqtt", "bans", "log", "server", &listener] {
        assert_eq!(result(&report, part), unchanged, "{part}");
    }
    assert_eq!(report["restart_needed"], json!([]));

    fs::write(&file, format!("server.shards = 7\nlimits.sessions_max = 9\n{original}")).unwrap();
    fs::write(broker.path().join("access"), "nonsense\n").unwrap();
    let report = json_of(&broker, "POST /reload");
    assert_eq!(result(&report, "configuration").0, "reloaded");
    assert_eq!(result(&report, "limits").0, "reloaded");
    assert_eq!(result(&report, "server"), unchanged);
    let (kept, error) = result(&report, "access");
    assert!(kept == "kept" && error.contains("access:1: unknown keyword `nonsense`"), "{report}");
    assert_eq!(report["restart_needed"], json!(["server.shards"]));
    assert!(audited(&broker).last().unwrap()[2].contains("kept access"), "{:?}", audited(&broker));

    let settings = json_of(&broker, "GET /config")["settings"].clone();
    let setting = |key: &str| {
        let settings = settings.as_array().unwrap();
        let found = settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("no {key}"));
        (found["value"].clone(), found["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(setting("limits.sessions_max"), (json!(9), format!("{}:2", file.display())));
    assert_eq!(setting("server.shards"), (json!(0), "default".to_owned()));
    assert_eq!(setting("listeners[0].address").0, json!(broker.address().to_string()));
    assert_eq!(setting("mqtt.dead_letter_topic"), (Value::Null, "default".to_owned()));

    fs::write(&file, "nonsense").unwrap();
    let report = json_of(&broker, "POST /reload");
    assert_eq!(result(&report, "configuration").0, "kept");
    assert_eq!(result(&report, "limits"), unchanged);
}

#[test]
fn users_are_added_changed_and_removed_while_clients_are_connected() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().users(&[("alice", "a"), ("bob", "b")]).start();
    let connect =
        |user: &str, password: &str| Wire::connected(broker.address(), &Connect::new(V5, user).user(user, password));
    let (mut alice, mut bob) = (connect("alice", "a"), connect("bob", "b"));
    assert_eq!(login(&broker, "car ol", "c"), 0x86);
    assert_eq!(request(&broker, "PUT /users/car%20ol", r#"{"password":"c"}"#), (204, String::new()));
    assert_eq!(login(&broker, "car ol", "c"), 0);
    alice.ping();
    bob.ping();
    assert_eq!(
        json_of(&broker, "GET /users"),
        json!({"users": [{"name": "alice"}, {"name": "bob"}, {"name": "car ol"}], "cursor": null})
    );
    let page = json_of(&broker, "GET /users?limit=2");
    assert_eq!((&page["users"].as_array().unwrap().len(), &page["cursor"]), (&2, &json!("bob")));
    assert_eq!(json_of(&broker, "GET /users?limit=2&cursor=bob")["users"], json!([{"name": "car ol"}]));

    assert_eq!(request(&broker, "PUT /users/alice", r#"{"password":"new"}"#).0, 204);
    alice.expect_disconnect(V5, 0x87);
    assert_eq!((login(&broker, "alice", "a"), login(&broker, "alice", "new")), (0x86, 0));
    assert_eq!(request(&broker, "DELETE /users/bob", "").0, 204);
    bob.expect_disconnect(V5, 0x87);
    assert_eq!(login(&broker, "bob", "b"), 0x86);

    for (what, body, code) in [
        ("DELETE /users/bob", "", 404),
        ("PUT /users/a%3Ab", r#"{"password":"x"}"#, 400),
        ("PUT /users/bob", r#"{"password":""}"#, 400),
        ("PUT /users/bob", r#"{"pass":"x"}"#, 400),
        ("GET /acl", "", 409),
        ("PUT /acl", "topic read a\n", 409),
    ] {
        let before = fs::read(broker.path().join("users")).unwrap();
        let (answered, body) = request(&broker, what, body);
        assert_eq!(answered, code, "{what}: {body}");
        assert_eq!(fs::read(broker.path().join("users")).unwrap(), before, "{what}");
    }
    let lines = audited(&broker);
    assert!(lines.contains(&["set password", "user \"alice\"", "done"].map(str::to_owned)), "{lines:?}");
    assert!(lines.contains(&["remove user", "user \"bob\"", "there is no user bob"].map(str::to_owned)), "{lines:?}");
    let log = fs::read_to_string(broker.path().join("data").join("audit.log")).unwrap() + &broker.log();
    assert!(!log.contains("\"new\"") && !log.contains("$argon2id$"), "no password is written");
}

#[test]
fn rules_are_replaced_if_they_are_valid_and_apply_to_connected_clients() {
    if peer::is_chosen() {
        return;
    }
    let broker = Setup::default().access("topic readwrite old/#\n").start();
    let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "stays"));
    assert_eq!(wire.publish(V5, "new/x", ""), 0x87);
    let (code, body) = request(&broker, "PUT /acl", "topic readwrite new/#\ntopic sometimes x\n");
    assert!(code == 400 && body.contains(":2: unknown access `sometimes`"), "{body}");
    assert_eq!(request(&broker, "GET /acl", ""), (200, "topic readwrite old/#\n".to_owned()));
    assert_eq!(request(&broker, "PUT /acl", "# now\ntopic readwrite new/#\n").0, 204);
    assert_eq!(request(&broker, "GET /acl", "").1, "# now\ntopic readwrite new/#\n");
    wait_for("the new rules", || (wire.publish(V5, "new/x", "") != 0x87).then_some(()));
    assert_eq!(wire.publish(V5, "old/x", ""), 0x87);
    let large = "# 16 characters\n".repeat(65_536);
    assert_eq!(request(&broker, "PUT /acl", &large).0, 204);
    assert_eq!(request(&broker, "PUT /acl", &format!("{large}#")).0, 413);
    assert_eq!(request(&broker, "GET /acl", "").1, large);
}

#[test]
fn a_broker_that_is_killed_while_rules_are_replaced_has_the_old_or_the_new_ones() {
    if peer::is_chosen() {
        return;
    }
    let text = |name: &str| format!("topic readwrite {name}/#\n").repeat(4_000);
    let texts = [text("one"), text("other")];
    let mut broker = Setup::default().access(&texts[0]).start();
    for round in 0..8 {
        let (path, ends, count) = (socket(&broker), AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    let number = count.load(Ordering::Relaxed);
                    if let Some((code, body)) = try_request(&path, "PUT /api/v1/acl", &texts[number % 2]) {
                        assert_eq!(code, 204, "{body}");
                        count.store(number + 1, Ordering::Relaxed);
                    }
                }
            });
            wait_for("some changes", || (count.load(Ordering::Relaxed) > 2).then_some(()));
            thread::sleep(Duration::from_millis(7 * round));
            broker.signal("KILL");
            broker.end();
            ends.store(true, Ordering::Relaxed);
        });
        let found = fs::read_to_string(broker.path().join("access")).unwrap();
        assert!(texts.contains(&found), "round {round}: {} bytes", found.len());
        broker.start_again();
        let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "client"));
        let is_one = found == texts[0];
        assert_eq!(wire.publish(V5, "one/x", "") != 0x87, is_one);
        assert_eq!(wire.publish(V5, "other/x", "") != 0x87, !is_one);
    }
    assert_eq!(request(&broker, "PUT /acl", &texts[0]).0, 204);
    let left = fs::read_dir(broker.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("access."));
    assert_eq!(left.count(), 0);
}
