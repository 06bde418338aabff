//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677) by enhanced authentication: the client proves that it knows the password without sending
//! it, and the broker proves that it knows what was made of the password.
//!
//! ```text
//! CONNECT  client-first   n,,n=user,r=NONCE
//! AUTH     server-first   r=NONCE+NONCE,s=SALT,i=ITERATIONS
//! AUTH     client-final   c=biws,r=NONCE+NONCE,p=PROOF
//! CONNACK  server-final   v=SIGNATURE
//! ```
//!
//! The same at a re-authentication, which begins with AUTH 0x19 and ends with AUTH 0x00. The broker needs no password and does no costly work: the
//! iterations are the client's. The contents of the credentials file at the last step decide; an exchange remembers no credentials.
//!
//! A [`ScramProvider`] abstains for users that its file doesn't have. After all providers, a [`ScramDecoy`] answers for everybody else as if it knew
//! them, with a salt that is always the same for the same name, and refuses them at the last step. So nobody learns which users there are.

mod decoy;
mod file;
mod mechanism;
mod message;
mod step;

use std::hash::RandomState;
use std::sync::Arc;

use bytestring::ByteString;

use super::fingerprint::Fingerprint;
use super::provider::{Decision, Provider, Request, Verdict};
use super::rules::Rules;
pub(super) use decoy::{DecoySecret, ScramDecoy};
pub(super) use file::{Credentials, SALT_BYTES, ScramFile, is_credentials};
pub use file::{ScramHash, ScramTerms};
use mechanism::Mechanism;
use message::ClientFirst;
pub(super) use message::prepared;
use step::{challenge, finish, refused};

/// Verifies the users of a credentials file.
#[derive(Debug)]
pub(super) struct ScramProvider {
    name: ByteString,
    file: Arc<ScramFile>,
    key: RandomState,
    rules: Arc<Rules>,
    secret: Arc<DecoySecret>,
}

impl ScramProvider {
    /// `key` is that of the [`Fingerprint`]s.
    pub(super) fn new(
        name: ByteString,
        file: Arc<ScramFile>,
        (key, secret): (RandomState, Arc<DecoySecret>),
        rules: Arc<Rules>,
    ) -> Self {
        Self { name, file, key, rules, secret }
    }

    /// Whether the file has this user.
    pub(super) fn has_user(&self, user: &str) -> bool {
        self.file.credentials(user).is_some()
    }

    /// The fingerprint of the line of a user; `None`: the file doesn't have it.
    pub(super) fn fingerprint(&self, user: &str) -> Option<Fingerprint> {
        self.file.credentials(user).map(|credentials| Fingerprint::of(&self.key, credentials))
    }

    fn accept(&self, request: &Request, user: &str, server_final: String) -> Verdict {
        let access = self.rules.access(&request.client_id, Some(user));
        let decision = Decision::verified(self.name.clone(), user.into(), access);
        let authentication_data = Some(server_final.into());
        Verdict::Accept(Decision { proof: self.fingerprint(user), authentication_data, ..decision })
    }
}

impl Provider for ScramProvider {
    fn authenticate(&self, request: &Request) -> Option<Verdict> {
        let mechanism = Mechanism::of(request.method.as_deref()?)?;
        let of_mechanism = |user: &str| self.file.credentials(user).filter(|stored| stored.mechanism == mechanism);
        let data = request.data.as_deref().unwrap_or_default();
        if let Some(exchange) = &request.exchange {
            let exchange = exchange.as_scram();
            let stored = of_mechanism(&exchange.user)?;
            return Some(match finish(stored, exchange, data) {
                Ok(server_final) => self.accept(request, &exchange.user, server_final),
                Err(fault) => refused(&fault, Some(&exchange.user)),
            });
        }
        // What is malformed, the decoy refuses, as it does for users that the file doesn't have.
        let first = ClientFirst::parse(data).ok()?;
        let stored = of_mechanism(&first.user)?;
        // The decoy computes it for others, which takes a moment.
        std::hint::black_box(self.secret.salt(&first.user));
        Some(challenge(stored, first, request))
    }
}

#[cfg(test)]
mod tests;
