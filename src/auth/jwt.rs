//! JSON Web Tokens (RFC 7519), in the password or the user name of CONNECT.
//!
//! This provider decides about every text that has the form of a token, and refuses one that is not valid. It passes a text without this form,
//! and a token of another issuer than the required one, to the next provider. Key and algorithms are those of the configuration; of the header of a
//! token, which its sender writes, only `alg` and `crit` are read. `jku`, `jwk`, `x5u`, `x5c` and `kid` are ignored.

mod claims;
mod crypto;
mod fault;
mod form;
mod key;
mod time;

use std::hash::RandomState;
use std::sync::Arc;

use bytestring::ByteString;

use super::fingerprint::Fingerprint;
use super::provider::{Decision, Provider, Refusal, Request, Verdict};
use super::rules::Rules;
use crate::codec::ReasonCode;
use crate::config::{self, TokenFrom};
use claims::{Claims, Terms};
use fault::Fault;
use form::{TOKEN_BYTES_MAX, has_form};
pub(super) use key::TokenKey;
pub(super) use time::numeric_date;

/// Verifies tokens with one key.
#[derive(Debug)]
pub(super) struct JwtProvider {
    name: ByteString,
    from: TokenFrom,
    key: Arc<TokenKey>,
    terms: Terms,
    rules: Arc<Rules>,
    fingerprint: Fingerprint,
}

impl JwtProvider {
    /// `fingerprints` is the key of all fingerprints.
    pub(super) fn new(
        settings: &config::Provider,
        key: Arc<TokenKey>,
        fingerprints: &RandomState,
        rules: Arc<Rules>,
    ) -> Self {
        let from = settings.from.unwrap_or_default();
        let fingerprint = Fingerprint::of(fingerprints, &(settings, &*key));
        Self { name: settings.label().into(), from, key, terms: Terms::new(settings), rules, fingerprint }
    }

    /// Identifies the key and the settings by which a client was accepted.
    pub(super) const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether a token may say which topics its client may use.
    pub(super) fn reads_topics(&self) -> bool {
        self.terms.reads_topics()
    }

    fn judge(&self, token: &[u8], request: &Request) -> Result<Decision, Fault> {
        let claims = Claims(self.key.verify(token)?);
        let expires_at = self.terms.check_time(&claims, request)?;
        self.terms.check_values(&claims, request)?;
        let user = self.terms.user(&claims)?;
        let access = match self.terms.access(&claims, &self.name, &request.client_id, &user)? {
            Some(access) => Arc::new(access),
            None => self.rules.access(&request.client_id, Some(&user)),
        };
        let decision = Decision::verified(self.name.clone(), user, access);
        Ok(Decision { proof: Some(self.fingerprint), expires_at, ..decision })
    }
}

impl Provider for JwtProvider {
    fn authenticate(&self, request: &Request) -> Option<Verdict> {
        let field = match self.from {
            TokenFrom::Password => request.password.as_deref(),
            TokenFrom::Username => request.user_name.as_deref().map(str::as_bytes),
        };
        let token = field.filter(|token| request.method.is_none() && has_form(token))?;
        let judged = if token.len() > TOKEN_BYTES_MAX {
            Err(Fault::TooLarge)
        } else if self.terms.is_of_another_issuer(token) {
            return None;
        } else {
            self.judge(token, request)
        };
        Some(match judged {
            Ok(decision) => Verdict::Accept(decision),
            Err(fault) => Verdict::Refuse(Refusal {
                reason_code: ReasonCode::BadUserNameOrPassword,
                cause: fault.to_string().into(),
            }),
        })
    }
}

#[cfg(test)]
mod tests;
