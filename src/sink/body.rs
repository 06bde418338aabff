use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use super::delivery::Delivery;
use crate::codec::MessageProperty;

/// A message in the body of a request.
#[derive(Debug, Serialize)]
struct Json<'a> {
    id: Option<String>,
    topic: &'a str,
    payload: Cow<'a, str>,
    payload_encoding: &'static str,
    qos: u8,
    retain: bool,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<String>,
    user_properties: Vec<(String, String)>,
    message_expiry_interval: Option<u32>,
    timestamp_ms: u64,
}

/// The body of a request in JSON: the only message, or a list.
pub fn body(messages: &[Arc<Delivery>], is_list: bool) -> Bytes {
    let form = |message: &'_ Arc<Delivery>| serde_json::to_vec(&json(message));
    let encoded = match messages {
        [message] if !is_list => form(message),
        _ => serde_json::to_vec(&messages.iter().map(|message| json(message)).collect::<Vec<_>>()),
    };
    // Texts, numbers and lists of them can be written.
    encoded.unwrap_or_default().into()
}

fn json(delivery: &Delivery) -> Json<'_> {
    let publish = &delivery.publish;
    let (id, properties) = delivery.identity_and_properties();
    let (payload, payload_encoding) = match str::from_utf8(&publish.message.payload) {
        Ok(text) => (Cow::Borrowed(text), "utf-8"),
        Err(_) => (Cow::Owned(STANDARD.encode(&publish.message.payload)), "base64"),
    };
    let mut json = Json {
        id: id.map(|id| id.to_string()),
        topic: publish.message.topic.as_str(),
        payload,
        payload_encoding,
        qos: publish.qos.level(),
        retain: publish.retain,
        content_type: None,
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
        message_expiry_interval: publish.message_expiry_interval,
        timestamp_ms: delivery.taken.0,
    };
    for property in properties {
        match property {
            // The payload says by itself whether it is a text.
            MessageProperty::PayloadFormatIndicator(_) => {}
            MessageProperty::ContentType(text) => json.content_type = Some(text.to_string()),
            MessageProperty::ResponseTopic(topic) => json.response_topic = Some(topic.to_string()),
            MessageProperty::CorrelationData(data) => json.correlation_data = Some(STANDARD.encode(data)),
            MessageProperty::UserProperty(name, value) => {
                json.user_properties.push((name.to_string(), value.to_string()));
            }
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::codec::{MessageProperties, PacketId, Publish, Qos};
    use crate::timestamp::WallTime;
    use crate::topic::TopicName;

    fn delivery(qos: Qos, payload: &[u8], properties: Vec<MessageProperty>) -> Arc<Delivery> {
        let topic = TopicName::new("alarms/1".into()).unwrap();
        let mut publish =
            Publish::new(topic, payload.to_vec()).with_properties(MessageProperties::from_properties(properties));
        publish.qos = qos;
        publish.packet_id = (qos > Qos::AtMostOnce).then(|| PacketId(7.try_into().unwrap()));
        Arc::new(Delivery { publish, taken: WallTime(1_700_000_000_123) })
    }

    fn user(name: &str, value: &str) -> MessageProperty {
        MessageProperty::UserProperty(name.into(), value.into())
    }

    fn parsed(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[test]
    fn a_message_has_its_identity_and_what_its_publisher_said() {
        let id = "00000000000000ab-0000000000000001";
        let properties = vec![
            MessageProperty::ContentType("text/plain".into()),
            MessageProperty::ResponseTopic("answers".into()),
            MessageProperty::CorrelationData(vec![0xFF].into()),
            user("message-id", id),
            user("message-id", "of its publisher"),
            user("a", "b"),
        ];
        let mut message = delivery(Qos::AtLeastOnce, "grün".as_bytes(), properties);
        let publish = &mut Arc::get_mut(&mut message).unwrap().publish;
        (publish.retain, publish.message_expiry_interval) = (true, Some(60));
        let expected = json!({
            "id": id, "topic": "alarms/1", "payload": "grün", "payload_encoding": "utf-8", "qos": 1, "retain": true,
            "content_type": "text/plain", "response_topic": "answers", "correlation_data": "/w==",
            "user_properties": [["message-id", "of its publisher"], ["a", "b"]], "message_expiry_interval": 60,
            "timestamp_ms": 1_700_000_000_123_u64,
        });
        assert_eq!(parsed(&body(&[Arc::clone(&message)], false)), expected);
        assert_eq!(parsed(&body(&[message], true)), json!([expected]));
    }

    #[test]
    fn what_is_no_text_is_base64_and_qos_0_has_no_identity() {
        let id = "00000000000000ab-0000000000000001";
        let message = delivery(Qos::AtMostOnce, b"\xFF\0", vec![user("message-id", id)]);
        let value = parsed(&body(&[message], false));
        assert_eq!((&value["payload"], &value["payload_encoding"]), (&json!("/wA="), &json!("base64")));
        assert_eq!((&value["id"], &value["user_properties"]), (&json!(null), &json!([["message-id", id]])));
        let message = delivery(Qos::ExactlyOnce, b"", vec![user("a", "b")]);
        let value = parsed(&body(&[message], false));
        assert_eq!((&value["id"], &value["qos"], &value["payload"]), (&json!(null), &json!(2), &json!("")));
    }

    proptest! {
        #[test]
        fn every_payload_comes_back(payload: Vec<u8>) {
            let value = parsed(&body(&[delivery(Qos::AtMostOnce, &payload, Vec::new())], false));
            let text = value["payload"].as_str().unwrap();
            let back = match value["payload_encoding"].as_str().unwrap() {
                "base64" => STANDARD.decode(text).unwrap(),
                _ => text.as_bytes().to_vec(),
            };
            prop_assert_eq!(back, payload);
        }
    }
}
