//! Which of the certificates of a listener a client gets.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::error::TlsError;
use super::identity::Identity;
use super::notes::Notes;
use crate::config::Tls;

/// The certificates of a listener, by the names that they have. A client that asks for none of these names, or for no name, gets the first.
#[derive(Debug)]
pub(super) struct ByName {
    first: Arc<CertifiedKey>,
    /// By their names in lower case. Those for `*.example.com` have the name `.example.com`.
    names: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    /// Of the certificates that the settings name, in the same order.
    pub(super) fn new(files: &Tls, identities: Vec<Identity>, notes: &mut Notes) -> Result<Self, TlsError> {
        let mut all = identities.into_iter().map(|identity| (Arc::new(identity.key), identity.names));
        let (first, own) = all.next().ok_or(TlsError::NoCertificate)?;
        let mut by_name = Self { first: Arc::clone(&first), names: HashMap::new() };
        by_name.add(&first, own);
        for ((key, names), (path, _)) in all.zip(files.certificate_files().skip(1)) {
            if names.is_empty() {
                let problem = "has no name (subjectAltName = DNS:NAME), so that no client can ask for it".to_owned();
                return Err(TlsError::File { path: path.to_owned(), problem });
            }
            if !by_name.add(&key, names) {
                notes.add(path, "is never used: earlier certificates of the listener have all of its names, and keys of the same kind");
            }
        }
        Ok(by_name)
    }

    /// Returns whether a client could get it.
    fn add(&mut self, key: &Arc<CertifiedKey>, names: Vec<String>) -> bool {
        let mut is_used = false;
        for name in names {
            let name = name.strip_prefix('*').map(str::to_owned).unwrap_or(name);
            let others = self.names.entry(name.into()).or_default();
            is_used |= others.iter().all(|other| other.key.algorithm() != key.key.algorithm());
            others.push(Arc::clone(key));
        }
        is_used
    }

    fn find(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let name = name.to_ascii_lowercase();
        let of_domain = || self.names.get(name.get(name.find('.')?..)?);
        self.names.get(&*name).or_else(of_domain).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| self.find(name)).unwrap_or(std::slice::from_ref(&self.first));
        // Of one name, there may be an RSA and an ECDSA certificate.
        let is_usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        found.iter().find(is_usable).or_else(|| found.first()).cloned()
    }
}
