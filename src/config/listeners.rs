use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ListenAddress;
use super::limits::{PACKET_SIZE_MAX, PACKET_SIZE_MIN};
use super::mount_points::MountTemplate;
use super::problem::{Problem, unreadable};
use super::protocol::{AcceptedVersion, MaximumQos};
use super::security::AllowAnonymous;
use super::tls::{CertificateDates, CipherSuite, CrlCheck, ExpiredCrl, NamedCertificate, TlsVersion};
use super::transport::Transport;
use super::value::{optional_duration, optional_size};
use super::{CertificateIdentity, ClientIdRule, Network, SocketMode};

/// An address where clients connect: one `[[listeners]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name in the log and the metrics; by default its address.
    #[serde(default)]
    pub name: Option<String>,
    /// Its address: `127.0.0.1:1883`, `[::]:8883`, `localhost:1883`, `:1883`, `unix:/run/oncemq.sock`.
    pub address: ListenAddress,
    /// The transport of its connections.
    #[serde(default)]
    pub transport: Transport,
    /// Certificates, for `tls`, `wss` and `quic`.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// The mode of the file of a Unix socket; by default for its owner only.
    #[serde(default)]
    pub socket_mode: Option<SocketMode>,
    /// Which PROXY protocol header a proxy sends with the client's address. The broker trusts it.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// The addresses of the proxies that are believed: their PROXY headers, and for `ws` and `wss` their `X-Forwarded-For` and `Forwarded`
    /// headers. Without any, PROXY headers are believed from every address, and the other headers from none.
    #[serde(default)]
    pub trusted_proxies: Vec<Network>,
    /// What the proxy must say about the TLS of its clients; needs version 2 of the PROXY protocol and `trusted_proxies`.
    #[serde(default)]
    pub proxy_tls: Option<ProxyTls>,
    /// The path of the WebSocket URL, for `ws` and `wss`; `*` accepts any path. By default the paths that clients use:
    /// `/mqtt`, `/` (mqtt.js, Node-RED) and `/ws`.
    #[serde(default)]
    pub websocket_path: Option<String>,
    /// Whether a client must offer a WebSocket subprotocol.
    #[serde(default)]
    pub websocket_subprotocol: WebSocketSubprotocol,
    /// The websites whose pages may open a WebSocket: origins such as `https://app.example.com`, host names, `null`, or `*` for all. By
    /// default those of the host that the request names. Clients that send no Origin, which are not browsers, are always accepted.
    #[serde(default)]
    pub websocket_origins: Option<Vec<String>>,
    /// Maximum number of connections of this listener; by default only `limits.connections_max` applies.
    #[serde(default)]
    pub connections_max: Option<usize>,
    /// Maximum number of new connections per second; by default only `limits.connections_per_second_max` applies.
    #[serde(default)]
    pub connections_per_second_max: Option<NonZeroU32>,
    /// Overrides `limits.maximum_packet_size` for the clients of this listener, in bytes.
    #[serde(default, with = "optional_size", skip_serializing_if = "Option::is_none")]
    pub maximum_packet_size: Option<u32>,
    /// The versions of MQTT that are accepted; by default all. A client of another one is refused in the words of its version.
    #[serde(default)]
    pub protocol_versions: Option<Vec<AcceptedVersion>>,
    /// Whether a client may connect without a Client Identifier: the broker then assigns one.
    #[serde(default = "yes")]
    pub allow_empty_client_id: bool,
    /// Overrides `mqtt.assigned_client_id_prefix` for the clients of this listener.
    #[serde(default)]
    pub assigned_client_id_prefix: Option<String>,
    /// Overrides `mqtt.maximum_qos` for the clients of this listener.
    #[serde(default)]
    pub maximum_qos: Option<MaximumQos>,
    /// Overrides `mqtt.retain_available` for the clients of this listener.
    #[serde(default)]
    pub retain_available: Option<bool>,
    /// Overrides `limits.topic_alias_maximum` for the clients of this listener.
    #[serde(default)]
    pub topic_alias_maximum: Option<u16>,
    /// Overrides `limits.topic_alias_maximum_outgoing` for the clients of this listener.
    #[serde(default)]
    pub topic_alias_maximum_outgoing: Option<u16>,
    /// Overrides `limits.keep_alive_max` for the clients of this listener.
    #[serde(default, with = "optional_duration", skip_serializing_if = "Option::is_none")]
    pub keep_alive_max: Option<Duration>,
    /// Overrides `security.allow_anonymous` for the clients of this listener.
    #[serde(default)]
    pub allow_anonymous: Option<AllowAnonymous>,
    /// The names of the providers that authenticate its clients, in order; by default all `[[auth]]`. If it is empty, only anonymous
    /// clients are accepted, as `allow_anonymous` says.
    #[serde(default)]
    pub auth: Option<Vec<String>>,
    /// What the topics of its clients are below: put in front of topics that come in, and taken away from those that go out. `%u` stands for
    /// the verified user name, `%c` for the client identifier. `security.mount_points` precede it.
    #[serde(default)]
    pub mount_point: Option<String>,
    /// The password file of its clients, in the place of all providers but certificates.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The access rules of its clients, in the place of `security.acl_file`.
    #[serde(default)]
    pub acl_file: Option<PathBuf>,
    /// How Client Identifiers depend on user names.
    #[serde(default)]
    pub client_id: ClientIdRule,
}

/// The certificates of one listener: `[listeners.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// File with the server's certificate followed by its chain, PEM.
    pub certificate: PathBuf,
    /// File with the server's private key, PEM.
    pub key: PathBuf,
    /// Further certificates, for clients that ask for one of their names. Others get `certificate`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<NamedCertificate>,
    /// Whether clients present a certificate.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// File with the certificate authorities that sign client certificates, PEM.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// File with revoked client certificates: PEM, or one list in DER.
    #[serde(default)]
    pub crl: Option<PathBuf>,
    /// For which certificates `crl` must have a list.
    #[serde(default)]
    pub crl_check: CrlCheck,
    /// What happens if a list in `crl` has expired.
    #[serde(default)]
    pub crl_expired: ExpiredCrl,
    /// Whether client certificates must be valid now.
    #[serde(default)]
    pub client_certificate_dates: CertificateDates,
    /// Whether a part of the client certificate is the user name; the client then needs no password.
    #[serde(default)]
    pub identity_as_user_name: bool,
    /// Which part.
    #[serde(default)]
    pub identity: CertificateIdentity,
    /// The oldest version of TLS that is spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// The cipher suites that are accepted; by default all.
    #[serde(default)]
    pub cipher_suites: Option<Vec<CipherSuite>>,
    /// The protocols that are accepted from clients that name some (ALPN); by default `mqtt`, for WebSocket `http/1.1`. If it is empty, what
    /// clients name does not matter.
    #[serde(default)]
    pub alpn: Option<Vec<String>>,
    /// The most bytes of plain text that one record of the broker has; by default 16 KiB, the most that TLS allows.
    #[serde(default, with = "optional_size", skip_serializing_if = "Option::is_none")]
    pub record_size: Option<u32>,
}

/// What a proxy must say about the TLS of its clients: `[listeners.proxy_tls]`. A client without TLS is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyTls {
    /// Whether clients present a certificate to the proxy, which verifies it.
    #[serde(default)]
    pub client_certificate: ClientCertificate,
    /// Whether the Common Name of that certificate is the user name; the client then needs no password.
    #[serde(default)]
    pub identity_as_user_name: bool,
}

/// Whether clients present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    /// The server requests none.
    #[default]
    None,
    /// The server requests one; a presented certificate must be valid.
    Optional,
    /// The handshake fails without a valid one.
    Required,
}

/// The PROXY protocol header that precedes the client's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// No header.
    #[default]
    Off,
    /// Version 1, a line of text.
    V1,
    /// Version 2, a binary header.
    V2,
    /// Version 1 or 2.
    Any,
}

/// Whether a client must offer a WebSocket subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebSocketSubprotocol {
    /// It must, as the standard says.
    #[default]
    Required,
    /// It may offer none.
    Optional,
}

impl Listener {
    /// A listener at `address` with default settings, for TCP or for a Unix socket.
    pub fn new(address: ListenAddress) -> Self {
        let transport = match &address {
            ListenAddress::Unix(_) => Transport::Unix,
            ListenAddress::Ip(_) | ListenAddress::Name { .. } | ListenAddress::Port(_) => Transport::Tcp,
        };
        Self {
            name: None,
            address,
            transport,
            tls: None,
            socket_mode: None,
            trusted_proxies: Vec::new(),
            websocket_origins: None,
            proxy_protocol: ProxyProtocol::default(),
            proxy_tls: None,
            websocket_path: None,
            websocket_subprotocol: WebSocketSubprotocol::default(),
            connections_max: None,
            connections_per_second_max: None,
            maximum_packet_size: None,
            protocol_versions: None,
            allow_empty_client_id: true,
            assigned_client_id_prefix: None,
            maximum_qos: None,
            retain_available: None,
            topic_alias_maximum: None,
            topic_alias_maximum_outgoing: None,
            keep_alive_max: None,
            allow_anonymous: None,
            auth: None,
            mount_point: None,
            password_file: None,
            acl_file: None,
            client_id: ClientIdRule::default(),
        }
    }

    /// The name, or the address if there is no name.
    pub fn label(&self) -> Cow<'_, str> {
        match &self.name {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(self.address.to_string()),
        }
    }

    /// Whether a WebSocket may be opened at `path`, the path of the request without its query.
    pub fn accepts_websocket_path(&self, path: &str) -> bool {
        match self.websocket_path.as_deref() {
            None => DEFAULT_WEBSOCKET_PATHS.contains(&path),
            Some("*") => true,
            Some(configured) => configured == path,
        }
    }

    /// Checks what the types do not express. `key` is the path of this listener, such as `listeners[0]`.
    pub(super) fn problems(&self, key: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |setting: &str, text: &str| problems.push(Problem::new(&format!("{key}.{setting}"), text));
        match (&self.address, self.transport) {
            (ListenAddress::Unix(_), Transport::Unix) => {}
            (ListenAddress::Unix(_), _) => problem("transport", "must be \"unix\": the address is a Unix socket"),
            (_, Transport::Unix) => problem("address", "must be unix:/path: the transport is unix"),
            (ListenAddress::Ip(_) | ListenAddress::Name { .. } | ListenAddress::Port(_), _) => {}
        }
        let encrypted = self.transport.is_encrypted();
        if self.transport == Transport::Quic {
            if !cfg!(feature = "quic") {
                problem("transport", "needs a build with the feature quic");
            }
            if self.proxy_protocol != ProxyProtocol::Off {
                problem("proxy_protocol", "has no effect: a QUIC connection has no PROXY header");
            }
        }
        if encrypted && self.tls.is_none() {
            problem("tls", "is missing: this transport needs [listeners.tls] with certificate and key");
        }
        if !encrypted && self.tls.is_some() {
            problem("transport", "must be \"tls\", \"wss\" or \"quic\": the listener has certificates");
        }
        if self.websocket_path.as_ref().is_some_and(|path| !path.starts_with('/') && path != "*") {
            problem("websocket_path", "must begin with / or be *");
        }
        if self.socket_mode.is_some() && self.transport != Transport::Unix {
            problem("socket_mode", "has no effect: the listener is no Unix socket");
        }
        self.browser_problems(&mut problem);
        self.protocol_problems(&mut problem);
        if self.connections_max == Some(0) {
            problem("connections_max", "must be at least 1");
        }
        let packet_size = self.maximum_packet_size.unwrap_or(PACKET_SIZE_MAX);
        if (packet_size as usize) < PACKET_SIZE_MIN || packet_size > PACKET_SIZE_MAX {
            problem("maximum_packet_size", "must be from 256 to 268435460 bytes");
        }
        if let Some(Err(text)) = self.mount_point.as_deref().map(MountTemplate::new) {
            problem("mount_point", &text);
        }
        problems.extend(self.identity_problems(key));
        problems.extend(self.proxy_tls_problems(key));
        problems.extend(self.tls.iter().flat_map(|tls| tls.problems(&format!("{key}.tls"))));
        problems.extend(self.quic_problems(key));
        problems
    }
}

impl Tls {
    fn problems(&self, key: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let verifies = self.client_certificate != ClientCertificate::None;
        let mut problem = |setting: &str, text: &str| problems.push(Problem::new(&format!("{key}.{setting}"), text));
        if verifies && self.client_ca.is_none() {
            problem("client_ca", "is missing: without it no client certificate can be verified");
        }
        for (setting, set) in [
            ("client_ca", self.client_ca.is_some()),
            ("crl", self.crl.is_some()),
            ("crl_check", self.crl_check != CrlCheck::default()),
            ("crl_expired", self.crl_expired != ExpiredCrl::default()),
            ("client_certificate_dates", self.client_certificate_dates != CertificateDates::default()),
            ("identity_as_user_name", self.identity_as_user_name),
            ("identity", self.identity != CertificateIdentity::default()),
        ] {
            if set && !verifies {
                problem(setting, "has no effect: client_certificate must be \"optional\" or \"required\"");
            }
        }
        if self.identity != CertificateIdentity::default() && verifies && !self.identity_as_user_name {
            problem("identity", "has no effect: identity_as_user_name must be true");
        }
        for (setting, set) in [
            ("crl_check", self.crl_check != CrlCheck::default()),
            ("crl_expired", self.crl_expired != ExpiredCrl::default()),
        ] {
            if set && verifies && self.crl.is_none() {
                problem(setting, "has no effect: there is no crl");
            }
        }
        let files = [
            ("certificate", Some(&self.certificate)),
            ("key", Some(&self.key)),
            ("client_ca", self.client_ca.as_ref()),
            ("crl", self.crl.as_ref()),
        ];
        problems.extend(files.iter().filter_map(|(setting, path)| unreadable(&format!("{key}.{setting}"), (*path)?)));
        problems.extend(self.handshake_problems(key));
        problems
    }
}

/// The default of a setting that is on.
const fn yes() -> bool {
    true
}

/// TLS without client certificates, of a file that exists.
#[cfg(test)]
pub(super) fn test_tls(file: &std::path::Path) -> Tls {
    let client_certificate = ClientCertificate::Required;
    Tls { client_certificate, client_ca: Some(file.to_owned()), ..Tls::new(file.to_owned(), file.to_owned()) }
}

/// Loopback over IPv4 and IPv6, so a new installation is not reachable from the network.
pub(super) fn default_listeners() -> Vec<Listener> {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        .map(|address| Listener::new(ListenAddress::Ip(SocketAddr::new(address, MQTT_PORT))))
        .into()
}

/// The paths that MQTT clients use by default.
const DEFAULT_WEBSOCKET_PATHS: [&str; 3] = ["/mqtt", "/", "/ws"];

/// The port that IANA assigns to MQTT.
const MQTT_PORT: u16 = 1883;
