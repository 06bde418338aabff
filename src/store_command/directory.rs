use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oncemq::store::{self, OpenError, Report};

use super::error::StoreError;

/// Checks that a directory is empty or does not exist. The lock file that opening creates is ignored.
pub(super) fn require_empty(directory: &Path) -> Result<(), StoreError> {
    match names(directory) {
        Ok(names) if names.iter().all(|name| name == LOCK) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) | Err(_) => Err(StoreError::NotEmpty(directory.to_owned())),
    }
}

/// Copies a store that no process has open. The copy gets its name when it is complete, because an incomplete copy
/// would look like a store with less data.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Report, StoreError> {
    let mut incomplete = to.components().as_path().as_os_str().to_owned();
    incomplete.push(INCOMPLETE_SUFFIX);
    let incomplete = PathBuf::from(incomplete);
    require_empty(&incomplete)?;
    let copied = store::restore(from, &incomplete).map_err(StoreError::Open).and_then(|report| {
        rename(&incomplete, to).map_err(OpenError::Io)?;
        Ok(report)
    });
    if copied.is_err() && incomplete.exists() {
        // The error of the copy is returned, so an error of the cleanup is ignored.
        let _ = fs::remove_dir_all(&incomplete);
    }
    copied
}

/// Renames a directory to one that is empty or does not exist, and syncs the parent directory.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let parent = match to.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(io::ErrorKind::InvalidInput.into()),
    };
    // Missing parents are data directories, which are for their owner only.
    DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    if names(to).is_ok_and(|names| names == [LOCK]) {
        fs::remove_file(to.join(LOCK))?;
    }
    fs::rename(from, to)?;
    File::open(parent)?.sync_all()
}

/// Checks that `directory` is directly inside `parent`. The path comes from a response, so it must not be trusted.
pub(super) fn require_parent(directory: &Path, parent: &Path) -> Result<(), String> {
    let real_parent = |directory: &Path| directory.canonicalize().ok()?.parent().map(Path::to_owned);
    match (real_parent(directory), parent.canonicalize()) {
        (Some(found), Ok(expected)) if found == expected => Ok(()),
        _ => Err(format!("{} is not directly inside {}", directory.display(), parent.display())),
    }
}

fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect()
}

/// The lock file, see `docs/STORAGE.md`.
const LOCK: &str = "lock";
/// Suffix of the directory of an incomplete copy.
const INCOMPLETE_SUFFIX: &str = ".new";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_directly_inside_the_backup_directory_is_accepted() {
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
    fn a_copy_does_not_overwrite_an_existing_directory() {
        let directory = tempfile::tempdir().unwrap();
        let incomplete = directory.path().join(format!("to{INCOMPLETE_SUFFIX}"));
        fs::create_dir(&incomplete).unwrap();
        fs::write(incomplete.join("mine"), "").unwrap();
        let error = copy(&directory.path().join("from"), &directory.path().join("to")).unwrap_err();
        assert!(error.to_string().contains("to.new exists"), "{error}");
        assert!(incomplete.join("mine").exists());
    }
}
