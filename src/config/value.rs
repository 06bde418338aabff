//! The notation of durations and sizes: `"30s"`, `"1h30m"`, `"16MiB"`, or a plain number of seconds or bytes.
//!
//! Each module is for `#[serde(with = "…")]`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::{self, Serializer};

/// Durations: units `ms`, `s`, `m`, `h` and `d`, possibly several (`"1h30m"`); a plain number is seconds.
pub(super) mod duration {
    use super::{Deserializer, Duration, NumberOrText, Serializer, duration_text, parse_duration};

    pub(in crate::config) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration_text(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let expected = "a duration such as \"30s\", \"5m\" or a number of seconds";
        deserializer.deserialize_any(NumberOrText {
            expected,
            from_number: |seconds| Some(Duration::from_secs(seconds)),
            from_text: parse_duration,
        })
    }
}

/// Optional durations as in [`mod@duration`]; to be combined with `#[serde(default)]`.
pub(super) mod optional_duration {
    use super::{Deserializer, Duration, Serializer, duration};

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => duration::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }
}

/// Durations as in [`mod@duration`], or `"never"` for `None`.
pub(super) mod duration_or_never {
    use super::{Deserializer, Duration, NumberOrText, Serializer, duration_text, parse_duration};

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_str(&duration_text(*value)),
            None => serializer.serialize_str("never"),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let expected = "a duration such as \"30s\", \"5m\", a number of seconds, or \"never\"";
        deserializer.deserialize_any(NumberOrText {
            expected,
            from_number: |seconds| Some(Some(Duration::from_secs(seconds))),
            from_text: |text| if text == "never" { Some(None) } else { parse_duration(text).map(Some) },
        })
    }
}

/// Sizes in bytes: units `B`, `KiB`, `MiB`, `GiB` (powers of 1,024), `kB`, `MB`, `GB` (of 1,000); a plain number is
/// bytes.
pub(super) mod size {
    use super::{Deserializer, NumberOrText, Serializer, parse_size, ser, size_text};

    pub(in crate::config) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + TryInto<u64>,
        S: Serializer,
    {
        let bytes = (*value).try_into().map_err(|_| ser::Error::custom("a size beyond 64 bits"))?;
        serializer.serialize_str(&size_text(bytes))
    }

    pub(in crate::config) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: TryFrom<u64>,
        D: Deserializer<'de>,
    {
        let expected = "a size such as \"64KiB\", \"16MiB\" or a number of bytes";
        deserializer.deserialize_any(NumberOrText {
            expected,
            from_number: |bytes| T::try_from(bytes).ok(),
            from_text: |text| T::try_from(parse_size(text)?).ok(),
        })
    }
}

/// Optional sizes as in [`size`]; to be combined with `#[serde(default)]`.
pub(super) mod optional_size {
    use super::{Deserializer, Serializer, size};

    pub(in crate::config) fn serialize<T, S>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + TryInto<u64>,
        S: Serializer,
    {
        match value {
            Some(value) => size::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::config) fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: TryFrom<u64>,
        D: Deserializer<'de>,
    {
        size::deserialize(deserializer).map(Some)
    }
}

/// A list of texts, or one text with commas between them, as flags and environment variables need it.
pub(super) fn text_list<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
) -> Result<Vec<String>, D::Error> {
    deserializer.deserialize_any(TextList(expected))
}

struct TextList(&'static str);

impl<'de> Visitor<'de> for TextList {
    type Value = Vec<String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let texts = text.split(',').map(|text| text.trim().to_owned());
        Ok(texts.filter(|text| !text.is_empty()).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element()? {
            texts.push(text);
        }
        Ok(texts)
    }
}

/// Sizes as in [`size`], or `"auto"` for `None`.
pub(super) mod size_or_auto {
    use super::{Deserializer, NumberOrText, Serializer, parse_size, size};

    pub(in crate::config) fn serialize<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => size::serialize(value, serializer),
            None => serializer.serialize_str("auto"),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(NumberOrText {
            expected: "a size such as \"512MiB\", a number of bytes, or \"auto\"",
            from_number: |bytes| Some(Some(bytes)),
            from_text: |text| if text == "auto" { Some(None) } else { parse_size(text).map(Some) },
        })
    }
}

/// Accepts a number or a text; the error names what was expected.
struct NumberOrText<V> {
    expected: &'static str,
    from_number: fn(u64) -> Option<V>,
    from_text: fn(&str) -> Option<V>,
}

impl<V> Visitor<'_> for NumberOrText<V> {
    type Value = V;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<V, E> {
        let value = u64::try_from(number).ok().and_then(self.from_number);
        value.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<V, E> {
        (self.from_number)(number).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<V, E> {
        (self.from_text)(text.trim()).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Parses `1h30m`, `250ms` or `45`; `None` if the text isn't a duration.
fn parse_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut total_ms: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_length);
        let (_, unit_ms) = DURATION_UNITS.iter().find(|(name, _)| *name == unit.trim())?;
        total_ms = total_ms.checked_add(number.checked_mul(*unit_ms)?)?;
        rest = next;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total_ms))
}

/// The duration in the notation that [`parse_duration`] reads, with the largest units first.
fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, unit_ms) in DURATION_UNITS {
        if rest >= unit_ms {
            text.push_str(&format!("{}{name}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Parses `16MiB`, `1 kB` or `512`; `None` if the text isn't a size.
fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim())?;
    number.checked_mul(*bytes)
}

/// The size in the largest power of 1,024 that divides it.
fn size_text(bytes: u64) -> String {
    let binary = SIZE_UNITS.iter().filter(|(name, _)| name.ends_with("iB"));
    for (name, unit) in binary {
        if bytes >= *unit && bytes.is_multiple_of(*unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

/// The units from the largest to the smallest, which is the order they are written in.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The units from the largest to the smallest within the powers of 1,024; a size is written in the first that divides
/// it.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_parsed_in_every_unit() {
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("45"), Some(Duration::from_secs(45)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("2 d"), Some(Duration::from_secs(172_800)));
        for wrong in ["", "s", "5x", "-1s", "1.5h", "5m ago", "99999999999999999999d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_parsed_in_every_unit() {
        assert_eq!(parse_size("16MiB"), Some(16 << 20));
        assert_eq!(parse_size("1 kB"), Some(1_000));
        assert_eq!(parse_size("512"), Some(512));
        for wrong in ["", "MiB", "1mib", "-1", "1.5GiB", "99999999999GiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn written_values_parse_to_the_same_value(ms in 0..u64::MAX / 2, bytes: u64) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&duration_text(duration)), Some(duration));
            prop_assert_eq!(parse_size(&size_text(bytes)), Some(bytes));
        }

        #[test]
        fn no_text_causes_a_panic(text: String) {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
