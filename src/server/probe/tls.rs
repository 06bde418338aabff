//! TLS of the probe: whom it trusts, and who it is.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::error::ProbeError;
use crate::config;
use crate::server::listener::tls_provider;
use crate::server_trust::{self, ClientTls, ClientTlsError, NameCheck, check_validity};

/// Makes a TLS handshake.
pub(super) async fn connect<S>(stream: S, settings: &config::Probe) -> Result<TlsStream<S>, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = Arc::new(client_config(settings)?);
    let name = settings.server_name.as_deref().unwrap_or("localhost");
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| ProbeError::ServerName(name.to_owned()))?;
    TlsConnector::from(config).connect(server_name, stream).await.map_err(ProbeError::Lost)
}

/// Reads the files, so that new ones are used at the next connection.
fn client_config(settings: &config::Probe) -> Result<ClientConfig, ClientTlsError> {
    let identity = settings.certificate.as_deref().zip(settings.key.as_deref());
    let files = ClientTls { trusted: settings.ca.as_deref(), identity, name: NameCheck::Required };
    if settings.ca.is_some() {
        return server_trust::client_config(files);
    }
    server_trust::client_config_with(Arc::new(OfAnyIssuer(Arc::new(tls_provider()))), files.identity)
}

/// Verifies that a certificate is valid at this time and that the server has its key; anybody may have issued it, for any name.
#[derive(Debug)]
struct OfAnyIssuer(Arc<CryptoProvider>);

impl ServerCertVerifier for OfAnyIssuer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        check_validity(end_entity, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
