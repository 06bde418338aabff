//! SUBSCRIBE, PUBLISH and the three levels of QoS.

use oncemq::codec::{Ack, ClientPacket, EncodedUserProperties, Publish, Qos, ReasonCode, ServerPacket, Unsubscribe};
use oncemq::topic::Filter;

use super::bench::{Bench, Statement, V3, V5, ensure};
use crate::verify::client::{Client, Outcome};

pub(super) const STATEMENTS: &[Statement] = &[
    Statement { id: "MQTT-3.8.4-5", version: V3, what: "SUBACK has a code for each filter, in order", check: suback },
    Statement { id: "MQTT-3.8.4-6", version: V5, what: "SUBACK has a code for each filter, in order", check: suback },
    Statement {
        id: "MQTT-3.8.4-6",
        version: V3,
        what: "QoS is the lower of publication and subscription",
        check: lower_qos,
    },
    Statement { id: "MQTT-4.3.2-2", version: V3, what: "QoS 1 is acknowledged and delivered", check: qos_1 },
    Statement { id: "MQTT-4.3.2-4", version: V5, what: "QoS 1 is acknowledged and delivered", check: qos_1 },
    Statement {
        id: "MQTT-4.3.3-2",
        version: V3,
        what: "a QoS 2 message that is repeated is delivered once",
        check: qos_2_repeated,
    },
    Statement {
        id: "MQTT-4.3.3-10",
        version: V5,
        what: "a QoS 2 message that is repeated is delivered once",
        check: qos_2_repeated,
    },
    Statement {
        id: "MQTT-4.3.3-12",
        version: V5,
        what: "after PUBCOMP its identifier is a new message's",
        check: qos_2_reused,
    },
    Statement {
        id: "MQTT-4.4.0-1",
        version: V3,
        what: "what is not acknowledged is sent again, with DUP",
        check: sent_again,
    },
    Statement {
        id: "MQTT-4.4.0-1",
        version: V5,
        what: "what is not acknowledged is sent again, with DUP",
        check: sent_again,
    },
    Statement { id: "MQTT-4.6.0-6", version: V5, what: "the order of a topic is kept", check: ordered },
    Statement { id: "MQTT-3.3.1-4", version: V5, what: "a PUBLISH at QoS 3 ends the connection", check: qos_3 },
    Statement {
        id: "MQTT-3.8.1-1",
        version: V5,
        what: "a SUBSCRIBE with wrong flags ends the connection",
        check: wrong_flags,
    },
    Statement {
        id: "MQTT-3.10.4-4",
        version: V5,
        what: "UNSUBSCRIBE is answered and ends the subscription",
        check: unsubscribe,
    },
    Statement { id: "MQTT-4.7.2-1", version: V5, what: "# does not match topics that begin with $", check: dollar },
];

fn suback(bench: &Bench) -> Outcome {
    let (a, b) = (bench.topic("a"), bench.topic("+/b"));
    let filters = [(&*a, Qos::ExactlyOnce), (&*b, Qos::AtMostOnce), ("c/#", Qos::AtLeastOnce)];
    let codes = bench.client("client")?.subscribe(&filters)?.reason_codes;
    let expected = [ReasonCode::GrantedQos2, ReasonCode::Success, ReasonCode::GrantedQos1];
    ensure(codes == expected, || format!("the codes are {codes:?}"))
}

fn subscribed(bench: &Bench, qos: Qos) -> Outcome<(Client, Client, String)> {
    let topic = bench.topic("a");
    let mut subscriber = bench.client("subscriber")?;
    subscriber.subscribe(&[(&topic, qos)])?;
    Ok((subscriber, bench.client("publisher")?, topic))
}

fn lower_qos(bench: &Bench) -> Outcome {
    let (mut subscriber, mut publisher, topic) = subscribed(bench, Qos::AtLeastOnce)?;
    for (qos, expected) in [(Qos::ExactlyOnce, Qos::AtLeastOnce), (Qos::AtMostOnce, Qos::AtMostOnce)] {
        publisher.put(&topic, "m", qos)?;
        let got = subscriber.message("m")?.qos;
        ensure(got == expected, || format!("QoS {} came as {}", qos.level(), got.level()))?;
    }
    Ok(())
}

fn qos_1(bench: &Bench) -> Outcome {
    let (mut subscriber, mut publisher, topic) = subscribed(bench, Qos::ExactlyOnce)?;
    publisher.put(&topic, "m", Qos::AtLeastOnce)?;
    let got = subscriber.message("m")?;
    ensure(got.qos == Qos::AtLeastOnce && !got.dup, || format!("{got:?}"))
}

fn qos_2_repeated(bench: &Bench) -> Outcome {
    let (mut subscriber, mut publisher, topic) = subscribed(bench, Qos::ExactlyOnce)?;
    let publish = publisher.compose(&topic, "m", Qos::ExactlyOnce)?;
    let id = publish.packet_id.ok_or("no identifier")?;
    for dup in [false, true] {
        publisher.send(&ClientPacket::Publish(Publish { dup, ..publish.clone() }))?;
        publisher.expect("PUBREC", |packet| matches!(packet, ServerPacket::Pubrec(ack) if ack.packet_id == id))?;
    }
    for _ in 0..2 {
        publisher.send(&ClientPacket::Pubrel(Ack::new(id, ReasonCode::Success)))?;
        publisher.expect("PUBCOMP", |packet| matches!(packet, ServerPacket::Pubcomp(ack) if ack.packet_id == id))?;
    }
    subscriber.message("m")?;
    subscriber.expect_nothing()
}

fn qos_2_reused(bench: &Bench) -> Outcome {
    let (mut subscriber, mut publisher, topic) = subscribed(bench, Qos::ExactlyOnce)?;
    let publish = publisher.compose(&topic, "first", Qos::ExactlyOnce)?;
    publisher.put_packet(publish.clone())?;
    subscriber.message("first")?;
    publisher.put_packet(publish.with_payload("second"))?;
    subscriber.message("second").map(drop)
}

fn sent_again(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    let mut subscriber = bench.kept("subscriber")?;
    subscriber.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    bench.client("publisher")?.put(&topic, "m", Qos::AtLeastOnce)?;
    let first = subscriber.publish()?;
    drop(subscriber);
    let again = bench.kept("subscriber")?.message("m")?;
    ensure(again.dup && again.packet_id == first.packet_id, || format!("{again:?} repeats {first:?}"))
}

fn ordered(bench: &Bench) -> Outcome {
    let (mut subscriber, mut publisher, topic) = subscribed(bench, Qos::AtLeastOnce)?;
    for number in 0..50 {
        let publish = publisher.compose(&topic, &number.to_string(), Qos::AtLeastOnce)?;
        publisher.link.send(&ClientPacket::Publish(publish));
    }
    publisher.link.flush().map_err(|error| error.to_string())?;
    (0..50).try_for_each(|number| subscriber.message(&number.to_string()).map(drop))
}

fn qos_3(bench: &Bench) -> Outcome {
    let mut client = bench.client("client")?;
    client.send_bytes(&[0x36, 6, 0, 1, b'a', 0, 1, 0])?;
    let reason_code = client.expect_close()?;
    ensure(reason_code.is_none_or(|code| code == ReasonCode::MalformedPacket), || {
        format!("closed with {reason_code:?}")
    })
}

fn wrong_flags(bench: &Bench) -> Outcome {
    let mut client = bench.client("client")?;
    client.send_bytes(&[0x80, 7, 0, 1, 0, 0, 1, b'a', 0])?;
    client.expect_close().map(drop)
}

fn unsubscribe(bench: &Bench) -> Outcome {
    let (mut subscriber, mut publisher, topic) = subscribed(bench, Qos::AtLeastOnce)?;
    let filter = Filter::try_from(&*topic).map_err(|error| error.to_string())?;
    let packet_id = subscriber.packet_id();
    let user_properties = EncodedUserProperties::new();
    let packet = Unsubscribe { packet_id, user_properties, filters: vec![filter] };
    subscriber.send(&ClientPacket::Unsubscribe(Box::new(packet)))?;
    subscriber
        .expect("UNSUBACK", |packet| matches!(packet, ServerPacket::Unsuback(ack) if ack.packet_id == packet_id))?;
    publisher.put(&topic, "m", Qos::AtLeastOnce)?;
    subscriber.expect_nothing()
}

fn dollar(bench: &Bench) -> Outcome {
    let mut subscriber = bench.client("subscriber")?;
    subscriber.subscribe(&[("#", Qos::AtMostOnce)])?;
    let mut all = bench.client("all")?;
    all.subscribe(&[("$SYS/#", Qos::AtMostOnce)])?;
    // The broker's own topics are there, and are not matched. Retained messages of other checks may be.
    all.publish()?;
    while let Ok(Some(ServerPacket::Publish(publish))) = subscriber.link.receive(tokio::time::Instant::now() + QUIET) {
        let topic = publish.message.topic.as_str();
        ensure(!topic.starts_with('$'), || format!("# has matched {topic}"))?;
    }
    Ok(())
}

const QUIET: std::time::Duration = std::time::Duration::from_millis(120);
