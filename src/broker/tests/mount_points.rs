//! Clients with mount points: each knows the topics below its own, and nobody else does.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use crate::broker::{Answer, Event, Gift, GiftOutcome, Owner, OwnerChange, Query, QueryId, Record, Report, Settings};
use crate::codec::{
    AliasUse, ClientId, ClientPacket, Connect, Disconnect, MessageProperties, MessageProperty, ProtocolVersion,
    Publish, Qos, ReasonCode, ServerPacket, Will,
};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::{MountPoint, TopicFilter};

const BOTH: [(&str, &str); 2] = [("a/", "b/"), ("b/", "a/")];

fn mount(text: &str) -> MountPoint {
    MountPoint::new(text).unwrap()
}

/// Everything below a mount point; `""`: everything.
fn at(text: &str) -> Access {
    Arc::unwrap_or_clone(Arc::new(Access::everything()).below(MountPoint::new(text).ok().as_ref()))
}

fn join(harness: &mut Harness, shard: usize, mount: &str, connect: Connect) -> Client {
    harness.granted = Some(at(mount));
    harness.connect_to(shard, connect)
}

/// Tries to connect; the answer stays in the received packets.
fn knock(harness: &mut Harness, shard: usize, mount: &str, connect: Connect) -> Client {
    harness.granted = Some(at(mount));
    harness.attempt(shard, connect)
}

/// The same client in each mount point, and one without: `a`, `b` and `r`, all with these filters.
fn world(shards: usize, filter: &str, qos: Qos, connect: fn(&str) -> Connect) -> (Harness, [Client; 3]) {
    let mut harness = Harness::with(shards, settings());
    let clients = [("a", "a/"), ("b", "b/"), ("r", "")].map(|(id, mount)| {
        let client = join(&mut harness, usize::from(id == "b") % shards, mount, connect(id));
        harness.run(client, [subscribe(filter, qos)]);
        client
    });
    (harness, clients)
}

fn with_response(name: &'static str, response: &'static str, qos: Qos, packet_id: u16) -> ClientPacket {
    let properties = [
        MessageProperty::ContentType("x".into()),
        MessageProperty::ResponseTopic(response.into()),
        user_property("k", "v"),
    ];
    let properties = MessageProperties::from_properties(properties);
    ClientPacket::Publish(message(name, "m", qos, packet_id).with_properties(properties))
}

/// The Response Topics of the received messages, whose other properties are unchanged.
fn responses(harness: &mut Harness, client: Client) -> Vec<Option<String>> {
    let response = |packet: ServerPacket| {
        let ServerPacket::Publish(publish) = packet else { return None };
        let properties = &publish.message.properties;
        let names = properties.iter().filter(|property| !matches!(property, MessageProperty::ResponseTopic(_)));
        let others = [MessageProperty::ContentType("x".into()), user_property("k", "v")];
        assert_eq!(names.collect::<Vec<_>>(), others);
        Some(properties.response_topic().map(|topic| topic.to_string()))
    };
    harness.packets(client).into_iter().filter_map(response).collect()
}

#[test]
fn each_client_gets_the_messages_of_its_mount_point_by_its_own_names() {
    for shards in [1, 2] {
        for qos in [Q0, Q1, Q2] {
            for connect in [transient as fn(&str) -> Connect, durable, |id| v311(id, false)] {
                let (mut harness, [a, b, root]) = world(shards, "#", qos, connect);
                for (sender, name) in [(a, "x/y"), (b, "x"), (root, "a/z"), (root, "x"), (a, "/"), (a, "b/x")] {
                    let number = u16::from(qos > Q0);
                    let mut packets = vec![publish(name, "m", qos, number)];
                    packets.extend((qos == Q2).then(|| pubrel(number)));
                    for packet in packets {
                        harness.send(sender, packet);
                    }
                }
                let got = [a, b, root].map(|client| {
                    let lines = harness.received(client);
                    let topics = lines.iter().filter_map(|line| line.strip_prefix("PUBLISH ")?.split(' ').next());
                    topics.map(str::to_owned).collect::<Vec<_>>()
                });
                assert_eq!(got[0], ["x/y", "z", "/", "b/x"], "{shards} {qos:?}");
                assert_eq!(got[1], ["x"]);
                assert_eq!(got[2], ["a/x/y", "b/x", "a/z", "x", "a//", "a/b/x"]);
            }
        }
    }
}

#[test]
fn a_wildcard_gets_nothing_that_has_no_name_below_the_mount_point() {
    for filter in ["#", "+", "/#", "+/#", "$share/g/#"] {
        for connect in [transient as fn(&str) -> Connect, durable] {
            let (mut harness, [a, _, root]) = world(2, filter, Q1, connect);
            for name in ["a", "a/", "a/$SYS/x", "a/$x", "ab", "ab/c"] {
                harness.send(root, retain(name, "m", Q0, 0));
                harness.send(root, publish(name, "m", Q1, 1));
            }
            let got = harness.received(a);
            assert_eq!(got, [""; 0], "{filter}");
            let again = harness.ask(a, subscribe(filter, Q1));
            assert_eq!(again, ["SUBACK 1 01"], "nor retained: {filter}");
        }
    }
}

#[test]
fn what_begins_with_a_dollar_is_not_there() {
    let (mut harness, [a, ..]) = world(1, "x", Q0, transient);
    for filter in ["$SYS/#", "$SYS/broker/uptime", "$x", "$share/g/$SYS/#", "$share"] {
        assert_eq!(harness.ask(a, subscribe(filter, Q0)), ["SUBACK 1 8F"], "{filter}");
        assert_eq!(harness.ask(a, unsubscribe(2, &[filter])), ["UNSUBACK 2 11"], "{filter}");
    }
    let several =
        vec![subscription("x", options(Q1)), subscription("$SYS/#", options(Q0)), subscription("y", options(Q2))];
    assert_eq!(harness.ask(a, subscribe_all(3, 0, several)), ["SUBACK 3 01 8F 02"]);
    for name in ["$SYS/x", "$SYS/broker/connection/a/state", "$x/y", "$"] {
        assert_eq!(harness.ask(a, publish(name, "m", Q1, 4)), ["PUBACK 4 0x90"], "{name}");
        assert_eq!(harness.ask(a, publish(name, "m", Q2, 5)), ["PUBREC 5 0x90"], "{name}");
        assert_eq!(harness.ask(a, publish(name, "m", Q0, 0)), [""; 0], "{name}");
    }
    let old = join(&mut harness, 0, "a/", v311("old", true));
    assert_eq!(
        harness.ask(old, publish("$x", "m", Q1, 4)),
        ["PUBACK 4 0x90"],
        "3.1.1 has no code: it is dropped, as what an access rule denies"
    );
}

#[test]
fn retained_messages_stay_below_their_mount_point() {
    let mut harness = Harness::new();
    let setter = join(&mut harness, 0, "a/", transient("p"));
    harness.run(setter, [retain("x", "1", Q1, 1), retain("y", "2", Q0, 0)]);
    for (mount, expected) in [
        ("a/", &["SUBACK 1 01", "PUBLISH x 1 q1 #1 retain", "PUBLISH y 2 q0 retain"][..]),
        ("b/", &["SUBACK 1 01"]),
        ("", &["SUBACK 1 01", "PUBLISH a/x 1 q1 #1 retain", "PUBLISH a/y 2 q0 retain"]),
        ("a/x/", &["SUBACK 1 01"]),
    ] {
        let client = join(&mut harness, 0, mount, transient(&format!("s{}", mount.len())));
        let mut got = harness.ask(client, subscribe("#", Q1));
        got[1..].sort();
        assert_eq!(got, expected, "{mount}");
        harness.lose(client);
    }
    let other = join(&mut harness, 0, "b/", transient("q"));
    harness.run(other, [retain("x", "", Q1, 1)]);
    let client = join(&mut harness, 0, "a/", transient("s"));
    assert_eq!(harness.ask(client, subscribe("x", Q0)).len(), 2, "another one's empty message removes nothing");
    harness.run(setter, [retain("x", "", Q1, 1)]);
    assert_eq!(harness.ask(client, subscribe("x", Q0)), ["SUBACK 1 00"]);
}

#[test]
fn wills_are_published_below_the_mount_point_also_after_a_crash() {
    let properties = MessageProperties::from_properties([MessageProperty::ResponseTopic("back".into())]);
    let last = Will { qos: Q1, retain: true, properties, ..will("gone", "bye") };
    let connect = || Connect { will: Some(last.clone()), ..durable("c") };
    let heard = |harness: &mut Harness| {
        BOTH.map(|(mount, _)| mount)
            .into_iter()
            .chain(["", "a/gone/"])
            .map(|mount| {
                let client = join(harness, 0, mount, transient(&format!("s-{}", mount.replace('/', ""))));
                harness.run(client, [subscribe_with("#", options(Q0))]);
                client
            })
            .collect::<Vec<_>>()
    };
    let mut harness = Harness::new();
    let clients = heard(&mut harness);
    let client = join(&mut harness, 0, "a/", connect());
    let mut crashed = harness.crash(harness.records.len());
    harness.lose(client);
    let mut got = |client: &Client| {
        harness
            .packets(*client)
            .into_iter()
            .map(|packet| {
                let ServerPacket::Publish(publish) = &packet else { panic!("{packet:?}") };
                (show(&packet), publish.message.properties.response_topic().unwrap().to_string())
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(got(&clients[0]), [("PUBLISH gone bye q0".to_owned(), "back".to_owned())]);
    assert_eq!(got(&clients[1]), []);
    assert_eq!(got(&clients[2]), [("PUBLISH a/gone bye q0".to_owned(), "a/back".to_owned())]);
    assert_eq!(got(&clients[3]), []);
    crashed.seconds(1);
    let client = join(&mut crashed, 0, "a/", transient("s"));
    assert_eq!(crashed.ask(client, subscribe("#", Q0)), ["SUBACK 1 00", "PUBLISH gone bye q0 retain"]);
}

#[test]
fn a_will_that_has_no_topic_there_is_refused_and_one_below_sys_is_not_published() {
    let mut harness = Harness::new();
    let refused = |harness: &mut Harness, name: &str| {
        let client = knock(harness, 0, "a/", Connect { will: Some(will(name, "x")), ..transient("c") });
        harness.received(client)
    };
    assert_eq!(refused(&mut harness, "$x"), ["CONNACK 0x90", "CLOSED"]);
    let long = "x".repeat(settings().topic_length_max - 1);
    assert_eq!(refused(&mut harness, &long), ["CONNACK 0x90", "CLOSED"]);
    let root = join(&mut harness, 0, "", transient("r"));
    harness.run(root, [subscribe("#", Q0), subscribe("$SYS/#", Q0)]);
    let state = Will { retain: true, ..will("$SYS/broker/connection/c/state", "0") };
    let bridge = join(&mut harness, 0, "a/", Connect { will: Some(state), is_bridge: true, ..transient("c") });
    harness.lose(bridge);
    assert_eq!(harness.received(root), [""; 0]);
}

#[test]
fn shares_of_different_mount_points_never_mix() {
    for shards in [1, 2] {
        let (mut harness, [a, b, root]) = world(shards, "$share/g/x", Q1, transient);
        for _ in 0..4 {
            harness.send(b, publish("x", "b", Q1, 1));
            harness.send(root, publish("x", "r", Q1, 1));
        }
        assert!(harness.received(a).iter().all(|line| !line.starts_with("PUBLISH")));
        let of = |harness: &mut Harness, client| {
            let lines = harness.received(client);
            lines.into_iter().filter(|line| line.starts_with("PUBLISH")).collect::<Vec<_>>()
        };
        let (of_b, of_root) = (of(&mut harness, b), of(&mut harness, root));
        assert!(of_b.len() == 4 && of_b.iter().all(|line| line.starts_with("PUBLISH x b q1")), "{of_b:?}");
        assert!(of_root.len() == 4 && of_root.iter().all(|line| line.starts_with("PUBLISH x r q1")), "{of_root:?}");
        // The full share is the same one.
        harness.run(root, [unsubscribe(2, &["$share/g/x"]), subscribe("$share/g/a/x", Q1)]);
        for _ in 0..2 {
            harness.run(a, [publish("x", "m", Q0, 0)]);
        }
        harness.lose(a);
        assert!(of(&mut harness, root).iter().any(|line| line.starts_with("PUBLISH a/x m")));
    }
}

#[test]
fn a_message_of_a_share_moves_to_a_member_with_its_own_name_for_it() {
    let mut harness = Harness::with(2, settings());
    let first = join(&mut harness, 0, "a/", transient("first"));
    harness.run(first, [subscribe("$share/g/#", Q1)]);
    let publisher = join(&mut harness, 0, "", transient("p"));
    harness.run(publisher, [publish("a/x", "m", Q1, 1)]);
    assert_eq!(harness.received(first), ["PUBLISH x m q1 #1"]);
    let second = join(&mut harness, 1, "", transient("second"));
    harness.run(second, [subscribe("$share/g/a/#", Q1)]);
    harness.lose(first);
    assert_eq!(harness.received(second), ["PUBLISH a/x m q1 #1"]);
}

#[test]
fn a_session_that_is_away_gets_its_messages_by_its_names_after_a_restart_and_on_another_shard() {
    for (mount, other) in BOTH {
        let mut harness = Harness::with(2, settings());
        let client = join(&mut harness, 0, mount, durable("s"));
        harness.run(client, [subscribe("#", Q2), subscribe("$share/g/y", Q1)]);
        harness.lose(client);
        for (number, (mount, name)) in (1..).zip([(mount, "x"), (other, "x"), ("", "x"), (mount, "y")]) {
            let publisher = join(&mut harness, 1, mount, transient(&format!("p{number}")));
            harness.run(publisher, [publish(name, "m", Q1, 1)]);
        }
        let mut crashed = harness.crash(harness.records.len());
        let expected = ["PUBLISH x m q1 #1", "PUBLISH y m q1 #2"];
        let client = knock(&mut crashed, 1, mount, durable("s"));
        let got: Vec<String> = crashed.received(client).into_iter().map(|line| line.replace(" dup", "")).collect();
        assert_eq!(got[0], "CONNACK 0x00 present");
        assert_eq!(got[1..3], expected);
        let client = knock(&mut harness, 1, mount, durable("s"));
        assert_eq!(harness.received(client)[1..3], expected);
    }
}

#[test]
fn response_topics_are_translated_and_those_of_another_mount_point_are_removed() {
    for qos in [Q0, Q1] {
        let (mut harness, [a, b, root]) = world(2, "#", qos, transient);
        let number = u16::from(qos > Q0);
        harness.run(a, []);
        harness.send(a, with_response("x", "r/1", qos, number));
        harness.send(root, with_response("a/x", "a/r", qos, number));
        harness.send(root, with_response("a/x", "r", qos, number));
        harness.send(root, with_response("a/x", "b/r", qos, number));
        harness.send(root, with_response("a/x", "a/", qos, number));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(responses(&mut harness, a), [some("r/1"), some("r"), None, None, None]);
        let full = [some("a/r/1"), some("a/r"), some("r"), some("b/r"), some("a/")];
        assert_eq!(responses(&mut harness, root), full);
        assert_eq!(responses(&mut harness, b), []);
    }
}

#[test]
fn aliases_of_both_directions_stand_for_the_names_of_the_client() {
    let mut harness = Harness::new();
    let mut connect = transient("s");
    connect.properties.topic_alias_maximum = 2;
    let receiver = join(&mut harness, 0, "a/", connect);
    harness.run(receiver, [subscribe("#", Q0)]);
    let sender = join(&mut harness, 0, "a/", transient("p"));
    let other = join(&mut harness, 0, "b/", transient("q"));
    let root = join(&mut harness, 0, "", transient("r"));
    harness.run(root, [subscribe("#", Q0)]);
    let aliased = |name: &str| {
        let (name, alias_use) = if name.is_empty() { ("?", AliasUse::Known) } else { (name, AliasUse::Set) };
        ClientPacket::Publish(Publish { topic_alias: Some((NonZeroU16::MIN, alias_use)), ..message(name, "m", Q0, 0) })
    };
    for packet in [aliased("topic"), aliased(""), aliased("abc"), aliased("")] {
        harness.send(sender, packet);
    }
    harness.run(other, [aliased("topic"), aliased("")]);
    assert_eq!(
        harness.received(receiver),
        [
            "PUBLISH topic m q0 sets alias 1",
            "PUBLISH topic m q0 by alias 1",
            "PUBLISH abc m q0", // as long as an alias: none is used
            "PUBLISH abc m q0",
        ]
    );
    let topics = ["a/topic", "a/topic", "a/abc", "a/abc", "b/topic", "b/topic"];
    assert_eq!(harness.received(root), topics.map(|topic| format!("PUBLISH {topic} m q0")));
}

#[test]
fn limits_of_topics_count_the_mount_point_and_that_of_packets_does_not() {
    let (mut harness, [a, ..]) = world(1, "x", Q0, transient);
    let longest = "y".repeat(settings().topic_length_max - 2);
    assert_eq!(harness.ask(a, publish(&longest, "m", Q1, 1)), ["PUBACK 1 0x10"]);
    assert_eq!(harness.ask(a, publish(&format!("{longest}y"), "m", Q1, 1)), ["PUBACK 1 0x90"]);
    assert_eq!(harness.ask(a, subscribe(&longest, Q0)), ["SUBACK 1 00"]);
    assert_eq!(harness.ask(a, subscribe(&format!("{longest}y"), Q0)), ["SUBACK 1 8F"]);
    let levels = "/".repeat(settings().topic_levels_max - 2);
    assert_eq!(harness.ask(a, publish(&levels, "m", Q1, 1)), ["PUBACK 1 0x10"]);
    assert_eq!(harness.ask(a, publish(&format!("{levels}/"), "m", Q1, 1)), ["PUBACK 1 0x90"]);
    // The harness asserts that each packet is within the maximum.
    let size = |name: &str| {
        let packet = ServerPacket::Publish(crate::codec::OutgoingPublish::new(message(name, "m", Q0, 0).message));
        NonZeroU32::new(u32::try_from(packet.encoded_len(ProtocolVersion::V5)).unwrap())
    };
    let mut connect = transient("small");
    let name = "n".repeat(150);
    connect.properties.maximum_packet_size = size(&name);
    let small = join(&mut harness, 0, "a/", connect);
    harness.run(small, [subscribe("#", Q0)]);
    harness.run(a, [publish(&name, "m", Q0, 0), publish(&format!("{name}n"), "m", Q0, 0)]);
    assert_eq!(harness.received(small), [format!("PUBLISH {name} m q0")]);
}

#[test]
fn topics_of_65_535_bytes_are_refused_where_the_mount_point_makes_them_longer() {
    let unlimited = Settings { topic_length_max: 65_535, outgoing_bytes_max: 1_000_000, ..settings() };
    let mut harness = Harness::with(1, unlimited);
    let a = join(&mut harness, 0, "a/", transient("a"));
    let (longest, longer) = ("x".repeat(65_533), "x".repeat(65_534));
    assert_eq!(harness.ask(a, subscribe(&longest, Q0)), ["SUBACK 1 00"]);
    assert_eq!(harness.ask(a, publish(&longest, "m", Q0, 0)), [format!("PUBLISH {longest} m q0")]);
    assert_eq!(harness.ask(a, subscribe(&longer, Q0)), ["SUBACK 1 8F"]);
    assert_eq!(harness.ask(a, subscribe(&format!("a/{}", "x".repeat(65_533)), Q0)), ["SUBACK 1 8F"]);
    assert_eq!(harness.ask(a, publish(&longer, "m", Q1, 1)), ["PUBACK 1 0x90"]);
    assert_eq!(harness.ask(a, unsubscribe(2, &[&format!("a/{longest}"), &longest])), ["UNSUBACK 2 11 00"]);
    let response =
        ClientPacket::Publish(message("x", "m", Q1, 1).with_properties(MessageProperties::from_properties([
            MessageProperty::ResponseTopic(longer.clone().into()),
        ])));
    assert_eq!(harness.ask(a, response), ["PUBACK 1 0x90"]);
    let old = join(&mut harness, 0, "a/", v311("old", true));
    assert_eq!(harness.ask(old, publish(&longer, "m", Q1, 1)), ["CLOSED"], "3.1.1 has no other answer to a limit");
}

#[test]
fn access_rules_name_topics_with_the_mount_point() {
    let rule = |effect, filter: &str| AccessRule {
        effect,
        action: AccessAction::Both,
        topic_filter: TopicFilter::try_from(filter).unwrap(),
        source: RuleSource::new("acl", 1, filter),
    };
    let rules = Access::new(vec![rule(Effect::Allow, "a/x/#"), rule(Effect::Allow, "y"), rule(Effect::Deny, "a/x/z")]);
    let mut harness = Harness::new();
    harness.granted = Some(Arc::unwrap_or_clone(Arc::new(rules.clone()).below(Some(&mount("a/")))));
    let a = harness.connect(durable("a"));
    assert_eq!(harness.ask(a, publish("x/1", "m", Q1, 1)), ["PUBACK 1 0x10"]);
    assert_eq!(harness.ask(a, publish("x/z", "m", Q1, 1)), ["PUBACK 1 0x87"]);
    assert_eq!(harness.ask(a, publish("y", "m", Q1, 1)), ["PUBACK 1 0x87"], "the rule is about the full topic y");
    assert_eq!(harness.ask(a, subscribe("#", Q1)), ["SUBACK 1 01"]);
    let root = join(&mut harness, 0, "", transient("r"));
    harness.run(root, ["a/x/2", "a/x/z", "a/y", "y"].map(|name| publish(name, "m", Q0, 0)));
    assert_eq!(harness.received(a), ["PUBLISH x/2 m q0"]);
    // A reload replaces the rules, and the mount point stays: also of a Session that is away.
    let open = Arc::new(Access::everything());
    harness.event(0, Event::AccessChanged { connection: a.id, access: Arc::clone(&open) });
    harness.run(root, ["a/y", "y", "a"].map(|name| publish(name, "m", Q0, 0)));
    assert_eq!(harness.received(a), ["PUBLISH y m q0"]);
    harness.lose(a);
    harness.event(0, Event::AwayAccessChanged { slot: 0, access: open });
    harness.run(root, ["a/1", "y", "a"].map(|name| publish(name, "m", Q1, 1)));
    let a = knock(&mut harness, 0, "a/", durable("a"));
    assert_eq!(harness.received(a), ["CONNACK 0x00 present", "PUBLISH 1 m q1 #1"]);
}

#[test]
fn publishers_of_one_name_in_two_mount_points_have_windows_of_their_own() {
    let once = |number| {
        let properties = MessageProperties::from_properties([user_property("dedup-id", "1")]);
        ClientPacket::Publish(message("x", "m", Q1, number).with_properties(properties))
    };
    let (mut harness, [a, b, _]) = world(1, "x", Q1, transient);
    let of_user = |id| Connect { user_name: Some("u".into()), ..transient(id) };
    harness.verifies = true;
    for mount in ["a/", "b/", ""] {
        let client = join(&mut harness, 0, mount, of_user("p"));
        harness.run(client, [once(1), once(2)]);
        harness.lose(client);
    }
    let [a, b] = [a, b].map(|client| harness.received(client));
    assert_eq!((a, b), (vec!["PUBLISH x m q1 #1".to_owned()], vec!["PUBLISH x m q1 #1".to_owned()]));
}

/// A durable Session of `owner` below `mount` with a queued message.
fn with_queue(mount: &str, owner: &'static str) -> Harness {
    let mut harness = Harness::with(2, settings());
    harness.verifies = true;
    let client = join(&mut harness, 0, mount, of(owner));
    harness.run(client, [subscribe("#", Q1)]);
    harness.lose(client);
    let publisher = join(&mut harness, 0, mount, transient("p"));
    harness.run(publisher, [publish("x", "secret", Q1, 1)]);
    harness.lose(publisher);
    harness
}

fn of(owner: &'static str) -> Connect {
    Connect { user_name: (!owner.is_empty()).then(|| owner.into()), ..durable("s") }
}

#[test]
fn nobody_gets_a_session_with_another_mount_point() {
    for (owner, mount, claimant, other, expected) in [
        ("u", "a/", "u", "b/", "CONNACK 0x00"),
        ("u", "", "u", "a/", "CONNACK 0x00"),
        ("u", "a/", "u", "", "CONNACK 0x00"),
        ("u", "a/", "v", "b/", "CONNACK 0x85"),
        ("u", "a/", "", "a/", "CONNACK 0x85"),
        ("", "a/", "", "b/", "CONNACK 0x85"),
        ("", "", "", "a/", "CONNACK 0x85"),
        ("", "a/", "", "", "CONNACK 0x85"),
        ("", "a/", "u", "b/", "CONNACK 0x85"),
        ("", "", "u", "a/", "CONNACK 0x00"),
        ("", "a/", "u", "a/", "CONNACK 0x00"),
    ] {
        for shard in [0, 1] {
            for is_crashed in [false, true] {
                let harness = with_queue(mount, owner);
                let mut harness = if is_crashed { harness.crash(harness.records.len()) } else { harness };
                harness.verifies = true;
                let client = knock(&mut harness, shard, other, of(claimant));
                let case = format!("{owner:?} below {mount:?}, then {claimant:?} below {other:?}");
                assert_eq!(harness.received(client)[0], expected, "{case}");
                let root = join(&mut harness, 0, "", transient("root"));
                harness.run(root, [publish("x", "m", Q0, 0), publish("a/x", "m", Q0, 0), publish("b/x", "m", Q0, 0)]);
                let lines = harness.received(client);
                assert!(!lines.iter().any(|line| line.starts_with("PUBLISH")), "its subscriptions are gone: {lines:?}");
                if expected == "CONNACK 0x85" {
                    let client = knock(&mut harness, shard, mount, of(owner));
                    assert_eq!(harness.received(client)[0], "CONNACK 0x00 present", "{case}");
                }
            }
        }
    }
}

#[test]
fn the_end_of_a_session_whose_mount_point_has_changed_is_reported() {
    let mut harness = with_queue("a/", "u");
    join(&mut harness, 0, "b/", of("u"));
    let change = |report: &Report| {
        let Report::OwnerChanged { owner, previous, change, .. } = report else { return None };
        Some((previous.to_string(), owner.to_string(), *change))
    };
    let changes: Vec<_> = harness.reports.iter().filter_map(change).collect();
    let (before, after) = ("user \"u\" (password) below \"a/\"", "user \"u\" (password) below \"b/\"");
    assert_eq!(changes, [(before.to_owned(), after.to_owned(), OwnerChange::Ended)]);
}

#[test]
fn a_gift_keeps_the_mount_point() {
    let mut harness = with_queue("a/", "u");
    let access = Some(Arc::new(Access::everything()));
    let gift = Gift { client_id: ClientId::from("s"), owner: Owner::named("v".into()), access };
    harness.event(0, Event::Query(QueryId(7), Box::new(Query::Give(Box::new(gift)))));
    assert!(matches!(harness.answers[..], [(_, Answer::Gift(GiftOutcome::Given))]));
    let mut crashed = harness.crash(harness.records.len());
    for harness in [&mut harness, &mut crashed] {
        harness.verifies = true;
        let root = join(harness, 0, "", transient("root"));
        harness.run(root, [publish("y", "m", Q1, 1), publish("a/y", "m", Q1, 2)]);
        let client = knock(harness, 0, "a/", of("v"));
        let got: Vec<String> = harness.received(client).into_iter().map(|line| line.replace(" dup", "")).collect();
        assert_eq!(got, ["CONNACK 0x00 present", "PUBLISH x secret q1 #1", "PUBLISH y m q1 #2"]);
    }
}

#[test]
fn a_record_without_a_mount_point_is_as_before() {
    let record = |mount: Option<&MountPoint>| {
        let harness = with_queue("", "u");
        let opened = harness.records.iter().find(|record| matches!(record, Record::SessionOpened { .. })).cloned();
        let Some(Record::SessionOpened { key, client_id, owner, session_expiry_interval, will }) = opened else {
            panic!("no record")
        };
        let owner = owner.below(mount);
        Record::SessionOpened { key, client_id, owner, session_expiry_interval, will }.to_bytes().body
    };
    let (plain, mounted) = (record(None), record(Some(&mount("a/"))));
    assert_eq!(mounted[..plain.len()], plain);
    assert_eq!(mounted[plain.len()..], *b"\x02\0\0\0a/");
}

#[test]
fn a_disconnect_with_will_message_publishes_it_below_the_mount_point() {
    let (mut harness, [a, b, root]) = world(1, "#", Q0, transient);
    let connect = Connect { will: Some(will("gone", "bye")), ..transient("c") };
    let client = join(&mut harness, 0, "a/", connect);
    let reason_code = ReasonCode::DisconnectWithWillMessage;
    harness.send(client, ClientPacket::Disconnect(Box::new(Disconnect::new(reason_code))));
    let got = [a, b, root].map(|client| harness.received(client));
    assert_eq!(got, [vec!["PUBLISH gone bye q0".to_owned()], vec![], vec!["PUBLISH a/gone bye q0".to_owned()]]);
}
