//! `status`, `reload` and `backup`.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::api::Api;
use super::error::CliError;
use super::output::{Form, line, standard_output};
use super::table::{Column, Table};
use super::target::TargetArguments;
use super::terminal;
use super::value::{number, printable, text};
use crate::output::size;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq status                         version, uptime, connections, rates, memory and warnings
  oncemq status --json | jq .connections
  oncemq status --admin https://broker:9883 --token viewer.token")]
pub(crate) struct StatusCommand {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq reload                         read the configuration, certificates, passwords and rules again

The exit code is 1 if a file is invalid; then its old contents stay in force.")]
pub(crate) struct Reload {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq backup                         make a backup in the data directory of the broker, and print its directory")]
pub(crate) struct Backup {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

pub(super) fn status(StatusCommand { form, target }: StatusCommand) -> Result<(), CliError> {
    let mut overview = Api::new(target)?.get("/overview", &[])?;
    if form.is_json() {
        return form.object(&overview, &[]);
    }
    // Those of a cluster with cells get a table, and the warnings name those that are missing.
    let nodes = overview.as_object_mut().and_then(|fields| {
        fields.remove("missing_nodes");
        fields.remove("nodes")
    });
    form.object(&overview, &FIRST_OF_STATUS)?;
    let Some(Value::Array(nodes)) = nodes else { return Ok(()) };
    let mut output = standard_output();
    writeln!(output)?;
    let mut table = Table::new(&NODES, terminal::size().map(|(columns, _)| columns));
    table.write(&nodes, &mut output)?;
    table.finish(&mut output)?;
    Ok(output.flush()?)
}

const NODES: [Column; 8] = [
    Column::left("NODE", |node| text(node, "/node")),
    Column::left("READY", |node| text(node, "/ready")),
    Column::right("CONNECTIONS", |node| text(node, "/connections")),
    Column::right("SESSIONS", |node| text(node, "/sessions")),
    Column::right("QUEUED", |node| text(node, "/queued_messages")),
    Column::right("RECEIVED/S", |node| text(node, "/rates/messages_received_per_second")),
    Column::right("MEMORY", |node| size(number(node, "/memory/used_bytes"))),
    Column::left("VERSION", |node| text(node, "/version")),
];

pub(super) fn reload(Reload { form, target }: Reload) -> Result<(), CliError> {
    let answer = Api::new(target)?.send("POST", "/reload", &[], None)?;
    let empty = Vec::new();
    let files = answer.get("files").and_then(Value::as_array).unwrap_or(&empty);
    let failed = |file: &&Value| file.get("error").is_some_and(|error| !error.is_null());
    if form.is_json() {
        form.object(&answer, &[])?;
    } else {
        for file in files {
            let cause = if failed(&file) { format!(": {}", text(file, "/error")) } else { String::new() };
            line(&printable(&format!("{:<10} {}{cause}", text(file, "/result"), text(file, "/name"))))?;
        }
        for setting in answer.get("restart_needed").and_then(Value::as_array).unwrap_or(&empty) {
            line(&printable(&format!("restart    {}: the new value needs a restart", text(setting, ""))))?;
        }
    }
    match files.iter().filter(failed).count() {
        0 => Ok(()),
        count => Err(CliError::NotDone(format!("{count} files are invalid; their old contents stay in force"))),
    }
}

/// Starts a backup, and waits for it.
pub(super) fn backup(Backup { form, target }: Backup) -> Result<(), CliError> {
    let api = Api::new(target)?;
    let mut answer = api.send("POST", "/backup", &[], None)?;
    while answer.get("state").and_then(Value::as_str) == Some("running") {
        thread::sleep(POLL_INTERVAL);
        answer = api.get("/backup", &[])?;
    }
    match answer.get("state").and_then(Value::as_str) {
        Some("done") => form.done(&text(&answer, "/directory"), &answer),
        _ => Err(CliError::NotDone(format!("no backup: {}", printable(&text(&answer, "/error"))))),
    }
}

/// Between two requests for the state of a backup.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const FIRST_OF_STATUS: [&str; 14] = [
    "version",
    "started_at",
    "uptime_seconds",
    "ready",
    "durability",
    "connections",
    "sessions",
    "subscriptions",
    "retained_messages",
    "queued_messages",
    "rates.messages_received_per_second",
    "rates.messages_sent_per_second",
    "memory.used_bytes",
    "memory.max_bytes",
];
