//! `oncemq health`: asks the running broker whether clients can connect, for the health checks of containers.

use oncemq::config::{self, AdminArguments};

use crate::admin_client::{AdminClient, HINT};
use crate::output::print;

/// The flags of the command.
#[derive(Debug, clap::Args)]
pub(crate) struct HealthCommand {
    #[command(flatten)]
    admin: AdminArguments,
}

/// Why the broker is not ready, or not known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthError {
    #[error("{url}: {cause} ({HINT})")]
    Unreachable { url: String, cause: String },
    #[error("{url}: answered {code}: {text}")]
    NotReady { url: String, code: u16, text: String },
    #[error("the admin listener is off: admin.enabled is false")]
    Off,
}

impl HealthError {
    /// The exit code of the process: 1, which container engines read as unhealthy.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::NotReady { .. } | Self::Off => 1,
        }
    }
}

/// Asks once, and prints the answer if the broker is ready.
pub(crate) fn run(command: HealthCommand) -> anyhow::Result<()> {
    let admin = config::load(&command.admin.into())?.config.admin;
    if !admin.enabled {
        return Err(HealthError::Off.into());
    }
    let client = AdminClient::new(admin.address);
    let url = client.url(READY);
    match client.request(&format!("GET {READY}"), "", "") {
        Ok((200, text)) => print(&text),
        Ok((code, text)) => Err(HealthError::NotReady { url, code, text }.into()),
        Err(error) => Err(HealthError::Unreachable { url, cause: error.to_string() }.into()),
    }
}

/// 200 if clients can connect; 503 before that, and during a drain.
const READY: &str = "/health/ready";
