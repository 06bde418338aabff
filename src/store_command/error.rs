use std::path::{Path, PathBuf};

use oncemq::server::SplitFailure;
use oncemq::store::{OpenError, Report};

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
    #[error("the store has records of a later version (kinds: {0:?}); use that version, or restore a backup")]
    UnknownRecords(Vec<u8>),
    #[error("process {process} has the store open and made no backup: {cause}")]
    NoBackup { process: String, cause: String },
    #[error(transparent)]
    NotSplit(SplitFailure),
}

impl StoreError {
    /// The exit code of the process; damage has its own, for scripts.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Open(OpenError::Damaged { .. }) | Self::Damaged { .. } => 6,
            Self::Open(_)
            | Self::InUse(_)
            | Self::NotEmpty(_)
            | Self::UnknownRecords(_)
            | Self::NoBackup { .. }
            | Self::NotSplit(_) => 5,
        }
    }
}

impl From<SplitFailure> for StoreError {
    fn from(failure: SplitFailure) -> Self {
        let SplitFailure::Store(error) = failure else { return Self::NotSplit(failure) };
        in_use(error)
    }
}

/// The error of a command that needs the store for itself.
pub(super) fn in_use(error: OpenError) -> StoreError {
    if matches!(error, OpenError::Locked { .. }) { StoreError::InUse(error) } else { StoreError::Open(error) }
}

pub(super) fn require_undamaged(directory: &Path, report: &Report) -> Result<(), StoreError> {
    match report.damages.len() {
        0 => Ok(()),
        count => Err(StoreError::Damaged { directory: directory.to_owned(), count }),
    }
}
