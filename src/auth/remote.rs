//! Providers that ask a service over the network: what is common to all of them.
//!
//! A [`Backend`] knows the protocol of its service. A [`Remote`] asks it for a client, within a time, remembers what it accepted if that is
//! set, and gives its client rights. A service that can't be reached, or that answers nonsense, refuses the client: neither is another
//! provider asked then, nor is the client anonymous. How many requests are under way, and who waits, is in a [`Desk`], one for each provider.

mod backend;
mod cache;
mod desk;
mod figures;
mod http;
mod postgresql;
mod service;
mod thread;

use std::sync::Arc;

use bytestring::ByteString;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::fingerprint::Fingerprint;
use super::provider::{Consultation, Cost, Decision, Provider, Refusal, RemoteBounds, Request, Verdict};
use super::rules::Rules;
use super::topics;
use crate::codec::ReasonCode;
use crate::routing::Access;
use backend::{BackendFault, Reply};
use cache::Known;
pub use desk::Notice;
pub(super) use desk::{Desk, Desks};
pub(super) use figures::Figures;
pub use figures::RemoteCounts;
pub(super) use http::{client, http_service};
pub(super) use postgresql::PostgreSql;
pub(super) use service::Service;
pub(super) use thread::RemoteThread;

/// A provider that asks a service.
#[derive(Debug)]
pub(super) struct Remote {
    name: ByteString,
    service: Arc<Service>,
    rules: Arc<Rules>,
}

impl Remote {
    pub(super) fn new(name: ByteString, service: Arc<Service>, rules: Arc<Rules>) -> Self {
        Self { name, service, rules }
    }

    /// Identifies the settings by which a client was accepted.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.service.proof()
    }

    /// Whether the service may say which topics a client may use.
    pub(super) fn grants_topics(&self) -> bool {
        self.service.backend().grants_topics()
    }

    pub(super) const fn name(&self) -> &ByteString {
        &self.name
    }

    pub(super) fn figures(&self) -> &Arc<Figures> {
        self.service.figures()
    }

    fn concerns(&self, request: &Request) -> bool {
        self.service.backend().concerns(request)
    }

    async fn ask(&self, request: &Request) -> Result<Option<Verdict>, BackendFault> {
        let asked = self.service.clearings();
        let answer = timeout(self.service.timeout(), self.service.backend().ask(request)).await;
        let reply = match answer.unwrap_or(Err(BackendFault::Timeout)) {
            Ok(Some(reply)) => reply,
            Ok(None) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        match reply {
            Reply::Deny(cause) => Ok(Some(Verdict::Refuse(Refusal {
                reason_code: ReasonCode::BadUserNameOrPassword,
                cause: format!("{}: {}", self.name, cause).into(),
            }))),
            Reply::Allow(grant) => {
                let known = Known::of(grant, request)?;
                let verdict = self.accept(&known, request)?;
                self.service.remember(request, known, asked);
                Ok(Some(verdict))
            }
        }
    }

    /// The verdict on a client that the service has accepted.
    fn accept(&self, known: &Known, request: &Request) -> Result<Verdict, BackendFault> {
        let (named, user) = (request.named(&known.user), &known.user);
        let client_id = &named.client_id;
        let access = match (&known.topics, known.is_superuser) {
            // The ACL file does not restrict it, now or after a reload.
            (_, true) => Arc::new(Access::undecided()),
            (Some(granted), false) => {
                let granted = topics::granted(&self.name, granted.lists(), (client_id.as_str(), user));
                Arc::new(granted.map_err(BackendFault::Invalid)?)
            }
            (None, false) => self.rules.access(client_id, Some(user)),
        };
        let decision = Decision::verified(self.name.clone(), Arc::clone(user), access);
        let proof = Some(self.service.proof());
        Ok(Verdict::Accept(Decision { proof, expires_at: known.expires_at, ..decision }))
    }

    /// The refusal of a client whose service did not answer.
    fn unavailable(&self, fault: &BackendFault) -> Verdict {
        let cause = format!("{}: {fault}", self.name).into();
        Verdict::Refuse(Refusal { reason_code: ReasonCode::ServerUnavailable, cause })
    }
}

impl Provider for Remote {
    /// The verdict on a client that the service does not judge, or has accepted a while ago.
    fn authenticate(&self, request: &Request) -> Option<Verdict> {
        if !self.concerns(request) {
            return None;
        }
        let Some(known) = self.service.known(request) else {
            // It was forgotten since `cost` found it.
            return Some(Verdict::Refuse(FORGOTTEN));
        };
        self.service.figures().count_known();
        Some(self.accept(&known, request).unwrap_or_else(|fault| self.unavailable(&fault)))
    }

    fn cost(&self, request: &Request) -> Cost {
        match self.concerns(request) && self.service.known(request).is_none() {
            true => Cost::Remote,
            false => Cost::Immediate,
        }
    }

    fn consult<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Consultation> {
        Box::pin(async move {
            // A client with the same credentials may have been accepted while this one waited.
            if !self.concerns(request) || self.service.known(request).is_some() {
                return Consultation { verdict: self.authenticate(request), fault: None };
            }
            let asked = self.ask(request).await;
            self.service.figures().count(&asked);
            match asked {
                Ok(verdict) => Consultation { verdict, fault: None },
                Err(fault) => {
                    Consultation { verdict: Some(self.unavailable(&fault)), fault: Some(fault.to_string().into()) }
                }
            }
        })
    }

    fn bounds(&self) -> RemoteBounds {
        let wait_max = self.service.timeout() / 2;
        RemoteBounds { provider: self.name.clone(), requests_max: self.service.requests_max(), wait_max }
    }
}

const FORGOTTEN: Refusal = Refusal::new(ReasonCode::ServerBusy, "the cache of the provider is full");

#[cfg(test)]
mod tests;
