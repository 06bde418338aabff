//! The files of a provider: its password, and whom it trusts.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::auth::error::AuthError;

/// The bytes of a file, without the line end after them.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, AuthError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|source| AuthError::Unreadable { path: path.to_owned(), source })?;
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    Ok(bytes)
}

/// TLS with servers that these authorities certify. The error is a predicate about the file.
pub(super) fn client_config(pem: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("is no PEM file: {error}"))?;
        roots.add(certificate).map_err(|error| format!("has an authority that can't be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("has no certificate".to_owned());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("can't be used for TLS: {error}"))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

#[cfg(feature = "aws-lc-rs")]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// The authorities of an operating system take a fifth of it.
const BYTES_MAX: u64 = 1 << 20;
