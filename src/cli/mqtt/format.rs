//! The output of `oncemq sub`: a message as text, in the format of `mosquitto_sub`.

use std::borrow::Cow;
use std::fmt::Write as _;

use oncemq::codec::{Message, MessageProperty, OutgoingPublish};
use serde::Serialize;
use serde_json::{Map, Value};

use super::wall_time::WallTime;

/// How messages are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Format {
    /// The payload.
    Payload,
    /// Topic and payload.
    Verbose,
    /// As `-F` says.
    Pieces(Vec<Piece>),
}

/// A part of `-F`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Piece {
    Text(String),
    Field(char, Options),
    /// `@X`.
    Time(char),
}

/// Flags, width and precision, as of `printf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::cli) struct Options {
    is_left: bool,
    is_zero_padded: bool,
    width: usize,
    precision: Option<usize>,
}

impl Format {
    /// Parses `-F`. What is not supported is an error.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(char) = rest.next() {
            let piece = match char {
                '%' => field(&mut rest)?,
                '@' => match rest.next() {
                    Some('@') => Piece::Text("@".to_owned()),
                    Some(name) if WallTime::new(Default::default()).field(name).is_some() => Piece::Time(name),
                    other => return Err(unknown('@', other)),
                },
                '\\' => Piece::Text(escape(rest.next())?.to_string()),
                _ => Piece::Text(char.to_string()),
            };
            if let Piece::Text(text) = piece {
                literal.push_str(&text);
                continue;
            }
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self::Pieces(pieces))
    }

    /// Appends a message.
    pub(in crate::cli) fn write(&self, publish: &OutgoingPublish, output: &mut Vec<u8>) {
        let message = &publish.message;
        match self {
            Self::Payload => output.extend_from_slice(&message.payload),
            Self::Verbose => {
                output.extend_from_slice(message.topic.as_str().as_bytes());
                output.push(b' ');
                let is_empty = message.payload.is_empty();
                output.extend_from_slice(if is_empty { b"(null)" } else { &message.payload });
            }
            Self::Pieces(pieces) => {
                let now = WallTime::now();
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => output.extend_from_slice(text.as_bytes()),
                        Piece::Time(name) => {
                            output.extend_from_slice(now.field(*name).unwrap_or_default().as_bytes());
                        }
                        Piece::Field(name, options) => options.pad(&value(*name, publish, &now), output),
                    }
                }
            }
        }
    }
}

/// What follows a `%`.
fn field(rest: &mut std::str::Chars<'_>) -> Result<Piece, String> {
    let mut options = Options::default();
    let mut next = rest.next();
    if next == Some('-') {
        options.is_left = true;
        next = rest.next();
    }
    if next == Some('0') {
        options.is_zero_padded = true;
        next = rest.next();
    }
    options.width = number(&mut next, rest)?.unwrap_or(0);
    if next == Some('.') {
        next = rest.next();
        options.precision = Some(number(&mut next, rest)?.unwrap_or(0));
    }
    match next {
        Some('%') => Ok(Piece::Text("%".to_owned())),
        Some(name) if FIELDS.contains(name) => Ok(Piece::Field(name, options)),
        other => Err(unknown('%', other)),
    }
}

fn number(next: &mut Option<char>, rest: &mut std::str::Chars<'_>) -> Result<Option<usize>, String> {
    let mut number = None;
    while let Some(digit) = next.and_then(|char| char.to_digit(10)) {
        let value = number.unwrap_or(0) * 10 + digit as usize;
        if value > WIDTH_MAX {
            return Err(format!("a width is at most {WIDTH_MAX}"));
        }
        number = Some(value);
        *next = rest.next();
    }
    Ok(number)
}

fn escape(name: Option<char>) -> Result<char, String> {
    Ok(match name {
        Some('\\') => '\\',
        Some('0') => '\0',
        Some('a') => '\u{7}',
        Some('e') => '\u{1B}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('v') => '\u{B}',
        other => return Err(unknown('\\', other)),
    })
}

fn unknown(start: char, name: Option<char>) -> String {
    match name {
        Some(name) => format!("{start}{name} is not supported"),
        None => format!("a {start} at the end is not supported"),
    }
}

/// The value of a `%` field; empty if the message has none.
fn value<'a>(name: char, publish: &'a OutgoingPublish, now: &WallTime) -> Cow<'a, [u8]> {
    let message = &publish.message;
    let text = |text: String| Cow::Owned(text.into_bytes());
    let found = |find: fn(Properties) -> Option<Vec<u8>>| Cow::Owned(find(Properties::of(message)).unwrap_or_default());
    match name {
        't' => Cow::Borrowed(message.topic.as_str().as_bytes()),
        'p' => Cow::Borrowed(&message.payload),
        'l' => text(message.payload.len().to_string()),
        'm' => text(publish.packet_id.map_or(0, |id| id.number()).to_string()),
        'q' => text(publish.qos.level().to_string()),
        'r' => text(u8::from(publish.retain).to_string()),
        'x' => text(hex(&message.payload, false)),
        'X' => text(hex(&message.payload, true)),
        'E' => text(publish.message_expiry_interval.map(|seconds| seconds.to_string()).unwrap_or_default()),
        'S' => text(publish.subscription_ids().first().map(ToString::to_string).unwrap_or_default()),
        'C' => found(|properties| properties.content_type.map(String::into_bytes)),
        'R' => found(|properties| properties.response_topic.map(String::into_bytes)),
        'D' => found(|properties| properties.correlation_data),
        'F' => found(|properties| properties.is_utf8.map(|is_utf8| u8::from(is_utf8).to_string().into_bytes())),
        'P' => {
            let pairs =
                Properties::of(message).user_properties.into_iter().map(|(name, value)| format!("{name}:{value}"));
            text(pairs.collect::<Vec<_>>().join(" "))
        }
        'I' => text(format!("{}T{}+0000", now.date(), now.time())),
        'U' => text(now.unix()),
        'j' => text(json(publish, now, Value::String(String::from_utf8_lossy(&message.payload).into_owned()))),
        // A payload that is not JSON is a string, so that the line is JSON in any case.
        'J' => {
            let payload = serde_json::from_slice(&message.payload);
            let payload = payload.unwrap_or_else(|_| String::from_utf8_lossy(&message.payload).into());
            text(json(publish, now, payload))
        }
        _ => Cow::Borrowed(b""),
    }
}

fn hex(bytes: &[u8], is_upper: bool) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string can't fail.
        let _ = if is_upper { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
    }
    text
}

/// `%j`, with the names and the order of `mosquitto_sub`.
#[derive(Serialize)]
struct Json<'a> {
    tst: String,
    topic: &'a str,
    qos: u8,
    retain: u8,
    payloadlen: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    mid: Option<u16>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    properties: Map<String, Value>,
    payload: Value,
}

/// The properties of a message, by name.
#[derive(Debug, Default)]
struct Properties {
    is_utf8: Option<bool>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<Vec<u8>>,
    user_properties: Vec<(String, String)>,
}

impl Properties {
    fn of(message: &Message) -> Self {
        let mut found = Self::default();
        for property in message.properties.iter() {
            match property {
                MessageProperty::PayloadFormatIndicator(is_utf8) => found.is_utf8 = Some(is_utf8),
                MessageProperty::ContentType(value) => found.content_type = Some(value.to_string()),
                MessageProperty::ResponseTopic(value) => found.response_topic = Some(value.to_string()),
                MessageProperty::CorrelationData(value) => found.correlation_data = Some(value.to_vec()),
                MessageProperty::UserProperty(name, value) => {
                    found.user_properties.push((name.to_string(), value.to_string()));
                }
            }
        }
        found
    }
}

fn json(publish: &OutgoingPublish, now: &WallTime, payload: Value) -> String {
    let message = &publish.message;
    let mut properties = Map::new();
    let found = Properties::of(message);
    let data = found.correlation_data.map(|data| String::from_utf8_lossy(&data).into_owned());
    let texts =
        [("content-type", found.content_type), ("response-topic", found.response_topic), ("correlation-data", data)];
    properties.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))));
    if let Some(is_utf8) = found.is_utf8 {
        properties.insert("payload-format-indicator".to_owned(), u8::from(is_utf8).into());
    }
    if let Some(seconds) = publish.message_expiry_interval {
        properties.insert("message-expiry-interval".to_owned(), seconds.into());
    }
    if let Some(id) = publish.subscription_ids().first() {
        properties.insert("subscription-identifier".to_owned(), id.get().into());
    }
    if !found.user_properties.is_empty() {
        let pairs = found
            .user_properties
            .into_iter()
            .map(|(name, value)| Value::Object([(name, value.into())].into_iter().collect()));
        properties.insert("user-properties".to_owned(), pairs.collect());
    }
    let json = Json {
        tst: format!("{}T{}.{:06}+0000", now.date(), now.time(), now.microseconds()),
        topic: message.topic.as_str(),
        qos: publish.qos.level(),
        retain: publish.retain.into(),
        payloadlen: message.payload.len(),
        mid: publish.packet_id.map(|id| id.number()),
        properties,
        payload,
    };
    serde_json::to_string(&json).unwrap_or_default()
}

impl Options {
    /// Appends a value with blanks or zeros up to the width. Precision and width count bytes.
    fn pad(&self, value: &[u8], output: &mut Vec<u8>) {
        let value = self.precision.and_then(|precision| value.get(..precision)).unwrap_or(value);
        let missing = self.width.saturating_sub(value.len());
        let fill = |byte: u8| std::iter::repeat_n(byte, missing);
        if self.is_left {
            output.extend_from_slice(value);
            output.extend(fill(b' '));
        } else {
            output.extend(fill(if self.is_zero_padded { b'0' } else { b' ' }));
            output.extend_from_slice(value);
        }
    }
}

/// The fields after `%`.
const FIELDS: &str = "CDEFIJjlmPpqRrStUXx";
const WIDTH_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use oncemq::codec::{MessageProperties, PacketId, Qos};
    use proptest::prelude::*;

    use super::*;

    fn publish(payload: &'static [u8]) -> OutgoingPublish {
        let mut message = Message::new("a/b".try_into().unwrap(), payload);
        message.properties = MessageProperties::from_properties([
            MessageProperty::ContentType("text".into()),
            MessageProperty::UserProperty("k".into(), "v".into()),
        ]);
        let mut publish = OutgoingPublish::new(Arc::new(message));
        (publish.qos, publish.packet_id) = (Qos::AtLeastOnce, PacketId::new(7));
        publish
    }

    fn written(format: &str, payload: &'static [u8]) -> String {
        let mut output = Vec::new();
        Format::parse(format).unwrap().write(&publish(payload), &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn fields_flags_and_escapes_are_written() {
        for (format, text) in [
            ("%t %p %q %r %l %x %m", "a/b hi 1 0 2 6869 7"),
            ("%X|%C|%P|%E|%%|@@|\\t|\\\\", "6869|text|k:v||%|@|\t|\\"),
            ("[%5t][%-5t][%05l][%.1t][%6.2p]", "[  a/b][a/b  ][00002][a][    hi]"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(written(format, b"hi"), text, "{format}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for format in ["%", "%y", "%A", "%f", "@", "@q", "\\", "\\x", "%99999t", "%-", "%0", "%5"] {
            assert!(Format::parse(format).is_err(), "{format}");
        }
    }

    #[test]
    fn json_has_the_names_of_mosquitto_sub() {
        let line: Value = serde_json::from_str(&written("%j", b"a\"\n\xFF")).unwrap();
        assert_eq!((&line["topic"], &line["mid"], &line["payloadlen"]), (&"a/b".into(), &7.into(), &4.into()));
        assert_eq!(line["payload"], "a\"\n\u{FFFD}");
        assert_eq!(line["properties"]["user-properties"][0]["k"], "v");
        let line: Value = serde_json::from_str(&written("%J", b"{\"t\": 27.5}")).unwrap();
        assert_eq!(line["payload"]["t"], 27.5);
        let line: Value = serde_json::from_str(&written("%J", b"no json")).unwrap();
        assert_eq!(line["payload"], "no json");
    }

    proptest! {
        #[test]
        fn any_format_is_refused_or_written(text: String) {
            if let Ok(format) = Format::parse(&text) {
                format.write(&publish(b"hi"), &mut Vec::new());
            }
        }
    }
}
