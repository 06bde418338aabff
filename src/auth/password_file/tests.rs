use proptest::prelude::*;

use super::*;

/// Made by mosquitto_passwd 2.0.11 (`$6$`, `$7$`; the password is `sesam`) and by this broker (Argon2id, small
/// parameters).
const MOSQUITTO_6: &str =
    "$6$L7QrKcm+V+Ao73aX$7c9bsD2poEXzDJSjFAdyJibpSmMQ4/XhPZYkyQHtFKTvy9jBew5ilub/BYgapha+GE1XVkLZWc0fZSu8i+58HQ==";
const MOSQUITTO_7: &str =
    "$7$101$ZkGV8aACU+Ewh7JV$9Ijwh81V4Q2AKkgvaZ1RJeWjjFIE+1DxzHY25z1IVSe86IXNfJH2nJ041Fb/S5NhyhKUmKgy70UrEpww63Ti6A==";
/// From the test vectors of the reference implementation: password `password`, salt `somesalt`.
const ARGON2ID: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
/// Made by libxcrypt; the password is `sesam`.
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuua1kk8EPGkSHbWt7XiGEPDGNQWLno8Ja";
/// In the format of mosquitto-go-auth, made by Python's hashlib; the password is `sesam`.
const GO_AUTH_SHA256: &str = "PBKDF2$sha256$1000$MDEyMzQ1Njc4OWFiY2RlZg==$3JOdJfrH/4nM+sJulFtxb4fHW0tdTcZBrukjswEho38=";
const GO_AUTH_SHA512: &str = "PBKDF2$sha512$1000$MDEyMzQ1Njc4OWFiY2RlZg==$PmVK5AOasObvuVV7tNtxskERYqV6c+5ivlKEWaT91KuCpfucUwUlpByaIUmoOL9PBGNKgjv7HWujcjIaKwyDXA==";

fn file(text: &str) -> PasswordFile {
    PasswordFile::parse(text).unwrap()
}

#[test]
fn every_hash_format_accepts_only_its_password() {
    for (hash, password) in [
        (MOSQUITTO_6, "sesam"),
        (MOSQUITTO_7, "sesam"),
        (ARGON2ID, "password"),
        (BCRYPT, "sesam"),
        (GO_AUTH_SHA256, "sesam"),
        (GO_AUTH_SHA512, "sesam"),
    ] {
        let file = file(&format!("alice:{hash}\n"));
        assert_eq!(file.verify("alice", password.as_bytes()), Ok(()), "{hash}");
        for wrong in ["", "Sesam", "sesam ", "password1"] {
            assert_eq!(file.verify("alice", wrong.as_bytes()), Err(Mismatch::WrongPassword), "{hash}");
        }
        assert_eq!(file.verify("bob", password.as_bytes()), Err(Mismatch::UnknownUser));
    }
}

#[test]
fn a_new_hash_verifies_its_password() {
    let hash = StoredHash::hash_password(b"\xffsecret", b"0123456789abcdef").unwrap();
    let file = file(&format!("alice:{hash}"));
    assert_eq!(file.verify("alice", b"\xffsecret"), Ok(()));
    assert_eq!(file.verify("alice", b"secret"), Err(Mismatch::WrongPassword));
}

#[test]
fn comments_and_empty_lines_are_skipped() {
    let file = file(&format!("# users\n\n  alice:{MOSQUITTO_7}\r\nbob:{MOSQUITTO_6}\n"));
    assert_eq!(file.verify("alice", b"sesam"), Ok(()));
    assert_eq!(file.verify("bob", b"sesam"), Ok(()));
}

#[test]
fn an_empty_file_accepts_no_user() {
    assert_eq!(file("").verify("alice", b""), Err(Mismatch::UnknownUser));
    assert!(!file("# no user yet\n").has_users());
}

#[test]
fn an_unknown_user_is_verified_against_the_hash_of_a_known_one() {
    let file = file(&format!("alice:{MOSQUITTO_7}\nbob:{MOSQUITTO_6}\n"));
    let decoys: Vec<_> = (0..64).map(|number| file.decoy(&format!("unknown{number}"))).collect();
    assert!(decoys.contains(&0) && decoys.contains(&1) && decoys.iter().all(|place| *place < 2));
    assert_eq!(file.decoy("carol"), file.decoy("carol"));
}

#[test]
fn an_invalid_line_is_reported_with_its_cause() {
    let cut = &MOSQUITTO_7[..MOSQUITTO_7.len() - 8];
    let cases = [
        ("alice\n".to_owned(), 1, PasswordCause::NoUser),
        (format!(":{MOSQUITTO_6}"), 1, PasswordCause::NoUser),
        ("# a\n\nalice:sesam\n".to_owned(), 3, PasswordCause::UnknownHash),
        ("alice:".to_owned(), 1, PasswordCause::UnknownHash),
        (format!("alice:{cut}"), 1, PasswordCause::DamagedHash),
        ("alice:$6$only".to_owned(), 1, PasswordCause::DamagedHash),
        ("alice:$argon2id$v=19$m=256".to_owned(), 1, PasswordCause::DamagedHash),
        (format!("alice:{}", MOSQUITTO_7.replace("$101$", "$0$")), 1, PasswordCause::DamagedHash),
        (format!("alice:{}", MOSQUITTO_7.replace("$101$", "$4000000000$")), 1, PasswordCause::TooCostly),
        (format!("alice:{}", ARGON2ID.replace("m=256", "m=4000000")), 1, PasswordCause::TooCostly),
        (format!("alice:{}", ARGON2ID.replace("m=256,t=2", "m=1000000,t=5")), 1, PasswordCause::TooCostly),
        (format!("alice:{}", ARGON2ID.replace("p=1", "p=2177249729")), 1, PasswordCause::DamagedHash),
        (format!("alice:{}", ARGON2ID.replace("p=1", "p=1,p=2177249729")), 1, PasswordCause::DamagedHash),
        (format!("alice:{}", &BCRYPT[..59]), 1, PasswordCause::DamagedHash),
        (format!("alice:{}", BCRYPT.replace("$04$", "$03$")), 1, PasswordCause::DamagedHash),
        (format!("alice:{}", BCRYPT.replace("$04$", "$31$")), 1, PasswordCause::TooCostly),
        (format!("alice:{}", BCRYPT.replace("$2b$", "$2x$")), 1, PasswordCause::UnknownHash),
        (format!("alice:{}", GO_AUTH_SHA256.replace("$1000$", "$0$")), 1, PasswordCause::DamagedHash),
        (format!("alice:{}", GO_AUTH_SHA256.replace("$1000$", "$4000000000$")), 1, PasswordCause::TooCostly),
        (format!("alice:{}", GO_AUTH_SHA256.replace("sha256", "sha512")), 1, PasswordCause::DamagedHash),
        (format!("alice:{}", GO_AUTH_SHA256.replace("sha256", "md5")), 1, PasswordCause::DamagedHash),
        (format!("alice:{MOSQUITTO_6}\nalice:{MOSQUITTO_7}"), 2, PasswordCause::UserTwice),
    ];
    for (text, line, cause) in cases {
        assert_eq!(PasswordFile::parse(&text).map(|_| ()), Err((line, cause)), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(text: String, kind in prop::sample::select(vec!["$6$", "$7$", "$7$1$", "$argon2id$", "$2b$04$", "PBKDF2$sha256$1$"])) {
        let _ = PasswordFile::parse(&text);
        let _ = StoredHash::parse(&format!("{kind}{text}"));
    }
}
