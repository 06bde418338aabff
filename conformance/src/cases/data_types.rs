//! Data representations: strings, integers, binary data.

use crate::case::Case;
use crate::context::Context;
use crate::failure::{Outcome, check_equal};
use crate::wire::bytes::{frame, prefixed};
use crate::wire::packet::Kind;
use crate::wire::{Publish, Subscribe, Utf8, property};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "ill_formed_utf8_in_a_topic_name_closes_the_connection",
        &["MQTT-1.5.3-1"],
        &["MQTT-1.5.4-1", "5.0/1.5.4/1"],
        ill_formed_topic_name,
    ),
    Case::both(
        "the_null_character_in_a_topic_filter_closes_the_connection",
        &["MQTT-1.5.3-2"],
        &["MQTT-1.5.4-2", "5.0/1.5.4/2"],
        null_in_topic_filter,
    ),
    Case::both(
        "a_byte_order_mark_stays_in_a_topic_name",
        &["MQTT-1.5.3-3"],
        &["MQTT-1.5.4-3"],
        byte_order_mark_in_topic_name,
    ),
    Case::v5("a_longer_property_length_than_needed_is_malformed", &["MQTT-1.5.5-1"], long_property_length),
    Case::v5(
        "ill_formed_utf8_in_a_user_property_is_malformed",
        &["MQTT-1.5.7-1", "5.0/1.5.7/1"],
        ill_formed_user_property,
    ),
];

fn ill_formed_topic_name(cx: &mut Context) -> Outcome {
    for (_, text) in Utf8::ILL_FORMED {
        let mut client = cx.client("a")?;
        client.send(Publish::new(text, "payload"))?;
        client.expect_disconnect_or_close(&[0x81, 0x90])?;
    }
    Ok(())
}

fn null_in_topic_filter(cx: &mut Context) -> Outcome {
    let mut client = cx.client("a")?;
    client.send(Subscribe::new(Utf8::NUL, 0).packet_id(1))?;
    client.expect_disconnect_or_close(&[0x81, 0x8F])
}

fn byte_order_mark_in_topic_name(cx: &mut Context) -> Outcome {
    let (with, without) = (cx.topic(Utf8::BYTE_ORDER_MARK), cx.topic("a"));
    let mut client = cx.client("a")?;
    client.subscribe(&with, 0)?;
    client.publish(Publish::new(&without, "stripped"))?;
    client.publish(Publish::new(&with, "kept"))?;
    client.expect_message(&with, "kept")?;
    Ok(())
}

fn long_property_length(cx: &mut Context) -> Outcome {
    let mut client = cx.client("a")?;
    // A Property Length of 0 in two bytes.
    let body = [prefixed(cx.topic("a")), vec![0x80, 0x00], b"payload".to_vec()].concat();
    client.send(frame(Kind::Publish.first_byte(), &body))?;
    client.expect_disconnect_or_close(&[0x81])
}

fn ill_formed_user_property(cx: &mut Context) -> Outcome {
    for (_, text) in Utf8::ILL_FORMED {
        for pair in [("name".as_bytes(), text), (text, b"value")] {
            let mut client = cx.client("a")?;
            client.send(Publish::new(cx.topic("a"), "").with(property::USER_PROPERTY, pair))?;
            client.expect_disconnect_or_close(&[0x81])?;
        }
    }
    let mut client = cx.client("a")?;
    client.subscribe(&cx.topic("a"), 0)?;
    client.publish(Publish::new(cx.topic("a"), "").with(property::USER_PROPERTY, ("name", "value")))?;
    let message = client.expect_publish()?;
    check_equal("the User Properties", message.properties.user_properties(), [("name".to_owned(), "value".to_owned())])
}
