//! A broker that is killed in the middle of a change has made it as a whole or not at all, and what it has answered is done. So has a command that
//! changes a file itself.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use wire::{Connect, Received, Version, Wire, free_address};

use crate::process::{Broker, Running, oncemq, run, wait_for};

/// Changes that are made one after the other, numbered from 1.
struct Changes<'a> {
    /// Asks for a change, and waits until it is made; `None`: the broker has gone.
    make: &'a (dyn Fn(&Path, usize) -> Option<()> + Sync),
    /// Whether the broker is in the state after a change, and not in the middle of one; after 0, in the first state.
    is_after: &'a dyn Fn(&Broker, usize) -> bool,
}

/// Kills the broker while it makes changes. Each of these was made as a whole or not at all, the first ones that were answered were made, and the audit
/// log has all of those.
#[track_caller]
fn survives(broker: &mut Broker, Changes { make, is_after }: Changes<'_>) {
    let (mut made_before, mut answered) = (0, 0);
    for round in 0..ROUNDS {
        let (socket, made) = (socket(broker), AtomicUsize::new(made_before));
        let pause = RandomState::new().hash_one(round) % PAUSE_MAX_US;
        thread::scope(|scope| {
            scope.spawn(|| {
                while make(&socket, made.load(Ordering::Relaxed) + 1).is_some() {
                    made.fetch_add(1, Ordering::Relaxed);
                    // A bound of how many there are until the broker is killed.
                    thread::sleep(Duration::from_millis(1));
                }
            });
            wait_for("changes", || made.load(Ordering::Relaxed) > made_before);
            thread::sleep(Duration::from_micros(pause));
            broker.kill();
        });
        let made = made.into_inner();
        answered += made - made_before;
        broker.start_again();
        let found = (made..=made + 1).find(|number| is_after(broker, *number));
        made_before = found.unwrap_or_else(|| panic!("after {made} changes, killed {pause} us later"));
        assert!(audited(broker) >= answered, "{answered} changes were answered");
    }
}

/// Lines about changes in the audit log.
fn audited(broker: &Broker) -> usize {
    let text = fs::read_to_string(broker.directory.path().join("data/audit.log")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["result"] == "done")
        .count()
}

fn socket(broker: &Broker) -> PathBuf {
    broker.directory.path().join("data/admin.sock")
}

/// Code and body; `None`: the broker has gone.
fn request(socket: &Path, method_and_path: &str, body: &str) -> Option<(u16, String)> {
    let (method, path) = method_and_path.split_once(' ').unwrap();
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!("{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_whole = head.to_lowercase().contains(&format!("content-length: {}", body.len())) || head.contains(" 204 ");
    is_whole.then(|| (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

/// A change that succeeds.
#[track_caller]
fn change(socket: &Path, method_and_path: &str, body: &str) -> Option<()> {
    let (code, body) = request(socket, method_and_path, body)?;
    assert!((200..300).contains(&code), "{method_and_path}: {code} {body}");
    Some(())
}

#[track_caller]
fn get(broker: &Broker, path: &str) -> Value {
    let (code, body) = request(&socket(broker), &format!("GET {path}"), "").expect("an answer");
    assert_eq!(code, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// What the entries of a list have in a field.
fn field(list: &Value, field: &str) -> Vec<Value> {
    list.as_array().unwrap().iter().map(|entry| entry[field].clone()).collect()
}

/// Sessions that are away, subscribed to `jobs/#`.
fn sessions(broker: &Broker, names: impl IntoIterator<Item = String>) {
    for name in names {
        let mut wire = Wire::open(broker.mqtt, PATIENCE).unwrap();
        wire.send(&Connect::durable(Version::V5, &name).bytes());
        wire.send(&Version::V5.subscribe(1, "jobs/#", 2));
        for _ in 0..2 {
            assert!(matches!(wire.receive(PATIENCE), Received::Packet(_)), "{name}");
        }
        wire.send(&[0xE0, 0]);
        assert!(matches!(wire.receive(PATIENCE), Received::Closed), "{name}");
    }
}

fn publish(broker: &Broker, topic: &str, payload: &str) {
    let message = json!({"topic": topic, "payload": payload, "qos": 1}).to_string();
    change(&socket(broker), "POST /publish", &message).unwrap();
}

#[test]
fn users_are_added_and_removed() {
    let (directory, mqtt) = (tempfile::tempdir().unwrap(), free_address());
    let file = directory.path().join("users");
    let mut create = oncemq();
    create.args(["passwd", "--create", "--password-stdin"]).arg(&file).arg("keeper");
    let mut create = Running::start(create);
    create.input(b"kept\n");
    create.end().succeeded();
    let config = format!("listeners = [{{ address = \"{mqtt}\" }}]\nsecurity.password_file = {file:?}\n");
    let mut broker = Broker::with_config(&config, directory, mqtt);
    let accepts = |broker: &Broker, user: &str, password: &str| {
        let mut wire = Wire::open(broker.mqtt, PATIENCE).unwrap();
        wire.send(&Connect::new(Version::V5, "login").user(user, password).bytes());
        matches!(wire.receive(PATIENCE), Received::Packet(connack) if connack.reason_code() == 0)
    };
    survives(
        &mut broker,
        Changes {
            // In turn: added, given another password, removed.
            make: &|socket, number| {
                let password = json!({"password": format!("p{number}")}).to_string();
                let user = format!("/users/u{}", number.div_ceil(3));
                if number % 3 == 0 {
                    change(socket, &format!("DELETE {user}"), "")
                } else {
                    change(socket, &format!("PUT {user}"), &password)
                }
            },
            is_after: &|broker, number| {
                let user = format!("u{}", number.div_ceil(3));
                let expected = if number % 3 == 0 { vec!["keeper"] } else { vec!["keeper", &user] };
                let password = format!("p{number}");
                field(&get(broker, "/users")["users"], "name") == expected
                    && accepts(broker, "keeper", "kept")
                    && (number % 3 == 0 || accepts(broker, &user, &password))
            },
        },
    );
}

#[test]
fn tokens_are_created_and_revoked() {
    let mut broker = Broker::start(&[]);
    survives(
        &mut broker,
        Changes {
            make: &|socket, number| match number % 2 {
                1 => {
                    change(socket, "POST /tokens", &json!({"name": format!("t{number}"), "role": "viewer"}).to_string())
                }
                _ => change(socket, &format!("DELETE /tokens/t{}", number - 1), ""),
            },
            is_after: &|broker, number| {
                let expected = if number % 2 == 1 { vec![format!("t{number}")] } else { Vec::new() };
                field(&get(broker, "/tokens")["tokens"], "name") == expected
            },
        },
    );
}

#[test]
fn sessions_are_forgotten_and_given_away() {
    let mut broker = Broker::start(&["--shards", "2"]);
    sessions(&broker, (1..=SESSIONS).map(|number| format!("s{number:03}")));
    publish(&broker, "jobs/a", "1");
    // A Session is given away, then forgotten.
    let name = |number: usize| format!("s{:03}", number.div_ceil(2));
    survives(
        &mut broker,
        Changes {
            make: &|socket, number| match number % 2 {
                _ if number >= 2 * SESSIONS => None,
                1 => change(socket, &format!("PUT /clients/{}/owner", name(number)), r#"{"user": "bob"}"#),
                _ => change(socket, &format!("DELETE /clients/{}", name(number)), ""),
            },
            is_after: &|broker, number| {
                let clients = get(broker, "/clients?limit=1000")["clients"].take();
                let left: BTreeSet<_> =
                    field(&clients, "client_id").iter().map(|id| id.as_str().unwrap().to_owned()).collect();
                let expected: BTreeSet<_> = (number / 2 + 1..=SESSIONS).map(|number| format!("s{number:03}")).collect();
                let is_whole = |client: &Value| {
                    let is_given = number % 2 == 1 && client["client_id"] == name(number);
                    let owner = if is_given { json!("bob") } else { Value::Null };
                    (&client["queued_messages"], &client["subscriptions"]) == (&json!(1), &json!(1))
                        && client["owner"]["user"] == owner
                };
                left == expected && clients.as_array().unwrap().iter().all(is_whole)
            },
        },
    );
}

#[test]
fn messages_are_published() {
    let mut broker = Broker::start(&["--shards", "2"]);
    sessions(&broker, ["a", "b", "c"].map(str::to_owned));
    survives(
        &mut broker,
        Changes {
            make: &|socket, number| {
                let (payload, qos) = (number.to_string(), 1 + number % 2);
                let message = json!({"topic": "jobs/a", "payload": payload, "qos": qos, "retain": true});
                change(socket, "POST /publish", &message.to_string())
            },
            is_after: &|broker, number| {
                let queued = field(&get(broker, "/clients")["clients"], "queued_messages");
                queued == [number, number, number]
                    && get(broker, "/retained/jobs%2Fa")["payload_text"].as_str() == Some(&number.to_string())
            },
        },
    );
}

/// The broker deletes the messages of each filter in several parts.
#[test]
fn retained_messages_are_deleted() {
    let mut broker = Broker::start(&["--shards", "2"]);
    let mut wire = Wire::open(broker.mqtt, PATIENCE).unwrap();
    wire.send(&Connect::new(Version::V5, "retains").bytes());
    for number in 1..=RETAINED {
        for leaf in 0..RETAINED_LEAVES {
            wire.send(&Version::V5.publish(0x31, &format!("r/{number:03}/{leaf}"), 0, b"x"));
        }
    }
    let left = |broker: &Broker, number: usize| {
        let path = format!("/retained?filter=r/{number:03}/%23&limit=1000");
        get(broker, &path)["retained"].as_array().unwrap().len()
    };
    wait_for("the messages", || left(&broker, RETAINED) == RETAINED_LEAVES);
    survives(
        &mut broker,
        Changes {
            make: &|socket, number| {
                let filter = format!("DELETE /retained?filter=r/{number:03}/%23");
                if number > RETAINED { None } else { change(socket, &filter, "") }
            },
            is_after: &|broker, number| {
                (1..=RETAINED).all(|one| left(broker, one) == if one <= number { 0 } else { RETAINED_LEAVES })
            },
        },
    );
}

#[test]
fn bans_end_with_the_broker_and_a_reload_is_that_of_the_file() {
    let (directory, mqtt) = (tempfile::tempdir().unwrap(), free_address());
    let file = directory.path().join("oncemq.toml");
    let config =
        |number: usize| format!("listeners = [{{ address = \"{mqtt}\" }}]\nlimits.sessions_max = {}\n", 100 + number);
    let mut broker = Broker::with_config(&config(0), directory, mqtt);
    survives(
        &mut broker,
        Changes {
            make: &|socket, number| {
                let incomplete = file.with_extension("new");
                fs::write(&incomplete, config(number)).unwrap();
                fs::rename(&incomplete, &file).unwrap();
                change(socket, "POST /reload", "")?;
                change(socket, "POST /bans", &json!({"user": format!("u{number}"), "seconds": 60}).to_string())
            },
            is_after: &|broker, number| {
                let settings = get(broker, "/config")["settings"].take();
                let setting =
                    settings.as_array().unwrap().iter().find(|setting| setting["key"] == "limits.sessions_max");
                get(broker, "/bans")["bans"] == json!([]) && setting.unwrap()["value"] == json!(100 + number)
            },
        },
    );
}

#[test]
fn backups_are_made() {
    let mut broker = Broker::start(&[]);
    sessions(&broker, ["a"].map(str::to_owned));
    for _ in 0..50 {
        publish(&broker, "jobs/a", &"x".repeat(20_000));
    }
    let directory = broker.directory.path().join("data/backups");
    let whole = || {
        let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_none()).collect::<BTreeSet<PathBuf>>()
    };
    survives(
        &mut broker,
        Changes {
            make: &|socket, number| {
                if number > 1 {
                    // The newest one stays.
                    whole().iter().rev().skip(1).for_each(|old| fs::remove_dir_all(old).unwrap());
                }
                change(socket, "POST /backup", "")?;
                loop {
                    let (_, body) = request(socket, "GET /backup", "")?;
                    let state = serde_json::from_str::<Value>(&body).unwrap()["state"].take();
                    if state != "running" {
                        return (state == "done").then_some(());
                    }
                }
            },
            is_after: &|_, _| {
                let copy = tempfile::tempdir().unwrap();
                let data = copy.path().join("data");
                let arguments = |backup: &Path| {
                    ["store", "restore", backup.to_str().unwrap(), "--data", data.to_str().unwrap()].map(str::to_owned)
                };
                let backup = whole().pop_last().unwrap();
                run(arguments(&backup)).succeeded();
                run(["store", "check", "--data", data.to_str().unwrap()]).succeeded();
                true
            },
        },
    );
    // What was incomplete is gone after the next backup.
    change(&socket(&broker), "POST /backup", "").unwrap();
    wait_for("the backup", || get(&broker, "/backup")["state"] == "done");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), whole().len());
}

#[test]
fn commands_that_change_a_file_are_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (data, users) = (directory.path().to_str().unwrap(), directory.path().join("users"));
    let passwd = |arguments: &[&str]| {
        let mut command = oncemq();
        command.args(["passwd", "--password-stdin"]).args(arguments);
        let mut running = Running::start(command);
        running.input(b"secret\n");
        running
    };
    let file = users.to_str().unwrap();
    passwd(&["--create", file, "keeper"]).end().succeeded();
    let kill = |running: Running| {
        thread::sleep(Duration::from_micros(RandomState::new().hash_one(0) % PAUSE_MAX_US));
        running.signal("-KILL");
        drop(running);
    };
    let tokens = || {
        let text = run(["token", "list", "--json", "--data", data]).succeeded();
        field(&serde_json::from_str(&text).unwrap(), "name").len()
    };
    for number in 1..=8 {
        let name = format!("n{number}");
        let mut create = oncemq();
        create.args(["token", "create", "--role", "viewer", &name, "--data", data]);
        kill(Running::start(create));
        assert!(tokens() <= number);
        kill(passwd(&[file, &name]));
        let text = fs::read_to_string(&users).unwrap();
        assert!(text.starts_with("keeper:") && text.ends_with('\n') && text.lines().count() <= number + 1, "{text}");
        assert!(text.lines().all(|line| line.contains(":$argon2id$") && line.len() > 80), "{text}");
    }
    // Nothing that they left is in the way.
    let before = tokens();
    run(["token", "create", "--role", "viewer", "last", "--data", data]).succeeded();
    passwd(&[file, "last"]).end().succeeded();
    assert_eq!(tokens(), before + 1);
    let names: BTreeSet<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

const PATIENCE: Duration = Duration::from_secs(20);
const ROUNDS: usize = 3;
/// The broker is killed within this time after a change, in which it makes several others.
const PAUSE_MAX_US: u64 = 40_000;
const SESSIONS: usize = 200;
const RETAINED: usize = 60;
const RETAINED_LEAVES: usize = 600;
