//! The credentials file: one line `USER:SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY` for each user, as PostgreSQL writes it in `pg_authid`.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::mechanism::Mechanism;
use super::message::prepared;
use crate::auth::error::{AuthError, ScramCause, read};
use crate::auth::password_file::{significant, split_line};

/// The users and what verifies their proofs.
#[derive(Debug, Default)]
pub(in crate::auth) struct ScramFile {
    /// Sorted by name.
    users: Vec<(Box<str>, Credentials)>,
}

/// What verifies the proof of a user. It does not suffice to be accepted as this user; but who has it can try passwords, and can pretend to be the
/// broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::auth) struct Credentials {
    pub(super) mechanism: Mechanism,
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: Vec<u8>,
    pub(super) server_key: Vec<u8>,
}

/// The hash function of new credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramHash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// How new credentials of SCRAM are made.
#[derive(Debug, Clone, Copy)]
pub struct ScramTerms {
    /// Their hash function.
    pub hash: ScramHash,
    /// How often a client hashes at each login: 4,096 to 10,000,000.
    pub iterations: u32,
}

impl ScramFile {
    /// Reads the file. An invalid line is an error.
    pub(in crate::auth) fn read(path: &Path) -> Result<Self, AuthError> {
        let text = read(path)?;
        Self::parse(&text).map_err(|(line, cause)| AuthError::Scram { path: path.to_owned(), line, cause })
    }

    pub(super) fn parse(text: &str) -> Result<Self, (usize, ScramCause)> {
        let mut lines: Vec<(Box<str>, usize, Credentials)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let fail = |cause| (number, cause);
            let Some(line) = significant(line) else { continue };
            let (user, credentials) = split_line(line).ok_or_else(|| fail(ScramCause::NoUser))?;
            if prepared(user).is_none_or(|name| name != user) {
                return Err(fail(ScramCause::UserName));
            }
            lines.push((Box::from(user), number, Credentials::parse(credentials).map_err(fail)?));
        }
        lines.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let twice = lines.windows(2).filter_map(|pair| match pair {
            [(one, ..), (other, number, _)] if one == other => Some(*number),
            _ => None,
        });
        if let Some(line) = twice.min() {
            return Err((line, ScramCause::UserTwice));
        }
        Ok(Self { users: lines.into_iter().map(|(user, _, credentials)| (user, credentials)).collect() })
    }

    /// What verifies the proof of this user; `None`: the file doesn't have it.
    pub(super) fn credentials(&self, user: &str) -> Option<&Credentials> {
        let place = self.users.binary_search_by(|(known, _)| (**known).cmp(user)).ok()?;
        self.at(place)
    }

    /// The credentials at this place.
    pub(super) fn at(&self, place: usize) -> Option<&Credentials> {
        self.users.get(place).map(|(_, credentials)| credentials)
    }

    /// The number of users.
    pub(in crate::auth) const fn len(&self) -> usize {
        self.users.len()
    }
}

impl Credentials {
    /// Those of a new password, with a random salt. `None`: SASLprep does not allow it.
    pub(in crate::auth) fn new(terms: ScramTerms, password: &str, salt: [u8; SALT_BYTES]) -> Option<Self> {
        let iterations = terms.iterations;
        let mechanism = match terms.hash {
            ScramHash::Sha256 => Mechanism::Sha256,
            ScramHash::Sha512 => Mechanism::Sha512,
        };
        let salted = mechanism.salted_password(prepared(password)?.as_bytes(), &salt, iterations);
        let stored_key = mechanism.hash(&mechanism.hmac(&salted, &[b"Client Key"]));
        let server_key = mechanism.hmac(&salted, &[b"Server Key"]);
        Some(Self { mechanism, iterations, salt: salt.to_vec(), stored_key, server_key })
    }

    /// The text of them in the file.
    pub(in crate::auth) fn to_text(&self) -> String {
        let [salt, stored_key, server_key] =
            [&self.salt, &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        format!("{}${}:{salt}${stored_key}:{server_key}", self.mechanism.name(), self.iterations)
    }

    fn parse(text: &str) -> Result<Self, ScramCause> {
        let mut parts = text.split('$');
        let (name, rest) = (parts.next().unwrap_or_default(), (parts.next(), parts.next(), parts.next()));
        let mechanism = Mechanism::of(name).ok_or(ScramCause::UnknownHash)?;
        let (Some(work), Some(keys), None) = rest else { return Err(ScramCause::Damaged) };
        let (iterations, salt) = work.split_once(':').ok_or(ScramCause::Damaged)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(ScramCause::Damaged)?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| ScramCause::Damaged);
        let key = |text| decode(text).and_then(|key| sized(key, mechanism.bytes()..=mechanism.bytes()));
        let iterations: u32 = iterations.parse().map_err(|_| ScramCause::Damaged)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(ScramCause::Iterations);
        }
        let salt = sized(decode(salt)?, SALT_BYTES_MIN..=SALT_BYTES_MAX)?;
        Ok(Self { mechanism, iterations, salt, stored_key: key(stored_key)?, server_key: key(server_key)? })
    }
}

/// Whether the text after the user of a line is that of credentials, valid or not.
pub(in crate::auth) fn is_credentials(text: &str) -> bool {
    text.starts_with("SCRAM-")
}

fn sized(bytes: Vec<u8>, allowed: std::ops::RangeInclusive<usize>) -> Result<Vec<u8>, ScramCause> {
    if allowed.contains(&bytes.len()) { Ok(bytes) } else { Err(ScramCause::Damaged) }
}

/// The length of new salts.
pub(in crate::auth) const SALT_BYTES: usize = 16;
/// Salts that are shorter repeat.
const SALT_BYTES_MIN: usize = 8;
const SALT_BYTES_MAX: usize = 64;
/// The fewest that RFC 7677 allows, and what small devices can do in a second.
pub(super) const ITERATIONS_DEFAULT: u32 = 4_096;
/// RFC 7677, section 4. Clients refuse fewer.
const ITERATIONS_MIN: u32 = 4_096;
/// More would keep a client busy for seconds. Clients refuse more.
const ITERATIONS_MAX: u32 = 10_000_000;
