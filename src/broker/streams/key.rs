//! The key of a message, of which a stream keeps the last one.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::broker::persistence::body::Body;
use crate::broker::persistence::head::StoredHead;
use crate::codec::{MessageProperties, MessageProperty};

/// What the key of a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamKey {
    /// Its topic.
    Topic,
    /// The value of its first User Property with this name.
    UserProperty(Arc<str>),
}

impl StreamKey {
    /// The key of a message of a stream, by the body of its record; `None`: it has none.
    pub fn of<'a>(&self, body: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let body = &mut Body(body);
        StoredHead::read(body)?;
        body.option(Body::bytes)?;
        let topic = body.bytes()?;
        match self {
            Self::Topic => Some(Cow::Borrowed(topic)),
            Self::UserProperty(name) => {
                let properties = body.bytes().filter(|properties| !properties.is_empty())?;
                let properties = MessageProperties::from_bytes(Bytes::copy_from_slice(properties)).ok()?;
                properties.iter().find_map(|property| {
                    let MessageProperty::UserProperty(found, value) = property else { return None };
                    (*found == **name).then(|| Cow::Owned(value.as_bytes().to_vec()))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::persistence::body::put_message;
    use crate::broker::persistence::head::put_head;
    use crate::codec::{Message, Qos};
    use crate::timestamp::Timestamp;
    use crate::topic::TopicName;

    fn body(properties: &[(&'static str, &'static str)]) -> Vec<u8> {
        let mut body = Vec::new();
        put_head(&mut body, Qos::AtLeastOnce, None, Timestamp(5));
        body.push(0); // no retainer
        let properties =
            properties.iter().map(|(name, value)| MessageProperty::UserProperty((*name).into(), (*value).into()));
        let message = Message::new(TopicName::try_from("a/b").unwrap(), "payload");
        put_message(&mut body, &Message { properties: MessageProperties::from_properties(properties), ..message });
        body
    }

    fn key(key: &StreamKey, body: &[u8]) -> Option<String> {
        key.of(body).map(|key| String::from_utf8(key.into_owned()).unwrap())
    }

    #[test]
    fn the_key_is_the_topic_or_the_first_user_property_of_a_name() {
        let property = StreamKey::UserProperty("device".into());
        let with = body(&[("other", "1"), ("device", "7"), ("device", "8")]);
        assert_eq!(key(&StreamKey::Topic, &with).as_deref(), Some("a/b"));
        assert_eq!(key(&property, &with).as_deref(), Some("7"));
        assert_eq!([&[][..], &[("Device", "7")]].map(|without| key(&property, &body(without))), [None, None]);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_key_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 0_usize..40) {
            let whole = body(&[("device", "7")]);
            for body in [&bytes[..], &whole[..cut.min(whole.len())]] {
                let _ = (StreamKey::Topic.of(body), StreamKey::UserProperty("device".into()).of(body));
            }
        }
    }
}
