//! `oncemq streams read`: a part of a stream.

use std::process::{Command, Output};

use serde_json::Value;
use wire::{Publish, Received, Version};

use super::deadline::{PATIENCE, wait_for};
use super::{Broker, connect};

fn read(broker: &Broker, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncemq"));
    command.args(["streams", "read"]).args(arguments).arg("--config").arg(broker.path().join("oncemq.toml"));
    command.output().unwrap()
}

/// What is printed on standard output and on standard error.
#[track_caller]
fn printed(broker: &Broker, arguments: &[&str]) -> (String, String) {
    let Output { status, stdout, stderr } = read(broker, arguments);
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{arguments:?}: {stderr}");
    (String::from_utf8(stdout).unwrap(), stderr)
}

#[test]
fn a_part_of_a_stream_is_read_by_numbers_count_and_filter() {
    let mut broker = Broker::start("crash", "[[streams]]\nname = \"orders\"\ntopic = \"orders/#\"\n");
    for number in 1..=20_u32 {
        broker.publish(&format!("orders/{}", number % 2), [format!("<{number}>")]);
    }
    wait_for("the messages", || (broker.figure("orders", "next") == 21).then_some(()));
    let all: String = (1..=20).map(|number| format!("<{number}>\n")).collect();
    assert_eq!(printed(&broker, &["orders"]), (all, String::new()));
    let out = |arguments: &[&str]| printed(&broker, &[&["orders"], arguments].concat()).0;
    assert_eq!(out(&["--from", "seq:5", "--to", "7"]), "<5>\n<6>\n<7>\n");
    assert_eq!(out(&["--from", "seq:19", "--to", "99", "-v"]), "orders/1 <19>\norders/0 <20>\n");
    assert_eq!(out(&["--from", "seq:5", "--filter", "+/0", "--count", "2", "-N"]), "<6><8>");
    assert_eq!(out(&["--from", "seq:21"]), "");
    assert_eq!(out(&["--from", "latest"]), "");
    assert_eq!(out(&["--from", "seq:9", "--to", "8"]), "");
    assert_eq!(out(&["--from", "2000-01-01T00:00:00Z", "-C", "1", "-F", "%q %t %p"]), "1 orders/1 <1>\n");
    assert!(out(&["-C", "1", "-F", "%P"]).starts_with("stream:orders stream-sequence:1 stream-timestamp:1"));
    let json: Value = serde_json::from_str(&out(&["--from", "seq:2", "--to", "3", "--json"])).unwrap();
    let topics: Vec<_> = json.as_array().unwrap().iter().map(|message| message["topic"].as_str().unwrap()).collect();
    assert_eq!((topics, &json[0]["sequence"]), (vec!["orders/0", "orders/1"], &Value::from(2)));
    assert_eq!(out(&["--from", "latest", "--json"]), "[]\n");
    // In pages of the API, each with the end of the first one.
    let page = |query: &str| broker.api("GET", &format!("/streams/orders/messages?limit=8{query}"));
    let (code, first) = page("&to=18");
    assert_eq!((code, &first["cursor"], first["messages"].as_array().unwrap().len()), (200, &"9-19".into(), 8));
    assert_eq!(page("&cursor=17-19").1["cursor"], Value::Null);
    assert_eq!(page("&cursor=17-19").1["messages"].as_array().unwrap().len(), 2);
    for (query, code) in
        [("&from=x", 400), ("&to=0", 400), ("&cursor=1", 400), ("&filter=%23/a", 400), ("&what=1", 400)]
    {
        assert_eq!(page(query).0, code, "{query}");
    }
    assert_eq!(broker.api("GET", "/streams/other/messages").0, 404);
    assert!(!read(&broker, &["other"]).status.success());
    // What is not kept any more is named.
    broker.run(&["streams", "trim", "orders", "--below", "6"]);
    let note = "note: the messages 3 to 5 are not kept any more\n".to_owned();
    assert_eq!(printed(&broker, &["orders", "--from", "seq:3", "--to", "7"]), ("<6>\n<7>\n".to_owned(), note));
    // Also of a stream that is not configured any more.
    broker.configure("crash", "");
    broker.kill();
    broker.restart();
    assert_eq!(printed(&broker, &["orders", "--from", "seq:20"]).0, "<20>\n");
}

#[test]
fn a_long_stream_is_read_in_pages_that_leave_out_and_repeat_nothing() {
    let broker = Broker::start("crash", "[[streams]]\nname = \"a\"\ntopic = \"a/#\"\n");
    let mut wire = connect(broker.mqtt, "publisher").unwrap();
    let payload = |number: u32| format!("<{number}>{}", "x".repeat(number as usize % 1_000));
    for number in 0..3_000 {
        wire.send(&Publish::new(&format!("a/{}", number % 7), payload(number)).bytes(Version::V5));
    }
    let last = Publish { qos: 1, packet_id: 1, ..Publish::new("a/last", "<last>".to_owned()) };
    wire.send(&last.bytes(Version::V5));
    assert!(matches!(wire.receive(PATIENCE), Received::Packet(_)));
    wait_for("the messages", || (broker.figure("a", "next") == 3_002).then_some(()));
    let lines = |arguments: &[&str]| {
        let output = printed(&broker, &[&["a"], arguments].concat()).0;
        output.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let expected: Vec<_> = (0..3_000).map(payload).chain(["<last>".to_owned()]).collect();
    assert!(lines(&[]) == expected);
    assert_eq!(lines(&["--filter", "a/last"]), ["<last>"]);
    let of_three: Vec<_> = (0..3_000).filter(|number| number % 7 == 3).map(payload).collect();
    assert!(lines(&["--filter", "a/3"]) == of_three);
    assert!(lines(&["--count", "1500"]) == expected[..1_500]);
}
