//! The step `connect`: a transport, perhaps encrypted, and CONNECT on it.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, StreamOwned,
};
use wire::{Connect, Publish, Version};

use crate::broker::Broker;
use crate::client::{Client, Duplex, Opening, Socket};
use crate::clock::PATIENCE;
use crate::script::Step;
use crate::websocket::WebSocketBytes;

/// Performs the step: its outcome, and the client if it is accepted.
pub(crate) fn connect(step: &Step, broker: &Broker, remote: Option<&Broker>) -> (Option<Client>, String) {
    let options = Options(step.words.iter().skip(2).map(|word| word.split_once('=').unwrap()).collect());
    let (kind, place) = step.word(1).split_once(':').unwrap();
    let (broker, kind) = match kind.strip_prefix("remote-") {
        Some(kind) => (remote.unwrap(), kind),
        None => (broker, kind),
    };
    match open(kind, place, broker, &options) {
        Ok((stream, socket)) => Client::connect(stream, socket, &options.opening(step.word(0))),
        Err(outcome) => (None, outcome.to_owned()),
    }
}

/// Opens the transport, or says why it does not open.
fn open(
    kind: &str,
    place: &str,
    broker: &Broker,
    options: &Options<'_>,
) -> Result<(Box<dyn Duplex>, Socket), &'static str> {
    if kind == "unix" {
        let stream = UnixStream::connect(broker.tree.place(place)).map_err(|_| "unreachable")?;
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        return Ok((Box::new(stream.try_clone().unwrap()), Socket::Unix(stream)));
    }
    let published: u16 = place.parse().unwrap();
    let port = *broker.tree.ports.get(&published).unwrap_or_else(|| panic!("no listener has port {published}"));
    if options.get("ca") == Some("openssl") {
        let stream = openssl(port, broker, options);
        return Ok((Box::new(stream.try_clone().unwrap()), Socket::Unix(stream)));
    }
    let host = options.get("host").unwrap_or("127.0.0.1");
    let tcp = TcpStream::connect((host, port)).map_err(|_| "unreachable")?;
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
    let socket = Socket::Tcp(tcp.try_clone().unwrap());
    let stream: Box<dyn Duplex> = match kind {
        "tcp" | "ws" => Box::new(tcp),
        "tls" | "wss" => Box::new(encrypt(tcp, broker, options)?),
        kind => panic!("no such transport: {kind}"),
    };
    let stream = match kind {
        "ws" | "wss" => Box::new(WebSocketBytes::open(stream, &[("X-Forwarded-For", "192.0.2.7")]).ok_or("closed")?),
        _ => stream,
    };
    Ok((stream, socket))
}

/// The words `NAME=VALUE` of the step.
struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn opening(&self, name: &str) -> Opening {
        let version = if self.get("version") == Some("5") { Version::V5 } else { Version::V311 };
        let mut connect = Connect::new(version, self.get("id").unwrap_or(name));
        let user = self.get("user").map(|user| user.split_once(':').unwrap_or((user, "")));
        connect.user = user.map(|(name, password)| (name.to_owned(), password.to_owned()));
        connect.clean_start = self.get("clean") != Some("no");
        if let Some(seconds) = self.get("expiry") {
            connect.properties = [&[0x11][..], &seconds.parse::<u32>().unwrap().to_be_bytes()].concat();
        }
        if let Some(seconds) = self.get("keepalive") {
            connect.keep_alive = seconds.parse().unwrap();
        }
        for (key, retain) in [("will", false), ("will-retained", true)] {
            if let Some(will) = self.get(key) {
                let [topic, qos, payload] = *will.splitn(3, ':').collect::<Vec<_>>() else { panic!("{will}") };
                connect.will = Some(Publish { qos: qos.parse().unwrap(), retain, ..Publish::new(topic, payload) });
            }
        }
        let shown = self.get("show").into_iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
        let (is_3_1, acknowledges) = (self.get("version") == Some("3.1"), self.get("acks") != Some("no"));
        Opening { connect, is_3_1, acknowledges, shown }
    }
}

/// TLS as OpenSSL does it, which takes certificates that `rustls` does not.
fn openssl(port: u16, broker: &Broker, options: &Options<'_>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{port}")]);
    for name in ["cert", "key"] {
        if let Some(path) = options.get(name) {
            command.arg(format!("-{name}")).arg(broker.tree.place(path));
        }
    }
    command.stdin(OwnedFd::from(theirs.try_clone().unwrap())).stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // It ends with the connection.
    thread::spawn(move || child.wait());
    ours
}

fn encrypt(
    mut tcp: TcpStream,
    broker: &Broker,
    options: &Options<'_>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, &'static str> {
    let place = |path: &str| broker.tree.place(path);
    let chain = |path: &str| CertificateDer::pem_file_iter(place(path)).unwrap().map(Result::unwrap);
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = match options.get("ca").unwrap() {
        "any" => config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone)),
        path => {
            let mut roots = RootCertStore::empty();
            chain(path).for_each(|certificate| roots.add(certificate).unwrap());
            config.with_root_certificates(roots)
        }
    };
    let config = match options.get("cert") {
        None => config.with_no_client_auth(),
        Some(certificate) => {
            let key = PrivateKeyDer::from_pem_file(place(options.get("key").unwrap())).unwrap();
            config.with_client_auth_cert(chain(certificate).collect(), key).unwrap()
        }
    };
    let name = ServerName::try_from(options.get("name").unwrap_or("localhost").to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut tcp) {
            let cause = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
            return Err(if matches!(cause, Some(Error::InvalidCertificate(_))) { "untrusted" } else { "closed" });
        }
    }
    Ok(StreamOwned::new(connection, tcp))
}

/// Trusts every broker.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}
