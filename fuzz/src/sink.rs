use std::sync::Arc;

use bytes::Bytes;
use oncemq::codec::{MessageProperties, MessageProperty, PacketId, Publish, Qos};
use oncemq::sink::{Delivery, body, retry_after};
use oncemq::timestamp::WallTime;
use oncemq::topic::TopicName;

use super::choices::Choices;

/// A header Retry-After is understood or not. The body of a request is JSON, whatever the message has in it, and the same message gives the same.
pub(crate) fn sink(input: &[u8]) {
    let mut choices = Choices::new(input);
    let now = WallTime(choices.u64());
    if let Some(pause) = retry_after(&String::from_utf8_lossy(input.get(8..).unwrap_or_default()), now) {
        assert!(pause.as_secs() <= 3_600);
    }
    let text = String::from_utf8_lossy(choices.bytes()).into_owned();
    let Ok(topic) = TopicName::new(text.into()) else { return };
    let payload = Bytes::copy_from_slice(choices.bytes());
    let properties = MessageProperties::from_bytes(Bytes::copy_from_slice(choices.bytes())).unwrap_or_default();
    let count = properties.iter().filter(|property| matches!(property, MessageProperty::UserProperty(..))).count();
    let mut publish = Publish::new(topic.clone(), payload.clone()).with_properties(properties);
    publish.qos = if choices.coin() { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    publish.packet_id = (publish.qos > Qos::AtMostOnce).then(|| PacketId::new(1)).flatten();
    let delivery = Arc::new(Delivery { publish, taken: now });
    let bytes = body(&[Arc::clone(&delivery)], false);
    let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(value["topic"].as_str(), Some(topic.as_str()));
    if let Ok(text) = str::from_utf8(&payload) {
        assert_eq!((value["payload"].as_str(), value["payload_encoding"].as_str()), (Some(text), Some("utf-8")));
    }
    let shown = value["user_properties"].as_array().map_or(0, Vec::len);
    assert_eq!(shown + usize::from(value["id"].is_string()), count, "each property is shown once");
    let list = body(&[Arc::clone(&delivery), delivery], true);
    let expected = [b"[", &bytes[..], b",", &bytes[..], b"]"].concat();
    assert_eq!(list, expected);
}
