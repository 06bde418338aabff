//! Reads the Topic Filter of a subscription to a stream: `$stream/NAME[@OFFSET][/FILTER]`.

use bytestring::ByteString;

use crate::broker::streams::offset::{InvalidOffset, parse_offset};
use crate::broker::streams::start::StreamStart;
use crate::codec::{EncodedUserProperties, ReasonCode};
use crate::topic::{Filter, InvalidTopic, TopicFilter};

/// What a client subscribes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct StreamTarget<'a> {
    /// The name of the stream.
    pub(in crate::broker) name: &'a str,
    /// Where to begin.
    pub(in crate::broker) start: StreamStart,
    /// Those of the stream's messages that are wanted, as the client names their topics; `None`: all.
    pub(in crate::broker) filter: Option<TopicFilter>,
}

/// Why a Topic Filter is no subscription to a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::broker) enum InvalidTarget {
    #[error("a subscription to a stream cannot be exclusive")]
    Exclusive,
    #[error("the name of a stream has 1 to 64 letters, digits, dots, underscores and hyphens")]
    Name,
    #[error("the filter behind the name of the stream: {0}")]
    Filter(InvalidTopic),
    #[error("the offset behind @: {0}")]
    Offset(InvalidOffset),
    #[error("the User Property stream-offset: {0}")]
    OffsetProperty(InvalidOffset),
    #[error("there are several User Properties stream-offset")]
    OffsetProperties,
}

/// Whether a Topic Filter is one of a stream, valid or not.
pub(in crate::broker) fn is_stream(filter: &Filter) -> bool {
    let rest = filter.topic_filter.as_str().strip_prefix("$stream");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl<'a> StreamTarget<'a> {
    /// Reads a Topic Filter for which [`is_stream`] is true. An offset behind `@` takes precedence over that of the User Properties of the packet;
    /// without any, a subscription begins with the next message.
    pub(in crate::broker) fn parse(
        filter: &'a Filter,
        properties: &EncodedUserProperties,
    ) -> Result<Self, InvalidTarget> {
        if filter.is_exclusive {
            return Err(InvalidTarget::Exclusive);
        }
        let text = filter.topic_filter.as_str().strip_prefix(PREFIX).unwrap_or_default();
        let (level, wanted) = text.split_once('/').map_or((text, None), |(level, wanted)| (level, Some(wanted)));
        let (name, offset) = level.split_once('@').map_or((level, None), |(name, offset)| (name, Some(offset)));
        if !is_name(name) {
            return Err(InvalidTarget::Name);
        }
        let start = match offset {
            Some(offset) => parse_offset(offset).map_err(InvalidTarget::Offset)?,
            None => offset_property(properties)?.unwrap_or(StreamStart::Latest),
        };
        let wanted = wanted.map(|wanted| TopicFilter::new(ByteString::from(wanted)));
        let filter = wanted.transpose().map_err(InvalidTarget::Filter)?;
        Ok(Self { name, start, filter })
    }
}

impl InvalidTarget {
    /// The Reason Code for the client.
    pub(in crate::broker) const fn reason_code(&self) -> ReasonCode {
        match self {
            Self::Exclusive | Self::Name | Self::Filter(_) | Self::Offset(_) => ReasonCode::TopicFilterInvalid,
            Self::OffsetProperty(_) | Self::OffsetProperties => ReasonCode::ImplementationSpecificError,
        }
    }
}

/// Whether a SUBSCRIBE says where the subscription to a stream begins.
pub(in crate::broker) fn has_offset(filter: &Filter, properties: &EncodedUserProperties) -> bool {
    let text = filter.topic_filter.as_str().strip_prefix(PREFIX).unwrap_or_default();
    text.split('/').next().is_some_and(|level| level.contains('@')) || properties.iter().any(|(name, _)| name == OFFSET)
}

fn offset_property(properties: &EncodedUserProperties) -> Result<Option<StreamStart>, InvalidTarget> {
    let mut offsets = properties.iter().filter(|(name, _)| *name == OFFSET).map(|(_, value)| value);
    let Some(offset) = offsets.next() else { return Ok(None) };
    if offsets.next().is_some() {
        return Err(InvalidTarget::OffsetProperties);
    }
    parse_offset(offset).map(Some).map_err(InvalidTarget::OffsetProperty)
}

/// Whether a stream may have this name.
fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_allowed)
}

const PREFIX: &str = "$stream/";
/// The User Property of SUBSCRIBE.
const OFFSET: &str = "stream-offset";
/// The greatest length of a name.
const NAME_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn properties(values: &[&str]) -> EncodedUserProperties {
        values.iter().map(|value| ("stream-offset", *value)).collect()
    }

    fn parse(text: &str, offsets: &[&str]) -> Result<(String, StreamStart, Option<String>), InvalidTarget> {
        let filter = Filter::try_from(text).unwrap();
        assert!(is_stream(&filter), "{text}");
        let target = StreamTarget::parse(&filter, &properties(offsets))?;
        Ok((target.name.into(), target.start, target.filter.map(|filter| filter.as_str().into())))
    }

    #[test]
    fn name_offset_and_filter_are_read() {
        let filter = |text: &str| Some(text.to_owned());
        for (text, offsets, name, start, wanted) in [
            ("$stream/a", [].as_slice(), "a", StreamStart::Latest, None),
            ("$stream/a", &["earliest"], "a", StreamStart::Earliest, None),
            ("$stream/a@seq:7", &["earliest"], "a", StreamStart::Sequence(7), None),
            ("$stream/a.b_c-D/x/+/#", &["5"], "a.b_c-D", StreamStart::Time(5), filter("x/+/#")),
            ("$stream/a@earliest/#", &[], "a", StreamStart::Earliest, filter("#")),
            ("$stream/a@latest//", &[], "a", StreamStart::Latest, filter("/")),
            ("$stream/a/$SYS/#", &[], "a", StreamStart::Latest, filter("$SYS/#")),
            ("$stream/a/b@earliest", &[], "a", StreamStart::Latest, filter("b@earliest")),
            ("$share/g/$stream/a@seq:7/b", &[], "a", StreamStart::Sequence(7), filter("b")),
            ("$stream/a@1970-01-01T00:00:01Z", &[], "a", StreamStart::Time(1_000), None),
        ] {
            assert_eq!(parse(text, offsets), Ok((name.into(), start, wanted)), "{text}");
        }
    }

    #[test]
    fn each_error_has_a_reason_code_and_words() {
        let long = format!("$stream/{}", "x".repeat(65));
        for (text, offsets, code, words) in [
            ("$exclusive/$stream/a", [].as_slice(), 0x8F, "a subscription to a stream cannot be exclusive"),
            ("$stream", &[], 0x8F, "the name of a stream has 1 to 64"),
            ("$stream/", &[], 0x8F, "the name of a stream has 1 to 64"),
            ("$stream/+", &[], 0x8F, "the name of a stream has 1 to 64"),
            ("$stream/#", &[], 0x8F, "the name of a stream has 1 to 64"),
            ("$stream/ä", &[], 0x8F, "the name of a stream has 1 to 64"),
            (&long, &[], 0x8F, "the name of a stream has 1 to 64"),
            ("$stream/a/", &[], 0x8F, "the filter behind the name of the stream: "),
            ("$stream/a/$share/g/b", &[], 0x8F, "the filter behind the name of the stream: "),
            ("$stream/a@", &[], 0x8F, "the offset behind @: expected earliest"),
            ("$stream/a@seq:x/b", &[], 0x8F, "the offset behind @: the sequence behind seq:"),
            ("$stream/a", &["first"], 0x83, "the User Property stream-offset: expected earliest"),
            ("$stream/a", &["earliest", "earliest"], 0x83, "there are several User Properties stream-offset"),
        ] {
            let error = parse(text, offsets).unwrap_err();
            assert_eq!(error.reason_code().number(), code, "{text}");
            assert!(error.to_string().starts_with(words), "{text}: {error}");
        }
    }

    #[test]
    fn other_topics_are_none_of_streams() {
        for text in ["$streams/a", "stream/a", "/$stream/a", "a/$stream", "$SYS/#", "#", "$stream-a"] {
            assert!(!is_stream(&Filter::try_from(text).unwrap()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_filter_is_read_or_refused(text in "\\$stream/\\PC{0,8}(@\\PC{0,8})?(/\\PC{0,8})?", offset in "\\PC{0,8}") {
            if let Ok(filter) = Filter::try_from(&*text)
                && is_stream(&filter)
                && let Ok(target) = StreamTarget::parse(&filter, &properties(&[&offset]))
            {
                let begin = format!("$stream/{}", target.name);
                prop_assert!(text.starts_with(&begin), "{}", text);
                let wanted = target.filter.as_ref().map_or("", |wanted| wanted.as_str());
                prop_assert!(text.ends_with(wanted));
            }
        }
    }
}
