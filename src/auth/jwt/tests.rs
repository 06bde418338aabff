use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use pbkdf2::hmac::{Hmac, Mac};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

use super::*;
use crate::auth::error::{AuthError, KeyCause};
use crate::auth::tests::{anonymous, file};
use crate::auth::{Account, Authenticator, Renewal};
use crate::codec::{ClientId, ReasonCode};
use crate::config::{ProviderKind, Security, TokenAlgorithm};
use crate::routing::Access;
use crate::timestamp::Timestamp;
use crate::topic::{Filter, TopicName};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// The wall clock of all requests, in seconds.
const NOW: u64 = 1_700_000_000;
/// 2,048 bits. The keys and the tokens below were made with openssl.
pub(super) const RSA_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAvB6s2LvTLXUBHXKKVg7P\nNRJfVK2XXuFeRVFM2MjOmSE3/zGTGQs3VjKqD/A+uQ0mNBWCjZGGxhQ7Rya+U9gA\nsuZLy5UAWzic99IKUI++Hr5gfXOFpYhv9noKy5YVq0yq+6LUWgl1cKw3JUsX1beX\nC7B/PUn1ss49N3YG1Qsdso3+tjiHLqPfwqYrQ50wrvxvqB7sxlGE3iT0tZvg3MW0\nMO08zQX9FIZ++qL6b0Jg8dMyBX9Atk12uG5ySyyF0wB+msIMVqQQecOrnHKUk3ww\nEKJnQBd8AIu7MyTd1PuIryatCNUMkGBS2slb7MR7ywXI/W3HPJEwaYJw+qLJl9yw\nXQIDAQAB\n-----END PUBLIC KEY-----\n";
/// P-256.
pub(super) const EC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEUN8BWz5BQ9XhcANm1Klep5ALOC0Y\ng3eChpz51GZqyIMo994MyXdqyrr/jzInk6t2oUjdbx1AG0+ETVQKyNOd6Q==\n-----END PUBLIC KEY-----\n";
/// Ed25519.
pub(super) const ED_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA4dKB7sO2j92dDjNyGeMmTdLKpWXdfVU3hiCLp96eRvg=\n-----END PUBLIC KEY-----\n";
/// A curve of another algorithm.
const P384_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEY7gW7y2DMW1DjgfQrsYSiX4Jq0MGZEvE\nq7YWw2iDxZiAs+Kdx0XJVVZM7OyeS4UkvfIwtx9+nIY8tdww68W/A61jVIT5YyTw\nc2sGPwKCrExap1gNXdFEQZIgMwuSJg9q\n-----END PUBLIC KEY-----\n";
/// 1,024 bits.
pub(super) const SMALL_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDxnDqbvnQNyOOCgxISauCgIHcp\ncq4wJjbnIqaGeclYLdgdAxCuHT8y2iH+JhXW0T1w85t6uFhhHtbjcILiHltCUdXO\nPNo4s6Q0087c8FPcyxP0QxgQ6Agx6dYZHSydEFPflp+55qt+HnfuW/c6CnPZ2EZ6\nwPQCpj7/F8rocFePHwIDAQAB\n-----END PUBLIC KEY-----\n";
/// Signed with the key of `RSA_PUBLIC`: `{"sub": "device-7", "exp": 1700000100}`.
pub(super) const RS256: &str = "eyJhbGciOiAiUlMyNTYiLCAidHlwIjogIkpXVCJ9.eyJzdWIiOiAiZGV2aWNlLTciLCAiZXhwIjogMTcwMDAwMDEwMH0.YCr7W2WqhTZZrJ8xdY8JYECfcOZ77bvnY63NUWA5eKzi4ulL1FE7dObdXHdJH1bupaabISJAalX91-nQMcTqX6dNu3EDslrJjykW4Sv2RkQYRwEnVIvOyLKszzzAGKs37SO_zfThY7ekXED_qWWOnAaxiyLpVUYFqVbJYFoNsIjPOv2_0wHJyWQ7VkjKN4XVtKd2HigU_WvzBBCDfh5aMHVkIaK2Qsslf4Z28_DYx7KhKzaEMS6QvMsNxTZk4MmJXOOp-t-blRQ0o-AeTWb7_mgfJrsYnWMa38qGX7I95-ILgrZU2ORKbDOG6ukQ3HiivwcWG_9qF4paLkIy96ovow";
/// The same, signed with the key of `EC_PUBLIC`.
pub(super) const ES256: &str = "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9.eyJzdWIiOiAiZGV2aWNlLTciLCAiZXhwIjogMTcwMDAwMDEwMH0.6zFjjQ2CTax4-TiRVJrC57mLAdGlNjFsoAW7gR01ic6RmpFGJiGWRWuMROMCNA6Cm79O7q5Yhifg2MC1qd777Q";
/// The same, with a signature one of whose numbers has fewer than 32 bytes.
const ES256_SHORT: &str = "eyJhbGciOiAiRVMyNTYiLCAidHlwIjogIkpXVCJ9.eyJzdWIiOiAiZGV2aWNlLTciLCAiZXhwIjogMTcwMDAwMDEwMH0.AIth0SM1uPvejoW0JvtlzUAuUAKgXzHG1PYrssws9l_icVgDFJGrkLSlfOntbj6LJnjR4KoURg54bqK5reXuVA";
/// The same, signed with the key of `ED_PUBLIC`.
pub(super) const EDDSA: &str = "eyJhbGciOiAiRWREU0EiLCAidHlwIjogIkpXVCJ9.eyJzdWIiOiAiZGV2aWNlLTciLCAiZXhwIjogMTcwMDAwMDEwMH0.1KtzIilXt2uVdgKRRem6_YH7HR4-CLRvG6r65WEi1tzzYvPDTy1MqLVeBcIk3syORu7rX3eBv6aMYSIbpiVeCQ";

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn hmac(algorithm: &str, secret: &[u8], message: &str) -> Vec<u8> {
    match algorithm {
        "HS384" => {
            Hmac::<Sha384>::new_from_slice(secret).unwrap().chain_update(message).finalize().into_bytes().to_vec()
        }
        "HS512" => {
            Hmac::<Sha512>::new_from_slice(secret).unwrap().chain_update(message).finalize().into_bytes().to_vec()
        }
        _ => Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(message).finalize().into_bytes().to_vec(),
    }
}

/// A token with this header and these claims as text, signed with HMAC.
fn sealed(header: &str, claims: &str, algorithm: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    format!("{message}.{}", encode(&hmac(algorithm, secret, &message)))
}

/// A token with these claims.
fn signed(claims: Value) -> String {
    sealed(r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string(), "HS256", SECRET.as_bytes())
}

/// The claims of a valid token, with others in addition.
fn claims(others: Value) -> Value {
    let mut claims = json!({"sub": "device-7", "exp": NOW + 100});
    claims.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
    claims
}

fn settings(secret: &tempfile::TempPath) -> config::Provider {
    config::Provider { secret_file: Some(PathBuf::from(&**secret)), ..config::Provider::new(ProviderKind::Jwt) }
}

fn authenticator(change: impl FnOnce(&mut config::Provider)) -> Authenticator {
    let secret = file(SECRET);
    let mut settings = settings(&secret);
    change(&mut settings);
    Authenticator::new(&Security::default(), &[settings], &[]).unwrap()
}

/// With a public key.
fn with_key(key: &str) -> Result<Authenticator, AuthError> {
    let public = file(key);
    let public_key_file = Some(PathBuf::from(&*public));
    let settings = config::Provider { public_key_file, ..config::Provider::new(ProviderKind::Jwt) };
    Authenticator::new(&Security::default(), &[settings], &[])
}

fn request(token: impl Into<Vec<u8>>) -> Request {
    Request { password: Some(Bytes::from(token.into())), user_name: Some("sent".into()), ..anonymous() }
}

fn judged(authenticator: &Authenticator, request: &Request) -> Result<Decision, String> {
    match authenticator.authenticate(request).0 {
        Verdict::Accept(decision) => Ok(decision),
        Verdict::Refuse(refusal) => {
            assert_eq!(refusal.reason_code, ReasonCode::BadUserNameOrPassword);
            Err(refusal.cause.to_string())
        }
        Verdict::Continue { .. } => panic!("a token is judged at once"),
    }
}

fn accepted(authenticator: &Authenticator, token: &str) -> Decision {
    judged(authenticator, &request(token)).unwrap()
}

fn refused(authenticator: &Authenticator, token: &str) -> String {
    judged(authenticator, &request(token)).unwrap_err()
}

const NOT_OURS: &str = "no provider knows these credentials";

#[test]
fn a_valid_token_is_a_verified_user_until_it_expires() {
    let authenticator = authenticator(|_| {});
    let decision = accepted(&authenticator, &signed(claims(json!({}))));
    assert_eq!((decision.user.as_deref(), decision.is_verified, &*decision.provider), (Some("device-7"), true, "jwt"));
    assert_eq!(decision.expires_at, Some(Timestamp(1 + 100_000)));
    assert_eq!(*decision.access, Access::everything());
    assert!(decision.proof.is_some());
    // It is judged on the thread of a shard.
    assert!(authenticator.authenticate_at_once(&request(signed(claims(json!({}))))).is_some());
}

#[test]
fn each_algorithm_verifies_what_others_have_signed() {
    for (key, token) in [(RSA_PUBLIC, RS256), (EC_PUBLIC, ES256), (EC_PUBLIC, ES256_SHORT), (ED_PUBLIC, EDDSA)] {
        let authenticator = with_key(key).unwrap();
        assert_eq!(accepted(&authenticator, token).user.as_deref(), Some("device-7"));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let forged = format!(
            "{}.{}.{signature}",
            message.split('.').next().unwrap(),
            encode(br#"{"sub":"admin","exp":1700000100}"#)
        );
        assert_eq!(refused(&authenticator, &forged), "the signature of the token is wrong");
        let cut = refused(&authenticator, &token[..token.len() - 4]);
        assert!(cut.contains("signature") || cut.contains("malformed"), "{cut}");
        assert_eq!(refused(&authenticator, &format!("{message}.")), "the signature of the token is wrong");
    }
    for (name, algorithm) in [("HS384", TokenAlgorithm::HS384), ("HS512", TokenAlgorithm::HS512)] {
        let authenticator = authenticator(|settings| settings.algorithms = Some(vec![algorithm]));
        let token = sealed(&json!({"alg": name}).to_string(), &claims(json!({})).to_string(), name, SECRET.as_bytes());
        assert_eq!(accepted(&authenticator, &token).user.as_deref(), Some("device-7"));
        assert!(refused(&authenticator, &signed(claims(json!({})))).contains("algorithm"));
    }
}

#[test]
fn the_algorithm_of_the_configuration_decides_and_not_that_of_the_header() {
    let text = claims(json!({})).to_string();
    // The public key as the secret of an HMAC.
    for (key, bytes) in
        [(RSA_PUBLIC, RSA_PUBLIC.as_bytes()), (EC_PUBLIC, EC_PUBLIC.as_bytes()), (ED_PUBLIC, b"".as_slice())]
    {
        let authenticator = with_key(key).unwrap();
        for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":"ES384"}"#] {
            let token = sealed(header, &text, "HS256", bytes);
            assert!(refused(&authenticator, &token).contains("algorithm"), "{header}");
        }
    }
    let authenticator = authenticator(|_| {});
    for other in [RS256, ES256, EDDSA] {
        assert!(refused(&authenticator, other).contains("algorithm"));
    }
    let none = format!("{}.{}.", encode(br#"{"alg":"none"}"#), encode(text.as_bytes()));
    assert!(refused(&authenticator, &none).contains("algorithm"));
    for header in [r#"{"typ":"JWT"}"#, r#"{"alg":1}"#, r#"{"alg":["HS256"]}"#, r#"{}"#] {
        assert!(refused(&authenticator, &sealed(header, &text, "HS256", SECRET.as_bytes())).contains("algorithm"));
    }
}

#[test]
fn a_header_selects_no_key_and_its_critical_fields_are_not_ignored() {
    let authenticator = authenticator(|_| {});
    let text = claims(json!({})).to_string();
    let with_header = |header: &str| sealed(header, &text, "HS256", SECRET.as_bytes());
    let ignored = r#"{"alg":"HS256","jku":"http://192.0.2.1/","x5u":"http://192.0.2.1/","kid":"../../etc/passwd"}"#;
    accepted(&authenticator, &with_header(ignored));
    for header in [
        r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
    ] {
        let cause = refused(&authenticator, &with_header(header));
        assert!(cause.contains("malformed") || cause.contains("algorithm"), "{header}: {cause}");
    }
}

#[test]
fn what_has_not_the_form_of_a_token_is_for_the_next_provider() {
    let authenticator = authenticator(|_| {});
    let header = encode(br#"{"alg":"HS256"}"#);
    for text in [
        "",
        "secret",
        "a.b.c",
        "..",
        "a.b",
        &format!("{header}.b"),
        &format!("{header}.b.c.d"),
        &format!("{header}.b.c d"),
    ] {
        assert_eq!(refused(&authenticator, text), NOT_OURS, "{text}");
    }
    let invalid_text = [header.as_bytes(), b".\xFF."].concat();
    assert_eq!(judged(&authenticator, &request(invalid_text)).unwrap_err(), NOT_OURS);
    let without = Request { password: None, ..request("") };
    assert_eq!(judged(&authenticator, &without).unwrap_err(), NOT_OURS);
    // A client without credentials is judged by allow_anonymous alone.
    let local = Request { is_local: true, ..anonymous() };
    assert!(!judged(&authenticator, &local).unwrap().is_verified);
    let enhanced = Request { method: Some("SCRAM".into()), ..request(signed(claims(json!({})))) };
    assert!(
        matches!(authenticator.authenticate(&enhanced).0, Verdict::Refuse(refusal) if refusal.reason_code == ReasonCode::BadAuthenticationMethod)
    );
}

#[test]
fn a_huge_token_is_refused_before_it_is_verified() {
    let authenticator = authenticator(|_| {});
    let token = signed(claims(json!({"padding": "x".repeat(TOKEN_BYTES_MAX)})));
    assert_eq!(refused(&authenticator, &token), "the token has more than 16384 bytes");
    assert_eq!(refused(&authenticator, &"x".repeat(65_535)), NOT_OURS);
    let deep = format!("{{\"sub\":{}", "[".repeat(9_000));
    let token = sealed(r#"{"alg":"HS256"}"#, &deep, "HS256", SECRET.as_bytes());
    assert_eq!(refused(&authenticator, &token), "the token is malformed");
}

#[test]
fn a_token_is_valid_from_nbf_to_exp_with_the_leeway() {
    let strict = authenticator(|_| {});
    let lenient = authenticator(|settings| settings.leeway = Some(std::time::Duration::from_secs(10)));
    for (others, strictly, leniently) in [
        (json!({"exp": NOW}), "the token has expired", ""),
        (json!({"exp": NOW - 10}), "the token has expired", "the token has expired"),
        (json!({"exp": NOW as f64 - 9.5}), "the token has expired", ""),
        (json!({"nbf": NOW}), "", ""),
        (json!({"nbf": NOW + 1}), "the token is not valid yet", ""),
        (json!({"nbf": NOW + 11}), "the token is not valid yet", "the token is not valid yet"),
        (
            json!({"exp": "1800000000"}),
            "the claim exp of the token has a wrong type",
            "the claim exp of the token has a wrong type",
        ),
        (
            json!({"nbf": null}),
            "the claim nbf of the token has a wrong type",
            "the claim nbf of the token has a wrong type",
        ),
    ] {
        let request = request(signed(claims(others.clone())));
        assert_eq!(judged(&strict, &request).err().unwrap_or_default(), strictly, "{others}");
        assert_eq!(judged(&lenient, &request).err().unwrap_or_default(), leniently, "{others}");
    }
    let decision = accepted(&lenient, &signed(claims(json!({}))));
    assert_eq!(decision.expires_at, Some(Timestamp(1 + 110_000)));
}

#[test]
fn a_token_needs_exp_unless_the_configuration_says_otherwise() {
    let token = signed(json!({"sub": "device-7"}));
    assert_eq!(refused(&authenticator(|_| {}), &token), "the token has no exp");
    let lenient = authenticator(|settings| settings.require_exp = Some(false));
    assert_eq!(accepted(&lenient, &token).expires_at, None);
    let forever = signed(json!({"sub": "device-7", "exp": u64::MAX}));
    assert!(accepted(&lenient, &forever).expires_at.is_some());
}

#[test]
fn the_user_is_a_claim_that_is_a_name() {
    let by_mail = authenticator(|settings| settings.user_claim = Some("mail".to_owned()));
    assert_eq!(accepted(&by_mail, &signed(claims(json!({"mail": "a@b"})))).user.as_deref(), Some("a@b"));
    assert_eq!(refused(&by_mail, &signed(claims(json!({})))), "the token has no mail");
    for mail in [json!(7), json!(null), json!(["a"]), json!({"a": "b"})] {
        assert_eq!(
            refused(&by_mail, &signed(claims(json!({"mail": mail})))),
            "the claim mail of the token has a wrong type"
        );
    }
    for mail in ["", "a\nb", "a\0"] {
        assert!(refused(&by_mail, &signed(claims(json!({"mail": mail})))).contains("required value"));
    }
}

#[test]
fn required_claims_bind_a_token_to_its_client() {
    let required = [("sub", "%u"), ("client", "c-%c%"), ("aud", "mqtt"), ("level", "3")];
    let required = required.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let authenticator = authenticator(|settings| settings.required_claims = Some(required.into()));
    let right = json!({"sub": "sent", "client": "c-c%", "aud": ["other", "mqtt"], "level": 3});
    accepted(&authenticator, &signed(claims(right.clone())));
    for (name, value) in [
        ("sub", json!("else")),
        ("client", json!("c-")),
        ("aud", json!("other")),
        ("aud", json!([["mqtt"]])),
        ("level", json!("4")),
        ("level", json!(null)),
        ("level", json!({"3": 3})),
    ] {
        let mut wrong = right.clone();
        wrong[name] = value.clone();
        assert!(refused(&authenticator, &signed(claims(wrong))).contains(name), "{name}: {value}");
    }
    let mut short = right.clone();
    short.as_object_mut().unwrap().remove("aud");
    assert_eq!(refused(&authenticator, &signed(claims(short))), "the token has no aud");
    let unnamed = Request { user_name: None, ..request(signed(claims(right))) };
    assert!(judged(&authenticator, &unnamed).unwrap_err().contains("sub"));
}

#[test]
fn a_token_for_others_is_refused() {
    let token = signed(claims(json!({"aud": "billing"})));
    assert!(refused(&authenticator(|_| {}), &token).contains("audience"));
}

#[test]
fn a_token_of_another_issuer_is_for_the_next_provider() {
    let (one, two) = (file(SECRET), file("another secret that is long enough"));
    let issued = |secret: &tempfile::TempPath, name: &str| config::Provider {
        name: Some(name.to_owned()),
        required_claims: Some([("iss".to_owned(), name.to_owned())].into()),
        ..settings(secret)
    };
    let chain = [issued(&one, "one"), issued(&two, "two")];
    let authenticator = Authenticator::new(&Security::default(), &chain, &[]).unwrap();
    let token = |issuer: &str, secret: &str| {
        let text = claims(json!({"iss": issuer})).to_string();
        sealed(r#"{"alg":"HS256"}"#, &text, "HS256", secret.as_bytes())
    };
    assert_eq!(&*accepted(&authenticator, &token("one", SECRET)).provider, "one");
    assert_eq!(&*accepted(&authenticator, &token("two", "another secret that is long enough")).provider, "two");
    assert_eq!(refused(&authenticator, &token("two", SECRET)), "the signature of the token is wrong");
    assert_eq!(refused(&authenticator, &token("three", SECRET)), NOT_OURS);
}

#[test]
fn a_token_can_be_the_user_name() {
    let authenticator = authenticator(|settings| settings.from = Some(TokenFrom::Username));
    let token = signed(claims(json!({})));
    let named = Request { user_name: Some(token.clone().into()), password: None, ..anonymous() };
    assert_eq!(judged(&authenticator, &named).unwrap().user.as_deref(), Some("device-7"));
    assert_eq!(refused(&authenticator, &token), NOT_OURS);
}

fn may(access: &Access, publish: &str, subscribe: &str) -> (bool, bool) {
    let topic = TopicName::try_from(publish).unwrap();
    let filter = Filter::new(bytestring::ByteString::from(subscribe)).unwrap();
    (access.publish(&topic).is_ok(), access.subscribe(&filter).is_ok())
}

#[test]
fn topics_in_the_token_replace_those_of_the_acl_file() {
    let acl = file("user device-7\ntopic readwrite of/file/#\n");
    let secret = file(SECRET);
    let security = Security { acl_file: Some(PathBuf::from(&*acl)), ..Security::default() };
    let authenticator = Authenticator::new(&security, &[settings(&secret)], &[]).unwrap();
    let with_topics = signed(claims(json!({"acl": {"publish": ["up/%c/%u", "x/#"], "subscribe": ["down/%u/#"]}})));
    let access = accepted(&authenticator, &with_topics).access;
    assert!(access.is_granted());
    assert_eq!(may(&access, "up/c/device-7", "down/device-7/a"), (true, true));
    assert_eq!(may(&access, "down/device-7", "x/1"), (false, false));
    assert_eq!(may(&access, "of/file/a", "of/file/a"), (false, false));
    let without = accepted(&authenticator, &signed(claims(json!({})))).access;
    assert_eq!(may(&without, "of/file/a", "of/file/a"), (true, true));
    assert!(!without.is_granted());
    let nothing = accepted(&authenticator, &signed(claims(json!({"acl": {}})))).access;
    assert_eq!(may(&nothing, "of/file/a", "of/file/a"), (false, false));
    // A name that is a wildcard does not fill a level.
    let wild = Request { client_id: ClientId("+".into()), ..request(with_topics) };
    let access = judged(&authenticator, &wild).unwrap().access;
    assert_eq!(may(&access, "up/a/device-7", "down/device-7/a"), (false, true));
}

#[test]
fn topics_of_a_wrong_form_refuse_the_client() {
    let authenticator = authenticator(|_| {});
    for acl in [
        json!(null),
        json!("#"),
        json!(["#"]),
        json!({"publish": "#"}),
        json!({"publish": [1]}),
        json!({"subscribe": ["a/#/b"]}),
        json!({"subscribe": ["$share/g/a"]}),
        json!({"publish": [""]}),
        json!({"pub": ["#"]}),
        json!({"publish": ["#"], "deny": ["secret"]}),
        json!({"publish": vec!["a"; 1_025]}),
    ] {
        let cause = refused(&authenticator, &signed(claims(json!({"acl": acl}))));
        assert!(cause.contains("acl"), "{acl}: {cause}");
    }
    let other = self::authenticator(|settings| settings.acl_claim = Some("topics".to_owned()));
    accepted(&other, &signed(claims(json!({"acl": 1}))));
    let none = self::authenticator(|settings| settings.acl_claim = Some(String::new()));
    assert!(!accepted(&none, &signed(claims(json!({"acl": {"publish": ["a"]}})))).access.is_granted());
}

#[test]
fn a_key_that_cannot_be_used_is_an_error_that_says_why() {
    let cause = |key: &str| match with_key(key) {
        Err(AuthError::Key { cause, .. }) => cause,
        other => panic!("{other:?}"),
    };
    assert_eq!(cause("-----BEGIN EC PRIVATE KEY-----\nAAAA\n"), KeyCause::Private);
    assert_eq!(cause(P384_PUBLIC), KeyCause::Curve);
    assert_eq!(cause(SMALL_PUBLIC), KeyCause::RsaSize(1_024));
    for text in
        ["", "secret", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "-----BEGIN CERTIFICATE-----\n"]
    {
        assert_eq!(cause(text), KeyCause::NoPublicKey, "{text}");
    }
    assert_eq!(cause(&"x".repeat(65 << 10)), KeyCause::TooLarge);
    let public = file(RSA_PUBLIC);
    let settings = config::Provider {
        public_key_file: Some(PathBuf::from(&*public)),
        algorithms: Some(vec![TokenAlgorithm::ES256]),
        ..config::Provider::new(ProviderKind::Jwt)
    };
    let error = Authenticator::new(&Security::default(), &[settings], &[]).unwrap_err().to_string();
    assert!(error.ends_with("it has a key for RS256, and algorithms has ES256"), "{error}");
    for text in ["", "\n", "\r\n"] {
        let empty = file(text);
        let error = Authenticator::new(&Security::default(), &[self::settings(&empty)], &[]).unwrap_err().to_string();
        assert!(error.ends_with("the secret is empty"), "{error}");
    }
}

#[test]
fn a_line_end_is_not_a_part_of_a_secret_and_a_short_one_is_noted() {
    for end in ["\n", "\r\n"] {
        let secret = file(&format!("{SECRET}{end}"));
        let authenticator = Authenticator::new(&Security::default(), &[settings(&secret)], &[]).unwrap();
        accepted(&authenticator, &signed(claims(json!({}))));
        assert_eq!(authenticator.notes(), [""; 0]);
    }
    let short = file("short");
    let notes = Authenticator::new(&Security::default(), &[settings(&short)], &[]).unwrap().notes();
    assert!(notes[0].contains("the secret has 5 bytes") && !notes[0].contains("short\""), "{notes:?}");
}

#[test]
fn a_reload_keeps_the_topics_of_a_token_and_voids_it_with_its_key() {
    let (secret, acl) = (file(SECRET), file("user device-7\ntopic read old\n"));
    let security = Security { acl_file: Some(PathBuf::from(&*acl)), ..Security::default() };
    let authenticator = Authenticator::new(&security, &[settings(&secret)], &[]).unwrap();
    let granted = accepted(&authenticator, &signed(claims(json!({"acl": {"subscribe": ["of/token"]}}))));
    let ruled = accepted(&authenticator, &signed(claims(json!({}))));
    std::fs::write(&acl, "user device-7\ntopic read new\n").unwrap();
    authenticator.reload().unwrap();
    let client_id = ClientId("c".into());
    let user = Some(Account { name: "device-7", provider: Some("jwt") });
    let renew = |decision: &Decision| authenticator.renew((&client_id, "tcp"), user, decision.proof, &decision.access);
    assert_eq!(renew(&granted), Renewal::Stays(Arc::clone(&granted.access)));
    let Renewal::Stays(access) = renew(&ruled) else { panic!("revoked") };
    assert_eq!(may(&access, "a", "new"), (false, true));
    assert_eq!(may(&access, "a", "old"), (false, false));
    // The same for Sessions without connection.
    assert_eq!(authenticator.away(&client_id, user, &granted.access), granted.access);
    assert_eq!(authenticator.away(&client_id, user, &ruled.access), access);
    std::fs::write(&secret, "another secret, which is long enough").unwrap();
    authenticator.reload().unwrap();
    assert_eq!(renew(&granted), Renewal::TokenVoid(Arc::clone(&granted.access)));
    assert_eq!(renew(&ruled), Renewal::TokenVoid(access));
    authenticator.reload_with(&security, &[], &[]).unwrap();
    assert!(matches!(renew(&granted), Renewal::ProviderRemoved(access) if access == Arc::new(Access::new(Vec::new()))));
    assert_eq!(*authenticator.away(&client_id, user, &granted.access), Access::new(Vec::new()));
}

#[test]
fn other_settings_of_the_provider_void_a_token_too() {
    let secret = file(SECRET);
    let before = settings(&secret);
    let authenticator = Authenticator::new(&Security::default(), std::slice::from_ref(&before), &[]).unwrap();
    let decision = accepted(&authenticator, &signed(claims(json!({}))));
    let user = Some(Account { name: "device-7", provider: Some("jwt") });
    let renew = |after: config::Provider| {
        authenticator.reload_with(&Security::default(), &[after], &[]).unwrap();
        authenticator.renew((&ClientId("c".into()), "tcp"), user, decision.proof, &decision.access)
    };
    assert!(matches!(renew(before.clone()), Renewal::Stays(_)));
    let required_claims = Some([("sub".to_owned(), "%u".to_owned())].into());
    assert!(matches!(renew(config::Provider { required_claims, ..before.clone() }), Renewal::TokenVoid(_)));
    assert!(matches!(renew(before), Renewal::Stays(_)));
}

#[test]
fn a_restored_session_waits_for_the_token_of_its_client() {
    let user = Some(Account { name: "device-7", provider: Some("jwt") });
    let client_id = ClientId("c".into());
    let undecided = authenticator(|_| {}).access(&client_id, user);
    assert!(undecided.is_granted() && !undecided.has_rules());
    let ruled = authenticator(|settings| settings.acl_claim = Some(String::new())).access(&client_id, user);
    assert!(!ruled.is_granted());
    let elsewhere = Some(Account { name: "device-7", provider: Some("other") });
    assert_eq!(*authenticator(|_| {}).access(&client_id, elsewhere), Access::new(Vec::new()));
    let given = Some(Account { name: "device-7", provider: None });
    assert!(authenticator(|_| {}).access(&client_id, given).is_granted());
}

#[test]
fn a_standing_says_what_a_token_decides() {
    let standing = authenticator(|_| {}).standing(&ClientId("c".into()), Some("device-7"));
    assert!(standing.refusal.is_none() && standing.note.unwrap().contains("token"), "{standing:?}");
    let strict = authenticator(|settings| settings.acl_claim = Some(String::new()));
    assert_eq!(strict.standing(&ClientId("c".into()), Some("device-7")).note, Some("if its token has this name"));
}

fn any_token() -> impl Strategy<Value = Vec<u8>> {
    let json = prop_oneof![
        "[ -~]{0,80}",
        any::<(u32, bool, String)>().prop_map(|(number, flag, text)| {
            json!({"alg": "HS256", "sub": text, "exp": number, "nbf": flag, "acl": {"publish": [text, number]}})
                .to_string()
        }),
    ];
    let part = prop_oneof![json.prop_map(|text| encode(text.as_bytes())), "[A-Za-z0-9_.-]{0,40}"];
    let bytes = prop::collection::vec(part, 0..5).prop_map(|parts| parts.join(".").into_bytes());
    prop_oneof![4 => bytes, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn no_bytes_are_accepted_that_were_not_signed(token in any_token()) {
        let secret = file(SECRET);
        let authenticator = Authenticator::new(&Security::default(), &[settings(&secret)], &[]).unwrap();
        prop_assert!(judged(&authenticator, &request(token)).is_err());
        let public = with_key(EC_PUBLIC).unwrap();
        prop_assert!(judged(&public, &request(ES256.to_owned() + "x")).is_err());
    }

    #[test]
    fn signed_claims_of_any_form_cause_no_panic(text in "[ -~]{0,120}", number: f64, value: i64) {
        let authenticator = authenticator(|settings| settings.require_exp = Some(false));
        for claims in [
            text.clone(),
            json!({"sub": text, "exp": number, "nbf": value, "aud": text, "acl": {text.clone(): [number]}}).to_string(),
            json!({"sub": text, "exp": value, "acl": {"publish": [text], "subscribe": [text]}}).to_string(),
        ] {
            let token = sealed(r#"{"alg":"HS256"}"#, &claims, "HS256", SECRET.as_bytes());
            let _ = judged(&authenticator, &request(token));
        }
    }
}
