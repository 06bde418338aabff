//! The file `tokens` in the data directory: the names, roles and hashes of the bearer tokens.
//!
//! A token is 32 random bytes, shown once. The file has its SHA-256 alone. A slow hash as for passwords would add nothing: those are guessed,
//! and nobody guesses 256 random bits.
//!
//! The file is replaced as a whole, so that a crash leaves the old one or the new one, and by one process at a time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::time::rfc_3339;
use crate::config::Role;
use crate::server::wall_time;

/// The tokens of a broker, as they are in its data directory. It need not run.
#[derive(Debug, Clone)]
pub struct TokenFile {
    directory: PathBuf,
}

/// A token as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its name, by which it is revoked and which the audit log has.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was created: RFC 3339, UTC.
    pub created: String,
    /// The SHA-256 of the token, in hexadecimal digits.
    pub(super) sha256: String,
}

/// Why the file of the tokens can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A name that no token may have.
    #[error(
        "a token's name has from 1 to {NAME_MAX} letters, digits, dots, hyphens and underscores, and is not \"local\""
    )]
    Name,
    /// There is one with this name.
    #[error("there is a token {0:?} already: revoke it first, or take another name")]
    Exists(String),
    /// There is none with this name.
    #[error("there is no token {0:?}")]
    Unknown(String),
    /// The file has as many as it may.
    #[error("there are {TOKENS_MAX} tokens, the maximum: revoke one")]
    Full,
    /// The file is there, and is not what it should be.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another process changes the file.
    #[error("another process changes the tokens: try again")]
    Busy,
    /// There is no data directory.
    #[error("there is no data directory {}: start the broker once, or say --data", .0.display())]
    NoDirectory(PathBuf),
    /// The operating system has an error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    tokens: Vec<Token>,
}

impl TokenFile {
    /// The tokens in this data directory.
    pub fn new(data: &Path) -> Self {
        Self { directory: data.to_owned() }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    /// All tokens; none if there is no file.
    ///
    /// # Errors
    /// The file can't be read, or is damaged.
    pub fn list(&self) -> Result<Vec<Token>, TokenError> {
        let path = self.path();
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => parse(&bytes).map_err(|problem| TokenError::Damaged { path, problem }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(TokenError::Io { path, source }),
        }
    }

    /// Creates a token and returns it. It is nowhere else. The file has it when this returns.
    ///
    /// # Errors
    /// The name can't be used, or the file can't be changed.
    pub fn create(&self, name: &str, role: Role) -> Result<String, TokenError> {
        if !is_name(name) {
            return Err(TokenError::Name);
        }
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret).map_err(|error| self.error(io::Error::other(error)))?;
        let secret = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
        let token =
            Token { name: name.to_owned(), role, created: rfc_3339(wall_time()), sha256: hexadecimal(&hash(&secret)) };
        self.change(|tokens| {
            if tokens.iter().any(|token| token.name == name) {
                return Err(TokenError::Exists(name.to_owned()));
            }
            if tokens.len() >= TOKENS_MAX {
                return Err(TokenError::Full);
            }
            tokens.push(token);
            Ok(())
        })?;
        Ok(secret)
    }

    /// Removes a token. A running broker refuses it from its next request on.
    ///
    /// # Errors
    /// There is none with this name, or the file can't be changed.
    pub fn revoke(&self, name: &str) -> Result<(), TokenError> {
        self.change(|tokens| {
            let place = tokens.iter().position(|token| token.name == name);
            let place = place.ok_or_else(|| TokenError::Unknown(name.to_owned()))?;
            tokens.remove(place);
            Ok(())
        })
    }

    /// Reads, changes and replaces the file, while no other process does.
    fn change(&self, edit: impl FnOnce(&mut Vec<Token>) -> Result<(), TokenError>) -> Result<(), TokenError> {
        let directory = match File::open(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TokenError::NoDirectory(self.directory.clone()));
            }
            opened => opened.map_err(|error| self.error(error))?,
        };
        self.lock(&directory)?;
        let mut tokens = self.list()?;
        edit(&mut tokens)?;
        // The lock ends when `directory` is closed.
        self.replace(&directory, tokens).map_err(|error| self.error(error))
    }

    fn lock(&self, directory: &File) -> Result<(), TokenError> {
        for _ in 0..LOCK_ATTEMPTS {
            match directory.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(self.error(error)),
            }
        }
        Err(TokenError::Busy)
    }

    fn replace(&self, directory: &File, tokens: Vec<Token>) -> io::Result<()> {
        let (path, incomplete) = (self.path(), self.directory.join(INCOMPLETE));
        // What a crash has left.
        match fs::remove_file(&incomplete) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&incomplete)?;
        // The broker must be able to read what root has written.
        let (owner, own) = (directory.metadata()?, file.metadata()?);
        if owner.uid() != own.uid() {
            chown(&incomplete, Some(owner.uid()), Some(owner.gid()))?;
        }
        let mut text = serde_json::to_string_pretty(&Contents { version: VERSION, tokens })?;
        text.push('\n');
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&incomplete, &path)?;
        directory.sync_all()
    }

    fn error(&self, source: io::Error) -> TokenError {
        TokenError::Io { path: self.directory.clone(), source }
    }
}

/// The tokens in the bytes of the file, or what is wrong with them.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Token>, String> {
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("it has more than {BYTES_MAX} bytes"));
    }
    let Contents { version, tokens } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!("it has the version {version}, and this broker reads {VERSION}"));
    }
    if tokens.len() > TOKENS_MAX {
        return Err(format!("it has more than {TOKENS_MAX} tokens"));
    }
    for (place, token) in tokens.iter().enumerate() {
        if !is_name(&token.name) || tokens.iter().take(place).any(|other| other.name == token.name) {
            return Err(format!("the name {:?} can't be used, or is there twice", token.name));
        }
        if bytes_of(&token.sha256).is_none() {
            return Err(format!("the hash of {:?} is not one", token.name));
        }
    }
    Ok(tokens)
}

fn is_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_of_name) && name != "local"
}

/// What is kept of a token.
pub(super) fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn hexadecimal(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash that hexadecimal digits say.
pub(super) fn bytes_of(digits: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(hash)
}

const NAME: &str = "tokens";
const INCOMPLETE: &str = "tokens.new";
const VERSION: u32 = 1;
const OWNER_ONLY: u32 = 0o600;
const SECRET_BYTES: usize = 32;
/// Tells people and scanners for secrets what a text is.
const PREFIX: &str = "oncemq_";
/// Characters of a name.
const NAME_MAX: usize = 64;
/// Each request with a token looks at all.
const TOKENS_MAX: usize = 1_000;
/// More than the greatest number of tokens needs.
const BYTES_MAX: u64 = 1_024 * 1_024;
/// The others need milliseconds, unless the disk is slow.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_kept_as_its_hash_in_a_file_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile::new(directory.path());
        assert_eq!(file.list().unwrap(), []);
        let secret = file.create("ci", Role::Operator).unwrap();
        assert!(secret.starts_with("oncemq_") && secret.len() == 7 + 43, "{secret}");
        let other = file.create("other", Role::Viewer).unwrap();
        assert_ne!(secret, other);
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(!text.contains(&secret) && !text.contains(&secret[7..]), "{text}");
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let tokens = file.list().unwrap();
        assert_eq!((tokens[0].name.as_str(), tokens[0].role), ("ci", Role::Operator));
        assert_eq!(bytes_of(&tokens[0].sha256), Some(hash(&secret)));
        assert!(matches!(file.create("ci", Role::Admin), Err(TokenError::Exists(_))));
        file.revoke("ci").unwrap();
        assert!(matches!(file.revoke("ci"), Err(TokenError::Unknown(_))));
        assert_eq!(file.list().unwrap().len(), 1);
        for name in ["", "a b", "local", "a/b", "é", &"x".repeat(65)] {
            assert!(matches!(file.create(name, Role::Viewer), Err(TokenError::Name)), "{name}");
        }
    }

    #[test]
    fn the_number_of_tokens_is_bounded_and_nothing_is_lost_when_several_are_created_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile::new(directory.path());
        let token = |name: String| Token { name, role: Role::Viewer, created: String::new(), sha256: "0".repeat(64) };
        let few: Vec<Token> = (0..TOKENS_MAX - 5).map(|number| token(format!("t{number}"))).collect();
        file.change(|tokens| {
            *tokens = few;
            Ok(())
        })
        .unwrap();
        let threads: Vec<_> = (0..5)
            .map(|number| {
                let file = file.clone();
                thread::spawn(move || file.create(&format!("n{number}"), Role::Viewer).map(drop))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        assert_eq!(file.list().unwrap().len(), TOKENS_MAX);
        assert!(matches!(file.create("more", Role::Viewer), Err(TokenError::Full)));
        assert!(fs::metadata(file.path()).unwrap().len() < BYTES_MAX / 2);
    }

    #[test]
    fn what_a_crash_left_does_not_matter_and_a_damaged_file_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = TokenFile::new(directory.path());
        fs::write(directory.path().join(INCOMPLETE), "{").unwrap();
        file.create("a", Role::Viewer).unwrap();
        assert!(!directory.path().join(INCOMPLETE).exists());
        let whole = fs::read(file.path()).unwrap();
        for end in 0..whole.len() - 1 {
            assert!(parse(&whole[..end]).is_err(), "{end}");
        }
        fs::write(file.path(), &whole[..whole.len() / 2]).unwrap();
        assert!(matches!(file.create("b", Role::Viewer), Err(TokenError::Damaged { .. })));
        assert_eq!(fs::read(file.path()).unwrap(), &whole[..whole.len() / 2]);
        let text = String::from_utf8(whole).unwrap();
        for (from, to) in [("\"version\": 1", "\"version\": 2"), ("\"a\"", "\"local\""), ("\"viewer\"", "\"root\"")] {
            assert!(parse(text.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        let missing = TokenFile::new(&directory.path().join("missing"));
        assert!(matches!(missing.create("a", Role::Viewer), Err(TokenError::NoDirectory(_))));
    }
}
