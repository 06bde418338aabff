use proptest::prelude::*;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::super::tests::{EC_PUBLIC, ED_PUBLIC, EDDSA, ES256, RS256, RSA_PUBLIC, SMALL_PUBLIC};
use super::*;

const ALL: [TokenAlgorithm; 3] = [TokenAlgorithm::RS256, TokenAlgorithm::ES256, TokenAlgorithm::EdDSA];

/// The JSON Web Key of a public key in PEM.
fn jwk(pem: &str, kid: &str) -> Value {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, info) = SubjectPublicKeyInfo::from_der(&der).unwrap();
    let bits = info.subject_public_key.data.to_vec();
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    if let Ok(PublicKey::RSA(key)) = info.parsed() {
        return json!({"kty": "RSA", "kid": kid, "n": text(key.modulus), "e": text(key.exponent)});
    }
    match bits.len() {
        65 => {
            json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": text(&bits[1..33]), "y": text(&bits[33..])})
        }
        _ => json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": text(&bits)}),
    }
}

fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

fn set(keys: &[Value]) -> Result<KeySet, &'static str> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), &ALL)
}

fn verify(keys: &[Value], token: &str) -> Result<String, Fault> {
    let claims = set(keys).unwrap().verify(token.as_bytes())?;
    Ok(claims["sub"].as_str().unwrap().to_owned())
}

#[test]
fn tokens_without_kid_are_verified_by_the_only_key_for_their_algorithm() {
    let all = [jwk(RSA_PUBLIC, "r"), jwk(EC_PUBLIC, "c"), jwk(ED_PUBLIC, "d")];
    for token in [RS256, ES256, EDDSA] {
        assert_eq!(verify(&all, token).as_deref(), Ok("device-7"));
    }
    assert_eq!(verify(&[jwk(RSA_PUBLIC, "1"), jwk(RSA_PUBLIC, "2")], RS256), Err(Fault::UnknownKey));
    assert_eq!(verify(&[jwk(EC_PUBLIC, "1")], RS256), Err(Fault::Algorithm));
    let other = URL_SAFE_NO_PAD.encode([7; 32]);
    assert_eq!(verify(&[with(jwk(ED_PUBLIC, "1"), "x", json!(other))], EDDSA), Err(Fault::Signature));
}

#[test]
fn a_kid_selects_the_key_and_nothing_else_in_the_header_does() {
    let keys = set(&[jwk(RSA_PUBLIC, "1"), jwk(RSA_PUBLIC, "2")]).unwrap();
    let token = |header: Value| {
        let rest = RS256.split_once('.').unwrap().1;
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
    };
    let judge = |header: Value| {
        let token = token(header);
        (keys.knows(token.as_bytes()), keys.verify(token.as_bytes()).unwrap_err())
    };
    // The signature is for another header.
    assert_eq!(judge(json!({"alg": "RS256", "kid": "2"})), (true, Fault::Signature));
    let jku = json!({"alg": "RS256", "kid": "2", "jku": "https://evil.example.com", "x5u": "https://evil.example.com"});
    assert_eq!(judge(jku), (true, Fault::Signature));
    assert_eq!(judge(json!({"alg": "RS256", "kid": "3"})), (false, Fault::UnknownKey));
    assert_eq!(judge(json!({"alg": "RS256", "kid": 1})), (true, Fault::Malformed));
    assert_eq!(judge(json!({"alg": "RS256"})), (true, Fault::UnknownKey));
    for algorithm in ["none", "HS256", "ES256", "RS384"] {
        assert_eq!(judge(json!({"alg": algorithm, "kid": "2"})).1, Fault::Algorithm, "{algorithm}");
    }
}

#[test]
fn a_key_that_is_not_usable_is_passed_over() {
    let good = jwk(EC_PUBLIC, "good");
    for unusable in [
        jwk(SMALL_PUBLIC, "small"),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "secret"}),
        json!({"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}),
        json!("text"),
        json!({}),
        with(jwk(RSA_PUBLIC, "r"), "use", json!("enc")),
        with(jwk(RSA_PUBLIC, "r"), "key_ops", json!(["encrypt"])),
        with(jwk(RSA_PUBLIC, "r"), "alg", json!("RS512")),
        with(jwk(RSA_PUBLIC, "r"), "n", json!("not base64!")),
        with(jwk(RSA_PUBLIC, "r"), "n", json!("A".repeat(20_000))),
        with(jwk(RSA_PUBLIC, "r"), "e", json!("")),
        with(jwk(EC_PUBLIC, "c"), "x", json!("AA")),
        with(jwk(ED_PUBLIC, "d"), "x", json!("AA")),
    ] {
        assert_eq!(set(&[good.clone(), unusable.clone()]).unwrap().keys.len(), 1, "{unusable}");
        assert!(set(&[unusable]).is_err());
    }
    let marked = with(with(jwk(RSA_PUBLIC, "r"), "use", json!("sig")), "alg", json!("RS256"));
    assert_eq!(verify(&[marked], RS256).as_deref(), Ok("device-7"));
    let named = with(jwk(ED_PUBLIC, "d"), "alg", json!("Ed25519"));
    assert_eq!(verify(&[named], EDDSA).as_deref(), Ok("device-7"));
}

#[test]
fn the_configuration_pins_the_algorithms_and_the_number_is_bounded() {
    let text = json!({"keys": [jwk(RSA_PUBLIC, "r"), jwk(EC_PUBLIC, "c")]}).to_string();
    let keys = KeySet::parse(text.as_bytes(), &[TokenAlgorithm::ES256]).unwrap();
    assert_eq!(keys.verify(RS256.as_bytes()).unwrap_err(), Fault::Algorithm);
    assert!(keys.verify(ES256.as_bytes()).is_ok());
    assert!(set(&vec![json!({}); KEYS_MAX + 1]).is_err());
    for text in ["", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": []}"#] {
        assert!(KeySet::parse(text.as_bytes(), &ALL).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_set_or_an_error(text in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = KeySet::parse(&text, &ALL);
    }

    #[test]
    fn any_numbers_are_a_key_or_none(n in prop::collection::vec(any::<u8>(), 0..1_100), e in prop::collection::vec(any::<u8>(), 0..12), token in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}") {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        if let Ok(keys) = set(&[json!({"kty": "RSA", "n": text(&n), "e": text(&e)})]) {
            prop_assert!(keys.verify(RS256.as_bytes()).is_err());
            prop_assert!(keys.verify(token.as_bytes()).is_err());
            keys.knows(token.as_bytes());
        }
    }
}
