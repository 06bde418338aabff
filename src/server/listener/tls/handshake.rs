//! The settings of the handshake that don't concern certificates.

use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig, SupportedProtocolVersion};

use crate::config::{CipherSuite, Tls, TlsVersion};

/// Leaves the cipher suites that the settings name.
pub(super) fn restrict(provider: &mut CryptoProvider, files: &Tls) {
    if let Some(suites) = &files.cipher_suites {
        provider.cipher_suites.retain(|suite| suites.iter().any(|wanted| of_library(*wanted) == suite.suite()));
    }
}

/// The versions that the settings allow.
pub(super) fn versions(files: &Tls) -> Vec<&'static SupportedProtocolVersion> {
    match files.min_version {
        TlsVersion::V1_2 => vec![&TLS13, &TLS12],
        TlsVersion::V1_3 => vec![&TLS13],
    }
}

/// Sets what follows the choice of certificates.
pub(super) fn apply(config: &mut ServerConfig, files: &Tls) {
    config.alpn_protocols = files.alpn.iter().flatten().map(|name| name.as_bytes().to_vec()).collect();
    config.max_fragment_size =
        files.record_size.and_then(|size| usize::try_from(size).ok()).map(|size| size + RECORD_HEADER_BYTES);
}

const fn of_library(suite: CipherSuite) -> rustls::CipherSuite {
    match suite {
        CipherSuite::Aes128 => rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Aes256 => rustls::CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::ChaCha20 => rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdsaAes128 => rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaAes256 => rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaChaCha20 => rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes128 => rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaAes256 => rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaChaCha20 => rustls::CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

/// The library's size of a record includes its header.
const RECORD_HEADER_BYTES: usize = 5;
