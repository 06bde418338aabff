mod algorithm;
mod authorities;
mod by_name;
mod client_identity;
mod contents;
mod dates;
mod error;
mod handshake;
mod https;
mod identity;
mod notes;
mod revoked;
mod sessions;
#[cfg(test)]
mod tests;
mod verifier;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{self, CertificateError, HandshakeKind, ServerConfig};
use x509_parser::time::ASN1Time;

use self::by_name::ByName;
use self::dates::NeverValid;
pub use self::error::TlsError;
pub(crate) use self::https::Https;
use self::notes::Notes;
use self::revoked::{CertificateId, RevokedCertificates};
use self::sessions::Sessions;
use self::verifier::VersionOne;
use super::quic::QuicSettings;
use crate::config::{ClientCertificate, Tls, Transport};

/// A TLS connection.
pub(super) type ServerStream = tokio_rustls::server::TlsStream<TcpStream>;

/// The certificates of a listener. Connections after a reload use the new ones.
#[derive(Debug)]
pub(super) struct Certificates {
    current: ArcSwap<Loaded>,
}

/// What was made of the files at the last load.
#[derive(Debug)]
struct Loaded {
    files: Tls,
    config: Arc<ServerConfig>,
    /// Made of `config` for a listener for QUIC.
    quic: OnceLock<QuicSettings>,
    verifier: Arc<dyn ClientCertVerifier>,
    /// The authorities that sign client certificates.
    authorities: Vec<CertificateDer<'static>>,
    /// How many loads since the start have removed an authority or had other settings.
    removals: u64,
    /// When the first certificate of each of the server's chains expires, in seconds since 1970, and its file.
    ends: Vec<(i64, PathBuf)>,
    revoked: RevokedCertificates,
}

/// The certificates that a client has presented, the first of which is its own.
#[derive(Debug)]
pub(in crate::server) struct Presented(Box<[CertificateId]>);

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
        let (loaded, notes) = read_files(&files)?;
        notes.log();
        Ok(Self { current: ArcSwap::from_pointee(loaded) })
    }

    /// Reads all files again. After an error the current ones stay in use.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        self.replace(self.current.load().files.clone())
    }

    /// Reads these files, and uses them in place of the current ones. After an error the current ones stay in use.
    pub(super) fn replace(&self, files: Tls) -> Result<(), TlsError> {
        let (mut loaded, notes) = read_files(&files)?;
        let before = self.current.load();
        if before.quic.get().is_some() {
            loaded.quic = OnceLock::from(QuicSettings::new(&loaded.config)?);
        }
        notes.log();
        // With other settings, whatever was verified is verified again.
        let has_removed =
            before.files != files || before.authorities.iter().any(|authority| !loaded.authorities.contains(authority));
        loaded.removals = before.removals + u64::from(has_removed);
        self.current.store(Arc::new(loaded));
        Ok(())
    }

    /// When the first certificate of the server's chains expires, in seconds since 1970.
    pub(super) fn expires(&self) -> i64 {
        self.current.load().ends.iter().map(|(end, _)| *end).min().unwrap_or_default()
    }

    /// Logs that a certificate in use has expired, or will soon.
    pub(super) fn log_expiry(&self) {
        let mut notes = Notes::default();
        let loaded = self.current.load();
        for (end, path) in &loaded.ends {
            if let Ok(end) = ASN1Time::from_timestamp(*end) {
                notes.check_end(path, end);
            }
        }
        notes.log();
    }

    /// Performs the TLS handshake. Returns the [`removals`](Self::removals) at the load by which the client's certificate was verified, too.
    pub(super) async fn accept(&self, stream: TcpStream) -> Result<(ServerStream, u64), AcceptError> {
        let started = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(AcceptError::Failed)?;
        let loaded = self.current.load_full();
        let result = started.into_stream(Arc::clone(&loaded.config)).await;
        let stream = result.map_err(|error| {
            let is_reset = matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe);
            if is_reset { AcceptError::Reset } else { AcceptError::Failed(in_words(error)) }
        })?;
        // In a resumed session, the library takes the certificates of the client from the session, and does not verify them.
        let (_, session) = stream.get_ref();
        if session.handshake_kind() == Some(HandshakeKind::Resumed) {
            let refused = |error| AcceptError::Failed(in_words(io::Error::new(io::ErrorKind::InvalidData, error)));
            loaded.verify(certificates_of(&stream)).map_err(refused)?;
        }
        Ok((stream, loaded.removals))
    }

    /// What a connection of QUIC gets now, and the [`removals`](Self::removals) at the load by which the client's certificate is verified.
    pub(super) fn quic(&self) -> Result<(QuicSettings, u64), TlsError> {
        let loaded = self.current.load();
        let settings = match loaded.quic.get() {
            Some(settings) => settings.clone(),
            None => {
                let settings = QuicSettings::new(&loaded.config)?;
                loaded.quic.get_or_init(|| settings).clone()
            }
        };
        Ok((settings, loaded.removals))
    }

    /// The certificates that the client has presented, as far as a revocation list could name them later; `None`: it has presented none.
    pub(super) fn presented(&self, certificates: &[CertificateDer<'_>]) -> Option<Presented> {
        if certificates.is_empty() {
            return None;
        }
        let listed = if self.current.load().files.crl.is_some() { PRESENTED_MAX } else { 0 };
        Some(Presented(certificates.iter().take(listed).filter_map(CertificateId::of).collect()))
    }

    /// How many loads have removed an authority. When it changes, clients may have a certificate that is not valid any more.
    pub(super) fn removals(&self) -> u64 {
        self.current.load().removals
    }

    /// Whether the certificates that a client has presented are valid by the current files, or there are none.
    pub(super) fn verifies(&self, certificates: &[CertificateDer<'_>]) -> bool {
        self.current.load().verify(certificates).is_ok()
    }

    /// Whether a revocation list names a certificate that the client has presented.
    pub(super) fn revokes(&self, presented: &Presented) -> bool {
        self.current.load().revoked.has_any(&presented.0)
    }

    /// The user name in the client certificate, where `identity_as_user_name` is set; `None`: it has none.
    ///
    /// # Errors
    /// The certificate has what can't be a user name.
    pub(super) fn identity_of(&self, certificates: &[CertificateDer<'_>]) -> io::Result<Option<Arc<str>>> {
        let loaded = self.current.load();
        let certificate = certificates.first().filter(|_| loaded.files.identity_as_user_name);
        let Some(certificate) = certificate else { return Ok(None) };
        client_identity::of(certificate, loaded.files.identity).map_err(|fault| io::Error::other(fault.to_string()))
    }
}

impl Loaded {
    /// Verifies the certificates that a client has presented, if it has.
    fn verify(&self, certificates: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let [end_entity, intermediates @ ..] = certificates else { return Ok(()) };
        // A listener that asks for no certificates any more has nothing against those that were presented before.
        if self.files.client_certificate == ClientCertificate::None {
            return Ok(());
        }
        self.verifier.verify_client_cert(end_entity, intermediates, UnixTime::now()).map(drop)
    }
}

/// The certificates that the client of a TLS connection has presented, its own first.
pub(super) fn certificates_of(stream: &ServerStream) -> &[CertificateDer<'static>] {
    stream.get_ref().1.peer_certificates().unwrap_or_default()
}

/// Reads all files without using them. Returns what an operator should know about them.
pub(in crate::server) fn check(files: &Tls, transport: Transport) -> Result<Vec<String>, TlsError> {
    let (loaded, notes) = read_files(files)?;
    if transport == Transport::Quic {
        QuicSettings::new(&loaded.config)?;
    }
    Ok(notes.into_lines())
}

/// What is made of the files, and what an operator should know about them.
fn read_files(files: &Tls) -> Result<(Loaded, Notes), TlsError> {
    let (mut provider, mut notes) = (provider(), Notes::default());
    handshake::restrict(&mut provider, files);
    let provider = Arc::new(provider);
    let (mut identities, mut ends) = (Vec::new(), Vec::new());
    for (certificate, key) in files.certificate_files() {
        let identity = identity::read((certificate, key), &provider, &mut notes)?;
        ends.push((identity.expires, certificate.to_owned()));
        identities.push(identity);
    }
    let by_name = ByName::new(files, identities, &mut notes)?;
    let verifier::Read { verifier, authorities, lists } = verifier::read(files, &provider, &mut notes)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&handshake::versions(files))?
        .with_client_cert_verifier(Arc::clone(&verifier))
        .with_cert_resolver(Arc::new(by_name));
    handshake::apply(&mut config, files);
    config.session_storage = Arc::new(Sessions::new(files.client_certificate != ClientCertificate::None));
    // A client has one connection and resumes it once; the second ticket would take memory until it is evicted.
    config.send_tls13_tickets = 1;
    let revoked = RevokedCertificates::of(&lists);
    let files = files.clone();
    let config = Arc::new(config);
    let quic = OnceLock::new();
    Ok((Loaded { files, config, quic, verifier, authorities, removals: 0, ends, revoked }, notes))
}

/// The error of a handshake, in words if a client certificate or the protocols of the client are its cause.
fn in_words(error: io::Error) -> io::Error {
    let text = match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::NoCertificatesPresented) => "the client presented no certificate".to_owned(),
        Some(rustls::Error::InvalidCertificate(cause)) => refusal(cause),
        Some(rustls::Error::NoApplicationProtocol) => {
            "the client names protocols (ALPN), and none that the listener accepts (alpn)".to_owned()
        }
        _ => return error,
    };
    io::Error::new(error.kind(), text)
}

/// Why the certificate of a client is refused.
fn refusal(cause: &CertificateError) -> String {
    if let CertificateError::Other(other) = cause
        && (other.0.is::<VersionOne>() || other.0.is::<NeverValid>())
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
pub(in crate::server) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
pub(in crate::server) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Certificates of a client that are remembered: longer chains are not in use.
const PRESENTED_MAX: usize = 8;
