//! `bridges`: what the bridges do.

use super::api::Api;
use super::error::CliError;
use super::output::{Form, List, Paging};
use super::table::Column;
use super::target::TargetArguments;
use super::value::{text, time};
use crate::admin_client::percent_encoded;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq bridges                        all bridges: connected or not, and what has passed
  oncemq bridges cloud                  one, with its settings and its queue
  oncemq bridges --json                 an array of objects with name, state, connected, last_error and more
  oncemq kick '$bridge/cloud'           end both connections of a bridge; it connects again")]
pub(crate) struct Bridges {
    /// The name of a bridge
    name: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

pub(super) fn run(Bridges { name, form, target }: Bridges) -> Result<(), CliError> {
    let api = Api::new(target)?;
    match name {
        Some(name) => form.object(&api.get(&format!("/bridges/{}", percent_encoded(&name)), &[])?, &FIRST),
        None => {
            let list = List { path: "/bridges", key: "bridges", columns: &BRIDGES, paging: Paging::Single };
            form.list(&api, list, &[]).map(drop)
        }
    }
}

const BRIDGES: [Column; 9] = [
    Column::left("BRIDGE", |bridge| text(bridge, "/name")),
    Column::left("STATE", |bridge| text(bridge, "/state")),
    Column::left("SINCE", |bridge| time(bridge, "/since")),
    Column::left("ADDRESS", |bridge| text(bridge, "/address")),
    Column::right("OUT", |bridge| text(bridge, "/out/messages")),
    Column::right("IN", |bridge| text(bridge, "/in/messages")),
    Column::right("QUEUED", |bridge| text(bridge, "/queue/messages")),
    Column::left("ERROR AT", |bridge| time(bridge, "/last_error_at")),
    Column::left("LAST ERROR", |bridge| text(bridge, "/last_error")),
];
/// What an operator wants to see of a bridge first.
const FIRST: [&str; 7] = ["name", "state", "connected", "since", "address", "last_error", "last_error_at"];
