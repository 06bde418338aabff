use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use oncemq::store::{self, OpenError, Report};

use super::StoreError;

/// A directory that has nothing in it, or isn't there. The lock file of a store that was never made doesn't count.
pub(super) fn require_empty(directory: &Path) -> Result<(), StoreError> {
    match names(directory) {
        Ok(names) if names.iter().all(|name| name == LOCK) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) | Err(_) => Err(StoreError::NotEmpty(directory.to_owned())),
    }
}

/// Copies a store that nobody has open. The copy gets its name when it is whole: one that was interrupted would pass for a
/// store that holds less.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Report, StoreError> {
    let mut unfinished = to.components().as_path().as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let unfinished = PathBuf::from(unfinished);
    require_empty(&unfinished)?;
    let copied = store::restore(from, &unfinished).map_err(StoreError::Open).and_then(|report| {
        rename(&unfinished, to).map_err(OpenError::Io)?;
        Ok(report)
    });
    if copied.is_err() && unfinished.exists() {
        // The error that is told is the one that matters.
        let _ = fs::remove_dir_all(&unfinished);
    }
    copied
}

/// Gives a directory the name of one that is empty or not there, and makes that stable.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let parent = match to.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(io::ErrorKind::InvalidInput.into()),
    };
    fs::create_dir_all(parent)?;
    if names(to).is_ok_and(|names| names == [LOCK]) {
        fs::remove_file(to.join(LOCK))?;
    }
    fs::rename(from, to)?;
    File::open(parent)?.sync_all()
}

fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// See `docs/STORAGE.md`.
const LOCK: &str = "lock";
/// How the name of a directory ends that is being copied to.
const UNFINISHED: &str = ".new";
