use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::{self, ListenAddress, ProxyProtocol, Transport};
use crate::server::listener::OpenListener;

/// Where the probe connects to, and what a client there has to send before MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The name of the listener.
    pub(super) listener: String,
    pub(super) place: Place,
    pub(super) has_tls: bool,
    /// The path of the WebSocket.
    pub(super) websocket_path: Option<String>,
    /// The PROXY header of a health check; empty without the PROXY protocol.
    pub(super) proxy_header: &'static [u8],
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Ip(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    /// The listener that the probe is for; `None` if it is not open.
    pub(super) fn find(settings: &config::Probe, listeners: &[OpenListener]) -> Option<Self> {
        let label = |listener: &OpenListener| listener.endpoint().settings().label().into_owned();
        let listener = match &settings.listener {
            Some(name) => listeners.iter().find(|listener| label(listener) == *name),
            None => listeners.iter().find(|listener| !listener.endpoint().settings().transport.is_datagram()),
        }?;
        Self::of(listener.endpoint().settings(), listener.addresses())
    }

    fn of(settings: &config::Listener, addresses: &[Option<SocketAddr>]) -> Option<Self> {
        let place = match &settings.address {
            ListenAddress::Unix(path) => Place::Unix(path.clone()),
            ListenAddress::Ip(_) | ListenAddress::Name { .. } | ListenAddress::Port(_) => {
                Place::Ip(reachable(addresses.iter().flatten().next().copied()?))
            }
        };
        let has_websocket = matches!(settings.transport, Transport::Ws | Transport::Wss);
        let path = match settings.websocket_path.as_deref() {
            None | Some("*") => "/mqtt",
            Some(path) => path,
        };
        Some(Self {
            listener: settings.label().into_owned(),
            place,
            has_tls: matches!(settings.transport, Transport::Tls | Transport::Wss),
            websocket_path: has_websocket.then(|| path.to_owned()),
            proxy_header: match settings.proxy_protocol {
                ProxyProtocol::Off => b"",
                ProxyProtocol::V1 => b"PROXY UNKNOWN\r\n",
                ProxyProtocol::V2 | ProxyProtocol::Any => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
            },
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Ip(address) => write!(formatter, "{address}"),
            Place::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// The loopback address of a listener at all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    let mut reachable = address;
    reachable.set_ip(ip);
    reachable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(change: impl FnOnce(&mut config::Listener), address: &str) -> Target {
        let mut settings = config::Listener::new("127.0.0.1:1".parse().unwrap());
        change(&mut settings);
        Target::of(&settings, &[None, Some(address.parse().unwrap())]).unwrap()
    }

    #[test]
    fn a_listener_at_all_addresses_is_reached_over_loopback() {
        for (bound, reached) in [
            ("0.0.0.0:7", "127.0.0.1:7"),
            ("[::]:7", "[::1]:7"),
            ("192.0.2.1:7", "192.0.2.1:7"),
            ("[fe80::1%3]:7", "[fe80::1%3]:7"),
        ] {
            assert_eq!(target(|_| {}, bound).place, Place::Ip(reached.parse().unwrap()), "{bound}");
        }
    }

    #[test]
    fn the_transport_decides_what_precedes_mqtt() {
        let plain = target(|_| {}, "127.0.0.1:7");
        assert_eq!((plain.has_tls, plain.websocket_path, plain.proxy_header), (false, None, &b""[..]));
        let web = target(
            |settings| {
                settings.transport = Transport::Wss;
                settings.websocket_path = Some("*".to_owned());
                settings.proxy_protocol = ProxyProtocol::V1;
            },
            "127.0.0.1:7",
        );
        assert_eq!((web.has_tls, web.websocket_path.as_deref()), (true, Some("/mqtt")));
        assert_eq!(web.proxy_header, b"PROXY UNKNOWN\r\n");
    }
}
