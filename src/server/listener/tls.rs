use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{
    Acceptor, NoClientAuth, NoServerSessionStorage, ServerSessionMemoryCache, VerifierBuilderError,
    WebPkiClientVerifier,
};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::{ClientCertificate, Tls};

/// A TLS connection.
pub(super) type ServerStream = tokio_rustls::server::TlsStream<TcpStream>;

/// The certificates of a listener. Connections after a reload use the new ones.
#[derive(Debug)]
pub(super) struct Certificates {
    files: Tls,
    current: ArcSwap<ServerConfig>,
}

/// Why a TLS handshake failed.
#[derive(Debug)]
pub(super) enum AcceptError {
    /// The text of the library names the alert.
    Failed(io::Error),
    /// The client reset the connection after its ClientHello, without an alert, as a health check does that has seen enough.
    Reset,
}

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file is empty or holds no PEM of the expected kind.
    #[error("{}: {problem}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The cause.
        problem: String,
    },
    /// `client_certificate` is set without `client_ca`.
    #[error("client_certificate needs client_ca")]
    NoClientCa,
    /// The authorities or the revocation list can't be used.
    #[error("client_ca: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// Certificate and key do not match, or are of an unsupported kind.
    #[error("certificate and key: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Certificates {
    /// Reads all files.
    pub(super) fn load(files: Tls) -> Result<Self, TlsError> {
        let config = server_config(&files)?;
        Ok(Self { files, current: ArcSwap::from_pointee(config) })
    }

    /// Reads all files again. After an error the current ones stay in use.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(server_config(&self.files)?));
        Ok(())
    }

    /// Performs the TLS handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<ServerStream, AcceptError> {
        let started = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(AcceptError::Failed)?;
        let result = started.into_stream(self.current.load_full()).await;
        result.map_err(|error| {
            let is_reset = matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
            if is_reset { AcceptError::Reset } else { AcceptError::Failed(error) }
        })
    }

    /// The Common Name of the client certificate, where `identity_as_user_name` is set.
    pub(super) fn identity_of(&self, stream: &ServerStream) -> Option<Arc<str>> {
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().filter(|_| self.files.identity_as_user_name)?.first()?;
        common_name(certificate)
    }
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    // Two Common Names are ambiguous.
    (names.next().is_none() && !name.is_empty()).then(|| name.into())
}

fn server_config(files: &Tls) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(provider());
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| pem(&files.key, &error))?;
    let verifier = client_verifier(files, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    if files.client_certificate == ClientCertificate::None {
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    } else {
        // A resumed session would not be checked against the revocation list again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn client_verifier(files: &Tls, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if files.client_certificate == ClientCertificate::None {
        return Ok(Arc::new(NoClientAuth));
    }
    let path = files.client_ca.as_ref().ok_or(TlsError::NoClientCa)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if let Some(path) = &files.crl {
        let lists = CertificateRevocationListDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
        builder = builder.with_crls(lists.map_err(|error| pem(path, &error))?);
    }
    if files.client_certificate == ClientCertificate::Optional {
        builder = builder.allow_unauthenticated();
    }
    Ok(builder.build()?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| pem(path, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::Pem { path: path.to_owned(), problem: "no certificate in it".to_owned() });
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn pem(path: &Path, error: &rustls_pki_types::pem::Error) -> TlsError {
    TlsError::Pem { path: path.to_owned(), problem: error.to_string() }
}

#[cfg(feature = "aws-lc-rs")]
pub(super) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
pub(super) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Maximum number of cached TLS sessions per listener, of a few hundred bytes each: clients that reconnect resume them.
const SESSIONS_MAX: usize = 10_240;
