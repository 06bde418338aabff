//! Receipts: what became of a message in the queues of durable Sessions, told to the client that published it.

use std::sync::Arc;

use super::harness::{Client, Harness, settings};
use super::packets::*;
use super::redelivery::{refuse_q1, refuse_q2, stored};
use crate::broker::Event::SettingsChanged;
use crate::broker::{QueueOverflow, ReceiptLimits, Settings};
use crate::codec::{
    Ack, ClientPacket, Connect, MessageProperties, MessageProperty, Publish, Qos, ReasonCode, ServerPacket,
};
use crate::routing::{Access, AccessAction, AccessRule, Effect, RuleSource};
use crate::topic::{MountPoint, TopicFilter};

/// A PUBLISH that asks for a receipt to `to`.
fn asking(name: &str, (qos, packet_id): (Qos, u16), to: &'static str) -> Publish {
    let properties = [
        MessageProperty::CorrelationData("order-17".into()),
        user_property("other", "x"),
        user_property("receipt-to", to),
        user_property("receipt-to", "never"),
    ];
    message(name, "m", qos, packet_id).with_properties(MessageProperties::from_properties(properties))
}

fn ask(qos: Qos, packet_id: u16) -> ClientPacket {
    ClientPacket::Publish(asking("t", (qos, packet_id), "receipts"))
}

/// A publisher `p` on the last shard, which is subscribed to the receipts, and durable subscribers to `t` at QoS 2 on all shards.
fn world(shards: usize, settings: Settings, subscribers: &[&str]) -> (Harness, Client, Vec<Client>) {
    let mut harness = Harness::with(shards, settings);
    let subscribers = subscribers.iter().enumerate().map(|(number, name)| {
        let client = harness.connect_to(number % shards, durable(name));
        harness.run(client, [subscribe("t", Q2)]);
        client
    });
    let subscribers = subscribers.collect();
    let publisher = harness.connect_to(shards - 1, transient("p"));
    harness.run(publisher, [subscribe("receipts", Q1)]);
    (harness, publisher, subscribers)
}

/// The receipts that a client got, from the topic of the message on, and other packets. It acknowledges the receipts.
fn receipts(harness: &mut Harness, client: Client) -> Vec<String> {
    let packets = harness.packets(client);
    let mut lines = Vec::new();
    for packet in &packets {
        let ServerPacket::Publish(publish) = packet else {
            lines.push(show(packet));
            continue;
        };
        let text = String::from_utf8(publish.message.payload.to_vec()).unwrap();
        let properties = &publish.message.properties;
        assert_eq!(properties.content_type(), Some("application/vnd.oncemq.receipt+json"), "{text}");
        assert_eq!((properties.correlation_data(), publish.qos), (Some(&b"order-17"[..]), Q1));
        let (id, rest) = text.split_once(",\"topic\":").unwrap();
        assert!(id.starts_with("{\"message_id\":\""), "{id}");
        lines.push(rest.trim_end_matches('}').to_owned());
        harness.send(client, ClientPacket::Puback(Ack::new(publish.packet_id.unwrap(), ReasonCode::Success)));
    }
    lines
}

/// What a receipt says about a message to `t` that was accepted at the start, without its times.
fn told(receivers: u32, outcomes: &str, outstanding: u32, codes: &str) -> String {
    format!(
        "\"t\",\"receivers\":{receivers},\"outcomes\":{{{outcomes}}},\"outstanding\":{outstanding},\
         \"reason_codes\":{{{codes}}}"
    )
}

fn without_times(line: &str) -> &str {
    line.split(",\"accepted_at\"").next().unwrap()
}

/// The only receipt that the client got, without its times.
fn only_receipt(harness: &mut Harness, client: Client) -> String {
    let lines = receipts(harness, client);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    without_times(line).to_owned()
}

fn open(harness: &Harness) -> usize {
    harness.shards[0].shared.receipts_len()
}

fn only(filter: &str) -> Access {
    Access::new(vec![AccessRule {
        effect: Effect::Allow,
        action: AccessAction::Both,
        topic_filter: TopicFilter::try_from(filter).unwrap(),
        source: RuleSource::new("acl", 1, ""),
    }])
}

#[test]
fn a_receipt_comes_when_all_durable_receivers_have_acknowledged() {
    for (shards, qos) in [(1, Q1), (2, Q1), (1, Q2), (2, Q2)] {
        let (mut harness, publisher, subscribers) = world(shards, settings(), &["a", "b"]);
        let watcher = harness.connect(transient("w"));
        harness.run(watcher, [subscribe("t", Q1)]);
        harness.send(publisher, ask(qos, 1));
        assert_eq!(receipts(&mut harness, publisher).len(), 1, "the acknowledgement alone");
        harness.seconds(5);
        let answer = |client| {
            let packets = if qos == Q2 { vec![pubrec(1), pubcomp(1)] } else { vec![puback(1)] };
            packets.into_iter().map(move |packet| (client, packet))
        };
        for (client, packet) in answer(subscribers[0]) {
            harness.send(client, packet);
        }
        harness.seconds(5);
        assert_eq!(receipts(&mut harness, publisher), [""; 0]);
        for (client, packet) in answer(subscribers[1]) {
            harness.send(client, packet);
        }
        harness.seconds(1);
        let times = "\"accepted_at\":1000000,\"first_outcome_at\":1005000,\"last_outcome_at\":1010000";
        let told = told(2, "\"acknowledged\":2", 0, "");
        assert_eq!(receipts(&mut harness, publisher), [format!("{told},{times}")], "{shards} {qos:?}");
        assert_eq!(open(&harness), 0);
        harness.restart(settings());
        assert_eq!((open(&harness), harness.shards[0].counters().receipts_published), (0, 0));
    }
}

#[test]
fn without_durable_receivers_the_receipt_comes_when_the_message_is_stable() {
    let (mut harness, publisher, _) = world(1, settings(), &[]);
    harness.store_answers = false;
    harness.send(publisher, ask(Q1, 1));
    assert_eq!(receipts(&mut harness, publisher), [""; 0], "neither the acknowledgement nor the receipt");
    harness.persist();
    let lines = receipts(&mut harness, publisher);
    assert_eq!(lines[0], "PUBACK 1 0x10");
    harness.persist();
    let times = "\"accepted_at\":1000000,\"first_outcome_at\":null,\"last_outcome_at\":null";
    let lines = lines.into_iter().skip(1).chain(receipts(&mut harness, publisher)).collect::<Vec<_>>();
    assert_eq!(lines, [format!("{},{times}", told(0, "", 0, ""))]);
}

#[test]
fn each_way_out_of_a_queue_is_told() {
    let refused = |code| ClientPacket::Puback(Ack::new(id(1), code));
    let (mut harness, publisher, subscribers) = world(1, settings(), &["a", "b", "c"]);
    harness.run(publisher, [ask(Q1, 1)]);
    harness.send(subscribers[0], refused(ReasonCode::NotAuthorized));
    harness.send(subscribers[1], refused(ReasonCode::QuotaExceeded));
    harness.send(subscribers[2], puback(1));
    let codes = "\"0x87\":1,\"0x97\":1";
    let expected = told(3, "\"acknowledged\":1,\"refused\":2", 0, codes);
    assert_eq!(only_receipt(&mut harness, publisher), expected);

    // Expired, and the Session ended.
    let (mut harness, publisher, subscribers) = world(1, settings(), &["a", "b"]);
    subscribers.iter().for_each(|client| harness.lose(*client));
    let expiring = Publish { message_expiry_interval: Some(5), ..asking("t", (Q1, 1), "receipts") };
    harness.run(publisher, [ClientPacket::Publish(expiring)]);
    harness.seconds(6);
    harness.connect(durable("a"));
    assert_eq!(receipts(&mut harness, publisher), [""; 0]);
    harness.seconds(1_000);
    harness.seconds(1);
    assert_eq!(only_receipt(&mut harness, publisher), told(2, "\"expired\":1,\"session_ended\":1", 0, ""));

    // Pushed out of a full queue, and not taken by one.
    for overflow in [QueueOverflow::DropOldest, QueueOverflow::DropNewest] {
        let full = Settings { queued_messages_max: 1, queue_overflow: overflow, ..settings() };
        let (mut harness, publisher, subscribers) = world(1, full, &["a"]);
        harness.lose(subscribers[0]);
        let plain = publish("t", "other", Q1, 2);
        let packets = if overflow == QueueOverflow::DropOldest { [ask(Q1, 1), plain] } else { [plain, ask(Q1, 1)] };
        packets.into_iter().for_each(|packet| harness.send(publisher, packet));
        let lines = receipts(&mut harness, publisher);
        let told = told(1, "\"queue_full\":1", 0, "");
        assert_eq!(lines.iter().filter(|line| without_times(line) == told).count(), 1, "{lines:?}");
    }

    // Too large, and not allowed any more.
    let mut small = durable("a");
    small.properties.maximum_packet_size = std::num::NonZeroU32::new(30);
    let (mut harness, publisher, subscribers) = world(1, settings(), &["b"]);
    let client = harness.connect(small);
    harness.run(client, [subscribe("t", Q1)]);
    harness.lose(subscribers[0]);
    harness.run(publisher, [ask(Q1, 1)]);
    harness.granted = Some(only("u"));
    harness.connect(durable("b"));
    let expected = told(2, "\"packet_too_large\":1,\"not_authorized\":1", 0, "");
    assert_eq!(only_receipt(&mut harness, publisher), expected);
}

#[test]
fn a_refused_message_is_told_when_it_was_accepted_or_is_a_dead_letter() {
    for accepts in [true, false] {
        let (mut harness, publisher, subscribers) = world(1, stored(), &["a"]);
        harness.run(publisher, [ask(Q2, 1)]);
        harness.send(subscribers[0], refuse_q2(1));
        harness.seconds(3);
        harness.send(subscribers[0], refuse_q2(2));
        harness.seconds(10);
        assert_eq!(receipts(&mut harness, publisher), [""; 0], "it is parked");
        harness.restart(stored());
        let publisher = harness.connect(transient("p"));
        harness.run(publisher, [subscribe("receipts", Q1)]);
        let subscriber = harness.connect(durable("a"));
        if accepts {
            harness.send(subscriber, pubrec(3));
            harness.send(subscriber, pubcomp(3));
        } else {
            harness.send(subscriber, refuse_q2(3));
        }
        harness.seconds(1);
        let expected = match accepts {
            true => told(1, "\"acknowledged\":1", 0, ""),
            false => told(1, "\"dead_letter\":1", 0, "\"0x97\":1"),
        };
        assert_eq!(only_receipt(&mut harness, publisher), expected);
    }
}

#[test]
fn a_receipt_that_is_refused_is_not_sent_again_and_is_no_dead_letter() {
    let (mut harness, publisher, _) = world(1, stored(), &[]);
    let reader = harness.connect(durable("r"));
    harness.run(reader, [subscribe("receipts", Q1)]);
    harness.run(publisher, [ask(Q1, 1)]);
    assert_eq!(harness.packets(reader).len(), 1);
    harness.send(reader, refuse_q1(1));
    harness.seconds(100);
    assert_eq!(harness.packets(reader), []);
    let counters = harness.shards[0].counters();
    assert_eq!((counters.redeliveries_scheduled, counters.dead_letters, counters.dead_letters_kept), (0, 0, 0));
}

#[test]
fn a_copy_of_a_share_is_told_by_the_member_that_gets_it_in_the_end() {
    for (heir_is_durable, qos) in [(true, Q1), (false, Q1), (true, Q2)] {
        let (mut harness, publisher, _) = world(2, settings(), &[]);
        let member = harness.connect_to(0, durable("a"));
        harness.run(member, [subscribe("$share/g/t", qos)]);
        harness.lose(member);
        harness.run(publisher, [ask(qos, 1)]);
        let heir = harness.connect_to(1, if heir_is_durable { durable("b") } else { transient("b") });
        harness.run(heir, [subscribe("$share/g/t", qos)]);
        assert_eq!(open(&harness), 1);
        harness.seconds(1_001); // the first member has ended
        harness.seconds(5);
        if heir_is_durable {
            assert_eq!(receipts(&mut harness, publisher), [""; 0]);
            harness.restart(settings());
            let publisher = harness.connect(transient("p"));
            harness.run(publisher, [subscribe("receipts", Q1)]);
            let heir = harness.connect(durable("b"));
            let answers = if qos == Q1 { vec![puback(1)] } else { vec![pubrec(1), pubcomp(1)] };
            answers.into_iter().for_each(|packet| harness.send(heir, packet));
            assert_eq!(only_receipt(&mut harness, publisher), told(1, "\"acknowledged\":1", 0, ""));
        } else {
            assert_eq!(only_receipt(&mut harness, publisher), told(1, "\"untracked\":1", 0, ""));
        }
    }
}

#[test]
fn a_session_that_moves_between_shards_takes_its_copies_along() {
    let (mut harness, publisher, subscribers) = world(2, settings(), &["a"]);
    harness.run(publisher, [ask(Q1, 1)]);
    harness.lose(subscribers[0]);
    let again = harness.connect_to(1, durable("a"));
    harness.send(again, puback(1));
    assert_eq!(only_receipt(&mut harness, publisher), told(1, "\"acknowledged\":1", 0, ""));
}

/// After a crash behind each record, a message that was acknowledged has its receipt at least once, and a message that is not there has none.
#[test]
fn a_crash_behind_any_record_loses_no_receipt() {
    let (mut harness, publisher, subscribers) = world(1, settings(), &["a", "b", "c"]);
    let reader = harness.connect(durable("r"));
    harness.run(reader, [subscribe("receipts", Q1)]);
    let before = harness.records.len();
    harness.send(publisher, ask(Q2, 1));
    harness.send(publisher, pubrel(1));
    harness.send(subscribers[0], pubrec(1));
    harness.send(subscribers[0], pubcomp(1));
    harness.send(subscribers[1], refuse_q2(1));
    harness.send(subscribers[2], disconnect_and_end());
    harness.seconds(2);
    assert_eq!(receipts(&mut harness, reader).len(), 1);
    for records in before..=harness.records.len() {
        let mut next = harness.crash(records);
        let names = ["a", "b", "c"];
        let clients = names.map(|name| next.connect(durable(name)));
        let mut is_there = false;
        for _ in 0..2 {
            for client in clients {
                for packet in next.packets(client) {
                    is_there |=
                        matches!(&packet, ServerPacket::Publish(publish) if publish.message.topic.as_str() == "t");
                    if let ServerPacket::Publish(publish) = &packet {
                        next.send(client, pubrec(publish.packet_id.unwrap().number()));
                    } else if let ServerPacket::Pubrel(ack) = packet {
                        next.send(client, pubcomp(ack.packet_id.number()));
                    }
                }
            }
        }
        next.seconds(2);
        let reader = next.connect(durable("r"));
        let lines = receipts(&mut next, reader);
        let is_accepted = records > before;
        let is_read = records == harness.records.len();
        assert_eq!(lines.len(), usize::from(is_accepted && !is_read), "{records}: {lines:?}");
        assert!(!is_there || is_accepted, "{records}");
        assert!(lines.iter().all(|line| line.contains("\"receivers\":3") && line.contains("\"outstanding\":0")));
        assert_eq!(open(&next), 0, "{records}");
        let mut again = next;
        again.restart(settings());
        assert_eq!(open(&again), 0, "{records}");
    }
}

/// DISCONNECT that ends the Session.
fn disconnect_and_end() -> ClientPacket {
    let mut disconnect = crate::codec::Disconnect::new(ReasonCode::Success);
    disconnect.session_expiry_interval = Some(0);
    ClientPacket::Disconnect(Box::new(disconnect))
}

fn reason(harness: &mut Harness, client: Client) -> String {
    let packets = harness.packets(client);
    let [ServerPacket::Puback(ack) | ServerPacket::Pubrec(ack)] = &packets[..] else { return format!("{packets:?}") };
    let details = ack.details.clone().unwrap_or_default();
    format!("{:#04X} {}", ack.reason_code.number(), details.reason_string.unwrap_or_default())
}

#[test]
fn a_message_whose_receipt_is_not_possible_is_not_accepted() {
    let (mut harness, publisher, subscribers) = world(1, settings(), &["a"]);
    for (to, expected) in [
        ("$SYS/x", "0x90 receipt-to: a receipt is not published to a topic that begins with $"),
        ("$share/g/t", "0x90 receipt-to: a receipt is not published to a topic that begins with $"),
        ("$stream/x", "0x90 receipt-to: a receipt is not published to a topic that begins with $"),
        ("a/+", "0x90 receipt-to: "),
        ("#", "0x90 receipt-to: "),
        ("", "0x90 receipt-to: "),
    ] {
        for qos in [Q1, Q2] {
            harness.send(publisher, ClientPacket::Publish(asking("t", (qos, 7), to)));
            let reason = reason(&mut harness, publisher);
            assert!(reason.starts_with(expected), "{to:?}: {reason}");
        }
    }
    let long = MessageProperty::CorrelationData(vec![0; 257].into());
    let properties = MessageProperties::from_properties([long, user_property("receipt-to", "receipts")]);
    harness.send(publisher, ClientPacket::Publish(message("t", "m", Q1, 7).with_properties(properties)));
    let expected = "0x97 receipt-to: the Correlation Data has more than 256 bytes";
    assert_eq!(reason(&mut harness, publisher), expected);
    harness.granted = Some(only("t"));
    let other = harness.connect(transient("q"));
    harness.send(other, ask(Q1, 7));
    assert_eq!(reason(&mut harness, other), "0x87 receipt-to: not authorized to publish to this topic");
    assert_eq!((harness.packets(subscribers[0]), open(&harness)), (vec![], 0));
    assert_eq!(harness.shards[0].counters().receipts_refused, 14);
}

#[test]
fn open_receipts_are_bounded_for_all_and_for_each_client() {
    let limits = ReceiptLimits { open_max: 3, per_client_max: 2, ..settings().receipts };
    let (mut harness, publisher, subscribers) = world(1, Settings { receipts: limits, ..settings() }, &["a"]);
    harness.lose(subscribers[0]);
    harness.run(publisher, [ask(Q1, 1), ask(Q1, 2)]);
    harness.send(publisher, ask(Q1, 3));
    let expected = "0x97 receipt-to: too many of this client are open (receipts.open_per_client_max), or they have too many receivers";
    assert_eq!(reason(&mut harness, publisher), expected);
    let other = harness.connect(transient("q"));
    harness.run(other, [ask(Q1, 1)]);
    harness.send(other, ask(Q1, 2));
    assert_eq!(
        reason(&mut harness, other),
        "0x97 receipt-to: too many are open (receipts.open_max), or they have too many receivers"
    );
    harness.run(other, [publish("t", "plain", Q1, 3)]);
    assert_eq!((open(&harness), harness.shards[0].counters().queued_messages), (3, 4));
    let again = harness.connect(durable("a"));
    (1..=4).for_each(|number| harness.send(again, puback(number)));
    harness.seconds(1);
    assert_eq!(open(&harness), 0);
    harness.send(other, ask(Q1, 2));
    assert_eq!(harness.received(other), ["PUBACK 2"]);
}

#[test]
fn a_receipt_is_published_by_the_rules_in_force_then() {
    let (mut harness, publisher, subscribers) = world(1, settings(), &["a"]);
    harness.run(publisher, [ask(Q1, 1)]);
    harness.rights.set("p", only("t"));
    harness.send(subscribers[0], puback(1));
    harness.seconds(2);
    assert_eq!((receipts(&mut harness, publisher), open(&harness)), (vec![], 0));
    assert_eq!(harness.shards[0].counters().receipts_denied, 1);
    harness.restart(settings());
    assert_eq!(open(&harness), 0, "it is deleted");
}

#[test]
fn an_old_receipt_is_published_with_what_is_outstanding() {
    for restarts in [false, true] {
        let limits = ReceiptLimits { age_max: std::time::Duration::from_secs(60), ..settings().receipts };
        let short = || Settings { receipts: limits, ..settings() };
        let (mut harness, mut publisher, subscribers) = world(1, short(), &["a", "b"]);
        harness.run(publisher, [ask(Q1, 1)]);
        harness.send(subscribers[0], puback(1));
        harness.seconds(50);
        assert_eq!(receipts(&mut harness, publisher), [""; 0]);
        if restarts {
            harness.restart(short());
            publisher = harness.connect(transient("p"));
            harness.run(publisher, [subscribe("receipts", Q1)]);
        }
        harness.seconds(11);
        harness.seconds(1);
        assert_eq!(only_receipt(&mut harness, publisher), told(2, "\"acknowledged\":1", 1, ""));
        let late = harness.connect(durable("b"));
        harness.send(late, puback(1));
        harness.seconds(2);
        assert_eq!((receipts(&mut harness, publisher), open(&harness)), (vec![], 0));
    }
}

#[test]
fn messages_of_batches_and_delayed_ones_have_receipts() {
    let (mut harness, publisher, subscribers) = world(1, settings(), &["a"]);
    let json = r#"[
        {"topic": "t", "payload": "1", "user_properties": [["receipt-to", "receipts"]], "correlation_data_base64": "b3JkZXItMTc="},
        {"topic": "t", "payload": "2"}
    ]"#;
    let packet = message("$batch", "", Q1, 1).with_payload(json.to_owned());
    harness.run(publisher, [ClientPacket::Publish(packet)]);
    assert_eq!((harness.packets(subscribers[0]).len(), open(&harness)), (2, 1));
    harness.send(subscribers[0], puback(2));
    assert_eq!(receipts(&mut harness, publisher), [""; 0]);
    harness.send(subscribers[0], puback(1));
    assert_eq!(only_receipt(&mut harness, publisher), told(1, "\"acknowledged\":1", 0, ""));

    let bad = r#"[{"topic": "t"}, {"topic": "t", "user_properties": [["receipt-to", "$SYS/x"]]}]"#;
    harness.send(publisher, ClientPacket::Publish(message("$batch", "", Q1, 2).with_payload(bad.to_owned())));
    let reason_text = reason(&mut harness, publisher);
    assert!(reason_text.starts_with("0x99 message 2 (t): receipt-to: "), "{reason_text}");
    let whole = asking("$batch", (Q1, 3), "receipts").with_payload("[]".to_owned());
    harness.send(publisher, ClientPacket::Publish(whole));
    let expected = "0x99 the batch: receipt-to is set for each message, not for the batch";
    assert_eq!(reason(&mut harness, publisher), expected);

    let delayed = ClientPacket::Publish(asking("$delayed/5/t", (Q1, 4), "receipts"));
    harness.run(publisher, [delayed]);
    assert_eq!(open(&harness), 0);
    harness.seconds(6);
    assert_eq!(open(&harness), 1);
    harness.send(subscribers[0], puback(3));
    assert_eq!(only_receipt(&mut harness, publisher), told(1, "\"acknowledged\":1", 0, ""));
    let denied = ClientPacket::Publish(asking("$delayed/5/t", (Q1, 5), "$SYS/x"));
    harness.send(publisher, denied);
    assert!(reason(&mut harness, publisher).starts_with("0x90 receipt-to: "));
}

#[test]
fn a_duplicate_and_a_message_at_qos_0_have_none_and_receipts_can_be_off() {
    let (mut harness, publisher, subscribers) = world(1, settings(), &["a"]);
    let properties = [user_property("dedup-id", "1"), user_property("receipt-to", "receipts")];
    let properties = MessageProperties::from_properties(properties);
    for number in [1, 2] {
        let packet = message("t", "m", Q1, number).with_properties(properties.clone());
        harness.run(publisher, [ClientPacket::Publish(packet)]);
    }
    assert_eq!((harness.packets(subscribers[0]).len(), open(&harness)), (1, 1));
    harness.run(publisher, [ask(Q0, 0)]);
    assert_eq!(open(&harness), 1);
    let off = ReceiptLimits { open_max: 0, ..settings().receipts };
    harness.event(0, SettingsChanged(Arc::new(Settings { receipts: off, ..settings() })));
    harness.send(publisher, ClientPacket::Publish(asking("t", (Q1, 3), "$SYS/x")));
    assert_eq!((harness.received(publisher), open(&harness)), (vec!["PUBACK 3".to_owned()], 1));
}

#[test]
fn a_client_with_a_mount_point_knows_neither_its_own_nor_other_topics() {
    let mount_point = MountPoint::new("x/").unwrap();
    let mut harness = Harness::new();
    harness.granted = Some(Arc::unwrap_or_clone(Arc::new(Access::everything()).below(Some(&mount_point))));
    let connect = |name: &str| -> Connect { transient(name) };
    let publisher = harness.connect(connect("p"));
    harness.run(publisher, [subscribe("receipts", Q1)]);
    harness.granted = Some(Access::everything());
    let watcher = harness.connect(connect("w"));
    harness.run(watcher, [subscribe("#", Q1)]);
    harness.send(publisher, ask(Q1, 1));
    assert_eq!(harness.packets(watcher).len(), 2);
    let lines = receipts(&mut harness, publisher);
    assert_eq!((lines.len(), without_times(&lines[1])), (2, &*told(0, "", 0, "")));
}

#[test]
fn a_receipt_after_a_restart_has_the_topic_as_its_originator_knows_it() {
    let mount_point = MountPoint::new("x/").unwrap();
    let mut harness = Harness::new();
    let receiver = harness.connect(durable("r"));
    harness.run(receiver, [subscribe("x/t", Q1)]);
    let below = Arc::unwrap_or_clone(Arc::new(Access::everything()).below(Some(&mount_point)));
    harness.granted = Some(below.clone());
    let publisher = harness.connect(transient("p"));
    harness.send(publisher, ask(Q1, 1));
    harness.restart(settings());
    harness.granted = Some(below);
    let publisher = harness.connect(transient("p"));
    harness.run(publisher, [subscribe("receipts", Q1)]);
    harness.granted = Some(Access::everything());
    let receiver = harness.connect(durable("r"));
    harness.packets(receiver);
    harness.run(receiver, [puback(1)]);
    harness.seconds(2);
    assert_eq!(only_receipt(&mut harness, publisher), told(1, "\"acknowledged\":1", 0, ""));
}
