//! Data representations: strings, integers, binary data.

use super::carrier::Carrier;
use crate::case::Case;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::link::Incoming;
use crate::wire::bytes::{frame, prefixed};
use crate::wire::data_type::Type;
use crate::wire::kind::Kind;
use crate::wire::property::Value;
use crate::wire::{Connect, Properties, Publish, Subscribe, Text, Unsubscribe, Utf8, Will, property};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "ill_formed_utf8_in_connect_closes_the_connection",
        &["MQTT-1.5.3-1"],
        &["MQTT-1.5.4-1", "5.0/1.5.4/1"],
        ill_formed_in_connect,
    ),
    Case::both(
        "the_null_character_in_connect_closes_the_connection",
        &["MQTT-1.5.3-2"],
        &["MQTT-1.5.4-2", "5.0/1.5.4/2"],
        null_in_connect,
    ),
    Case::both(
        "ill_formed_utf8_in_a_topic_name_closes_the_connection",
        &["MQTT-1.5.3-1"],
        &["MQTT-1.5.4-1", "5.0/1.5.4/1"],
        ill_formed_topic_name,
    ),
    Case::both(
        "the_null_character_in_a_topic_name_closes_the_connection",
        &["MQTT-1.5.3-2"],
        &["MQTT-1.5.4-2", "5.0/1.5.4/2"],
        null_in_topic_name,
    ),
    Case::both(
        "ill_formed_utf8_in_a_topic_filter_closes_the_connection",
        &["MQTT-1.5.3-1"],
        &["MQTT-1.5.4-1", "5.0/1.5.4/1"],
        ill_formed_topic_filter,
    ),
    Case::both(
        "the_null_character_in_a_topic_filter_closes_the_connection",
        &["MQTT-1.5.3-2"],
        &["MQTT-1.5.4-2", "5.0/1.5.4/2"],
        null_in_topic_filter,
    ),
    Case::v5(
        "ill_formed_utf8_in_a_property_is_malformed",
        &["MQTT-1.5.4-1", "5.0/1.5.4/1"],
        ill_formed_string_property,
    )
    .seconds(20),
    Case::v5(
        "the_null_character_in_a_property_is_malformed",
        &["MQTT-1.5.4-2", "5.0/1.5.4/2"],
        null_in_string_property,
    ),
    Case::both(
        "a_control_character_is_refused_or_passed_on_unaltered",
        &["3.1.1/1.5.3/2"],
        &["5.0/1.5.4/4"],
        disallowed_code_points,
    ),
    Case::both(
        "a_byte_order_mark_stays_in_a_topic_name",
        &["MQTT-1.5.3-3"],
        &["MQTT-1.5.4-3"],
        byte_order_mark_in_topic_name,
    ),
    Case::both(
        "a_byte_order_mark_stays_in_a_client_identifier",
        &["MQTT-1.5.3-3"],
        &["MQTT-1.5.4-3"],
        byte_order_mark_in_client_id,
    ),
    Case::both(
        "a_byte_order_mark_stays_in_a_will_topic",
        &["MQTT-1.5.3-3"],
        &["MQTT-1.5.4-3"],
        byte_order_mark_in_will_topic,
    ),
    Case::v5("a_byte_order_mark_stays_in_a_property", &["MQTT-1.5.4-3"], byte_order_mark_in_property),
    Case::v5("a_longer_property_length_than_needed_is_malformed", &["MQTT-1.5.5-1"], long_property_length),
    Case::v5("a_longer_remaining_length_than_needed_is_malformed", &["MQTT-1.5.5-1"], long_remaining_length),
    Case::v3("a_longer_remaining_length_than_needed_is_legal", &["MQTT-3.12.4-1"], legal_long_remaining_length),
    Case::v5(
        "a_longer_subscription_identifier_than_needed_is_malformed",
        &["MQTT-1.5.5-1"],
        long_subscription_identifier,
    ),
    Case::v5("lengths_of_every_width_are_the_shortest", &["MQTT-1.5.5-1"], shortest_lengths),
    Case::v5(
        "ill_formed_utf8_in_a_user_property_is_malformed",
        &["MQTT-1.5.7-1", "5.0/1.5.7/1"],
        ill_formed_user_property,
    )
    .seconds(20),
    Case::v5(
        "the_null_character_in_a_user_property_is_malformed",
        &["MQTT-1.5.7-1", "5.0/1.5.7/1"],
        null_in_user_property,
    ),
    Case::v5("user_properties_are_passed_on_as_well_formed_pairs", &["MQTT-1.5.7-1"], user_property_of_every_width),
];

/// The Reason Codes for an invalid string in CONNECT: it is malformed, and also not a valid Client Identifier, User
/// Name, Topic Name or Protocol Name.
const REFUSED_IN_CONNECT: &[u8] = &[0x81, 0x82, 0x84, 0x85, 0x86, 0x90];

fn ill_formed_in_connect(cx: &mut Context) -> Outcome {
    Utf8::ILL_FORMED.iter().try_for_each(|(_, text)| connect_is_refused(cx, text))
}

fn null_in_connect(cx: &mut Context) -> Outcome {
    connect_is_refused(cx, Utf8::NUL)
}

fn connect_is_refused(cx: &mut Context, text: &[u8]) -> Outcome {
    let plain = || Connect::new(cx.version()).client_id(cx.client_id("a"));
    let connects = [
        plain().client_id(text),
        plain().user_name(text).password("password"),
        plain().will(Will::new([cx.topic("will").as_bytes(), text].concat(), "")),
        plain().protocol_name([b"MQTT", text].concat()),
    ];
    for connect in connects {
        let mut client = cx.open()?;
        client.send_connect(&connect)?;
        client.expect_disconnect_or_close(REFUSED_IN_CONNECT)?;
    }
    Ok(())
}

fn ill_formed_topic_name(cx: &mut Context) -> Outcome {
    Utf8::ILL_FORMED.iter().try_for_each(|(_, text)| topic_name_is_refused(cx, text))
}

fn null_in_topic_name(cx: &mut Context) -> Outcome {
    topic_name_is_refused(cx, Utf8::NUL)
}

fn topic_name_is_refused(cx: &mut Context, text: &[u8]) -> Outcome {
    for qos in 0..=2 {
        let mut client = cx.client("a")?;
        let publish = client.with_packet_id(Publish::new(text, "payload").qos(qos));
        client.send(publish)?;
        client.expect_disconnect_or_close(&[0x81, 0x90])?;
    }
    Ok(())
}

fn ill_formed_topic_filter(cx: &mut Context) -> Outcome {
    Utf8::ILL_FORMED.iter().try_for_each(|(_, text)| topic_filter_is_refused(cx, text))
}

fn null_in_topic_filter(cx: &mut Context) -> Outcome {
    topic_filter_is_refused(cx, Utf8::NUL)
}

fn topic_filter_is_refused(cx: &mut Context, text: &[u8]) -> Outcome {
    let good = cx.topic("good");
    for subscribe in [Subscribe::new(text, 0), Subscribe::new(&good, 0).and(text, 0)] {
        let mut client = cx.client("a")?;
        client.send(subscribe.packet_id(1))?;
        client.expect_disconnect_or_close(&[0x81, 0x8F])?;
    }
    for unsubscribe in [Unsubscribe::new(text), Unsubscribe::new(&good).and(text)] {
        let mut client = cx.client("a")?;
        client.send(unsubscribe.packet_id(1))?;
        client.expect_disconnect_or_close(&[0x81, 0x8F])?;
    }
    Ok(())
}

fn ill_formed_string_property(cx: &mut Context) -> Outcome {
    Utf8::ILL_FORMED.iter().try_for_each(|(_, text)| string_property_is_refused(cx, text))
}

fn null_in_string_property(cx: &mut Context) -> Outcome {
    string_property_is_refused(cx, Utf8::NUL)
}

fn string_property_is_refused(cx: &mut Context, text: &[u8]) -> Outcome {
    for carrier in Carrier::ALL {
        for row in carrier.allowed().filter(|row| row.kind == Type::Text) {
            is_malformed(cx, carrier, row.id, text.into())?;
        }
    }
    Ok(())
}

fn is_malformed(cx: &mut Context, carrier: Carrier, id: u8, value: Value) -> Outcome {
    let mut properties = Properties::default();
    properties.push(id, value);
    // An unknown Authentication Method may be refused before it is validated.
    let reasons =
        [carrier.malformed(), if id == property::AUTHENTICATION_METHOD { &[0x8C, 0x87] } else { &[] }].concat();
    let mut client = carrier.send(cx, properties)?;
    client.expect_disconnect_or_close(&reasons)
}

/// U+0001, U+007F, U+009F, and the non-characters U+FFFF and U+1FFFE.
const DISALLOWED: [&str; 5] = ["\u{1}", "\u{7F}", "\u{9F}", "\u{FFFF}", "\u{1FFFE}"];

fn disallowed_code_points(cx: &mut Context) -> Outcome {
    for (number, text) in (0..).zip(DISALLOWED) {
        let topic = cx.topic(&format!("{number}{text}"));
        let mut client = cx.client("a")?;
        client.send(Subscribe::new(&topic, 0).packet_id(1))?;
        let deadline = cx.state().deadline();
        let refused = match client.link().read(deadline)? {
            Incoming::Closed => true,
            Incoming::Packet(packet, _) => packet.kind() == Kind::Disconnect,
            Incoming::Nothing => return Err(Failure::new("SUBACK, or the end of the connection", "nothing")),
        };
        if !refused {
            client.publish(Publish::new(&topic, "unaltered"))?;
            client.expect_message(&topic, "unaltered")?;
        }
    }
    Ok(())
}

fn byte_order_mark_in_topic_name(cx: &mut Context) -> Outcome {
    for (with, without) in [(cx.topic("\u{FEFF}a"), cx.topic("a")), (cx.topic("a\u{FEFF}"), cx.topic("a"))] {
        let mut client = cx.client("a")?;
        client.subscribe(&with, 0)?;
        client.publish(Publish::new(&without, "stripped"))?;
        client.publish(Publish::new(&with, "kept"))?;
        client.expect_message(&with, "kept")?;
    }
    // Also at the beginning.
    let topic = format!("\u{FEFF}{}", cx.topic("a"));
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 0)?;
    client.subscribe(&cx.topic("a"), 0)?;
    client.publish(Publish::new(&topic, "kept"))?;
    client.expect_message(&topic, "kept")?;
    client.expect_silence_after_own()
}

fn byte_order_mark_in_client_id(cx: &mut Context) -> Outcome {
    let plain = cx.client_id("a");
    let mut one = cx.connect(Connect::new(cx.version()).client_id(&plain))?;
    let mut other = cx.open()?;
    other.send_connect(&Connect::new(cx.version()).client_id(format!("\u{FEFF}{plain}")))?;
    if other.expect_connack()?.reason != 0 {
        return Err(Failure::skipped("the broker accepts only letters and digits in Client Identifiers"));
    }
    // If the broker stripped the mark, the second client would have taken over the Session of the first.
    one.ping()?;
    other.ping()
}

fn byte_order_mark_in_will_topic(cx: &mut Context) -> Outcome {
    let (with, without) = (cx.topic("\u{FEFF}will"), cx.topic("will"));
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&without, 0)?;
    subscriber.subscribe(&with, 0)?;
    cx.connect(cx.connecting("willing").will(Will::new(&with, "gone")))?.abandon();
    subscriber.expect_message(&with, "gone")?;
    Ok(())
}

fn byte_order_mark_in_property(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 0)?;
    let mark = Utf8::BYTE_ORDER_MARK;
    let publish = Publish::new(&topic, "").with(property::CONTENT_TYPE, mark).with(property::RESPONSE_TOPIC, mark);
    client.publish(publish.with(property::USER_PROPERTY, (mark, mark)))?;
    let message = client.expect_publish()?;
    for id in [property::CONTENT_TYPE, property::RESPONSE_TOPIC] {
        check_equal("the property", message.properties.text(id), Some(&Text::from(mark)))?;
    }
    check_equal("the User Properties", message.properties.user_properties(), [(mark.to_owned(), mark.to_owned())])
}

/// A number in two and in four bytes, although one byte suffices.
fn longer_forms(number: u8) -> [Vec<u8>; 2] {
    [vec![number | 0x80, 0], vec![number | 0x80, 0x80, 0x80, 0]]
}

fn long_property_length(cx: &mut Context) -> Outcome {
    for length in longer_forms(0) {
        let topic = prefixed(cx.topic("a"));
        let id = [0, 1].to_vec();
        let bodies = [
            (Kind::Publish, [topic.clone(), length.clone(), b"payload".to_vec()].concat()),
            (Kind::Subscribe, [id.clone(), length.clone(), topic.clone(), vec![0]].concat()),
            (Kind::Unsubscribe, [id, length.clone(), topic].concat()),
        ];
        for (kind, body) in bodies {
            let mut client = cx.client("a")?;
            client.send(frame(kind.first_byte(), &body))?;
            client.expect_disconnect_or_close(&[0x81])?;
        }
        let head = [prefixed("MQTT"), vec![5, 0b10, 0, 60]].concat();
        let mut client = cx.open()?;
        client.send(frame(Kind::Connect.first_byte(), &[head, length, prefixed(cx.client_id("a"))].concat()))?;
        client.expect_disconnect_or_close(&[0x81])?;
    }
    Ok(())
}

fn long_remaining_length(cx: &mut Context) -> Outcome {
    for length in longer_forms(0) {
        let mut client = cx.client("a")?;
        client.send([vec![Kind::Pingreq.first_byte()], length].concat())?;
        client.expect_disconnect_or_close(&[0x81])?;
    }
    Ok(())
}

/// 3.1.1 limits a Remaining Length to four bytes, and does not demand the shortest form.
fn legal_long_remaining_length(cx: &mut Context) -> Outcome {
    let mut client = cx.client("a")?;
    for length in longer_forms(0) {
        client.send([vec![Kind::Pingreq.first_byte()], length].concat())?;
        client.expect_kind(Kind::Pingresp)?;
    }
    Ok(())
}

fn long_subscription_identifier(cx: &mut Context) -> Outcome {
    for identifier in longer_forms(1) {
        let mut properties = Properties::default();
        properties.push(property::SUBSCRIPTION_IDENTIFIER, Value::Raw(identifier));
        Carrier::Subscribe.send(cx, properties)?.expect_disconnect_or_close(&[0x81])?;
    }
    Ok(())
}

fn shortest_lengths(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 0)?;
    // The decoder checks each length; these sizes need one, two and three bytes.
    for size in [0, 1, 60, 127, 128, 129, 16_000, 16_383, 16_384, 20_000] {
        let value = "v".repeat(size);
        let publish = Publish::new(&topic, value.clone()).with(property::USER_PROPERTY, ("name", &value));
        client.publish(publish)?;
        let message = client.expect_message(&topic, &value)?;
        check_equal("the User Properties", message.properties.user_properties(), [("name".to_owned(), value)])?;
    }
    Ok(())
}

fn ill_formed_user_property(cx: &mut Context) -> Outcome {
    Utf8::ILL_FORMED.iter().try_for_each(|(_, text)| user_property_is_refused(cx, text))
}

fn null_in_user_property(cx: &mut Context) -> Outcome {
    user_property_is_refused(cx, Utf8::NUL)
}

fn user_property_is_refused(cx: &mut Context, text: &[u8]) -> Outcome {
    for carrier in Carrier::ALL {
        is_malformed(cx, carrier, property::USER_PROPERTY, ("name", text).into())?;
        is_malformed(cx, carrier, property::USER_PROPERTY, (text, "value").into())?;
    }
    Ok(())
}

fn user_property_of_every_width(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut client = cx.client("a")?;
    client.subscribe(&topic, 0)?;
    let pairs = [("", ""), ("name", "größe"), ("鍵", "𪛔"), ("name", ""), ("", "value")];
    let publish = Publish::new(&topic, "");
    client.publish(pairs.iter().fold(publish, |publish, pair| publish.with(property::USER_PROPERTY, *pair)))?;
    let came = client.expect_publish()?.properties.user_properties();
    let sent = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    check(came == sent, format!("the User Properties {sent:?}"), format!("{came:?}"))
}
