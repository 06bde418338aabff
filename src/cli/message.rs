//! `message`: what became of a message.

use std::io::Write;

use serde_json::Value;

use super::api::{Api, tell_missing};
use super::error::CliError;
use super::output::{Form, line, standard_output};
use super::table::{Column, Table};
use super::target::TargetArguments;
use super::terminal;
use super::value::{json, printable, text};
use crate::admin_client::percent_encoded;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq message 4be0c3a91d72f658-0000000000000007
  oncemq message 4be0c3a91d72f658-0000000000000007 --json    an object with topic, publisher, steps and receivers

The broker tells the message-id of a QoS 1 or 2 message to an operator who publishes it (POST /api/v1/publish), and to subscribers
whose SUBSCRIBE has the User Property message-id=true. A trace shows it for messages that are dropped.")]
pub(crate) struct Message {
    /// The message-id
    message_id: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

pub(super) fn show(Message { message_id, form, target }: Message) -> Result<(), CliError> {
    let answer = Api::new(target)?.get(&format!("/messages/{}", percent_encoded(&message_id)), &[])?;
    tell_missing(&answer)?;
    let mut output = standard_output();
    if form.is_json() {
        writeln!(output, "{}", json(&answer))?;
        return Ok(output.flush()?);
    }
    for name in FIELDS {
        writeln!(output, "{name:<11}  {}", printable(&text(&answer, &format!("/{name}"))))?;
    }
    let list = |name: &str| answer.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let width = terminal::size().map(|(columns, _)| columns);
    for (name, columns) in [("steps", &STEPS[..]), ("receivers", &RECEIVERS[..])] {
        writeln!(output)?;
        let mut table = Table::new(columns, width);
        table.write(&list(name), &mut output)?;
        table.finish(&mut output)?;
    }
    output.flush()?;
    drop(output);
    if let Some(count) = answer.get("left_out").and_then(Value::as_u64).filter(|count| *count > 0) {
        line(&format!("{count} more receivers are not shown."))?;
    }
    if answer.get("complete").and_then(Value::as_bool) == Some(false) {
        line("Not all queues were looked through: there may be more receivers.")?;
    }
    Ok(())
}

const FIELDS: [&str; 8] = ["message_id", "topic", "qos", "publisher", "received_at", "stable_at", "stored", "matched"];
const STEPS: [Column; 4] = [
    Column::left("AT", |step| text(step, "/at")),
    Column::left("STEP", |step| match step.get("dup").and_then(Value::as_bool) {
        Some(true) => format!("{} again", text(step, "/step")),
        Some(false) | None => text(step, "/step"),
    }),
    Column::left("CLIENT", |step| text(step, "/client_id")),
    Column::left("REASON", |step| text(step, "/reason")),
];
const RECEIVERS: [Column; 2] = [
    Column::left("RECEIVER", |receiver| text(receiver, "/client_id")),
    Column::left("STATE", |receiver| text(receiver, "/state")),
];
