//! JSON Web Tokens (RFC 7519), in the password or the user name of CONNECT.
//!
//! The keys are those of a file, or of a set that is fetched from a URL. This provider decides about every text that has the form of a token, and refuses one that is not valid. It passes a text without this form,
//! and a token of another issuer than the required one, to the next provider. Key and algorithms are those of the configuration; of the header of a
//! token, which its sender writes, only `alg`, `crit` and, with a key set, `kid` are read. `kid` selects one of the fetched keys. `jku`, `jwk`, `x5u` and `x5c` are ignored.

mod claims;
mod crypto;
mod fault;
mod form;
mod jwk;
mod jwks;
mod key;
mod time;

use std::hash::RandomState;
use std::sync::Arc;

use bytestring::ByteString;
use futures_util::future::BoxFuture;

use super::fingerprint::Fingerprint;
use super::provider::{Consultation, Cost, Decision, Provider, Refusal, RemoteBounds, Request, Verdict};
use super::rules::Rules;
use crate::config::{self, TokenFrom};
use claims::{Claims, Terms};
use fault::Fault;
use form::{TOKEN_BYTES_MAX, has_form};
pub(super) use jwks::{Jwks, keep};
pub(super) use key::TokenKey;
pub(super) use time::numeric_date;

/// Verifies tokens with one key.
#[derive(Debug)]
pub(super) struct JwtProvider {
    name: ByteString,
    from: TokenFrom,
    keys: Keys,
    terms: Terms,
    rules: Arc<Rules>,
    fingerprint: Fingerprint,
}

/// The keys of a provider.
#[derive(Debug)]
pub(super) enum Keys {
    /// That of a file.
    File(Arc<TokenKey>),
    /// Those of a URL.
    Url(Arc<Jwks>),
}

impl JwtProvider {
    /// `fingerprints` is the key of all fingerprints.
    pub(super) fn new(settings: &config::Provider, keys: Keys, fingerprints: &RandomState, rules: Arc<Rules>) -> Self {
        let from = settings.from.unwrap_or_default();
        let fingerprint = match &keys {
            Keys::File(key) => Fingerprint::of(fingerprints, &(settings, &**key)),
            // The issuer changes its keys without taking back what it has signed.
            Keys::Url(_) => Fingerprint::of(fingerprints, &settings.without_tuning()),
        };
        Self { name: settings.label().into(), from, keys, terms: Terms::new(settings), rules, fingerprint }
    }

    /// Identifies the key and the settings by which a client was accepted.
    pub(super) const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether a token may say which topics its client may use.
    pub(super) fn reads_topics(&self) -> bool {
        self.terms.reads_topics()
    }

    /// Its key set, with its name.
    pub(super) fn key_set(&self) -> Option<(ByteString, Arc<Jwks>)> {
        match &self.keys {
            Keys::File(_) => None,
            Keys::Url(keys) => Some((self.name.clone(), Arc::clone(keys))),
        }
    }

    /// The token of a client, if it is for this provider.
    fn token<'a>(&self, request: &'a Request) -> Option<&'a [u8]> {
        let field = match self.from {
            TokenFrom::Password => request.password.as_deref(),
            TokenFrom::Username => request.user_name.as_deref().map(str::as_bytes),
        };
        let token = field.filter(|token| request.method.is_none() && has_form(token))?;
        let is_of_another = token.len() <= TOKEN_BYTES_MAX && self.terms.is_of_another_issuer(token);
        (!is_of_another).then_some(token)
    }

    fn judge(&self, token: &[u8], request: &Request) -> Result<Decision, Fault> {
        let claims = match &self.keys {
            Keys::File(key) => key.verify(token)?,
            Keys::Url(keys) => keys.verify(token)?,
        };
        let claims = Claims(claims);
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
        let token = self.token(request)?;
        let judged = if token.len() > TOKEN_BYTES_MAX { Err(Fault::TooLarge) } else { self.judge(token, request) };
        Some(match judged {
            Ok(decision) => Verdict::Accept(decision),
            Err(fault) => {
                Verdict::Refuse(Refusal { reason_code: fault.reason_code(), cause: fault.to_string().into() })
            }
        })
    }

    fn cost(&self, request: &Request) -> Cost {
        let Keys::Url(keys) = &self.keys else { return Cost::Immediate };
        let token = self.token(request).filter(|token| token.len() <= TOKEN_BYTES_MAX);
        if token.is_some_and(|token| keys.is_to_be_fetched_for(token)) { Cost::Remote } else { Cost::Immediate }
    }

    /// Waits until the keys are fetched.
    fn consult<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Consultation> {
        Box::pin(async move {
            let mut fault = None;
            if let (Keys::Url(keys), Some(token)) = (&self.keys, self.token(request)) {
                keys.fetch_for(token).await;
                fault = keys.fault();
            }
            Consultation { verdict: self.authenticate(request), fault: fault.map(Into::into) }
        })
    }

    fn bounds(&self) -> RemoteBounds {
        RemoteBounds { provider: self.name.clone(), requests_max: WAITING_MAX, wait_max: jwks::FETCH_TIME_MAX }
    }
}

/// Clients that wait for one request for keys: all of them go on when it ends.
const WAITING_MAX: usize = 1_024;

#[cfg(test)]
mod tests;
