//! `dead-letters`: lists, shows, redrives and discards the dead letters that the broker keeps.

use std::io::{self, Write as _};

use serde_json::{Value, json};

use super::api::Api;
use super::error::CliError;
use super::output::{Form, List, Paging};
use super::table::Column;
use super::target::TargetArguments;
use super::value::{text, time};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum DeadLetters {
    /// List dead letters, the oldest first
    List(ListLetters),
    /// Show a dead letter with its content
    Show(ShowLetter),
    /// Put dead letters into the queues that they came from
    Redrive(ChangeLetters),
    /// Delete dead letters
    Discard(ChangeLetters),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq dead-letters list
  oncemq dead-letters list --filter 'orders/#' --json    an array of objects with number, topic and client_id")]
pub(crate) struct ListLetters {
    /// Only those whose topic matches this Topic Filter
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq dead-letters show 7
  oncemq dead-letters show 7 --json     with its payload")]
pub(crate) struct ShowLetter {
    /// Its number
    number: u64,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq dead-letters redrive 7 8
  oncemq dead-letters discard --filter 'orders/old/#'

One that can't be changed is told, and the others are changed all the same.")]
pub(crate) struct ChangeLetters {
    /// Their numbers
    #[arg(required_unless_present = "filter", conflicts_with = "filter")]
    numbers: Vec<u64>,
    /// All whose topic matches this Topic Filter
    #[arg(long)]
    filter: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

pub(super) fn run(command: DeadLetters) -> Result<(), CliError> {
    match command {
        DeadLetters::List(ListLetters { filter, form, target }) => {
            let paging = Paging::Forward;
            let list = List { path: PATH, key: "dead_letters", columns: &LETTERS, paging };
            form.list(&Api::new(target)?, list, &[("filter", filter.as_deref())]).map(drop)
        }
        DeadLetters::Show(ShowLetter { number, form, target }) => {
            let letter = Api::new(target)?.get(&format!("{PATH}/{number}"), &[])?;
            form.object(&letter, &["number", "topic", "client_id", "attempts", "reason_code", "at"])
        }
        DeadLetters::Redrive(change) => change_all(change, ("POST", "/redrive"), "put into their queues"),
        DeadLetters::Discard(change) => change_all(change, ("DELETE", ""), "discarded"),
    }
}

/// Changes all dead letters that `change` names. Fails after the last one if one could not be changed.
fn change_all(change: ChangeLetters, (method, rest): (&str, &str), what: &str) -> Result<(), CliError> {
    let ChangeLetters { mut numbers, filter, form, target } = change;
    let api = Api::new(target)?;
    if filter.is_some() {
        let mut add = |letters: Vec<Value>| {
            numbers.extend(letters.iter().filter_map(|letter| letter.get("number").and_then(Value::as_u64)));
            Ok(())
        };
        api.pages(PATH, "dead_letters", &[("filter", filter.as_deref())], &mut add)?;
    }
    let (mut changed, mut first) = (0, None);
    for number in &numbers {
        match api.send(method, &format!("{PATH}/{number}{rest}"), &[], None) {
            Ok(_) => changed += 1,
            Err(error) => {
                writeln!(io::stderr(), "dead letter {number}: {error}")?;
                first.get_or_insert(error);
            }
        }
    }
    let left = numbers.len() - changed;
    form.done(&format!("{changed} dead letters were {what}"), &json!({ "changed": changed, "left": left }))?;
    first.map_or(Ok(()), Err)
}

pub(super) const EXAMPLES: &str = "Examples:
  oncemq dead-letters list                          what was refused too often, and by whom
  oncemq dead-letters redrive --filter 'orders/#'   after the receiver is repaired";
const PATH: &str = "/dead-letters";
const LETTERS: [Column; 7] = [
    Column::right("NUMBER", |entry| text(entry, "/number")),
    Column::left("AT", |entry| time(entry, "/at")),
    Column::left("TOPIC", |entry| text(entry, "/topic")),
    Column::left("CLIENT", |entry| text(entry, "/client_id")),
    Column::right("ATTEMPTS", |entry| text(entry, "/attempts")),
    Column::right("CODE", |entry| text(entry, "/reason_code")),
    Column::right("BYTES", |entry| text(entry, "/size")),
];
