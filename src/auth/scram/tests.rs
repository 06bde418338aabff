use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;

use super::message::{ClientFinal, Fault};
use super::*;
use crate::auth::error::ScramCause;
use crate::auth::exchange::{Exchange, ScramExchange};
use crate::auth::tests::{anonymous, file};
use crate::auth::{Account, Authenticator, Refusal, Renewal};
use crate::codec::ReasonCode;
use crate::config::{self, AllowAnonymous, Listener, ProviderKind, Security};

const SALT: [u8; 16] = *b"0123456789abcdef";

/// The line of a user in a file.
fn line(user: &str, password: &str, hash: ScramHash, iterations: u32) -> String {
    let credentials = Credentials::new(ScramTerms { hash, iterations }, password, SALT).unwrap();
    format!("{user}:{}\n", credentials.to_text())
}

fn alice_and_bob() -> String {
    line("alice", "sesam", ScramHash::Sha256, 4_096) + &line("bob", "sesam", ScramHash::Sha512, 5_000)
}

fn provider(name: &str, path: &Path) -> config::Provider {
    let (name, file) = (Some(name.to_owned()), Some(path.to_path_buf()));
    config::Provider { name, file, ..config::Provider::new(ProviderKind::Scram) }
}

fn authenticator(path: &Path) -> Authenticator {
    Authenticator::new(&Security::default(), &[provider("scram", path)], &[]).unwrap()
}

/// The first message of a client that is `user`.
fn first(method: &'static str, user: &str) -> Request {
    let data = Some(Bytes::from(format!("n,,n={user},r=abc")));
    Request { method: Some(method.into()), data, ..anonymous() }
}

/// The challenge, and the exchange to hand back.
fn challenged(authenticator: &Authenticator, request: &Request) -> (String, Exchange) {
    match authenticator.authenticate_at_once(request) {
        Some(Verdict::Continue { authentication_data: Some(data), exchange }) => {
            (String::from_utf8(data.to_vec()).unwrap(), exchange)
        }
        other => panic!("{other:?}"),
    }
}

/// What a client answers, as RFC 5802, section 3, says it.
fn answer(method: &'static str, user: &str, challenge: &str, password: &str) -> (Request, String) {
    let mechanism = Mechanism::of(method).unwrap();
    let part = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
    let salt = STANDARD.decode(part("s=")).unwrap();
    let salted = mechanism.salted_password(password.as_bytes(), &salt, part("i=").parse().unwrap());
    let client_key = mechanism.hmac(&salted, &[b"Client Key"]);
    let without_proof = format!("c=biws,r={}", part("r="));
    let signed = format!("n={user},r=abc,{challenge},{without_proof}");
    let signature = mechanism.hmac(&mechanism.hash(&client_key), &[signed.as_bytes()]);
    let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    let message = format!("{without_proof},p={}", STANDARD.encode(proof));
    let of_server = mechanism.hmac(&mechanism.hmac(&salted, &[b"Server Key"]), &[signed.as_bytes()]);
    let request = Request { method: Some(method.into()), data: Some(message.into()), ..anonymous() };
    (request, format!("v={}", STANDARD.encode(of_server)))
}

/// Authenticates `user`: the provider that accepted it, or the refusal and whether there was a challenge before it.
fn login(authenticator: &Authenticator, method: &'static str, user: &str, password: &str) -> Result<String, Refusal> {
    let (challenge, exchange) = challenged(authenticator, &first(method, user));
    let (request, of_server) = answer(method, user, &challenge, password);
    match authenticator.authenticate(&Request { exchange: Some(exchange), ..request }).0 {
        Verdict::Accept(decision) => {
            assert_eq!(decision.user.as_deref(), Some(user));
            assert!(decision.is_verified && decision.proof.is_some());
            assert_eq!(decision.authentication_data.as_deref(), Some(of_server.as_bytes()));
            Ok(decision.provider.to_string())
        }
        Verdict::Refuse(refusal) => Err(refusal),
        Verdict::Continue { .. } => panic!("a third step"),
    }
}

fn code(result: Result<String, Refusal>) -> ReasonCode {
    result.unwrap_err().reason_code
}

fn refusal(authenticator: &Authenticator, request: &Request) -> (ReasonCode, String) {
    match authenticator.authenticate(request).0 {
        Verdict::Refuse(refusal) => (refusal.reason_code, refusal.cause.to_string()),
        other @ (Verdict::Accept(_) | Verdict::Continue { .. }) => panic!("{other:?}"),
    }
}

#[test]
fn the_exchange_of_rfc_7677_is_accepted() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
    let stored = Credentials::new(ScramTerms { hash: ScramHash::Sha256, iterations: 4_096 }, "pencil", salt).unwrap();
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let exchange = ScramExchange {
        user: "user".to_owned(),
        header: "n,,".to_owned(),
        nonce: nonce.to_owned(),
        messages: format!("n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"),
    };
    let last = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    let server_final = finish(&stored, &exchange, last.as_bytes());
    assert_eq!(server_final.as_deref(), Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    let altered = last.replace("p=dH", "p=dI");
    assert_eq!(finish(&stored, &exchange, altered.as_bytes()), Err(Fault::Proof));
    for proof in ["", "AAAA", &STANDARD.encode([0; 64])] {
        let other = format!("c=biws,r={nonce},p={proof}");
        assert_eq!(finish(&stored, &exchange, other.as_bytes()), Err(Fault::Proof), "{proof}");
    }
}

#[test]
fn mqtt5_4_12_0_2_a_user_is_accepted_with_the_right_password_after_one_challenge() {
    let path = file(&alice_and_bob());
    let authenticator = authenticator(&path);
    assert_eq!(login(&authenticator, "SCRAM-SHA-256", "alice", "sesam").as_deref(), Ok("scram"));
    assert_eq!(login(&authenticator, "SCRAM-SHA-512", "bob", "sesam").as_deref(), Ok("scram"));
    assert_eq!(code(login(&authenticator, "SCRAM-SHA-256", "alice", "Sesam")), ReasonCode::BadUserNameOrPassword);
    assert_eq!(code(login(&authenticator, "SCRAM-SHA-512", "alice", "sesam")), ReasonCode::BadUserNameOrPassword);
    // Each exchange has its own nonce.
    let request = first("SCRAM-SHA-256", "alice");
    assert_ne!(challenged(&authenticator, &request).0, challenged(&authenticator, &request).0);
}

#[test]
fn an_unknown_user_is_refused_at_the_step_at_which_a_known_one_is() {
    let path = file(&alice_and_bob());
    let authenticator = authenticator(&path);
    let salt = |user: &str| {
        let (challenge, _) = challenged(&authenticator, &first("SCRAM-SHA-256", user));
        challenge.split_once(",s=").unwrap().1.to_owned()
    };
    // `bob` has credentials of another mechanism.
    for user in ["mallory", "bob"] {
        let of_user = salt(user);
        assert_eq!(of_user, salt(user));
        authenticator.reload().unwrap();
        assert_eq!(of_user, salt(user), "also after a reload");
        assert_eq!(of_user.split_once(',').unwrap().0.len(), salt("alice").split_once(',').unwrap().0.len());
        let refusal = login(&authenticator, "SCRAM-SHA-256", user, "sesam").unwrap_err();
        assert_eq!(refusal.reason_code, ReasonCode::BadUserNameOrPassword);
        assert!(refusal.cause.contains("unknown user") && refusal.cause.contains(user), "{refusal:?}");
    }
    assert_ne!(salt("mallory"), salt("trudy"));
    let iterations = |user: String| salt(&user).rsplit_once("i=").unwrap().1.to_owned();
    let all: std::collections::BTreeSet<_> = (0..64).map(|number| iterations(format!("user{number}"))).collect();
    assert_eq!(all.into_iter().collect::<Vec<_>>(), ["4096", "5000"], "those of the file");
}

#[test]
fn mqtt5_4_12_0_4_what_rfc_5802_does_not_allow_is_refused() {
    let path = file(&alice_and_bob());
    let authenticator = authenticator(&path);
    let with = |data: &str| Request { data: Some(data.to_owned().into()), ..first("SCRAM-SHA-256", "alice") };
    for accepted in [
        "n,,n=alice,r=abc",
        "y,,n=alice,r=abc",
        "n,a=alice,n=alice,r=abc",
        "n,,n=alice,r=abc,x=ignored",
        "n,,n=nobody,r=abc",
        "n,,n=a=2Cb=3D,r=abc",
        // SASLprep maps both to `alice`.
        "n,,n=a\u{AD}lice,r=abc",
        "n,,n=\u{FF41}lice,r=abc",
    ] {
        challenged(&authenticator, &with(accepted));
    }
    for (data, cause) in [
        ("", "malformed"),
        ("n", "malformed"),
        ("n,,", "malformed"),
        ("n,,n=alice", "malformed"),
        ("n,,n=alice,r=", "malformed"),
        ("n,,n=alice,r=a b", "malformed"),
        ("n,,r=abc,n=alice", "malformed"),
        ("n,,n=alice,r=abc,", "malformed"),
        ("n,,n=alice,r=abc,x", "malformed"),
        ("n,,n=alice,r=abc,x=", "malformed"),
        ("N,,n=alice,r=abc", "malformed"),
        ("n,alice,n=alice,r=abc", "malformed"),
        ("n,,n=a=2cb,r=abc", "malformed"),
        ("n,,n=a=,r=abc", "malformed"),
        ("p=tls-unique,,n=alice,r=abc", "channel binding"),
        ("n,a=bob,n=alice,r=abc", "another user"),
        ("n,,m=x,n=alice,r=abc", "extension"),
        ("n,,n=alice,r=abc,m=x", "extension"),
        ("n,,n=,r=abc", "SASLprep"),
        ("n,,n=\u{AD},r=abc", "SASLprep"),
        ("n,,n=a\u{7}b,r=abc", "SASLprep"),
        ("n,,n=a\0b,r=abc", "SASLprep"),
        (&format!("n,,n=alice,r={}", "a".repeat(1_024)), "more than"),
    ] {
        let (code, text) = refusal(&authenticator, &with(data));
        assert!(text.contains(cause), "{data:?}: {text}");
        assert_eq!(code, ReasonCode::NotAuthorized, "{data:?}");
    }
    let binary = Request { data: Some(Bytes::from_static(b"n,,n=\xFF,r=abc")), ..first("SCRAM-SHA-256", "alice") };
    assert_eq!(refusal(&authenticator, &binary).0, ReasonCode::NotAuthorized);
    let silent = Request { data: None, ..binary };
    assert_eq!(refusal(&authenticator, &silent).0, ReasonCode::NotAuthorized);
}

#[test]
fn the_last_message_must_belong_to_the_exchange() {
    let path = file(&alice_and_bob());
    let authenticator = authenticator(&path);
    for user in ["alice", "mallory"] {
        let (challenge, exchange) = challenged(&authenticator, &first("SCRAM-SHA-256", user));
        let (request, _) = answer("SCRAM-SHA-256", user, &challenge, "sesam");
        let request = Request { exchange: Some(exchange), ..request };
        let good = String::from_utf8(request.data.clone().unwrap().to_vec()).unwrap();
        for (altered, cause) in [
            (good.replace("c=biws", "c=eSws"), "belong"),
            (good.replace("c=biws", "c=biw"), "malformed"),
            (good.replace(",r=abc", ",r=abd"), "belong"),
            (good.replace(",p=", "x,p="), "belong"),
            (good.replace(",p=", ",m=x,p="), "extension"),
            (good.replace(",p=", ",x=y,p="), if user == "alice" { "wrong proof" } else { "unknown user" }),
            (good.replace(",p=", ",q="), "malformed"),
            (format!("{good},x=y"), "malformed"),
            (good.replace("p=", "p=!"), "malformed"),
            (String::new(), "malformed"),
            (format!("{good}{}", "A".repeat(1_024)), "more than"),
        ] {
            let (_, text) = refusal(&authenticator, &Request { data: Some(altered.clone().into()), ..request.clone() });
            assert!(text.contains(cause), "{altered}: {text}");
        }
        // What belongs to another exchange, also of another user.
        let (_, other) = challenged(&authenticator, &first("SCRAM-SHA-256", "alice"));
        let (code, text) = refusal(&authenticator, &Request { exchange: Some(other), ..request });
        assert!(code == ReasonCode::NotAuthorized && text.contains("belong"), "{text}");
    }
}

#[test]
fn the_user_name_of_connect_is_that_of_scram_or_none() {
    let path = file(&alice_and_bob());
    let authenticator = authenticator(&path);
    let named = |name: &'static str| Request { user_name: Some(name.into()), ..first("SCRAM-SHA-256", "alice") };
    challenged(&authenticator, &named("alice"));
    challenged(&authenticator, &named("\u{FF41}lice"));
    for name in ["bob", "Alice", "", "a\u{7}"] {
        let (code, text) = refusal(&authenticator, &named(name));
        assert_eq!(code, ReasonCode::BadUserNameOrPassword, "{text}");
        let unknown = Request { data: Some("n,,n=nobody,r=abc".into()), ..named(name) };
        assert_eq!(refusal(&authenticator, &unknown).0, code);
    }
}

#[test]
fn credentials_that_change_between_the_steps_accept_nobody() {
    let path = file(&alice_and_bob());
    let authenticator = authenticator(&path);
    let begin = || {
        let (challenge, exchange) = challenged(&authenticator, &first("SCRAM-SHA-256", "alice"));
        Request { exchange: Some(exchange), ..answer("SCRAM-SHA-256", "alice", &challenge, "sesam").0 }
    };
    for (text, cause) in [
        (line("bob", "sesam", ScramHash::Sha512, 5_000), "unknown user"),
        (line("alice", "other", ScramHash::Sha256, 4_096), "wrong proof"),
        (line("alice", "sesam", ScramHash::Sha512, 4_096), "unknown user"),
    ] {
        fs::write(&path, alice_and_bob()).unwrap();
        authenticator.reload().unwrap();
        let request = begin();
        fs::write(&path, text).unwrap();
        authenticator.reload().unwrap();
        let (_, text) = refusal(&authenticator, &request);
        assert!(text.contains(cause), "{text}");
    }
    // A user that was not there at the first step was challenged with another salt.
    fs::write(&path, "").unwrap();
    authenticator.reload().unwrap();
    let request = begin();
    fs::write(&path, alice_and_bob()).unwrap();
    authenticator.reload().unwrap();
    assert!(refusal(&authenticator, &request).1.contains("wrong proof"));
    let request = begin();
    authenticator.reload_with(&Security::default(), &[], &[]).unwrap();
    assert_eq!(refusal(&authenticator, &request).0, ReasonCode::BadAuthenticationMethod);
}

#[test]
fn mqtt5_4_12_0_1_another_method_and_a_listener_without_scram_are_refused_with_0x8c() {
    let path = file(&alice_and_bob());
    let listener = Listener {
        name: Some("plain".to_owned()),
        auth: Some(vec!["certificate".to_owned()]),
        ..Listener::new("127.0.0.1:1883".parse().unwrap())
    };
    let providers = [provider("scram", &path), config::Provider::new(ProviderKind::Certificate)];
    let authenticator = Authenticator::new(&Security::default(), &providers, &[listener]).unwrap();
    challenged(&authenticator, &first("SCRAM-SHA-256", "alice"));
    for method in ["SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256", "PLAIN", ""] {
        assert_eq!(refusal(&authenticator, &first(method, "alice")).0, ReasonCode::BadAuthenticationMethod);
    }
    let request = Request { listener: "plain".into(), ..first("SCRAM-SHA-256", "alice") };
    assert_eq!(refusal(&authenticator, &request).0, ReasonCode::BadAuthenticationMethod);
}

#[test]
fn a_chain_with_several_files_accepts_the_users_of_each() {
    let one = file(&line("alice", "sesam", ScramHash::Sha256, 4_096));
    let two = file(&line("carol", "secret", ScramHash::Sha256, 4_096));
    let providers = [provider("one", &one), provider("two", &two)];
    let security = Security { allow_anonymous: AllowAnonymous::Always, ..Security::default() };
    let authenticator = Authenticator::new(&security, &providers, &[]).unwrap();
    assert_eq!(login(&authenticator, "SCRAM-SHA-256", "alice", "sesam").as_deref(), Ok("one"));
    assert_eq!(login(&authenticator, "SCRAM-SHA-256", "carol", "secret").as_deref(), Ok("two"));
    assert_eq!(code(login(&authenticator, "SCRAM-SHA-256", "dave", "secret")), ReasonCode::BadUserNameOrPassword);
}

#[test]
fn a_reload_ends_the_connections_of_removed_users_and_changed_credentials() {
    let path = file(&alice_and_bob());
    let authenticator = authenticator(&path);
    let (challenge, exchange) = challenged(&authenticator, &first("SCRAM-SHA-256", "alice"));
    let (request, _) = answer("SCRAM-SHA-256", "alice", &challenge, "sesam");
    let accepted = authenticator.authenticate(&Request { exchange: Some(exchange), ..request }).0;
    let Verdict::Accept(decision) = accepted else { panic!("{accepted:?}") };
    let (client_id, account) = (anonymous().client_id, Some(Account { name: "alice", provider: Some("scram") }));
    let renew = |text: &str| {
        fs::write(&path, text).unwrap();
        authenticator.reload().unwrap();
        authenticator.renew((&client_id, "tcp"), account, decision.proof, &decision.access)
    };
    assert!(matches!(renew(&format!("# the same\n{}", alice_and_bob())), Renewal::Stays(_)));
    assert!(matches!(renew(&line("alice", "new", ScramHash::Sha256, 4_096)), Renewal::PasswordChanged(_)));
    let Renewal::UserRemoved(access) = renew("") else { panic!("stays") };
    assert_eq!(access, authenticator.access(&client_id, account));
    assert_eq!(authenticator.away(&client_id, account, &decision.access), access);
    assert_eq!(*access, crate::routing::Access::new(Vec::new()));
    let standing = |user| authenticator.standing(&client_id, Some(user));
    assert!(standing("alice").refusal.unwrap().contains("no such user"));
    renew(&alice_and_bob());
    assert_eq!((standing("bob").refusal, standing("bob").note), (None, None));
}

#[test]
fn a_line_that_is_not_of_a_user_is_an_error_with_its_number() {
    let good = line("alice", "sesam", ScramHash::Sha256, 4_096);
    let good = good.trim_end();
    let (_, keys) = good.rsplit_once('$').unwrap();
    assert_eq!(ScramFile::parse(&format!("# staff\n\n  {good}  \nbob{}", &good[5..])).unwrap().len(), 2);
    // As PostgreSQL writes it.
    let of_postgres = "u:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    assert_eq!(ScramFile::parse(of_postgres).unwrap().credentials("u").unwrap().to_text(), of_postgres[2..]);
    for (text, cause) in [
        ("alice".to_owned(), ScramCause::NoUser),
        (good[5..].to_owned(), ScramCause::NoUser),
        (format!("alice:x\n{good}").replace(":x", &good[5..]), ScramCause::UserTwice),
        (good.replace("alice", "a\u{AD}lice"), ScramCause::UserName),
        (good.replace("alice", "\u{7}"), ScramCause::UserName),
        ("alice:$7$101$AAAA$AAAA".to_owned(), ScramCause::UnknownHash),
        (good.replace("SHA-256", "SHA-1"), ScramCause::UnknownHash),
        (good.replace("SHA-256", "SHA-512"), ScramCause::Damaged),
        (good.replace("4096", "4095"), ScramCause::Iterations),
        (good.replace("4096", "10000001"), ScramCause::Iterations),
        (good.replace("4096", "many"), ScramCause::Damaged),
        (good.replace("4096", "99999999999"), ScramCause::Damaged),
        (good.replace(&STANDARD.encode(SALT), "AAAA"), ScramCause::Damaged),
        (good.replace(&STANDARD.encode(SALT), &STANDARD.encode([0; 65])), ScramCause::Damaged),
        (good.replace(keys, &keys[1..]), ScramCause::Damaged),
        (good.replace(keys, &keys.replace(':', "")), ScramCause::Damaged),
        (format!("{good}$"), ScramCause::Damaged),
        (good[..good.len() - 4].to_owned(), ScramCause::Damaged),
    ] {
        let lines = text.lines().count() + 1;
        assert_eq!(ScramFile::parse(&format!("#\n{text}")).unwrap_err(), (lines, cause), "{text}");
    }
    let path = file("#\nalice:sesam\n");
    let error = Authenticator::new(&Security::default(), &[provider("scram", &path)], &[]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:2: ", path.display())) && !error.contains("sesam"), "{error}");
}

proptest! {
    #[test]
    fn any_message_is_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..80), text in "[nypcrmax=,biws!-~]{0,40}") {
        let exchange =
            ScramExchange { user: "u".into(), header: "n,,".into(), nonce: "abc".into(), messages: String::new() };
        let (first, last) = (format!("n,,n=u,r={text}"), format!("c=biws,r=abc,{text}p="));
        for bytes in [&data[..], text.as_bytes(), first.as_bytes()] {
            if let Ok(first) = ClientFirst::parse(bytes) {
                let whole = [first.header, first.bare].concat();
                prop_assert_eq!(whole.as_bytes(), bytes);
                prop_assert!(!first.user.is_empty() && !first.nonce.contains(','));
            }
        }
        for bytes in [&data[..], text.as_bytes(), last.as_bytes()] {
            if let Ok(last) = ClientFinal::parse(bytes, &exchange) {
                prop_assert!(last.without_proof.starts_with("c=biws,r=abc"));
            }
        }
    }

    #[test]
    fn a_line_is_read_back_as_it_was_written(salt: [u8; 16], iterations in 4_096..4_200_u32, wide: bool) {
        let mechanism = if wide { Mechanism::Sha512 } else { Mechanism::Sha256 };
        let key = mechanism.hash(&salt);
        let stored = Credentials { mechanism, iterations, salt: salt.to_vec(), stored_key: key.clone(), server_key: key };
        let file = ScramFile::parse(&format!("u:{}", stored.to_text())).unwrap();
        prop_assert_eq!(file.credentials("u"), Some(&stored));
    }
}
