//! What becomes of a message that the receiver does not take.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::broker::Broker;
use crate::deadline::{now, wait_for};
use crate::http_service::{HttpService, Response};
use crate::{header, payloads, sink};

/// With a dead letter topic.
fn with_dead_letters(sink: &str) -> String {
    format!("[mqtt]\ndead_letter_topic = \"dead\"\n{sink}")
}

#[test]
fn a_failure_that_may_pass_is_tried_again_with_the_same_identity_and_holds_up_its_topic_alone() {
    let failures = AtomicUsize::new(0);
    let service = HttpService::start(move |asked| match asked.field("payload") {
        "first" if failures.fetch_add(1, Ordering::Relaxed) < 3 => Response::Json(500, String::new()),
        _ => Response::ok(""),
    });
    let broker = Broker::start(&sink("alarms", &service.url("/"), "retry_min = \"100ms\"").replacen(
        "retry_min = \"50ms\"\n",
        "",
        1,
    ));
    broker.wait_for_sink("alarms");
    let mut client = broker.client("c");
    for (topic, payload) in [("alarms/a", "first"), ("alarms/a", "second"), ("alarms/b", "other")] {
        assert!(client.publish(topic, payload));
    }
    wait_for("all requests", || (service.asked().len() == 6).then_some(()));
    let sent = payloads(&service);
    assert_eq!(sent.last().map(String::as_str), Some("second"), "{sent:?}");
    assert!(sent.iter().position(|sent| sent == "other") < sent.iter().rposition(|sent| sent == "first"), "{sent:?}");
    let repeats: Vec<_> = service.asked().into_iter().filter(|asked| asked.field("payload") == "first").collect();
    assert!(repeats.iter().all(|repeat| repeat.field("id") == repeats[0].field("id")));
    let attempts: Vec<_> = repeats.iter().map(|repeat| header(repeat, "oncemq-attempt").unwrap()).collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    wait_for("the acknowledgements", || (broker.queued("alarms") == 0).then_some(()));
    broker.wait_for_line("sends messages to http://127.0.0.1:");
    broker.wait_for_line(" again");
}

#[test]
fn what_is_refused_becomes_a_dead_letter_at_once_and_no_redirect_is_followed() {
    let elsewhere = HttpService::start(|_| Response::ok(""));
    let location = elsewhere.url("/metadata");
    let service = HttpService::start(move |asked| match asked.field("payload") {
        "redirect" => Response::Redirect(location.clone()),
        "good" => Response::ok(""),
        _ => Response::Json(404, String::new()),
    });
    let broker = Broker::start(&with_dead_letters(&sink("alarms", &service.url("/"), "")));
    broker.wait_for_sink("alarms");
    let mut reader = broker.client("reader");
    reader.subscribe("dead");
    let mut client = broker.client("c");
    for payload in ["redirect", "missing", "good"] {
        assert!(client.publish("alarms/a", payload));
    }
    for (payload, reason) in
        [("redirect", "the answer is 302, and no redirect is followed"), ("missing", "the answer is 404")]
    {
        let (letter, bytes) = reader.message(true).expect("a dead letter");
        assert_eq!((letter.topic.as_str(), letter.payload.as_slice()), ("dead", payload.as_bytes()));
        let text = String::from_utf8_lossy(&bytes);
        for part in ["sink_failed", "alarms/a", "$sink/alarms", reason] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    wait_for("the requests", || (payloads(&service) == ["redirect", "missing", "good"]).then_some(()));
    wait_for("the acknowledgements", || (broker.queued("alarms") == 0).then_some(()));
    assert_eq!(elsewhere.asked().len(), 0);
    broker.wait_for_line("the sink alarms gave up 1 messages; the last one, of \"alarms/a\", becomes a dead letter");
}

#[test]
fn retries_end_and_without_a_dead_letter_topic_the_loss_is_said() {
    let service = HttpService::start(|_| Response::Json(503, String::new()));
    let broker = Broker::start(&sink("alarms", &service.url("/"), "retries_max = 2"));
    broker.wait_for_sink("alarms");
    assert!(broker.client("c").publish("alarms/a", "x"));
    broker
        .wait_for_line("the sink alarms gave up 1 messages; the last one, of \"alarms/a\", is lost: the answer is 503");
    assert_eq!(payloads(&service), ["x", "x", "x"]);
    wait_for("the acknowledgement", || (broker.queued("alarms") == 0).then_some(()));
}

#[test]
fn a_receiver_that_is_silent_or_gone_is_tried_again_until_it_is_back() {
    let place = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let gone = sink("gone", &format!("http://{address}/"), "");
    let service = HttpService::start(|_| Response::Silence);
    let silent = sink("silent", &service.url("/"), "timeout = \"150ms\"");
    let broker = Broker::start(&format!("{gone}{silent}"));
    broker.wait_for_sink("gone");
    broker.wait_for_sink("silent");
    assert!(broker.client("c").publish("alarms/a", "x"));
    broker.wait_for_line("the sink gone can't send messages");
    broker.wait_for_line("no answer in time");
    wait_for("a second attempt", || (service.asked().len() > 1).then_some(()));
    service.answer(|_| Response::ok(""));
    wait_for("the acknowledgement", || (broker.queued("silent") == 0).then_some(()));
    assert_eq!(broker.queued("gone"), 1);
    let listener = TcpListener::bind(address).unwrap();
    let answering = thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4_096];
        assert!(stream.read(&mut bytes).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        thread::sleep(Duration::from_millis(200));
    });
    wait_for("the acknowledgement", || (broker.queued("gone") == 0).then_some(()));
    answering.join().unwrap();
}

#[test]
fn a_name_of_a_private_address_is_refused_when_the_connection_is_made() {
    let service = HttpService::start(|_| Response::ok(""));
    // A notation that only the resolver knows, as a name that somebody else controls would lead there.
    let url = format!("http://127.1:{}/", service.address().port());
    let settings = sink("alarms", &url, "allow_plain = true").replace("allow_private_addresses = true\n", "");
    let broker = Broker::start(&settings);
    broker.wait_for_sink("alarms");
    assert!(broker.client("c").publish("alarms/a", "x"));
    broker.wait_for_line("the address 127.0.0.1 is not that of a public machine");
    assert_eq!(service.open().1, 0, "no connection was made");
    assert_eq!(broker.queued("alarms"), 1);
}

#[test]
fn a_slow_receiver_has_as_many_requests_as_it_should_and_answers_without_end_do_no_harm() {
    let service = HttpService::start(|asked| match asked.field("payload") {
        "0" => Response::Endless,
        "1" => Response::Trickle,
        _ => Response::Late(Duration::from_millis(100), Box::new(Response::ok(""))),
    });
    let broker = Broker::start(&sink("alarms", &service.url("/"), "order = \"none\"\nrequests_max = 3"));
    broker.wait_for_sink("alarms");
    let mut client = broker.client("c");
    for number in 0..20 {
        assert!(client.publish("alarms/a", number.to_string()));
    }
    wait_for("the acknowledgements", || (broker.queued("alarms") == 0).then_some(()));
    let mut sent = payloads(&service);
    sent.sort_by_key(|sent| sent.parse::<u32>().unwrap());
    assert_eq!(sent, (0..20).map(|number| number.to_string()).collect::<Vec<_>>(), "each once");
    // Connections that the broker has given up may still be open on this side.
    assert!(service.open().1 <= 3 + 2, "{:?}", service.open());
}

#[test]
fn a_receiver_that_asks_for_a_pause_gets_it_from_all_topics() {
    let service = HttpService::start(|asked| match header(asked, "oncemq-attempt").as_deref() {
        Some("1") if asked.field("payload") == "first" => {
            Response::Bytes(b"HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_vec())
        }
        _ => Response::ok(""),
    });
    let broker = Broker::start(&sink("alarms", &service.url("/"), ""));
    broker.wait_for_sink("alarms");
    let mut client = broker.client("c");
    assert!(client.publish("alarms/a", "first"));
    wait_for("the first request", || (service.asked().len() == 1).then_some(()));
    broker.wait_for_line("the answer is 429");
    let begun = now();
    assert!(client.publish("alarms/b", "other"));
    wait_for("the acknowledgements", || (broker.queued("alarms") == 0).then_some(()));
    assert!(begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(service.asked().len(), 3);
}

#[test]
fn a_dead_letter_that_the_access_rules_refuse_is_said_to_be_lost() {
    let service = HttpService::start(|_| Response::Json(400, String::new()));
    let directory = tempfile::tempdir().unwrap();
    let rules = "topic alarms/#\nuser alarms\ntopic read alarms/#\n";
    std::fs::write(directory.path().join("acl"), rules).unwrap();
    let settings = with_dead_letters(&sink("alarms", &service.url("/"), ""));
    let mut broker = Broker::start_in(directory, &format!("[security]\nacl_file = \"DIR/acl\"\n{settings}"));
    broker.wait_for_sink("alarms");
    assert!(broker.client("c").publish("alarms/a", "x"));
    wait_for("the acknowledgement", || (broker.queued("alarms") == 0 && !service.asked().is_empty()).then_some(()));
    // The end of the sink tells of what the log has not told yet.
    broker.stop();
    broker.wait_for_line("is lost: its dead letter was refused: Not authorized");
}

#[test]
fn messages_of_qos_0_are_sent_without_an_identity() {
    let service = HttpService::start(|_| Response::ok(""));
    let broker = Broker::start(&sink("alarms", &service.url("/"), "qos = 0"));
    broker.wait_for_sink("alarms");
    assert!(broker.client("c").publish("alarms/a", "x"));
    wait_for("the request", || (service.asked().len() == 1).then_some(()));
    let body = &service.asked()[0].body;
    assert!(body["id"].is_null() && body["qos"] == 0 && body["user_properties"] == serde_json::json!([]), "{body}");
}

#[test]
fn large_messages_that_are_not_taken_wait_on_the_disk() {
    let service = HttpService::start(|_| Response::Json(503, String::new()));
    let broker = Broker::start(&sink("alarms", &service.url("/"), "retries_max = 1000"));
    broker.wait_for_sink("alarms");
    let mut client = broker.client("c");
    for number in 0..30 {
        assert!(client.publish(&format!("alarms/{number}"), vec![b'x'; 1 << 20]));
    }
    let in_flight = || broker.api("/clients/%24sink%2Falarms")["in_flight_out"].as_u64().unwrap();
    wait_for("the window", || (in_flight() > 10).then_some(()));
    assert!(broker.queued("alarms") == 30 && in_flight() <= 16, "{}", in_flight());
    service.answer(|_| Response::ok(""));
    wait_for("the acknowledgements", || (broker.queued("alarms") == 0).then_some(()));
}
