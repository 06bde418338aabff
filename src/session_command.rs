//! `oncemq session`: changes Sessions of the running broker.

use clap::Subcommand;

use crate::cli::{CliError, TargetArguments, give};

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Give a session, with its subscriptions and its queue, to another user
    Give(Give),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  oncemq session give pump-7 --user bob
  oncemq session give pump-7 --user bob --provider certificate
  oncemq session give pump-7 --anonymous")]
pub(crate) struct Give {
    /// The client identifier of the session
    client_id: String,
    /// The user that gets the session
    #[arg(long, value_name = "NAME", required_unless_present = "anonymous")]
    user: Option<String>,
    /// The provider that must verify the user: password, certificate, or the name of an [[auth]]; by default the first that verifies the name
    #[arg(long, value_name = "PROVIDER", requires = "user")]
    provider: Option<String>,
    /// Give the session to anonymous clients
    #[arg(long, conflicts_with = "user")]
    anonymous: bool,
    #[command(flatten)]
    target: TargetArguments,
}

pub(crate) fn run(command: SessionCommand) -> Result<(), CliError> {
    match command {
        SessionCommand::Give(Give { client_id, user, provider, target, .. }) => {
            give(target, &client_id, user.as_deref(), provider.as_deref())
        }
    }
}
