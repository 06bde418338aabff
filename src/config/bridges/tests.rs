use super::*;
use crate::config::Config;

fn topic(filter: &str) -> BridgeTopic {
    toml::from_str(&format!("filter = {filter:?}")).unwrap()
}

fn bridge(name: &str) -> Bridge {
    let addresses = vec!["mqtt://a".to_owned()];
    Bridge { name: name.to_owned(), addresses, topics: vec![topic("a/#")], ..Bridge::default() }
}

fn keys(bridges: Vec<Bridge>) -> Vec<String> {
    Config { bridges, ..Config::default() }.problems().into_iter().map(|problem| problem.key).collect()
}

fn with(change: fn(&mut Bridge)) -> Vec<String> {
    let mut bridge = bridge("b");
    change(&mut bridge);
    keys(vec![bridge])
}

#[test]
fn a_bridge_needs_a_name_of_its_own_an_address_and_topics() {
    assert_eq!(keys(vec![bridge("a"), bridge("b-_9")]), [""; 0]);
    assert_eq!(keys(vec![bridge("a"), bridge("a")]), ["bridges[1].name"]);
    assert_eq!(keys(vec![Bridge::default()]), ["bridges[0].name", "bridges[0].addresses", "bridges[0].topics"]);
    for name in ["", "a b", "a/b", "ä", &"a".repeat(65)] {
        assert_eq!(keys(vec![bridge(name)]), ["bridges[0].name"], "{name:?}");
    }
    assert_eq!(with(|bridge| bridge.addresses[0] = "tcp://a".to_owned()), ["bridges[0].addresses"]);
}

#[test]
fn what_contradicts_itself_is_a_problem() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    type Case = (fn(&mut Bridge), &'static str);
    let cases: [Case; 15] = [
        (|bridge| bridge.ca = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into()), "ca"),
        (|bridge| bridge.insecure_no_hostname = true, "insecure_no_hostname"),
        (|bridge| bridge.alpn = Some("mqtt".to_owned()), "alpn"),
        (|bridge| bridge.password_file = Some(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into()), "user_name"),
        (|bridge| bridge.client_id = Some(String::new()), "client_id"),
        (|bridge| bridge.notification_topic = Some("a/#".to_owned()), "notification_topic"),
        (|bridge| bridge.user = Some(String::new()), "user"),
        (|bridge| bridge.keep_alive = Duration::from_secs(1), "keep_alive"),
        (|bridge| bridge.backoff_min = Duration::from_secs(61), "backoff_min"),
        (|bridge| bridge.backoff_max = Duration::from_secs(86_401), "backoff_max"),
        (|bridge| bridge.idle_timeout = Duration::ZERO, "idle_timeout"),
        (|bridge| bridge.lazy_threshold = 0, "lazy_threshold"),
        (|bridge| bridge.maximum_packet_size = Some(100), "maximum_packet_size"),
        (|bridge| (bridge.protocol_version, bridge.dedup_id) = (BridgeProtocol::V3_1_1, true), "dedup_id"),
        (
            |bridge| {
                bridge.protocol_version = BridgeProtocol::V3_1_1;
                bridge.session_expiry = Some(Duration::from_secs(1));
            },
            "session_expiry",
        ),
    ];
    for (change, key) in cases {
        assert_eq!(with(change), [format!("bridges[0].{key}")]);
    }
    let encrypted = Bridge {
        addresses: vec!["mqtt://a".to_owned(), "wss://b".to_owned()],
        ca: Some(file.into()),
        certificate: Some(file.into()),
        key: Some(file.into()),
        ..bridge("b")
    };
    assert_eq!(keys(vec![encrypted.clone()]), [""; 0]);
    assert_eq!(keys(vec![Bridge { key: None, ..encrypted }]), ["bridges[0].certificate"]);
    assert_eq!(with(|bridge| bridge.password_file = Some("/does/not/exist".into())).len(), 2);
}

#[test]
fn filters_are_valid_with_their_prefixes() {
    let of = |filter: &str, local_prefix: &str, remote_prefix: &str| {
        let topic = BridgeTopic {
            local_prefix: local_prefix.to_owned(),
            remote_prefix: remote_prefix.to_owned(),
            ..topic(filter)
        };
        keys(vec![Bridge { topics: vec![topic], ..bridge("b") }])
    };
    assert_eq!(of("#", "x/", "y/"), [""; 0]);
    assert_eq!(of("+/a", "", "site7/"), [""; 0]);
    assert_eq!(of("a", "", "$share/g/"), ["bridges[0].topics[0].filter"]);
    for filter in ["", "a/#/b", "a+"] {
        assert_eq!(of(filter, "", ""), ["bridges[0].topics[0].filter"], "{filter:?}");
    }
    assert_eq!(of("#", "x", ""), ["bridges[0].topics[0].filter"], "x# is no filter");
    assert_eq!(of("a", "#/", ""), ["bridges[0].topics[0].local_prefix"]);
    assert_eq!(of("a", "", "+/"), ["bridges[0].topics[0].remote_prefix"]);
}

#[test]
fn a_topic_that_says_nothing_goes_out_as_it_was_published() {
    let topic = topic("a");
    assert_eq!((topic.direction, topic.qos, topic.retain), (BridgeDirection::Out, exactly_once(), BridgeRetain::Keep));
}
