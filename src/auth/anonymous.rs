use std::collections::HashMap;
use std::sync::Arc;

use super::provider::{Decision, Provider, Refusal, Request, Verdict};
use super::rules::Rules;
use crate::codec::ReasonCode;
use crate::config::{AllowAnonymous, Listener, Security};

/// Accepts or refuses clients for which all other providers abstained, according to `allow_anonymous`. Their names stay unverified.
#[derive(Debug)]
pub(super) struct AnonymousProvider {
    allowed: AllowedAnonymous,
    rules: Arc<Rules>,
    unjudged: Unjudged,
}

/// What becomes of a client with credentials that no provider has judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unjudged {
    /// It counts as anonymous: nothing verifies credentials.
    Accept,
    /// It is refused.
    Refuse,
}

/// Whether anonymous clients are accepted, per listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AllowedAnonymous {
    default: AllowAnonymous,
    /// By the name of the listener.
    listeners: HashMap<Arc<str>, AllowAnonymous>,
}

impl AllowedAnonymous {
    pub(super) fn new(security: &Security, listeners: &[Listener]) -> Self {
        let default = security.allow_anonymous;
        let by_name = |listener: &Listener| (listener.label().into(), listener.allow_anonymous.unwrap_or(default));
        Self { default, listeners: listeners.iter().map(by_name).collect() }
    }

    /// Whether any listener accepts anonymous clients from everywhere, and whether any does from this machine.
    pub(super) fn policies(&self) -> [bool; 2] {
        let has = |policy| self.default == policy || self.listeners.values().any(|of_listener| *of_listener == policy);
        [has(AllowAnonymous::Always), has(AllowAnonymous::Always) || has(AllowAnonymous::Loopback)]
    }

    fn allows(&self, request: &Request) -> bool {
        is_allowed(self.listeners.get(&request.listener).copied().unwrap_or(self.default), request.is_local)
    }

    /// What this listener says alone.
    pub(super) fn at(&self, listener: &str) -> Self {
        let default = self.listeners.get(listener).copied().unwrap_or(self.default);
        Self { default, listeners: HashMap::new() }
    }

    /// Whether an anonymous client may be accepted anywhere by this listener.
    pub(super) fn accepts_any(&self, listener: &str) -> bool {
        self.listeners.get(listener).copied().unwrap_or(self.default) != AllowAnonymous::Never
    }

    /// Whether an anonymous client that was accepted before is still allowed. One of a listener that has another name now stays.
    pub(super) fn keeps(&self, listener: &str, is_local: bool) -> bool {
        self.listeners.get(listener).is_none_or(|allowed| is_allowed(*allowed, is_local))
    }
}

fn is_allowed(allowed: AllowAnonymous, is_local: bool) -> bool {
    match allowed {
        AllowAnonymous::Always => true,
        AllowAnonymous::Never => false,
        AllowAnonymous::Loopback => is_local,
    }
}

impl AnonymousProvider {
    pub(super) fn new(allowed: AllowedAnonymous, rules: Arc<Rules>, unjudged: Unjudged) -> Self {
        Self { allowed, rules, unjudged }
    }
}

impl Provider for AnonymousProvider {
    fn authenticate(&self, request: &Request) -> Option<Verdict> {
        if request.method.is_some() {
            return None;
        }
        let has_credentials =
            request.user_name.is_some() || request.password.is_some() || request.certificate_identity.is_some();
        if has_credentials && self.unjudged == Unjudged::Refuse {
            return Some(Verdict::Refuse(NOT_KNOWN));
        }
        let user: Option<Arc<str>> = request.user_name.as_deref().map(Into::into);
        Some(match user {
            user if self.allowed.allows(request) => {
                Verdict::Accept(Decision::anonymous(user, self.rules.access(&request.client_id, None)))
            }
            Some(_) => Verdict::Refuse(UNVERIFIABLE),
            None => Verdict::Refuse(ANONYMOUS),
        })
    }
}

/// The client has credentials, and no provider knows them.
pub(super) const NOT_KNOWN: Refusal =
    Refusal::new(ReasonCode::BadUserNameOrPassword, "no provider knows these credentials");
/// The client sent no user name, and anonymous clients are not accepted.
pub(super) const ANONYMOUS: Refusal =
    Refusal::new(ReasonCode::NotAuthorized, "anonymous clients are not allowed from this address");
/// The client sent a user name that can't be verified, and anonymous clients are not accepted.
pub(super) const UNVERIFIABLE: Refusal = Refusal::new(
    ReasonCode::NotAuthorized,
    "there is no password file to verify the user name, and anonymous clients are not allowed from this address",
);
