use std::io;
use std::path::PathBuf;

use oncemq::config::ConfigError;

/// Why there is no result, or not a good one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// A check failed; the report says which.
    #[error("not all checks passed")]
    Failed,
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{}: {source}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("{} has {free} free, and the checks need {needed}", path.display())]
    NoRoom { path: PathBuf, free: String, needed: String },
    #[error("the broker {binary} can't be started: {cause}")]
    NoBroker { binary: String, cause: String },
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("interrupted")]
    Interrupted,
}

impl Trouble {
    /// The exit code: 1 a check failed, 2 the configuration, 3 the checks could not run, 130 interrupted.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Config(_) => 2,
            Self::Directory { .. } | Self::NoRoom { .. } | Self::NoBroker { .. } | Self::System(_) => 3,
            Self::Interrupted => 130,
        }
    }
}
