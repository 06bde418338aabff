//! The commands for operators and for first messages: `oncemq clients`, `oncemq pub` and so on.
//!
//! Commands on a running broker use `/api/v1`: `target` finds it, `api` sends the requests, `output` writes tables for people and JSON for
//! programs. `mqtt` has the clients.

mod acl;
mod api;
mod bridges;
mod broker;
mod clients;
mod cluster;
mod cluster_plan;
mod dead_letters;
mod error;
mod generate;
mod import;
mod import_state;
mod message;
mod mqtt;
mod output;
mod passwords;
mod refusals;
mod routes;
mod sinks;
mod stream_groups;
mod stream_read;
mod streams;
mod table;
mod target;
mod terminal;
mod top;
mod trace;
mod users;
mod value;

use std::io;

use clap::Subcommand;

pub(crate) use clients::give;
pub(crate) use error::CliError;
pub(crate) use mqtt::MqttError;
pub(crate) use passwords::{Passwd, change as change_password};
pub(crate) use target::TargetArguments;

use bridges::Bridges;
use broker::{Backup, Reload, StatusCommand};
use clients::{Client, Clients, Forget, Kick};
use cluster::Cluster;
use dead_letters::DeadLetters;
use generate::{Completion, Man};
use import::Import;
use message::Message;
use mqtt::{PublishCommand, SubscribeCommand};
use refusals::{Acl, Bans, Drops, Refusals};
use routes::{Retained, Subs, Who};
use sinks::Sinks;
use streams::{Stream, Streams};
use top::Top;
use trace::Trace;
use users::Users;

/// The commands of this module.
#[derive(Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Publish messages, with the options of mosquitto_pub
    Pub(Box<PublishCommand>),
    /// Subscribe and print messages, with the options of mosquitto_sub
    Sub(Box<SubscribeCommand>),
    /// Show the state of the broker
    Status(StatusCommand),
    /// Show the state of the broker and its busiest clients, every second
    Top(Top),
    /// List clients and sessions
    Clients(Clients),
    /// Show a client: its connection, its session, and why it last left
    Client(Client),
    /// Disconnect a client
    Kick(Kick),
    /// Delete the session of a client
    Forget(Forget),
    /// List subscriptions
    Subs(Subs),
    /// Show who would get a message on a topic
    Who(Who),
    /// List or delete retained messages
    Retained(Retained),
    /// Show what became of a message
    Message(Message),
    /// List, show, redrive and discard the dead letters of refused messages
    #[command(subcommand, after_help = dead_letters::EXAMPLES)]
    DeadLetters(DeadLetters),
    /// List messages that were dropped
    Drops(Drops),
    /// List what was refused to clients
    Refusals(Refusals),
    /// Show packets and decisions about some clients or topics, live
    Trace(Trace),
    /// Show the bridges: whether they are connected to the other broker, what has passed, and what fails
    Bridges(Bridges),
    /// Show the sinks: what they send to other services, and what fails
    Sinks(Sinks),
    /// Show the streams: their topics, and which messages they keep
    Streams(Streams),
    /// Show a stream
    Stream(Stream),
    /// Show the nodes of a cluster, and say which one serves the clients
    #[command(subcommand, after_help = cluster::EXAMPLES)]
    Cluster(Cluster),
    /// List or lift bans
    Bans(Bans),
    /// List, add and remove users of the password file
    Users(Users),
    /// Explain, check and test access rules
    #[command(subcommand)]
    Acl(Acl),
    /// Move in from another broker
    #[command(subcommand)]
    Import(Import),
    /// Read the configuration and the files that it names again
    Reload(Reload),
    /// Make a backup of the store of the running broker
    Backup(Backup),
    /// Print the completion of the command line for a shell
    Completion(Completion),
    /// Write manual pages
    Man(Man),
}

/// Runs a command. `definition` is the whole command line.
pub(crate) fn run(command: CliCommand, mut definition: clap::Command) -> anyhow::Result<()> {
    let result = match command {
        CliCommand::Pub(command) => return Ok(mqtt::publish(*command)?),
        CliCommand::Sub(command) => return Ok(mqtt::subscribe(*command)?),
        CliCommand::Status(command) => broker::status(command),
        CliCommand::Top(command) => top::run(command),
        CliCommand::Clients(command) => clients::list(command),
        CliCommand::Client(command) => clients::show(command),
        CliCommand::Kick(command) => clients::kick(command),
        CliCommand::Forget(command) => clients::forget(command),
        CliCommand::Subs(command) => routes::subscriptions(command),
        CliCommand::Who(command) => routes::who(command),
        CliCommand::Retained(command) => routes::retained(command),
        CliCommand::Message(command) => message::show(command),
        CliCommand::DeadLetters(command) => dead_letters::run(command),
        CliCommand::Drops(command) => refusals::drops(command),
        CliCommand::Refusals(command) => refusals::refusals(command),
        CliCommand::Trace(command) => trace::run(command),
        CliCommand::Bridges(command) => bridges::run(command),
        CliCommand::Sinks(command) => sinks::run(command),
        CliCommand::Streams(command) => streams::list(command),
        CliCommand::Stream(command) => streams::show(command),
        CliCommand::Cluster(command) => cluster::run(command),
        CliCommand::Bans(command) => refusals::bans(command),
        CliCommand::Users(command) => users::run(command),
        CliCommand::Acl(Acl::Explain(command)) => refusals::explain(command),
        CliCommand::Acl(Acl::Check(command)) => acl::check(command),
        CliCommand::Acl(Acl::Test(command)) => acl::test(command),
        CliCommand::Import(Import::Mosquitto(command)) => import::mosquitto(&command),
        CliCommand::Import(Import::MosquittoDb(command)) => import_state::run(command),
        CliCommand::Reload(command) => broker::reload(command),
        CliCommand::Backup(command) => broker::backup(command),
        CliCommand::Completion(command) => generate::completion(command, &mut definition),
        CliCommand::Man(command) => generate::man(command, definition),
    };
    match result {
        // The reader of a pipe, such as `head`, has seen enough.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
