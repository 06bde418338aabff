//! Handshakes with real client libraries over loopback.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ALL_VERSIONS, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::config::{ClientCertificate, Limits, ListenAddress, Listener, ProxyProtocol, SocketMode, Tls, Transport};

/// A listener without its accept loop.
struct TestListener {
    endpoint: Arc<Endpoint>,
    accepting: socket::Accepting,
    address: SocketAddr,
    admission: Arc<Admission>,
}

impl TestListener {
    fn open(change: impl FnOnce(&mut Listener), limits: &Limits) -> Self {
        let mut settings = Listener::new(ListenAddress::Ip("127.0.0.1:0".parse().unwrap()));
        change(&mut settings);
        let options = TcpOptions { user_timeout: Duration::from_secs(20) };
        let places = Places::resolve(&settings).unwrap();
        let socket = places.bind(options, &std::collections::HashSet::new()).unwrap().remove(0);
        let address = socket.address().unwrap();
        let admission = Arc::new(Admission::new(limits));
        let endpoint = Arc::new(Endpoint::new(settings, limits).unwrap());
        let accepting = socket.register(&endpoint).unwrap();
        Self { endpoint, accepting, address, admission }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn establish(&self) -> Result<Established, HandshakeError> {
        let socket = self.accepting.accept().await.unwrap();
        let permit = self.admission.admit(&self.endpoint).unwrap();
        match receive(Accepted { socket, endpoint: Arc::clone(&self.endpoint), permit, accepted_at: Duration::ZERO })? {
            Arrival::Established(established) => Ok(established),
            Arrival::Handshake(handshake) => handshake.await,
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("in time") });
}

/// A certificate authority with a certificate for the server, one for the client `sensor`, and one that is revoked.
pub(in crate::server) struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(in crate::server) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let authority = Self { directory, issuer: Issuer::new(params, key) };
        for (number, name) in [(1, "localhost"), (2, "sensor"), (3, "revoked")] {
            authority.issue(number, name);
        }
        authority.revoke(3);
        authority
    }

    /// Writes a list that revokes the certificate with this number.
    pub(in crate::server) fn revoke(&self, number: u64) {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2044, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(number),
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        fs::write(self.path("crl.pem"), list.pem().unwrap()).unwrap();
    }

    pub(in crate::server) fn issue(&self, number: u64, name: &str) {
        self.issue_for(number, name, &[name], None);
    }

    /// A certificate with these names of hosts, which is valid for so long.
    pub(in crate::server) fn issue_for(&self, number: u64, name: &str, hosts: &[&str], lasts: Option<Duration>) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        if let Some(lasts) = lasts {
            let now = Duration::from_millis(crate::server::clock::wall_time().0);
            params.not_after = date_time_ymd(1970, 1, 1) + now + lasts;
        }
        params.serial_number = Some(SerialNumber::from(number));
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    pub(in crate::server) fn path(&self, file: &str) -> std::path::PathBuf {
        self.directory.path().join(file)
    }

    pub(in crate::server) fn tls(&self, client_certificate: ClientCertificate) -> Tls {
        Tls {
            client_certificate,
            client_ca: (client_certificate != ClientCertificate::None).then(|| self.path("ca.pem")),
            crl: (client_certificate != ClientCertificate::None).then(|| self.path("crl.pem")),
            identity_as_user_name: true,
            ..Tls::new(self.path("localhost.pem"), self.path("localhost.key"))
        }
    }

    /// A client with the certificate `name`, or without one.
    pub(in crate::server) fn client(
        &self,
        name: Option<&str>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let certificate = CertificateDer::from_pem_file(self.path(&format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        }
    }

    /// Connects with the client certificate `name`, or without one.
    async fn connect(&self, stream: TcpStream, name: Option<&str>) -> std::io::Result<TlsStream<TcpStream>> {
        let server = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(self.client(name, ALL_VERSIONS))).connect(server, stream).await
    }
}

async fn established_identity(
    authority: &Authority,
    listener: &TestListener,
    name: Option<&str>,
) -> Result<Option<String>, String> {
    let client = async {
        let mut stream = authority.connect(listener.connect().await, name).await?;
        stream.write_all(b"hello").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(())
    };
    let server = async {
        let mut established = listener.establish().await.map_err(|error| error.to_string())?;
        let mut bytes = [0; 5];
        established.stream.read_exact(&mut bytes).await.map_err(|error| error.to_string())?;
        established.stream.write_all(&bytes).await.unwrap();
        established.stream.flush().await.unwrap();
        Ok(established.peer.certificate_identity.map(|identity| identity.to_string()))
    };
    let (_, result) = tokio::join!(client, server);
    result
}

#[test]
fn a_client_certificate_is_an_identity_and_a_revoked_or_missing_one_is_refused() {
    run(async {
        let authority = Authority::new();
        for (mode, without) in [
            (ClientCertificate::Required, Err(())),
            (ClientCertificate::Optional, Ok(None)),
            (ClientCertificate::None, Ok(None)),
        ] {
            let change = |settings: &mut Listener| {
                settings.transport = Transport::Tls;
                settings.tls = Some(authority.tls(mode));
            };
            let listener = TestListener::open(change, &Limits::default());
            let asked = mode != ClientCertificate::None;
            assert_eq!(established_identity(&authority, &listener, None).await.map_err(drop), without, "{mode:?}");
            let sensor = established_identity(&authority, &listener, Some("sensor")).await;
            assert_eq!(sensor, Ok(asked.then(|| "sensor".to_owned())), "{mode:?}");
            assert_eq!(established_identity(&authority, &listener, Some("revoked")).await.is_err(), asked, "{mode:?}");
        }
    });
}

#[test]
fn certificates_are_reloaded_for_new_connections_and_an_invalid_file_keeps_the_old_ones() {
    run(async {
        let authority = Authority::new();
        let change = |settings: &mut Listener| {
            settings.transport = Transport::Tls;
            settings.tls = Some(authority.tls(ClientCertificate::None));
        };
        let listener = TestListener::open(change, &Limits::default());
        let shown = async || {
            let (client, server) =
                tokio::join!(async { authority.connect(listener.connect().await, None).await.unwrap() }, async {
                    listener.establish().await.unwrap()
                });
            let shown = client.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
            (shown, client, server)
        };
        let (first, mut client, mut server) = shown().await;
        authority.issue(9, "localhost");
        listener.endpoint.reload().unwrap();
        let (second, ..) = shown().await;
        assert_ne!(first, second);

        fs::write(authority.path("localhost.key"), "not a key").unwrap();
        let error = listener.endpoint.reload().unwrap_err();
        assert!(error.to_string().contains("localhost.key"), "{error}");
        let (third, ..) = shown().await;
        assert_eq!(second, third);

        // The connection from before the reload stays open.
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.stream.read_u8().await.unwrap(), b'x');
    });
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let authority = Authority::new();
    let tls = |change: fn(&mut Tls, &Path)| {
        let mut tls = authority.tls(ClientCertificate::Required);
        change(&mut tls, authority.directory.path());
        tls::Certificates::load(tls).unwrap_err().to_string()
    };
    assert!(tls(|tls, path| tls.certificate = path.join("missing.pem")).contains("missing.pem"));
    assert!(tls(|tls, path| tls.certificate = path.join("localhost.key")).contains("localhost.key"));
    assert!(tls(|tls, path| tls.key = path.join("sensor.pem")).contains("sensor.pem"));
    assert!(tls(|tls, _| tls.client_ca = None).contains("client_ca"));
    assert!(tls(|tls, path| tls.key = path.join("sensor.key")).contains("certificate and key"));
}

#[test]
fn the_address_in_the_proxy_header_before_tls_counts_for_the_address_limit() {
    run(async {
        let authority = Authority::new();
        let change = |settings: &mut Listener| {
            settings.transport = Transport::Tls;
            settings.tls = Some(authority.tls(ClientCertificate::None));
            settings.proxy_protocol = ProxyProtocol::Any;
        };
        let limits = Limits { connections_per_address_max: 1, ..Limits::default() };
        let listener = TestListener::open(change, &limits);
        let client = async |address: &str| {
            let mut stream = listener.connect().await;
            stream.write_all(format!("PROXY TCP4 {address} 192.0.2.99 4711 8883\r\n").as_bytes()).await.unwrap();
            authority.connect(stream, None).await
        };
        let (_client, first) = tokio::join!(client("192.0.2.1"), listener.establish());
        let first = first.unwrap();
        assert_eq!(first.peer.address, Some("192.0.2.1:4711".parse().unwrap()));
        let (_, second) = tokio::join!(client("192.0.2.1"), listener.establish());
        assert!(matches!(second, Err(HandshakeError::Refused(_))));
        let (_, third) = tokio::join!(client("192.0.2.2"), listener.establish());
        assert_eq!(third.unwrap().peer.address, Some("192.0.2.2:4711".parse().unwrap()));
    });
}

#[test]
fn a_unix_socket_takes_the_address_of_the_proxy_header() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mqtt.sock");
        let mut settings = Listener::new(ListenAddress::Unix(path.clone()));
        settings.proxy_protocol = ProxyProtocol::V1;
        let limits = Limits { connections_per_address_max: 1, ..Limits::default() };
        let endpoint = Arc::new(Endpoint::new(settings, &limits).unwrap());
        let socket = BoundSocket::bind_unix(&path, SocketMode::default()).unwrap().register(&endpoint).unwrap();
        let admission = Arc::new(Admission::new(&limits));
        let establish = async |header: &[u8]| {
            let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
            client.write_all(header).await.unwrap();
            let permit = admission.admit(&endpoint).unwrap();
            let accepted = Accepted {
                socket: socket.accept().await.unwrap(),
                endpoint: Arc::clone(&endpoint),
                permit,
                accepted_at: Duration::ZERO,
            };
            let Arrival::Handshake(handshake) = receive(accepted)? else { panic!("no handshake") };
            handshake.await
        };
        let first = establish(b"PROXY TCP4 192.0.2.1 192.0.2.99 4711 1883\r\n").await.unwrap();
        assert_eq!(first.peer.address, Some("192.0.2.1:4711".parse().unwrap()));
        let second = establish(b"PROXY TCP4 192.0.2.1 192.0.2.99 4712 1883\r\n").await;
        assert!(matches!(second, Err(HandshakeError::Refused(_))));
        assert_eq!(establish(b"PROXY UNKNOWN\r\n").await.unwrap().peer.address, None);
        assert!(matches!(establish(b"\x10\x0c\0\x04MQTT").await, Err(HandshakeError::Proxy(_))));
    });
}

#[test]
fn a_missing_handshake_times_out_after_the_connect_timeout() {
    run(async {
        let limits = Limits { connect_timeout: Duration::from_millis(50), ..Limits::default() };
        for change in [
            |settings: &mut Listener| settings.transport = Transport::Ws,
            |settings: &mut Listener| settings.proxy_protocol = ProxyProtocol::Any,
        ] {
            let listener = TestListener::open(change, &limits);
            let _silent = listener.connect().await;
            assert!(matches!(listener.establish().await, Err(HandshakeError::Timeout)));
            assert_eq!(listener.admission.counts().connections, 0);
        }
    });
}

/// Opens a WebSocket at `path`, offering a subprotocol.
async fn web_socket<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    path: &str,
    subprotocol: Option<&str>,
) -> Result<(WebSocketStream<S>, Option<String>), Error> {
    let mut request = format!("ws://localhost{path}").into_client_request()?;
    if let Some(subprotocol) = subprotocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", subprotocol.parse().unwrap());
    }
    let (stream, response) = client_async(request, stream).await?;
    let subprotocol = response.headers().get("Sec-WebSocket-Protocol");
    Ok((stream, subprotocol.map(|name| name.to_str().unwrap().to_owned())))
}

#[test]
fn mqtt5_6_0_0_4_the_websocket_subprotocol_is_mqtt() {
    run(async {
        let listener = TestListener::open(|settings| settings.transport = Transport::Ws, &Limits::default());
        for offer in ["mqtt", "chat, mqtt"] {
            let client = async { web_socket(listener.connect().await, "/mqtt", Some(offer)).await };
            let (client, server) = tokio::join!(client, listener.establish());
            assert_eq!(client.unwrap().1.as_deref(), Some("mqtt"));
            assert!(server.is_ok());
        }
        for (path, offer, status) in [("/mqtt", None, 400), ("/mqtt", Some("chat"), 400), ("/other", Some("mqtt"), 404)]
        {
            let client = async { web_socket(listener.connect().await, path, offer).await };
            let (client, server) = tokio::join!(client, listener.establish());
            let Err(Error::Http(response)) = client else { panic!("accepted: {path} {offer:?}") };
            assert_eq!(response.status(), status);
            assert!(matches!(server, Err(HandshakeError::WebSocket(_))));
        }
    });
}

#[test]
fn mqtt5_6_0_0_2_packets_may_span_websocket_frames() {
    run(async {
        let listener = TestListener::open(|settings| settings.transport = Transport::Ws, &Limits::default());
        let client = async { web_socket(listener.connect().await, "/mqtt", Some("mqtt")).await.unwrap().0 };
        let (mut client, server) = tokio::join!(client, listener.establish());
        let mut server = server.unwrap().stream;
        let sent = (0..100_000).map(|index| (index % 251) as u8).collect::<Vec<_>>();
        let write = async {
            for part in sent.chunks(7_001) {
                client.send(Message::Ping("are you there".into())).await.unwrap();
                client.send(Message::binary(part.to_vec())).await.unwrap();
            }
        };
        let mut received = vec![0; sent.len()];
        let (_, read) = tokio::join!(write, server.read_exact(&mut received));
        read.unwrap();
        assert_eq!(sent, received);

        let mut answered = Vec::new();
        let write = async {
            server.write_all(&sent).await.unwrap();
            server.flush().await.unwrap();
        };
        let read = async {
            while answered.len() < sent.len() {
                let message = client.next().await.unwrap().unwrap();
                if let Message::Binary(bytes) = message {
                    answered.extend_from_slice(&bytes);
                }
            }
        };
        tokio::join!(write, read);
        assert_eq!(sent, answered);

        client.close(None).await.unwrap();
        assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
    });
}

#[test]
fn mqtt5_6_0_0_1_a_websocket_frame_that_is_not_binary_ends_the_connection() {
    run(async {
        let listener = TestListener::open(|settings| settings.transport = Transport::Ws, &Limits::default());
        let client = async { web_socket(listener.connect().await, "/mqtt", Some("mqtt")).await.unwrap().0 };
        let (mut client, server) = tokio::join!(client, listener.establish());
        let mut server = server.unwrap().stream;
        client.send(Message::text("hello")).await.unwrap();
        assert_eq!(server.read(&mut [0; 9]).await.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    });
}

#[test]
fn a_websocket_over_tls_has_the_identity_of_its_certificate() {
    run(async {
        let authority = Authority::new();
        let change = |settings: &mut Listener| {
            settings.transport = Transport::Wss;
            settings.tls = Some(authority.tls(ClientCertificate::Required));
        };
        let listener = TestListener::open(change, &Limits::default());
        let client = async {
            let stream = authority.connect(listener.connect().await, Some("sensor")).await.unwrap();
            web_socket(stream, "/mqtt", Some("mqtt")).await.unwrap().0
        };
        let (mut client, server) = tokio::join!(client, listener.establish());
        let mut server = server.unwrap();
        assert_eq!(server.peer.certificate_identity.as_deref(), Some("sensor"));
        client.send(Message::binary(&b"\xC0\0"[..])).await.unwrap();
        assert_eq!(server.stream.read_u16().await.unwrap(), 0xC000);
    });
}
