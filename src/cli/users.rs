//! `users`: the password file of the running broker.

use clap::Subcommand;
use serde_json::{Value, json};

use super::api::Api;
use super::error::CliError;
use super::output::{Form, List, Paging};
use super::passwords;
use super::table::Column;
use super::target::TargetArguments;
use super::value::text;
use crate::admin_client::percent_encoded;

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  oncemq users                          the users of the password file
  oncemq users add alice                ask for a password, and add alice or change her password
  oncemq users remove alice             remove alice; her connections are closed"
)]
pub(crate) struct Users {
    #[command(subcommand)]
    command: Option<UsersCommand>,
    #[command(flatten)]
    list: ListUsers,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// List the users
    List(ListUsers),
    /// Add a user, or change the password of a user
    Add(AddUser),
    /// Remove a user
    Remove(RemoveUser),
}

#[derive(Debug, clap::Args)]
struct ListUsers {
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
struct AddUser {
    /// The user
    name: String,
    /// Read the password from the first line of standard input instead of asking for it
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

#[derive(Debug, clap::Args)]
struct RemoveUser {
    /// The user
    name: String,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    target: TargetArguments,
}

pub(super) fn run(Users { command, list }: Users) -> Result<(), CliError> {
    match command.unwrap_or(UsersCommand::List(list)) {
        UsersCommand::List(ListUsers { form, target }) => {
            let list = List { path: "/users", key: "users", columns: &USERS, paging: Paging::Forward };
            form.list(&Api::new(target)?, list, &[]).map(drop)
        }
        UsersCommand::Add(AddUser { name, password_stdin, form, target }) => {
            let api = Api::new(target)?;
            let password =
                passwords::read(&name, password_stdin).map_err(|error| CliError::Usage(format!("{error:#}")))?;
            api.send("PUT", &path(&name), &[], Some(&json!({ "password": password })))?;
            form.done(&format!("user {name} has this password"), &json!({ "user": name, "changed": true }))
        }
        UsersCommand::Remove(RemoveUser { name, form, target }) => {
            Api::new(target)?.send("DELETE", &path(&name), &[], None)?;
            form.done(&format!("user {name} was removed"), &json!({ "user": name, "removed": true }))
        }
    }
}

fn path(name: &str) -> String {
    format!("/users/{}", percent_encoded(name))
}

const USERS: [Column; 1] = [Column::left("USER", |entry: &Value| text(entry, "/name"))];
