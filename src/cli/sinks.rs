//! `sinks`: what the sinks do.

use serde_json::Value;

use super::api::Api;
use super::error::CliError;
use super::output::{Form, List, Paging};
use super::table::Column;
use super::target::TargetArguments;
use super::value::{text, time};
use crate::admin_client::percent_encoded;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq sinks                          all sinks, with what they have delivered and what fails
  oncemq sinks alarms                   one, with its settings and its queue
  oncemq sinks --json                   an array of objects with name, state, last_error and more
  oncemq client '$sink/alarms' --queue  the next messages in the queue of a sink")]
pub(crate) struct Sinks {
    /// The name of a sink
    name: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

pub(super) fn run(Sinks { name, form, target }: Sinks) -> Result<(), CliError> {
    let api = Api::new(target)?;
    match name {
        Some(name) => form.object(&api.get(&format!("/sinks/{}", percent_encoded(&name)), &[])?, &FIRST),
        None => {
            let list = List { path: "/sinks", key: "sinks", columns: &SINKS, paging: Paging::Single };
            form.list(&api, list, &[]).map(drop)
        }
    }
}

fn since(sink: &Value) -> String {
    let is_failing = sink.pointer("/failing_since").is_some_and(|since| !since.is_null());
    time(sink, if is_failing { "/failing_since" } else { "/connected_since" })
}

const SINKS: [Column; 10] = [
    Column::left("SINK", |sink| text(sink, "/name")),
    Column::left("STATE", |sink| text(sink, "/state")),
    Column::left("SINCE", since),
    Column::left("ENDPOINT", |sink| text(sink, "/endpoint")),
    Column::right("DELIVERED", |sink| text(sink, "/delivered_messages")),
    Column::right("RETRIES", |sink| text(sink, "/requests/retries")),
    Column::right("DEAD LETTERS", |sink| text(sink, "/dead_letters")),
    Column::right("DROPPED", |sink| text(sink, "/dropped_messages")),
    Column::right("QUEUED", |sink| text(sink, "/queue/messages")),
    Column::left("LAST ERROR", |sink| text(sink, "/last_error")),
];
/// What an operator wants to see of a sink first.
const FIRST: [&str; 11] = [
    "name",
    "state",
    "endpoint",
    "connected_since",
    "failing_since",
    "last_error",
    "unavailable",
    "last_status",
    "last_success",
    "subscription_refused",
    "delivered_messages",
];
