//! Verifies the certificates of clients.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{NoClientAuth, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate, X509Version};

use super::authorities;
use super::contents::Contents;
use super::dates::IgnoredDates;
use super::error::TlsError;
use super::notes::Notes;
use crate::config::{CertificateDates, ClientCertificate, CrlCheck, ExpiredCrl, Tls};

/// A client certificate is accepted if every part accepts it.
#[derive(Debug)]
struct ClientVerifier {
    first: Arc<dyn ClientCertVerifier>,
    /// Checks the certificates above the client's too, as far as there are revocation lists for them.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    /// What takes the place of the clock, where the dates of certificates don't count.
    dates: Option<IgnoredDates>,
}

/// A client certificate of X.509 version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the client's certificate is X.509 v1, which can't say what it may be used for; sign a v3 one with \
     `openssl x509 -req -extfile FILE`, where FILE has the line `extendedKeyUsage = clientAuth`"
)]
pub(super) struct VersionOne;

/// What to do about a revocation list of X.509 version 1.
const VERSION_ONE_LIST: &str = "is X.509 v1, which is not supported: make a v2 one, with the lines `crlnumber = FILE` and \
    `crl_extensions = SECTION` in the configuration file of `openssl ca -gencrl`, where [SECTION] has \
    `authorityKeyIdentifier = keyid`";

/// What was read for the certificates of clients.
pub(super) struct Read {
    /// Verifies them.
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// The authorities that it trusts.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// The revocation lists that it uses.
    pub(super) lists: Vec<CertificateRevocationListDer<'static>>,
}

/// Reads what the settings name.
pub(super) fn read(files: &Tls, provider: &Arc<CryptoProvider>, notes: &mut Notes) -> Result<Read, TlsError> {
    if files.client_certificate == ClientCertificate::None {
        return Ok(Read { verifier: Arc::new(NoClientAuth), authorities: Vec::new(), lists: Vec::new() });
    }
    let (roots, authorities) = authorities::read(files, provider, notes)?;
    let roots = Arc::new(roots);
    let lists = match &files.crl {
        Some(path) => {
            let file = Contents::read(path)?;
            let lists = file.revocation_lists()?;
            for (list, number) in lists.iter().zip(1..) {
                let Ok(([], list)) = CertificateRevocationList::from_der(list) else {
                    return Err(file.problem(&format!("revocation list {number} is damaged")));
                };
                if list.version().is_none() {
                    return Err(file.problem(&format!("revocation list {number} {VERSION_ONE_LIST}")));
                }
                notes.check_list(path, files.crl_expired, &list);
            }
            lists
        }
        None => Vec::new(),
    };
    let builder = || {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        let builder = builder.with_crls(lists.clone());
        // With another time than that of the clock, the library can't tell.
        let builder = match (files.crl_expired, files.client_certificate_dates) {
            (ExpiredCrl::Refuse, CertificateDates::Checked) => builder.enforce_revocation_expiration(),
            (ExpiredCrl::Warn, _) | (_, CertificateDates::Ignored) => builder,
        };
        if files.client_certificate == ClientCertificate::Optional { builder.allow_unauthenticated() } else { builder }
    };
    let (first, chain) = match files.crl_check {
        CrlCheck::Chain => (builder(), None),
        CrlCheck::Leaf if lists.is_empty() => (builder(), None),
        CrlCheck::Leaf => {
            (builder().only_check_end_entity_revocation(), Some(builder().allow_unknown_revocation_status()))
        }
    };
    let chain = chain.map(|chain| chain.build()).transpose().map_err(|error| unusable(files, &error))?;
    let first = first.build().map_err(|error| unusable(files, &error))?;
    let enforced = if files.crl_expired == ExpiredCrl::Refuse { &*lists } else { &[] };
    let dates = (files.client_certificate_dates == CertificateDates::Ignored).then(|| IgnoredDates::new(enforced));
    Ok(Read { verifier: Arc::new(ClientVerifier { first, chain, dates }), authorities, lists })
}

fn unusable(files: &Tls, error: &impl std::fmt::Display) -> TlsError {
    let path = files.crl.as_ref().or(files.client_ca.as_ref()).cloned().unwrap_or_default();
    TlsError::File { path, problem: format!("can't be used: {error}") }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.first.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.first.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.first.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let parsed = X509Certificate::from_der(end_entity);
        if parsed.is_ok_and(|(_, certificate)| certificate.version() == X509Version::V1) {
            return Err(CertificateError::Other(OtherError(Arc::new(VersionOne))).into());
        }
        let verify = |time| {
            if let Some(chain) = &self.chain {
                chain.verify_client_cert(end_entity, intermediates, time)?;
            }
            self.first.verify_client_cert(end_entity, intermediates, time)
        };
        match &self.dates {
            None => verify(now),
            Some(dates) => dates.verify(end_entity, intermediates, now, verify),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.first.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.first.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.first.supported_verify_schemes()
    }
}
