//! The cryptography of tokens: that of TLS for signatures, and HMAC.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use pbkdf2::hmac::digest::KeyInit;
use pbkdf2::hmac::{Hmac, Mac};
use rustls_pki_types::{AlgorithmIdentifier, SignatureVerificationAlgorithm, alg_id};
use sha2::{Sha256, Sha384, Sha512};
use tokio_rustls::rustls::crypto;

use crate::config::TokenAlgorithm;

/// Makes it that of the process, once.
pub(super) fn install() {
    // An error says that it is already.
    let _ = PROVIDER.install_default();
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory,
    verifier_factory,
    // They are for JSON Web Keys, which are not used.
    key_utils: KeyUtils::new_unimplemented(),
};

/// The broker signs no tokens.
fn signer_factory(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if algorithm.family() != key.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let ours = ALGORITHMS.iter().find(|(_, theirs)| theirs == algorithm).ok_or(ErrorKind::UnsupportedAlgorithm)?.0;
    let key = key.try_get_as_bytes()?.to_vec();
    let ids = match ours {
        TokenAlgorithm::HS256 | TokenAlgorithm::HS384 | TokenAlgorithm::HS512 => {
            return Ok(Box::new(Secret { algorithm: ours, key }));
        }
        TokenAlgorithm::RS256 => (alg_id::RSA_ENCRYPTION, alg_id::RSA_PKCS1_SHA256),
        TokenAlgorithm::ES256 => (alg_id::ECDSA_P256, alg_id::ECDSA_SHA256),
        TokenAlgorithm::EdDSA => (alg_id::ED25519, alg_id::ED25519),
    };
    let scheme = scheme(ids).ok_or(ErrorKind::UnsupportedAlgorithm)?;
    Ok(Box::new(Public { algorithm: ours, key, scheme }))
}

/// The algorithm as the crate names it.
pub(super) fn of_crate(algorithm: TokenAlgorithm) -> Option<Algorithm> {
    ALGORITHMS.iter().find(|(ours, _)| *ours == algorithm).map(|(_, theirs)| *theirs)
}

const ALGORITHMS: [(TokenAlgorithm, Algorithm); 6] = [
    (TokenAlgorithm::HS256, Algorithm::HS256),
    (TokenAlgorithm::HS384, Algorithm::HS384),
    (TokenAlgorithm::HS512, Algorithm::HS512),
    (TokenAlgorithm::RS256, Algorithm::RS256),
    (TokenAlgorithm::ES256, Algorithm::ES256),
    (TokenAlgorithm::EdDSA, Algorithm::EdDSA),
];

/// How TLS verifies signatures of this kind, with keys of this kind.
fn scheme(
    (key, signature): (AlgorithmIdentifier, AlgorithmIdentifier),
) -> Option<&'static dyn SignatureVerificationAlgorithm> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = crypto::aws_lc_rs::default_provider();
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    let provider = crypto::ring::default_provider();
    let schemes = provider.signature_verification_algorithms.all.iter().copied();
    schemes.into_iter().find(|scheme| scheme.public_key_alg_id() == key && scheme.signature_alg_id() == signature)
}

/// A secret for HMAC.
struct Secret {
    algorithm: TokenAlgorithm,
    key: Vec<u8>,
}

/// A public key.
struct Public {
    algorithm: TokenAlgorithm,
    key: Vec<u8>,
    scheme: &'static dyn SignatureVerificationAlgorithm,
}

impl Verifier<Vec<u8>> for Secret {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        match self.algorithm {
            TokenAlgorithm::HS256 => verify_hmac::<Hmac<Sha256>>(&self.key, message, signature),
            TokenAlgorithm::HS384 => verify_hmac::<Hmac<Sha384>>(&self.key, message, signature),
            TokenAlgorithm::HS512 => verify_hmac::<Hmac<Sha512>>(&self.key, message, signature),
            TokenAlgorithm::RS256 | TokenAlgorithm::ES256 | TokenAlgorithm::EdDSA => Err(Error::new()),
        }
    }
}

/// Compares in constant time.
fn verify_hmac<M: Mac + KeyInit>(key: &[u8], message: &[u8], signature: &[u8]) -> std::result::Result<(), Error> {
    let mut mac = <M as Mac>::new_from_slice(key).map_err(|_| Error::new())?;
    mac.update(message);
    mac.verify_slice(signature).map_err(|_| Error::new())
}

impl Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let verify = |signature: &[u8]| self.scheme.verify_signature(&self.key, message, signature);
        let verified = match self.algorithm == TokenAlgorithm::ES256 {
            true => verify(&ecdsa_der(signature).ok_or(Error::new())?),
            false => verify(signature),
        };
        verified.map_err(|_| Error::new())
    }
}

impl JwtVerifier for Secret {
    fn algorithm(&self) -> Algorithm {
        of_crate(self.algorithm).unwrap_or_default()
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> Algorithm {
        of_crate(self.algorithm).unwrap_or_default()
    }
}

/// The signature of TLS, `SEQUENCE { r INTEGER, s INTEGER }`, of that of a token, which is `r` and `s` in 32 bytes each (RFC 7518,
/// section 3.4).
fn ecdsa_der(signature: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(P256_BYTES).filter(|(_, s)| s.len() == P256_BYTES)?;
    let mut content = Vec::with_capacity(2 * P256_BYTES + 6);
    for number in [r, s] {
        let digits = number.iter().position(|byte| *byte != 0).and_then(|first| number.get(first..))?;
        // A first bit would mean a negative number.
        let sign: &[u8] = if digits.first()? & 0x80 == 0 { &[] } else { &[0] };
        content.extend([DER_INTEGER, u8::try_from(sign.len() + digits.len()).ok()?]);
        content.extend(sign.iter().chain(digits));
    }
    let mut der = vec![DER_SEQUENCE, u8::try_from(content.len()).ok()?];
    der.append(&mut content);
    Some(der)
}

const P256_BYTES: usize = 32;
const DER_INTEGER: u8 = 0x02;
const DER_SEQUENCE: u8 = 0x30;
