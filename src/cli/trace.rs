//! `trace`: packets and decisions, live.

use std::io::Write as _;
use std::net::IpAddr;

use serde_json::Value;

use super::api::Api;
use super::error::CliError;
use super::output::{Form, line, standard_output};
use super::target::TargetArguments;
use super::value::{json, printable, text};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq trace --client pump-7          each packet of a client, and what the broker decides about it, until Ctrl-C
  oncemq trace --topic 'alarms/#'       who publishes, subscribes to and gets messages on some topics
  oncemq trace --address 192.0.2.7      the clients at an address
  oncemq trace --client '*' --json      a JSON object for each line; {\"left_out\": N} where lines are missing

Payloads and passwords are not shown. What matches all the given options is shown, at most 1,000 lines per second.")]
pub(crate) struct Trace {
    #[command(flatten)]
    selection: Selection,
    /// How long, from 1 to 3,600
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    duration: u32,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

/// What is shown.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Selection {
    /// The clients with these Client Identifiers, with * and ?
    #[arg(long, value_name = "PATTERN")]
    client: Option<String>,
    /// The messages, subscriptions and denials with topics that match
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    /// The clients at this address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
}

pub(super) fn run(command: Trace) -> Result<(), CliError> {
    let Trace { selection: Selection { client, topic, address }, duration, form, target } = command;
    let (address, duration) = (address.map(|address| address.to_string()), duration.to_string());
    let parameters = [
        ("client_id", client.as_deref()),
        ("topic", topic.as_deref()),
        ("address", address.as_deref()),
        ("duration", Some(&*duration)),
    ];
    let mut output = standard_output();
    Api::new(target)?.lines("/trace", &parameters, &mut |entry| {
        if form.is_json() {
            writeln!(output, "{}", json(&entry))?;
        } else if let Some(text) = sentence(&entry) {
            writeln!(output, "{text}")?;
        }
        Ok(output.flush()?)
    })?;
    drop(output);
    if form.is_json() { Ok(()) } else { line(&format!("the trace has ended after {duration} seconds")) }
}

/// A line for people; `None`: the line only says that the broker is there.
fn sentence(entry: &Value) -> Option<String> {
    if let Some(left_out) = entry.get("left_out").and_then(Value::as_u64) {
        let left_out =
            (left_out > 0).then(|| format!("… {left_out} lines are missing here: there were too many at once"));
        return match missing_nodes(entry) {
            None => left_out,
            Some(missing) => Some(left_out.into_iter().chain([missing]).collect::<Vec<_>>().join("\n")),
        };
    }
    let given = |pointer: &str| entry.pointer(pointer).filter(|value| !value.is_null()).map(|_| text(entry, pointer));
    let at = given("/at").unwrap_or_default();
    let time = at.split_once('T').map_or(&*at, |(_, time)| time.trim_end_matches('Z'));
    let client = given("/client_id").or_else(|| given("/address")).unwrap_or_else(|| "-".to_owned());
    let packet = given("/packet").unwrap_or_default();
    let bytes = || Some(format!("{} bytes", given("/bytes")?));
    let code = || Some(format!("0x{:02X}", entry.get("reason_code")?.as_u64()?));
    let event = given("/event").unwrap_or_default();
    let parts = match &*event {
        "received" => vec![Some(format!("-> {packet}")), bytes(), given("/details")],
        "sent" => vec![Some(format!("<- {packet}")), bytes(), given("/details")],
        _ => {
            let topic = given("/topic").map(|topic| format!("{topic:?}"));
            let receivers = given("/receivers").map(|count| format!("receivers: {count}"));
            let qos = given("/qos").map(|qos| format!("QoS {qos}"));
            let what = if packet.is_empty() { event } else { format!("{event} {packet}") };
            let of_decision =
                [topic, qos, bytes(), receivers, given("/details"), given("/reason"), given("/rule"), code()];
            [Some(format!("== {what}"))].into_iter().chain(of_decision).collect()
        }
    };
    let words = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    Some(printable(&format!("{time} {client} {words}")))
}

/// Which nodes show nothing from now on, if they are others than before.
fn missing_nodes(entry: &Value) -> Option<String> {
    let nodes = entry.get("missing_nodes")?.as_array()?;
    let named = |node: &Value| format!("{} ({})", text(node, "/node"), text(node, "/reason"));
    let named = nodes.iter().map(named).collect::<Vec<_>>().join(", ");
    let words = if named.is_empty() { "none".to_owned() } else { named };
    Some(printable(&format!("… nodes that are missing from here on: {words}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_who_and_what_and_can_not_move_the_cursor() {
        let of = |fields: Value| {
            let mut entry =
                json!({ "at": "2026-11-29T04:05:06.789Z", "client_id": "a", "topic": null, "reason": null });
            entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            sentence(&entry).unwrap()
        };
        assert_eq!(
            of(json!({ "event": "received", "packet": "PUBLISH", "bytes": 12, "details": "QoS 1, topic \"t\"" })),
            "04:05:06.789 a -> PUBLISH, 12 bytes, QoS 1, topic \"t\""
        );
        assert_eq!(
            of(json!({ "event": "sent", "packet": "PUBACK", "bytes": 4, "details": null })),
            "04:05:06.789 a <- PUBACK, 4 bytes"
        );
        let denied = json!({
            "event": "denied", "packet": "PUBLISH", "topic": "x\u{1B}", "reason_code": 135, "rule": "acl, line 3",
            "client_id": null, "address": "192.0.2.1:7",
        });
        assert_eq!(of(denied), "04:05:06.789 192.0.2.1:7 == denied PUBLISH, \"x\\u{1b}\", acl, line 3, 0x87");
        assert_eq!(sentence(&json!({ "left_out": 0 })), None);
        assert!(sentence(&json!({ "left_out": 7 })).unwrap().contains('7'));
        let missing = |nodes: Value| sentence(&json!({ "left_out": 0, "missing_nodes": nodes })).unwrap();
        let words = "… nodes that are missing from here on: c (silent)";
        assert_eq!(missing(json!([{ "node": "c", "reason": "silent" }])), words);
        assert!(missing(json!([])).ends_with("none"));
        assert!(of(json!({ "event": "\u{9B}" })).ends_with("== \\u{9b}"));
    }
}
