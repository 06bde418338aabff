//! Properties that the server must forward unchanged.

use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::property::Value;
use crate::wire::{Publish, Text, property};

/// The message as it arrives at its receivers, at each QoS: a connected one, a disconnected one, and one that
/// subscribes after the message was retained.
fn received_in_every_way(cx: &mut Context, message: &Publish) -> Result<Vec<Publish>, Failure> {
    let topic = cx.topic("a");
    let message = Publish { topic: Text::from(&topic), ..message.clone() };
    let payload = message.payload.clone();
    let away = cx.connecting("away").persistent(600);
    let mut client = cx.connect(away.clone())?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    let mut publisher = cx.client("publisher")?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut received = Vec::new();
    for qos in [0, 2, 1] {
        publisher.publish(message.clone().qos(qos))?;
        received.push(subscriber.expect_message(&topic, payload.as_bytes())?);
    }
    let mut client = cx.connect(away)?;
    // It subscribed at QoS 1; the server may drop QoS 0 messages for it.
    let waiting = client.messages_until_marker(&mut publisher)?;
    let waiting: Vec<Publish> = waiting.into_iter().filter(|message| message.qos > 0).collect();
    let came = format!("{} of them", waiting.len());
    check(waiting.len() <= 2, "at most two messages above QoS 0", came)
        .map_err(|failure| failure.of("MQTT-3.8.4-8"))?;
    check_equal("the number of messages that have waited", waiting.len(), 2)?;
    received.extend(waiting);
    client.disconnect()?;
    // It must not queue later messages.
    cx.client("away")?.disconnect()?;
    publisher.publish(message.qos(1).retain())?;
    let mut late = cx.client("late")?;
    late.subscribe(&topic, 1)?;
    received.push(late.expect_message(&topic, payload.as_bytes())?);
    publisher.publish(Publish::new(&topic, "").qos(1).retain())?;
    Ok(received)
}

fn check_texts(cx: &mut Context, id: u8, values: &[&[u8]]) -> Outcome {
    for value in values {
        let message = Publish::new("", "payload").with(id, *value);
        for received in received_in_every_way(cx, &message)? {
            check_equal("the property", received.properties.text(id), Some(&Text::from(*value)))?;
        }
    }
    for received in received_in_every_way(cx, &Publish::new("", "payload"))? {
        check_equal("the property, which the publisher didn't send,", received.properties.text(id), None::<&Text>)?;
    }
    Ok(())
}

pub(in crate::cases) fn payload_format_indicator(cx: &mut Context) -> Outcome {
    for sent in [Some(1), Some(0), None] {
        let mut message = Publish::new("", "Grüße ✓");
        if let Some(sent) = sent {
            message = message.with(property::PAYLOAD_FORMAT_INDICATOR, sent);
        }
        for received in received_in_every_way(cx, &message)? {
            // 0 is equivalent to the absence of the property.
            let came = received.properties.number(property::PAYLOAD_FORMAT_INDICATOR).unwrap_or_default();
            check_equal("the Payload Format Indicator", came, sent.unwrap_or_default())?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn response_topic(cx: &mut Context) -> Outcome {
    check_texts(cx, property::RESPONSE_TOPIC, &[b"r", "antwort/für/✓ /".as_bytes(), &[b'r'; 1_000]])
}

pub(in crate::cases) fn correlation_data(cx: &mut Context) -> Outcome {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    check_texts(cx, property::CORRELATION_DATA, &[b"", &[0], &all, &[0xFF; 1_000]])
}

pub(in crate::cases) fn content_type(cx: &mut Context) -> Outcome {
    check_texts(cx, property::CONTENT_TYPE, &[b"", b"text/plain; charset=utf-8", "Größe/✓#+".as_bytes()])
}

pub(in crate::cases) fn user_properties(cx: &mut Context) -> Outcome {
    let pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("a", ""), ("ü✓", "#+/"), ("A", "0"), ("b", "0")];
    for count in [0, 1, pairs.len()] {
        let sent: Vec<(String, String)> =
            pairs.iter().take(count).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let message = sent.iter().fold(Publish::new("", "payload"), |message, (name, value)| {
            message.with(property::USER_PROPERTY, Value::Pair(Text::from(name), Text::from(value)))
        });
        for received in received_in_every_way(cx, &message)? {
            check_equal("the User Properties", received.properties.user_properties(), &sent[..])?;
        }
    }
    Ok(())
}

pub(in crate::cases) fn all_together(cx: &mut Context) -> Outcome {
    let message = Publish::new("", "payload")
        .with(property::USER_PROPERTY, ("first", "1"))
        .with(property::CONTENT_TYPE, "type")
        .with(property::CORRELATION_DATA, [0u8, 1].as_slice())
        .with(property::USER_PROPERTY, ("second", "2"))
        .with(property::RESPONSE_TOPIC, "response")
        .with(property::PAYLOAD_FORMAT_INDICATOR, 1u8);
    for received in received_in_every_way(cx, &message)? {
        let properties = &received.properties;
        for id in [property::CONTENT_TYPE, property::CORRELATION_DATA, property::RESPONSE_TOPIC] {
            check_equal("the property", properties.text(id), message.properties.text(id))?;
        }
        check_equal("the Payload Format Indicator", properties.number(property::PAYLOAD_FORMAT_INDICATOR), Some(1))?;
        check_equal("the User Properties", properties.user_properties(), message.properties.user_properties())?;
        // No statement forbids a broker to limit the life of a message that has no Message Expiry Interval.
        let others = [property::TOPIC_ALIAS, property::SUBSCRIPTION_IDENTIFIER];
        let added = others.into_iter().filter(|id| properties.has(*id)).count();
        check(added == 0, "no additional property", format!("{properties:?}"))?;
    }
    Ok(())
}
