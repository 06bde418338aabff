use std::hash::{Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::super::fingerprint::Fingerprint;
use super::super::provider::Request;
use super::backend::Backend;
use super::cache::{Cache, Known};
use super::figures::Figures;
use crate::config;

/// A service, with its connections and what it has said. It is kept at a reload if its settings and its files are the same.
#[derive(Debug)]
pub(in crate::auth) struct Service {
    backend: Box<dyn Backend>,
    /// Of all settings, and of the contents of files.
    identity: Fingerprint,
    /// Of the settings that say who is asked.
    proof: Fingerprint,
    timeout: Duration,
    requests_max: usize,
    cache: Option<Cache>,
    figures: Arc<Figures>,
}

impl Service {
    /// `material`: the contents of the files that the backend has read. `key`: that of all fingerprints. `before`: the service of the
    /// provider with the same name before a reload. It goes on if all is the same, and forgets what it knows: a reload is also how an operator
    /// says that something has changed at the service.
    pub(in crate::auth) fn new(
        settings: &config::Provider,
        backend: Box<dyn Backend>,
        material: impl Hash,
        (key, before): (&RandomState, Option<&Arc<Self>>),
    ) -> Arc<Self> {
        let identity = Fingerprint::of(key, &(settings, material));
        if let Some(before) = before.filter(|before| before.identity == identity) {
            if let Some(cache) = &before.cache {
                cache.clear();
            }
            return Arc::clone(before);
        }
        let lifetime = settings.cache.unwrap_or_default();
        Arc::new(Self {
            backend,
            identity,
            proof: Fingerprint::of(key, &settings.without_tuning()),
            timeout: settings.timeout.unwrap_or(TIMEOUT),
            requests_max: settings.requests_max.map_or(REQUESTS_MAX, |max| usize::from(max.get())),
            cache: (!lifetime.is_zero()).then(|| Cache::new(lifetime)),
            figures: before.map_or_else(Arc::default, |before| Arc::clone(&before.figures)),
        })
    }

    pub(in crate::auth) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(in crate::auth) const fn proof(&self) -> Fingerprint {
        self.proof
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) const fn requests_max(&self) -> usize {
        self.requests_max
    }

    pub(super) const fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    pub(super) fn known(&self, request: &Request) -> Option<Arc<Known>> {
        self.cache.as_ref()?.find(request)
    }

    /// What [`remember`](Self::remember) needs to know of the time before a request is sent.
    pub(super) fn clearings(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::clearings)
    }

    /// See [`Cache::remember`].
    pub(super) fn remember(&self, request: &Request, known: Known, asked: u64) {
        if let Some(cache) = &self.cache {
            cache.remember(request, known, asked);
        }
    }
}

/// Longer than a service that works takes, and shorter than clients wait for CONNACK.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// As many as a small service handles at once.
pub(super) const REQUESTS_MAX: usize = 64;
