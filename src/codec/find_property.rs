//! Finds single properties of a message without decoding the others.

use super::MessageProperties;
use super::property::{CONTENT_TYPE, CORRELATION_DATA, PAYLOAD_FORMAT_INDICATOR, USER_PROPERTY};
use super::user_properties::split_prefixed;

impl MessageProperties {
    /// The value of the first User Property with this name.
    pub fn user_property(&self, name: &str) -> Option<&str> {
        let value = self.find(|id, property| {
            let (found, value) = split_prefixed(property).filter(|_| id == USER_PROPERTY)?;
            (found == name.as_bytes()).then(|| split_prefixed(value))?.map(|(value, _)| value)
        })?;
        std::str::from_utf8(value).ok()
    }

    /// The Content Type.
    pub fn content_type(&self) -> Option<&str> {
        let value =
            self.find(|id, property| split_prefixed(property).filter(|_| id == CONTENT_TYPE).map(|(value, _)| value))?;
        std::str::from_utf8(value).ok()
    }

    /// The Correlation Data.
    pub fn correlation_data(&self) -> Option<&[u8]> {
        self.find(|id, property| split_prefixed(property).filter(|_| id == CORRELATION_DATA).map(|(value, _)| value))
    }

    /// What `wanted` returns for the first property for which it returns something. It gets the identifier, and the bytes from the value on.
    fn find<'a>(&'a self, wanted: impl Fn(u8, &'a [u8]) -> Option<&'a [u8]>) -> Option<&'a [u8]> {
        // The bytes were validated before, so the walk ends with them.
        let mut rest = self.as_bytes();
        while let Some((&id, property)) = rest.split_first() {
            if let Some(value) = wanted(id, property) {
                return Some(value);
            }
            rest = match id {
                PAYLOAD_FORMAT_INDICATOR => property.get(1..)?,
                USER_PROPERTY => split_prefixed(split_prefixed(property)?.1)?.1,
                _ => split_prefixed(property)?.1,
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::MessageProperty;

    fn property() -> impl Strategy<Value = MessageProperty> {
        let text = || "[ab]{0,2}".prop_map(bytestring::ByteString::from);
        prop_oneof![
            any::<bool>().prop_map(MessageProperty::PayloadFormatIndicator),
            text().prop_map(MessageProperty::ContentType),
            text().prop_map(MessageProperty::ResponseTopic),
            text().prop_map(|data| MessageProperty::CorrelationData(Bytes::copy_from_slice(data.as_bytes()))),
            (text(), text()).prop_map(|(name, value)| MessageProperty::UserProperty(name, value)),
        ]
    }

    proptest! {
        #[test]
        fn it_finds_what_decoding_all_finds(properties in prop::collection::vec(property(), 0..6), name in "[ab]{0,2}") {
            let encoded = MessageProperties::from_properties(properties.clone());
            let value = properties.iter().find_map(|property| {
                let MessageProperty::UserProperty(found, value) = property else { return None };
                (**found == *name).then_some(&**value)
            });
            prop_assert_eq!(encoded.user_property(&name), value);
            let data = properties.iter().find_map(|property| {
                let MessageProperty::CorrelationData(data) = property else { return None };
                Some(&**data)
            });
            prop_assert_eq!(encoded.correlation_data(), data);
            let content_type = properties.iter().find_map(|property| {
                let MessageProperty::ContentType(name) = property else { return None };
                Some(&**name)
            });
            prop_assert_eq!(encoded.content_type(), content_type);
        }
    }
}
