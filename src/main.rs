//! The command line.

mod admin_client;
#[cfg(feature = "cluster")]
mod celled;
mod cli;
#[cfg(feature = "cluster")]
mod clustered;
mod disk;
mod doctor;
mod health_command;
mod output;
mod serving;
mod session_command;
mod store_command;
mod tls_client;
mod token_command;
mod verify;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use allocator::Allocator;
use anyhow::{anyhow, bail};
use clap::{CommandFactory, Parser, Subcommand};

use oncemq::admin::AdminError;
use oncemq::auth::Authenticator;
use oncemq::config::{self, Arguments, Loaded, LogFormat};
use oncemq::import::{self, Generated};
use oncemq::server::{self, Ended, PassedSockets, ServerError, Start, TakeOver};

use cli::{CliCommand, CliError, MqttError, Passwd};
use doctor::{DoctorCommand, DoctorError};
use health_command::{HealthCommand, HealthError};
use output::{eprint, print};
use session_command::SessionCommand;
use store_command::{StoreCommand, StoreError};
use token_command::TokenCommand;
use verify::VerifyCommand;

/// The system allocator of Linux keeps most memory that was freed, and returns large buffers so early that each new one costs page faults.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// An MQTT 3.1.1 and 5.0 broker that acknowledges a message only when it is durable.
///
/// Without a command it serves clients, by default on 127.0.0.1:1883 and [::1]:1883. Every setting can also come from
/// an environment variable: ONCEMQ_LIMITS_CONNECTIONS_MAX sets limits.connections_max, ONCEMQ_LISTEN replaces the
/// listeners, ONCEMQ_CONFIG names the file.
#[derive(Debug, Parser)]
#[command(name = "oncemq", version, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    arguments: Arguments,
    /// Take over from the broker that runs on the data directory: its clients reconnect to this process, and it ends
    #[arg(long)]
    take_over: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check or show the configuration without starting the broker
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check, summarize, back up, restore, upgrade or split the store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Change sessions of the running broker
    #[command(subcommand)]
    Session(SessionCommand),
    /// Ask the running broker whether clients can connect: exit code 0 if they can, 1 if not
    Health(HealthCommand),
    /// Prove the guarantees on this disk: kill a broker of its own under load, and check what it had acknowledged
    Verify(VerifyCommand),
    /// Look at the machine with the broker's configuration, and name each problem with its mend
    Doctor(DoctorCommand),
    /// Create, list and revoke the tokens of the HTTP API
    #[command(subcommand)]
    Token(TokenCommand),
    /// Set a user's password in a password file
    Passwd(Passwd),
    #[command(flatten)]
    Cli(CliCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file and the files it names
    Check {
        /// The TOML file
        file: PathBuf,
    },
    /// Print the effective values, each with its origin
    Show(Box<Arguments>),
}

fn main() -> ExitCode {
    let mut format = early_format();
    let CommandLine { command, arguments, take_over } = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => return usage_error(&error, format),
    };
    let result = match command {
        None => serve(&arguments, take_over, &mut format),
        Some(Command::Config(ConfigCommand::Check { file })) => check(file),
        Some(Command::Config(ConfigCommand::Show(arguments))) => show(&arguments),
        Some(Command::Store(command)) => store_command::run(command),
        Some(Command::Session(command)) => session_command::run(command).map_err(Into::into),
        Some(Command::Health(command)) => health_command::run(command),
        Some(Command::Verify(command)) => verify::run(command),
        Some(Command::Doctor(command)) => doctor::run(command),
        Some(Command::Token(command)) => token_command::run(command),
        Some(Command::Passwd(passwd)) => cli::change_password(&passwd),
        Some(Command::Cli(command)) => cli::run(command, CommandLine::command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = exit_code(&error);
            eprint(&server::failure_line(format, &description(&error), code));
            ExitCode::from(code)
        }
    }
}

/// The format of errors before the configuration is loaded. Only `serve` has a log; the other commands answer people.
fn early_format() -> LogFormat {
    let definition = CommandLine::command();
    let is_command =
        |first: OsString| first == "help" || definition.get_subcommands().any(|command| first == command.get_name());
    match env::args_os().nth(1).is_some_and(is_command) {
        true => LogFormat::Text,
        false => config::early_log_format(env::args_os().skip(1)),
    }
}

/// Writes an error of the command line, or the help or the version.
fn usage_error(error: &clap::Error, format: LogFormat) -> ExitCode {
    if format == LogFormat::Text || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let text = text.trim_end();
    eprint(&server::failure_line(format, text.strip_prefix("error: ").unwrap_or(text), EXIT_CONFIGURATION));
    ExitCode::from(EXIT_CONFIGURATION)
}

/// Runs the broker. `format` becomes that of its configuration.
fn serve(arguments: &Arguments, take_over: bool, format: &mut LogFormat) -> anyhow::Result<()> {
    server::exit_on_panic(*format);
    server::hold_hang_up()?;
    server::use_small_pages();
    let activated = server::activated_sockets()?;
    let mut loaded = import::load(arguments, Generated::Replaced)?;
    *format = loaded.config.log.format;
    let _written_when_dropped = server::init_logging(&loaded.config.log)?;
    let cluster = &loaded.config.cluster;
    server::claim_cells(&loaded.config.server.data, if cluster.has_cells() { cluster.cells } else { 1 })?;
    if cluster.is_enabled() {
        return serve_cluster(loaded, arguments, activated.unwrap_or_default(), take_over);
    }
    let (take_over, sockets) = if take_over { TakeOver::request(&loaded.config)? } else { (None, None) };
    let mut origin = (sockets.or(activated).unwrap_or_default(), take_over);
    loop {
        let (passed, take_over) = origin;
        let start = Start { passed, take_over, ..Start::default() };
        match serving::run(loaded, arguments, start, (Vec::new(), |_| ()))? {
            Ended::Stopped | Ended::HandedOver => return Ok(()),
            Ended::TakenBack { sockets, loaded: in_force } | Ended::Told { sockets, loaded: in_force, .. } => {
                (origin, loaded) = ((sockets, None), *in_force);
            }
        }
    }
}

#[cfg(feature = "cluster")]
fn serve_cluster(loaded: Loaded, arguments: &Arguments, passed: PassedSockets, take_over: bool) -> anyhow::Result<()> {
    if take_over {
        bail!("--take-over is for a broker without [cluster]: use \"oncemq cluster move\", then restart this node");
    }
    match loaded.config.cluster.has_cells() {
        true => celled::serve(loaded, arguments, passed),
        false => clustered::serve(loaded, arguments, passed),
    }
}

#[cfg(not(feature = "cluster"))]
fn serve_cluster(_: Loaded, _: &Arguments, _: PassedSockets, _: bool) -> anyhow::Result<()> {
    bail!("cluster.nats needs a build with the feature cluster")
}

/// The error and its causes, without those that its text already contains.
fn description(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

/// 2 for a wrong configuration, file, password or command line; errors of the broker and the store have their own
/// codes.
fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<ServerError>() {
        error.exit_code()
    } else if let Some(error) = error.downcast_ref::<AdminError>() {
        error.exit_code()
    } else if let Some(error) = error.downcast_ref::<StoreError>() {
        error.exit_code()
    } else if let Some(error) = error.downcast_ref::<CliError>() {
        error.exit_code()
    } else if let Some(error) = error.downcast_ref::<MqttError>() {
        error.exit_code()
    } else if let Some(error) = error.downcast_ref::<HealthError>() {
        error.exit_code()
    } else if let Some(trouble) = error.downcast_ref::<verify::Trouble>() {
        trouble.exit_code()
    } else if let Some(error) = error.downcast_ref::<DoctorError>() {
        error.exit_code()
    } else {
        EXIT_CONFIGURATION
    }
}

/// The exit code for a wrong configuration, file, password or command line.
const EXIT_CONFIGURATION: u8 = 2;

fn check(file: PathBuf) -> anyhow::Result<()> {
    let text = format!("{} is valid", file.display());
    let loaded = config::load_file(&file)?;
    let authenticator = Authenticator::new(&loaded.config.security, &loaded.config.auth, &loaded.config.listeners)?;
    // The exit code is that of all errors of this command.
    let certificates = server::check_certificates(&loaded.config).map_err(|error| anyhow!(error.to_string()))?;
    server::check_telemetry(&loaded.config).map_err(|reason| anyhow!(reason))?;
    server::check_sinks(&loaded.config).map_err(|reason| anyhow!(reason))?;
    for note in certificates.into_iter().chain(authenticator.notes()).chain(loaded.exposures()) {
        print(&note)?;
    }
    print(&text)
}

fn show(arguments: &Arguments) -> anyhow::Result<()> {
    let loaded = import::load(arguments, Generated::Unwritten)?;
    print(loaded.to_string().trim_end())
}
