//! Which servers the clients of this program trust, and who these clients are: bridges, sinks, authentication services, the probe, commands.
//!
//! A file with trusted certificates has those of authorities, which may sign others, and those of servers, each of which is trusted as the
//! certificate of a server itself and signs nothing. The TLS library would take whatever is in the file for an authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{VerifierBuilderError, WantsClientCert, WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

/// The files of a client.
#[derive(Debug, Clone, Copy)]
pub struct ClientTls<'a> {
    /// PEM file with the trusted certificates; `None`: the authorities of the operating system.
    pub trusted: Option<&'a Path>,
    /// PEM files with the certificate and the key of the client.
    pub identity: Option<(&'a Path, &'a Path)>,
    /// What is said about the name of the server.
    pub name: NameCheck,
}

/// Whether the certificate of a server must have its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameCheck {
    /// It must.
    Required,
    /// It may have any. Its signature is verified all the same.
    Any,
}

/// Why there is no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// A file can't be read, or is not PEM.
    #[error("cannot use {}: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A trusted certificate is of no use.
    #[error("cannot use {}: {source}", path.display())]
    Trusted {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        source: TrustError,
    },
    /// There is no certificate.
    #[error("{} contains no certificate", .0.display())]
    Empty(PathBuf),
    /// Nobody is trusted.
    #[error("the operating system has no trusted authorities: name a file with them")]
    NoSystemAuthorities,
    /// The certificate of the client and its key don't fit each other, or can't be used.
    #[error("cannot use {} with {}: {source}", certificate.display(), key.display())]
    Identity {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// The TLS library refuses the settings.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Why these certificates can't be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// One of them, or a setting, is not usable.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// Nothing can be verified with them.
    #[error("certificates can't be verified: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// Reads the files of a client.
///
/// # Errors
/// One of them can't be used.
pub fn client_config(files: ClientTls<'_>) -> Result<ClientConfig, ClientTlsError> {
    let verifier = match files.trusted {
        Some(path) => {
            let certificates = certificates(path)?;
            let fail = |source| ClientTlsError::Trusted { path: path.to_owned(), source };
            ServerVerifier::of(certificates, files.name).map_err(fail)?
        }
        None => ServerVerifier::of_authorities(system_authorities()?, files.name)?,
    };
    client_config_with(Arc::new(verifier), files.identity)
}

/// The same for a client that judges servers itself.
pub(crate) fn client_config_with(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<(&Path, &Path)>,
) -> Result<ClientConfig, ClientTlsError> {
    let builder = builder(verifier).map_err(TrustError::Tls)?;
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(certificate)?;
    let secret =
        PrivateKeyDer::from_pem_file(key).map_err(|source| ClientTlsError::Pem { path: key.to_owned(), source })?;
    let fail = |source| ClientTlsError::Identity { certificate: certificate.to_owned(), key: key.to_owned(), source };
    builder.with_client_auth_cert(chain, secret).map_err(fail)
}

/// The settings of a client with this verifier, which need its identity.
pub(crate) fn builder(
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// The authorities that the operating system trusts. To read them takes some milliseconds.
///
/// # Errors
/// There are none.
pub fn system_authorities() -> Result<Arc<RootCertStore>, ClientTlsError> {
    let mut roots = RootCertStore::empty();
    // One that is unusable concerns few servers.
    let found = rustls_native_certs::load_native_certs().certs;
    if roots.add_parsable_certificates(found).0 == 0 {
        return Err(ClientTlsError::NoSystemAuthorities);
    }
    Ok(Arc::new(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
    let fail = |source| ClientTlsError::Pem { path: path.to_owned(), source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(fail)?.collect();
    let certificates = certificates.map_err(fail)?;
    if certificates.is_empty() { Err(ClientTlsError::Empty(path.to_owned())) } else { Ok(certificates) }
}

/// Verifies the certificates of servers.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    /// `None`: there is no authority, or the certificate of a server is judged by other means.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that a server may have itself.
    trusted: Vec<CertificateDer<'static>>,
    name: NameCheck,
    provider: Arc<CryptoProvider>,
}

impl ServerVerifier {
    /// Trusts these certificates: as that of a server each of them, as an authority those that may sign others.
    pub(crate) fn of(trusted: Vec<CertificateDer<'static>>, name: NameCheck) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in &trusted {
            let parsed = X509Certificate::from_der(certificate);
            let (_, parsed) = parsed.map_err(|_| rustls::Error::from(CertificateError::BadEncoding))?;
            if authority_fault(&parsed).is_none() {
                roots.add(certificate.clone())?;
            }
        }
        let verifier = Self::of_authorities(Arc::new(roots), name)?;
        Ok(Self { trusted, ..verifier })
    }

    /// Trusts whom these authorities certify.
    pub(crate) fn of_authorities(roots: Arc<RootCertStore>, name: NameCheck) -> Result<Self, TrustError> {
        let provider = Arc::new(provider());
        let builder = |roots| WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let authorities = if roots.is_empty() { None } else { Some(builder(roots)?) };
        Ok(Self { authorities, trusted: Vec::new(), name, provider })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trusted.iter().any(|trusted| trusted == end_entity) {
            check_validity(end_entity, now)?;
            if self.name == NameCheck::Required {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        let Some(authorities) = &self.authorities else { return Err(CertificateError::UnknownIssuer.into()) };
        // It compares the name last, when everything else is right.
        match authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.name == NameCheck::Any => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a certificate is valid at this time.
///
/// # Errors
/// It is not, or it can't be read.
pub(crate) fn check_validity(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let (validity, now) = (certificate.validity(), i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Why a certificate may not sign others; `None`: it may.
pub(crate) fn authority_fault(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    match certificate.version() {
        // It can't say what it is. OpenSSL, too, compares the names.
        X509Version::V1 if certificate.subject().as_raw() == certificate.issuer().as_raw() => return None,
        X509Version::V1 => return Some("it is X.509 v1 and not self-signed"),
        X509Version::V3 => {}
        _ => return Some("it is neither X.509 v3 nor v1"),
    }
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if constraints.value.ca => {}
        Ok(Some(_)) => return Some("its basicConstraints have CA:FALSE"),
        Ok(None) | Err(_) => return Some("it has no basicConstraints with CA:TRUE"),
    }
    match certificate.key_usage() {
        Ok(None) => None,
        Ok(Some(usage)) if usage.value.key_cert_sign() => None,
        Ok(Some(_)) | Err(_) => Some("its keyUsage lacks keyCertSign"),
    }
}

#[cfg(feature = "aws-lc-rs")]
pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

#[cfg(test)]
mod tests;
