//! JSON Web Key Sets (RFC 7517): public keys in JSON.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::fault::Fault;
use super::form::object;
use super::key::{RSA_BITS_MAX, RSA_BITS_MIN, TokenKey};
use crate::config::TokenAlgorithm;

/// The keys of a set that can verify tokens.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<SetKey>,
}

#[derive(Debug)]
struct SetKey {
    id: Option<String>,
    algorithm: TokenAlgorithm,
    key: TokenKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// The members of a key that say something about public keys for signatures.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set, and takes the keys of these algorithms. A key of another kind, or that is not whole, is passed over (RFC 7517, section 5),
    /// and so is one that is not for signatures, or is secret.
    pub(super) fn parse(text: &[u8], algorithms: &[TokenAlgorithm]) -> Result<Self, &'static str> {
        let document: Document = serde_json::from_slice(text).map_err(|_| "it is no JSON Web Key Set")?;
        if document.keys.len() > KEYS_MAX {
            return Err("it has more than 100 keys");
        }
        let usable = |value| SetKey::of(serde_json::from_value(value).ok()?, algorithms);
        let keys: Vec<SetKey> = document.keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() {
            Err("it has no key that is usable for the algorithms of the provider")
        } else {
            Ok(Self { keys })
        }
    }

    /// Whether it has a key with the `kid` of this token. One without `kid` counts as known.
    pub(super) fn knows(&self, token: &[u8]) -> bool {
        let header = header(token);
        let id = header.as_ref().and_then(|header| header.get("kid")?.as_str());
        id.is_none_or(|id| self.keys.iter().any(|key| key.id.as_deref() == Some(id)))
    }

    /// The claims of a token that one of the keys has signed: the one with its `kid`, or the only one for its algorithm if it has none.
    pub(super) fn verify(&self, token: &[u8]) -> Result<Map<String, Value>, Fault> {
        let header = header(token).ok_or(Fault::Malformed)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Fault::Algorithm)?;
        let id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) => Some(id.as_str()),
            Some(_) => return Err(Fault::Malformed),
        };
        let fits = |key: &&SetKey| key.algorithm.name() == algorithm && (id.is_none() || key.id.as_deref() == id);
        let mut fitting = self.keys.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => key.key.verify(token),
            _ if !self.keys.iter().any(|key| key.algorithm.name() == algorithm) => Err(Fault::Algorithm),
            _ => Err(Fault::UnknownKey),
        }
    }
}

impl SetKey {
    fn of(jwk: Jwk, algorithms: &[TokenAlgorithm]) -> Option<Self> {
        let is_for_signatures = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        let (algorithm, key, bytes) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let der = rsa_der(&decode(jwk.n.as_deref())?, &decode(jwk.e.as_deref())?)?;
                (TokenAlgorithm::RS256, DecodingKey::from_rsa_der(&der), der)
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (decode(jwk.x.as_deref())?, decode(jwk.y.as_deref())?);
                let point = [&[UNCOMPRESSED][..], &x, &y].concat();
                let is_whole = x.len() == COORDINATE_BYTES && y.len() == COORDINATE_BYTES;
                is_whole.then(|| (TokenAlgorithm::ES256, DecodingKey::from_ec_der(&point), point))?
            }
            ("OKP", Some("Ed25519")) => {
                let x = decode(jwk.x.as_deref()).filter(|x| x.len() == COORDINATE_BYTES)?;
                (TokenAlgorithm::EdDSA, DecodingKey::from_ed_der(&x), x)
            }
            _ => return None,
        };
        let is_wanted = is_for_signatures
            && algorithms.contains(&algorithm)
            && jwk
                .alg
                .as_deref()
                .is_none_or(|name| name == algorithm.name() || name == ED25519 && algorithm == TokenAlgorithm::EdDSA);
        is_wanted.then(|| Self { id: jwk.kid, algorithm, key: TokenKey::new(key, bytes, vec![algorithm]) })
    }
}

/// The header of a token. Nothing is verified yet: it only selects a key.
fn header(token: &[u8]) -> Option<Map<String, Value>> {
    token.split(|byte| *byte == b'.').next().and_then(object)
}

fn decode(text: Option<&str>) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok()
}

/// `RSAPublicKey` of PKCS #1: `SEQUENCE { n INTEGER, e INTEGER }`. `None`: no such key is usable.
fn rsa_der(n: &[u8], e: &[u8]) -> Option<Vec<u8>> {
    let (n, e) = (without_zeros(n), without_zeros(e));
    let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) || e.is_empty() || e.len() > EXPONENT_BYTES_MAX {
        return None;
    }
    let content = [integer(n)?, integer(e)?].concat();
    tagged(DER_SEQUENCE, &content)
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number.get(first..).unwrap_or_default()
}

fn integer(digits: &[u8]) -> Option<Vec<u8>> {
    // A first bit would mean a negative number.
    let sign: &[u8] = if digits.first()? & 0x80 == 0 { &[] } else { &[0] };
    tagged(DER_INTEGER, &[sign, digits].concat())
}

fn tagged(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(content.len()).ok()?.to_be_bytes();
    let length: &[u8] = match (high, low) {
        (0, 0..=0x7F) => &[low],
        (0, _) => &[0x81, low],
        (_, _) => &[0x82, high, low],
    };
    Some([&[tag], length, content].concat())
}

/// More keys than issuers have at a time.
const KEYS_MAX: usize = 100;
/// The name of the algorithm of Ed25519 keys in RFC 9864, beside EdDSA.
const ED25519: &str = "Ed25519";
/// Of P-256 and of Ed25519.
const COORDINATE_BYTES: usize = 32;
const UNCOMPRESSED: u8 = 4;
const EXPONENT_BYTES_MAX: usize = 8;
const DER_INTEGER: u8 = 0x02;
const DER_SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests;
