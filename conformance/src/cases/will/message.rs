//! The content of the Will Message.

use super::super::connect::expect_refused;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal, check_qos};
use crate::wire::{Filter, Text, Utf8, Value, Will, property};

pub(super) fn qos(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    let granted = subscriber.subscribe(&topic, 2)?.reasons.first().copied().unwrap_or_default();
    for qos in 0..=2 {
        // Arbitrary bytes, and an empty payload.
        for payload in [b"gone".as_slice(), b"", b"\0\xFF"] {
            let connect = cx.connecting("willing").will(Will::new(&topic, payload).qos(qos));
            cx.connect(connect)?.abandon();
            let will = subscriber.expect_message(&topic, payload)?;
            check_qos(cx.version(), will.qos, qos.min(granted))?;
            check_equal("DUP", will.dup, false)?;
        }
    }
    Ok(())
}

pub(super) fn not_retained(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    cx.connect(cx.connecting("willing").will(Will::new(&topic, "gone")))?.abandon();
    let will = subscriber.expect_message(&topic, "gone")?;
    check_equal("the RETAIN flag", will.retain, false)?;
    let mut later = cx.client("later")?;
    later.subscribe(&topic, 0)?;
    later.expect_silence_after(&mut subscriber)
}

pub(super) fn retained(cx: &mut Context) -> Outcome {
    for qos in 0..=u8::from(cx.announced().properties.number(property::MAXIMUM_QOS) != Some(0)) {
        let topic = cx.topic(&format!("will/{qos}"));
        let mut subscriber = cx.client("subscriber")?;
        subscriber.subscribe(&topic, 1)?;
        cx.connect(cx.connecting("willing").will(Will::new(&topic, "gone").qos(qos).retain()))?.abandon();
        let will = subscriber.expect_message(&topic, "gone")?;
        check_equal("the RETAIN flag for a subscription that was there", will.retain, false)?;
        let mut later = cx.client("later")?;
        later.subscribe(&topic, 1)?;
        let will = later.expect_message(&topic, "gone")?;
        check_equal("the RETAIN flag for a new subscription", will.retain, true)?;
        // The suite removes retained messages that it published, but it doesn't know about this Will.
        later.publish(crate::wire::Publish::new(&topic, "").retain())?;
        later.ping()?;
    }
    Ok(())
}

pub(super) fn retain_as_published(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, Filter::RETAIN_AS_PUBLISHED)?;
    let will = Will::new(&topic, "gone");
    for will in [will.clone(), will.retain()] {
        cx.connect(cx.connecting("willing").will(will.clone()))?.abandon();
        let message = subscriber.expect_message(&topic, "gone")?;
        check_equal("the RETAIN flag", message.retain, will.retain)?;
    }
    subscriber.publish(crate::wire::Publish::new(&topic, "").retain())?;
    subscriber.ping()
}

pub(super) fn queued(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let lasting = cx.connecting("subscriber").persistent(60);
    let mut subscriber = cx.connect(lasting.clone())?;
    subscriber.subscribe(&topic, 1)?;
    subscriber.disconnect()?;
    let mut witness = cx.client("witness")?;
    witness.subscribe(&topic, 1)?;
    cx.connect(cx.connecting("willing").will(Will::new(&topic, "gone").qos(1)))?.abandon();
    witness.expect_message(&topic, "gone")?;
    cx.connect(lasting)?.expect_message(&topic, "gone")?;
    Ok(())
}

pub(super) fn no_topic_name(cx: &mut Context) -> Outcome {
    for topic in [cx.topic("+"), cx.topic("#"), "#".to_owned(), "+".to_owned(), cx.topic("+/a"), String::new()] {
        expect_refused(cx, &cx.connecting("a").will(Will::new(topic, "gone")), &[0x81, 0x82, 0x90])?;
    }
    Ok(())
}

pub(super) fn properties(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let properties: [(u8, Value); 6] = [
        (property::PAYLOAD_FORMAT_INDICATOR, 1.into()),
        (property::MESSAGE_EXPIRY_INTERVAL, 600.into()),
        (property::CONTENT_TYPE, "text".into()),
        (property::RESPONSE_TOPIC, "answer/to/this".into()),
        (property::CORRELATION_DATA, (&[0, 1, 2, 0xFF]).into()),
        (property::USER_PROPERTY, ("name", "value").into()),
    ];
    let all = properties.iter().fold(Will::new(&topic, "all"), |will, (id, value)| will.with(*id, value.clone()));
    cx.connect(cx.connecting("willing").will(all.with(property::WILL_DELAY_INTERVAL, 0)))?.abandon();
    let message = subscriber.expect_message(&topic, "all")?;
    for (id, value) in &properties {
        let came = message.properties.get(*id);
        // Up to ten seconds may have passed.
        let expiry = *id == property::MESSAGE_EXPIRY_INTERVAL && matches!(came, Some(Value::Number(590..=600)));
        check(expiry || came == Some(value), format!("the property 0x{id:02X} {value:?}"), format!("{message:?}"))?;
    }
    // A property that is not set is not sent.
    cx.connect(cx.connecting("willing").will(Will::new(&topic, "none")))?.abandon();
    let message = subscriber.expect_message(&topic, "none")?;
    let plain = message
        .properties
        .0
        .iter()
        .all(|one| one.id == property::PAYLOAD_FORMAT_INDICATOR && one.value == Value::Number(0));
    check(plain, "no properties", format!("{message:?}"))
}

pub(super) fn user_properties(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let pairs = [("b", "2"), ("a", "1"), ("b", "1"), ("", ""), ("a", "1"), ("c", "é")];
    let will = pairs.iter().fold(Will::new(&topic, "gone"), |will, pair| will.with(property::USER_PROPERTY, *pair));
    cx.connect(cx.connecting("willing").will(will))?.abandon();
    let message = subscriber.expect_message(&topic, "gone")?;
    let expected = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    check_equal("the User Properties", message.properties.user_properties(), expected)
}

pub(super) fn properties_twice(cx: &mut Context) -> Outcome {
    let properties: [(u8, Value, Value); 6] = [
        (property::WILL_DELAY_INTERVAL, 0.into(), 5.into()),
        (property::PAYLOAD_FORMAT_INDICATOR, 0.into(), 1.into()),
        (property::MESSAGE_EXPIRY_INTERVAL, 10.into(), 20.into()),
        (property::CONTENT_TYPE, "text".into(), "".into()),
        (property::RESPONSE_TOPIC, "a".into(), "b".into()),
        (property::CORRELATION_DATA, "a".into(), "b".into()),
    ];
    for (id, one, other) in properties {
        let will = Will::new(cx.topic("will"), "gone").with(id, one.clone());
        expect_refused(cx, &cx.connecting("a").will(will.clone().with(id, one)), &[0x82])?;
        let apart = will.with(property::USER_PROPERTY, ("name", "value")).with(id, other);
        expect_refused(cx, &cx.connecting("a").will(apart), &[0x82])?;
    }
    Ok(())
}

pub(super) fn payload_format(cx: &mut Context) -> Outcome {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    let payloads = Utf8::ILL_FORMED.into_iter().map(|(_, text)| text).chain(["well-formed é".as_bytes()]);
    for payload in payloads {
        let will = Will::new(&topic, payload).with(property::PAYLOAD_FORMAT_INDICATOR, 1);
        let mut client = cx.open()?;
        client.send_connect(&cx.connecting("willing").will(will))?;
        match client.expect_connack_or_close()?.map(|connack| connack.reason) {
            Some(0) => {
                client.abandon();
                let message = subscriber.expect_message(&topic, payload)?;
                let format = message.properties.number(property::PAYLOAD_FORMAT_INDICATOR);
                check_equal("the Payload Format Indicator", format, Some(1))?;
            }
            Some(0x99) | None if std::str::from_utf8(payload).is_err() => {}
            came => {
                let expected = "Success, or that the payload isn't of its format";
                return Err(Failure::new(expected, format!("{came:02X?} to {:?}", Text::from(payload))));
            }
        }
    }
    Ok(())
}
