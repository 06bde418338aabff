//! The definition of a stream in the store.

use std::sync::Arc;

use crate::broker::persistence::body::{Body, put_option, put_str};
use crate::broker::persistence::encode::RecordBytes;
use crate::broker::persistence::record_key::RecordKey;
use crate::broker::streams::key::StreamKey;
use crate::broker::streams::number::StreamNumber;
use crate::topic::TopicFilter;

/// A stream with the settings that were last in force, which a stream keeps that is not configured any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDefinition {
    /// Its number.
    pub number: StreamNumber,
    /// Its name.
    pub name: Arc<str>,
    /// The topics whose messages it keeps.
    pub topic: TopicFilter,
    /// When it was created: milliseconds of the wall clock since the Unix epoch.
    pub created: u64,
    /// Which of its messages are kept.
    pub bounds: StreamBounds,
    /// The key of its messages, of which the last one is kept.
    pub key: Option<StreamKey>,
}

/// Which messages of a stream are kept; `None`: no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamBounds {
    /// The maximum age of a message in milliseconds.
    pub max_age: Option<u64>,
    /// The maximum size of its files in bytes.
    pub max_bytes: Option<u64>,
    /// The maximum number of messages.
    pub max_messages: Option<u64>,
}

impl StreamDefinition {
    /// Encodes the definition for the store.
    pub fn to_bytes(&self) -> RecordBytes {
        let Self { number, name, topic, created, bounds, key } = self;
        let mut bytes = RecordBytes::default();
        bytes.puts.push(RecordKey::stream(*number));
        let body = &mut bytes.body;
        put_str(body, name);
        put_str(body, topic.as_str());
        body.extend(created.to_le_bytes());
        for bound in [bounds.max_age, bounds.max_bytes, bounds.max_messages] {
            put_option(body, bound, |body, bound| body.extend(bound.to_le_bytes()));
        }
        put_option(body, key.as_ref(), |body, key| {
            let property = match key {
                StreamKey::Topic => None,
                StreamKey::UserProperty(name) => Some(&**name),
            };
            put_option(body, property, put_str);
        });
        bytes
    }

    /// Decodes the definition of the stream of a group. A later version may append to it.
    pub fn read(group: u64, body: &[u8]) -> Option<Self> {
        let body = &mut Body(body);
        let (name, topic) = (body.str()?.into(), TopicFilter::new(body.str()?.into()).ok()?);
        let created = body.u64()?;
        let bounds = StreamBounds {
            max_age: body.option(Body::u64)?,
            max_bytes: body.option(Body::u64)?,
            max_messages: body.option(Body::u64)?,
        };
        let key = body.option(|body| {
            let property = body.option(|body| body.str().map(Into::into))?;
            Some(property.map_or(StreamKey::Topic, StreamKey::UserProperty))
        })?;
        Some(Self { number: StreamNumber::of_group(group)?, name, topic, created, bounds, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_read_as_it_was_written_or_with_more_behind_it_and_never_if_it_is_cut() {
        for key in [None, Some(StreamKey::Topic), Some(StreamKey::UserProperty("device".into()))] {
            check(&definition(key));
        }
    }

    fn definition(key: Option<StreamKey>) -> StreamDefinition {
        StreamDefinition {
            number: StreamNumber(7),
            name: "orders".into(),
            topic: TopicFilter::new("orders/#".into()).unwrap(),
            created: 1_800_000_000_000,
            bounds: StreamBounds { max_age: None, max_bytes: Some(1 << 40), max_messages: Some(9) },
            key,
        }
    }

    fn check(definition: &StreamDefinition) {
        let RecordBytes { body, puts, .. } = definition.to_bytes();
        assert_eq!(StreamDefinition::read(puts[0].group, &body), Some(definition.clone()));
        let longer = [&body[..], b"later"].concat();
        assert_eq!(StreamDefinition::read(puts[0].group, &longer), Some(definition.clone()));
        assert!((0..body.len()).all(|length| StreamDefinition::read(puts[0].group, &body[..length]).is_none()));
        assert_eq!(StreamDefinition::read(1, &body), None);
    }
}
