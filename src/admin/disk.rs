use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::spawn_blocking;

/// The space of the file system that has the data directory, measured by a thread that may wait for it: a disk that does not answer holds up
/// no request.
#[derive(Debug, Clone)]
pub(super) struct DiskSpace(Arc<State>);

#[derive(Debug)]
struct State {
    directory: PathBuf,
    figures: Mutex<DiskFigures>,
    is_measuring: AtomicBool,
}

/// Bytes of a file system; zero if they are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct DiskFigures {
    /// What is used and what this process may use, as `df` counts it: without what is reserved for others.
    pub(super) size: u64,
    /// What this process may use.
    pub(super) free: u64,
}

impl DiskSpace {
    /// Measures the space once.
    pub(super) fn new(directory: PathBuf) -> Self {
        let figures = Mutex::new(measure(&directory));
        Self(Arc::new(State { directory, figures, is_measuring: AtomicBool::new(false) }))
    }

    /// The last measurement.
    pub(super) fn figures(&self) -> DiskFigures {
        *self.0.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a measurement, unless the last one has not ended.
    pub(super) fn begin(&self) {
        if self.0.is_measuring.swap(true, Ordering::AcqRel) {
            return;
        }
        let state = Arc::clone(&self.0);
        spawn_blocking(move || {
            let figures = measure(&state.directory);
            *state.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
            state.is_measuring.store(false, Ordering::Release);
        });
    }
}

fn measure(directory: &Path) -> DiskFigures {
    let Ok(found) = rustix::fs::statvfs(directory) else { return DiskFigures::default() };
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let used = found.f_blocks.saturating_sub(found.f_bfree);
    DiskFigures { size: bytes(used.saturating_add(found.f_bavail)), free: bytes(found.f_bavail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_a_size_and_what_is_free_of_it_and_a_missing_one_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let DiskFigures { size, free } = measure(directory.path());
        assert!(size > 0 && free <= size, "{free} of {size}");
        assert_eq!(measure(&directory.path().join("missing")), DiskFigures::default());
    }
}
