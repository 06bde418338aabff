//! A batch as a JSON array. The fields of a message are those of `POST /api/v1/publish`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::malformed::Malformed;
use super::message::{BatchMessage, Terms};
use crate::codec::limits::STRING_LENGTH_MAX;
use crate::codec::{Message, MessageProperties, MessageProperty, Qos};
use crate::topic::TopicName;

/// A message. It has `payload`, `payload_base64` or neither.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonMessage {
    topic: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    qos: Option<u8>,
    #[serde(default)]
    retain: bool,
    message_expiry_interval: Option<u32>,
    payload_format_indicator: Option<u8>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data_base64: Option<String>,
    #[serde(default)]
    user_properties: Vec<(String, String)>,
}

/// Reads the elements of the array one by one, so that an error has its place.
struct Elements<'a> {
    terms: Terms,
    messages: &'a mut Vec<BatchMessage>,
    /// Whether the array has begun.
    has_begun: &'a mut bool,
    /// Why reading ended, if not by an error of the JSON text.
    malformed: &'a mut Option<Malformed>,
}

pub(super) fn read(payload: &Bytes, terms: Terms) -> Result<Vec<BatchMessage>, Malformed> {
    let (mut messages, mut has_begun, mut malformed) = (Vec::new(), false, None);
    let elements = Elements { terms, messages: &mut messages, has_begun: &mut has_begun, malformed: &mut malformed };
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let read = elements.deserialize(&mut deserializer);
    if let Some(malformed) = malformed {
        return Err(malformed);
    }
    match read {
        Ok(()) => deserializer.end().map(|()| messages).map_err(Malformed::whole_json),
        Err(error) if has_begun => Err(Malformed::at(messages.len(), None, error)),
        Err(error) => Err(Malformed::whole_json(error)),
    }
}

impl Malformed {
    fn whole_json(error: serde_json::Error) -> Self {
        Self::whole(error.to_string())
    }
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        *self.has_begun = true;
        while let Some(element) = elements.next_element::<JsonMessage>()? {
            let place = self.messages.len();
            let read = if place < self.terms.messages_max {
                element.read(place, self.terms)
            } else {
                Err(Malformed::too_many(self.terms.messages_max))
            };
            match read {
                Ok(message) => self.messages.push(message),
                Err(malformed) => {
                    *self.malformed = Some(malformed);
                    return Err(de::Error::custom("malformed"));
                }
            }
        }
        Ok(())
    }
}

impl JsonMessage {
    fn read(mut self, place: usize, terms: Terms) -> Result<BatchMessage, Malformed> {
        let topic = TopicName::new(ByteString::from(std::mem::take(&mut self.topic)));
        let topic = topic.map_err(|invalid| Malformed::at(place, None, format!("topic: {invalid}")))?;
        let wrong = |cause: String| Malformed::at(place, Some(topic.clone()), cause);
        let qos = match self.qos {
            None => terms.qos,
            Some(level) => Qos::new(level).ok_or_else(|| wrong("qos must be from 0 to 2".to_owned()))?,
        };
        let properties = self.properties().map_err(wrong)?;
        let payload: Bytes = match (self.payload, self.payload_base64) {
            (Some(text), None) => text.into(),
            (None, Some(base64)) => decoded("payload_base64", &base64).map_err(wrong)?,
            (None, None) => Bytes::new(),
            (Some(_), Some(_)) => return Err(wrong("payload and payload_base64 exclude each other".to_owned())),
        };
        let message = Message { properties, ..Message::new(topic, payload) };
        let (retain, message_expiry_interval) = (self.retain, self.message_expiry_interval);
        Ok(BatchMessage { message, qos, retain, message_expiry_interval })
    }

    fn properties(&self) -> Result<MessageProperties, String> {
        let mut properties = Vec::new();
        match self.payload_format_indicator {
            None => {}
            Some(indicator @ (0 | 1)) => properties.push(MessageProperty::PayloadFormatIndicator(indicator == 1)),
            Some(_) => return Err("payload_format_indicator must be 0 or 1".to_owned()),
        }
        if let Some(content_type) = &self.content_type {
            properties.push(MessageProperty::ContentType(text("content_type", content_type)?));
        }
        if let Some(topic) = &self.response_topic {
            let topic = TopicName::try_from(topic.as_str()).map_err(|invalid| format!("response_topic: {invalid}"))?;
            properties.push(MessageProperty::ResponseTopic(topic.as_str().into()));
        }
        if let Some(base64) = &self.correlation_data_base64 {
            let data = decoded("correlation_data_base64", base64)?;
            if data.len() > STRING_LENGTH_MAX {
                return Err("correlation_data_base64 must be at most 65,535 bytes".to_owned());
            }
            properties.push(MessageProperty::CorrelationData(data));
        }
        for (name, value) in &self.user_properties {
            let (name, value) = (text("a user property", name)?, text("a user property", value)?);
            properties.push(MessageProperty::UserProperty(name, value));
        }
        Ok(MessageProperties::from_properties(properties))
    }
}

/// A text as MQTT permits it. [MQTT-1.5.4-2]
fn text(name: &str, value: &str) -> Result<ByteString, String> {
    if value.len() > STRING_LENGTH_MAX || value.contains('\0') {
        return Err(format!("{name} must have at most 65,535 bytes, and no U+0000"));
    }
    Ok(value.into())
}

fn decoded(name: &str, base64: &str) -> Result<Bytes, String> {
    STANDARD.decode(base64).map(Bytes::from).map_err(|error| format!("{name}: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: Terms = Terms { messages_max: 3, qos: Qos::AtLeastOnce };

    fn read(json: &str) -> Result<Vec<BatchMessage>, Malformed> {
        super::read(&Bytes::copy_from_slice(json.as_bytes()), TERMS)
    }

    #[test]
    fn a_message_has_the_fields_of_the_api() {
        let json = r#" [{"topic":"a/b","payload_base64":"AP8=","qos":2,"retain":true,"message_expiry_interval":60,
            "payload_format_indicator":0,"content_type":"x","response_topic":"r","correlation_data_base64":"/w==",
            "user_properties":[["k","v"],["k","w"]]}, {"topic":"t","payload":"\u00e9\n"}] "#;
        let [first, second] = &read(json).unwrap()[..] else { panic!("two messages") };
        assert_eq!((first.message.topic.as_str(), &*first.message.payload), ("a/b", &[0, 255][..]));
        assert_eq!((first.qos, first.retain, first.message_expiry_interval), (Qos::ExactlyOnce, true, Some(60)));
        let user = |value: &'static str| MessageProperty::UserProperty("k".into(), value.into());
        let expected = [
            MessageProperty::PayloadFormatIndicator(false),
            MessageProperty::ContentType("x".into()),
            MessageProperty::ResponseTopic("r".into()),
            MessageProperty::CorrelationData(Bytes::from_static(&[255])),
            user("v"),
            user("w"),
        ];
        assert_eq!(first.message.properties.iter().collect::<Vec<_>>(), expected);
        assert_eq!((&*second.message.payload, second.qos, second.retain), ("é\n".as_bytes(), TERMS.qos, false));
        assert!(second.message.properties.is_empty());
    }

    #[test]
    fn what_is_malformed_is_named() {
        let good = r#"{"topic":"good"}"#;
        for (json, expected) in [
            ("", "the batch: EOF"),
            ("{}", "the batch: invalid type: map, expected an array of messages"),
            ("[] x", "the batch: trailing characters"),
            (&format!("[{good},{good},{good},{good}]"), "the batch: it has more than 3 messages"),
            (&format!("[{good},"), "message 2: EOF"),
            (&format!("[{good},5]"), "message 2: invalid type: integer `5`"),
            (r#"[{"topic":"a/+"}]"#, "message 1: topic: "),
            (r#"[{"topic":""}]"#, "message 1: topic: "),
            (r#"[{"topic":"a\u0000"}]"#, "message 1: topic: "),
            (r#"[{"payload":"x"}]"#, "message 1: missing field `topic`"),
            (r#"[{"topic":"t","qos":3}]"#, "message 1 (t): qos must be from 0 to 2"),
            (r#"[{"topic":"t","qos":-1}]"#, "message 1: invalid value"),
            (r#"[{"topic":"t","payload":"x","payload_base64":"eA=="}]"#, "message 1 (t): payload and"),
            (r#"[{"topic":"t","payload_base64":"x"}]"#, "message 1 (t): payload_base64: "),
            (r#"[{"topic":"t","response_topic":"r/#"}]"#, "message 1 (t): response_topic: "),
            (r#"[{"topic":"t","content_type":"\u0000"}]"#, "message 1 (t): content_type must"),
            (r#"[{"topic":"t","user_properties":[["\u0000","v"]]}]"#, "message 1 (t): a user property must"),
            (r#"[{"topic":"t","user_properties":[["k"]]}]"#, "message 1: "),
            (r#"[{"topic":"t","payload_format_indicator":2}]"#, "message 1 (t): payload_format_indicator"),
            (r#"[{"topic":"t","other":1}]"#, "message 1: unknown field `other`"),
            (r#"[{"topic":"t","topic":"u"}]"#, "message 1: duplicate field `topic`"),
        ] {
            let malformed = read(json).unwrap_err().to_string();
            assert!(malformed.starts_with(expected), "{json}: {malformed}");
        }
        assert!(super::read(&Bytes::from_static(b"[{\"topic\":\"\xff\"}]"), TERMS).is_err());
    }

    proptest! {
        #[test]
        fn texts_and_payloads_are_read_as_they_were_written(
            messages in prop::collection::vec(("[^\0+#]{1,20}", ".{0,20}", any::<Vec<u8>>(), 0..3_u8, any::<bool>()), 1..4)
        ) {
            let json: Vec<_> = messages.iter().map(|(topic, value, payload, qos, retain)| serde_json::json!({
                "topic": topic, "payload_base64": STANDARD.encode(payload), "qos": qos, "retain": retain,
                "user_properties": [["k", value.replace('\0', "")]],
            })).collect();
            let read = read(&serde_json::to_string(&json).unwrap()).unwrap();
            prop_assert_eq!(read.len(), messages.len());
            for (read, (topic, value, payload, qos, retain)) in read.iter().zip(&messages) {
                prop_assert_eq!((read.message.topic.as_str(), &*read.message.payload), (topic.as_str(), &payload[..]));
                prop_assert_eq!((read.qos.level(), read.retain), (*qos, *retain));
                let property = MessageProperty::UserProperty("k".into(), value.replace('\0', "").into());
                prop_assert_eq!(read.message.properties.iter().collect::<Vec<_>>(), [property]);
            }
        }
    }
}
