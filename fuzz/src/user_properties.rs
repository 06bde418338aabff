use bytes::Bytes;
use oncemq::codec::{EncodedUserProperties, MessageProperties, MessageProperty};

use super::choices::Choices;

/// Properties of a message are read from any bytes or refused, and mean the same after they were written again. User Properties that are
/// kept encoded return what was put in.
pub(crate) fn user_properties(input: &[u8]) {
    if let Ok(properties) = MessageProperties::from_bytes(Bytes::copy_from_slice(input)) {
        let list: Vec<MessageProperty> = properties.iter().collect();
        assert!(list.len() <= input.len() / 2, "a property has at least 2 bytes");
        assert_eq!(properties.encoded_len(), input.len());
        let again = MessageProperties::from_properties(list.iter().cloned());
        assert_eq!(again.iter().collect::<Vec<_>>(), list);
    }
    let mut choices = Choices::new(input);
    let mut pairs = Vec::new();
    while !choices.is_empty() {
        let mut text = || String::from_utf8_lossy(choices.bytes()).into_owned();
        pairs.push((text(), text()));
    }
    let encoded: EncodedUserProperties = pairs.iter().map(|(name, value)| (name, value)).collect();
    assert_eq!(encoded.is_empty(), pairs.is_empty());
    assert!(encoded.iter().eq(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))));
    for (name, value) in &pairs {
        assert!(encoded.contains(name, value));
    }
}
