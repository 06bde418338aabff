//! TLS of the probe: whom it trusts, and who it is.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::error::ProbeError;
use crate::config;
use crate::server::listener::tls_provider;

/// Makes a TLS handshake.
pub(super) async fn connect<S>(stream: S, settings: &config::Probe) -> Result<TlsStream<S>, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = client_config(settings)?;
    let name = settings.server_name.as_deref().unwrap_or("localhost");
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| ProbeError::ServerName(name.to_owned()))?;
    TlsConnector::from(config).connect(server_name, stream).await.map_err(ProbeError::Lost)
}

/// Reads the files, so that new ones are used at the next connection.
fn client_config(settings: &config::Probe) -> Result<Arc<ClientConfig>, ProbeError> {
    let provider = Arc::new(tls_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &settings.ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_webpki_verifier(verifier)
        }
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(OfAnyIssuer(provider))),
    };
    let config = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => {
            let secret =
                PrivateKeyDer::from_pem_file(key).map_err(|source| ProbeError::Pem { path: key.clone(), source })?;
            builder.with_client_auth_cert(certificates(certificate)?, secret)?
        }
        (Some(_) | None, _) => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ProbeError> {
    let fail = |source| ProbeError::Pem { path: path.to_owned(), source };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(fail)?.collect();
    match certificates.map_err(fail)? {
        empty if empty.is_empty() => {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it contains no certificate");
            Err(ProbeError::File { path: path.to_owned(), source })
        }
        certificates => Ok(certificates),
    }
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
        let wrong = |error| Error::InvalidCertificate(error);
        let (_, certificate) =
            X509Certificate::from_der(end_entity).map_err(|_| wrong(CertificateError::BadEncoding))?;
        let (validity, now) = (certificate.validity(), i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        if now < validity.not_before.timestamp() {
            return Err(wrong(CertificateError::NotValidYet));
        }
        if now > validity.not_after.timestamp() {
            return Err(wrong(CertificateError::Expired));
        }
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
