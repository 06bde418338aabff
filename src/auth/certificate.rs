use std::sync::Arc;

use bytestring::ByteString;

use super::provider::{Decision, Provider, Request, Verdict};
use super::rules::Rules;

/// Accepts a client whose certificate was verified in the TLS handshake, at listeners that take the user name from it.
#[derive(Debug)]
pub(super) struct CertificateProvider {
    name: ByteString,
    rules: Arc<Rules>,
}

impl CertificateProvider {
    pub(super) fn new(name: ByteString, rules: Arc<Rules>) -> Self {
        Self { name, rules }
    }
}

impl Provider for CertificateProvider {
    fn authenticate(&self, request: &Request) -> Option<Verdict> {
        let identity = request.certificate_identity.as_ref().filter(|_| request.method.is_none())?;
        let access = self.rules.access(&request.client_id, Some(identity));
        Some(Verdict::Accept(Decision::verified(self.name.clone(), Arc::clone(identity), access)))
    }
}
