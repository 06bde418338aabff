//! What passes, as what, over what.

use wire::free_port;

use crate::certificates;
use crate::client::Client;
use crate::node::{Kind, Node};

/// A bridge called `b` to this address, with these settings and topics.
pub(crate) fn bridge(url: &str, settings: &str, topics: &[&str]) -> String {
    let topics: Vec<String> = topics.iter().map(|topic| format!("{{ {topic} }}")).collect();
    format!(
        "[[bridges]]\nname = \"b\"\naddresses = [{url:?}]\nbackoff_min = \"100ms\"\nbackoff_max = \"500ms\"\n{settings}\ntopics = [{}]\n",
        topics.join(", ")
    )
}

const BOTH: &str = "filter = \"#\", direction = \"both\", local_prefix = \"l/\", remote_prefix = \"r/\"";

#[test]
fn messages_pass_both_ways_between_two_of_ours_with_prefixes_qos_and_retain() {
    passes_both_ways(Kind::Oncemq, "");
    passes_both_ways(Kind::Oncemq, "protocol_version = \"3.1.1\"");
}

#[test]
fn messages_pass_both_ways_to_mosquitto_with_prefixes_qos_and_retain() {
    passes_both_ways(Kind::Mosquitto, "");
    passes_both_ways(Kind::Mosquitto, "protocol_version = \"3.1.1\"");
}

fn passes_both_ways(other: Kind, settings: &str) {
    let there = Node::started(other, "");
    Client::new(there.address, "before").publish_now("r/kept", "there", 1, true);
    let here = Node::started(Kind::Oncemq, &bridge(&there.url(), settings, &[BOTH]));
    let mut at_here = Client::subscribed(here.address, "at-here", "#");
    let mut at_there = Client::subscribed(there.address, "at-there", "r/#");
    here.wait_for_log("bridge_connected");
    at_here.run_until("the retained message", |client| !client.messages.is_empty());
    for qos in [0, 1, 2] {
        at_here.publish_now(&format!("l/out/{qos}"), "x", qos, false);
        at_there.publish_now(&format!("r/in/{qos}"), "y", qos, false);
    }
    at_here.publish_now("l/kept-here", "here", 2, true);
    at_here.publish_now("not/bridged", "z", 2, false);
    at_there.expect(&[
        "r/kept there 1 retained",
        "r/out/0 x 0",
        "r/out/1 x 1",
        "r/out/2 x 2",
        "r/in/0 y 0",
        "r/in/1 y 1",
        "r/in/2 y 2",
        "r/kept-here here 2 retained",
    ]);
    at_here.expect(&[
        "l/kept there 1 retained",
        "l/out/0 x 0",
        "l/out/1 x 1",
        "l/out/2 x 2",
        "l/in/0 y 0",
        "l/in/1 y 1",
        "l/in/2 y 2",
        "l/kept-here here 2 retained",
        "not/bridged z 2",
    ]);
    let mut late = Client::subscribed(there.address, "late", "r/kept-here");
    late.expect(&["r/kept-here here 2 retained"]);
}

#[test]
fn qos_is_lowered_and_retain_cleared_by_setting_and_the_first_topic_that_matches_applies() {
    let there = Node::started(Kind::Oncemq, "");
    let topics = [
        "filter = \"a/#\", qos = 1, retain = \"clear\", remote_prefix = \"first/\"",
        "filter = \"b/+\", qos = 0",
        "filter = \"b/#\", qos = 2",
    ];
    let here = Node::started(Kind::Oncemq, &bridge(&there.url(), "", &topics));
    here.wait_for_log("bridge_connected");
    let mut at_there = Client::subscribed(there.address, "at-there", "#");
    let mut publisher = Client::new(here.address, "publisher");
    publisher.publish_now("a/1", "x", 2, true);
    publisher.publish_now("b/1/2", "z", 2, false);
    at_there.expect(&["first/a/1 x 1", "b/1/2 z 2"]);
}

#[test]
fn a_bridge_connects_over_tls_and_web_sockets() {
    for (transport, scheme) in [("tls", "mqtts"), ("ws", "ws"), ("wss", "wss")] {
        let mut there = Node::new(Kind::Oncemq);
        certificates::write(there.path());
        let (port, path) = (free_port(), there.path().display().to_string());
        let files = format!("tls = {{ certificate = \"{path}/server.pem\", key = \"{path}/server.key\" }}\n");
        let files = if transport == "ws" { String::new() } else { files };
        there.configure(&format!("[[listeners]]\naddress = \"127.0.0.1:{port}\"\ntransport = {transport:?}\n{files}"));
        there.start();
        let trust = format!("ca = \"{path}/ca.pem\"\nserver_name = \"localhost\"");
        let trust = if transport == "ws" { String::new() } else { trust };
        let url = format!("{scheme}://127.0.0.1:{port}");
        let here = Node::started(Kind::Oncemq, &bridge(&url, &trust, &["filter = \"a\""]));
        here.wait_for_log("bridge_connected");
        let mut at_there = Client::subscribed(there.address, "at-there", "a");
        let large = "x".repeat(300_000);
        Client::new(here.address, "publisher").publish_now("a", &large, 2, false);
        at_there.expect(&[&format!("a {large} 2")]);
        if transport == "tls" {
            let trust = trust.replace("server_name = \"localhost\"", "server_name = \"other.example\"");
            let strict = Node::started(Kind::Oncemq, &bridge(&url, &trust, &["filter = \"a\""]));
            strict.wait_for_log("bridge_failed");
            // Not the one of the first bridge, which would take its session back.
            let lax = format!("{trust}\nclient_id = \"lax\"\ninsecure_no_hostname = true");
            let lax = Node::started(Kind::Oncemq, &bridge(&url, &lax, &["filter = \"a\""]));
            lax.wait_for_log("bridge_connected");
        }
    }
}

#[test]
fn a_message_that_is_too_large_for_the_other_broker_is_dropped_and_later_ones_pass() {
    let there = Node::started(Kind::Oncemq, "[limits]\nmaximum_packet_size = 1000\n");
    let here = Node::started(Kind::Oncemq, &bridge(&there.url(), "", &["filter = \"a/#\""]));
    here.wait_for_log("bridge_connected");
    let mut at_there = Client::subscribed(there.address, "at-there", "a/#");
    let mut publisher = Client::new(here.address, "publisher");
    for size in [2_000, 985, 1_050] {
        publisher.publish_now("a/large", &"x".repeat(size), 2, false);
    }
    publisher.publish_now("a/small", "y", 2, false);
    at_there.expect(&["a/small y 2"]);
}

/// In 3.1.1 the other broker is not told how much is taken.
#[test]
fn a_message_that_is_too_large_for_this_broker_is_skipped_and_later_ones_pass() {
    for other in [Kind::Oncemq, Kind::Mosquitto] {
        let there = Node::started(other, "");
        let settings = "protocol_version = \"3.1.1\"\nmaximum_packet_size = 1000";
        let here =
            Node::started(Kind::Oncemq, &bridge(&there.url(), settings, &["filter = \"in/#\", direction = \"in\""]));
        here.wait_for_log("bridge_connected");
        let mut at_here = Client::subscribed(here.address, "at-here", "in/#");
        let mut publisher = Client::new(there.address, "publisher");
        for (number, size) in [500_000, 990].into_iter().enumerate() {
            for qos in [2, 1, 0] {
                publisher.publish_now(&format!("in/large/{number}/{qos}"), &"x".repeat(size), qos, false);
            }
        }
        publisher.publish_now("in/small", "y", 2, false);
        let longest = "x".repeat(981); // in a packet of 1,000 bytes
        publisher.publish_now("in/large/2/1", &longest, 1, false);
        at_here.expect(&["in/small y 2", &format!("in/large/2/1 {longest} 1")]);
        assert_eq!(here.log().matches("bridge_connected").count(), 1);
        assert!(here.log().contains("a packet of 500020 bytes to in/large/0/2"));
    }
}

#[test]
fn rules_and_passwords_apply_to_a_bridge_on_both_sides() {
    let mut there = Node::new(Kind::Oncemq);
    there.configure("");
    let (users, path) = (there.path().join("users"), there.path().display().to_string());
    let mut passwd = std::process::Command::new(env!("CARGO_BIN_EXE_oncemq"));
    passwd.args(["passwd", "--password-stdin", "--create"]).arg(&users).arg("site").stdin(std::process::Stdio::piped());
    let mut child = passwd.spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"secret\n").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    there.configure("[[auth]]\ntype = \"password-file\"\n");
    let config = std::fs::read_to_string(there.path().join("oncemq.toml")).unwrap();
    let with_users = format!("security.password_file = \"{path}/users\"\n{config}");
    std::fs::write(there.path().join("oncemq.toml"), with_users).unwrap();
    there.start();
    let password = there.path().join("password");
    std::fs::write(&password, "wrong\n").unwrap();

    let mut here = Node::new(Kind::Oncemq);
    let acl = here.path().join("acl");
    std::fs::write(&acl, "topic readwrite #\nuser bridge-user\ntopic read allowed/#\n").unwrap();
    let settings =
        format!("user = \"bridge-user\"\nuser_name = \"site\"\npassword_file = {:?}", password.display().to_string());
    let text = bridge(&there.url(), &settings, &["filter = \"#\", direction = \"both\""]);
    here.configure(&text);
    let config = std::fs::read_to_string(here.path().join("oncemq.toml")).unwrap();
    std::fs::write(here.path().join("oncemq.toml"), format!("security.acl_file = {acl:?}\n{config}")).unwrap();
    here.start();
    here.wait_for_log("bridge_failed");
    std::fs::write(&password, "secret\n").unwrap();
    here.wait_for_log("bridge_connected");
    let mut publisher = Client::new(here.address, "publisher");
    let mut at_there = Client::subscribed(there.address, "at-there", "#");
    publisher.publish_now("denied", "x", 2, false);
    publisher.publish_now("allowed/1", "y", 2, false);
    at_there.expect(&["allowed/1 y 2"]);
    let mut at_here = Client::subscribed(here.address, "at-here", "from-there");
    at_there.publish_now("from-there", "z", 2, false);
    here.wait_for_log("bridge_refused");
    at_here.expect(&[]);
}
