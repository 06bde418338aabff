//! The API over a real socket, with shards that never answer.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};
use axum::response::IntoResponse as _;
use serde_json::Value;
use tempfile::TempDir;

use super::access::Access;
use crate::admin::audit::Audit;
use crate::admin::peer::Peer;
use crate::admin::tests::{at_any_port, handles};
use crate::admin::token_file::TokenFile;
use crate::admin::tokens::Tokens;
use crate::admin::{AdminListener, BrokerHandles, SOCKET};
use crate::config::{self, Role};
use crate::server::{BridgeFigures, CertificateExpiry, ShardSnapshot, SinkFigures};
use crate::timestamp::Timestamp;

/// A running admin listener with a data directory of its own.
pub(in crate::admin) struct Api {
    pub(in crate::admin) directory: TempDir,
    pub(in crate::admin) admin: AdminListener,
}

/// A response.
#[derive(Debug)]
pub(in crate::admin) struct Answer {
    pub(in crate::admin) code: u16,
    pub(in crate::admin) head: String,
    pub(in crate::admin) body: String,
}

impl Answer {
    fn read(mut stream: impl std::io::Read) -> Self {
        let mut bytes = Vec::new();
        // The broker may close before it has read a body that it refuses.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { code, head: head.to_owned(), body: body.to_owned() }
    }

    /// The body as JSON; `null` if it is empty.
    pub(in crate::admin) fn json(&self) -> Value {
        match self.body.as_str() {
            "" => Value::Null,
            body => serde_json::from_str(body).unwrap_or_else(|_| panic!("{body}")),
        }
    }
}

impl Api {
    pub(in crate::admin) fn start() -> Self {
        Self::with(|_| (), |_| ())
    }

    /// With other settings, and parts of a broker.
    pub(in crate::admin) fn with(
        settings: impl FnOnce(&mut config::Admin),
        parts: impl FnOnce(&mut BrokerHandles),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mut admin, mut handles) = (at_any_port(), handles());
        handles.data = directory.path().to_owned();
        settings(&mut admin);
        parts(&mut handles);
        Self { admin: AdminListener::start(&admin, handles).unwrap(), directory }
    }

    pub(in crate::admin) fn data(&self) -> &Path {
        self.directory.path()
    }

    /// Over the Unix socket, as admin.
    pub(in crate::admin) fn local(&self, method_and_path: &str, body: &str) -> Answer {
        let mut stream = UnixStream::connect(self.data().join(SOCKET)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(request(method_and_path, "", body).as_bytes());
        Answer::read(stream)
    }

    /// Over TCP. Headers end with a line break each.
    pub(in crate::admin) fn remote(&self, method_and_path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.admin.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(request(method_and_path, headers, body).as_bytes());
        Answer::read(stream)
    }

    /// The lines of the audit log.
    pub(in crate::admin) fn audited(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.data().join("audit.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Method, path with examples for its parameters, and role of each operation of the document.
    fn operations(&self) -> Vec<(String, String, String)> {
        let document = self.local("GET /api/v1/openapi.json", "").json();
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let role = operation["description"].as_str().unwrap().rsplit("Needs the role ").next().unwrap();
                operations.push((
                    method.to_uppercase(),
                    format!("/api/v1{path}"),
                    role.trim_end_matches('.').to_owned(),
                ));
            }
        }
        assert!(operations.len() > 5, "{document}");
        operations
    }
}

fn request(method_and_path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("{method_and_path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

#[test]
fn each_operation_of_the_document_has_its_route_and_nothing_answers_without_a_token_over_tcp() {
    let api = Api::start();
    let mut changes = 0;
    for (method, path, _) in api.operations() {
        let answer = api.remote(&format!("{method} {path}"), "", "");
        assert_eq!(answer.code, 401, "{method} {path}: {answer:?}");
        assert!(answer.head.contains("www-authenticate: Bearer"), "{answer:?}");
        // The requests have no body, so the route may refuse them; that shows that it exists.
        let answer = api.local(&format!("{method} {path}"), "");
        assert!(![401, 403, 405].contains(&answer.code), "{method} {path}: {answer:?}");
        assert!(
            answer.json()["error"] != "there is no such path; GET /api/v1/openapi.json lists all",
            "{method} {path}"
        );
        changes += usize::from(method != "GET");
    }
    assert!(changes > 2);
}

#[test]
fn each_change_leaves_one_line_in_the_audit_log_whatever_its_result() {
    let api = Api::start();
    for (method, path, role) in api.operations() {
        let before = api.audited().len();
        api.local(&format!("{method} {path}"), "");
        let expected = usize::from(method != "GET" && role != "viewer");
        assert_eq!(api.audited().len() - before, expected, "{method} {path}");
    }
    let answer = api.local("POST /api/v1/bans", r#"{"address":"192.0.2.7","seconds":60}"#);
    assert_eq!(answer.code, 204, "{answer:?}");
    let lines = api.audited();
    let line = lines.last().unwrap();
    assert_eq!((&line["who"], &line["role"]), (&"local".into(), &"admin".into()));
    assert_eq!((&line["what"], &line["target"]), (&"ban".into(), &"address 192.0.2.7 for 60 s".into()));
    assert_eq!(line["result"], "done");
    assert_eq!(api.local("DELETE /api/v1/bans/address/192.0.2.8", "").code, 404);
    assert_eq!(api.audited().last().unwrap()["result"], "not banned");
    assert_eq!(api.remote("DELETE /api/v1/bans/address/192.0.2.8", "", "").code, 401);
    assert!(api.audited().last().unwrap()["who"].is_null());
    let mode = fs::metadata(api.data().join("audit.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn each_route_asks_for_its_role() {
    let api = Api::start();
    let file = TokenFile::new(api.data());
    let tokens = Role::ALL.map(|role| (role, file.create(role.name(), role).unwrap()));
    let mut refused = 0;
    for (method, path, needed) in api.operations() {
        let needed: Role = needed.parse().unwrap();
        for (role, token) in &tokens {
            // A body of another form, so that nothing changes.
            let headers = format!("Authorization: Bearer {token}\r\n");
            let answer = api.remote(&format!("{method} {path}"), &headers, "[]");
            if *role < needed {
                assert_eq!(answer.code, 403, "{role} {method} {path}: {answer:?}");
                let lines = api.audited();
                let expected = if method == "GET" { "" } else { role.name() };
                let who = lines.last().map_or("", |line| line["who"].as_str().unwrap());
                assert!(expected.is_empty() || who == expected, "{method} {path}: {lines:?}");
                refused += 1;
            } else {
                assert!(![401, 403].contains(&answer.code), "{role} {method} {path}: {answer:?}");
            }
        }
        assert!(needed > Role::Viewer || method == "GET" || path.ends_with("/acl/explain"), "{method} {path}");
    }
    assert!(refused > 5);
}

#[test]
fn tokens_are_created_listed_and_revoked_by_those_who_may() {
    let api = Api::start();
    let answer = api.local("POST /api/v1/tokens", r#"{"name":"ci","role":"operator"}"#);
    assert_eq!((answer.code, &answer.json()["role"]), (201, &"operator".into()), "{answer:?}");
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let ask = |token: &str| api.remote("GET /api/v1/bans", &format!("aUthorization: bEarer {token}\r\n"), "").code;
    assert_eq!(ask(&token), 200);
    for wrong in ["", "x", &token[..token.len() - 1], &format!("{token}x"), &format!("{token} {token}"), "\u{7f}"] {
        assert_ne!(ask(wrong), 200, "{wrong}");
    }
    let two = format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n");
    assert_eq!(api.remote("GET /api/v1/bans", &two, "").code, 400);
    assert_eq!(api.local("POST /api/v1/tokens", r#"{"name":"ci","role":"viewer"}"#).code, 409);
    assert_eq!(api.local("POST /api/v1/tokens", r#"{"name":"a b","role":"viewer"}"#).code, 400);
    assert_eq!(api.local("POST /api/v1/tokens", r#"{"name":"x","role":"root"}"#).code, 400);
    let list = api.local("GET /api/v1/tokens", "");
    assert_eq!(list.json()["tokens"][0]["name"], "ci");
    assert!(!list.body.contains(&token[7..]) && !list.body.contains("sha256"), "{list:?}");
    assert_eq!(api.local("DELETE /api/v1/tokens/ci", "").code, 204);
    assert_eq!(ask(&token), 401);
    assert_eq!(api.local("DELETE /api/v1/tokens/ci", "").code, 404);
    let audit = fs::read_to_string(api.data().join("audit.log")).unwrap();
    assert!(audit.contains("\"create token for operator\"") && audit.contains("\"revoke token\""), "{audit}");
    assert!(!audit.contains(&token[7..]), "{audit}");
}

#[test]
fn plain_http_from_another_machine_gets_words_that_say_what_to_set() {
    let api = Api::start();
    let token = TokenFile::new(api.data()).create("ci", Role::Viewer).unwrap();
    let status = handles().status;
    let access = |allow_plain| Access {
        tokens: Arc::new(Tokens::new(api.data())),
        certificate_roles: Vec::new().into(),
        allow_plain,
        audit: Arc::new(Audit::new(api.data(), Arc::clone(&status))),
        status: Arc::clone(&status),
    };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
    let uri: Uri = "/bans".parse().unwrap();
    let peer = Peer::plain("192.0.2.7:1".parse().unwrap());
    let refused = access(false).caller(&peer, &uri, &headers).unwrap_err();
    assert!(refused.to_string().contains("admin.certificate") && refused.to_string().contains("admin.allow_plain"));
    assert_eq!(refused.into_response().status(), 403);
    assert_eq!(&*access(true).caller(&peer, &uri, &headers).unwrap().name, "ci");
    assert!(access(true).caller(&peer, &uri, &HeaderMap::new()).is_err());
    let here = Peer::plain("[::ffff:127.0.0.1]:1".parse().unwrap());
    assert_eq!(access(false).caller(&here, &uri, &headers).unwrap().role, Role::Viewer);
    let encrypted = Peer::Remote { address: "192.0.2.7:1".parse().unwrap(), is_encrypted: true, certificate: None };
    assert_eq!(access(false).caller(&encrypted, &uri, &headers).unwrap().address, Some([192, 0, 2, 7].into()));
}

#[test]
fn overview_store_and_backup_have_their_fields() {
    let api = Api::with(|_| (), |parts| parts.status.publish_certificates(Vec::new()));
    let overview = api.local("GET /api/v1/overview", "").json();
    assert_eq!((&overview["version"], &overview["ready"]), (&env!("CARGO_PKG_VERSION").into(), &false.into()));
    for field in ["connections", "sessions", "subscriptions", "retained_messages", "queued_messages", "uptime_seconds"]
    {
        assert!(overview[field].is_u64(), "{field}: {overview}");
    }
    assert!(overview["started_at"].as_str().unwrap().ends_with('Z'), "{overview}");
    assert_eq!(overview["warnings"], serde_json::json!([]));
    assert!(overview["rates"]["messages_sent_per_second"].is_null() && overview["memory"]["max_bytes"].is_u64());
    let store = api.local("GET /api/v1/store", "").json();
    assert_eq!((&store["durability"], &store["log"]), (&"power-loss".into(), &Value::Null));
    assert_eq!(api.local("GET /api/v1/backup", "").json()["state"], "none");
    let answer = api.local("POST /api/v1/backup", "");
    assert_eq!((answer.code, &answer.json()["error"]), (409, &"there is no store: server.durability is none".into()));
}

#[test]
fn what_needs_attention_is_in_the_overview() {
    let api = Api::with(
        |_| (),
        |parts| {
            let silent = ShardSnapshot { published: Timestamp(1), ..ShardSnapshot::default() };
            parts.status.publish_shard(1, silent);
            let expires = i64::try_from(parts.status.wall_now().0 / 1_000).unwrap() + 3 * 86_400 + 60;
            parts.status.publish_certificates(vec![CertificateExpiry { listener: "tls".into(), expires }]);
            parts.status.set_stopping();
        },
    );
    fs::create_dir(api.data().join("audit.log")).unwrap();
    assert_eq!(api.local("POST /api/v1/bans", r#"{"user":"a","seconds":60}"#).code, 204, "it is done all the same");
    let warnings = api.local("GET /api/v1/overview", "").json()["warnings"].to_string();
    for text in ["is stopping", "a shard has been silent", "listener tls expires in 3 days", "lacks 1 lines"] {
        assert!(warnings.contains(text), "{text}: {warnings}");
    }
}

#[test]
fn bridges_and_sinks_that_fail_for_long_are_in_the_overview_and_the_list_is_bounded() {
    let failing = |count: usize| {
        Api::with(
            |_| (),
            move |parts| {
                parts.status.publish_certificates(Vec::new());
                let now = parts.status.now();
                let long_ago = Timestamp(now.0 - 90_000);
                for number in 0..count {
                    let mut bridge = BridgeFigures::new(&format!("b{number}"), long_ago);
                    bridge.failed("no route", now);
                    parts.status.publish_bridge(bridge);
                }
                parts.status.publish_bridge(BridgeFigures::new("young", now));
                let sink = |name: &str, failing_since, refused: Option<&str>| {
                    let (name, refused, reason) = (name.into(), refused.map(Into::into), Some("it is 503".into()));
                    Arc::new(Mutex::new(SinkFigures { name, failing_since, refused, reason, ..SinkFigures::default() }))
                };
                parts.status.publish_sinks(vec![
                    sink("alarms", Some(long_ago), Some("the subscription to a was refused")),
                    sink("young", Some(now), None),
                ]);
            },
        )
    };
    let warnings = |api: &Api| api.local("GET /api/v1/overview", "").json()["warnings"].clone();
    let few = warnings(&failing(1));
    let few: Vec<&str> = few.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    assert!(few[0].starts_with("bridge b0 has not been connected for 9") && few[0].ends_with(": no route"), "{few:?}");
    assert!(
        few[1].starts_with("sink alarms has delivered nothing for 9") && few[1].ends_with(": it is 503"),
        "{few:?}"
    );
    assert_eq!(few[2..], ["sink alarms does not get all messages: the subscription to a was refused"]);
    let many = warnings(&failing(100));
    assert_eq!(many.as_array().unwrap().len(), 11);
    assert_eq!(many[10], "92 more warnings about bridges and sinks: see GET /bridges and /sinks");
}

#[test]
fn the_document_describes_every_type_that_it_names() {
    let document = Api::start().local("GET /api/v1/openapi.json", "").json();
    assert_eq!(document["openapi"], "3.1.0");
    let text = document.to_string();
    let named: BTreeSet<&str> =
        text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let names: Vec<&str> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert!(names.contains(&"get_clients_client_id"), "{names:?}");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let known: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
    assert_eq!(named.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
    assert!(known.contains("Error") && known.contains("Client"), "{known:?}");
    let tags: BTreeSet<&str> = schemas.keys().map(String::as_str).filter(|name| name.ends_with("Json")).collect();
    assert!(tags.is_empty(), "a name of the code is no name for others: {tags:?}");
}

#[test]
fn parameters_that_a_route_does_not_have_are_refused() {
    let api = Api::start();
    for (path, error) in [
        (
            "/api/v1/clients?limits=1",
            "unknown parameter \"limits\", known are limit, cursor, connected, client_id, user, address",
        ),
        ("/api/v1/bans?limit=1", "unknown parameter \"limit\": this route has none"),
        ("/api/v1/clients?limit=0", "limit must be from 1 to 1000"),
        ("/api/v1/clients?cursor=x", "the cursor is invalid"),
    ] {
        let answer = api.local(&format!("GET {path}"), "");
        assert_eq!((answer.code, &answer.json()["error"]), (400, &error.into()), "{path}");
    }
    for parameter in ["token", "access_token", "%74oken"] {
        let path = format!("/api/v1/clients?{parameter}=secret");
        for answer in [api.local(&format!("GET {path}"), ""), api.remote(&format!("GET {path}"), "", "")] {
            assert_eq!(answer.code, 400, "{answer:?}");
            assert!(answer.body.contains("Authorization") && !answer.body.contains("secret"), "{answer:?}");
        }
    }
}

#[test]
fn answers_are_json_that_ends_with_a_line_feed_and_is_not_kept() {
    let api = Api::start();
    for (path, code) in [
        ("GET /api/v1/bans", 200),
        ("GET /api/v1/x", 404),
        ("GET /api/v1", 404),
        ("PATCH /api/v1/bans", 405),
        ("GET /api/v1/clients/%FF", 400),
    ] {
        let answer = api.local(path, "");
        assert_eq!(answer.code, code, "{path}");
        assert!(answer.body.ends_with("}\n"), "{path}: {answer:?}");
        for header in ["content-type: application/json", "connection: close", "cache-control: no-store"] {
            assert!(answer.head.contains(header), "{path}: {answer:?}");
        }
    }
}

#[test]
fn a_shard_that_does_not_answer_is_named_and_an_unknown_client_is_not_found() {
    let api = Api::start();
    let answer = api.local("GET /api/v1/clients", "");
    assert_eq!((answer.code, answer.body.as_str()), (503, "{\"error\":\"shard 0 does not answer\"}\n"));
    let answer = api.local("GET /api/v1/clients/nobody", "");
    assert_eq!(answer.code, 404);
    assert_eq!(answer.body, "{\"error\":\"no session has this client identifier\"}\n");
}

#[test]
fn a_website_gets_nothing_and_a_body_is_bounded() {
    let api = Api::start();
    for (headers, code) in [("Origin: http://localhost:3000\r\n", 403), ("Host: evil.example\r\n", 421)] {
        let answer = api.remote("GET /api/v1/clients", headers, "");
        assert_eq!(answer.code, code, "{answer:?}");
        assert!(answer.json()["error"].is_string(), "{answer:?}");
    }
    let answer = api.local("POST /api/v1/bans", &" ".repeat(600 * 1_024));
    assert_eq!(answer.code, 413, "{answer:?}");
    assert_eq!(answer.json()["error"], "the body is too large");
    assert_eq!(api.audited().len(), 1);
}

#[test]
fn the_socket_is_for_its_owner_and_goes_with_the_broker() {
    let api = Api::start();
    let path = api.data().join(SOCKET);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let Api { directory, admin } = api;
    // A live socket is not replaced: the second broker runs without one.
    let mut parts = handles();
    parts.data = directory.path().to_owned();
    let second = AdminListener::start(&at_any_port(), parts).unwrap();
    drop(second);
    UnixStream::connect(&path).unwrap();
    drop(admin);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_a_crash_left_is_replaced_and_a_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET);
    let start = || {
        let mut parts = handles();
        parts.data = directory.path().to_owned();
        AdminListener::start(&at_any_port(), parts).unwrap()
    };
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let admin = start();
    UnixStream::connect(&path).unwrap();
    drop(admin);
    fs::write(&path, "a file").unwrap();
    drop(start());
    assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
}
