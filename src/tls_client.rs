//! TLS of the connections that commands open: whom they trust, and who they are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

/// What a command line says about TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TlsFiles {
    /// PEM file with the trusted authorities; `None`: those of the operating system.
    pub(crate) authorities: Option<PathBuf>,
    /// PEM files with the certificate and the key of the client.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Whether the certificate of the server may have another name. Its signature is verified all the same.
    pub(crate) any_name: bool,
}

/// Why there is no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFilesError {
    #[error("{}: {source}", path.display())]
    Pem { path: PathBuf, source: pem::Error },
    #[error("{}: {source}", path.display())]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("{} contains no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("the operating system has no file with trusted authorities ({}): name one with --cafile", SYSTEM_FILES.join(", "))]
    NoSystemFile,
    #[error("{} and {}: {source}", certificate.display(), key.display())]
    Identity { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("certificates can't be verified: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
}

/// Reads the files.
pub(crate) fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, TlsFilesError> {
    let provider = Arc::new(provider());
    let path = match &files.authorities {
        Some(path) => path.clone(),
        None => system_file().ok_or(TlsFilesError::NoSystemFile)?,
    };
    let is_chosen = files.authorities.is_some();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&path)? {
        match roots.add(certificate) {
            Err(source) if is_chosen => return Err(TlsFilesError::Authority { path, source }),
            // The file of the operating system has many authorities, and one that is unusable concerns few servers.
            Ok(()) | Err(_) => {}
        }
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = if files.any_name {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
    } else {
        builder.with_webpki_verifier(verifier)
    };
    let config = match &files.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let secret =
                PrivateKeyDer::from_pem_file(key).map_err(|source| TlsFilesError::Pem { path: key.clone(), source })?;
            let wrong = |source| TlsFilesError::Identity { certificate: certificate.clone(), key: key.clone(), source };
            builder.with_client_auth_cert(chain, secret).map_err(wrong)?
        }
    };
    Ok(Arc::new(config))
}

/// The name that the certificate of `host` must have.
pub(crate) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is not a name for TLS"));
    ServerName::try_from(host.to_owned()).map_err(invalid)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFilesError> {
    let fail = |source| TlsFilesError::Pem { path: path.to_owned(), source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(fail)?.collect();
    let certificates = certificates.map_err(fail)?;
    if certificates.is_empty() { Err(TlsFilesError::Empty { path: path.to_owned() }) } else { Ok(certificates) }
}

fn system_file() -> Option<PathBuf> {
    SYSTEM_FILES.iter().map(PathBuf::from).find(|path| fs::metadata(path).is_ok_and(|metadata| metadata.is_file()))
}

#[cfg(feature = "aws-lc-rs")]
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Verifies everything but the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The inner verifier compares the name last, when everything else is right.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Where distributions keep the trusted authorities: Debian and Alpine, Fedora, SUSE, the BSDs and macOS.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
