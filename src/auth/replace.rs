//! Changes a file of passwords or rules: reads it, and replaces the whole file atomically, all under a lock, so that two changes at once lose
//! nothing and nobody reads half of a change.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::error::{lock, read_open};

/// What happens to a file that can't be replaced: a mount of its own (a bind mount, as of a single file in a container), or one in a directory
/// that this user may not write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replacement {
    /// It is not changed. So after a crash, it has the old or the new contents.
    Atomic,
    /// It is changed in place. A crash may leave a part of the new contents.
    OrInPlace,
}

/// The permissions that a new file may take over from the old one, beside those of its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// The group may read it, as of a broker that runs as another user.
    Group,
    /// Everybody may read it.
    Everybody,
}

/// Replaces the text of a file by what `change` makes of it. A symbolic link stays; its target is replaced.
pub(super) fn change<E: From<io::Error>>(
    path: &Path,
    (replacement, readers): (Replacement, Readers),
    change: impl FnOnce(String) -> Result<String, E>,
) -> Result<(), E> {
    let target = path.canonicalize()?;
    let mut locked = lock_current(&target)?;
    let text = change(read_open(&mut locked)?)?;
    remove_leftovers(&target);
    match replace(&target, &text, readers) {
        Err(error) if cannot_replace(&error) && replacement == Replacement::OrInPlace => {
            Ok(write_in_place(&target, &text)?)
        }
        Err(error) if cannot_replace(&error) => {
            let text = format!("{error} (the file is a mount of its own, or its directory is not writable)");
            Err(io::Error::new(error.kind(), text).into())
        }
        result => Ok(result?),
    }
}

/// Creates the file with this text, readable by its owner only.
pub(super) fn create(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text, Readers::Group)
}

/// Opens and locks the file that has this name, against readers and other changes. The lock of a file that was replaced meanwhile is of no
/// use, so the new one is locked.
fn lock_current(target: &Path) -> io::Result<File> {
    for _ in 0..ATTEMPTS_MAX {
        let file = File::open(target)?;
        lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let (locked, current) = (file.metadata()?, fs::metadata(target)?);
        if (locked.dev(), locked.ino()) == (current.dev(), current.ino()) {
            return Ok(file);
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "other processes are changing it"))
}

/// Writes a new file beside the old one and renames it over that.
fn replace(target: &Path, text: &str, readers: Readers) -> io::Result<()> {
    let mut name = target.to_owned().into_os_string();
    name.push(format!(".{}{NEW}", std::process::id()));
    let beside = PathBuf::from(name);
    let result = write_new(&beside, target, text, readers).and_then(|()| fs::rename(&beside, target)).and_then(|()| {
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    });
    result.inspect_err(|_| {
        // The first error is returned, so an error of the cleanup is ignored.
        let _removed = fs::remove_file(&beside);
    })
}

/// Removes new files that were not renamed, because the process was killed. Nobody else writes one, because the lock is held. In a container
/// every run has the same process id, and the next change would find its file in place.
fn remove_leftovers(target: &Path) {
    let (Some(directory), Some(name)) = (target.parent(), target.file_name().and_then(|name| name.to_str())) else {
        return;
    };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let process =
            file_name.to_str().and_then(|other| other.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(NEW));
        if process.is_some_and(|process| !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit())) {
            // If it can't be removed, writing the new file says why.
            let _removed = fs::remove_file(entry.path());
        }
    }
}

/// Whether the file may be writable although it can't be replaced.
fn cannot_replace(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), ResourceBusy | CrossesDevices | PermissionDenied | ReadOnlyFilesystem)
}

/// Overwrites the file, whose lock is held. A crash may leave half of it, so a copy of the new contents is not needed: what was before the
/// change comes first, and the broker refuses a line that is cut.
fn write_in_place(target: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(target)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

/// Creates the new file, readable by its owner only. If `old` exists, the new file gets its owner and its permissions for readers.
fn write_new(path: &Path, old: &Path, text: &str, readers: Readers) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    if let Ok(metadata) = fs::metadata(old) {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
            fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        let kept = match readers {
            Readers::Group => GROUP_READ,
            Readers::Everybody => GROUP_READ | OTHERS_READ,
        };
        file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY | (metadata.permissions().mode() & kept)))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The end of the name of a new file; the process id is before it.
const NEW: &str = ".new";
/// More changes at the same moment are those of a loop.
const ATTEMPTS_MAX: usize = 16;
/// The mode of a file with secrets.
const OWNER_ONLY: u32 = 0o600;
const GROUP_READ: u32 = 0o040;
const OTHERS_READ: u32 = 0o004;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn append(path: &Path, line: &str) -> io::Result<()> {
        change(path, (Replacement::Atomic, Readers::Group), |text| Ok(format!("{text}{line}\n")))
    }

    #[test]
    fn changes_at_once_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..10 {
                        // The disk may be so slow that the lock is not free in time.
                        while append(path, &format!("{writer} {number}")).is_err() {
                            thread::yield_now();
                        }
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 40);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_other_files_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let left = format!("file.{}.new", std::process::id());
        for name in ["file", &left, "file.1.new", "file.new", "file.x.new", "other.1.new"] {
            fs::write(directory.path().join(name), "half").unwrap();
        }
        append(&path, "").unwrap();
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort_unstable();
        assert_eq!(names, ["file", "file.new", "file.x.new", "other.1.new"]);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_overwritten_only_on_request() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "old, and longer").unwrap();
        let before = fs::metadata(file.path()).unwrap().ino();
        write_in_place(file.path(), "new").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "new");
        assert_eq!(fs::metadata(file.path()).unwrap().ino(), before);
    }

    #[test]
    fn a_file_is_not_changed_while_another_process_reads_or_changes_it() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let other = File::open(&path).unwrap();
        rustix::fs::flock(&other, FlockOperation::LockExclusive).unwrap();
        let busy = append(&path, "x").unwrap_err();
        assert!(busy.to_string().contains("another process is changing it"), "{busy}");
        drop(other);
        append(&path, "x").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
    }

    #[test]
    fn the_new_file_has_no_more_readers_than_it_may_have() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for (readers, before, after) in
            [(Readers::Group, 0o644, 0o640), (Readers::Everybody, 0o644, 0o644), (Readers::Everybody, 0o620, 0o600)]
        {
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
            change::<io::Error>(&path, (Replacement::Atomic, readers), Ok).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, after);
        }
    }
}
