use std::hash::RandomState;
use std::sync::Arc;

use super::password_file::{Fingerprint, Mismatch, PasswordFile};
use super::provider::{Cost, Decision, Provider, Refusal, Request, Verdict};
use super::rules::Rules;
use crate::codec::ReasonCode;

/// Verifies user names and passwords with the password file. Abstains only for clients without a user name.
#[derive(Debug)]
pub(super) struct PasswordProvider {
    file: Arc<PasswordFile>,
    key: RandomState,
    rules: Arc<Rules>,
}

impl PasswordProvider {
    /// `key` is that of the [`Fingerprint`]s.
    pub(super) fn new(file: Arc<PasswordFile>, key: RandomState, rules: Arc<Rules>) -> Self {
        Self { file, key, rules }
    }

    fn fingerprint(&self, user: &str) -> Option<Fingerprint> {
        self.file.fingerprint(user, &self.key)
    }
}

impl Provider for PasswordProvider {
    fn authenticate(&self, request: &Request) -> Option<Verdict> {
        let user = request.user_name.as_deref().filter(|_| request.method.is_none())?;
        let Some(password) = &request.password else { return Some(Verdict::Refuse(MISSING_PASSWORD)) };
        Some(match self.file.verify(user, password) {
            Ok(()) => {
                let access = self.rules.access(&request.client_id, Some(user));
                let decision = Decision::verified("password", user.into(), access);
                Verdict::Accept(Decision { password: self.fingerprint(user), ..decision })
            }
            Err(Mismatch::UnknownUser) => Verdict::Refuse(UNKNOWN_USER),
            Err(Mismatch::WrongPassword) => Verdict::Refuse(WRONG_PASSWORD),
        })
    }

    /// Hashing a password takes milliseconds and megabytes by design.
    fn cost(&self, request: &Request) -> Cost {
        let is_hashed = request.method.is_none() && request.user_name.is_some() && request.password.is_some();
        if is_hashed && self.file.has_users() { Cost::Blocking } else { Cost::Immediate }
    }
}

/// The password file doesn't contain the user.
pub(super) const UNKNOWN_USER: Refusal = Refusal::new(ReasonCode::BadUserNameOrPassword, "unknown user name");
/// The password is wrong.
pub(super) const WRONG_PASSWORD: Refusal = Refusal::new(ReasonCode::BadUserNameOrPassword, "wrong password");
/// The client sent a user name without a password.
pub(super) const MISSING_PASSWORD: Refusal =
    Refusal::new(ReasonCode::BadUserNameOrPassword, "user name without a password");
