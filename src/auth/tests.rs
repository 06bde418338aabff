use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::*;

/// User `alice` with the password `sesam`.
const PASSWORDS: &str = "alice:$7$101$ZkGV8aACU+Ewh7JV$9Ijwh81V4Q2AKkgvaZ1RJeWjjFIE+1DxzHY25z1IVSe86IXNfJH2nJ041Fb/S5NhyhKUmKgy70UrEpww63Ti6A==\n";
const ACL: &str = "topic read anonymous\nuser alice\ntopic read alice\n";
const REMOTE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
const LOOPBACK: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
const ANONYMOUS: Credentials<'_> = Credentials {
    client_id: "c",
    user_name: None,
    password: None,
    address: REMOTE,
    certificate_identity: None,
    allow_anonymous: None,
};

fn file(text: &str) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.into_temp_path()
}

fn authenticator(allow_anonymous: AllowAnonymous, passwords: Option<&str>) -> Authenticator {
    let (acl_file, password_file) = (file(ACL), passwords.map(file));
    let path = |file: &tempfile::TempPath| Some(PathBuf::from(&**file));
    let password_file_path = password_file.as_ref().and_then(path);
    let security = Security { allow_anonymous, password_file: password_file_path, acl_file: path(&acl_file) };
    Authenticator::new(&security).unwrap()
}

fn alice(password: &[u8]) -> Credentials<'_> {
    Credentials { user_name: Some("alice"), password: Some(password), ..ANONYMOUS }
}

/// The identity that the client got, derived from its access rules.
fn identity(authenticator: &Authenticator, credentials: &Credentials<'_>) -> Result<&'static str, Refusal> {
    let access = authenticator.authenticate(credentials)?;
    let acl = authenticator.snapshot.load();
    let acl = acl.acl.as_ref().unwrap();
    Ok(if access == acl.access("c", Some("alice")) {
        "alice"
    } else if access == acl.access("c", None) {
        "anonymous"
    } else {
        "stranger"
    })
}

#[test]
fn a_user_is_accepted_only_with_the_right_password() {
    let authenticator = authenticator(AllowAnonymous::Always, Some(PASSWORDS));
    assert_eq!(identity(&authenticator, &alice(b"sesam")), Ok("alice"));
    assert_eq!(identity(&authenticator, &alice(b"Sesam")), Err(Refusal::WrongPassword));
    let silent = Credentials { password: None, ..alice(b"") };
    assert_eq!(identity(&authenticator, &silent), Err(Refusal::MissingPassword));
    let bob = Credentials { user_name: Some("bob"), ..alice(b"sesam") };
    assert_eq!(identity(&authenticator, &bob), Err(Refusal::UnknownUser));
    assert_eq!(Refusal::UnknownUser.reason_code(), ReasonCode::BadUserNameOrPassword);
}

#[test]
fn anonymous_clients_are_accepted_from_loopback_and_unix_sockets_by_default() {
    let authenticator = authenticator(Security::default().allow_anonymous, None);
    let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    for address in [LOOPBACK, None, Some(IpAddr::V6(Ipv6Addr::LOCALHOST)), Some(mapped)] {
        let local = Credentials { address, ..ANONYMOUS };
        assert_eq!(identity(&authenticator, &local), Ok("anonymous"), "{address:?}");
    }
    assert_eq!(identity(&authenticator, &ANONYMOUS), Err(Refusal::Anonymous));
    assert_eq!(Refusal::Anonymous.reason_code(), ReasonCode::NotAuthorized);
}

#[test]
fn a_listener_overrides_allow_anonymous() {
    let authenticator = authenticator(AllowAnonymous::Loopback, None);
    let open = Credentials { allow_anonymous: Some(AllowAnonymous::Always), ..ANONYMOUS };
    assert_eq!(identity(&authenticator, &open), Ok("anonymous"));
    let closed = Credentials { address: LOOPBACK, allow_anonymous: Some(AllowAnonymous::Never), ..ANONYMOUS };
    assert_eq!(identity(&authenticator, &closed), Err(Refusal::Anonymous));
}

#[test]
fn an_unverified_name_has_the_rules_of_anonymous_clients() {
    let authenticator = authenticator(AllowAnonymous::Loopback, None);
    let claimed = Credentials { address: LOOPBACK, ..alice(b"anything") };
    assert_eq!(identity(&authenticator, &claimed), Ok("anonymous"));
    assert_eq!(identity(&authenticator, &alice(b"anything")), Err(Refusal::Unverifiable));
}

#[test]
fn the_identity_of_a_certificate_is_a_verified_user() {
    let authenticator = authenticator(AllowAnonymous::Never, Some(PASSWORDS));
    let certified = Credentials { certificate_identity: Some("alice"), user_name: Some("bob"), ..alice(b"wrong") };
    assert_eq!(identity(&authenticator, &certified), Ok("alice"));
    assert!(!authenticator.needs_hashing(&certified));
}

#[test]
fn only_a_password_that_is_verified_needs_hashing() {
    let with_file = authenticator(AllowAnonymous::Always, Some(PASSWORDS));
    assert!(with_file.needs_hashing(&alice(b"wrong")));
    assert!(with_file.needs_hashing(&Credentials { user_name: Some("bob"), ..alice(b"wrong") }));
    assert!(!with_file.needs_hashing(&ANONYMOUS));
    assert!(!authenticator(AllowAnonymous::Always, None).needs_hashing(&alice(b"wrong")));
}

#[test]
fn without_an_acl_file_everything_is_allowed() {
    let authenticator = Authenticator::new(&Security::default()).unwrap();
    let local = Credentials { address: LOOPBACK, ..ANONYMOUS };
    assert_eq!(authenticator.authenticate(&local), Ok(Access::everything()));
}

#[test]
fn a_reload_applies_a_valid_file_and_ignores_an_invalid_one() {
    let passwords = file("");
    let security = Security { password_file: Some(passwords.to_path_buf()), ..Security::default() };
    let authenticator = Authenticator::new(&security).unwrap();
    assert_eq!(authenticator.authenticate(&alice(b"sesam")), Err(Refusal::UnknownUser));
    std::fs::write(&passwords, PASSWORDS).unwrap();
    authenticator.reload().unwrap();
    assert_eq!(authenticator.authenticate(&alice(b"sesam")), Ok(Access::everything()));
    std::fs::write(&passwords, "alice:plain\n").unwrap();
    let error = authenticator.reload().unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}:1: ", passwords.display())), "{error}");
    assert_eq!(authenticator.authenticate(&alice(b"sesam")), Ok(Access::everything()));
    std::fs::remove_file(&passwords).unwrap();
    assert!(matches!(authenticator.reload(), Err(AuthError::Unreadable { .. })));
    assert_eq!(authenticator.authenticate(&alice(b"sesam")), Ok(Access::everything()));
}
