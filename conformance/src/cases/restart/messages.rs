//! Messages of Sessions.

use super::broker::restart;
use crate::broker::Signal;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check_equal, check_qos};
use crate::wire::{Ack, AckKind, Packet, Publish, Value, property};

const SIGNALS: [Signal; 2] = [Signal::Term, Signal::Kill];

pub(super) fn acknowledged(cx: &mut Context) -> Outcome {
    for signal in SIGNALS {
        let topic = cx.topic("a");
        let subscriber = cx.connecting("subscriber").persistent(600);
        let mut client = cx.connect(subscriber.clone())?;
        client.subscribe(&topic, 1)?;
        client.disconnect()?;
        cx.client("publisher")?.publish(Publish::new(&topic, "kept").qos(1))?;
        restart(cx, signal)?;
        let mut client = cx.connect(subscriber)?;
        check_equal("Session Present", client.connack().session_present, true)?;
        client.expect_message(&topic, "kept")?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn waiting(cx: &mut Context) -> Outcome {
    const MESSAGES: u8 = 20;
    let topic = cx.topic("a");
    let lasting = cx.connecting("subscriber").persistent(600);
    for signal in SIGNALS {
        let mut client = cx.connect(lasting.clone())?;
        client.subscribe(&topic, 2)?;
        client.disconnect()?;
        let mut publisher = cx.client("publisher")?;
        for qos in [1, 2] {
            for number in 0..MESSAGES {
                publisher.publish(Publish::new(&topic, [number].as_slice()).qos(qos))?;
            }
        }
        restart(cx, signal)?;
        let mut client = cx.connect(lasting.clone())?;
        for qos in [1, 2] {
            for number in 0..MESSAGES {
                let message = client.expect_message(&topic, [number])?;
                check_qos(cx.version(), message.qos, qos)?;
            }
        }
        client.expect_silence_after(&mut cx.client("publisher")?)?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn unacknowledged(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("subscriber").persistent(600);
    for signal in SIGNALS {
        let mut client = cx.connect(lasting.clone())?;
        client.subscribe(&topic, 2)?;
        let mut publisher = cx.client("publisher")?;
        let mut sent = Vec::new();
        for (payload, qos) in [("1", 1), ("2", 2), ("3", 1)] {
            publisher.publish(Publish::new(&topic, payload).qos(qos))?;
            sent.push(client.expect_publish()?);
        }
        restart(cx, signal)?;
        let mut client = cx.connect(lasting.clone())?;
        for first in &sent {
            let again = client.expect_publish()?;
            check_equal("the message", (&again.payload, again.qos), (&first.payload, first.qos))?;
            check_equal("the Packet Identifier", again.packet_id, first.packet_id)?;
            check_equal("DUP", again.dup, true)?;
        }
        for message in &sent {
            client.acknowledge(message)?;
        }
        client.disconnect()?;
        cx.client("subscriber")?.disconnect()?;
    }
    Ok(())
}

pub(super) fn received_at_qos_2(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("publisher").persistent(600);
    let reading = cx.connecting("subscriber").persistent(600);
    for signal in SIGNALS {
        let mut subscriber = cx.connect(reading.clone())?;
        subscriber.subscribe(&topic, 2)?;
        subscriber.disconnect()?;
        let mut client = cx.connect(lasting.clone())?;
        let message = Publish::new(&topic, "once").qos(2).packet_id(9);
        client.send(&message)?;
        client.expect_pubrec(9)?;
        restart(cx, signal)?;
        // The client doesn't know whether its PUBLISH arrived, so it repeats it.
        let mut client = cx.connect(lasting.clone())?;
        check_equal("Session Present", client.connack().session_present, true)?;
        client.send(message.dup())?;
        client.expect_pubrec(9)?;
        client.send(Ack::pubrel(9))?;
        client.expect_pubcomp(9)?;
        let mut subscriber = cx.connect(reading.clone())?;
        subscriber.expect_message(&topic, "once")?;
        subscriber.expect_silence_after(&mut client)?;
        subscriber.disconnect()?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn pubrel(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("subscriber").persistent(600);
    for signal in SIGNALS {
        let mut client = cx.connect(lasting.clone())?;
        client.subscribe(&topic, 2)?;
        cx.client("publisher")?.publish(Publish::new(&topic, "once").qos(2))?;
        let packet_id = client.expect_publish()?.packet_id.unwrap_or_default();
        client.send(Ack::pubrec(packet_id))?;
        client.expect_pubrel(packet_id)?;
        restart(cx, signal)?;
        let mut client = cx.connect(lasting.clone())?;
        // PUBREL only: the broker received PUBREC for the message.
        let packet = client.receive()?;
        let Packet::Ack(ack) = &packet else { return Err(Failure::new("PUBREL", packet.describe())) };
        check_equal("the packet", (ack.kind, ack.packet_id), (AckKind::Pubrel, packet_id))?;
        client.send(Ack::pubcomp(packet_id))?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn properties(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("subscriber").persistent(600);
    let properties: [(u8, Value); 6] = [
        (property::PAYLOAD_FORMAT_INDICATOR, 1.into()),
        (property::CONTENT_TYPE, "text".into()),
        (property::RESPONSE_TOPIC, "answer/to/this".into()),
        (property::CORRELATION_DATA, (&[0, 1, 2, 0xFF]).into()),
        (property::USER_PROPERTY, ("name", "value").into()),
        (property::MESSAGE_EXPIRY_INTERVAL, 600.into()),
    ];
    for signal in SIGNALS {
        let mut client = cx.connect(lasting.clone())?;
        client.subscribe(&topic, 1)?;
        client.disconnect()?;
        let message = properties
            .iter()
            .fold(Publish::new(&topic, "kept").qos(1), |message, (id, value)| message.with(*id, value.clone()));
        cx.client("publisher")?.publish(message)?;
        restart(cx, signal)?;
        let mut client = cx.connect(lasting.clone())?;
        let message = client.expect_message(&topic, "kept")?;
        for (id, value) in &properties {
            let came = message.properties.get(*id);
            let expiry = *id == property::MESSAGE_EXPIRY_INTERVAL && matches!(came, Some(Value::Number(540..=600)));
            if came != Some(value) && !expiry {
                return Err(Failure::new(format!("the property 0x{id:02X} {value:?}"), format!("{message:?}")));
            }
        }
        client.disconnect()?;
    }
    Ok(())
}
