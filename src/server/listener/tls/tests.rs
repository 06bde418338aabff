use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ALL_VERSIONS, CipherSuite, ClientConfig, ClientConnection, HandshakeKind, Stream};

use super::*;
use crate::config::{self, CertificateDates, NamedCertificate, TlsVersion};
use crate::server::listener::tests::Authority;

/// What both sides know after a handshake.
#[derive(Debug, PartialEq)]
struct Shaken {
    kind: HandshakeKind,
    identity: Option<String>,
    certificate: CertificateDer<'static>,
    protocol: Option<Vec<u8>>,
    suite: CipherSuite,
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Connects to a listener with these certificates. `Err`: the error of the server, and that of the client.
fn shake(certificates: &Certificates, client: &Arc<ClientConfig>, host: &str) -> Result<Shaken, (String, String)> {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from(host.to_owned()).unwrap();
            let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, stream).await?;
            // What comes first of TLS 1.3 after the handshake is the ticket.
            stream.read_u8().await?;
            std::io::Result::Ok(stream)
        };
        let accept = async {
            let (mut stream, _) = certificates.accept(listener.accept().await.unwrap().0).await.map_err(|error| {
                let AcceptError::Failed(error) = error else { panic!("{error:?}") };
                error.to_string()
            })?;
            let identity =
                certificates.identity_of(certificates_of(&stream)).unwrap().map(|identity| identity.to_string());
            stream.write_u8(b'x').await.unwrap();
            stream.flush().await.unwrap();
            Ok((stream, identity))
        };
        match tokio::join!(connect, accept) {
            (Ok(stream), Ok((_server, identity))) => {
                let (_, session) = stream.get_ref();
                Ok(Shaken {
                    kind: session.handshake_kind().unwrap(),
                    identity,
                    certificate: session.peer_certificates().unwrap()[0].clone().into_owned(),
                    protocol: session.alpn_protocol().map(<[u8]>::to_vec),
                    suite: session.negotiated_cipher_suite().unwrap().suite(),
                })
            }
            (client, server) => Err((
                server.map(|_| String::new()).unwrap_or_else(|error: String| error),
                client.map(|_| String::new()).unwrap_or_else(|error| error.to_string()),
            )),
        }
    })
}

fn load(authority: &Authority, change: impl FnOnce(&mut Tls)) -> Certificates {
    let mut tls = authority.tls(ClientCertificate::None);
    tls.identity_as_user_name = false;
    change(&mut tls);
    Certificates::load(tls).unwrap()
}

fn resumed(shaken: &Result<Shaken, (String, String)>) -> bool {
    shaken.as_ref().unwrap().kind == HandshakeKind::Resumed
}

#[test]
fn a_resumed_session_keeps_the_identity_until_its_certificate_is_revoked() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        let certificates = Certificates::load(authority.tls(ClientCertificate::Required)).unwrap();
        let client = Arc::new(authority.client(Some("sensor"), &[version]));
        let connect = || shake(&certificates, &client, "localhost");
        assert!(!resumed(&connect()));
        for _ in 0..3 {
            let again = connect();
            assert!(resumed(&again), "{again:?}");
            assert_eq!(again.unwrap().identity.as_deref(), Some("sensor"));
        }
        // A reload that changes nothing ends the sessions, too.
        certificates.reload().unwrap();
        assert!(!resumed(&connect()));
        assert!(resumed(&connect()));
        authority.revoke(2);
        certificates.reload().unwrap();
        let (error, _) = connect().unwrap_err();
        assert!(error.contains("revoked"), "{error}");
        authority.revoke(3);
        certificates.reload().unwrap();
        assert!(!resumed(&connect()));
        // Another authority.
        let other = Authority::new();
        fs::copy(other.path("ca.pem"), authority.path("ca.pem")).unwrap();
        fs::copy(other.path("crl.pem"), authority.path("crl.pem")).unwrap();
        certificates.reload().unwrap();
        let (error, _) = connect().unwrap_err();
        assert!(error.contains("not valid"), "{error}");
    }
}

#[test]
fn a_resumed_session_is_refused_when_its_certificate_has_expired() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        authority.issue_for(2, "sensor", &["sensor"], Some(Duration::from_secs(3)));
        let certificates = Certificates::load(authority.tls(ClientCertificate::Optional)).unwrap();
        let client = Arc::new(authority.client(Some("sensor"), &[version]));
        let connect = || shake(&certificates, &client, "localhost");
        assert!(!resumed(&connect()));
        assert!(resumed(&connect()));
        std::thread::sleep(Duration::from_millis(4_100));
        let (error, _) = connect().unwrap_err();
        assert!(error.contains("not valid"), "{error}");
        // Without a certificate it is a session like any other.
        let nobody = Arc::new(authority.client(None, &[version]));
        let connect = || shake(&certificates, &nobody, "localhost");
        assert!(!resumed(&connect()) && resumed(&connect()));
    }
}

#[test]
fn an_expired_certificate_is_resumed_where_dates_are_ignored_and_refused_after_a_change() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new();
        authority.issue_for(2, "sensor", &["sensor"], Some(Duration::ZERO));
        std::thread::sleep(Duration::from_millis(1_100));
        let tls =
            |client_certificate_dates| Tls { client_certificate_dates, ..authority.tls(ClientCertificate::Required) };
        let certificates = Certificates::load(tls(CertificateDates::Ignored)).unwrap();
        let client = Arc::new(authority.client(Some("sensor"), &[version]));
        let connect = || shake(&certificates, &client, "localhost");
        assert!(!resumed(&connect()));
        let again = connect();
        assert!(resumed(&again), "{again:?}");
        assert_eq!(again.unwrap().identity.as_deref(), Some("sensor"));
        let presented = [CertificateDer::from_pem_file(authority.path("sensor.pem")).unwrap()];
        assert!(certificates.verifies(&presented));
        let removals = certificates.removals();
        certificates.replace(tls(CertificateDates::Checked)).unwrap();
        assert!(certificates.removals() > removals, "open connections are judged again");
        assert!(!certificates.verifies(&presented));
        let (error, _) = connect().unwrap_err();
        assert!(error.contains("not valid"), "{error}");
        authority.revoke(2);
        certificates.replace(tls(CertificateDates::Ignored)).unwrap();
        let (error, _) = connect().unwrap_err();
        assert!(error.contains("revoked"), "{error}");
    }
}

/// Writes `admin.pem` and `admin.key`, signed by the key of the client `sensor`.
fn sign_with_the_key_of_sensor(authority: &Authority) {
    let params = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let sensor = KeyPair::from_pem(&fs::read_to_string(authority.path("sensor.key")).unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let admin = params("admin").signed_by(&key, &Issuer::new(params("sensor"), sensor)).unwrap();
    fs::write(authority.path("admin.pem"), admin.pem()).unwrap();
    fs::write(authority.path("admin.key"), key.serialize_pem()).unwrap();
}

#[test]
fn a_client_whose_certificate_is_in_the_file_of_authorities_cannot_sign_others() {
    let authority = Authority::new();
    sign_with_the_key_of_sensor(&authority);
    let write = |files: &[&str]| {
        let text: String = files.iter().map(|file| fs::read_to_string(authority.path(file)).unwrap()).collect();
        fs::write(authority.path("clients.pem"), text).unwrap();
    };
    write(&["sensor.pem", "ca.pem"]);
    let tls =
        Tls { client_ca: Some(authority.path("clients.pem")), crl: None, ..authority.tls(ClientCertificate::Required) };
    let notes = check(&tls, Transport::Tls).unwrap().join("\n");
    assert!(
        notes.contains("clients.pem: certificate 1 (line 1), of `CN=sensor`, is not that of an authority"),
        "{notes}"
    );
    assert!(!notes.contains("certificate 2"), "{notes}");
    let certificates = Certificates::load(tls).unwrap();
    let connect = |name: &str| {
        let client = Arc::new(authority.client(Some(name), ALL_VERSIONS));
        shake(&certificates, &client, "localhost").map(|shaken| shaken.identity)
    };
    let refused = |name: &str| {
        let (error, _) = connect(name).unwrap_err();
        assert!(error.contains("not signed by an authority in client_ca"), "{error}");
    };
    refused("admin");
    assert_eq!(connect("sensor").unwrap().as_deref(), Some("sensor"));

    // Without an authority the file is an error, and what was read before stays.
    write(&["sensor.pem", "revoked.pem"]);
    let error = certificates.reload().unwrap_err().to_string();
    assert!(error.contains("clients.pem: has no certificate of an authority: certificate 1 (line 1)"), "{error}");
    refused("admin");
    assert_eq!(connect("sensor").unwrap().as_deref(), Some("sensor"));
}

#[test]
fn a_client_gets_the_certificate_with_the_name_that_it_asks_for() {
    let authority = Authority::new();
    authority.issue_for(5, "exact", &["a.example.com", "B.Example.com"], None);
    authority.issue_for(6, "wild", &["*.example.com"], None);
    authority.issue_for(8, "unused", &["a.example.com"], None);
    let further = |name: &str| NamedCertificate {
        certificate: authority.path(&format!("{name}.pem")),
        key: authority.path(&format!("{name}.key")),
    };
    let shown = |name: &str| CertificateDer::from_pem_file(authority.path(&format!("{name}.pem"))).unwrap();
    let certificates =
        load(&authority, |tls| tls.certificates = vec![further("exact"), further("wild"), further("unused")]);
    let notes = check(&certificates.current.load().files, Transport::Tls).unwrap();
    assert!(notes.iter().any(|note| note.contains("unused.pem: is never used")), "{notes:?}");
    let client = Arc::new(authority.client(None, ALL_VERSIONS));
    let get = |host: &str| shake(&certificates, &client, host);
    for (host, name) in [
        ("localhost", "localhost"),
        ("a.example.com", "exact"),
        ("b.example.com", "exact"),
        ("B.EXAMPLE.com", "exact"),
        ("c.example.com", "wild"),
    ] {
        assert_eq!(get(host).unwrap().certificate, shown(name), "{host}");
    }
    // These get the first certificate, which does not have their names.
    for host in ["example.com", "x.c.example.com", "example.org", "127.0.0.1"] {
        let (_, error) = get(host).unwrap_err();
        assert!(error.contains("not valid for"), "{host}: {error}");
    }
    // A session belongs to the name.
    assert!(resumed(&get("a.example.com")));
    let before = shown("exact");
    authority.issue_for(7, "exact", &["a.example.com"], Some(Duration::from_secs(86_400)));
    certificates.reload().unwrap();
    let after = get("a.example.com").unwrap().certificate;
    assert!(after == shown("exact") && after != before);
    assert_eq!(get("b.example.com").unwrap().certificate, shown("wild"));
    // The first of all to expire.
    let days = (certificates.expires() - i64::try_from(crate::server::clock::wall_time().0 / 1_000).unwrap()) / 3_600;
    assert!((23..=24).contains(&days), "{days}");

    fs::write(authority.path("wild.key"), "no key").unwrap();
    let error = certificates.reload().unwrap_err().to_string();
    assert!(error.contains("wild.key"), "{error}");
    assert_eq!(get("c.example.com").unwrap().certificate, shown("wild"), "what was before stays");
}

#[test]
fn a_further_certificate_must_have_a_name() {
    let authority = Authority::new();
    authority.issue_for(5, "nameless", &[], None);
    let mut tls = authority.tls(ClientCertificate::None);
    tls.certificates =
        vec![NamedCertificate { certificate: authority.path("nameless.pem"), key: authority.path("nameless.key") }];
    let error = check(&tls, Transport::Tls).unwrap_err().to_string();
    assert!(error.contains("nameless.pem: has no name"), "{error}");
}

#[test]
fn a_client_that_names_protocols_must_name_one_of_the_listener() {
    let authority = Authority::new();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let strict = load(&authority, |tls| tls.alpn = Some(names(&["mqtt", "x-amzn-mqtt-ca"])));
    let open = load(&authority, |tls| tls.alpn = Some(Vec::new()));
    let shake = |certificates: &Certificates, offered: &[&str]| {
        let mut client = authority.client(None, ALL_VERSIONS);
        client.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let result = shake(certificates, &Arc::new(client), "localhost");
        result.map(|shaken| shaken.protocol.map(|name| String::from_utf8(name).unwrap()))
    };
    assert_eq!(shake(&strict, &["h2", "mqtt"]), Ok(Some("mqtt".to_owned())));
    assert_eq!(shake(&strict, &["x-amzn-mqtt-ca"]), Ok(Some("x-amzn-mqtt-ca".to_owned())));
    assert_eq!(shake(&strict, &[]), Ok(None));
    let (server, client) = shake(&strict, &["h2", "http/1.1"]).unwrap_err();
    assert!(client.contains("NoApplicationProtocol"), "{client}");
    assert!(server.contains("(alpn)"), "{server}");
    assert_eq!(shake(&open, &["h2"]), Ok(None));
}

#[test]
fn versions_and_cipher_suites_are_those_of_the_settings() {
    let authority = Authority::new();
    let new = load(&authority, |tls| tls.min_version = TlsVersion::V1_3);
    let both = Arc::new(authority.client(None, ALL_VERSIONS));
    let old = Arc::new(authority.client(None, &[&TLS12]));
    assert!(shake(&new, &both, "localhost").is_ok());
    let (_, error) = shake(&new, &old, "localhost").unwrap_err();
    assert!(error.contains("ProtocolVersion"), "{error}");
    for (wanted, expected) in [
        (config::CipherSuite::ChaCha20, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        (config::CipherSuite::Aes256, CipherSuite::TLS13_AES_256_GCM_SHA384),
        (config::CipherSuite::EcdsaChaCha20, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ] {
        let certificates = load(&authority, |tls| tls.cipher_suites = Some(vec![wanted]));
        assert_eq!(shake(&certificates, &both, "localhost").unwrap().suite, expected);
        assert_eq!(shake(&certificates, &old, "localhost").is_ok(), wanted.version() == TlsVersion::V1_2);
    }
}

#[test]
fn every_cipher_suite_of_the_library_has_a_setting() {
    let all = provider().cipher_suites;
    let names = all.iter().map(|suite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_"));
    let of_settings: Vec<config::CipherSuite> =
        names.map(|name| serde_json::from_value(name.into()).unwrap()).collect();
    assert_eq!(of_settings.len(), 9);
    for (setting, suite) in of_settings.into_iter().zip(&all) {
        let mut one = provider();
        let file = std::path::PathBuf::new();
        handshake::restrict(&mut one, &Tls { cipher_suites: Some(vec![setting]), ..Tls::new(file.clone(), file) });
        assert_eq!(one.cipher_suites.iter().map(|suite| suite.suite()).collect::<Vec<_>>(), [suite.suite()]);
    }
}

/// Notes what is read.
struct Recorder(std::net::TcpStream, Vec<u8>);

impl Read for Recorder {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.0.read(buffer)?;
        self.1.extend(&buffer[..length]);
        Ok(length)
    }
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// The lengths of all records that a client gets, the first of which are those of the handshake.
fn record_lengths(address: SocketAddr, client: ClientConfig, bytes: usize) -> Vec<usize> {
    let mut session = ClientConnection::new(Arc::new(client), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut recorder = Recorder(std::net::TcpStream::connect(address).unwrap(), Vec::new());
    let mut read = vec![0; bytes];
    Stream::new(&mut session, &mut recorder).read_exact(&mut read).unwrap();
    let (mut lengths, mut rest) = (Vec::new(), &recorder.1[..]);
    while let [_, _, _, high, low, payload @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(length);
        rest = payload.get(length..).unwrap_or_default();
    }
    lengths
}

#[test]
fn records_are_as_small_as_the_setting_says_also_those_of_the_handshake() {
    const SENT: usize = 40_000;
    let authority = Authority::new();
    for version in [&TLS12, &TLS13] {
        for (size, largest) in [(None, 16_384), (Some(512), 512), (Some(1_000), 1_000)] {
            let certificates = load(&authority, |tls| tls.record_size = size);
            let client = authority.client(None, &[version]);
            let lengths = block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let reader = std::thread::spawn(move || record_lengths(address, client, SENT));
                let (mut stream, _) = certificates.accept(listener.accept().await.unwrap().0).await.unwrap();
                stream.write_all(&[7; SENT]).await.unwrap();
                stream.flush().await.unwrap();
                reader.join().unwrap()
            });
            // The type of TLS 1.3 or the nonce of TLS 1.2, and the tag.
            let overhead = if *version == TLS13 { 1 + 16 } else { 8 + 16 };
            let longest = lengths.iter().copied().max().unwrap();
            assert_eq!(longest, largest + overhead, "{size:?}");
            assert!(lengths.len() > SENT / largest);
        }
    }
}

#[cfg(feature = "quic")]
#[test]
fn a_reload_that_leaves_no_suite_for_quic_changes_nothing() {
    let authority = Authority::new();
    let useless = |tls: &mut Tls| tls.cipher_suites = Some(vec![config::CipherSuite::EcdsaAes128]);
    let mut tls = authority.tls(ClientCertificate::None);
    tls.identity_as_user_name = false;
    assert!(check(&tls, Transport::Quic).is_ok());
    let certificates = Certificates::load(tls.clone()).unwrap();
    certificates.quic().unwrap();
    useless(&mut tls);
    assert!(check(&tls, Transport::Tls).is_ok() && check(&tls, Transport::Quic).is_err());
    assert!(certificates.replace(tls.clone()).is_err(), "as at the start");
    certificates.quic().unwrap();
    let of_tls = load(&authority, |_| ());
    of_tls.replace(tls).unwrap();
}
