use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::caller::Role;
use super::token_file::{TokenFile, bytes_of, hash};
use crate::server::log_line;

/// The tokens that a running broker honours. A changed file is read again at the next request with a token.
#[derive(Debug)]
pub(super) struct Tokens {
    file: TokenFile,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    tokens: Arc<[Known]>,
    /// That of the file that was read last; `None`: no file was there, or none was looked for.
    stamp: Option<Stamp>,
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    role: Role,
    hash: [u8; 32],
}

/// Tells one version of the file from another: each is a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Tokens {
    /// The tokens in a data directory.
    pub(super) fn new(data: &Path) -> Self {
        let tokens = Self { file: TokenFile::new(data), current: Mutex::default() };
        tokens.current();
        tokens
    }

    /// Name and role of a token; `None`: there is no such one. The time that it takes says nothing about the tokens that there are.
    pub(super) fn verify(&self, secret: &str) -> Option<(Arc<str>, Role)> {
        let (tokens, presented) = (self.current(), hash(secret));
        // The place behind all stands for none.
        let mut found = tokens.len() as u64;
        for (place, token) in (0_u64..).zip(tokens.iter()) {
            let is_it: Choice = token.hash.ct_eq(&presented);
            found = u64::conditional_select(&found, &place, is_it);
        }
        let token = tokens.get(usize::try_from(found).ok()?)?;
        Some((Arc::clone(&token.name), token.role))
    }

    /// The tokens of the file as it is. One that can't be read leaves those of the last one that could.
    fn current(&self) -> Arc<[Known]> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = match fs::metadata(self.file.path()) {
            Ok(metadata) => Some(Stamp::of(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Without permission to look, nothing has changed.
            Err(_) => current.stamp,
        };
        if stamp != current.stamp {
            // A file that is replaced meanwhile has another stamp at the next request.
            current.stamp = stamp;
            match self.file.list() {
                Ok(tokens) => {
                    let known = tokens.into_iter().filter_map(|token| {
                        let (name, role, hash) = (token.name.into(), token.role, bytes_of(&token.sha256)?);
                        Some(Known { name, role, hash })
                    });
                    current.tokens = known.collect();
                    let count = current.tokens.len();
                    log_line!(FilesReloaded { files = "tokens" }, "read the file of the tokens: {count}");
                }
                Err(error) => {
                    let (reason, count) = (error.to_string(), current.tokens.len());
                    log_line!(
                        ReloadFailed { files = "tokens", reason = &*reason },
                        "kept the previous {count} tokens of the API: {reason}"
                    );
                }
            }
        }
        Arc::clone(&current.tokens)
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_the_file_are_seen_at_once_and_damage_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (file, tokens) = (TokenFile::new(directory.path()), Tokens::new(directory.path()));
        assert_eq!(tokens.verify(""), None);
        let secrets: Vec<String> = Role::ALL.map(|role| file.create(role.name(), role).unwrap()).into();
        for (secret, role) in secrets.iter().zip(Role::ALL) {
            assert_eq!(tokens.verify(secret), Some((role.name().into(), role)));
            assert_eq!(tokens.verify(&format!("{secret} ")), None);
            assert_eq!(tokens.verify(&secret[..secret.len() - 1]), None);
        }
        file.revoke("operator").unwrap();
        assert_eq!(tokens.verify(&secrets[1]), None);
        let whole = fs::read(file.path()).unwrap();
        fs::write(file.path(), "{").unwrap();
        assert!(tokens.verify(&secrets[0]).is_some() && tokens.verify(&secrets[1]).is_none());
        fs::write(file.path(), whole).unwrap();
        assert!(tokens.verify(&secrets[0]).is_some());
        fs::remove_file(file.path()).unwrap();
        assert_eq!(tokens.verify(&secrets[0]), None);
    }
}
