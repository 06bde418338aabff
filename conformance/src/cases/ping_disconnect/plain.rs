//! Plain connections.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Outcome, check_equal};
use crate::wire::kind::Kind;
use crate::wire::{Encode, Pingreq, Publish, Subscribe, Unsubscribe};

pub(super) fn ping(cx: &mut Context) -> Outcome {
    for keep_alive in [0, 60] {
        let mut client = cx.connect(cx.connecting("a").keep_alive(keep_alive))?;
        client.ping()?;
        // Many PINGREQs in one write get as many responses.
        client.send(Pingreq.encode(cx.version()).repeat(10))?;
        for _ in 0..10 {
            check_equal("the packet", client.receive()?.kind(), Kind::Pingresp)?;
        }
        client.subscribe(&cx.topic("a"), 0)?;
        client.ping()?;
        client.expect_silence_by_ping()?;
    }
    Ok(())
}

pub(super) fn no_extensions(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    let suback = subscriber.subscribe(&topic, 2)?;
    for qos in 0..3 {
        publisher.publish(Publish::new(&topic, "payload").qos(qos))?;
        let message = subscriber.expect_message(&topic, "payload")?;
        check_equal("the QoS", Some(message.qos), suback.reasons.first().map(|granted| qos.min(*granted)))?;
    }
    subscriber.unsubscribe(&topic)?;
    publisher.publish(Publish::new(&topic, "no more"))?;
    subscriber.expect_silence_after(&mut publisher)?;
    subscriber.disconnect()?;
    publisher.disconnect()
}

pub(super) fn stream_of_bytes(cx: &mut Context) -> Outcome {
    // The message belongs to another subscription than UNSUBSCRIBE: of the same one, the server need not send what it has not begun to
    // send.
    let (topic, other) = (cx.topic("a"), cx.topic("b"));
    let packets = [
        Subscribe::new(&topic, 1).packet_id(1).encode(cx.version()),
        Subscribe::new(&other, 1).packet_id(4).encode(cx.version()),
        Publish::new(&topic, "payload").qos(1).packet_id(2).encode(cx.version()),
        Unsubscribe::new(&other).packet_id(3).encode(cx.version()),
        Pingreq.encode(cx.version()),
    ]
    .concat();
    let mut client = cx.client("a")?;
    for byte in &packets {
        client.send(vec![*byte])?;
    }
    expect_answers(&mut client, &topic)?;
    let mut client = cx.client("a")?;
    client.send(packets)?;
    expect_answers(&mut client, &topic)
}

fn expect_answers(client: &mut Client, topic: &str) -> Outcome {
    client.expect_suback(1)?;
    client.expect_suback(4)?;
    client.expect_puback(2)?;
    client.expect_message(topic, "payload")?;
    client.expect_unsuback(3)?;
    client.expect_kind(Kind::Pingresp)?;
    client.expect_silence_by_ping()
}
