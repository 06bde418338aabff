//! `oncemq token`: who may use the HTTP API over TCP. The broker need not run; one that runs honours a change at once.

use clap::Subcommand;
use serde_json::json;

use oncemq::admin::{Token, TokenFile};
use oncemq::config::{self, LocationArguments, Role};

use crate::output::print;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token and print it; it is printed once and kept nowhere
    #[command(after_help = "Example:\n  (umask 077; oncemq token create --role viewer grafana > grafana.token)")]
    Create {
        /// What it allows: viewer, operator or admin
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// Its name, in the list and in the audit log
        name: String,
        #[command(flatten)]
        location: LocationArguments,
    },
    /// List the tokens: their names and roles
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        location: LocationArguments,
    },
    /// Revoke a token; the broker refuses it from its next request on
    Revoke {
        /// Its name
        name: String,
        #[command(flatten)]
        location: LocationArguments,
    },
}

pub(crate) fn run(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { role, name, location } => print(&file(location)?.create(&name, role)?),
        TokenCommand::List { json, location } => {
            let tokens = file(location)?.list()?;
            print(if json { as_json(&tokens) } else { as_table(&tokens) }.trim_end())
        }
        TokenCommand::Revoke { name, location } => Ok(file(location)?.revoke(&name)?),
    }
}

fn file(location: LocationArguments) -> anyhow::Result<TokenFile> {
    Ok(TokenFile::new(&config::load(&location.into())?.config.server.data))
}

fn as_json(tokens: &[Token]) -> String {
    let entry = |token: &Token| json!({ "name": token.name, "role": token.role, "created": token.created });
    serde_json::Value::from(tokens.iter().map(entry).collect::<Vec<_>>()).to_string()
}

fn as_table(tokens: &[Token]) -> String {
    let width = tokens.iter().map(|token| token.name.len()).max().unwrap_or_default().max("NAME".len());
    let row = |name: &str, role: &str, created: &str| format!("{name:width$}  {role:8}  {created}\n");
    let rows = tokens.iter().map(|token| row(&token.name, token.role.name(), &token.created));
    std::iter::once(row("NAME", "ROLE", "CREATED")).chain(rows).collect()
}
