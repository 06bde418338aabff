//! The authorities that sign client certificates.

use rustls_pki_types::CertificateDer;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::CryptoProvider;
use x509_parser::prelude::X509Certificate;

use super::algorithm;
use super::contents::Contents;
use super::error::TlsError;
use super::identity::parse_all;
use super::notes::Notes;
use crate::config::Tls;
use crate::server_trust::authority_fault;

/// The authorities in `client_ca`. The TLS library trusts what any of them has signed without a look at what it may sign, so every other
/// certificate of the file stays out.
pub(super) fn read(
    files: &Tls,
    provider: &CryptoProvider,
    notes: &mut Notes,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let path = files.client_ca.as_ref().ok_or(TlsError::NoClientCa)?;
    let file = Contents::read(path)?;
    let certificates = file.certificates()?;
    let parsed = parse_all(&file, &certificates)?;
    let (mut roots, mut authorities, mut others) = (RootCertStore::empty(), Vec::new(), Vec::new());
    for (index, (certificate, parsed)) in certificates.iter().zip(&parsed).enumerate() {
        if let Some(fault) = authority_fault(parsed) {
            let place = file.place(index);
            others.push(format!("{place}, of `{}`, is not that of an authority: {fault}", parsed.subject()));
            continue;
        }
        check_algorithm(&file, index, parsed, provider)?;
        roots
            .add(certificate.clone())
            .map_err(|error| file.problem(&format!("{} can't be used: {error}", file.place(index))))?;
        authorities.push(certificate.clone());
    }
    if let Some(first) = others.first().filter(|_| authorities.is_empty()) {
        return Err(file.problem(&format!("has no certificate of an authority: {first}; {WHAT_TO_NAME}")));
    }
    for other in others {
        notes.add(path, &format!("{other}: what its key signs is refused; take it out of the file"));
    }
    Ok((roots, authorities))
}

/// The key of an authority must be of a kind that this build verifies.
fn check_algorithm(
    file: &Contents,
    index: usize,
    certificate: &X509Certificate<'_>,
    provider: &CryptoProvider,
) -> Result<(), TlsError> {
    let key = certificate.public_key().raw;
    let name = algorithm::name(key).unwrap_or("an unknown algorithm");
    let is_used = |identifier: &[u8]| key.windows(identifier.len()).any(|part| part == identifier);
    let algorithms = provider.signature_verification_algorithms.all;
    if name == "RSA" || algorithms.iter().any(|algorithm| is_used(algorithm.public_key_alg_id().as_ref())) {
        return Ok(());
    }
    let place = file.place(index);
    let supported = algorithm::SUPPORTED;
    Err(file.problem(&format!("{place} is for {name}, which is not supported; supported are {supported}")))
}

/// What to do about a file without an authority.
const WHAT_TO_NAME: &str = "client_ca must name the file of the authority that signs the certificates of clients, with \
    `basicConstraints = critical,CA:TRUE`, as `openssl req -x509` makes it";
