//! The User Properties of a message of a stream, which the broker puts before those of the message.

use std::ops::RangeInclusive;

use crate::broker::redelivery::rules::ATTEMPT;
use crate::codec::MessageProperties;

/// What a message says about its place in a stream, and in the subscription.
#[derive(Debug, Clone, Copy)]
pub(in crate::broker) struct Marks<'a> {
    pub(in crate::broker) stream: &'a str,
    pub(in crate::broker) sequence: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub(in crate::broker) timestamp: u64,
    /// The message that was sent before it.
    pub(in crate::broker) previous: Option<u64>,
    /// Messages before it that the stream has no more.
    pub(in crate::broker) trimmed: Option<&'a RangeInclusive<u64>>,
    /// Messages before it that cannot be read.
    pub(in crate::broker) unreadable: Option<&'a RangeInclusive<u64>>,
    /// The number of the attempt, from 2; 0: it is the first one.
    pub(in crate::broker) attempt: u64,
}

impl Marks<'_> {
    /// The properties of a message behind these.
    pub(in crate::broker) fn before(&self, properties: &MessageProperties) -> MessageProperties {
        let (sequence, timestamp) = (Digits::of(self.sequence), Digits::of(self.timestamp));
        let previous = self.previous.map(Digits::of);
        let range = |range: &RangeInclusive<u64>| format!("{}-{}", range.start(), range.end());
        let (trimmed, unreadable) = (self.trimmed.map(range), self.unreadable.map(range));
        let always = [
            (STREAM, self.stream),
            (SEQUENCE, sequence.as_str()),
            (TIMESTAMP, timestamp.as_str()),
            (PREVIOUS, previous.as_ref().map_or("none", Digits::as_str)),
        ];
        let attempt = (self.attempt > 0).then(|| Digits::of(self.attempt));
        let rarely = [
            (TRIMMED, trimmed.as_deref()),
            (UNREADABLE, unreadable.as_deref()),
            (ATTEMPT, attempt.as_ref().map(Digits::as_str)),
        ];
        let rarely = rarely.into_iter().filter_map(|(name, value)| Some((name, value?)));
        properties.behind_user_properties(always.into_iter().chain(rarely))
    }
}

/// A number in decimal digits.
struct Digits {
    digits: [u8; DIGITS_MAX],
    start: usize,
}

impl Digits {
    fn of(mut number: u64) -> Self {
        let (mut digits, mut start) = ([b'0'; DIGITS_MAX], DIGITS_MAX);
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
            start -= 1;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        Self { digits, start }
    }

    fn as_str(&self) -> &str {
        self.digits.get(self.start..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default()
    }
}

const STREAM: &str = "stream";
const SEQUENCE: &str = "stream-sequence";
const TIMESTAMP: &str = "stream-timestamp";
const PREVIOUS: &str = "stream-previous";
const TRIMMED: &str = "stream-trimmed";
const UNREADABLE: &str = "stream-unreadable";
/// The digits of the greatest number.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::MessageProperty;

    #[test]
    fn numbers_are_written_in_digits() {
        for number in [0, 1, 9, 10, 99, 100, 1_767_225_600_123, u64::MAX - 1, u64::MAX] {
            assert_eq!(Digits::of(number).as_str(), number.to_string());
        }
    }

    #[test]
    fn the_marks_come_before_the_properties_of_the_message_which_stay_as_they_are() {
        let property =
            |name: &'static str, value: &'static str| MessageProperty::UserProperty(name.into(), value.into());
        let own = [property("stream-sequence", "forged"), MessageProperty::ContentType("text/plain".into())];
        let (trimmed, unreadable) = (None, None);
        let marks =
            Marks { stream: "s", sequence: 7, timestamp: 1_000, previous: None, trimmed, unreadable, attempt: 0 };
        let all = marks.before(&MessageProperties::from_properties(own.clone()));
        let expected = [
            property("stream", "s"),
            property("stream-sequence", "7"),
            property("stream-timestamp", "1000"),
            property("stream-previous", "none"),
        ];
        assert_eq!(all.iter().collect::<Vec<_>>(), [expected.as_slice(), &own].concat());
        assert_eq!(MessageProperties::from_bytes(bytes::Bytes::copy_from_slice(all.as_bytes())).unwrap(), all);
        let (trimmed, unreadable) = (Some(&(1..=3)), Some(&(4..=5)));
        let marks = Marks { previous: Some(6), trimmed, unreadable, attempt: 2, ..marks };
        let all = marks.before(&MessageProperties::default());
        let rest: Vec<_> = all.iter().skip(3).collect();
        assert_eq!(
            rest,
            [
                property("stream-previous", "6"),
                property("stream-trimmed", "1-3"),
                property("stream-unreadable", "4-5"),
                property("delivery-attempt", "2"),
            ]
        );
    }
}
