//! Changes to the password file. Each one replaces the whole file atomically, so the broker never reads half of a
//! change; or, where that is not possible, overwrites it under a lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::error::{lock, read_text};
use super::password_file::{StoredHash, significant, split_line};

/// Whether the password file must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It must exist.
    Required,
    /// It must not exist, and is created.
    Forbidden,
}

/// Why the password file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file does not exist.
    #[error("{} does not exist: create it with -c", .0.display())]
    Missing(PathBuf),
    /// The file exists already.
    #[error("{} exists already: leave out -c to add to it", .0.display())]
    Exists(PathBuf),
    /// Reading or writing the file failed.
    #[error("cannot change {}: {source}", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The user name can't be written to the file.
    #[error(
        "a user name must not be empty, begin or end with a space, begin with # or contain a colon or a line break"
    )]
    InvalidUser,
    /// The user to remove does not exist.
    #[error("there is no user {0}")]
    UnknownUser(String),
    /// The password is empty.
    #[error("the password must not be empty")]
    EmptyPassword,
    /// The operating system returned no random bytes for a salt, or hashing failed.
    #[error("cannot hash the password: {0}")]
    Hash(String),
}

/// Sets the password of `user`: changes its line, or appends one.
pub fn set_password(path: &Path, existing: Existing, user: &str, password: &[u8]) -> Result<(), EditError> {
    let is_line = significant(user) == Some(user) && !user.contains([':', '\n', '\r', '\0']);
    if !is_line {
        return Err(EditError::InvalidUser);
    }
    if password.is_empty() {
        return Err(EditError::EmptyPassword);
    }
    let mut lines = match existing {
        Existing::Required => read_lines(path)?,
        Existing::Forbidden if path.exists() => return Err(EditError::Exists(path.to_owned())),
        Existing::Forbidden => Vec::new(),
    };
    let mut salt = [0; SALT_LENGTH];
    getrandom::fill(&mut salt).map_err(|error| EditError::Hash(error.to_string()))?;
    let hash = StoredHash::hash_password(password, &salt).map_err(|error| EditError::Hash(error.to_string()))?;
    let line = format!("{user}:{hash}");
    match lines.iter_mut().find(|line| is_of(line, user)) {
        Some(old) => *old = line,
        None => lines.push(line),
    }
    replace(path, &lines)
}

/// Removes `user`.
pub fn remove_user(path: &Path, user: &str) -> Result<(), EditError> {
    let mut lines = read_lines(path)?;
    let before = lines.len();
    lines.retain(|line| !is_of(line, user));
    if lines.len() == before {
        return Err(EditError::UnknownUser(user.to_owned()));
    }
    replace(path, &lines)
}

fn is_of(line: &str, user: &str) -> bool {
    significant(line).and_then(split_line).is_some_and(|(name, _)| name == user)
}

fn read_lines(path: &Path) -> Result<Vec<String>, EditError> {
    match read_text(path) {
        Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(EditError::Missing(path.to_owned())),
        Err(source) => Err(EditError::Io { path: path.to_owned(), source }),
    }
}

/// Writes a new file and renames it over the old one. A symbolic link stays; its target is replaced.
///
/// A file that is a mount of its own (a bind mount, as of a single file in a container) can't be replaced, and neither can one in a
/// directory that this user may not write to: it is changed in place.
fn replace(path: &Path, lines: &[String]) -> Result<(), EditError> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let result = match replace_by_name(&target, lines) {
        Err(error) if cannot_replace(&error) && target.exists() => write_in_place(&target, lines),
        result => result,
    };
    result.map_err(|source| EditError::Io { path: path.to_owned(), source })
}

fn replace_by_name(target: &Path, lines: &[String]) -> io::Result<()> {
    let mut name = target.to_owned().into_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(name);
    let result = write_new(&beside, target, lines).and_then(|()| fs::rename(&beside, target)).and_then(|()| {
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    });
    result.inspect_err(|_| {
        // The first error is returned, so an error of the cleanup is ignored.
        let _removed = fs::remove_file(&beside);
    })
}

/// Whether the file may be writable although it can't be replaced.
fn cannot_replace(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    matches!(error.kind(), ResourceBusy | CrossesDevices | PermissionDenied | ReadOnlyFilesystem)
}

/// Overwrites the file, under a lock that keeps the broker from reading half of it. A crash may leave half of it, so a copy of the new
/// contents is not needed: the lines before the change come first, and the broker refuses a line that is cut.
fn write_in_place(path: &Path, lines: &[String]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    lock(&file, FlockOperation::NonBlockingLockExclusive)?;
    let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

/// Creates the new file, readable by its owner only. If `old` exists, the new file gets its owner and its group
/// permissions.
fn write_new(path: &Path, old: &Path, lines: &[String]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    if let Ok(metadata) = fs::metadata(old) {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
            fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        let mode = OWNER_ONLY | (metadata.permissions().mode() & GROUP_READ);
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.sync_all()
}

/// Salt length in bytes that the Argon2 standard recommends.
const SALT_LENGTH: usize = 16;

/// The mode of a file with secrets.
const OWNER_ONLY: u32 = 0o600;

/// The permission of the group to read the file, for a broker that runs as another user.
const GROUP_READ: u32 = 0o040;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_readable_by_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        set_password(&path, Existing::Forbidden, "alice", b"secret").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(fs::read_to_string(&path).unwrap().starts_with("alice:$argon2id$"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_change_keeps_comments_order_group_and_links() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("passwords"), directory.path().join("link"));
        fs::write(&path, "# staff\nalice:$6$a$b\nbob:$6$c$d\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        set_password(&link, Existing::Required, "alice", b"secret").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (3, "# staff", "bob:$6$c$d"));
        assert!(lines[1].starts_with("alice:$argon2id$"), "{text}");
        assert_eq!(mode(&path), 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_changed_in_place() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "alice:$6$a$b\nbob:$6$c$d\n").unwrap();
        let before = fs::metadata(file.path()).unwrap().ino();
        for lines in [&["alice:$6$a$b"][..], &["alice:$6$a$b", "bob:$6$c$d", "carol:$6$e$f"], &[]] {
            let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
            write_in_place(file.path(), &lines).unwrap();
            let text = fs::read_to_string(file.path()).unwrap();
            assert_eq!(text.lines().collect::<Vec<_>>(), lines);
        }
        assert_eq!(fs::metadata(file.path()).unwrap().ino(), before);
    }

    #[test]
    fn a_file_is_not_read_or_changed_while_another_process_changes_it() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let writer = File::options().write(true).open(&path).unwrap();
        rustix::fs::flock(&writer, FlockOperation::LockExclusive).unwrap();
        let busy = write_in_place(&path, &[]).unwrap_err();
        assert!(busy.to_string().contains("another process is changing it"), "{busy}");
        let waiting = std::thread::spawn(move || read_text(&path));
        drop(writer);
        assert_eq!(waiting.join().unwrap().unwrap(), "");
    }

    #[test]
    fn a_byte_order_mark_does_no_harm() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "\u{FEFF}alice:$6$a$b\n").unwrap();
        remove_user(file.path(), "alice").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "");
    }

    #[test]
    fn a_user_is_removed_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "alice:$6$a$b\nbob:$6$c$d\n").unwrap();
        remove_user(file.path(), "alice").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "bob:$6$c$d\n");
        assert!(matches!(remove_user(file.path(), "alice"), Err(EditError::UnknownUser(_))));
    }

    #[test]
    fn a_name_that_would_break_the_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for user in ["", "a:b", "a\nb", "#a", " a", "a "] {
            let result = set_password(file.path(), Existing::Required, user, b"secret");
            assert!(matches!(result, Err(EditError::InvalidUser)), "{user:?}");
        }
        let result = set_password(file.path(), Existing::Required, "a", b"");
        assert!(matches!(result, Err(EditError::EmptyPassword)));
    }

    #[test]
    fn a_file_is_created_only_on_request_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        assert!(matches!(set_password(&path, Existing::Required, "a", b"s"), Err(EditError::Missing(_))));
        set_password(&path, Existing::Forbidden, "a", b"s").unwrap();
        assert!(matches!(set_password(&path, Existing::Forbidden, "b", b"s"), Err(EditError::Exists(_))));
    }
}
