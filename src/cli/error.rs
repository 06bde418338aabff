use std::io;
use std::path::PathBuf;

use oncemq::auth::{AuthError, ExpectationError};
use oncemq::config::ConfigError;
use oncemq::import::state::ImportError;
use oncemq::import::{ConfError, WriteError};
use oncemq::server_trust::ClientTlsError;

/// Why a command on the running broker failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The configuration that names the data directory.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The command line can't be right.
    #[error("{0}")]
    Usage(String),
    /// A certificate can't be used.
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    /// A file of rules can't be used.
    #[error(transparent)]
    Acl(#[from] AuthError),
    /// A file of expected decisions can't be used.
    #[error(transparent)]
    Expectation(#[from] ExpectationError),
    /// A configuration of mosquitto can't be read.
    #[error(transparent)]
    Import(#[from] ConfError),
    /// The state of mosquitto can't be taken over.
    #[error(transparent)]
    State(#[from] ImportError),
    /// What is made of it can't be written.
    #[error(transparent)]
    NotWritten(#[from] WriteError),
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// The broker does not answer.
    #[error("{place}: {cause}")]
    Unreachable { place: String, cause: String },
    /// The broker answers with an error.
    #[error("{cause}")]
    Refused { code: u16, cause: String },
    /// The answer has not the form of `/api/v1`.
    #[error("{place} answered what this version does not understand: {cause}")]
    NotUnderstood { place: String, cause: String },
    /// What was asked for is not so, or was not done.
    #[error("{0}")]
    NotDone(String),
    /// A Session can't be given away.
    #[error("{0}")]
    NotGiven(String),
    /// Standard output.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The exit code: 1 not found or not done, 2 a command line or a request that can't be right, 7 no answer. `session give` has 7 for
    /// what is not done, too.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::State(error) => error.exit_code(),
            Self::Config(_)
            | Self::Usage(_)
            | Self::Tls(_)
            | Self::Acl(_)
            | Self::Expectation(_)
            | Self::Import(_)
            | Self::NotWritten(_)
            | Self::File { .. } => 2,
            Self::Refused { code: 400 | 413 | 422, .. } => 2,
            Self::Refused { code: 401 | 403 | 404 | 409, .. } | Self::NotDone(_) | Self::Output(_) => 1,
            Self::Unreachable { .. } | Self::Refused { .. } | Self::NotUnderstood { .. } | Self::NotGiven(_) => 7,
        }
    }
}
