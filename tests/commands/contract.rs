//! What commands ask `/api/v1` for, and what they do with its answers: against a server that answers as the test says.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Done, run};

/// A server at `admin.sock` of a data directory.
struct Server {
    directory: TempDir,
    /// Method, path and query, and body of each request.
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    fn start(answer: impl Fn(&str, usize) -> (u16, Value) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("admin.sock")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                        break;
                    }
                    if let Some(number) = line.strip_prefix("Content-Length: ") {
                        length = number.trim().parse().unwrap();
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let target = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
                let number = shared.lock().unwrap().len();
                let (code, json) = answer(&target, number);
                shared.lock().unwrap().push((target, String::from_utf8(body).unwrap()));
                let text = if json.is_null() { String::new() } else { format!("{json}\n") };
                let response = format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\n\r\n{text}", text.len());
                stream.get_mut().write_all(response.as_bytes()).unwrap();
            }
        });
        Self { directory, requests }
    }

    fn run(&self, arguments: &[&str]) -> Done {
        run([arguments, &["--data", self.directory.path().to_str().unwrap()]].concat())
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap()).into_iter().map(|(target, _)| target).collect()
    }
}

fn client(name: &str) -> Value {
    json!({ "client_id": name, "connected": true, "user": null, "queued_messages": 3, "subscriptions": 1 })
}

#[test]
fn all_pages_of_a_list_are_written_as_one_array() {
    let server = Server::start(|_, number| {
        let pages = [
            json!({ "clients": [client("a"), client("b")], "cursor": "0-2" }),
            json!({ "clients": [], "cursor": "1-0" }),
            json!({ "clients": [client("c\u{9B}")], "cursor": null }),
        ];
        (200, pages[number % 3].clone())
    });
    let text = server.run(&["clients", "pump-*/1", "--away", "--user", "x y", "--json"]).succeeded();
    let names: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(names, [client("a"), client("b"), client("c\u{9B}")]);
    assert!(!text.contains('\u{9B}'), "a control character reaches the terminal");
    let first = "GET /api/v1/clients?client_id=pump%2D%2A%2F1&connected=false&user=x%20y&limit=1000";
    assert_eq!(server.requests(), [first.to_owned(), format!("{first}&cursor=0%2D2"), format!("{first}&cursor=1%2D0")]);
    let table = server.run(&["clients"]).succeeded();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("CLIENT  STATE") && lines[1].starts_with("a       connected"), "{table}");
    assert!(lines.len() == 4 && lines[3].contains("\\u{9b}"), "{table}");
}

#[test]
fn a_list_without_entries_is_an_empty_array() {
    let server = Server::start(|target, _| {
        let key = target.split(['/', '?']).nth(3).unwrap_or_default().trim().to_owned();
        let key = if key == "routes" { "receivers".to_owned() } else { key };
        (200, json!({ key: [], "cursor": null }))
    });
    for command in
        [&["clients"][..], &["subs"], &["who", "t"], &["retained"], &["drops"], &["refusals"], &["bans"], &["users"]]
    {
        let text = server.run(&[command, &["--json"]].concat()).succeeded();
        assert_eq!(serde_json::from_str::<Vec<Value>>(&text).unwrap(), Vec::<Value>::new(), "{command:?}");
        let table = server.run(command).succeeded();
        assert_eq!(table.lines().count(), 1, "{command:?}: {table}");
    }
}

#[test]
fn logs_that_go_back_in_time_are_written_forward() {
    let server = Server::start(|_, number| {
        let entry =
            |at: u32| json!({ "at": format!("2026-11-29T00:00:0{at}.000Z"), "client_id": "c", "reason": "queue_full" });
        let pages = [
            json!({ "drops": [entry(3), entry(4)], "cursor": "x", "left_out": 7 }),
            json!({ "drops": [entry(1), entry(2)], "cursor": null, "left_out": 7 }),
        ];
        (200, pages[number % 2].clone())
    });
    let text = server.run(&["drops", "--json"]).succeeded();
    let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
    let seconds: Vec<&str> = entries.iter().map(|entry| &entry["at"].as_str().unwrap()[18..19]).collect();
    assert_eq!(seconds, ["1", "2", "3", "4"]);
    let table = server.run(&["drops"]).succeeded();
    assert!(
        table.contains("2026-11-29 00:00:01")
            && table.ends_with("7 more are not listed, because there were too many within a second.\n"),
        "{table}"
    );
}

#[test]
fn changes_send_what_was_said() {
    let server = Server::start(|target, number| match target {
        target if target.contains("/retained") => (200, json!({ "deleted": 5, "complete": number > 0 })),
        target if target.contains("/acl") => {
            (200, json!({ "allowed": false, "line": 3, "rule": "topic read a", "reason": "denied" }))
        }
        target if target.contains("/reload") => (
            200,
            json!({
                "files": [{ "name": "users", "result": "reloaded", "error": null }, { "name": "acl", "result": "kept", "error": "line 3" }],
                "restart_needed": ["server.shards"],
            }),
        ),
        target if target.starts_with("GET") => (200, json!({ "state": "done", "directory": "/b/1", "error": null })),
        target if target.contains("/backup") => (202, json!({ "state": "running", "directory": null, "error": null })),
        _ => (204, Value::Null),
    });
    let text = server.run(&["retained", "a/#", "--delete"]).succeeded();
    assert_eq!(text, "5 retained messages were deleted so far, and the broker deletes the others\n");
    assert_eq!(server.run(&["retained", "a/#", "--delete"]).succeeded(), "5 retained messages were deleted\n");
    assert_eq!(server.requests(), ["DELETE /api/v1/retained?filter=a%2F%23"; 2]);
    server.run(&["retained", "--delete"]).failed(2, "required");
    assert_eq!(
        server.run(&["kick", "a b", "--ban", "10m", "--reason-code", "0x97"]).succeeded(),
        "a b was disconnected, and banned for 600 s\n"
    );
    server.run(&["forget", "pump/7"]).succeeded();
    server.run(&["bans", "--remove", "2001:db8::/64"]).succeeded();
    server.run(&["users", "remove", "al ice"]).succeeded();
    assert_eq!(server.run(&["backup"]).succeeded(), "/b/1\n");
    assert_eq!(
        server.requests(),
        [
            "DELETE /api/v1/clients/a%20b/connection?reason_code=151&ban=600",
            "DELETE /api/v1/clients/pump%2F7",
            "DELETE /api/v1/bans/address/2001%3Adb8%3A%3A%2F64",
            "DELETE /api/v1/users/al%20ice",
            "POST /api/v1/backup",
            "GET /api/v1/backup",
        ]
    );
    let done = server.run(&["acl", "explain", "", "pump", "pub", "a/b"]);
    assert!(done.output.contains("rule     topic read a"), "{done:?}");
    done.failed(1, "not allowed");
    let body: Value = serde_json::from_str(&server.requests.lock().unwrap()[0].1).unwrap();
    assert_eq!(body, json!({ "user": null, "client_id": "pump", "action": "publish", "topic": "a/b" }));
    let done = server.run(&["reload"]);
    assert!(done.output.contains("kept       acl: line 3") && done.output.contains("server.shards"), "{done:?}");
    done.failed(1, "1 files are invalid");
}

#[test]
fn an_error_says_what_to_do_and_has_an_exit_code() {
    for (code, exit, text) in [
        (400, 2, "bad \\u{1b}"),
        (401, 1, "--token"),
        (403, 1, "a higher role"),
        (404, 1, "bad"),
        (409, 1, "bad"),
        (503, 7, "answered 503"),
        (500, 7, "answered 500"),
    ] {
        let server = Server::start(move |_, _| (code, json!({ "error": "bad \u{1B}" })));
        server.run(&["client", "x"]).failed(exit, text);
    }
    let server = Server::start(|_, _| (200, json!({ "other": [] })));
    server.run(&["clients"]).failed(7, "there is no list \"clients\"");
    let server = Server::start(|_, _| (200, json!({ "clients": [], "cursor": "same" })));
    server.run(&["clients"]).failed(7, "the cursor does not advance");
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").display().to_string();
    run(["clients", "--data", &data]).failed(7, &format!("no broker runs with the data directory {data}"));
    let nobody = wire::free_address().to_string();
    run(["status", "--admin", &nobody]).failed(7, "--admin sets its address");
    run(["status", "--admin", "ftp://x"]).failed(2, "is not http");
    let token = directory.path().join("token");
    fs::write(&token, "secret\n").unwrap();
    let token = token.to_str().unwrap();
    run(["status", "--admin", "http://192.0.2.1", "--token", token]).failed(2, "over https only");
    run(["status", "--admin", "https://x", "--token", "/does/not/exist"]).failed(2, "/does/not/exist");
    run(["status", "--token", token]).failed(2, "--admin");
}

#[test]
fn top_is_one_picture_where_there_is_no_terminal() {
    let server = Server::start(|target, _| match target {
        target if target.contains("/overview") => (
            200,
            json!({
                "version": "1.2.3", "uptime_seconds": 3_700, "ready": true, "durability": "crash", "connections": 7, "sessions": 9,
                "subscriptions": 3, "retained_messages": 2, "queued_messages": 5, "warnings": ["the disk is full"],
                "rates": { "messages_received_per_second": 12.0 }, "memory": { "used_bytes": 1_024, "max_bytes": 2_048 },
            }),
        ),
        _ => (200, json!({ "clients": [client("pump")], "cursor": null })),
    });
    let text = server.run(&["top"]).succeeded();
    for part in ["OnceMQ 1.2.3  up 1h 1m  ready", "! the disk is full", "connections          7", "pump"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1B}') && text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let status = server.run(&["status"]).succeeded();
    assert!(status.starts_with("version ") && status.contains("memory.max_bytes"), "{status}");
    let json: Value = serde_json::from_str(&server.run(&["status", "--json"]).succeeded()).unwrap();
    assert_eq!(json["connections"], 7);
}
