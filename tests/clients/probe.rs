//! The broker's own probe: over each transport, under access rules, with a disk that does not answer, through reloads and kills.

use std::fs;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::broker::{Broker, Listener, Setup, Transport};
use crate::deadline::{now, wait_for};
use crate::listeners::{Admin, with_admin};
use crate::peer;
use crate::process::Process;
use crate::raw::{Connect, PUBLISH, Version, Wire};

const V5: Version = Version::V5;

/// A probe with a round each second, on which readiness depends.
const SETTINGS: [(&str, &str); 5] = [
    ("probe.enabled", "true"),
    ("probe.interval", "\"1s\""),
    ("probe.timeout", "\"1s\""),
    ("probe.unready_after", "2"),
    ("probe.affects_readiness", "true"),
];

pub(crate) fn probed(setup: Setup) -> (Setup, Admin) {
    with_admin(SETTINGS.into_iter().fold(setup, |setup, (key, value)| setup.set(key, value)))
}

/// The number of messages with this result at each QoS.
fn results(admin: &Admin, result: &str) -> [u64; 3] {
    [0, 1, 2].map(|qos| admin.figure(&format!("oncemq_probe_messages_total{{qos=\"{qos}\",result=\"{result}\"}}")))
}

#[track_caller]
fn wait_for_rounds(admin: &Admin, rounds: u64) {
    wait_for("good rounds", || results(admin, "ok").iter().all(|count| *count >= rounds).then_some(()));
}

#[track_caller]
fn wait_until_well(admin: &Admin) {
    wait_for_rounds(admin, 2);
    assert_eq!(admin.figure("oncemq_probe_up"), 1);
    assert!(admin.get("/health/ready").contains("{\"status\":\"ready\"}"));
}

#[track_caller]
fn assert_nothing_failed(admin: &Admin) {
    for result in ["lost", "doubled", "failed"] {
        assert_eq!(results(admin, result), [0; 3], "{result}");
    }
}

/// Runs `oncemq health`. Returns whether the broker is ready, and what it says.
fn health(data: &str) -> (bool, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_oncemq")).args(["health", "--data", data]).output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

/// Puts settings at the front of the configuration and reloads it.
fn add_settings(broker: &Broker, settings: &str) {
    let path = broker.path().join("oncemq.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{settings}\n{text}")).unwrap();
    broker.signal("HUP");
}

#[test]
fn the_probe_is_well_over_every_transport() {
    if peer::is_chosen() {
        return;
    }
    let plain = |transport, extra| Listener { extra, ..Listener::new(transport) };
    let listeners = [
        plain(Transport::Tcp, ""),
        plain(Transport::Unix, ""),
        plain(Transport::Tls, ""),
        plain(Transport::Ws, "websocket_path = \"/own\""),
        plain(Transport::Wss, "proxy_protocol = \"v2\""),
        plain(Transport::Tcp, "proxy_protocol = \"v1\""),
        Listener { ipv6: true, ..plain(Transport::Tcp, "") },
    ];
    for listener in listeners {
        let what = format!("{listener:?}");
        let (setup, admin) = probed(Setup { listeners: vec![listener], ..Setup::default() });
        let broker = setup.start();
        wait_until_well(&admin);
        assert_nothing_failed(&admin);
        assert!(admin.figure("oncemq_probe_latency_seconds_count{qos=\"2\"}") >= 2, "{what}");
        assert!(health(&admin.data()).0, "{what}");
        assert!(broker.log().contains("the probe is well"), "{what}");
    }
}

#[test]
fn the_probe_presents_a_certificate_and_verifies_that_of_the_listener() {
    if peer::is_chosen() {
        return;
    }
    let certified = Listener { client_certificates: true, ..Listener::new(Transport::Tls) };
    let (setup, admin) = with_admin(Setup { listeners: vec![certified], ..Setup::default() });
    let broker = setup.start();
    let path = |name: &str| format!("{:?}", broker.file(name));
    let identity = format!("probe.certificate = {}\nprobe.key = {}", path("client.pem"), path("client.key"));
    let times = "probe.enabled = true\nprobe.interval = \"1s\"\nprobe.timeout = \"1s\"";
    add_settings(
        &broker,
        &format!("{times}\n{identity}\nprobe.ca = {}\nprobe.server_name = \"localhost\"", path("ca.pem")),
    );
    wait_until_well(&admin);
    assert_nothing_failed(&admin);

    let text = fs::read_to_string(broker.path().join("oncemq.toml")).unwrap();
    let text = text.replace(&path("ca.pem"), &path("stranger-ca.pem")).replacen(
        &format!("client_ca = {}", path("stranger-ca.pem")),
        &format!("client_ca = {}", path("ca.pem")),
        1,
    );
    fs::write(broker.path().join("oncemq.toml"), text).unwrap();
    broker.signal("HUP");
    wait_for("the failure", || broker.log().contains("a round of the probe failed").then_some(()));
    assert!(broker.log().contains("UnknownIssuer"), "{}", broker.log());
    wait_for("failed messages", || (results(&admin, "failed")[2] > 0).then_some(()));
}

#[test]
fn a_probe_that_the_access_rules_refuse_makes_the_broker_unready_until_they_allow_it() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = probed(Setup::default().access("topic readwrite other/#\n"));
    let broker = setup.start();
    wait_for("the failure", || (!health(&admin.data()).0).then_some(()));
    let (_, text) = health(&admin.data());
    assert!(text.contains("the probe fails: the subscription to oncemq/probe/"), "{text}");
    assert!(text.contains("Not authorized (0x87)"), "{text}");
    assert!(admin.get("/health/ready").starts_with("HTTP/1.1 503 "));
    assert!(admin.get("/health/live").starts_with("HTTP/1.1 200 "));
    assert_eq!(admin.figure("oncemq_probe_up"), 0);
    assert_eq!(results(&admin, "ok"), [0; 3]);
    assert!(results(&admin, "failed").iter().all(|count| *count >= 2));
    for event in ["a round of the probe failed at", "the probe fails at", "so the broker is not ready"] {
        assert_eq!(broker.log().matches(event).count(), 1, "{event}:\n{}", broker.log());
    }

    fs::write(broker.path().join("access"), "topic readwrite oncemq/probe/#\n").unwrap();
    broker.signal("HUP");
    wait_for("readiness", || health(&admin.data()).0.then_some(()));
    assert!(results(&admin, "ok").iter().all(|count| *count >= 2), "two good rounds in a row");
    assert_eq!(admin.figure("oncemq_probe_up"), 1);
}

#[test]
fn refused_logins_of_the_probe_count_against_nobody_and_a_ban_of_its_address_does_not_concern_it() {
    if peer::is_chosen() {
        return;
    }
    let setup = Setup::default().users(&[("probe", "right"), ("alice", "a")]).set("probe.user_name", "\"probe\"");
    let (setup, admin) = probed(setup.set("bans.refused_logins_max", "1"));
    let broker = setup.start();
    let password = broker.path().join("probe-password");
    fs::write(&password, "wrong\n").unwrap();
    add_settings(&broker, &format!("probe.password_file = {:?}", password.display().to_string()));
    wait_for("refused logins", || (admin.figure("oncemq_connects_refused_total") >= 3).then_some(()));
    assert_eq!(admin.figure("oncemq_bans"), 0, "{}", broker.log());
    let alice = Wire::connected(broker.address(), &Connect::new(V5, "alice").user("alice", "a"));
    assert_eq!(admin.figure("oncemq_logins_delayed_total"), 0);
    drop(alice);

    let banned =
        admin.request("POST", "/api/v1/bans", "{\"address\":\"127.0.0.1\",\"seconds\":600,\"reason\":\"test\"}");
    assert!(banned.starts_with("HTTP/1.1 20"), "{banned}");
    fs::write(&password, "right\n").unwrap();
    wait_for("readiness", || health(&admin.data()).0.then_some(()));
    wait_for_rounds(&admin, 2);
}

#[test]
fn a_disk_that_does_not_answer_makes_the_broker_unready_and_one_that_does_ready_again() {
    if peer::is_chosen() {
        return;
    }
    let settings = "[probe]\nenabled = true\ninterval = \"1s\"\ntimeout = \"500ms\"\nunready_after = 2\n\
                    affects_readiness = true\n";
    let process = Process::start("", settings);
    process.wait_for_line("the probe is well");
    assert!(health(&process.data()).0, "{}", process.log_text());
    let tracer = process.inject("delay_enter=3000000");
    process.wait_for_line("the probe fails at");
    let (is_ready, text) = health(&process.data());
    assert!(!is_ready && text.contains("the probe fails: "), "{text}");
    assert!(process.log_text().contains("the message of QoS 2 was not acknowledged in time"), "{}", process.log_text());
    drop(tracer);
    wait_for("readiness", || health(&process.data()).0.then_some(()));
}

#[test]
fn other_clients_and_load_do_not_disturb_the_probe() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = probed(Setup::default());
    let broker = setup.start();
    wait_until_well(&admin);
    let log = broker.log();
    let (_, rest) = log.split_once("the probe publishes to ").unwrap();
    let topic = rest.split(' ').next().unwrap().to_owned();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut receiver = Wire::connected(broker.address(), &Connect::new(V5, "receiver"));
            receiver.subscribe(V5, "load", 1);
            while !is_over.load(Ordering::Relaxed) {
                receiver.receive(Duration::from_millis(100));
            }
        });
        scope.spawn(|| {
            let mut wire = Wire::connected(broker.address(), &Connect::new(V5, "load"));
            let many: Vec<u8> = V5.publish(PUBLISH, "load", 0, &[b'x'; 200]).repeat(100);
            while !is_over.load(Ordering::Relaxed) {
                wire.send(&many);
                thread::sleep(Duration::from_millis(5));
            }
        });
        let mut stranger = Wire::connected(broker.address(), &Connect::new(V5, "stranger"));
        for payload in [&b""[..], b"text", b"99999", &[b'9'; 100_000]] {
            stranger.send(&V5.publish(PUBLISH, &topic, 0, payload));
        }
        stranger.ping();
        wait_for_rounds(&admin, 6);
        is_over.store(true, Ordering::Relaxed);
    });
    assert_nothing_failed(&admin);
    assert_eq!(admin.figure("oncemq_probe_up"), 1);
}

#[test]
fn a_reload_starts_changes_and_ends_the_probe() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = with_admin(Setup::default());
    let broker = setup.start();
    assert!(!admin.get("/metrics").contains("\noncemq_probe_"), "{}", admin.get("/metrics"));
    add_settings(&broker, "probe.interval = \"1s\"\nprobe.timeout = \"1s\"\nprobe.enabled = true");
    wait_until_well(&admin);
    assert!(!broker.log().contains("restart"), "{}", broker.log());
    let before = results(&admin, "ok");

    let replace = |from: &str, to: &str| {
        let path = broker.path().join("oncemq.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
        broker.signal("HUP");
    };
    replace("probe.enabled = true", "probe.enabled = true\nprobe.topic_prefix = \"own/topic\"");
    wait_for("the other topic", || broker.log().contains("the probe publishes to own/topic/").then_some(()));
    wait_for_rounds(&admin, before[2] + 2);
    admin.wait_for("oncemq_sessions", 1);

    replace("probe.enabled = true", "probe.enabled = false");
    wait_for("the end", || (!admin.get("/metrics").contains("\noncemq_probe_")).then_some(()));
    wait_for("the end of its session", || (admin.figure("oncemq_sessions") == 0).then_some(()));
}

#[test]
fn a_crash_leaves_one_session_that_the_next_probe_replaces() {
    if peer::is_chosen() {
        return;
    }
    let (setup, admin) = probed(Setup::default());
    let mut broker = setup.start();
    for _ in 0..3 {
        wait_until_well(&admin);
        broker.crash_and_restart();
    }
    wait_until_well(&admin);
    admin.wait_for("oncemq_sessions", 1);
    wait_for("an empty queue", || (admin.figure("oncemq_queued_messages") == 0).then_some(()));
    assert_nothing_failed(&admin);
    let started = now();
    broker.signal("TERM");
    assert!(broker.end().success());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(!broker.log().contains("round of the probe failed"), "{}", broker.log());
}

#[test]
fn config_check_judges_the_probe() {
    if peer::is_chosen() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("oncemq.toml");
    let check = |settings: &str| {
        fs::write(&file, format!("[probe]\nenabled = true\n{settings}\n")).unwrap();
        let checked = Command::new(env!("CARGO_BIN_EXE_oncemq")).args(["config", "check"]).arg(&file).output().unwrap();
        (checked.status.success(), String::from_utf8(checked.stderr).unwrap())
    };
    assert!(check("").0);
    for (settings, cause) in [
        ("listener = \"outside\"", "must be one of the listeners: 127.0.0.1:1883, [::1]:1883"),
        ("user_name = \"a\"\npassword_file = \"/does/not/exist\"", "cannot be read: /does/not/exist"),
        ("interval = \"1s\"", "must be from \"10ms\" to probe.interval"),
    ] {
        let (is_good, text) = check(settings);
        assert!(!is_good && text.contains(cause), "{settings}: {text}");
    }
}
