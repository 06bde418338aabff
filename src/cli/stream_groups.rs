//! `streams groups`, `streams reset` and `streams remove-group`: the groups of subscribers of a stream.

use serde_json::json;

use super::api::Api;
use super::error::CliError;
use super::output::{Form, List, Paging};
use super::table::Column;
use super::target::TargetArguments;
use super::value::text;
use crate::admin_client::percent_encoded;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq streams groups orders          the groups of a stream: their positions, and what they have not acknowledged
  oncemq streams groups orders --json   an array of objects with name, filter, position, lag, members, in_flight")]
pub(super) struct Groups {
    /// The name of the stream
    name: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq streams reset orders workers --to seq:5000    the group workers goes on with the message 5000
  oncemq streams reset orders workers --to earliest    and again from the oldest message on

What its members have not acknowledged is not awaited any more.")]
pub(super) struct Reset {
    /// The name of the stream
    name: String,
    /// The name of the group
    group: String,
    /// Where it goes on: earliest, latest, seq:N, or a time in milliseconds since 1970 or as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "OFFSET")]
    to: String,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq streams remove-group orders workers           forget the position of a group without connected members")]
pub(super) struct RemoveGroup {
    /// The name of the stream
    name: String,
    /// The name of the group
    group: String,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The filter of the group, if there are several groups of this name; '' for the group without a filter
    #[arg(long)]
    filter: Option<String>,
}

pub(super) fn list(Groups { name, form, target }: Groups) -> Result<(), CliError> {
    let path = format!("/streams/{}/groups", percent_encoded(&name));
    let list = List { path: &path, key: "groups", columns: &GROUPS, paging: Paging::Single };
    form.list(&Api::new(target)?, list, &[]).map(drop)
}

pub(super) fn reset(Reset { name, group, to, which, form, target }: Reset) -> Result<(), CliError> {
    let path = format!("{}/reset", path_of(&name, &group));
    Api::new(target)?.send("POST", &path, &[("filter", which.filter.as_deref())], Some(&json!({ "to": to })))?;
    form.done(&format!("the group {group} of {name} goes on from {to}"), &json!({ "to": to }))
}

pub(super) fn remove(RemoveGroup { name, group, which, form, target }: RemoveGroup) -> Result<(), CliError> {
    Api::new(target)?.send("DELETE", &path_of(&name, &group), &[("filter", which.filter.as_deref())], None)?;
    form.done(&format!("the group {group} of {name} is removed"), &json!({ "removed": group }))
}

fn path_of(name: &str, group: &str) -> String {
    format!("/streams/{}/groups/{}", percent_encoded(name), percent_encoded(group))
}

const GROUPS: [Column; 6] = [
    Column::left("GROUP", |group| text(group, "/name")),
    Column::left("FILTER", |group| text(group, "/filter")),
    Column::right("POSITION", |group| text(group, "/position")),
    Column::right("LAG", |group| text(group, "/lag")),
    Column::right("MEMBERS", |group| text(group, "/members")),
    Column::right("IN FLIGHT", |group| text(group, "/in_flight")),
];
