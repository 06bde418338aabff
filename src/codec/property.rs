use bytes::Bytes;
use bytestring::ByteString;

/// User Properties in the order they came. [MQTT-3.3.2-18]
pub type UserProperties = Vec<(ByteString, ByteString)>;

/// The properties of an Application Message that go on to its receivers unaltered: Payload Format Indicator, Content
/// Type, Response Topic, Correlation Data and User Properties, in their order.
///
/// They are kept as the bytes of the wire, checked once, so that passing them on is a copy. Message Expiry Interval,
/// Topic Alias and Subscription Identifiers are not among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageProperties {
    encoded: Bytes,
}

/// One of [`MessageProperties`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's names say it")]
pub enum MessageProperty {
    /// `true`: the payload is UTF-8.
    PayloadFormatIndicator(bool),
    ContentType(ByteString),
    ResponseTopic(ByteString),
    CorrelationData(Bytes),
    UserProperty(ByteString, ByteString),
}
