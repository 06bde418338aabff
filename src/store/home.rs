//! Where the log of a node is.

use std::fmt;
use std::path::PathBuf;
#[cfg(any(test, feature = "sim"))]
use std::sync::Arc;

use super::backup::check;
#[cfg(any(test, feature = "sim"))]
use super::backup::check_on;
use super::error::OpenError;
use super::follow::Follower;
use super::incoming::Incoming;
#[cfg(any(test, feature = "sim"))]
use super::mark::is_copy_on;
use super::mark::{Mark, is_copy};
use super::options::Options;
use super::report::Report;
#[cfg(any(test, feature = "sim"))]
use super::sim::SimDisk;
use super::stream_copies::StreamTerms;
use super::stream_snapshot::StreamFile;

/// Where the log of a node is.
#[derive(Debug, Clone)]
pub enum Home {
    /// In a directory of the file system.
    Directory(PathBuf),
    /// On a disk of a simulation.
    #[cfg(any(test, feature = "sim"))]
    Simulated(SimDisk),
}

impl Home {
    /// As [`Follower::open`].
    ///
    /// # Errors
    /// The same.
    pub fn follow(&self, options: &Options, terms: StreamTerms) -> Result<Follower, OpenError> {
        match self {
            Self::Directory(directory) => Follower::open(directory, options, terms, &|_, _| ()),
            // Simulated nodes have no streams.
            #[cfg(any(test, feature = "sim"))]
            Self::Simulated(disk) => Follower::open_on(Arc::new(disk.clone()), options, &|_, _| ()),
        }
    }

    /// As [`Incoming::begin`].
    ///
    /// # Errors
    /// The same.
    pub fn receive(&self, mark: &Mark, files: &[(u32, u64)], of_streams: &[StreamFile]) -> Result<Incoming, OpenError> {
        match self {
            Self::Directory(directory) => Incoming::begin(directory, mark, files, of_streams),
            #[cfg(any(test, feature = "sim"))]
            Self::Simulated(disk) => Incoming::begin_on(Arc::new(disk.clone()), mark, files),
        }
    }

    /// Whether the log is a copy of a replicated one.
    pub fn is_copy(&self) -> bool {
        match self {
            Self::Directory(directory) => is_copy(directory),
            #[cfg(any(test, feature = "sim"))]
            Self::Simulated(disk) => is_copy_on(disk),
        }
    }

    /// Reads the log without changing it. No other process may have it open.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check(&self) -> Result<Report, OpenError> {
        match self {
            Self::Directory(directory) => check(directory, &mut |_| ()),
            #[cfg(any(test, feature = "sim"))]
            Self::Simulated(disk) => check_on(disk, &PathBuf::new(), &mut |_| ()),
        }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(formatter),
            #[cfg(any(test, feature = "sim"))]
            Self::Simulated(_) => formatter.write_str("the simulation"),
        }
    }
}
