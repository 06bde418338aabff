use std::path::PathBuf;

use oncemq::store::OpenError;

/// Why a command on the store failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("{0}; stop that broker, or make a backup and use that")]
    InUse(OpenError),
    #[error("{count} damaged regions in {}", directory.display())]
    Damaged { directory: PathBuf, count: usize },
    #[error("{} exists and is not an empty directory", .0.display())]
    NotEmpty(PathBuf),
    #[error("process {process} has the store open and made no backup: {cause}")]
    NoBackup { process: String, cause: String },
}

impl StoreError {
    /// The exit code of the process; damage has its own, for scripts.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Open(OpenError::Damaged { .. }) | Self::Damaged { .. } => 6,
            Self::Open(_) | Self::InUse(_) | Self::NotEmpty(_) | Self::NoBackup { .. } => 5,
        }
    }
}
