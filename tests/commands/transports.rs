//! TLS and Unix sockets.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use wire::free_address;

use crate::process::{Broker, run};

/// Writes `ca.pem`, `other-ca.pem`, and `NAME.pem` and `NAME.key` of a server called localhost, one with another name, and a client.
fn write_certificates(path: &Path) {
    let authority = |file: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(path.join(file), authority.pem()).unwrap();
        authority
    };
    let (ours, _other) = (authority("ca.pem"), authority("other-ca.pem"));
    for (file, name) in [("server", "localhost"), ("renamed", "elsewhere.example"), ("client", "device")] {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        fs::write(path.join(format!("{file}.pem")), params.signed_by(&key, &ours).unwrap().pem()).unwrap();
        fs::write(path.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    }
}

/// A broker with TLS, in whose directory the certificates are.
fn with_tls(server: &str, settings: &str) -> Broker {
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path());
    let mqtt = free_address();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let text = format!(
        "[security]\nallow_anonymous = true\n[[listeners]]\naddress = \"{mqtt}\"\ntransport = \"tls\"\n[listeners.tls]\n\
         certificate = {:?}\nkey = {:?}\n{}",
        file(&format!("{server}.pem")),
        file(&format!("{server}.key")),
        settings.replace("CA", &format!("{:?}", file("ca.pem"))),
    );
    Broker::with_config(&text, directory, mqtt)
}

#[test]
fn tls_verifies_the_name_and_the_authority() {
    let broker = with_tls("server", "");
    let file = |name: &str| broker.directory.path().join(name).display().to_string();
    let port = broker.mqtt.port().to_string();
    let publish =
        |ca: &str| run(["pub", "-h", "localhost", "-p", &port, "-t", "a", "-m", "x", "-q", "1", "--cafile", &file(ca)]);
    publish("ca.pem").succeeded();
    publish("other-ca.pem").failed(7, "invalid peer certificate");
    publish("server.key").failed(2, "contains no certificate");
    run(["pub", "-L", &format!("mqtts://localhost:{port}/a"), "-m", "x", "--cafile", &file("ca.pem")]).succeeded();
}

#[test]
fn insecure_accepts_another_name_and_no_other_authority() {
    let broker = with_tls("renamed", "");
    let file = |name: &str| broker.directory.path().join(name).display().to_string();
    let port = broker.mqtt.port().to_string();
    let publish = |ca: &str, more: &[&str]| {
        let ca = file(ca);
        let arguments = ["pub", "-h", "localhost", "-p", &port, "-t", "a", "-m", "x", "-q", "1", "--cafile", &ca];
        run([&arguments[..], more].concat())
    };
    publish("ca.pem", &[]).failed(7, "invalid peer certificate");
    publish("ca.pem", &["--insecure"]).succeeded();
    publish("other-ca.pem", &["--insecure"]).failed(7, "invalid peer certificate");
}

#[test]
fn a_client_certificate_is_presented() {
    let broker = with_tls("server", "client_certificate = \"required\"\nclient_ca = CA\n");
    let file = |name: &str| broker.directory.path().join(name).display().to_string();
    let port = broker.mqtt.port().to_string();
    let arguments =
        ["sub", "-h", "localhost", "-p", &port, "-t", "a", "-E", "--cafile", &file("ca.pem")].map(str::to_owned);
    let identity =
        |name: &str| ["--cert".to_owned(), file(&format!("{name}.pem")), "--key".to_owned(), file("client.key")];
    run([&arguments[..], &identity("client")].concat()).succeeded();
    assert_eq!(run(&arguments).code, 7);
    assert_eq!(run([&arguments[..], &identity("server")].concat()).code, 2, "the key is of another certificate");
}

#[test]
fn a_unix_socket_is_a_transport() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("mqtt.sock").display().to_string();
    let broker = Broker::start(&["--listen", &format!("unix:{socket}")]);
    run(["pub", "--unix", &socket, "-t", "a", "-m", "hello", "-r", "-q", "2"]).succeeded();
    assert_eq!(run(["sub", "--unix", &socket, "-t", "a", "-C", "1"]).succeeded(), "hello\n");
    drop(broker);
}
