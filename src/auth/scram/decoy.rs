use std::sync::Arc;

use pbkdf2::hmac::{Hmac, Mac};
use sha2::Sha512;

use super::file::{Credentials, ITERATIONS_DEFAULT, SALT_BYTES, ScramFile};
use super::mechanism::Mechanism;
use super::message::{ClientFirst, Fault};
use super::step::{challenge, finish, refused};
use crate::auth::provider::{Provider, Request, Verdict};

/// Answers as the last SCRAM provider of a chain: refuses malformed messages, and users that no file has, at the step at which a wrong password is
/// refused.
#[derive(Debug)]
pub(in crate::auth) struct ScramDecoy {
    files: Vec<Arc<ScramFile>>,
    secret: Arc<DecoySecret>,
}

/// The key of the salts of users that don't exist. It lasts as long as the process, also over reloads.
pub(in crate::auth) struct DecoySecret([u8; 32]);

impl std::fmt::Debug for DecoySecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DecoySecret").finish_non_exhaustive()
    }
}

impl DecoySecret {
    /// Without random numbers there is no nonce either, so that no exchange gets as far as a salt.
    pub(in crate::auth) fn new() -> Self {
        let mut secret = [0; 32];
        let _without = getrandom::fill(&mut secret);
        Self(secret)
    }

    /// The salt of a user, and a number that selects the user whose iterations it has.
    pub(super) fn salt(&self, user: &str) -> ([u8; 64], u64) {
        let [a, b, c, d, e, f, g, h, ..] = self.derive(b"like", user);
        (self.derive(b"salt", user), u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    fn derive(&self, purpose: &[u8; 4], user: &str) -> [u8; 64] {
        let mut mac = Hmac::<Sha512>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(purpose);
        mac.update(user.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl ScramDecoy {
    pub(in crate::auth) fn new(files: Vec<Arc<ScramFile>>, secret: Arc<DecoySecret>) -> Self {
        Self { files, secret }
    }

    /// Iterations and length of the salt are those of another user, always the same for the same name and the same files.
    fn credentials(&self, user: &str, mechanism: Mechanism) -> Credentials {
        let (salt, number) = self.secret.salt(user);
        let total: usize = self.files.iter().map(|file| file.len()).sum();
        let mut place = usize::try_from(number % total.max(1) as u64).unwrap_or_default();
        let like = self.files.iter().find_map(|file| {
            let found = file.at(place);
            place = place.saturating_sub(file.len());
            found
        });
        let (iterations, salt_bytes) =
            like.map_or((ITERATIONS_DEFAULT, SALT_BYTES), |like| (like.iterations, like.salt.len()));
        Credentials {
            mechanism,
            iterations,
            salt: salt.into_iter().take(salt_bytes).collect(),
            // Nobody knows what hashes to it.
            stored_key: vec![0; mechanism.bytes()],
            server_key: vec![0; mechanism.bytes()],
        }
    }
}

impl Provider for ScramDecoy {
    fn authenticate(&self, request: &Request) -> Option<Verdict> {
        let mechanism = Mechanism::of(request.method.as_deref()?)?;
        let data = request.data.as_deref().unwrap_or_default();
        let Some(exchange) = &request.exchange else {
            return Some(match ClientFirst::parse(data) {
                Ok(first) => challenge(&self.credentials(&first.user, mechanism), first, request),
                Err(fault) => refused(&fault, None),
            });
        };
        let exchange = exchange.as_scram();
        let fault = match finish(&self.credentials(&exchange.user, mechanism), exchange, data) {
            Ok(_) | Err(Fault::Proof) => Fault::UnknownUser,
            Err(fault) => fault,
        };
        Some(refused(&fault, Some(&exchange.user)))
    }
}
