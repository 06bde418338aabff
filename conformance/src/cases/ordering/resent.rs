//! The order of retransmissions and of acknowledgements.

use crate::context::Context;
use crate::failure::{Failure, Outcome, check_equal};
use crate::wire::{Ack, Encode, Publish};

pub(in crate::cases) fn publishes(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let connect = cx.connecting("subscriber").persistent(600);
    let mut subscriber = cx.connect(connect.clone())?;
    subscriber.subscribe(&topic, 2)?;
    for qos in 1..=2 {
        let mut sent = Vec::new();
        for number in 0..6u8 {
            publisher.publish(Publish::new(&topic, &[number]).qos(qos))?;
            sent.push(subscriber.expect_publish()?);
        }
        // Acknowledging one doesn't change the order of the others. It is the first: clients acknowledge in the order of the messages.
        let [first, ..] = &sent[..] else { return Err(Failure::new("six messages", "fewer")) };
        subscriber.acknowledge(first)?;
        subscriber.ping()?;
        subscriber.abandon();
        for number in 6..9u8 {
            publisher.publish(Publish::new(&topic, &[number]).qos(qos))?;
        }
        subscriber = cx.connect(connect.clone())?;
        let mut came = Vec::new();
        for number in 1..9u8 {
            let message = subscriber.expect_publish()?;
            check_equal("the payload", message.payload.as_bytes(), &[number][..])?;
            // Messages after the fifth were published without a connected subscriber, unless the server noticed late.
            if number < 6 {
                check_equal("the DUP flag", message.dup, true)?;
            }
            came.push(message);
        }
        for message in &came {
            subscriber.acknowledge(message)?;
        }
        subscriber.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(in crate::cases) fn pubrels(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut ids = Vec::new();
    for _ in 0..10 {
        publisher.publish(Publish::new(&topic, "").qos(2))?;
        ids.push(subscriber.expect_publish()?.packet_id.unwrap_or_default());
    }
    // In the order of the messages, as MQTT-4.6.0-3 asks of clients: a broker may end the connection otherwise.
    let pubrec = |id: &u16| Ack::pubrec(*id).encode(subscriber.version());
    let pubrecs: Vec<u8> = ids.iter().flat_map(pubrec).collect();
    subscriber.send(pubrecs)?;
    for id in ids {
        subscriber.expect_pubrel(id)?;
    }
    Ok(())
}
