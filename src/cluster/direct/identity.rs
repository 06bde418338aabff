//! The authentication of both ends of a connection: TLS 1.3 with raw public keys (RFC 7250). The nodes exchange the keys through the service before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use tokio_rustls::rustls::server::AlwaysResolvesServerRawPublicKeys;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::server_trust::provider;

/// The public key of a node, an Ed25519 key as SubjectPublicKeyInfo has it. Each process draws its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeKey(pub(super) [u8; 44]);

impl Default for NodeKey {
    fn default() -> Self {
        Self([0; 44])
    }
}

/// The keys of the nodes that have introduced themselves.
#[derive(Debug, Default)]
pub(super) struct KnownKeys(Mutex<HashMap<String, NodeKey>>);

impl KnownKeys {
    /// Notes the key of a node, in place of the one that it had. Returns whether there was room: there are at most [`NODES_MAX`].
    pub(super) fn note(&self, node: &str, key: NodeKey) -> bool {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = keys.len() < NODES_MAX || keys.contains_key(node);
        if has_room {
            keys.insert(node.to_owned(), key);
        }
        has_room
    }

    /// The node with this key.
    pub(super) fn node_of(&self, certificate: &CertificateDer<'_>) -> Option<String> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().find(|(_, key)| key.0 == **certificate).map(|(node, _)| node.clone())
    }
}

/// What this node shows in connections.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) key: NodeKey,
    certified: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl Identity {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random numbers, or the library of cryptography no Ed25519.
    pub(super) fn new() -> Result<Self, Error> {
        let mut private = [0; PKCS8_BEGIN.len() + SEED_BYTES];
        let (begin, seed) = private.split_at_mut(PKCS8_BEGIN.len());
        begin.copy_from_slice(&PKCS8_BEGIN);
        getrandom::fill(seed).map_err(|_| Error::FailedToGetRandomBytes)?;
        let provider = Arc::new(provider());
        let private = provider.key_provider.load_private_key(PrivatePkcs8KeyDer::from(private.to_vec()).into())?;
        let public = private.public_key().ok_or_else(|| Error::General("no public key".to_owned()))?;
        let public: Vec<u8> = public.as_ref().to_vec();
        let key =
            <[u8; 44]>::try_from(&*public).map_err(|_| Error::General("a public key of another kind".to_owned()))?;
        let certified = Arc::new(CertifiedKey::new(vec![public.into()], private));
        Ok(Self { key: NodeKey(key), certified, provider })
    }

    /// For connections of nodes whose keys are known.
    pub(super) fn acceptor(&self, known: Arc<KnownKeys>) -> Result<TlsAcceptor, Error> {
        let verifier = Arc::new(Verifier { expected: Expected::Known(known), provider: Arc::clone(&self.provider) });
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(&[&TLS13])?;
        let resolver = Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.certified)));
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// For a connection to the node with this key.
    pub(super) fn connector(&self, key: NodeKey) -> Result<TlsConnector, Error> {
        let verifier = Arc::new(Verifier { expected: Expected::One(key), provider: Arc::clone(&self.provider) });
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_protocol_versions(&[&TLS13])?;
        let resolver = Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.certified)));
        let mut config =
            builder.dangerous().with_custom_certificate_verifier(verifier).with_client_cert_resolver(resolver);
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// Verifies that the other end has one of the expected keys.
#[derive(Debug)]
struct Verifier {
    expected: Expected,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Expected {
    One(NodeKey),
    Known(Arc<KnownKeys>),
}

impl Verifier {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let is_expected = match &self.expected {
            Expected::One(key) => key.0 == **certificate,
            Expected::Known(keys) => keys.node_of(certificate).is_some(),
        };
        if is_expected { Ok(()) } else { Err(CertificateError::ApplicationVerificationFailure.into()) }
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(&**certificate);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 alone is used".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 alone is used".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// An Ed25519 key of 32 bytes in PKCS #8 (RFC 8410, section 7) begins like this.
const PKCS8_BEGIN: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const SEED_BYTES: usize = 32;
/// More than a cluster has.
pub(super) const NODES_MAX: usize = 128;
