use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::anonymous::{ANONYMOUS, NOT_KNOWN, UNVERIFIABLE};
use super::chain::UNKNOWN_METHOD;
use super::password::{MISSING_PASSWORD, UNKNOWN_USER, WRONG_PASSWORD};
use super::*;
use crate::codec::{ClientId, ReasonCode};
use crate::config::{self, AllowAnonymous, Listener, OnPasswordChange, ProviderKind, Security};
use crate::routing::Access;

/// User `alice` with the password `sesam`.
pub(super) const PASSWORDS: &str = "alice:$7$101$ZkGV8aACU+Ewh7JV$9Ijwh81V4Q2AKkgvaZ1RJeWjjFIE+1DxzHY25z1IVSe86IXNfJH2nJ041Fb/S5NhyhKUmKgy70UrEpww63Ti6A==\n";
const ACL: &str = "topic read anonymous\nuser alice\ntopic read alice\n";
const LOOPBACK: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
const REMOTE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

/// A client that says nothing about itself, from another machine.
pub(super) fn anonymous() -> Request {
    Request {
        client_id: ClientId("c".into()),
        user_name: None,
        password: None,
        method: None,
        data: None,
        exchange: None,
        address: REMOTE,
        is_local: false,
        certificate_identity: None,
        listener: "tcp".into(),
        client_ids: config::ClientIdRule::Any,
        at: crate::timestamp::Timestamp(1),
        wall: crate::timestamp::WallTime(1_700_000_000_000),
    }
}

pub(super) fn alice(password: &'static [u8]) -> Request {
    Request { user_name: Some("alice".into()), password: Some(Bytes::from_static(password)), ..anonymous() }
}

pub(super) fn file(text: &str) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.into_temp_path()
}

fn authenticator(allow_anonymous: AllowAnonymous, passwords: Option<&str>) -> Authenticator {
    let (acl_file, password_file) = (file(ACL), passwords.map(file));
    let path = |file: &tempfile::TempPath| Some(PathBuf::from(&**file));
    let password_file_path = password_file.as_ref().and_then(path);
    let (password_file, acl_file_path) = (password_file_path, path(&acl_file));
    let security = Security { allow_anonymous, password_file, acl_file: acl_file_path, ..Security::default() };
    let listener = |name: &str, allow_anonymous| Listener {
        name: Some(name.to_owned()),
        allow_anonymous: Some(allow_anonymous),
        ..Listener::new("127.0.0.1:1883".parse().unwrap())
    };
    let listeners = [listener("open", AllowAnonymous::Always), listener("closed", AllowAnonymous::Never)];
    Authenticator::new(&security, &[], &listeners).unwrap()
}

/// A user as the owner of a Session.
fn user(name: &'static str, provider: Option<&'static str>) -> Option<Account<'static>> {
    Some(Account { name, provider })
}

/// The user that the client is known as, whether that is verified, and whose access rules it got.
fn identity(authenticator: &Authenticator, request: &Request) -> Result<(Option<String>, bool, &'static str), Refusal> {
    let decision = match authenticator.authenticate(request).0 {
        Verdict::Accept(decision) => decision,
        Verdict::Refuse(refusal) => return Err(refusal),
        Verdict::Continue { .. } => panic!("no provider asks for more"),
    };
    let is_like = |user| decision.access == authenticator.access(&request.client_id, user);
    let rules = if is_like(user("alice", None)) {
        "alice"
    } else if is_like(None) {
        "anonymous"
    } else {
        "stranger"
    };
    Ok((decision.user.map(|user| user.to_string()), decision.is_verified, rules))
}

fn verified_alice() -> Result<(Option<String>, bool, &'static str), Refusal> {
    Ok((Some("alice".to_owned()), true, "alice"))
}

fn unnamed() -> Result<(Option<String>, bool, &'static str), Refusal> {
    Ok((None, false, "anonymous"))
}

#[test]
fn a_user_is_accepted_only_with_the_right_password() {
    let authenticator = authenticator(AllowAnonymous::Always, Some(PASSWORDS));
    assert_eq!(identity(&authenticator, &alice(b"sesam")), verified_alice());
    assert_eq!(identity(&authenticator, &alice(b"Sesam")), Err(WRONG_PASSWORD));
    let silent = Request { password: None, ..alice(b"") };
    assert_eq!(identity(&authenticator, &silent), Err(MISSING_PASSWORD));
    let bob = Request { user_name: Some("bob".into()), ..alice(b"sesam") };
    assert_eq!(identity(&authenticator, &bob), Err(UNKNOWN_USER));
    assert_eq!(UNKNOWN_USER.reason_code, ReasonCode::BadUserNameOrPassword);
}

#[test]
fn a_client_without_a_user_name_is_anonymous_also_beside_a_password_file() {
    let authenticator = authenticator(AllowAnonymous::Always, Some(PASSWORDS));
    assert_eq!(identity(&authenticator, &anonymous()), unnamed());
    let nameless = Request { user_name: None, ..alice(b"sesam") };
    assert_eq!(identity(&authenticator, &nameless), unnamed());
}

#[test]
fn anonymous_clients_are_accepted_from_loopback_and_unix_sockets_by_default() {
    let authenticator = authenticator(Security::default().allow_anonymous, None);
    for address in [LOOPBACK, None] {
        let local = Request { address, is_local: true, ..anonymous() };
        assert_eq!(identity(&authenticator, &local), unnamed(), "{address:?}");
        // Through a proxy, or a page of a website.
        let foreign = Request { is_local: false, ..local };
        assert_eq!(identity(&authenticator, &foreign), Err(ANONYMOUS), "{address:?}");
    }
    assert_eq!(identity(&authenticator, &anonymous()), Err(ANONYMOUS));
    assert_eq!(ANONYMOUS.reason_code, ReasonCode::NotAuthorized);
}

#[test]
fn a_listener_overrides_allow_anonymous() {
    let authenticator = authenticator(AllowAnonymous::Loopback, None);
    let open = Request { listener: "open".into(), ..anonymous() };
    assert_eq!(identity(&authenticator, &open), unnamed());
    let closed = Request { is_local: true, listener: "closed".into(), ..anonymous() };
    assert_eq!(identity(&authenticator, &closed), Err(ANONYMOUS));
}

#[test]
fn an_unverified_name_has_the_rules_of_anonymous_clients() {
    let authenticator = authenticator(AllowAnonymous::Loopback, None);
    let claimed = Request { is_local: true, ..alice(b"anything") };
    assert_eq!(identity(&authenticator, &claimed), Ok((Some("alice".to_owned()), false, "anonymous")));
    assert_eq!(identity(&authenticator, &alice(b"anything")), Err(UNVERIFIABLE));
}

#[test]
fn the_identity_of_a_certificate_is_a_verified_user() {
    let authenticator = authenticator(AllowAnonymous::Never, Some(PASSWORDS));
    let user_name = Some("bob".into());
    let certified = Request { certificate_identity: Some("alice".into()), user_name, ..alice(b"wrong") };
    assert_eq!(identity(&authenticator, &certified), verified_alice());
    assert!(authenticator.authenticate_at_once(&certified).is_some());
}

#[test]
fn an_authentication_method_is_refused_whatever_else_the_client_brings() {
    let authenticator = authenticator(AllowAnonymous::Always, Some(PASSWORDS));
    let certificate_identity = Some("alice".into());
    let request = Request { method: Some("SCRAM-SHA-1".into()), certificate_identity, ..alice(b"sesam") };
    assert_eq!(authenticator.authenticate_at_once(&request), Some(Verdict::Refuse(UNKNOWN_METHOD)));
}

#[test]
fn only_the_verification_of_a_password_is_not_judged_at_once() {
    let with_file = authenticator(AllowAnonymous::Always, Some(PASSWORDS));
    assert!(with_file.authenticate_at_once(&alice(b"wrong")).is_none());
    let bob = Request { user_name: Some("bob".into()), ..alice(b"wrong") };
    assert!(with_file.authenticate_at_once(&bob).is_none());
    assert!(with_file.authenticate_at_once(&anonymous()).is_some());
    let without_file = authenticator(AllowAnonymous::Always, None);
    assert!(without_file.authenticate_at_once(&alice(b"wrong")).is_some());
}

#[test]
fn without_an_acl_file_everything_is_allowed() {
    let authenticator = Authenticator::new(&Security::default(), &[], &[]).unwrap();
    let local = Request { is_local: true, ..anonymous() };
    let accepted = Verdict::Accept(Decision::anonymous(None, Arc::new(Access::everything())));
    assert_eq!(authenticator.authenticate(&local).0, accepted);
    assert_eq!(*authenticator.access(&local.client_id, user("alice", None)), Access::everything());
}

#[test]
fn a_reload_applies_a_valid_file_and_ignores_an_invalid_one() {
    let passwords = file("");
    let security = Security { password_file: Some(passwords.to_path_buf()), ..Security::default() };
    let authenticator = Authenticator::new(&security, &[], &[]).unwrap();
    let accepted =
        Verdict::Accept(Decision::verified("password".into(), "alice".into(), Arc::new(Access::everything())));
    let verdict = || match authenticator.authenticate(&alice(b"sesam")).0 {
        Verdict::Accept(decision) => Verdict::Accept(Decision { proof: None, ..decision }),
        other @ (Verdict::Continue { .. } | Verdict::Refuse(_)) => other,
    };
    let first = authenticator.generation();
    assert_eq!(verdict(), Verdict::Refuse(UNKNOWN_USER));
    std::fs::write(&passwords, PASSWORDS).unwrap();
    authenticator.reload().unwrap();
    let second = authenticator.generation();
    assert_ne!(first, second);
    assert_eq!(verdict(), accepted);
    std::fs::write(&passwords, "alice:plain\n").unwrap();
    let error = authenticator.reload().unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:1: ", passwords.display())), "{error}");
    assert_eq!(verdict(), accepted);
    std::fs::remove_file(&passwords).unwrap();
    assert!(matches!(authenticator.reload(), Err(AuthError::Unreadable { .. })));
    assert_eq!(verdict(), accepted);
    assert_eq!(authenticator.generation(), second);
}

/// What a reload with these lines in the password file says about `alice`, who was accepted by [`PASSWORDS`].
fn renewed(on_password_change: OnPasswordChange, passwords: &str) -> (Renewal, Authenticator) {
    let path = file(PASSWORDS);
    let security = Security { password_file: Some(path.to_path_buf()), on_password_change, ..Security::default() };
    let authenticator = Authenticator::new(&security, &[], &[]).unwrap();
    let Verdict::Accept(decision) = authenticator.authenticate(&alice(b"sesam")).0 else { panic!("refused") };
    std::fs::write(&path, passwords).unwrap();
    authenticator.reload().unwrap();
    let client = (&anonymous().client_id, "tcp");
    let renewal = authenticator.renew(client, user("alice", Some("password")), decision.proof, &decision.access);
    (renewal, authenticator)
}

#[test]
fn a_reload_judges_a_connected_user_by_its_line_in_the_password_file() {
    let (everything, nothing) = (Arc::new(Access::everything()), Arc::new(Access::new(Vec::new())));
    // The same password with another salt can't be told from another password.
    let other = PASSWORDS.replace("7$101", "7$102");
    for (setting, passwords, expected) in [
        (OnPasswordChange::Close, format!("# moved\n{PASSWORDS}"), Renewal::Stays(Arc::clone(&everything))),
        (OnPasswordChange::Close, other.clone(), Renewal::PasswordChanged(Arc::clone(&everything))),
        (OnPasswordChange::Keep, other.clone(), Renewal::Stays(Arc::clone(&everything))),
        (OnPasswordChange::Close, String::new(), Renewal::UserRemoved(Arc::clone(&nothing))),
        (OnPasswordChange::Keep, String::new(), Renewal::UserRemoved(Arc::clone(&nothing))),
    ] {
        let (renewal, _) = renewed(setting, &passwords);
        assert_eq!(renewal, expected, "{setting:?}: {passwords}");
    }
}

#[test]
fn a_user_that_no_provider_can_verify_any_more_has_no_rights() {
    let (_, authenticator) = renewed(OnPasswordChange::Close, "");
    let client_id = anonymous().client_id;
    let nothing = Access::new(Vec::new());
    for provider in [None, Some("password"), Some("removed")] {
        assert_eq!(*authenticator.access(&client_id, user("alice", provider)), nothing, "{provider:?}");
    }
    let current = Arc::new(Access::everything());
    assert_eq!(*authenticator.away(&client_id, user("alice", Some("password")), &current), nothing);
    assert_eq!(*authenticator.access(&client_id, None), Access::everything());
    // A client without a line in the password file was verified by something else.
    let certified = user("alice", Some("certificate"));
    let renewal = authenticator.renew((&client_id, "tcp"), certified, None, &current);
    assert_eq!(renewal, Renewal::Stays(Arc::clone(&current)));
    let removed = authenticator.renew((&client_id, "tcp"), user("alice", Some("removed")), None, &current);
    assert_eq!(removed, Renewal::ProviderRemoved(Arc::new(nothing)));
}

#[test]
fn reloads_at_once_are_different_generations() {
    let path = file(PASSWORDS);
    let security = Security { password_file: Some(path.to_path_buf()), ..Security::default() };
    let authenticator = Authenticator::new(&security, &[], &[]).unwrap();
    let mut generations = vec![authenticator.generation()];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..50).for_each(|_| authenticator.reload().unwrap()));
        }
    });
    generations.push(authenticator.generation());
    assert_eq!(generations, [Generation::of(0), Generation::of(400)]);
}

#[test]
fn files_without_users_or_rules_are_legal_and_noted() {
    let notes = |passwords: &str, rules: &str| {
        let (passwords, rules) = (file(passwords), file(rules));
        let [password_file, acl_file] = [&passwords, &rules].map(|path| Some(PathBuf::from(&**path)));
        let security =
            Security { allow_anonymous: AllowAnonymous::Never, password_file, acl_file, ..Security::default() };
        Authenticator::new(&security, &[], &[]).map(|authenticator| authenticator.notes())
    };
    for empty in ["", "\n\n", "# nobody yet\n", "\u{FEFF}"] {
        let notes = notes(empty, empty).unwrap();
        assert!(notes[0].ends_with("has no users: no client can log in with a password"), "{notes:?}");
        assert!(notes[1].ends_with("has no rules: no client may publish or subscribe to anything"), "{notes:?}");
    }
    assert_eq!(notes(PASSWORDS, ACL).unwrap(), [""; 0]);
    assert_eq!(notes(&format!("\u{FEFF}{PASSWORDS}"), &format!("\u{FEFF}{ACL}")).unwrap(), [""; 0]);
    for (passwords, rules) in [("<html>404</html>\n", ""), ("", "<html>404</html>\n")] {
        assert!(notes(passwords, rules).is_err(), "{passwords}{rules}");
    }
}

#[test]
fn a_file_in_another_encoding_is_named() {
    for (bytes, word) in [(&b"\xFF\xFEa\0"[..], "UTF-16"), (b"\xFFalice", "not UTF-8")] {
        let mut path = tempfile::NamedTempFile::new().unwrap();
        path.write_all(bytes).unwrap();
        let security = Security { password_file: Some(path.path().to_owned()), ..Security::default() };
        let error = Authenticator::new(&security, &[], &[]).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_standing_tells_who_is_accepted_and_with_which_rules() {
    use AllowAnonymous::{Always, Loopback, Never};
    let standing = |allowed, passwords, user| authenticator(allowed, passwords).standing(&ClientId("c".into()), user);
    let may =
        |standing: &Standing, topic: &str| standing.access.receive(&crate::topic::TopicName::try_from(topic).unwrap());
    let of_alice = standing(Never, Some(PASSWORDS), Some("alice"));
    assert!(may(&of_alice, "alice") && !may(&of_alice, "anonymous"));
    assert_eq!((of_alice.refusal, of_alice.note), (None, None));
    let unknown = standing(Always, Some(PASSWORDS), Some("mallory"));
    assert!(unknown.refusal.unwrap().contains("no such user") && !may(&unknown, "anonymous"));
    let unverified = standing(Always, None, Some("alice"));
    assert!(may(&unverified, "anonymous") && !may(&unverified, "alice"));
    assert!(unverified.note.unwrap().contains("anonymous"));
    // The other listener of the configuration accepts anonymous clients from everywhere.
    assert_eq!(standing(Never, None, None).refusal, None);
    assert_eq!(standing(Loopback, None, None).note, None);

    let closed = Security { allow_anonymous: Never, ..Security::default() };
    let refused = Authenticator::new(&closed, &[], &[]).unwrap().standing(&ClientId("c".into()), None);
    assert!(refused.refusal.unwrap().contains("anonymous"));
    let local = Security { allow_anonymous: Loopback, ..Security::default() };
    let standing = Authenticator::new(&local, &[], &[]).unwrap().standing(&ClientId("c".into()), None);
    assert!(standing.refusal.is_none() && standing.note.unwrap().contains("this machine"));
    assert!(!standing.access.has_rules());
}

fn password_file(name: &str, path: &tempfile::TempPath) -> config::Provider {
    let (name, file) = (Some(name.to_owned()), Some(path.to_path_buf()));
    config::Provider { name, file, ..config::Provider::new(ProviderKind::PasswordFile) }
}

/// The provider that accepts the client, or the refusal.
fn by(authenticator: &Authenticator, request: &Request) -> Result<String, Refusal> {
    match authenticator.authenticate(request).0 {
        Verdict::Accept(decision) => Ok(decision.provider.to_string()),
        Verdict::Refuse(refusal) => Err(refusal),
        Verdict::Continue { .. } => panic!("no provider asks for more"),
    }
}

#[test]
fn providers_are_asked_in_the_order_of_the_configuration() {
    let (one, two) = (file(PASSWORDS), file(&PASSWORDS.replace("alice", "bob")));
    let security = Security { allow_anonymous: AllowAnonymous::Always, ..Security::default() };
    let certificate = config::Provider::new(ProviderKind::Certificate);
    let chain = [password_file("one", &one), password_file("two", &two), certificate];
    let authenticator = Authenticator::new(&security, &chain, &[]).unwrap();
    let bob = Request { user_name: Some("bob".into()), ..alice(b"sesam") };
    assert_eq!(by(&authenticator, &alice(b"sesam")).as_deref(), Ok("one"));
    assert_eq!(by(&authenticator, &bob).as_deref(), Ok("two"), "the first does not know the user");
    // The first provider that knows the user decides, also against the later ones.
    let identity = Some(Arc::from("alice"));
    let certified = Request { certificate_identity: identity.clone(), ..alice(b"wrong") };
    assert_eq!(by(&authenticator, &certified), Err(WRONG_PASSWORD));
    let unnamed = Request { certificate_identity: identity, ..anonymous() };
    assert_eq!(by(&authenticator, &unnamed).as_deref(), Ok("certificate"));
    assert_eq!(by(&authenticator, &anonymous()).as_deref(), Ok("anonymous"));
}

#[test]
fn credentials_that_nobody_judges_make_nobody_anonymous() {
    let security = Security { allow_anonymous: AllowAnonymous::Always, ..Security::default() };
    let path = file(PASSWORDS);
    let authenticator = Authenticator::new(&security, &[password_file("one", &path)], &[]).unwrap();
    let carol = Request { user_name: Some("carol".into()), ..alice(b"sesam") };
    let silent = Request { password: None, ..carol.clone() };
    let nameless = Request { user_name: None, ..carol.clone() };
    let certified = Request { certificate_identity: Some("carol".into()), ..anonymous() };
    for request in [carol, silent, nameless, certified] {
        assert_eq!(by(&authenticator, &request), Err(NOT_KNOWN), "{request:?}");
    }
    let known = Request { password: None, ..alice(b"") };
    assert_eq!(by(&authenticator, &known), Err(MISSING_PASSWORD));
    // A user that the file does not have costs as much as one that it has.
    assert!(authenticator.authenticate_at_once(&Request { user_name: Some("carol".into()), ..alice(b"x") }).is_none());
}

#[test]
fn a_listener_has_its_own_chain() {
    let (one, two) = (file(PASSWORDS), file(PASSWORDS));
    let security = Security { allow_anonymous: AllowAnonymous::Always, ..Security::default() };
    let listener = |name: &str, auth: &[&str]| Listener {
        name: Some(name.to_owned()),
        auth: Some(auth.iter().map(|name| (*name).to_owned()).collect()),
        ..Listener::new("127.0.0.1:1883".parse().unwrap())
    };
    let listeners =
        [listener("reversed", &["two", "one"]), listener("none", &[]), listener("unknown", &["three", "one"])];
    let chain = [password_file("one", &one), password_file("two", &two)];
    let authenticator = Authenticator::new(&security, &chain, &listeners).unwrap();
    let at = |name: &str| Request { listener: name.into(), ..alice(b"sesam") };
    assert_eq!(by(&authenticator, &at("other")).as_deref(), Ok("one"));
    assert_eq!(by(&authenticator, &at("reversed")).as_deref(), Ok("two"));
    assert_eq!(by(&authenticator, &at("none")), Err(NOT_KNOWN));
    let nobody = Request { listener: "none".into(), ..anonymous() };
    assert_eq!(by(&authenticator, &nobody).as_deref(), Ok("anonymous"));
    let unavailable = by(&authenticator, &at("unknown")).unwrap_err();
    assert_eq!(unavailable.reason_code, ReasonCode::ServerUnavailable);
    // A client that its listener would not accept any more is not kept, but another listener may accept its user.
    let (client_id, access) = (anonymous().client_id, Arc::new(Access::everything()));
    let Verdict::Accept(decision) = authenticator.authenticate(&at("reversed")).0 else { panic!("refused") };
    let renew =
        |listener| authenticator.renew((&client_id, listener), user("alice", Some("two")), decision.proof, &access);
    assert_eq!(renew("reversed"), Renewal::Stays(Arc::clone(&access)));
    assert_eq!(renew("renamed"), Renewal::Stays(Arc::clone(&access)));
    assert_eq!(renew("unknown"), Renewal::ProviderRemoved(Arc::clone(&access)));
}

#[test]
fn a_reload_that_fails_keeps_the_providers_and_applies_the_chains_of_listeners() {
    let path = file(PASSWORDS);
    let security = Security::default();
    let listener = |auth: &[&str]| Listener {
        name: Some("tcp".to_owned()),
        auth: Some(auth.iter().map(|name| (*name).to_owned()).collect()),
        ..Listener::new("127.0.0.1:1883".parse().unwrap())
    };
    let chain = [password_file("one", &path)];
    let authenticator = Authenticator::new(&security, &chain, &[listener(&["one"])]).unwrap();
    assert_eq!(by(&authenticator, &alice(b"sesam")).as_deref(), Ok("one"));
    let missing = config::Provider { file: Some("/does/not/exist".into()), ..password_file("two", &path) };
    assert!(authenticator.reload_with(&security, &[missing], &[listener(&["two"])]).is_err());
    let refusal = by(&authenticator, &alice(b"sesam")).unwrap_err();
    assert_eq!(refusal.reason_code, ReasonCode::ServerUnavailable, "the new chain of the listener has no old provider");
    assert!(authenticator.reload_with(&security, &[], &[listener(&["one"])]).is_ok());
}

#[test]
fn a_standing_in_a_chain_tells_who_is_accepted() {
    let path = file(PASSWORDS);
    let standing = |chain: &[config::Provider], name| {
        let security = Security { allow_anonymous: AllowAnonymous::Always, ..Security::default() };
        Authenticator::new(&security, chain, &[]).unwrap().standing(&ClientId("c".into()), name)
    };
    let files = [password_file("one", &path)];
    assert_eq!(standing(&files, Some("alice")).refusal, None);
    assert!(standing(&files, Some("carol")).refusal.unwrap().contains("no such user"));
    assert_eq!(standing(&files, None).refusal, None);
    let certificates = [config::Provider::new(ProviderKind::Certificate)];
    assert!(standing(&certificates, Some("alice")).refusal.unwrap().contains("no provider"));
}

#[test]
fn a_name_in_a_certificate_that_a_proxy_tells_is_one_of_a_certificate() {
    for is_told in [true, false] {
        let proxy_tls = config::ProxyTls { client_certificate: Default::default(), identity_as_user_name: is_told };
        let address = "127.0.0.1:1883".parse().unwrap();
        let listener = Listener { proxy_tls: Some(proxy_tls), ..Listener::new(address) };
        let authenticator = Authenticator::new(&Security::default(), &[], &[listener]).unwrap();
        let standing = authenticator.standing(&ClientId("c".into()), Some("device-7"));
        assert_eq!(standing.note.is_some_and(|note| note.contains("certificate")), is_told, "{standing:?}");
    }
}
