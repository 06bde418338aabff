//! What only 5.0 has.

use std::num::{NonZeroU16, NonZeroU32};
use std::thread;
use std::time::Duration;

use oncemq::codec::{
    AliasUse, ClientPacket, Disconnect, MessageProperties, MessageProperty, Publish, Qos, ReasonCode,
    SubscriptionOptions,
};

use super::bench::{Bench, Statement, V5, ensure};
use crate::verify::client::{Client, Outcome, Session};

pub(super) const STATEMENTS: &[Statement] = &[
    Statement { id: "MQTT-3.3.2-5", version: V5, what: "a message that has expired is not delivered", check: expired },
    Statement { id: "MQTT-3.3.2-6", version: V5, what: "the remaining Message Expiry Interval is sent", check: expiry },
    Statement { id: "MQTT-3.3.2-12", version: V5, what: "a Topic Alias stands for its topic", check: alias },
    Statement { id: "MQTT-3.3.2-18", version: V5, what: "User Properties keep their order", check: user_properties },
    Statement { id: "MQTT-3.3.4-3", version: V5, what: "the Subscription Identifier is sent", check: identifier },
    Statement { id: "MQTT-3.3.4-9", version: V5, what: "Receive Maximum is kept", check: receive_maximum },
    Statement {
        id: "MQTT-3.1.2-25",
        version: V5,
        what: "a packet above Maximum Packet Size is not sent",
        check: packet_size,
    },
    Statement { id: "MQTT-3.8.3-3", version: V5, what: "No Local: a client gets nothing from itself", check: no_local },
    Statement {
        id: "MQTT-4.8.2-3",
        version: V5,
        what: "a Shared Subscription's QoS is kept, one member gets it",
        check: shared,
    },
];

fn subscribed(bench: &Bench) -> Outcome<(Client, Client, String)> {
    let topic = bench.topic("a");
    let mut subscriber = bench.client("subscriber")?;
    subscriber.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    Ok((subscriber, bench.client("publisher")?, topic))
}

/// A kept Session that is away, and messages that expire after one second and after 100 seconds.
fn queued_with_expiry(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    let mut subscriber = bench.kept("subscriber")?;
    subscriber.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    // Until the broker knows that it is away, a message is sent to it, and does not expire any more.
    subscriber.send(&ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::NormalDisconnection))))?;
    subscriber.expect_close()?;
    let mut publisher = bench.client("publisher")?;
    for (payload, seconds) in [("short", 1), ("long", 100)] {
        let publish = publisher.compose(&topic, payload, Qos::AtLeastOnce)?;
        publisher.put_packet(Publish { message_expiry_interval: Some(seconds), ..publish })?;
    }
    thread::sleep(Duration::from_millis(1_300));
    Ok(())
}

fn expired(bench: &Bench) -> Outcome {
    queued_with_expiry(bench)?;
    let mut subscriber = bench.kept("subscriber")?;
    subscriber.message("long")?;
    subscriber.expect_nothing()
}

fn expiry(bench: &Bench) -> Outcome {
    queued_with_expiry(bench)?;
    let left = bench.kept("subscriber")?.message("long")?.message_expiry_interval;
    ensure(left.is_some_and(|left| (60..=99).contains(&left)), || format!("{left:?} seconds are left of 100"))
}

fn alias(bench: &Bench) -> Outcome {
    let (mut subscriber, mut publisher, topic) = subscribed(bench)?;
    let Some(alias) = NonZeroU16::new(publisher.connack.properties.topic_alias_maximum).map(|_| NonZeroU16::MIN) else {
        return Ok(());
    };
    for (payload, alias_use) in [("sets", AliasUse::Set), ("uses", AliasUse::Known)] {
        let publish = publisher.compose(&topic, payload, Qos::AtLeastOnce)?;
        publisher.put_packet(Publish { topic_alias: Some((alias, alias_use)), ..publish })?;
        let got = subscriber.message(payload)?.message.topic.clone();
        ensure(got.as_str() == topic, || format!("{payload}: the topic is {got:?}"))?;
    }
    Ok(())
}

fn user_properties(bench: &Bench) -> Outcome {
    let (mut subscriber, mut publisher, topic) = subscribed(bench)?;
    let properties = ["b", "a", "b"].map(|name| MessageProperty::UserProperty(name.into(), "value".into()));
    let properties = MessageProperties::from_properties(properties);
    let publish = publisher.compose(&topic, "m", Qos::AtLeastOnce)?;
    publisher.put_packet(publish.with_properties(properties.clone()))?;
    let got = subscriber.message("m")?;
    ensure(got.message.properties == properties, || format!("{:?} came", got.message.properties))
}

fn identifier(bench: &Bench) -> Outcome {
    let (topic, identifier) = (bench.topic("a"), NonZeroU32::new(77));
    let mut client = bench.client("client")?;
    client.subscribe_with(&[(&topic, SubscriptionOptions::new(Qos::AtLeastOnce))], identifier)?;
    bench.client("publisher")?.put(&topic, "m", Qos::AtMostOnce)?;
    let got = client.message("m")?;
    ensure(got.subscription_ids().iter().copied().map(Some).eq([identifier]), || {
        format!("{:?} came", got.subscription_ids())
    })
}

fn receive_maximum(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    let mut connect = bench.connect("subscriber", Session::Transient);
    connect.properties.receive_maximum = NonZeroU16::new(2).unwrap_or(NonZeroU16::MIN);
    let mut subscriber = Client::accepted(bench.address, &connect)?;
    subscriber.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    let mut publisher = bench.client("publisher")?;
    for payload in ["1", "2", "3"] {
        publisher.put(&topic, payload, Qos::AtLeastOnce)?;
    }
    let first = subscriber.publish()?.packet_id.ok_or("no identifier")?;
    subscriber.publish()?;
    subscriber.expect_nothing()?;
    let ack = oncemq::codec::Ack::new(first, oncemq::codec::ReasonCode::Success);
    subscriber.send(&ClientPacket::Puback(ack))?;
    subscriber.message("3").map(drop)
}

fn packet_size(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    let mut connect = bench.connect("subscriber", Session::Transient);
    connect.properties.maximum_packet_size = NonZeroU32::new(256);
    let mut subscriber = Client::accepted(bench.address, &connect)?;
    subscriber.subscribe(&[(&topic, Qos::AtLeastOnce)])?;
    let mut publisher = bench.client("publisher")?;
    publisher.put(&topic, &"x".repeat(1_000), Qos::AtLeastOnce)?;
    publisher.put(&topic, "small", Qos::AtLeastOnce)?;
    subscriber.message("small").map(drop)
}

fn no_local(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    let mut client = bench.client("client")?;
    let options = SubscriptionOptions { no_local: true, ..SubscriptionOptions::new(Qos::AtLeastOnce) };
    client.subscribe_with(&[(&topic, options)], None)?;
    client.put(&topic, "own", Qos::AtLeastOnce)?;
    bench.client("publisher")?.put(&topic, "other", Qos::AtLeastOnce)?;
    client.message("other").map(drop)
}

fn shared(bench: &Bench) -> Outcome {
    let topic = bench.topic("a");
    let filter = format!("$share/group/{topic}");
    let mut members = [bench.client("first")?, bench.client("second")?];
    for member in &mut members {
        member.subscribe(&[(&filter, Qos::AtLeastOnce)])?;
    }
    let mut publisher = bench.client("publisher")?;
    let mut got = 0;
    for number in 0..20 {
        publisher.put(&topic, &number.to_string(), Qos::ExactlyOnce)?;
    }
    for member in &mut members {
        while let Ok(Some(oncemq::codec::ServerPacket::Publish(publish))) =
            member.link.receive(tokio::time::Instant::now() + Duration::from_millis(200))
        {
            ensure(publish.qos == Qos::AtLeastOnce, || format!("QoS {} came", publish.qos.level()))?;
            got += 1;
        }
    }
    ensure(got == 20, || format!("the members got {got} messages of 20"))
}
