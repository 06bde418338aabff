use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use oncemq::store::{self, OpenError, Report};

use super::error::StoreError;

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

/// A directory that stands right in another. What an answer names is moved: it must not be just anything.
pub(super) fn require_parent(directory: &Path, parent: &Path) -> Result<(), String> {
    let real_parent = |directory: &Path| directory.canonicalize().ok()?.parent().map(Path::to_owned);
    match (real_parent(directory), parent.canonicalize()) {
        (Some(found), Ok(expected)) if found == expected => Ok(()),
        _ => Err(format!("{} is no directory in {}", directory.display(), parent.display())),
    }
}

fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// See `docs/STORAGE.md`.
const LOCK: &str = "lock";
/// How the name of a directory ends that is being copied to.
const UNFINISHED: &str = ".new";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_right_in_the_directory_of_backups_is_moved() {
        let directory = tempfile::tempdir().unwrap();
        let backups = directory.path().join("backups");
        fs::create_dir_all(backups.join("1/deep")).unwrap();
        require_parent(&backups.join("1"), &backups).unwrap();
        for other in ["1/deep", "..", "", "2", "1/../.."] {
            require_parent(&backups.join(other), &backups).unwrap_err();
        }
        require_parent(Path::new("/"), &backups).unwrap_err();
    }

    #[test]
    fn a_copy_that_fails_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::create_dir(&from).unwrap();
        copy(&from, &to).unwrap_err();
        fs::write(from.join("0000000001.seg"), "no segment").unwrap();
        copy(&from, &to).unwrap_err();
        assert_eq!(names(directory.path()).unwrap(), ["from"]);
    }

    #[test]
    fn what_is_in_the_way_of_a_copy_stays() {
        let directory = tempfile::tempdir().unwrap();
        let unfinished = directory.path().join(format!("to{UNFINISHED}"));
        fs::create_dir(&unfinished).unwrap();
        fs::write(unfinished.join("mine"), "").unwrap();
        let error = copy(&directory.path().join("from"), &directory.path().join("to")).unwrap_err();
        assert!(error.to_string().contains("to.new is there already"), "{error}");
        assert!(unfinished.join("mine").exists());
    }
}
