use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::topic::InvalidTopic;

/// Why a password or ACL file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file can't be written.
    #[error("cannot change {}: {source}", path.display())]
    Unwritable {
        /// Path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A line of the password file is invalid.
    #[error("{}:{line}: {cause}", path.display())]
    Password {
        /// Path of the file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is invalid.
        cause: PasswordCause,
    },
    /// A line of the file of SCRAM credentials is invalid.
    #[error("{}:{line}: {cause}", path.display())]
    Scram {
        /// Path of the file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is invalid.
        cause: ScramCause,
    },
    /// The key of a provider of tokens can't be used.
    #[error("{}: {cause}", path.display())]
    Key {
        /// Path of the file.
        path: PathBuf,
        /// Why it can't be used.
        cause: KeyCause,
    },
    /// The service of a provider can't be asked with these settings.
    #[error("auth {provider}: {cause}")]
    Service {
        /// The name of the provider.
        provider: String,
        /// Why it can't be asked.
        cause: String,
    },
    /// A line of the ACL file is invalid.
    #[error("{}:{line}: {cause}", path.display())]
    Acl {
        /// Path of the file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is invalid.
        cause: AclCause,
    },
}

/// Why a line of the password file is invalid. No text contains a part of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordCause {
    /// There is no colon, or no user name before it.
    #[error("a line must be USER:HASH")]
    NoUser,
    /// An earlier line has the same user.
    #[error("an earlier line has the same user")]
    UserTwice,
    /// The hash has no known format; it may be a password in plain text.
    #[error(
        "the password must be hashed: $argon2id$, mosquitto's $6$ or $7$, bcrypt, or PBKDF2$sha512$ (set it with oncemq passwd)"
    )]
    UnknownHash,
    /// The hash has a known format but is damaged.
    #[error("the hash is damaged: it is cut short or altered")]
    DamagedHash,
    /// Verification would take more memory or time than a connection may use.
    #[error("the hash is too costly: more than 1 GiB of memory (4 GiB in all passes), or more than 10,000,000 rounds")]
    TooCostly,
}

/// Why a line of the file of SCRAM credentials is invalid. No text contains a part of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramCause {
    /// There is no colon, or no user name before it.
    #[error("a line must be USER:SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY")]
    NoUser,
    /// An earlier line has the same user.
    #[error("an earlier line has the same user")]
    UserTwice,
    /// The user name has another form than that in which it arrives.
    #[error("the user name is not in the form of SASLprep (RFC 4013)")]
    UserName,
    /// It is no SCRAM, or of another hash function.
    #[error("the credentials must be those of SCRAM-SHA-256 or SCRAM-SHA-512 (set them with oncemq passwd --scram)")]
    UnknownHash,
    /// The number of iterations is too small or too large.
    #[error("the iterations must be 4,096 to 10,000,000")]
    Iterations,
    /// The credentials are cut short or altered.
    #[error("the credentials are damaged: they are cut short or altered")]
    Damaged,
}

/// Why the key of a provider of tokens can't be used. No text contains a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyCause {
    /// The secret has no bytes.
    #[error("the secret is empty")]
    Empty,
    /// The file is larger than a key can be.
    #[error("it has more than 64 KiB, so it is no key")]
    TooLarge,
    /// The file has a private key. Only the issuer of the tokens needs it.
    #[error("it has a private key: the broker needs the public key (openssl pkey -in FILE -pubout)")]
    Private,
    /// There is no public key.
    #[error(
        "it has no public key in PEM (-----BEGIN PUBLIC KEY-----; of a certificate: openssl x509 -in FILE -noout -pubkey)"
    )]
    NoPublicKey,
    /// The size of an RSA key.
    #[error("it has an RSA key of {0} bits: it must have 2,048 to 8,192")]
    RsaSize(usize),
    /// The key is of another elliptic curve.
    #[error("it has a key of another curve than P-256, which ES256 needs")]
    Curve,
    /// The key is of another kind.
    #[error("it has a key of an unknown kind: it must be one of RSA, P-256 or Ed25519")]
    KeyType,
    /// The configuration names an algorithm that is not for this key.
    #[error("it has a key for {key}, and algorithms has {algorithm}")]
    OtherAlgorithm {
        /// The algorithm of the key.
        key: &'static str,
        /// The algorithm of the configuration.
        algorithm: &'static str,
    },
}

/// Why a line of the ACL file is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclCause {
    /// The line begins with an unknown keyword.
    #[error("unknown keyword `{0}`: a line must begin with user, group, member, superuser, topic or pattern")]
    UnknownKeyword(String),
    /// `user` without a name.
    #[error("user needs a name")]
    NoUser,
    /// `group` without a name.
    #[error("group needs a name")]
    NoGroup,
    /// `member` without a name.
    #[error("member needs the name of a user")]
    NoMember,
    /// `member` in another section.
    #[error("member must stand in the section of a group, after its group line")]
    OutsideGroup,
    /// `superuser` before the first section.
    #[error("superuser must stand in the section of a user or a group: an anonymous client can't be one")]
    AnonymousSuperuser,
    /// A text after `superuser`.
    #[error("superuser stands alone, and here `{0}` follows: it is about the user or the group of its section")]
    AfterSuperuser(String),
    /// A placeholder that is not filled in.
    #[error("topic takes %c and %u as they stand: use pattern, which is for the members of the group here")]
    Placeholder,
    /// A user with more groups than can be.
    #[error("the user {0:?} is a member of more than 256 groups")]
    TooManyGroups(String),
    /// A client with more rules than can be.
    #[error("{0} would have more than 4,096 rules, with those of all groups and patterns")]
    TooManyRules(String),
    /// `topic` or `pattern` without a filter.
    #[error("a rule needs a topic filter")]
    NoFilter,
    /// The word before the filter is unknown.
    #[error("unknown access `{0}`: it must be read, write, readwrite, deny, deny-read or deny-write")]
    UnknownAccess(String),
    /// The filter isn't valid.
    #[error("`{filter}` is not a valid topic filter: {source}")]
    InvalidFilter {
        /// The filter.
        filter: String,
        /// Why it isn't valid.
        source: InvalidTopic,
    },
}

/// Reads the whole file as text, without a byte order mark. Waits a little while `oncemq passwd` writes the file in place.
pub(super) fn read(path: &Path) -> Result<String, AuthError> {
    read_text(path).map_err(|source| AuthError::Unreadable { path: path.to_owned(), source })
}

/// The same with the error of the operating system.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    lock(&file, FlockOperation::NonBlockingLockShared)?;
    read_open(&mut file)
}

/// The same of an open file.
pub(super) fn read_open(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(text("it is UTF-16 text: save it as UTF-8"));
    }
    let read = String::from_utf8(bytes).map_err(|_| text("it is not UTF-8 text"))?;
    Ok(read.strip_prefix(BYTE_ORDER_MARK).map(str::to_owned).unwrap_or(read))
}

/// Locks a file of passwords or rules against changes in place, until it is closed. Waits for two seconds at most. A file
/// system without locks is no error.
pub(super) fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    for _ in 0..LOCK_ATTEMPTS_MAX {
        match flock(file, operation) {
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_PAUSE),
            _ => return Ok(()),
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "another process is changing it"))
}

/// UTF-8 text of some editors begins with it.
const BYTE_ORDER_MARK: char = '\u{FEFF}';

/// With [`LOCK_PAUSE`], two seconds.
const LOCK_ATTEMPTS_MAX: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
