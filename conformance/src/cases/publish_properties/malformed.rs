//! Invalid properties.

use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::packet::Packet;
use crate::wire::property::Value;
use crate::wire::{Ack, Publish, Utf8, property};

pub(in crate::cases) fn payload_format(cx: &mut Context) -> Outcome {
    const INVALID: u8 = 0x99;
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    for (_, payload) in Utf8::ILL_FORMED {
        for qos in 1..=2 {
            let mut publisher = cx.client("publisher")?;
            let publish = Publish::new(&topic, payload).qos(qos).packet_id(1);
            publisher.send(publish.with(property::PAYLOAD_FORMAT_INDICATOR, 1u8))?;
            let answer = publisher.receive();
            let delivered = match answer {
                Err(_) if publisher.link().is_closed() => false,
                Err(failure) => return Err(failure),
                Ok(Packet::Disconnect(disconnect)) => {
                    check_equal("the Reason Code", disconnect.reason_code(), INVALID)?;
                    false
                }
                Ok(Packet::Ack(ack)) if ack.reason_code() < 0x80 => {
                    if qos == 2 {
                        publisher.send(Ack::pubrel(1))?;
                        publisher.expect_pubcomp(1)?;
                    }
                    true
                }
                Ok(Packet::Ack(ack)) => {
                    check_equal("the Reason Code", ack.reason_code(), INVALID)?;
                    false
                }
                Ok(packet) => return Err(Failure::new("an answer to PUBLISH", packet.describe())),
            };
            // The whole message or nothing.
            let came = subscriber.messages_until_marker(&mut cx.client("other")?)?;
            check_equal("whether it is delivered", came.len() == 1, delivered)?;
            let unaltered = came.iter().all(|message| message.payload.as_bytes() == payload);
            check(unaltered, "the payload unaltered", format!("{came:?}"))?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn twice(cx: &mut Context) -> Outcome {
    let properties = [
        (property::TOPIC_ALIAS, Value::from(1u32)),
        (property::RESPONSE_TOPIC, Value::from("r")),
        (property::CORRELATION_DATA, Value::from("c")),
        (property::CONTENT_TYPE, Value::from("t")),
    ];
    for (id, value) in properties {
        let mut client = cx.client("a")?;
        client.send(Publish::new(cx.topic("a"), "").with(id, value.clone()).with(id, value))?;
        // A server without Topic Aliases may refuse the value first.
        let reasons: &[u8] = if id == property::TOPIC_ALIAS { &[0x82, 0x94] } else { &[0x82] };
        client.expect_disconnect_or_close(reasons)?;
    }
    Ok(())
}

pub(in crate::cases) fn wildcards_in_response_topic(cx: &mut Context) -> Outcome {
    for response_topic in ["#", "+", "a/#", "a/+/b", "a+", "a#b"] {
        let mut client = cx.client("a")?;
        client.send(Publish::new(cx.topic("a"), "").with(property::RESPONSE_TOPIC, response_topic))?;
        client.expect_disconnect_or_close(&[0x81, 0x82, 0x90])?;
    }
    Ok(())
}

pub(in crate::cases) fn ill_formed_strings(cx: &mut Context) -> Outcome {
    let texts = Utf8::ILL_FORMED.into_iter().map(|(_, text)| text).chain([Utf8::NUL]);
    for text in texts {
        for id in [property::RESPONSE_TOPIC, property::CONTENT_TYPE] {
            let mut client = cx.client("a")?;
            client.send(Publish::new(cx.topic("a"), "").with(id, text))?;
            client.expect_disconnect_or_close(&[0x81])?;
        }
    }
    Ok(())
}
