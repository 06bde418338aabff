mod algorithm;
mod contents;
mod error;
mod identity;
mod notes;
mod verifier;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::{Acceptor, NoServerSessionStorage, ServerSessionMemoryCache};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{self, CertificateError, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

pub use self::error::TlsError;
use self::identity::Identity;
use self::notes::Notes;
use self::verifier::VersionOne;
use crate::config::{ClientCertificate, Tls};

/// A TLS connection.
pub(super) type ServerStream = tokio_rustls::server::TlsStream<TcpStream>;

/// The certificates of a listener. Connections after a reload use the new ones.
#[derive(Debug)]
pub(super) struct Certificates {
    files: Tls,
    current: ArcSwap<ServerConfig>,
    /// When the first certificate of the chain expires, in seconds since 1970.
    expires: AtomicI64,
}

/// Why a TLS handshake failed.
#[derive(Debug)]
pub(super) enum AcceptError {
    /// The text of the library names the alert.
    Failed(io::Error),
    /// The client reset the connection after its ClientHello, without an alert, as a health check does that has seen enough.
    Reset,
}

impl Certificates {
    /// Reads all files.
    pub(super) fn load(files: Tls) -> Result<Self, TlsError> {
        let Usable { config, expires, notes } = server_config(&files)?;
        notes.log();
        Ok(Self { files, current: ArcSwap::from_pointee(config), expires: AtomicI64::new(expires) })
    }

    /// Reads all files again. After an error the current ones stay in use.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        let Usable { config, expires, notes } = server_config(&self.files)?;
        notes.log();
        self.current.store(Arc::new(config));
        self.expires.store(expires, Ordering::Relaxed);
        Ok(())
    }

    /// When the first certificate of the server's chain expires, in seconds since 1970.
    pub(super) fn expires(&self) -> i64 {
        self.expires.load(Ordering::Relaxed)
    }

    /// Logs that a certificate in use has expired, or will soon.
    pub(super) fn log_expiry(&self) {
        let mut notes = Notes::default();
        if let Ok(end) = ASN1Time::from_timestamp(self.expires()) {
            notes.check_end(&self.files.certificate, end);
        }
        notes.log();
    }

    /// Performs the TLS handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<ServerStream, AcceptError> {
        let started = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(AcceptError::Failed)?;
        let result = started.into_stream(self.current.load_full()).await;
        result.map_err(|error| {
            let is_reset = matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
            if is_reset { AcceptError::Reset } else { AcceptError::Failed(in_words(error)) }
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

/// Reads all files without using them. Returns what an operator should know about them.
pub(in crate::server) fn check(files: &Tls) -> Result<Vec<String>, TlsError> {
    server_config(files).map(|usable| usable.notes.into_lines())
}

/// What was made of the files of a listener.
struct Usable {
    config: ServerConfig,
    /// When the first certificate of the server's chain expires, in seconds since 1970.
    expires: i64,
    /// What an operator should know about the files.
    notes: Notes,
}

fn server_config(files: &Tls) -> Result<Usable, TlsError> {
    let (provider, mut notes) = (Arc::new(provider()), Notes::default());
    let Identity { key, expires } = identity::read(files, &provider, &mut notes)?;
    let verifier = verifier::read(files, &provider, &mut notes)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    if files.client_certificate == ClientCertificate::None {
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
    } else {
        // A resumed session would not be checked against the revocation list again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Usable { config, expires, notes })
}

/// The error of a handshake, in words if a client certificate is its cause.
fn in_words(error: io::Error) -> io::Error {
    let text = match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::NoCertificatesPresented) => "the client presented no certificate".to_owned(),
        Some(rustls::Error::InvalidCertificate(cause)) => refusal(cause),
        _ => return error,
    };
    io::Error::new(error.kind(), text)
}

/// Why the certificate of a client is refused.
fn refusal(cause: &CertificateError) -> String {
    if let CertificateError::Other(other) = cause
        && other.0.is::<VersionOne>()
    {
        return other.0.to_string();
    }
    if let CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } = cause {
        return "the revocation list in crl has expired, and crl_expired is \"refuse\"".to_owned();
    }
    let known = [
        (CertificateError::Revoked, "the client's certificate is revoked by the list in crl"),
        (CertificateError::UnknownIssuer, "the client's certificate was not signed by an authority in client_ca"),
        (
            CertificateError::UnknownRevocationStatus,
            "crl has no revocation list of the authority that signed the client's certificate",
        ),
    ];
    match known.iter().find(|(error, _)| error == cause) {
        Some((_, text)) => (*text).to_owned(),
        None => format!("the client's certificate is not valid: {cause}"),
    }
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
