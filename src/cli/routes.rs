//! `subs`, `who` and `retained`.

use serde_json::{Value, json};

use super::api::Api;
use super::error::CliError;
use super::output::{Form, List, Paging, line};
use super::table::Column;
use super::target::TargetArguments;
use super::value::{text, time};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq subs                           all subscriptions
  oncemq subs 'plant/#'                 the subscriptions to exactly this filter
  oncemq subs --client pump-7 --json    an array of objects with client_id and filter")]
pub(crate) struct Subs {
    /// Only subscriptions to exactly this Topic Filter, and to shares of it
    filter: Option<String>,
    /// Only subscriptions of clients whose Client Identifier matches, with * and ?
    #[arg(long, value_name = "PATTERN")]
    client: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq who plant/7/speed              who would get a message on this topic, at which QoS, and through which filter
  oncemq who plant/7/speed --json       an array of objects with client_id, qos, filter and access")]
pub(crate) struct Who {
    /// A Topic Name
    topic: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq retained                       all retained messages
  oncemq retained 'plant/#' --json      an array of objects with topic, qos and size
  oncemq retained 'plant/old/#' --delete")]
pub(crate) struct Retained {
    /// Only messages whose topic matches this Topic Filter
    #[arg(required_if_eq("delete", "true"))]
    filter: Option<String>,
    /// Delete the messages that match the filter
    #[arg(long)]
    delete: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

pub(super) fn subscriptions(command: Subs) -> Result<(), CliError> {
    let Subs { filter, client, form, target } = command;
    let list = List { path: "/subscriptions", key: "subscriptions", columns: &SUBSCRIPTIONS, paging: Paging::Forward };
    form.list(&Api::new(target)?, list, &[("filter", filter.as_deref()), ("client_id", client.as_deref())]).map(drop)
}

pub(super) fn who(command: Who) -> Result<(), CliError> {
    let Who { topic, form, target } = command;
    let list = List { path: "/routes", key: "receivers", columns: &RECEIVERS, paging: Paging::Forward };
    let last = form.list(&Api::new(target)?, list, &[("topic", Some(&topic))])?;
    if !form.is_json() && last.get("retained").and_then(Value::as_bool) == Some(true) {
        line("A retained message is stored for this topic.")?;
    }
    Ok(())
}

pub(super) fn retained(command: Retained) -> Result<(), CliError> {
    let Retained { filter, delete, form, target } = command;
    let api = Api::new(target)?;
    let parameters = [("filter", filter.as_deref())];
    if !delete {
        let list = List { path: "/retained", key: "retained", columns: &RETAINED, paging: Paging::Forward };
        return form.list(&api, list, &parameters).map(drop);
    }
    let answer = api.send("DELETE", "/retained", &parameters, None)?;
    let deleted = answer.get("deleted").and_then(Value::as_u64).unwrap_or(0);
    let is_complete = answer.get("complete").and_then(Value::as_bool) != Some(false);
    let rest = if is_complete { "" } else { " so far, and the broker deletes the others" };
    let text = format!("{deleted} retained messages were deleted{rest}");
    form.done(&text, &json!({ "deleted": deleted, "complete": is_complete }))
}

const SUBSCRIPTIONS: [Column; 5] = [
    Column::left("CLIENT", |entry| text(entry, "/client_id")),
    Column::left("FILTER", |entry| text(entry, "/filter")),
    Column::left("SHARE", |entry| text(entry, "/share")),
    Column::right("QOS", |entry| text(entry, "/qos")),
    Column::right("ID", |entry| text(entry, "/id")),
];
const RECEIVERS: [Column; 6] = [
    Column::left("CLIENT", |entry| text(entry, "/client_id")),
    Column::left("CONNECTED", |entry| text(entry, "/connected")),
    Column::right("QOS", |entry| text(entry, "/qos")),
    Column::left("FILTER", |entry| text(entry, "/filter")),
    Column::left("SHARE", |entry| text(entry, "/share")),
    Column::left("ACCESS", |entry| text(entry, "/access")),
];
const RETAINED: [Column; 5] = [
    Column::left("TOPIC", |entry| text(entry, "/topic")),
    Column::right("QOS", |entry| text(entry, "/qos")),
    Column::right("BYTES", |entry| text(entry, "/size")),
    Column::left("EXPIRES", |entry| time(entry, "/expires_at")),
    Column::left("PUBLISHER", |entry| text(entry, "/publisher")),
];
