//! Order and acknowledgements while receiver and broker fail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::broker::Broker;
use crate::deadline::wait_for;
use crate::http_service::{HttpService, Response};
use crate::{messages, sink};

/// A receiver that fails now and then, and notes what it has taken, in this order.
fn unsteady(taken: &Arc<Mutex<Vec<(String, u32)>>>) -> HttpService {
    let (taken, count, ids) = (Arc::clone(taken), Mutex::new(0_u32), Mutex::new(HashMap::new()));
    HttpService::start(move |asked| {
        let mut count = count.lock().unwrap();
        *count += 1;
        // Neither the failures nor the messages have a period that divides the other.
        if count.wrapping_mul(2_654_435_761) >> 29 == 0 {
            return Response::Json(503, String::new());
        }
        let of = |message: &serde_json::Value| {
            let payload = message["payload"].as_str().unwrap().parse().unwrap();
            ((message["topic"].as_str().unwrap().to_owned(), payload), message["id"].as_str().unwrap().to_owned())
        };
        for (message, id) in messages(asked).iter().map(of) {
            assert_eq!(*ids.lock().unwrap().entry(message.clone()).or_insert_with(|| id.clone()), id, "{message:?}");
            taken.lock().unwrap().push(message);
        }
        Response::ok("")
    })
}

/// Each topic's messages arrived, and none for the first time before an earlier one.
fn judge(taken: &[(String, u32)], published: &HashMap<String, u32>) {
    for (topic, count) in published {
        let mut next = 0;
        for (_, number) in taken.iter().filter(|(name, _)| name == topic) {
            assert!(*number <= next, "{topic}: {number} before {next}");
            next = next.max(number + 1);
        }
        assert_eq!(next, *count, "{topic}");
    }
}

fn is_complete(taken: &[(String, u32)], published: &HashMap<String, u32>) -> bool {
    published.iter().all(|(topic, count)| taken.contains(&(topic.clone(), count - 1)))
}

#[test]
fn each_topic_keeps_its_order_whatever_fails() {
    for settings in ["", "batch_max = 5\nbatch_wait = \"5ms\"", "order = \"all\"\nbatch_max = 20\nbatch_wait = \"1ms\""]
    {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let service = unsteady(&taken);
        let fast = sink("alarms", &service.url("/"), settings)
            .replace("\"50ms\"", "\"10ms\"")
            .replace("\"200ms\"", "\"20ms\"");
        let broker = Broker::start(&fast);
        broker.wait_for_sink("alarms");
        let mut client = broker.client("c");
        let mut published = HashMap::new();
        for number in 0..200_u32 {
            let topic = format!("alarms/{}", number * 7 % 5);
            let next = published.entry(topic.clone()).or_insert(0);
            assert!(client.publish(&topic, next.to_string()));
            *next += 1;
        }
        wait_for("all messages", || is_complete(&taken.lock().unwrap(), &published).then_some(()));
        judge(&taken.lock().unwrap(), &published);
        wait_for("the acknowledgements", || (broker.queued("alarms") == 0).then_some(()));
    }
}

#[test]
fn nothing_is_lost_and_each_topic_keeps_its_order_through_kill_9() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let service = unsteady(&taken);
    let mut broker = Broker::start(&sink("alarms", &service.url("/"), "retries_max = 1000"));
    broker.wait_for_sink("alarms");
    let mut published = HashMap::new();
    for round in 0..5_u64 {
        let mut client = broker.client(&format!("c{round}"));
        for number in 0..60_u32 {
            let topic = format!("alarms/{}", number % 4);
            let next = published.entry(topic.clone()).or_insert(0_u32);
            assert!(client.publish(&topic, next.to_string()));
            *next += 1;
        }
        thread::sleep(Duration::from_millis(round * 37 % 80));
        broker.kill_and_restart();
    }
    wait_for("all messages", || is_complete(&taken.lock().unwrap(), &published).then_some(()));
    judge(&taken.lock().unwrap(), &published);
    wait_for("the acknowledgements", || (broker.queued("alarms") == 0).then_some(()));
}
