//! Values of `[listeners.tls]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A further certificate of a listener, for clients that ask for one of its names: one `[[listeners.tls.certificates]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedCertificate {
    /// File with the certificate followed by its chain, PEM.
    pub certificate: PathBuf,
    /// File with its private key, PEM.
    pub key: PathBuf,
}

/// For which certificates the revocation lists must have an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrlCheck {
    /// For the client's certificate. Those above it are checked if there is a list of their authority.
    #[default]
    Leaf,
    /// For all certificates of the chain below the trusted authority.
    Chain,
}

/// What happens if a revocation list has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiredCrl {
    /// It still applies; the log says that it has expired, at the start and at a reload.
    #[default]
    Warn,
    /// The clients whose certificates it concerns are refused.
    Refuse,
}

/// Whether client certificates must be valid now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateDates {
    /// They and those above them must be valid by the clock of this machine.
    #[default]
    Checked,
    /// They are accepted before and after their time, too, if they and those above them were valid at some time together.
    Ignored,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// A cipher suite, by the name that IANA has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CipherSuite {
    #[serde(rename = "TLS_AES_128_GCM_SHA256")]
    Aes128,
    #[serde(rename = "TLS_AES_256_GCM_SHA384")]
    Aes256,
    #[serde(rename = "TLS_CHACHA20_POLY1305_SHA256")]
    ChaCha20,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")]
    EcdsaAes128,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")]
    EcdsaAes256,
    #[serde(rename = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")]
    EcdsaChaCha20,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")]
    RsaAes128,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")]
    RsaAes256,
    #[serde(rename = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256")]
    RsaChaCha20,
}

impl CipherSuite {
    /// The version of TLS that it belongs to.
    pub const fn version(self) -> TlsVersion {
        match self {
            Self::Aes128 | Self::Aes256 | Self::ChaCha20 => TlsVersion::V1_3,
            Self::EcdsaAes128
            | Self::EcdsaAes256
            | Self::EcdsaChaCha20
            | Self::RsaAes128
            | Self::RsaAes256
            | Self::RsaChaCha20 => TlsVersion::V1_2,
        }
    }
}
