mod tls;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use super::peer::Peer;
use super::*;
use crate::broker::{DropReason, Shared};
use crate::codec::{PacketType, Qos};
use crate::config::Durability;
use crate::histogram::LatencyHistogram;
use crate::routing::RetainedLimits;
use crate::server::{
    AdmissionCounts, CertificateExpiry, Clock, ProbeFigures, Queries, Reloader, ShardSnapshot, Status,
    TelemetryFigures, Traces,
};
use crate::timestamp::Timestamp;

/// The broker's own time at its start: far from the wall clock.
const STARTED_AT: u64 = 32_503_680_000_250;
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub(super) fn at_any_port() -> config::Admin {
    config::Admin {
        address: ANY_PORT,
        allowed_hosts: vec!["oncemq".to_owned(), "a".to_owned()],
        ..config::Admin::default()
    }
}

pub(super) fn handles() -> BrokerHandles {
    let retained_limits = RetainedLimits { retained_messages_max: 10, retained_bytes_max: 1_000 };
    let status = Arc::new(Status::new(2, Clock::start(Timestamp(STARTED_AT))));
    let expires = i64::try_from(status.wall_now().0 / 1_000).unwrap() + 1_000_000;
    status.publish_certificates(vec![CertificateExpiry { listener: "a \"b\"".into(), expires }]);
    status.publish_probe(Some(ProbeFigures { is_well: Some(true), ..ProbeFigures::default() }));
    status.publish_telemetry(TelemetryFigures { spans: [7, 1, 0] });
    BrokerHandles {
        bans: Arc::new(crate::server::Bans::new(&crate::config::Bans::default())),
        status,
        shared: Arc::new(Shared::new(2, retained_limits)),
        durability: Durability::PowerLoss,
        store: None,
        queries: Queries::unanswered(2),
        traces: Traces::silent(),
        reloader: Reloader::stopped(crate::config::Config::default()),
        cluster: None,
        cells: Vec::new(),
        front_of: None,
        nodes: None,
        data: "nowhere".into(),
    }
}

fn request(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: oncemq\r\n\r\n"))
}

/// The value of a series.
fn figure(text: &str, series: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{series} is not in\n{text}")).parse().unwrap()
}

#[test]
fn a_client_that_closes_its_sending_side_after_the_request_gets_the_response() {
    let admin = AdminListener::start(&at_any_port(), handles()).unwrap();
    for (path, code) in [("/api/v1/clients", "401"), ("/health/live", "200"), ("/metrics", "200")] {
        let mut stream = TcpStream::connect(admin.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{path}: {answer:?}");
    }
}

#[test]
fn the_broker_is_ready_from_the_start_of_the_listeners_to_the_drain() {
    let handles = handles();
    let status = Arc::clone(&handles.status);
    let admin = AdminListener::start(&at_any_port(), handles).unwrap();
    let ready = || get(admin.address(), "/health/ready");

    let (head, body) = ready();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(body, "{\"status\":\"starting\"}\n");
    status.set_ready(false);
    let (head, body) = ready();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "{\"status\":\"ready\"}\n");
    status.set_stopping();
    let (head, body) = ready();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(body, "{\"status\":\"draining\"}\n");

    let (head, body) = get(admin.address(), "/health/live");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(body, "{\"status\":\"live\"}\n");
}

#[test]
fn a_broker_with_a_stuck_shard_is_not_live_unless_it_drains() {
    let handles = handles();
    let status = Arc::clone(&handles.status);
    let admin = AdminListener::start(&at_any_port(), handles).unwrap();
    let live = || get(admin.address(), "/health/live").0;
    assert!(live().starts_with("HTTP/1.1 200 "));
    status.publish_shard(1, ShardSnapshot { published: Timestamp(STARTED_AT - 31_000), ..ShardSnapshot::default() });
    assert!(live().starts_with("HTTP/1.1 503 "));
    status.set_stopping();
    assert!(live().starts_with("HTTP/1.1 200 "));
}

#[test]
fn metrics_are_summed_over_all_shards() {
    let handles = handles();
    let status = Arc::clone(&handles.status);
    let admin = AdminListener::start(&at_any_port(), handles).unwrap();
    let mut shard = ShardSnapshot { published: Timestamp(STARTED_AT), ..ShardSnapshot::default() };
    shard.counters.received(PacketType::Subscribe);
    shard.counters.message_sent(Qos::AtLeastOnce, 5);
    shard.counters.dropped(DropReason::SlowReceiver, 3);
    shard.counters.sessions = 7;
    shard.traffic.bytes_sent = 100;
    shard.traffic.latencies.publish_to_deliver[1].record(Duration::from_micros(200));
    shard.traffic.latencies.publish_to_deliver[1].record(Duration::from_secs(9));
    status.publish_shard(0, shard.clone());
    status.publish_shard(1, shard);
    status.publish_listeners(AdmissionCounts { refused_address: 4, ..AdmissionCounts::default() });

    // Twice: a second request must not count anything again.
    for _ in 0..2 {
        let (head, text) = get(admin.address(), "/metrics");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        for (series, value) in [
            (concat!("oncemq_info{version=\"", env!("CARGO_PKG_VERSION"), "\",durability=\"power-loss\"}"), 1.0),
            ("oncemq_packets_received_total{type=\"subscribe\"}", 2.0),
            ("oncemq_packets_received_total{type=\"connect\"}", 0.0),
            ("oncemq_messages_sent_total{qos=\"1\"}", 2.0),
            ("oncemq_payload_sent_bytes_total", 10.0),
            ("oncemq_messages_dropped_total{reason=\"slow_receiver\"}", 6.0),
            ("oncemq_connections_refused_total{limit=\"address\"}", 4.0),
            ("oncemq_sessions", 14.0),
            ("oncemq_sent_bytes_total", 200.0),
            ("oncemq_publish_to_deliver_seconds_bucket{qos=\"1\",le=\"0.0001\"}", 0.0),
            ("oncemq_publish_to_deliver_seconds_bucket{qos=\"1\",le=\"0.0003\"}", 2.0),
            ("oncemq_publish_to_deliver_seconds_bucket{qos=\"1\",le=\"3\"}", 2.0),
            ("oncemq_publish_to_deliver_seconds_bucket{qos=\"1\",le=\"+Inf\"}", 4.0),
            ("oncemq_publish_to_deliver_seconds_count{qos=\"1\"}", 4.0),
        ] {
            assert_eq!(figure(&text, series), value, "{series} in\n{text}");
        }
        assert!((figure(&text, "oncemq_publish_to_deliver_seconds_sum{qos=\"1\"}") - 18.0004).abs() < 1e-6, "{text}");
        assert!(figure(&text, "process_resident_memory_bytes") >= 0.0);
        // The wall clock, whatever the broker's own time is.
        let start_time = figure(&text, "process_start_time_seconds");
        let now = std::fs::metadata("/proc/self/stat").unwrap().modified().unwrap();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((start_time - now).abs() < 60.0, "{start_time} at {now}");
        let left = figure(&text, "oncemq_certificate_expires_seconds{listener=\"a \\\"b\\\"\"}");
        assert!((999_000.0..=1_000_000.0).contains(&left), "{text}");
    }
}

#[test]
fn every_metric_is_rendered_from_the_start_with_its_help_and_type() {
    let admin = AdminListener::start(&at_any_port(), handles()).unwrap();
    let (_, text) = get(admin.address(), "/metrics");
    for metric in metrics() {
        assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{} in\n{text}", metric.name);
        assert!(text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind().name())), "{}", metric.name);
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE")).count(), metrics().count(), "{text}");
    for metric in metrics().filter(|metric| exporter::has_series_at_start(metric)) {
        assert!(text.contains(&format!("\n{}", metric.name)), "{} has no figure in\n{text}", metric.name);
    }
}

#[test]
fn the_histogram_has_the_bucket_bounds_of_the_shards() {
    let admin = AdminListener::start(&at_any_port(), handles()).unwrap();
    let (_, text) = get(admin.address(), "/metrics");
    let bounds: Vec<f64> = text
        .lines()
        .filter_map(|line| line.strip_prefix("oncemq_publish_to_deliver_seconds_bucket{qos=\"1\",le=\""))
        .filter_map(|rest| rest.split('"').next()?.parse().ok())
        .filter(|bound: &f64| bound.is_finite())
        .collect();
    assert_eq!(bounds, LatencyHistogram::BOUNDS.map(|bound| bound.as_secs_f64()), "{text}");
}

#[test]
fn every_response_closes_its_connection() {
    let admin = AdminListener::start(&at_any_port(), handles()).unwrap();
    for (asked, code) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "200"),
        ("GET /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "405"),
        ("GET /health/live HTTP/1.0\r\n\r\n", "200"),
        ("\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0\r\n\r\n", "400"),
    ] {
        let (head, _) = request(admin.address(), asked);
        assert_eq!(head.split(' ').nth(1), Some(code), "{asked:?}: {head}");
    }
}

#[test]
fn backup_requests_from_elsewhere_and_from_websites_are_refused() {
    for (address, is_local) in [
        ("127.0.0.1:1", true),
        ("127.255.0.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("192.168.0.1:1", false),
        ("[::ffff:192.168.0.1]:1", false),
        ("[fe80::1]:1", false),
    ] {
        assert_eq!(Peer::plain(address.parse().unwrap()).is_local(), is_local, "{address}");
    }
    let admin = AdminListener::start(&at_any_port(), handles()).unwrap();
    for method in ["GET", "POST"] {
        let asked = format!("{method} /backup HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nContent-Length: 0\r\n\r\n");
        let (head, _) = request(admin.address(), &asked);
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        // A configured name may be that of another machine.
        let (head, _) =
            request(admin.address(), &format!("{method} /backup HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    }
}

#[test]
fn no_route_answers_a_website() {
    let admin = AdminListener::start(&at_any_port(), handles()).unwrap();
    let ask = |method: &str, path: &str, headers: &str| {
        let asked = format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n");
        let (head, body) = request(admin.address(), &asked);
        assert!(!body.contains("process_") && !body.contains("paths are"), "{path}: {body}");
        head.split(' ').nth(1).unwrap().to_owned()
    };
    for path in
        ["/metrics", "/health/live", "/health/ready", "/backup", "/", "/metrics?x", "/api/v1/clients", "/api/v1/bans"]
    {
        for method in ["GET", "POST", "OPTIONS"] {
            assert_eq!(ask(method, path, "Host: evil.example:9883\r\n"), "421", "{method} {path}");
            for origin in ["http://127.0.0.1:3000", "https://evil.example", "null"] {
                let code = ask(method, path, &format!("Host: 127.0.0.1\r\nOrigin: {origin}\r\n"));
                assert_eq!(code, "403", "{method} {path} {origin}");
            }
            // The page at / asks the API alone, which needs a token.
            let expected = if path.starts_with("/api/") { "401" } else { "403" };
            let code = ask(method, path, "Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n");
            assert_eq!(code, expected, "{method} {path}");
        }
    }
    for host in ["oncemq:9883", "192.0.2.7:9883", "localhost", "[::1]:9883"] {
        let (head, _) = request(admin.address(), &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{host}: {head}");
    }
}

#[test]
fn a_backup_is_refused_without_a_store_or_for_another_process_id() {
    let admin = AdminListener::start(&at_any_port(), handles()).unwrap();
    let post = |header: &str| {
        request(
            admin.address(),
            &format!("POST /backup HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}Content-Length: 0\r\n\r\n"),
        )
    };
    let process = std::process::id();
    for (header, expected) in [
        (String::new(), "there is no store: server.durability is none\n".to_owned()),
        (format!("{PROCESS_HEADER}: {process}\r\n"), "there is no store: server.durability is none\n".to_owned()),
        (format!("{PROCESS_HEADER}: 1{process}\r\n"), format!("this is process {process}\n")),
    ] {
        let (head, body) = post(&header);
        assert!(head.starts_with("HTTP/1.1 409 "), "{head}");
        assert_eq!(body, expected);
    }
    let (_, body) = request(admin.address(), "GET /backup HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(body, "none\n");
}

#[test]
fn an_endless_request_is_refused_and_others_are_answered() {
    let admin = AdminListener::start(&at_any_port(), handles()).unwrap();
    let mut endless = TcpStream::connect(admin.address()).unwrap();
    endless.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    endless.write_all(b"GET /health/live HTTP/1.1\r\nHost: a\r\n").unwrap();
    let header = [b"X: ".as_slice(), &[b'x'; 4_000], b"\r\n"].concat();
    let written = (0..10_000).take_while(|_| endless.write_all(&header).is_ok()).count();
    assert!(written < 10_000, "40 MB of headers were taken");
    assert!(get(admin.address(), "/health/live").0.starts_with("HTTP/1.1 200 "));
}

#[test]
fn dropping_the_listener_closes_its_port() {
    let admin = AdminListener::start(&at_any_port(), handles()).unwrap();
    let address = admin.address();
    let held = TcpStream::connect(address).unwrap();
    drop(admin);
    TcpStream::connect(address).unwrap_err();
    drop(held);
}

#[test]
fn an_address_in_use_is_an_error_only_if_the_listener_is_required() {
    let taken = TcpListener::bind(ANY_PORT).unwrap();
    let mut settings = config::Admin { address: taken.local_addr().unwrap(), ..config::Admin::default() };
    assert!(start(&settings, AdminSockets::default(), handles()).unwrap().is_none());
    settings.required = true;
    let error = start(&settings, AdminSockets::default(), handles()).unwrap_err();
    assert_eq!(error.to_string(), format!("admin: cannot listen at {}", settings.address));
    settings.enabled = false;
    assert!(start(&settings, AdminSockets::default(), handles()).unwrap().is_none());
}

#[test]
fn the_documented_table_of_metrics_matches_the_code() {
    let row = |metric: &Metric| {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |", metric.name, metric.kind().name(), labels.join(", "), metric.help)
    };
    let in_code: Vec<String> = metrics().map(row).collect();
    let is_metric = |line: &&str| line.starts_with("| `oncemq_") || line.starts_with("| `process_");
    let documented: Vec<&str> = include_str!("../../docs/OPERATING.md").lines().filter(is_metric).collect();
    assert!(documented == in_code, "the table should be\n{}\n", in_code.join("\n"));
}

#[test]
fn the_dashboard_and_the_alerts_use_only_existing_metrics() {
    let known: BTreeSet<String> = metrics()
        .flat_map(|metric| match metric.kind() {
            Kind::Histogram => ["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", metric.name)).into(),
            Kind::Counter | Kind::Gauge => vec![metric.name.to_owned()],
        })
        .collect();
    let dashboard = include_str!("../../configs/grafana/dashboards/oncemq.json");
    let alerts = include_str!("../../configs/prometheus/alerts.yml");
    for (text, at_least) in [(dashboard, 40), (alerts, 15)] {
        let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        let asked: BTreeSet<&str> = words.filter(|word| is_metric_name(word)).collect();
        assert!(asked.len() > at_least, "{asked:?}");
        for name in asked {
            assert!(known.contains(name), "there is no metric {name}");
        }
    }
}

#[test]
fn every_alert_has_a_reason_a_runbook_and_a_test() {
    let alerts = include_str!("../../configs/prometheus/alerts.yml");
    let runbook = include_str!("../../docs/OPERATING.md");
    let tests = include_str!("../../tests/prometheus/alerts_test.yml");
    let lines: Vec<&str> = alerts.lines().map(str::trim).collect();
    let mut names = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix("- alert: ") else { continue };
        names.push(name);
        assert!(lines[number - 1].starts_with("# "), "{name} has no reason");
        let link = format!(
            "runbook_url: {}/blob/main/docs/OPERATING.md#{}",
            env!("CARGO_PKG_REPOSITORY"),
            name.to_lowercase()
        );
        let end = lines[number + 1..].iter().position(|line| line.starts_with("- alert: "));
        assert!(lines[number..].iter().take(end.unwrap_or(lines.len())).any(|line| *line == link), "{name}: {link}");
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} has no test");
    }
    let chapters: Vec<&str> =
        runbook.lines().filter_map(|line| line.strip_prefix("#### OnceMQ").map(|_| &line[5..])).collect();
    assert_eq!(chapters, names, "the chapters of the runbook");
    for name in names {
        let chapter = runbook.split(&format!("#### {name}\n")).nth(1).unwrap();
        let chapter = chapter.split("\n#").next().unwrap();
        for part in ["What it means: ", "What to look at: ", "What to do: "] {
            assert!(chapter.contains(part), "{name}: {part}");
        }
    }
}

fn is_metric_name(word: &str) -> bool {
    word.starts_with("oncemq_") || word.starts_with("process_")
}

#[test]
fn the_container_files_agree_on_ports_and_paths() {
    let compose = include_str!("../../docker-compose.yml");
    let prometheus = include_str!("../../configs/prometheus/prometheus.yml");
    let source = include_str!("../../configs/grafana/provisioning/datasources/prometheus.yml");
    let dashboards = include_str!("../../configs/grafana/provisioning/dashboards/oncemq.yml");
    let dashboard = include_str!("../../configs/grafana/dashboards/oncemq.json");
    let broker: toml::Table = include_str!("../../configs/docker.toml").parse().unwrap();
    let dockerfile = include_str!("../../Dockerfile");

    let admin = broker["admin"]["address"].as_str().unwrap();
    assert_eq!(admin, "0.0.0.0:9883");
    let sends_token = prometheus.contains("authorization");
    assert_eq!(broker["admin"]["metrics_open"].as_bool(), Some(!sends_token), "Prometheus sends no token");
    assert!(
        broker["admin"]["allowed_hosts"].as_array().unwrap().contains(&"broker".into()),
        "Prometheus asks for broker:9883"
    );
    assert!(prometheus.contains("broker:9883") && compose.contains("\n  broker:\n"), "{prometheus}");
    assert!(source.contains("http://prometheus:9090") && compose.contains("\n  prometheus:\n"), "{source}");
    assert!(source.contains("uid: prometheus") && dashboard.contains("\"uid\": \"prometheus\""), "{source}");
    for (container, file) in [
        ("/etc/prometheus", "./configs/prometheus"),
        ("/etc/grafana/provisioning", "./configs/grafana/provisioning"),
        ("/var/lib/grafana/dashboards", "./configs/grafana/dashboards"),
    ] {
        assert!(compose.contains(&format!("{file}:{container}:ro")), "{file}");
    }
    assert!(dashboards.contains("path: /var/lib/grafana/dashboards"), "{dashboards}");
    let data = broker["server"]["data"].as_str().unwrap();
    assert!(dockerfile.contains(&format!("VOLUME {data}")) && compose.contains(&format!(":{data}")), "{data}");
    for listener in broker["listeners"].as_array().unwrap() {
        let port = listener["address"].as_str().unwrap().strip_prefix("0.0.0.0:").unwrap();
        assert!(dockerfile.lines().any(|line| line.starts_with("EXPOSE") && line.contains(port)), "{port}");
        assert!(compose.contains(&format!("127.0.0.1:{port}:{port}")), "{port}");
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let text = include_str!("../../configs/grafana/dashboards/oncemq.json");
    let names: BTreeSet<&str> = metrics().map(|metric| metric.name).collect();
    let is_known = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        names.contains(name) || of_histogram.is_some_and(|name| names.contains(name))
    };
    let is_of_name = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let expressions = targets.flatten().map(|target| target["expr"].as_str().unwrap());
    let asked = expressions.flat_map(|expression| expression.split(|character| !is_of_name(character)));
    let asked: BTreeSet<&str> = asked.filter(|word| word.starts_with("oncemq_")).collect();
    let unknown: Vec<_> = asked.iter().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let of_cells = names.iter().filter(|name| name.starts_with("oncemq_cluster_cell_") && !asked.contains(*name));
    assert_eq!(of_cells.collect::<Vec<_>>(), [&"oncemq_cluster_cell_links_up"], "those that are down are shown");
}
