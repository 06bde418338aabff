//! Which certificates are revoked, to end the connections of their clients at a reload. A handshake is refused by [`verifier`](super::verifier).

use std::collections::HashSet;

use foldhash::quality::FixedState;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// Identifies a certificate: a hash of the name of its issuer, and of its serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CertificateId([u8; ID_LENGTH]);

/// The certificates that the revocation lists of a listener name.
#[derive(Debug, Default)]
pub(super) struct RevokedCertificates(HashSet<CertificateId, FixedState>);

impl CertificateId {
    fn new(issuer: &[u8], serial: &[u8]) -> Self {
        // The length separates the two.
        let length = u64::try_from(issuer.len()).unwrap_or(u64::MAX);
        let hash =
            Sha256::new().chain_update(length.to_be_bytes()).chain_update(issuer).chain_update(serial).finalize();
        let mut id = [0; ID_LENGTH];
        id.iter_mut().zip(hash).for_each(|(byte, hashed)| *byte = hashed);
        Self(id)
    }

    /// The identity of a certificate; `None`: it can't be parsed.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Some(Self::new(certificate.issuer().as_raw(), significant(certificate.raw_serial())))
    }
}

impl RevokedCertificates {
    /// The certificates that these lists name.
    pub(super) fn of(lists: &[CertificateRevocationListDer<'_>]) -> Self {
        let mut revoked = Self::default();
        for list in lists {
            let Ok((_, list)) = CertificateRevocationList::from_der(list) else { continue };
            let issuer = list.issuer().as_raw();
            let serials = list.iter_revoked_certificates().map(|revoked| significant(revoked.raw_serial()));
            revoked.0.extend(serials.map(|serial| CertificateId::new(issuer, serial)));
        }
        revoked
    }

    /// Whether a list names one of these certificates.
    pub(super) fn has_any(&self, certificates: &[CertificateId]) -> bool {
        certificates.iter().any(|id| self.0.contains(id))
    }
}

/// A serial number without leading zeros.
fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    serial.get(zeros..).unwrap_or_default()
}

/// Bytes of a hash that are kept: a collision can't be made on purpose.
const ID_LENGTH: usize = 32;
