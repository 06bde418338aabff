//! Commands on a running broker.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::messages::{Make, publish, subscribe};
use crate::process::{Broker, Done, Running, run, wait_for};

impl Broker {
    pub(crate) fn operate(&self, arguments: &[&str]) -> Done {
        run([arguments, &["--data", self.directory.path().join("data").to_str().unwrap()]].concat())
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.operate(&[arguments, &["--json"]].concat()).succeeded()).unwrap()
    }
}

/// A broker with the durable Session `worker`, which is away and has two messages, and the connected client `watcher`.
fn with_clients() -> (Broker, Running) {
    let broker = Broker::start(&[]);
    subscribe(&broker, &["-i", "worker", "-c", "-t", "jobs/#", "-q", "1", "-E"]).succeeded();
    for payload in ["1", "2"] {
        publish(&broker, &["-t", "jobs/a", "-m", payload, "-q", "1"]).succeeded();
    }
    let watcher = Running::start(Make::OnceMq.subscriber(&broker, &["-i", "watcher", "-t", "jobs/+", "-q", "2"]));
    wait_for("the watcher", || {
        let clients = broker.json(&["clients", "watcher"]);
        clients[0]["connected"] == true && clients[0]["subscriptions"] == 1
    });
    (broker, watcher)
}

#[test]
fn clients_are_listed_and_shown() {
    let (broker, _watcher) = with_clients();
    let socket = broker.directory.path().join("data/admin.sock");
    assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
    let all = broker.json(&["clients"]);
    let mut names: Vec<&str> =
        all.as_array().unwrap().iter().map(|client| client["client_id"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["watcher", "worker"]);
    assert_eq!(broker.json(&["clients", "--connected"])[0]["client_id"], "watcher");
    assert_eq!(broker.json(&["clients", "w*k*", "--away"])[0]["queued_messages"], 2);
    assert_eq!(broker.json(&["clients", "nobody"]).as_array().unwrap().len(), 0);
    let table = broker.operate(&["clients"]).succeeded();
    assert!(table.lines().any(|line| line.starts_with("worker   away")), "{table}");
    let worker = broker.json(&["client", "worker"]);
    assert_eq!(worker["last_disconnect"]["how"], "disconnect", "{worker}");
    assert!(broker.operate(&["client", "worker"]).succeeded().contains("last_disconnect.how"));
    let events = broker.json(&["client", "worker", "--history"]);
    assert_eq!(events[0]["event"], "connected", "{events}");
    let queue = broker.json(&["client", "worker", "--queue"]);
    assert_eq!((queue[1]["topic"].as_str(), queue.as_array().unwrap().len()), (Some("jobs/a"), 2), "{queue}");
    assert_eq!(broker.json(&["client", "worker", "--subscriptions"])[0]["filter"], "jobs/#");
    for part in ["--history", "--queue", "--subscriptions"] {
        assert_eq!(
            broker.operate(&["client", "worker", part]).succeeded().lines().count(),
            broker.json(&["client", "worker", part]).as_array().unwrap().len() + 1
        );
    }
    broker.operate(&["client", "nobody"]).failed(1, "no session");
}

#[test]
fn a_client_is_kicked_and_banned_and_forgotten() {
    let (broker, watcher) = with_clients();
    broker.operate(&["kick", "worker"]).failed(1, "not connected");
    broker.operate(&["kick", "nobody"]).failed(1, "no session");
    broker.operate(&["kick", "watcher", "--reason-code", "0x97", "--ban", "1h"]).succeeded();
    let ended = watcher.end();
    assert_eq!(ended.code, 0x97, "{ended:?}");
    let bans = broker.json(&["bans"]);
    assert_eq!(bans[0]["address"], "127.0.0.1", "{bans}");
    assert!(broker.operate(&["bans"]).succeeded().contains("127.0.0.1"));
    subscribe(&broker, &["-t", "a", "-E"]).failed(7, "the connection to the broker was lost");
    broker.operate(&["bans", "--remove", "127.0.0.1"]).succeeded();
    broker.operate(&["bans", "--remove", "127.0.0.1"]).failed(1, "not banned");
    subscribe(&broker, &["-t", "a", "-E"]).succeeded();
    broker.operate(&["forget", "worker"]).succeeded();
    broker.operate(&["forget", "worker"]).failed(1, "no session");
    broker.operate(&["client", "worker"]).failed(1, "any more; --history shows how it left");
    assert_eq!(
        broker.json(&["client", "worker", "--history"]).as_array().unwrap().last().unwrap()["event"],
        "session-ended"
    );
    broker.operate(&["client", "nobody"]).failed(1, "identifier\n");
}

#[test]
fn a_session_is_given_away() {
    let (broker, _watcher) = with_clients();
    broker.operate(&["session", "give", "worker", "--user", "bob"]).succeeded();
    assert_eq!(broker.json(&["client", "worker"])["owner"]["user"], "bob");
    broker.operate(&["session", "give", "nobody", "--user", "bob"]).failed(7, "no session");
}

#[test]
fn a_list_of_many_pages_is_complete() {
    let broker = Broker::start(&[]);
    let sessions: Vec<Running> = (0..8)
        .map(|thread| {
            let mut command = std::process::Command::new("bash");
            let program = env!("CARGO_BIN_EXE_oncemq");
            let target = broker.target().join(" ");
            let script =
                format!("for n in {{1..30}}; do {program:?} sub {target} -i s-{thread}-$n -c -t a -E || exit 1; done");
            command.args(["-c", &script]);
            Running::start(command)
        })
        .collect();
    for session in sessions {
        session.end().succeeded();
    }
    let all = broker.json(&["clients", "s-*"]);
    assert_eq!(all.as_array().unwrap().len(), 240);
    assert_eq!(broker.operate(&["clients"]).succeeded().lines().count(), 241);
}

#[test]
fn top_gives_the_terminal_back() {
    let broker = Broker::start(&[]);
    let data = broker.directory.path().join("data").display().to_string();
    for end in ["q", "\u{3}"] {
        // A terminal of its own: util-linux makes one. `exec`, because a shell that waits would get the signal of Ctrl-C too.
        let mut script = std::process::Command::new("script");
        script.args([
            "-qec",
            &format!("stty rows 24 cols 80; exec {:?} top --data {data}", env!("CARGO_BIN_EXE_oncemq")),
        ]);
        script.arg("/dev/null");
        let mut top = Running::start(script);
        wait_for("the picture", || top.contains("MESSAGES/S"));
        top.input(end.as_bytes());
        wait_for("the end", || !top.is_running());
        let text = top.end().succeeded();
        assert!(text.contains("\u{1B}[?1049h") && text.trim_end().ends_with("\u{1B}[?25h\u{1B}[?1049l"), "{text:?}");
    }
}
