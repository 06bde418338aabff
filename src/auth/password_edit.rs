//! Changes to the password file: lines of users.

use std::io;
use std::path::{Path, PathBuf};

use super::error::read_text;
use super::password_file::{StoredHash, significant, split_line};
use super::replace::{Readers, Replacement, change, create};
use super::scram::{Credentials, SALT_BYTES, ScramTerms, is_credentials, prepared};

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
    /// SASLprep, which SCRAM applies to user names and passwords, does not allow a character.
    #[error("the user name or the password has a character that SCRAM does not allow (SASLprep, RFC 4013)")]
    NotPrepared,
    /// The lines of the file have another form.
    #[error("the file has {0}: use another file, or this command with or without --scram")]
    OtherForm(&'static str),
    /// The operating system returned no random bytes for a salt, or hashing failed.
    #[error("cannot hash the password: {0}")]
    Hash(String),
}

/// Sets the password of `user`: changes its line, or appends one. A file that can't be replaced is changed in place.
pub fn set_password(path: &Path, existing: Existing, user: &str, password: &[u8]) -> Result<(), EditError> {
    set_or_create(path, existing, user, line_of(user, password)?)
}

/// The same in a file of SCRAM credentials. The name and the password are those after SASLprep.
pub fn set_scram_password(
    path: &Path,
    existing: Existing,
    user: &str,
    password: &str,
    terms: ScramTerms,
) -> Result<(), EditError> {
    let user = prepared(user).ok_or(EditError::NotPrepared)?;
    set_or_create(path, existing, &user, scram_line(&user, password, terms)?)
}

fn set_or_create(path: &Path, existing: Existing, user: &str, line: String) -> Result<(), EditError> {
    match existing {
        Existing::Required => edit(path, Replacement::OrInPlace, |lines| set_line(lines, user, line)),
        Existing::Forbidden if path.exists() => Err(EditError::Exists(path.to_owned())),
        Existing::Forbidden => {
            create(path, &format!("{line}\n")).map_err(|source| EditError::Io { path: path.to_owned(), source })
        }
    }
}

/// Removes `user`. A file that can't be replaced is changed in place.
pub fn remove_user(path: &Path, user: &str) -> Result<(), EditError> {
    edit(path, Replacement::OrInPlace, |lines| remove_line(lines, user))
}

/// Sets the password of `user` in a file that exists: changes its line, or appends one. After a crash, the file has the old or the new lines.
pub fn set_password_atomically(path: &Path, user: &str, password: &[u8]) -> Result<(), EditError> {
    let line = line_of(user, password)?;
    edit(path, Replacement::Atomic, |lines| set_line(lines, user, line))
}

/// Removes `user`. After a crash, the file has the old or the new lines.
pub fn remove_user_atomically(path: &Path, user: &str) -> Result<(), EditError> {
    edit(path, Replacement::Atomic, |lines| remove_line(lines, user))
}

/// The users of the file, in its order.
pub fn users(path: &Path) -> Result<Vec<String>, EditError> {
    let text = read_text(path).map_err(|source| failed(path, source))?;
    let user = |line| Some(split_line(significant(line)?)?.0.to_owned());
    Ok(text.lines().filter_map(user).collect())
}

/// The line of a user, with new credentials of SCRAM.
fn scram_line(user: &str, password: &str, terms: ScramTerms) -> Result<String, EditError> {
    check(user, password.as_bytes())?;
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| EditError::Hash(error.to_string()))?;
    let credentials = Credentials::new(terms, password, salt).ok_or(EditError::NotPrepared)?;
    Ok(format!("{user}:{}", credentials.to_text()))
}

fn check(user: &str, password: &[u8]) -> Result<(), EditError> {
    let is_line = significant(user) == Some(user) && !user.contains([':', '\n', '\r', '\0']);
    if !is_line {
        return Err(EditError::InvalidUser);
    }
    if password.is_empty() { Err(EditError::EmptyPassword) } else { Ok(()) }
}

/// The line of a user, with a new hash of the password.
fn line_of(user: &str, password: &[u8]) -> Result<String, EditError> {
    check(user, password)?;
    let mut salt = [0; SALT_LENGTH];
    getrandom::fill(&mut salt).map_err(|error| EditError::Hash(error.to_string()))?;
    let hash = StoredHash::hash_password(password, &salt).map_err(|error| EditError::Hash(error.to_string()))?;
    Ok(format!("{user}:{hash}"))
}

fn set_line(lines: &mut Vec<String>, user: &str, line: String) -> Result<(), Unchanged> {
    let has_credentials = |line: &str| significant(line).and_then(split_line).map(|(_, hash)| is_credentials(hash));
    let is_new = has_credentials(&line);
    if lines.iter().filter_map(|line| has_credentials(line)).any(|is_old| Some(is_old) != is_new) {
        return Err(Unchanged::OtherForm(if is_new == Some(true) {
            "hashes of passwords"
        } else {
            "SCRAM credentials"
        }));
    }
    match lines.iter_mut().find(|line| is_of(line, user)) {
        Some(old) => *old = line,
        None => lines.push(line),
    }
    Ok(())
}

fn remove_line(lines: &mut Vec<String>, user: &str) -> Result<(), Unchanged> {
    let before = lines.len();
    lines.retain(|line| !is_of(line, user));
    if lines.len() < before { Ok(()) } else { Err(Unchanged::UnknownUser(user.to_owned())) }
}

fn is_of(line: &str, user: &str) -> bool {
    significant(line).and_then(split_line).is_some_and(|(name, _)| name == user)
}

/// Why an edit ended without a change.
enum Unchanged {
    UnknownUser(String),
    OtherForm(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Unchanged {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Changes the lines of the file.
fn edit(
    path: &Path,
    replacement: Replacement,
    edit: impl FnOnce(&mut Vec<String>) -> Result<(), Unchanged>,
) -> Result<(), EditError> {
    let change_text = |text: String| {
        let mut lines = text.lines().map(str::to_owned).collect();
        edit(&mut lines)?;
        Ok(lines.iter().flat_map(|line| [line, "\n"]).collect())
    };
    change(path, (replacement, Readers::Group), change_text).map_err(|unchanged| match unchanged {
        Unchanged::UnknownUser(user) => EditError::UnknownUser(user),
        Unchanged::OtherForm(form) => EditError::OtherForm(form),
        Unchanged::Io(source) => failed(path, source),
    })
}

fn failed(path: &Path, source: io::Error) -> EditError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::NotFound { EditError::Missing(path) } else { EditError::Io { path, source } }
}

/// Salt length in bytes that the Argon2 standard recommends.
const SALT_LENGTH: usize = 16;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

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
    fn a_file_is_not_read_while_another_process_changes_it() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let writer = fs::File::options().write(true).open(&path).unwrap();
        rustix::fs::flock(&writer, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let waiting = std::thread::spawn(move || read_text(&path));
        drop(writer);
        assert_eq!(waiting.join().unwrap().unwrap(), "");
    }

    #[test]
    fn users_are_listed_in_the_order_of_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# staff\nbob:$6$a$b\n\n alice:$6$c$d\n").unwrap();
        assert_eq!(users(file.path()).unwrap(), ["bob", "alice"]);
        set_password_atomically(file.path(), "carol", b"secret").unwrap();
        remove_user_atomically(file.path(), "bob").unwrap();
        assert_eq!(users(file.path()).unwrap(), ["alice", "carol"]);
        assert!(matches!(users(Path::new("/does/not/exist")), Err(EditError::Missing(_))));
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
