//! Providers of the type `http`: a real service that is right, slow, wrong and gone.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::{Broker, Listener, Setup, Transport};
use crate::deadline::{PATIENCE, SILENCE, now, wait_for};
use crate::http_service::{Asked, HttpService, Response, deaf, is_up};
use crate::listeners::with_admin;
use crate::peer;
use crate::raw::{CONNACK, Connect, PUBACK, Publish, Received, Version, Wire};

/// Allows `alice` with `sesam`, ignores `bob`, and refuses everyone else.
fn judge(asked: &Asked) -> Response {
    match (asked.field("user_name"), asked.field("password")) {
        ("alice", "sesam") => Response::allow(),
        ("bob", _) => Response::ignore(),
        _ => Response::deny(),
    }
}

/// A provider in TOML.
fn provider(url: &str, settings: &str) -> String {
    format!("{{ type = \"http\", url = \"{url}\"{settings} }}")
}

fn setup(auth: &str) -> Setup {
    Setup { allow_anonymous: false, ..Setup::default() }.set("auth", &format!("[{auth}]"))
}

fn broker(service: &HttpService, settings: &str) -> Broker {
    setup(&provider(&service.url("/auth"), settings)).start()
}

fn alice(client_id: &str) -> Connect {
    Connect::new(Version::V5, client_id).user("alice", "sesam")
}

fn code(address: SocketAddr, connect: &Connect) -> u8 {
    Wire::connect(address, connect).1.reason_code()
}

fn reload(broker: &Broker) {
    let before = broker.log().len();
    broker.signal("HUP");
    wait_for("the reload", || broker.log()[before..].contains("reloaded").then_some(()));
}

/// Sends CONNECT and does not wait for the answer.
fn asking(address: SocketAddr, connect: &Connect) -> Wire {
    let mut wire = Wire::open(address);
    wire.send(&connect.bytes());
    wire
}

#[test]
fn the_service_decides_and_is_told_what_the_client_has_sent() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(judge);
    let directory = tempfile::tempdir().unwrap();
    let headers = directory.path().join("headers");
    fs::write(&headers, "X-Api-Key: very-secret\n").unwrap();
    let broker = broker(&service, &format!(", headers_file = {:?}", headers.display().to_string()));
    let address = broker.address();
    assert_eq!(code(address, &alice("c1")), 0);
    for (version, refused) in [(Version::V5, 0x86), (Version::V311, 4)] {
        assert_eq!(code(address, &Connect::new(version, "c2").user("alice", "wrong")), refused);
        assert_eq!(code(address, &Connect::new(version, "c2").user("bob", "wrong")), refused, "nobody judges it");
    }
    let asked = service.asked();
    let expected = json!({
        "client_id": "c1", "user_name": "alice", "password": "sesam", "address": "127.0.0.1",
        "listener": asked[0].body["listener"], "certificate_identity": null,
    });
    assert_eq!(asked[0].body, expected);
    assert!(asked[0].head.starts_with("POST /auth HTTP/1.1\r\n"), "{}", asked[0].head);
    assert!(asked[0].head.to_lowercase().contains("\r\nx-api-key: very-secret\r\n"), "{}", asked[0].head);
    // A client without credentials is not asked for.
    assert_eq!(code(address, &Connect::new(Version::V5, "c3")), 0x87);
    assert_eq!(service.asked().len(), asked.len());
    let log = broker.log();
    assert!(!log.contains("very-secret") && !log.contains("sesam"), "{log}");
    wait_for("the cause", || broker.log().contains("http: the service refuses the client").then_some(()));
}

#[test]
fn client_text_is_in_the_json_body_and_nowhere_else() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(|_| Response::deny());
    let broker = broker(&service, "");
    let evil = "a\r\nX-Evil: 1\r\n\r\nPOST /admin HTTP/1.1\r\n\"}, ?#%0d%0a";
    code(broker.address(), &Connect::new(Version::V311, "id\"}\\u0000/../?q").user(evil, "p\r\n\"\\"));
    let asked = service.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((asked[0].field("user_name"), asked[0].field("password")), (evil, "p\r\n\"\\"));
    assert_eq!(asked[0].path(), "/auth");
    assert!(!asked[0].head.to_lowercase().contains("evil"), "{}", asked[0].head);
}

#[test]
fn an_answer_gives_user_topics_and_time() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(|asked| {
        let acl = json!({"publish": ["up/%u/%c"], "subscribe": ["down/#"]});
        Response::ok(
            &match asked.field("user_name") {
                "short" => json!({"result": "allow", "expires_in": 2}),
                "super" => json!({"result": "allow", "is_superuser": true}),
                _ => json!({"result": "allow", "user": "device-7", "acl": acl}),
            }
            .to_string(),
        )
    });
    let setup = setup(&provider(&service.url("/"), "")).access("user other\ntopic readwrite x\n");
    let broker = setup.start();
    let address = broker.address();
    let mut device = Wire::connected(address, &alice("c1"));
    assert_eq!(device.subscribe(Version::V5, "x", 0), 0x87);
    assert_eq!(device.subscribe(Version::V5, "down/a", 0), 0);
    for (topic, expected) in [("up/device-7/c1", 0x10), ("up/alice/c1", 0x87)] {
        assert_eq!(device.publish(Version::V5, topic, ""), expected, "{topic}");
    }
    let mut all = Wire::connected(address, &Connect::new(Version::V5, "c2").user("super", "x"));
    assert_eq!(all.publish(Version::V5, "down/a", "all"), 0);
    assert_eq!(device.expect_publish(Version::V5).topic, "down/a");
    let connect = Connect { keep_alive: 60, ..Connect::new(Version::V5, "c3").user("short", "x") };
    let mut short = Wire::connected(address, &connect);
    short.expect_disconnect(Version::V5, 0x87);
    // A reload with the same settings takes nothing away.
    reload(&broker);
    assert_eq!(device.publish(Version::V5, "up/alice/c1", ""), 0x87);
    assert_eq!(all.publish(Version::V5, "down/a", "again"), 0);
    assert_eq!(device.expect_publish(Version::V5).topic, "down/a");
}

#[test]
fn topics_are_asked_for_at_authorize_url() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(|asked| match asked.path() {
        "/auth" => Response::ok(r#"{"result":"allow","user":"device-7"}"#),
        _ if asked.field("client_id") == "banned" => Response::deny(),
        _ if asked.field("client_id") == "empty" => Response::Json(204, String::new()),
        _ => Response::ok(r#"{"acl":{"publish":["up/%u"]}}"#),
    });
    let broker = broker(&service, &format!(", authorize_url = \"{}\"", service.url("/acl")));
    let mut wire = Wire::connected(broker.address(), &alice("c1"));
    assert_eq!(wire.publish(Version::V5, "up/device-7", ""), 0x10);
    assert_eq!(wire.publish(Version::V5, "up/alice", ""), 0x87);
    let asked = &service.asked()[1];
    assert_eq!((asked.path(), asked.field("user"), &asked.body["password"]), ("/acl", "device-7", &Value::Null));
    assert_eq!(code(broker.address(), &alice("banned")), 0x86);
    assert_eq!(code(broker.address(), &alice("empty")), 0x88);
}

#[test]
fn what_is_no_valid_answer_refuses_with_server_unavailable_and_nobody_else_is_asked() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(judge);
    let http = provider(&service.url("/"), ", timeout = \"1s\"");
    // The file would accept alice, and anonymous clients are welcome.
    let setup =
        Setup::default().users(&[("alice", "sesam")]).set("auth", &format!("[{http}, {{ type = \"password-file\" }}]"));
    let (setup, admin) = with_admin(Setup { allow_anonymous: true, ..setup });
    let broker = setup.start();
    let elsewhere = HttpService::start(|_| Response::allow());
    let location = elsewhere.url("/");
    let answers: Vec<(Response, &str)> = vec![
        (Response::Json(500, "{}".to_owned()), "500"),
        (Response::Json(403, r#"{"result":"allow"}"#.to_owned()), "403"),
        (Response::Json(201, r#"{"result":"allow"}"#.to_owned()), "201"),
        (Response::Redirect(location), "no redirect is followed"),
        (Response::ok("allow"), "is not JSON"),
        (Response::ok(r#"{"result":"maybe"}"#), "has not the documented form"),
        (Response::ok(r#"{"result":"allow","acl":{"deny":[]}}"#), "has not the documented form"),
        (Response::ok(&format!("{{\"result\":\"allow\"{}}}", " ".repeat(70_000))), "more than 65536 bytes"),
        (Response::Endless, "more than 65536 bytes"),
        (Response::Bytes(b"nonsense\r\n\r\n".to_vec()), "can't be reached"),
        (Response::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"result\":".to_vec()), "cut short"),
        (Response::Bytes(Vec::new()), "can't be reached"),
        (Response::Bytes([b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 200_000]].concat()), "can't be reached"),
        (Response::Trickle, "did not answer in time"),
        (Response::Silence, "did not answer in time"),
    ];
    for (answer, cause) in answers {
        let before = broker.log().len();
        let shown = format!("{answer:?}").chars().take(80).collect::<String>();
        service.answer(move |_| answer.clone());
        for (version, refused) in [(Version::V5, 0x88), (Version::V311, 3)] {
            let connect = Connect::new(version, "c").user("alice", "sesam");
            assert_eq!(code(broker.address(), &connect), refused, "{shown}");
        }
        wait_for(cause, || broker.log()[before..].contains(cause).then_some(()));
    }
    assert_eq!(elsewhere.asked().len(), 0);
    admin.wait_for("oncemq_auth_requests_total{provider=\"http\",result=\"late\"}", 4);
    service.answer(judge);
    assert_eq!(code(broker.address(), &alice("c")), 0);
    let failed = broker.log().matches("the service of the provider http does not answer").count();
    assert!((1..=3).contains(&failed), "the rate of the line is bounded: {failed}");
}

#[test]
fn a_service_that_is_gone_refuses_and_is_asked_again_when_it_is_back() {
    if peer::is_chosen() {
        return;
    }
    let (address, listener) = deaf();
    drop(listener);
    assert!(!is_up(address));
    let broker = setup(&provider(&format!("http://{address}/"), "")).start();
    assert_eq!(code(broker.address(), &alice("c")), 0x88);
    wait_for("the log", || broker.log().contains("the service of the provider http does not answer").then_some(()));
    wait_for("the cause", || broker.log().contains("Connection refused").then_some(()));
}

#[test]
fn https_is_verified_with_the_authorities_of_a_file() {
    if peer::is_chosen() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    crate::certificates::write(directory.path());
    let file = |name: &str| directory.path().join(name);
    let service = HttpService::start_with(Some(crate::certificates::server_config(directory.path())), judge);
    let url = format!("https://localhost:{}/", service.address().port());
    let with = |ca: &str| {
        let broker = setup(&provider(&url, &format!(", ca = {:?}", file(ca).display().to_string()))).start();
        (code(broker.address(), &alice("c")), broker)
    };
    assert_eq!(with("ca.pem").0, 0);
    let (refused, broker) = with("stranger-ca.pem");
    assert_eq!(refused, 0x88);
    wait_for("the cause", || broker.log().contains("invalid peer certificate").then_some(()));
}

#[test]
fn a_chain_goes_on_after_a_service_and_after_a_file() {
    if peer::is_chosen() {
        return;
    }
    let first = HttpService::start(judge);
    let second = HttpService::start(|asked| match asked.field("user_name") {
        "dora" => Response::allow(),
        _ => Response::ignore(),
    });
    let named = |service: &HttpService, name: &str| provider(&service.url("/"), &format!(", name = \"{name}\""));
    let auth = format!("{}, {{ type = \"password-file\" }}, {}", named(&first, "first"), named(&second, "second"));
    first.answer(|asked| if asked.field("user_name") == "alice" { judge(asked) } else { Response::ignore() });
    let setup = Setup::default().users(&[("carol", "pwd")]).set("auth", &format!("[{auth}]"));
    let broker = setup.start();
    let connect =
        |user: &str, password: &str| code(broker.address(), &Connect::new(Version::V5, "c").user(user, password));
    let of = |service: &HttpService| service.asked().len();
    assert_eq!((connect("alice", "sesam"), of(&first), of(&second)), (0, 1, 0));
    assert_eq!((connect("alice", "wrong"), of(&first), of(&second)), (0x86, 2, 0));
    assert_eq!((connect("carol", "pwd"), of(&first), of(&second)), (0, 3, 0));
    assert_eq!((connect("carol", "wrong"), of(&first), of(&second)), (0x86, 4, 0));
    assert_eq!((connect("dora", "x"), of(&first), of(&second)), (0, 5, 1));
    assert_eq!((connect("eve", "x"), of(&first), of(&second)), (0x86, 6, 2), "nobody judges it");
}

#[test]
fn the_cache_spares_requests_and_a_reload_empties_it() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(judge);
    let (setup, admin) = with_admin(setup(&provider(&service.url("/"), ", cache = \"1h\"")));
    let broker = setup.start();
    let connect = |password: &str| code(broker.address(), &Connect::new(Version::V5, "c").user("alice", password));
    assert_eq!([connect("sesam"), connect("sesam"), connect("sesam")], [0, 0, 0]);
    assert_eq!(service.asked().len(), 1);
    assert_eq!([connect("wrong"), connect("wrong")], [0x86, 0x86]);
    assert_eq!(service.asked().len(), 3, "a refusal is not remembered");
    admin.wait_for("oncemq_auth_requests_total{provider=\"http\",result=\"cached\"}", 2);
    reload(&broker);
    service.answer(|_| Response::deny());
    assert_eq!(connect("sesam"), 0x86);
}

#[test]
fn the_requests_under_way_are_bounded_and_others_get_in_while_the_service_hangs() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(|_| Response::Silence);
    let http = provider(&service.url("/"), ", requests_max = 4, timeout = \"1m\"");
    let auth = format!("[{{ type = \"password-file\" }}, {http}]");
    let listener = |extra| Listener { extra, ..Listener::new(Transport::Tcp) };
    let mut setup = Setup::default().users(&[("carol", "pwd")]).set("auth", &auth);
    setup.listeners = vec![listener("auth = [\"http\"]"), listener("auth = [\"password\"]")];
    let (setup, admin) = with_admin(setup);
    let broker = setup.start();
    let mut waiting: Vec<Wire> =
        (0..40).map(|number| asking(broker.address(), &alice(&format!("c{number}")))).collect();
    admin.wait_for("oncemq_auth_requests_under_way{provider=\"http\"}", 4);
    admin.wait_for("oncemq_auth_requests_waiting{provider=\"http\"}", 36);
    let start = now();
    assert_eq!(code(broker.address_of(1), &Connect::new(Version::V5, "carol").user("carol", "pwd")), 0);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(service.open(), (4, 4));
    // Clients that go away end their requests, and take their place in the queue with them.
    waiting.truncate(2);
    admin.wait_for("oncemq_auth_requests_total{provider=\"http\",result=\"abandoned\"}", 38);
    wait_for("the end of their requests", || (service.open().0 <= 2).then_some(()));
    assert!(waiting.iter_mut().all(|wire| matches!(wire.receive(SILENCE), Received::Nothing)));
}

#[test]
fn who_has_waited_too_long_is_told_that_the_server_is_busy() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(|_| Response::Silence);
    let (setup, admin) = with_admin(setup(&provider(&service.url("/"), ", requests_max = 1, timeout = \"1s\"")));
    let broker = setup.start();
    let mut first = asking(broker.address(), &alice("c1"));
    admin.wait_for("oncemq_auth_requests_under_way{provider=\"http\"}", 1);
    let start = now();
    let mut others: Vec<Wire> = (0..20).map(|number| asking(broker.address(), &alice(&format!("w{number}")))).collect();
    assert_eq!(first.expect(CONNACK).reason_code(), 0x88);
    let codes: Vec<u8> = others.iter_mut().map(|wire| wire.expect(CONNACK).reason_code()).collect();
    assert!(codes.iter().filter(|code| **code == 0x89).count() >= 19, "{codes:x?}");
    assert!(start.elapsed() < PATIENCE / 2, "they do not wait for each other: {:?}", start.elapsed());
}

#[test]
fn an_answer_after_a_reload_is_judged_by_the_new_settings() {
    if peer::is_chosen() {
        return;
    }
    let old = HttpService::start(|_| Response::Late(Duration::from_secs(2), Box::new(Response::allow())));
    let new = HttpService::start(|_| Response::deny());
    let broker = setup(&provider(&old.url("/"), "")).start();
    let mut wire = asking(broker.address(), &alice("c"));
    wait_for("the request", || (!old.asked().is_empty()).then_some(()));
    let file = broker.path().join("oncemq.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&old.url("/"), &new.url("/"))).unwrap();
    reload(&broker);
    assert_eq!(wire.expect(CONNACK).reason_code(), 0x86);
    assert_eq!(new.asked().len(), 1);
}

#[test]
fn an_answer_does_not_reach_another_client_of_the_session() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(|asked| match asked.field("password") {
        "slow" => {
            Response::Late(Duration::from_secs(1), Box::new(Response::ok(r#"{"result":"allow","user":"mallory"}"#)))
        }
        _ => Response::ok(r#"{"result":"allow","acl":{"publish":["a"]}}"#),
    });
    let broker = broker(&service, "");
    let slow = asking(broker.address(), &Connect::new(Version::V5, "c").user("alice", "slow"));
    wait_for("the request", || (!service.asked().is_empty()).then_some(()));
    let mut quick = Wire::connected(broker.address(), &alice("c"));
    slow.cut();
    drop(slow);
    // The late answer would allow every topic.
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(quick.publish(Version::V5, "b", ""), 0x87);
    quick.ping();
}

#[test]
fn a_change_of_the_service_closes_its_clients_and_a_change_of_the_timeout_does_not() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(judge);
    let broker = broker(&service, ", timeout = \"3s\"");
    let file = broker.path().join("oncemq.toml");
    let mut wire = Wire::connected(broker.address(), &alice("c"));
    let change = |from: &str, to: &str| {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from));
        fs::write(&file, text.replace(from, to)).unwrap();
        reload(&broker);
    };
    change("timeout = \"3s\"", "timeout = \"2s\"");
    wire.ping();
    change("/auth\"", "/other\"");
    wire.expect_disconnect(Version::V5, 0x87);
    let cause = "the settings of the service that accepted it have changed";
    wait_for("the cause", || broker.log().contains(cause).then_some(()));
}

#[test]
fn the_broker_ends_while_requests_hang() {
    if peer::is_chosen() {
        return;
    }
    let service = HttpService::start(|_| Response::Silence);
    let mut broker = broker(&service, ", timeout = \"1m\"");
    let _waiting: Vec<Wire> = (0..100).map(|number| asking(broker.address(), &alice(&format!("c{number}")))).collect();
    wait_for("the requests", || (service.asked().len() >= 64).then_some(()));
    let start = now();
    broker.signal("TERM");
    assert!(broker.end().success());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn a_session_that_the_service_owns_keeps_what_it_may_receive() {
    if peer::is_chosen() {
        return;
    }
    let service =
        HttpService::start(|_| Response::ok(r##"{"result":"allow","acl":{"subscribe":["open/#"],"publish":["#"]}}"##));
    let mut broker = broker(&service, "");
    let reader = Connect::durable(Version::V5, "reader").user("alice", "sesam");
    let mut wire = Wire::connected(broker.address(), &reader);
    assert_eq!(wire.subscribe(Version::V5, "#", 1), 1);
    wire.cut();
    broker.crash_and_restart();
    let mut publisher = Wire::connected(broker.address(), &alice("publisher"));
    for topic in ["secret/1", "open/1"] {
        let publish = Publish { qos: 1, packet_id: 1, ..Publish::new(topic, topic) };
        publisher.send(&publish.bytes(Version::V5));
        publisher.expect(PUBACK);
    }
    let (mut wire, connack) = Wire::connect(broker.address(), &reader);
    assert_eq!((connack.reason_code(), connack.body[0]), (0, 1));
    assert_eq!(wire.expect_publish(Version::V5).topic, "open/1");
}

#[test]
fn what_can_not_be_used_is_named_with_its_line() {
    if peer::is_chosen() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("oncemq.toml");
    for (settings, key) in [
        ("", "auth[0].url"),
        ("url = \"ftp://a/\"", "auth[0].url"),
        ("url = \"http://user:pw@a/\"", "auth[0].url"),
        ("url = \"http://a/\"\ntimeout = \"10ms\"", "auth[0].timeout"),
        ("url = \"http://a/\"\ncache = \"48h\"", "auth[0].cache"),
        ("url = \"http://a/\"\nauthorize_url = \"a\"", "auth[0].authorize_url"),
        ("url = \"http://a/\"\nca = \"/does/not/exist\"", "auth[0].ca"),
        ("url = \"http://a/\"\nsecret_file = \"/dev/null\"", "auth[0].secret_file"),
    ] {
        fs::write(&file, format!("[[auth]]\ntype = \"http\"\n{settings}\n")).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_oncemq"))
            .args(["config", "check", &file.display().to_string()])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains(key), "{settings}: {text}");
    }
}
