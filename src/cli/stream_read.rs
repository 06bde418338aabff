//! `streams read`: the messages of a stream.

use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use oncemq::codec::{Message, MessageProperties, MessageProperty, OutgoingPublish, Qos};
use oncemq::topic::TopicName;
use serde_json::Value;

use super::api::Api;
use super::error::CliError;
use super::mqtt::Format;
use super::output::{Form, standard_output};
use super::target::TargetArguments;
use super::value::json;
use crate::admin_client::percent_encoded;
use crate::output::eprint;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq streams read orders                        the payloads of all messages, a line each
  oncemq streams read orders --from seq:5000 --to 5009 -v
  oncemq streams read orders --from 2026-01-31T12:00:00Z --filter 'orders/+/paid' -F '%t %p  %P'
  oncemq streams read orders --count 1 --json       an array of objects with sequence, timestamp, topic, qos, payload_base64 and more

It ends with the last message that the stream has when the command begins. Messages that have expired are printed, too. The fields of -F are
those of oncemq sub; %P begins with stream, stream-sequence and stream-timestamp, which subscribers get as well. A message that the stream
does not keep any more, or that is damaged, is named on standard error.")]
pub(super) struct Read {
    /// The name of the stream
    name: String,
    /// Where to begin: earliest, seq:N, or a time in milliseconds since 1970 or as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "OFFSET", default_value = "earliest")]
    from: String,
    /// End with the message of this sequence
    #[arg(long, value_name = "SEQUENCE", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// End after this many messages
    #[arg(short = 'C', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Only messages whose topic matches this Topic Filter
    #[arg(long)]
    filter: Option<String>,
    /// Print the topic before each message
    #[arg(short, long, conflicts_with_all = ["format", "json"])]
    verbose: bool,
    /// Print messages in this format, such as '%t %p'
    #[arg(short = 'F', long, value_name = "FORMAT", value_parser = Format::parse, conflicts_with = "json")]
    format: Option<Format>,
    /// Do not print a line break after each message
    #[arg(short = 'N', long, conflicts_with = "json")]
    no_newline: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

pub(super) fn run(command: Read) -> Result<(), CliError> {
    let Read { name, from, to, count, filter, verbose, format, no_newline, form, target } = command;
    let api = Api::new(target)?;
    let path = format!("/streams/{}/messages", percent_encoded(&name));
    let format = format.unwrap_or(if verbose { Format::Verbose } else { Format::Payload });
    let line_break: &[u8] = if no_newline { b"" } else { b"\n" };
    let mut output = standard_output();
    let (mut left, mut cursor, mut separator) = (count.unwrap_or(u64::MAX), None::<String>, "[\n");
    let to = to.map(|to| to.to_string());
    loop {
        let limit = left.min(PAGE_MAX).to_string();
        let parameters = [
            ("from", Some(&*from)),
            ("to", to.as_deref()),
            ("filter", filter.as_deref()),
            ("limit", Some(&*limit)),
            ("cursor", cursor.as_deref()),
        ];
        let (messages, answer) = api.single(&path, "messages", &parameters)?;
        tell_missing(&answer);
        left -= (messages.len() as u64).min(left);
        for message in &messages {
            if form.is_json() {
                write!(output, "{separator}{}", json(message))?;
                separator = ",\n";
                continue;
            }
            let publish = publish(&name, message).ok_or_else(|| CliError::NotUnderstood {
                place: path.clone(),
                cause: "a message has not its form".to_owned(),
            })?;
            let mut text = Vec::new();
            format.write(&publish, &mut text);
            output.write_all(&text)?;
            output.write_all(line_break)?;
        }
        output.flush()?;
        cursor = answer.get("cursor").and_then(Value::as_str).map(str::to_owned);
        if left == 0 || cursor.is_none() {
            break;
        }
    }
    if form.is_json() {
        writeln!(output, "{}", if separator == "[\n" { "[]" } else { "\n]" })?;
    }
    Ok(output.flush()?)
}

/// Names the messages that a page does not have.
fn tell_missing(answer: &Value) {
    for missing in answer.get("missing").and_then(Value::as_array).into_iter().flatten() {
        let number = |name: &str| missing.get(name).and_then(Value::as_u64).unwrap_or_default();
        let why = match missing.get("reason").and_then(Value::as_str) {
            Some("trimmed") => "not kept any more",
            _ => "damaged on the disk of the broker",
        };
        eprint(&format!("note: the messages {} to {} are {why}", number("first"), number("last")));
    }
}

/// A message of the API as a subscriber of the stream gets it; `None`: it has not the form of one.
fn publish(stream: &str, message: &Value) -> Option<OutgoingPublish> {
    let text = |name: &str| message.get(name).and_then(Value::as_str);
    let number = |name: &str| message.get(name).and_then(Value::as_u64);
    let bytes = |name: &str| text(name).and_then(|text| STANDARD.decode(text).ok()).map(Bytes::from);
    let qos = Qos::new(number("qos")?.try_into().ok()?)?;
    let pair = |pair: &Value| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()));
    let own = message.get("user_properties").and_then(Value::as_array)?.iter().map(pair).collect::<Option<Vec<_>>>()?;
    let of_stream = [
        ("stream".to_owned(), stream.to_owned()),
        ("stream-sequence".to_owned(), number("sequence")?.to_string()),
        ("stream-timestamp".to_owned(), number("timestamp")?.to_string()),
    ];
    let user_properties = of_stream.into_iter().chain(own);
    let others = [
        message.get("payload_is_utf8").and_then(Value::as_bool).map(MessageProperty::PayloadFormatIndicator),
        text("content_type").map(|value| MessageProperty::ContentType(value.into())),
        text("response_topic").map(|value| MessageProperty::ResponseTopic(value.into())),
        bytes("correlation_data_base64").map(MessageProperty::CorrelationData),
    ];
    let properties = MessageProperties::from_properties(
        user_properties
            .map(|(name, value)| MessageProperty::UserProperty(name.into(), value.into()))
            .chain(others.into_iter().flatten()),
    );
    let topic = TopicName::try_from(text("topic")?).ok()?;
    let payload = bytes("payload_base64")?;
    Some(OutgoingPublish {
        message: Arc::new(Message { properties, qos, ..Message::new(topic, payload) }),
        dup: false,
        qos,
        retain: false,
        packet_id: None,
        topic_alias: None,
        message_expiry_interval: number("message_expiry_interval").and_then(|seconds| seconds.try_into().ok()),
        matched: None,
        message_id: false,
        topic_start: 0,
    })
}

/// The most messages of one request.
const PAGE_MAX: u64 = 1_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_of_the_api_is_printed_as_a_subscriber_gets_it() {
        let message = json!({
            "sequence": 7, "timestamp": 1_000, "topic": "a/b", "qos": 1, "message_expiry_interval": 60, "content_type": "text/plain",
            "response_topic": "answers", "correlation_data_base64": "b25l", "payload_is_utf8": true, "user_properties": [["k", "v"]],
            "payload_base64": "aGVsbG8="
        });
        let written = |format: &str| {
            let mut text = Vec::new();
            Format::parse(format).unwrap().write(&publish("orders", &message).unwrap(), &mut text);
            String::from_utf8(text).unwrap()
        };
        assert_eq!(written("%t %p %q %E %C %R %D %F"), "a/b hello 1 60 text/plain answers one 1");
        assert_eq!(written("%P"), "stream:orders stream-sequence:7 stream-timestamp:1000 k:v");
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        let message = json!({
            "sequence": 7, "timestamp": 1_000, "topic": "a/b", "qos": 1, "user_properties": [], "payload_base64": ""
        });
        assert!(publish("orders", &message).is_some());
        for (name, value) in [
            ("topic", json!("a/#")),
            ("qos", json!(3)),
            ("sequence", json!("7")),
            ("payload_base64", json!("?")),
            ("user_properties", json!([["k"]])),
        ] {
            let mut changed = message.clone();
            changed[name] = value;
            assert!(publish("orders", &changed).is_none(), "{name}");
        }
    }
}
