use std::hash::RandomState;
use std::sync::Arc;

use bytestring::ByteString;

use super::fingerprint::Fingerprint;
use super::password_file::{Mismatch, PasswordFile};
use super::provider::{Cost, Decision, Provider, Refusal, Request, Verdict};
use super::rules::Rules;
use super::verified::{Tag, Verified};
use crate::codec::ReasonCode;

/// Verifies user names and passwords with a password file.
#[derive(Debug)]
pub(super) struct PasswordProvider {
    name: ByteString,
    file: Arc<PasswordFile>,
    unknown: UnknownUsers,
    key: RandomState,
    rules: Arc<Rules>,
    /// Survives reloads of the file.
    verified: Arc<Verified>,
}

/// What becomes of a client whose user the file doesn't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnknownUsers {
    /// It is refused: no other provider knows user names.
    Refuse,
    /// The next provider is asked.
    Abstain,
}

impl PasswordProvider {
    /// `key` is that of the [`Fingerprint`]s.
    pub(super) fn new(
        name: ByteString,
        (file, unknown): (Arc<PasswordFile>, UnknownUsers),
        (key, verified): (RandomState, Arc<Verified>),
        rules: Arc<Rules>,
    ) -> Self {
        Self { name, file, unknown, key, rules, verified }
    }

    /// Whether the file has this user.
    pub(super) fn has_user(&self, user: &str) -> bool {
        self.file.has_user(user)
    }

    /// The fingerprint of the line of a user; `None`: the file doesn't have it.
    pub(super) fn fingerprint(&self, user: &str) -> Option<Fingerprint> {
        self.file.fingerprint(user, &self.key)
    }

    /// The credentials of a request that was verified before, with the same entry in the file; and their tag otherwise.
    fn look_up(&self, request: &Request, user: &str, password: &[u8]) -> Known {
        let Some(tag) = self.verified.tag(user, password, self.file.stored(user)) else { return Known::Never };
        if self.verified.contains(user, &tag, request.at) { Known::Verified } else { Known::NotYet(tag) }
    }
}

impl Provider for PasswordProvider {
    fn authenticate(&self, request: &Request) -> Option<Verdict> {
        let user = request.user_name.as_deref().filter(|_| request.method.is_none())?;
        let abstains = self.unknown == UnknownUsers::Abstain && !self.file.has_user(user);
        let Some(password) = &request.password else {
            return (!abstains).then_some(Verdict::Refuse(MISSING_PASSWORD));
        };
        let verified = match self.look_up(request, user, password) {
            Known::Verified => Ok(()),
            Known::NotYet(tag) => {
                self.file.verify(user, password).inspect(|()| self.verified.remember(user, tag, request.at))
            }
            Known::Never => self.file.verify(user, password),
        };
        Some(match verified {
            Ok(()) => {
                let access = self.rules.access(&request.client_id, Some(user));
                let decision = Decision::verified(self.name.clone(), user.into(), access);
                Verdict::Accept(Decision { proof: self.fingerprint(user), ..decision })
            }
            // After a hash that costs as much as that of a user.
            Err(Mismatch::UnknownUser) if abstains => return None,
            Err(Mismatch::UnknownUser) => Verdict::Refuse(UNKNOWN_USER),
            Err(Mismatch::WrongPassword) => Verdict::Refuse(WRONG_PASSWORD),
        })
    }

    /// Hashing a password takes milliseconds and megabytes by design. Credentials that were verified before are not hashed; should they be
    /// forgotten between this call and [`authenticate`](Self::authenticate), because the memory for them is full, one hash is computed on
    /// the thread of a shard.
    fn cost(&self, request: &Request) -> Cost {
        let (None, Some(user), Some(password)) = (&request.method, &request.user_name, &request.password) else {
            return Cost::Immediate;
        };
        if !self.file.has_users() || matches!(self.look_up(request, user, password), Known::Verified) {
            Cost::Immediate
        } else {
            Cost::Blocking
        }
    }
}

/// What is known about credentials.
enum Known {
    /// They were verified.
    Verified,
    /// They were not verified yet; what to remember when they are.
    NotYet(Tag),
    /// They can't be remembered.
    Never,
}

/// The password file doesn't contain the user.
pub(super) const UNKNOWN_USER: Refusal = Refusal::new(ReasonCode::BadUserNameOrPassword, "unknown user name");
/// The password is wrong.
pub(super) const WRONG_PASSWORD: Refusal = Refusal::new(ReasonCode::BadUserNameOrPassword, "wrong password");
/// The client sent a user name without a password.
pub(super) const MISSING_PASSWORD: Refusal =
    Refusal::new(ReasonCode::BadUserNameOrPassword, "user name without a password");
