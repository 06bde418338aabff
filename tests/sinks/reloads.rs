//! Sinks that a reload or a restart changes.

use std::fs;

use crate::broker::Broker;
use crate::deadline::wait_for;
use crate::http_service::{HttpService, Response};
use crate::{header, payloads, sink};

#[test]
fn a_changed_sink_keeps_its_session_and_loses_the_filters_that_are_gone() {
    let down = HttpService::start(|_| Response::Json(503, String::new()));
    let up = HttpService::start(|_| Response::ok(""));
    let two = |url: &str| sink("alarms", url, "").replace("[\"alarms/#\"]", "[\"alarms/#\", \"other/#\"]");
    let broker = Broker::start(&two(&down.url("/")));
    broker.wait_for_sink("alarms");
    let mut client = broker.client("c");
    assert!(client.publish("alarms/1", "queued") && client.publish("other/1", "of the other"));
    wait_for("an attempt", || (down.asked().len() > 1).then_some(()));
    broker.reload(&sink("alarms", &up.url("/"), ""));
    wait_for("the queue", || (up.asked().len() == 2).then_some(()));
    wait_for("the subscriptions", || {
        (broker.api("/clients/%24sink%2Falarms")["subscriptions"].as_u64() == Some(1)).then_some(())
    });
    assert!(client.publish("other/1", "not wanted") && client.publish("alarms/1", "last"));
    wait_for("the last", || payloads(&up).contains(&"last".to_owned()).then_some(()));
    assert!(!payloads(&up).contains(&"not wanted".to_owned()));
}

#[test]
fn a_sink_with_another_user_keeps_its_queue() {
    let service = HttpService::start(|_| Response::Json(503, String::new()));
    let mut broker = Broker::start(&sink("alarms", &service.url("/"), "retries_max = 1000"));
    broker.wait_for_sink("alarms");
    assert!(broker.client("c").publish("alarms/1", "queued"));
    wait_for("an attempt", || (!service.asked().is_empty()).then_some(()));
    broker.reload(&sink("alarms", &service.url("/"), "retries_max = 1000\nuser = \"hooks\""));
    wait_for("the new user", || (broker.api("/clients/%24sink%2Falarms")["user"] == "hooks").then_some(()));
    broker.stop();
    service.answer(|_| Response::ok(""));
    broker.restart();
    wait_for("the acknowledgement", || (broker.queued("alarms") == 0).then_some(()));
    assert_eq!(payloads(&service).last().map(String::as_str), Some("queued"));
}

#[test]
fn a_sink_that_is_not_configured_any_more_has_a_day_left() {
    let service = HttpService::start(|_| Response::ok(""));
    let (one, other) = (sink("one", &service.url("/"), ""), sink("other", &service.url("/"), ""));
    let mut broker = Broker::start(&format!("{one}{other}"));
    broker.wait_for_sink("one");
    broker.wait_for_sink("other");
    let left = |broker: &Broker, name: &str| {
        wait_for("the expiry", || {
            let expiry = broker.api(&format!("/clients/%24sink%2F{name}"))["session_expiry_interval"].as_u64();
            (expiry == Some(86_400)).then_some(())
        });
    };
    broker.reload(&one);
    broker.wait_for_line("the configuration has no sink other any more");
    left(&broker, "other");
    broker.stop();
    fs::write(
        broker.directory.path().join("oncemq.toml"),
        format!("[server]\ndata = \"{}/data\"\n", broker.directory.path().display()),
    )
    .unwrap();
    broker.restart();
    left(&broker, "one");
}

#[test]
fn files_are_read_again_and_one_that_can_not_be_used_keeps_the_sink_as_it_is() {
    let service = HttpService::start(|_| Response::ok(""));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("headers"), "X-Key: one\n").unwrap();
    let settings = |qos: u8| sink("alarms", &service.url("/"), &format!("headers_file = \"DIR/headers\"\nqos = {qos}"));
    let broker = Broker::start_in(directory, &settings(1));
    broker.wait_for_sink("alarms");
    let path = broker.directory.path().join("headers");
    let mut client = broker.client("c");
    let mut sent = || {
        let before = service.asked().len();
        assert!(client.publish("alarms/1", "x"));
        wait_for("the request", || (service.asked().len() > before).then_some(()));
        header(&service.asked()[before], "x-key")
    };
    assert_eq!(sent().as_deref(), Some("one"));
    fs::write(&path, "X-Key: two\n").unwrap();
    broker.reload(&settings(2));
    // The sink of before may take a message yet.
    wait_for("the new header", || (sent().as_deref() == Some("two")).then_some(()));
    fs::write(&path, "# nothing\n").unwrap();
    let before = broker.log().len();
    broker.hang_up();
    wait_for("the refusal", || broker.log()[before..].contains("has no header").then_some(()));
    assert_eq!(sent().as_deref(), Some("two"));
}

#[test]
fn the_access_rules_of_its_user_apply_and_a_refused_subscription_is_asked_for_again() {
    let service = HttpService::start(|_| Response::ok(""));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("acl");
    let everyone = "topic alarms/#\n";
    fs::write(&path, everyone.to_owned() + "user hooks\ntopic read elsewhere\n").unwrap();
    let settings = |qos: u8| {
        let sink = sink("alarms", &service.url("/"), &format!("user = \"hooks\"\nqos = {qos}"));
        format!("[security]\nacl_file = \"DIR/acl\"\n{sink}")
    };
    let broker = Broker::start_in(directory, &settings(1));
    broker.wait_for_line("the sink alarms does not get all messages: the subscription to alarms/# was refused");
    let mut client = broker.client("c");
    assert!(client.publish("alarms/1", "too early"));
    fs::write(&path, everyone.to_owned() + "user hooks\ntopic read alarms/#\n").unwrap();
    broker.hang_up();
    broker.wait_for_sink("alarms");
    assert!(client.publish("alarms/1", "in time"));
    wait_for("the request", || (payloads(&service) == ["in time"]).then_some(()));
}

#[test]
fn watched_files_are_read_without_a_reload() {
    let service = HttpService::start(|_| Response::ok(""));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("headers"), "X-Key: one\n").unwrap();
    let settings = sink("alarms", &service.url("/"), "headers_file = \"DIR/headers\"");
    let broker = Broker::start_in(directory, &format!("watch_files = true\n{settings}"));
    broker.wait_for_sink("alarms");
    fs::write(broker.directory.path().join("headers"), "X-Key: two\n").unwrap();
    wait_for("the second start", || {
        (broker.log().matches("the sink alarms sends messages to").count() == 2).then_some(())
    });
    assert!(broker.client("c").publish("alarms/1", "x"));
    wait_for("the request", || (service.asked().len() == 1).then_some(()));
    assert_eq!(header(&service.asked()[0], "x-key").as_deref(), Some("two"));
}
