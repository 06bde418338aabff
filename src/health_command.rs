//! `oncemq health`: asks the running broker whether clients can connect, for the health checks of containers.

use crate::cli::TargetArguments;
use crate::output::print;

/// The flags of the command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq health --data /var/lib/oncemq          as the user of the broker, by its admin.sock
  oncemq health --admin http://127.0.0.1:9883   by its admin listener, which needs no token for this
  oncemq health --live                          for the containers of a cluster: a standby is not to be restarted")]
pub(crate) struct HealthCommand {
    /// Ask whether the process makes progress instead, as a standby of a cluster does, which clients can't use
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    target: TargetArguments,
}

/// Why the broker is not ready, or not known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    #[error("{url}: {cause} (does the broker run?)")]
    Unreachable { url: String, cause: String },
    #[error("{url}: answered {code}: {text}")]
    NotReady { url: String, code: u16, text: String },
}

impl HealthError {
    /// The exit code of the process: 1, which container engines read as unhealthy.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::NotReady { .. } => 1,
        }
    }
}

/// Asks once, and prints the answer if the broker is ready.
pub(crate) fn run(command: HealthCommand) -> anyhow::Result<()> {
    let client = command.target.socket_or_listener()?;
    let path = if command.live { LIVE } else { READY };
    let url = client.url(path);
    match client.request(&format!("GET {path}"), "", "") {
        Ok((200, text)) => print(&text),
        Ok((code, text)) => Err(HealthError::NotReady { url, code, text }.into()),
        Err(error) => Err(HealthError::Unreachable { url, cause: error.to_string() }.into()),
    }
}

/// 200 if clients can connect; 503 before that, and during a drain.
const READY: &str = "/health/ready";
/// 200 unless a shard is stuck.
const LIVE: &str = "/health/live";
