//! `streams` and `stream`: what the streams keep.

use clap::Subcommand;
use serde_json::{Value, json};

use super::api::Api;
use super::error::CliError;
use super::output::{Form, List, Paging};
use super::table::Column;
use super::target::TargetArguments;
use super::value::text;
use super::{stream_groups, stream_read};
use crate::admin_client::percent_encoded;

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  oncemq streams                        all streams: their topics, and which messages they keep
  oncemq streams --json                 an array of objects with name, oldest, next, messages, bytes and more
  oncemq streams read orders --from seq:5000 -v   print the messages from number 5000 on
  oncemq streams trim orders --below 5000   remove the messages of a stream before number 5000
  oncemq streams remove orders          remove a stream that is not configured any more"
)]
pub(crate) struct Streams {
    #[command(subcommand)]
    command: Option<StreamsCommand>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, Subcommand)]
enum StreamsCommand {
    /// Print messages of a stream
    Read(Box<stream_read::Read>),
    /// Remove the oldest messages of a stream
    Trim(Trim),
    /// Remove a stream that is not in the configuration any more, with its messages
    Remove(Remove),
    /// List the groups of subscribers of a stream
    Groups(stream_groups::Groups),
    /// Set the position of a group of subscribers
    Reset(stream_groups::Reset),
    /// Forget a group of subscribers
    RemoveGroup(stream_groups::RemoveGroup),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq streams trim orders --below 5000   remove the messages of a stream before number 5000")]
struct Trim {
    /// The name of the stream
    name: String,
    /// Remove the messages with lower sequences
    #[arg(long, value_name = "SEQUENCE")]
    below: u64,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq streams remove orders          remove it from the configuration and reload before")]
struct Remove {
    /// The name of the stream
    name: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq stream orders                  one stream: the oldest and the next sequence, messages and bytes
  oncemq stream orders --json           the same as an object")]
pub(crate) struct Stream {
    /// The name of the stream
    name: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

pub(super) fn list(Streams { command, form, target }: Streams) -> Result<(), CliError> {
    match command {
        Some(StreamsCommand::Read(command)) => stream_read::run(*command),
        Some(StreamsCommand::Trim(command)) => trim(command),
        Some(StreamsCommand::Remove(command)) => remove(command),
        Some(StreamsCommand::Groups(command)) => stream_groups::list(command),
        Some(StreamsCommand::Reset(command)) => stream_groups::reset(command),
        Some(StreamsCommand::RemoveGroup(command)) => stream_groups::remove(command),
        None => {
            let list = List { path: "/streams", key: "streams", columns: &STREAMS, paging: Paging::Single };
            form.list(&Api::new(target)?, list, &[]).map(drop)
        }
    }
}

pub(super) fn show(Stream { name, form, target }: Stream) -> Result<(), CliError> {
    let answer = Api::new(target)?.get(&format!("/streams/{}", percent_encoded(&name)), &[])?;
    form.object(&answer, &["name", "topic", "open", "oldest", "next", "messages", "bytes"])
}

fn trim(Trim { name, below, form, target }: Trim) -> Result<(), CliError> {
    let path = format!("/streams/{}/trim", percent_encoded(&name));
    let answer = Api::new(target)?.send("POST", &path, &[], Some(&json!({ "below": below })))?;
    let oldest = answer.get("oldest").and_then(Value::as_u64).unwrap_or(below);
    form.done(&format!("the oldest message of {name} has the sequence {oldest}"), &json!({ "oldest": oldest }))
}

fn remove(Remove { name, form, target }: Remove) -> Result<(), CliError> {
    Api::new(target)?.send("DELETE", &format!("/streams/{}", percent_encoded(&name)), &[], None)?;
    form.done(&format!("removed the stream {name} with its messages"), &json!({ "removed": name }))
}

const STREAMS: [Column; 7] = [
    Column::left("STREAM", |stream| text(stream, "/name")),
    Column::left("TOPIC", |stream| text(stream, "/topic")),
    Column::left("OPEN", |stream| text(stream, "/open")),
    Column::right("OLDEST", |stream| text(stream, "/oldest")),
    Column::right("NEXT", |stream| text(stream, "/next")),
    Column::right("MESSAGES", |stream| text(stream, "/messages")),
    Column::right("BYTES", |stream| text(stream, "/bytes")),
];
