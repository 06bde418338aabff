use super::provider::{Provider, Refusal, Request, Verdict};
use crate::codec::ReasonCode;

/// Stands for a provider that a listener names and that is not loaded: it refuses everyone, so that no later provider accepts a client that
/// this one would have refused.
#[derive(Debug)]
pub(super) struct UnavailableProvider;

impl Provider for UnavailableProvider {
    fn authenticate(&self, _request: &Request) -> Option<Verdict> {
        Some(Verdict::Refuse(UNAVAILABLE))
    }
}

const UNAVAILABLE: Refusal =
    Refusal::new(ReasonCode::ServerUnavailable, "a provider that the listener names is not loaded");
