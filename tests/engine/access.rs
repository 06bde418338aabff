//! TLS and credentials.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nats_servers::{Servers, Setup};
use oncemq::cluster::{CreateStream, Engine as _, Nats};
use oncemq::config::Cluster;
use serde_json::json;

use crate::driver::{config, connect};

/// Writes an authority and a certificate of `localhost`, and returns the lines for a server that has it.
fn certify(directory: &Path, verify: bool) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    fs::write(directory.join("ca.pem"), root.pem()).unwrap();
    let path = |name: &str| directory.join(name).display().to_string();
    format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: {verify} }}",
        path("server.pem"),
        path("server.key"),
        path("ca.pem")
    )
}

fn encrypted(servers: &Servers, directory: &Path) -> Cluster {
    let url = format!("tls://localhost:{}", servers.address(0).port());
    Cluster { ca: Some(directory.join("ca.pem")), ..config("one", &[url]) }
}

/// Why no connection is made.
async fn refused(settings: &Cluster) -> String {
    Nats::connect(settings, CreateStream::IfMissing).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_user_with_its_password_is_accepted_over_tls_alone() {
    if nats_servers::is_missing() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let tls = certify(directory.path(), false);
    let more = format!("{tls}\nauthorization {{ user: oncemq, password: sesam }}");
    let servers = Servers::start(&Setup { servers: 1, more, ..Setup::default() });
    let password = directory.path().join("password");
    fs::write(&password, "sesam\n").unwrap();
    let settings = encrypted(&servers, directory.path());
    let settings = Cluster { user_name: Some("oncemq".to_owned()), password_file: Some(password.clone()), ..settings };
    let nats = connect(&settings).await;
    assert!(nats.condition().server.is_some_and(|server| server.contains("2.")), "{:?}", nats.condition());

    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = directory.path().join("other.pem");
    fs::write(&other, stranger.cert.pem()).unwrap();
    let error = refused(&Cluster { ca: Some(other), ..settings.clone() }).await;
    assert!(error.contains("certificate"), "{error}");
    let by_address = format!("tls://127.0.0.1:{}", servers.address(0).port());
    let error = refused(&Cluster { nats: vec![by_address], ..settings.clone() }).await;
    assert!(error.contains("certificate"), "{error}");

    fs::write(&password, "wrong-secret\n").unwrap();
    let error = refused(&settings).await;
    assert!(error.to_lowercase().contains("authorization") && !error.contains("wrong-secret"), "{error}");
    fs::remove_file(&password).unwrap();
    let error = refused(&settings).await;
    assert!(error.contains("password"), "{error}");
}

#[tokio::test]
async fn a_key_of_nats_and_a_certificate_are_credentials_too() {
    if nats_servers::is_missing() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let key = nkeys::KeyPair::new_user();
    let file = directory.path().join("nkey");
    fs::write(&file, format!("{}\n", key.seed().unwrap())).unwrap();
    let more = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", key.public_key());
    let servers = Servers::start(&Setup { servers: 1, more, ..Setup::default() });
    let settings = Cluster { nkey_file: Some(file.clone()), ..config("one", &servers.urls()) };
    connect(&settings).await;
    fs::write(&file, nkeys::KeyPair::new_user().seed().unwrap()).unwrap();
    let error = refused(&settings).await;
    assert!(error.to_lowercase().contains("authorization"), "{error}");

    let more = certify(directory.path(), true);
    let servers = Servers::start(&Setup { servers: 1, more, ..Setup::default() });
    let settings = encrypted(&servers, directory.path());
    refused(&settings).await;
    let path = |name: &str| Some(directory.path().join(name));
    connect(&Cluster { certificate: path("client.pem"), key: path("client.key"), ..settings }).await;
}

/// A token that this key has signed.
fn token(key: &nkeys::KeyPair, subject: &str, claims: &serde_json::Value) -> String {
    let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let body = json!({"jti": "x", "iat": 1_700_000_000, "iss": key.public_key(), "sub": subject, "nats": claims});
    let text = format!("{header}.{}", encode(body));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

#[tokio::test]
async fn a_file_of_credentials_is_accepted_by_a_server_that_trusts_its_operator() {
    if nats_servers::is_missing() {
        return;
    }
    let (operator, user) = (nkeys::KeyPair::new_operator(), nkeys::KeyPair::new_user());
    let (account, system) = (nkeys::KeyPair::new_account(), nkeys::KeyPair::new_account());
    let of_operator = token(&operator, &operator.public_key(), &json!({"type": "operator", "version": 2}));
    let limits = json!({
        "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1,
        "wildcards": true, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let claims = json!({"type": "account", "version": 2, "limits": limits});
    let of_account = token(&operator, &account.public_key(), &claims);
    let of_system = token(&operator, &system.public_key(), &json!({"type": "account", "version": 2}));
    let claims = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
    let of_user = token(&account, &user.public_key(), &claims);
    let [account, system] = [account, system].map(|key| key.public_key());
    let more = format!(
        "operator: {of_operator:?}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload {{ {account}: {of_account:?}, {system}: {of_system:?} }}",
    );
    let servers = Servers::start(&Setup { servers: 1, more, ..Setup::default() });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.creds");
    let credentials = |seed: &str| {
        format!(
            "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    };
    fs::write(&file, credentials(&user.seed().unwrap())).unwrap();
    let settings = Cluster { credentials_file: Some(file.clone()), ..config("one", &servers.urls()) };
    connect(&settings).await;
    // The key of somebody else.
    fs::write(&file, credentials(&nkeys::KeyPair::new_user().seed().unwrap())).unwrap();
    let error = refused(&settings).await;
    assert!(error.to_lowercase().contains("authorization"), "{error}");
}
