use std::path::PathBuf;

use oncemq::store::OpenError;

/// Why a command about the store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{0}; stop that broker, or make a backup and look at it")]
    InUse(OpenError),
    #[error("{count} damaged regions in {}", directory.display())]
    Damaged { directory: PathBuf, count: usize },
    #[error("{} is there already, and is no empty directory", .0.display())]
    NotEmpty(PathBuf),
    #[error("process {process} has the store open, but it makes no backup: {cause}")]
    NoBackup { process: String, cause: String },
}

impl StoreError {
    /// The exit code of the process: damage has its own, as scripts want to know it.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Open(OpenError::Damaged { .. }) | Self::Damaged { .. } => 6,
            Self::Open(_) | Self::InUse(_) | Self::NotEmpty(_) | Self::NoBackup { .. } => 5,
        }
    }
}
