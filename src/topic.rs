//! Topic Names, Topic Filters and Share Names: parsed once, valid ever after.

use bytestring::ByteString;

/// A Topic Name: what a message is published to. No wildcards, no U+0000, 1 to 65,535 bytes. [MQTT-4.7.3-1]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(ByteString);

/// A Topic Filter: what a subscription matches; never the `$share/…/` form. [MQTT-4.7.1-1]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(ByteString);

/// The name of the group of sessions that share a subscription. [MQTT-4.8.2-1]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareName(ByteString);

/// What SUBSCRIBE and UNSUBSCRIBE name: a Topic Filter, of a Shared Subscription or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter {
    /// The share, for `$share/{ShareName}/{filter}`.
    pub share: Option<ShareName>,
    /// The filter itself.
    pub topic_filter: TopicFilter,
}
