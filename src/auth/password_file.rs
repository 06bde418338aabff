//! The password file: one line `USER:HASH` for each user.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::error::{AuthError, PasswordCause, read};
use super::fingerprint::Fingerprint;

/// The users and the hashes of their passwords.
#[derive(Debug)]
pub(super) struct PasswordFile {
    /// Sorted by name.
    users: Vec<(String, StoredHash)>,
    /// Selects the hash that the password of an unknown user is verified against.
    decoys: RandomState,
}

/// A password hash of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum StoredHash {
    /// Argon2id in the PHC format, which names its own parameters.
    Argon2id(String),
    /// mosquitto's `$6$salt$hash`: SHA-512 of the password, then the salt.
    Sha512 { salt: Vec<u8>, hash: Vec<u8> },
    /// mosquitto's `$7$iterations$salt$hash`: PBKDF2 with HMAC-SHA-512.
    Pbkdf2 { iterations: u32, salt: Vec<u8>, hash: Vec<u8> },
    /// mosquitto-go-auth's `PBKDF2$sha256$iterations$salt$hash`; with `sha512` it is [`Pbkdf2`](Self::Pbkdf2).
    Pbkdf2Sha256 { iterations: u32, salt: Vec<u8>, hash: Vec<u8> },
    /// bcrypt: `$2b$cost$salthash`, also as `$2a$` and `$2y$`. It ignores what is after the 72nd byte of a password.
    Bcrypt(String),
}

/// Why a user name and a password are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mismatch {
    UnknownUser,
    WrongPassword,
}

impl PasswordFile {
    /// Reads the file. An invalid line is an error.
    pub(super) fn read(path: &Path) -> Result<Self, AuthError> {
        let text = read(path)?;
        Self::parse(&text).map_err(|(line, cause)| AuthError::Password { path: path.to_owned(), line, cause })
    }

    fn parse(text: &str) -> Result<Self, (usize, PasswordCause)> {
        let mut users: Vec<(String, StoredHash)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let fail = |cause| (index + 1, cause);
            let Some(line) = significant(line) else { continue };
            let (user, hash) = split_line(line).ok_or_else(|| fail(PasswordCause::NoUser))?;
            let hash = StoredHash::parse(hash).map_err(fail)?;
            match users.binary_search_by(|(known, _)| known.as_str().cmp(user)) {
                Ok(_) => return Err(fail(PasswordCause::UserTwice)),
                Err(place) => users.insert(place, (user.to_owned(), hash)),
            }
        }
        Ok(Self { users, decoys: RandomState::new() })
    }

    /// A file without users.
    pub(super) fn empty() -> Self {
        Self { users: Vec::new(), decoys: RandomState::new() }
    }

    /// The fingerprint of the line of `user` under `key`; `None`: the file doesn't have the user.
    pub(super) fn fingerprint(&self, user: &str, key: &RandomState) -> Option<Fingerprint> {
        let place = self.users.binary_search_by(|(known, _)| known.as_str().cmp(user)).ok()?;
        self.users.get(place).map(|(_, hash)| Fingerprint::of(key, hash))
    }

    /// Whether the file has `user`.
    pub(super) fn has_user(&self, user: &str) -> bool {
        self.users.binary_search_by(|(known, _)| known.as_str().cmp(user)).is_ok()
    }

    /// Whether the file has any user.
    pub(super) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// The hash of a user's password.
    pub(super) fn stored(&self, user: &str) -> Option<&StoredHash> {
        let place = self.users.binary_search_by(|(known, _)| known.as_str().cmp(user)).ok()?;
        self.users.get(place).map(|(_, stored)| stored)
    }

    /// Verifies the password of `user`. For an unknown user, it verifies against the hash of another user, always the
    /// same for the same name, and discards the result, so the time doesn't tell whether the user exists.
    pub(super) fn verify(&self, user: &str, password: &[u8]) -> Result<(), Mismatch> {
        let found = self.users.binary_search_by(|(known, _)| known.as_str().cmp(user));
        let place = found.unwrap_or_else(|_| self.decoy(user));
        let verified = self.users.get(place).is_some_and(|(_, hash)| hash.verify(password));
        match (found, verified) {
            (Err(_), _) => Err(Mismatch::UnknownUser),
            (Ok(_), false) => Err(Mismatch::WrongPassword),
            (Ok(_), true) => Ok(()),
        }
    }

    /// Selected among all users, so the cost matches a real user's even if the file has hashes of several formats.
    fn decoy(&self, user: &str) -> usize {
        let users = self.users.len().max(1) as u64;
        usize::try_from(self.decoys.hash_one(user) % users).unwrap_or_default()
    }
}

impl StoredHash {
    /// Hashes a new password with Argon2id, at the parameters OWASP recommends: 19 MiB, 2 passes.
    pub(super) fn hash_password(password: &[u8], salt: &[u8]) -> Result<String, argon2::password_hash::Error> {
        let salt = SaltString::encode_b64(salt)?;
        Ok(Argon2::default().hash_password(password, &salt)?.to_string())
    }

    /// Reads a hash in any of the formats.
    pub(super) fn parse(text: &str) -> Result<Self, PasswordCause> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| PasswordCause::DamagedHash);
        let parts: Vec<&str> = text.split('$').collect();
        let stored = match parts.as_slice() {
            ["", "argon2id", ..] => return parse_argon2id(text),
            ["", "2a" | "2b" | "2y", ..] => return parse_bcrypt(text),
            ["", "6", salt, hash] => Self::Sha512 { salt: decode(salt)?, hash: decode(hash)? },
            ["PBKDF2", "sha256", iterations, salt, hash] => {
                let iterations = iterations.parse().map_err(|_| PasswordCause::DamagedHash)?;
                Self::Pbkdf2Sha256 { iterations, salt: decode(salt)?, hash: decode(hash)? }
            }
            ["", "7", iterations, salt, hash] | ["PBKDF2", "sha512", iterations, salt, hash] => {
                let iterations = iterations.parse().map_err(|_| PasswordCause::DamagedHash)?;
                Self::Pbkdf2 { iterations, salt: decode(salt)?, hash: decode(hash)? }
            }
            ["", "6" | "7", ..] | ["PBKDF2", ..] => return Err(PasswordCause::DamagedHash),
            _ => return Err(PasswordCause::UnknownHash),
        };
        match &stored {
            Self::Pbkdf2 { iterations: 0, .. } | Self::Pbkdf2Sha256 { iterations: 0, .. } => {
                Err(PasswordCause::DamagedHash)
            }
            Self::Pbkdf2 { iterations, .. } | Self::Pbkdf2Sha256 { iterations, .. } if *iterations > ITERATIONS_MAX => {
                Err(PasswordCause::TooCostly)
            }
            Self::Pbkdf2Sha256 { hash, .. } if hash.len() != SHA256_LENGTH => Err(PasswordCause::DamagedHash),
            Self::Sha512 { hash, .. } | Self::Pbkdf2 { hash, .. } if hash.len() != SHA512_LENGTH => {
                Err(PasswordCause::DamagedHash)
            }
            Self::Argon2id(_)
            | Self::Sha512 { .. }
            | Self::Pbkdf2 { .. }
            | Self::Pbkdf2Sha256 { .. }
            | Self::Bcrypt(_) => Ok(stored),
        }
    }

    /// Whether it is the hash of this password. Takes milliseconds or more, and megabytes of memory.
    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            // The crate compares in constant time.
            Self::Argon2id(text) => {
                PasswordHash::new(text).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
            }
            Self::Sha512 { salt, hash } => {
                let computed = Sha512::new().chain_update(password).chain_update(salt).finalize();
                computed.as_slice().ct_eq(hash).into()
            }
            Self::Pbkdf2 { iterations, salt, hash } => {
                let mut computed = [0; SHA512_LENGTH];
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, *iterations, &mut computed);
                computed.as_slice().ct_eq(hash).into()
            }
            Self::Pbkdf2Sha256 { iterations, salt, hash } => {
                let mut computed = [0; SHA256_LENGTH];
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, *iterations, &mut computed);
                computed.as_slice().ct_eq(hash).into()
            }
            // The crate compares in constant time.
            Self::Bcrypt(text) => bcrypt::verify(password, text).is_ok_and(|is_same| is_same),
        }
    }
}

/// Whether a password file can have the text as a hash.
pub fn is_password_hash(text: &str) -> bool {
    StoredHash::parse(text).is_ok()
}

/// The line without surrounding white space; `None` if it is empty or a comment.
pub(super) fn significant(line: &str) -> Option<&str> {
    let line = line.trim();
    (!line.is_empty() && !line.starts_with('#')).then_some(line)
}

/// The user and the hash of a line.
pub(super) fn split_line(line: &str) -> Option<(&str, &str)> {
    line.split_once(':').filter(|(user, _)| !user.is_empty())
}

fn parse_argon2id(text: &str) -> Result<StoredHash, PasswordCause> {
    let hash = PasswordHash::new(text).map_err(|_| PasswordCause::DamagedHash)?;
    // The conversion below multiplies the number of lanes without a check, and the last one counts.
    let mut lanes = hash.params.iter().filter(|(name, _)| name.as_str() == "p");
    if lanes.any(|(_, lanes)| lanes.decimal().is_ok_and(|lanes| lanes > Params::MAX_P_COST)) {
        return Err(PasswordCause::DamagedHash);
    }
    let params = Params::try_from(&hash).map_err(|_| PasswordCause::DamagedHash)?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(PasswordCause::DamagedHash);
    }
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    if params.m_cost() > ARGON2_KIB_MAX || work > ARGON2_WORK_MAX {
        return Err(PasswordCause::TooCostly);
    }
    Ok(StoredHash::Argon2id(text.to_owned()))
}

fn parse_bcrypt(text: &str) -> Result<StoredHash, PasswordCause> {
    let parts: HashParts = text.parse().map_err(|_| PasswordCause::DamagedHash)?;
    match parts.get_cost() {
        BCRYPT_COST_MIN..=BCRYPT_COST_MAX => Ok(StoredHash::Bcrypt(text.to_owned())),
        0..BCRYPT_COST_MIN => Err(PasswordCause::DamagedHash),
        _ => Err(PasswordCause::TooCostly),
    }
}

/// Length of a SHA-256 hash in bytes.
const SHA256_LENGTH: usize = 32;

/// Length of a SHA-512 hash in bytes.
const SHA512_LENGTH: usize = 64;

/// Iterations of PBKDF2: more would take more than a second for one CONNECT, which an attacker could exploit.
const ITERATIONS_MAX: u32 = 10_000_000;

/// What bcrypt is defined for.
const BCRYPT_COST_MIN: u32 = 4;

/// Cost of bcrypt, which is the binary logarithm of its rounds: one verification takes a few seconds.
const BCRYPT_COST_MAX: u32 = 15;

/// Memory for one verification, in KiB: 1 GiB.
const ARGON2_KIB_MAX: u32 = 1 << 20;

/// KiB of memory that one verification may write in all its passes: 4 GiB, which take seconds.
const ARGON2_WORK_MAX: u64 = 1 << 22;

#[cfg(test)]
mod tests;
