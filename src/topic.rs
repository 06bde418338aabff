//! Topic Names, Topic Filters, Share Names and mount points, validated at construction.

mod mount_point;

use std::fmt;
use std::str::Split;

use bytestring::ByteString;

pub use self::mount_point::{InvalidMountPoint, MOUNT_POINT_BYTES_MAX, MountCoverage, MountPoint, Unmountable};

/// A Topic Name, to which a message is published: no wildcards, no U+0000, 1 to 65,535 bytes. [MQTT-4.7.3-1]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(ByteString);

impl TopicName {
    /// Validates `name` and stores it without normalization. [MQTT-4.7.3-4]
    pub fn new(name: ByteString) -> Result<Self, InvalidTopic> {
        // One pass over the bytes; few names contain any of these.
        if name.is_empty() || name.len() > BYTES_MAX || has_byte(&name, |byte| matches!(byte, 0 | b'+' | b'#')) {
            check_characters(&name)?;
            return Err(InvalidTopic::WildcardInName); // [MQTT-4.7.0-1]
        }
        Ok(Self(name))
    }

    /// A placeholder for the name of a message that has a Topic Alias only, until the alias is resolved.
    pub const fn unresolved() -> Self {
        Self(ByteString::from_static("?"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The topic levels, at least one; a level may be empty.
    pub fn levels(&self) -> Split<'_, char> {
        self.0.split('/')
    }

    /// A copy that doesn't keep the buffer in memory that the name is a slice of.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(detached(&self.0))
    }
}

/// A Topic Filter, which a subscription matches; without the prefix `$share/…/`. [MQTT-4.7.1-1]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(ByteString);

impl TopicFilter {
    /// Validates `filter` and stores it without normalization. [MQTT-4.7.3-4]
    pub fn new(filter: ByteString) -> Result<Self, InvalidTopic> {
        check_characters(&filter)?;
        if filter.starts_with(SHARE_PREFIX) {
            return Err(InvalidTopic::NestedShare);
        }
        let mut levels = filter.split('/');
        while let Some(level) = levels.next() {
            match level {
                "+" => {}
                "#" if levels.next().is_none() => break,
                _ if level.contains('#') => return Err(InvalidTopic::MisplacedMultiLevelWildcard), // [MQTT-4.7.1-1]
                _ if level.contains('+') => return Err(InvalidTopic::MisplacedSingleLevelWildcard), // [MQTT-4.7.1-2]
                _ => {}
            }
        }
        Ok(Self(filter))
    }

    /// A filter that no client can subscribe to below a mount point.
    pub const fn reserved() -> Self {
        Self(ByteString::from_static("$"))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels, at least one; a level may be empty.
    pub fn levels(&self) -> Split<'_, char> {
        self.0.split('/')
    }

    /// Whether it has a wildcard, so that it can match several topics.
    pub fn has_wildcard(&self) -> bool {
        self.0.contains(['+', '#'])
    }

    /// Whether the filter matches messages published to `topic`.
    pub fn matches(&self, topic: &TopicName) -> bool {
        self.matches_text(topic.as_str())
    }

    /// The same for the text of a Topic Name.
    pub fn matches_text(&self, topic: &str) -> bool {
        if self.0.starts_with(['+', '#']) && topic.starts_with('$') {
            return false; // [MQTT-4.7.2-1]
        }
        let mut names = topic.split('/');
        for level in self.levels() {
            let name = names.next();
            match level {
                "#" => return true,
                "+" if name.is_some() => {}
                _ if name == Some(level) => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// A copy that doesn't keep the buffer in memory that the filter is a slice of.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(detached(&self.0))
    }
}

/// A ShareName: the name of a group of sessions that share a subscription. [MQTT-4.8.2-1]
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareName(ByteString);

impl ShareName {
    /// Validates `name`.
    pub fn new(name: ByteString) -> Result<Self, InvalidTopic> {
        if name.is_empty() {
            return Err(InvalidTopic::EmptyShareName); // [MQTT-4.8.2-1]
        }
        if name.contains(['/', '+', '#']) {
            return Err(InvalidTopic::ShareNameCharacter); // [MQTT-4.8.2-2]
        }
        check_characters(&name)?;
        Ok(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A copy that doesn't keep the buffer in memory that the name is a slice of.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(detached(&self.0))
    }
}

/// The Topic Filter of a SUBSCRIBE or UNSUBSCRIBE, possibly of a Shared Subscription.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter {
    /// The ShareName of `$share/{ShareName}/{filter}`.
    pub share: Option<ShareName>,
    /// The Topic Filter without the share.
    pub topic_filter: TopicFilter,
    /// Whether it is the exclusive subscription of `$exclusive/{filter}`. Then it has no share.
    pub is_exclusive: bool,
}

impl Filter {
    /// Parses a Topic Filter in its wire format.
    ///
    /// A text that starts with `$share/` is a Shared Subscription or an error, never a plain filter; `$share` alone is
    /// a plain filter.
    pub fn new(filter: ByteString) -> Result<Self, InvalidTopic> {
        let Some(shared) = filter.strip_prefix(SHARE_PREFIX) else {
            let exclusive = filter.strip_prefix(EXCLUSIVE_PREFIX).filter(|rest| !rest.is_empty());
            let plain = exclusive.map_or_else(|| filter.clone(), |rest| filter.slice_ref(rest));
            return Ok(Self { share: None, topic_filter: TopicFilter::new(plain)?, is_exclusive: exclusive.is_some() });
        };
        check_characters(&filter)?;
        let (name, topic_filter) = shared.split_once('/').unwrap_or((shared, ""));
        let share = ShareName::new(filter.slice_ref(name))?;
        if topic_filter.is_empty() {
            return Err(InvalidTopic::ShareWithoutFilter); // [MQTT-4.8.2-2]
        }
        let topic_filter = TopicFilter::new(filter.slice_ref(topic_filter))?;
        Ok(Self { share: Some(share), topic_filter, is_exclusive: false })
    }

    /// A copy that doesn't keep the buffer in memory that the filter is a slice of.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            share: self.share.as_ref().map(ShareName::detached),
            topic_filter: self.topic_filter.detached(),
            is_exclusive: self.is_exclusive,
        }
    }

    /// The same subscription as an ordinary one. A Session has one of the two.
    #[must_use]
    pub fn ordinary(&self) -> Self {
        Self { is_exclusive: false, ..self.clone() }
    }
}

/// Why a text is not a valid Topic Name, Topic Filter or ShareName.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopic {
    /// The text is empty. [MQTT-4.7.3-1]
    #[error("empty")]
    Empty,
    /// The character U+0000. [MQTT-4.7.3-2]
    #[error("contains U+0000")]
    NullCharacter,
    /// More than 65,535 bytes. [MQTT-4.7.3-3]
    #[error("longer than 65,535 bytes")]
    TooLong,
    /// `+` or `#` in a Topic Name. [MQTT-4.7.0-1]
    #[error("a topic name with a wildcard")]
    WildcardInName,
    /// `#` that is not the whole last level. [MQTT-4.7.1-1]
    #[error("`#` is not the whole last level")]
    MisplacedMultiLevelWildcard,
    /// `+` that is not a whole level. [MQTT-4.7.1-2]
    #[error("`+` is not a whole level")]
    MisplacedSingleLevelWildcard,
    /// `$share//…`. [MQTT-4.8.2-1]
    #[error("the share name is empty")]
    EmptyShareName,
    /// `/`, `+` or `#` in a Share Name. [MQTT-4.8.2-2]
    #[error("the share name contains `/`, `+` or `#`")]
    ShareNameCharacter,
    /// `$share/name` or `$share/name/`. [MQTT-4.8.2-2]
    #[error("a share name without a topic filter")]
    ShareWithoutFilter,
    /// `$share/` where a Shared Subscription is not allowed.
    #[error("a plain topic filter must not begin with `$share/`")]
    NestedShare,
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ShareName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Filter {
    /// The wire format.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(share) = &self.share {
            write!(f, "{SHARE_PREFIX}{share}/")?;
        }
        if self.is_exclusive {
            f.write_str(EXCLUSIVE_PREFIX)?;
        }
        self.topic_filter.fmt(f)
    }
}

impl TryFrom<&str> for TopicName {
    type Error = InvalidTopic;

    fn try_from(name: &str) -> Result<Self, InvalidTopic> {
        Self::new(ByteString::from(name))
    }
}

impl TryFrom<&str> for TopicFilter {
    type Error = InvalidTopic;

    fn try_from(filter: &str) -> Result<Self, InvalidTopic> {
        Self::new(ByteString::from(filter))
    }
}

impl TryFrom<&str> for ShareName {
    type Error = InvalidTopic;

    fn try_from(name: &str) -> Result<Self, InvalidTopic> {
        Self::new(ByteString::from(name))
    }
}

impl TryFrom<&str> for Filter {
    type Error = InvalidTopic;

    fn try_from(filter: &str) -> Result<Self, InvalidTopic> {
        Self::new(ByteString::from(filter))
    }
}

impl From<TopicFilter> for Filter {
    fn from(topic_filter: TopicFilter) -> Self {
        Self { share: None, topic_filter, is_exclusive: false }
    }
}

/// Checks the rules for Topic Names and Topic Filters.
fn check_characters(text: &str) -> Result<(), InvalidTopic> {
    if text.is_empty() {
        return Err(InvalidTopic::Empty); // [MQTT-4.7.3-1]
    }
    if text.len() > BYTES_MAX {
        return Err(InvalidTopic::TooLong); // [MQTT-4.7.3-3]
    }
    if has_byte(text, |byte| byte == 0) {
        return Err(InvalidTopic::NullCharacter); // [MQTT-4.7.3-2]
    }
    Ok(())
}

/// Checks every byte without an early exit, which is fastest for short texts.
fn has_byte(text: &str, is_sought: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(false, |found, byte| found | is_sought(byte))
}

fn detached(text: &str) -> ByteString {
    ByteString::from(text)
}

/// The maximum length of a UTF-8 Encoded String in bytes.
const BYTES_MAX: usize = 65_535;

/// The prefix of an exclusive subscription's Topic Filter.
const EXCLUSIVE_PREFIX: &str = "$exclusive/";

/// The prefix of a Shared Subscription's Topic Filter. [MQTT-4.8.2-1]
const SHARE_PREFIX: &str = "$share/";

#[cfg(test)]
mod tests;
