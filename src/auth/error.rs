use std::io;
use std::path::{Path, PathBuf};

use crate::topic::InvalidTopic;

/// Why a password or ACL file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// It can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A line of the password file is wrong.
    #[error("{}:{line}: {cause}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: PasswordCause,
    },
    /// A line of the ACL file is wrong.
    #[error("{}:{line}: {cause}", path.display())]
    Acl {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: AclCause,
    },
}

/// What is wrong with a line of the password file. No text shows any of the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordCause {
    /// There is no colon, or no user name before it.
    #[error("a line must be USER:HASH")]
    NoUser,
    /// The user has a line already.
    #[error("the user has a line above already")]
    UserTwice,
    /// The hash is of no known kind: a password in plain text, perhaps.
    #[error("the password must be hashed: $argon2id$, or mosquitto's $6$ or $7$ (set it with oncemq passwd)")]
    UnknownHash,
    /// The hash is of a known kind but damaged.
    #[error("the hash is damaged: it is cut short or altered")]
    DamagedHash,
    /// Verifying it would take more memory or time than a connection is worth.
    #[error("the hash is too costly: more than 1 GiB of memory, or more than 10,000,000 rounds")]
    TooCostly,
}

/// What is wrong with a line of the ACL file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclCause {
    /// The first word is none of ours.
    #[error("`{0}` begins no rule: a line must begin with user, topic or pattern")]
    UnknownKeyword(String),
    /// `user` without a name.
    #[error("user needs a name")]
    NoUser,
    /// `topic` or `pattern` without a filter.
    #[error("a rule needs a topic filter")]
    NoFilter,
    /// The word before the filter is none of ours.
    #[error("`{0}` is no access: it must be read, write, readwrite or deny")]
    UnknownAccess(String),
    /// The filter isn't valid.
    #[error("`{filter}` is no topic filter: {source}")]
    InvalidFilter {
        /// The filter.
        filter: String,
        /// Why not.
        source: InvalidTopic,
    },
}

/// The whole file as text.
pub(super) fn read(path: &Path) -> Result<String, AuthError> {
    std::fs::read_to_string(path).map_err(|source| AuthError::Unreadable { path: path.to_owned(), source })
}
