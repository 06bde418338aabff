//! Runs scenarios against the bare relay in this process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use clap::Parser;

use super::*;
use crate::broker;
use crate::relay::{self, RelayArgs};
use crate::transport::{Endpoint, Transport};

#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    args: ScenarioArgs,
}

fn args(text: &str) -> ScenarioArgs {
    Line::try_parse_from(text.split_whitespace()).unwrap().args
}

/// Starts a relay that runs until the test process ends.
fn relay() -> Target {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    thread::spawn(move || relay::run(&RelayArgs { port }));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while !broker::greets(address) {
        thread::sleep(Duration::from_millis(5));
    }
    Target {
        endpoint: Endpoint::new(address, Transport::Tcp, None).unwrap(),
        pid: std::process::id(),
        beside: Vec::new(),
        cells: None,
    }
}

#[test]
fn relayed_messages_arrive_once_and_in_order() {
    let target = relay();
    for text in [
        "pairs --pairs 3 --seconds 0.1",
        "pairs --pairs 3 --window 1 --seconds 0.1",
        "fan-out --subscribers 20 --seconds 0.1",
        "fan-out --subscribers 20 --count 30 --seconds 0.1",
        "fan-in --publishers 5 --seconds 0.1",
        "fan-in --publishers 5 --count 100 --seconds 0.1",
        "wildcards --count 100 --subscribers 7 --publishers 5 --seconds 0.1",
        "large --pairs 2 --seconds 0.1",
        "topics --pairs 3 --count 20 --seconds 0.1",
        "pairs --pairs 3 --rate 2000 --seconds 0.1",
        "flood --pairs 2 --seconds 0.1",
        "flood --publishers 2 --subscribers 9 --seconds 0.1",
    ] {
        let report = run(&args(text), &target).unwrap();
        assert_eq!(report.broken, [""; 0], "{text}");
        assert!(report.figure("delivered") > Some(0.0), "{text}");
        assert!(report.figure("cpu_us_per_message") > Some(0.0), "{text}");
    }
}

#[test]
fn the_given_number_of_messages_is_published() {
    let report = run(&args("pairs --pairs 3 --messages 1000"), &relay()).unwrap();
    assert_eq!(report.figure("published"), Some(1_000.0));
}

#[test]
fn a_schedule_is_met_and_its_latency_reported() {
    let report = run(&args("pairs --pairs 3 --rate 2000 --seconds 0.3"), &relay()).unwrap();
    let published = report.figure("published").unwrap();
    assert!((550.0..=700.0).contains(&published), "{published}");
    assert!(report.figure("latency_p999_us") >= report.figure("latency_p50_us"));
}

#[test]
fn clients_connect_and_disconnect() {
    let target = relay();
    for text in [
        "connects --count 100",
        "connects --count 100 --durable",
        "takeovers --count 100 --identifiers 30",
        "takeovers --count 10 --identifiers 1 --durable",
    ] {
        let report = run(&args(text), &target).unwrap();
        assert!(report.figure("connects_per_second") > Some(0.0), "{text}");
    }
}

#[test]
fn subscriptions_are_created_and_counted() {
    let report = run(&args("subscriptions --count 300 --subscribers 3"), &relay()).unwrap();
    assert!(report.figure("rss_bytes_per_subscription") > report.figure("rss_bytes_beyond_filter"));
}

#[test]
fn idle_connections_are_opened_and_stay_open() {
    let report = run(&args("idle --count 100"), &relay()).unwrap();
    assert!(report.figure("connects_per_second") > Some(0.0));
}

#[test]
fn a_lower_granted_qos_is_an_error() {
    let error = run(&args("pairs --pairs 3 --qos 1"), &relay()).unwrap_err();
    assert!(format!("{error:#}").contains("answered a SUBSCRIBE at QoS 1 with 0x00"), "{error:#}");
}

#[test]
fn invalid_parameters_are_refused() {
    for text in [
        "pairs --payload 23",
        "pairs --window 0",
        "pairs --pairs 0",
        "pairs --seconds 0",
        "flood --qos 1",
        "offline --qos 0",
        "wildcards --subscribers 2",
        "pairs --rate 0",
        "offline --rate 5",
        "offline --receivers 0",
        "pairs --receivers 5",
        "idle --durable",
        "takeovers --rate 5",
        "mixed --qos 1",
        "topics --count 3",
        "shared --count 3",
        "pairs --away 1",
        "pairs --batch 0",
        "pairs --qos 1 --batch 10",
        "pairs --batch 10 --protocol 5.0",
        "pairs --qos 1 --batch 100 --window 10 --protocol 5.0",
        "flood --batch 10 --protocol 5.0",
        "pairs --qos 2 --stream bench",
        "pairs --groups",
        "pairs --groups --stream bench",
        "fan-out --groups",
        "pairs --qos 1 --receipts",
        "stream-replay --qos 2",
        "pairs --cold",
        "parked --qos 0",
    ] {
        assert!(args(text).connections().is_err(), "{text}");
    }
}
