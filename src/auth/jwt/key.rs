use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::Path;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::super::error::{AuthError, KeyCause};
use super::crypto;
use super::fault::Fault;
use super::form::object;
use crate::config::{self, TokenAlgorithm};

/// The key of a provider, with the algorithms that the configuration allows for it.
pub(in crate::auth) struct TokenKey {
    key: DecodingKey,
    /// The secret, or the public key.
    bytes: Vec<u8>,
    algorithms: Vec<TokenAlgorithm>,
    validation: Validation,
    note: Option<String>,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TokenKey").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

/// What tells it from another key.
impl Hash for TokenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.bytes, &self.algorithms).hash(state);
    }
}

impl TokenKey {
    /// Reads the key file of a provider.
    pub(in crate::auth) fn read(settings: &config::Provider) -> Result<Self, AuthError> {
        let (path, is_secret) = match (&settings.secret_file, &settings.public_key_file) {
            (Some(path), _) => (path, true),
            (None, Some(path)) => (path, false),
            // The validation of the configuration has found one.
            (None, None) => return Err(AuthError::Key { path: Path::new("").to_owned(), cause: KeyCause::Empty }),
        };
        let bytes = read_bytes(path)?;
        let read = if is_secret { Self::secret(path, &bytes, settings) } else { Self::public(&bytes, settings) };
        read.map_err(|cause| AuthError::Key { path: path.clone(), cause })
    }

    fn secret(path: &Path, bytes: &[u8], settings: &config::Provider) -> Result<Self, KeyCause> {
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let secret = secret.strip_suffix(b"\r").filter(|_| secret.len() < bytes.len()).unwrap_or(secret);
        let key = DecodingKey::from_secret(secret).map_err(|_| KeyCause::Empty)?;
        let algorithms = settings.algorithms.clone().unwrap_or_else(|| vec![TokenAlgorithm::HS256]);
        let length = secret.len();
        let note = (length < SECRET_BYTES_MIN).then(|| {
            let place = path.display();
            format!("{place}: the secret has {length} bytes: who has one token can guess a short secret; use {SECRET_BYTES_MIN} or more")
        });
        Ok(Self { note, ..Self::new(key, secret.to_vec(), algorithms) })
    }

    fn public(bytes: &[u8], settings: &config::Provider) -> Result<Self, KeyCause> {
        let text = String::from_utf8_lossy(bytes);
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyCause::Private);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(bytes).map_err(|_| KeyCause::NoPublicKey)?;
        let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| KeyCause::NoPublicKey)?;
        let (algorithm, key) = public_key(&info)?;
        let algorithms = settings.algorithms.clone().unwrap_or_else(|| vec![algorithm]);
        if let Some(other) = algorithms.iter().find(|other| **other != algorithm) {
            return Err(KeyCause::OtherAlgorithm { key: algorithm.name(), algorithm: other.name() });
        }
        Ok(Self::new(key, info.subject_public_key.data.to_vec(), algorithms))
    }

    /// A key that verifies signatures of these algorithms. `bytes` tell it from another one.
    pub(super) fn new(key: DecodingKey, bytes: Vec<u8>, algorithms: Vec<TokenAlgorithm>) -> Self {
        crypto::install();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms = algorithms.iter().filter_map(|algorithm| crypto::of_crate(*algorithm)).collect();
        // The claims are checked by `Terms`, with the broker's clock.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        Self { key, bytes, algorithms, validation, note: None }
    }

    /// A sentence if the key is weak.
    pub(in crate::auth) fn note(&self) -> Option<String> {
        self.note.clone()
    }

    /// The claims of a token, if it is signed with this key by an algorithm of the configuration.
    pub(super) fn verify(&self, token: &[u8]) -> Result<Map<String, Value>, Fault> {
        let header = token.split(|byte| *byte == b'.').next().and_then(object).ok_or(Fault::Malformed)?;
        let algorithm = header.get("alg").and_then(Value::as_str);
        if !self.algorithms.iter().any(|allowed| Some(allowed.name()) == algorithm) {
            return Err(Fault::Algorithm);
        }
        match jsonwebtoken::decode(token, &self.key, &self.validation) {
            Ok(data) => Ok(data.claims),
            Err(error) if *error.kind() == ErrorKind::InvalidSignature => Err(Fault::Signature),
            Err(error) if *error.kind() == ErrorKind::InvalidAlgorithm => Err(Fault::Algorithm),
            Err(_) => Err(Fault::Malformed),
        }
    }
}

/// The algorithm of a public key, and the key.
fn public_key(info: &SubjectPublicKeyInfo<'_>) -> Result<(TokenAlgorithm, DecodingKey), KeyCause> {
    let (kind, bits) = (&info.algorithm.algorithm, &*info.subject_public_key.data);
    if *kind == OID_PKCS1_RSAENCRYPTION {
        let Ok(PublicKey::RSA(key)) = info.parsed() else { return Err(KeyCause::NoPublicKey) };
        let size = key.key_size();
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&size) {
            return Err(KeyCause::RsaSize(size));
        }
        return Ok((TokenAlgorithm::RS256, DecodingKey::from_rsa_der(bits)));
    }
    if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        if curve.is_none_or(|curve| curve != OID_EC_P256) {
            return Err(KeyCause::Curve);
        }
        return Ok((TokenAlgorithm::ES256, DecodingKey::from_ec_der(bits)));
    }
    if *kind == OID_SIG_ED25519 {
        return Ok((TokenAlgorithm::EdDSA, DecodingKey::from_ed_der(bits)));
    }
    Err(KeyCause::KeyType)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, AuthError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(KEY_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(length) if length as u64 > KEY_BYTES_MAX => {
            Err(AuthError::Key { path: path.to_owned(), cause: KeyCause::TooLarge })
        }
        Ok(_) => Ok(bytes),
        Err(source) => Err(AuthError::Unreadable { path: path.to_owned(), source }),
    }
}

/// A secret as long as a hash of SHA-256 can't be guessed (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// What the cryptography of TLS verifies.
pub(super) const RSA_BITS_MIN: usize = 2_048;
pub(super) const RSA_BITS_MAX: usize = 8_192;
const KEY_BYTES_MAX: u64 = 64 << 10;
