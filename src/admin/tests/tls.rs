use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::admin::api::tests::Api;
use crate::admin::token_file::TokenFile;
use crate::config::Role;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn issuer(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes `NAME.pem` and `NAME.key`.
fn write(directory: &Path, name: &str, issuer: &Issuer) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// The answer to a request over TLS, with the certificate of a caller or without; empty if the handshake fails.
fn ask(api: &Api, files: &Path, issuer: &Issuer, caller: Option<&str>, path_and_headers: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(issuer.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let config = match caller {
        None => config.with_no_client_auth(),
        Some(name) => {
            let certificate = CertificateDer::from_pem_file(files.join(format!("{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(files.join(format!("{name}.key"))).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let stream = TcpStream::connect(api.admin.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    let (path, headers) = path_and_headers.split_once('|').unwrap_or((path_and_headers, ""));
    let _ = stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_certificate_with_a_role_is_as_good_as_a_token_and_new_files_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path();
    let (own, others) = (issuer("own"), issuer("others"));
    for name in ["server", "alice", "nobody"] {
        write(files, name, &own);
    }
    write(files, "stranger", &others);
    fs::write(files.join("ca.pem"), own.pem()).unwrap();
    let api = Api::with(
        |settings| {
            settings.certificate = Some(files.join("server.pem"));
            settings.key = Some(files.join("server.key"));
            settings.client_ca = Some(files.join("ca.pem"));
            settings.certificate_roles = vec!["alice=viewer".to_owned()];
        },
        |_| (),
    );
    let token = TokenFile::new(api.data()).create("ci", Role::Admin).unwrap();
    let with_token = format!("/api/v1/tokens|Authorization: Bearer {token}\r\n");
    for (caller, asked, code) in [
        (None, "/health/live", "200"),
        (None, "/metrics", "200"),
        (None, "/api/v1/bans", "401"),
        (None, &with_token, "200"),
        (Some("alice"), "/api/v1/bans", "200"),
        (Some("alice"), "/api/v1/tokens", "403"),
        (Some("alice"), &with_token, "200"),
        (Some("alice"), "/api/v1/bans|Authorization: Bearer x\r\n", "401"),
        (Some("nobody"), "/api/v1/bans", "403"),
    ] {
        let answer = ask(&api, files, &own, caller, asked);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{caller:?} {asked}: {answer}");
    }
    assert_eq!(ask(&api, files, &own, Some("stranger"), "/health/live"), "", "the handshake fails");
    // Plain HTTP gets no answer in HTTP.
    let mut plain = TcpStream::connect(api.admin.address()).unwrap();
    plain.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    write(files, "server", &others);
    assert_eq!(ask(&api, files, &others, None, "/health/live"), "", "not read yet");
    for _ in 0..100 {
        if ask(&api, files, &others, None, "/health/live").starts_with("HTTP/1.1 200 ") {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("the new certificate is not used");
}
