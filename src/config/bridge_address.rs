use std::fmt;
use std::str::FromStr;

use super::Transport;

/// Where a bridge finds the other broker: `mqtt://host[:port]` over TCP, `mqtts://` over TLS, `ws://host[:port][/path]` and `wss://` over
/// WebSocket. An IPv6 address is in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeAddress {
    /// How.
    pub transport: Transport,
    /// A name or an address, without brackets.
    pub host: String,
    /// By default 1883, 8883, 80 or 443.
    pub port: u16,
    /// For a WebSocket: by default `/mqtt`.
    pub path: Option<String>,
}

/// Why a text is no address for a bridge: a predicate about the setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "has {0:?}, which is not like \"mqtt://host:1883\", \"mqtts://host\", \"ws://host/path\" or \"wss://host\", without user"
)]
pub struct BridgeAddressError(String);

impl FromStr for BridgeAddress {
    type Err = BridgeAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| {
            // What precedes an @ may be a password.
            BridgeAddressError(text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}")))
        })
    }
}

fn parse(text: &str) -> Option<BridgeAddress> {
    let (scheme, rest) = text.split_once("://")?;
    let (transport, default_port) = match scheme {
        "mqtt" => (Transport::Tcp, 1883),
        "mqtts" => (Transport::Tls, 8883),
        "ws" => (Transport::Ws, 80),
        "wss" => (Transport::Wss, 443),
        _ => return None,
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let is_web = matches!(transport, Transport::Ws | Transport::Wss);
    let is_fit = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\');
    if !path.bytes().all(is_fit) || (!is_web && !matches!(path, "" | "/")) {
        return None;
    }
    let (host, port) = host_and_port(authority)?;
    let port = port.unwrap_or(default_port);
    let path = is_web.then(|| if path.is_empty() { "/mqtt".to_owned() } else { path.to_owned() });
    Some(BridgeAddress { transport, host: host.to_owned(), port, path })
}

/// The host, without brackets, and the port of `host`, `host:port`, `[::1]` or `[::1]:port`.
pub(super) fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(is_name) {
        return None;
    }
    let port = match port {
        None => None,
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0)?),
    };
    Some((host, port))
}

impl fmt::Display for BridgeAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.transport {
            Transport::Tls => "mqtts",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Tcp | Transport::Unix | Transport::Quic => "mqtt",
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(formatter, "{scheme}://{open}{}{close}:{}{}", self.host, self.port, self.path.as_deref().unwrap_or(""))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_has_a_transport_a_host_a_port_and_for_a_websocket_a_path() {
        for (text, expected) in [
            ("mqtt://broker", "mqtt://broker:1883"),
            ("mqtt://broker:1884/", "mqtt://broker:1884"),
            ("mqtts://a.example", "mqtts://a.example:8883"),
            ("ws://[::1]:9001", "ws://[::1]:9001/mqtt"),
            ("wss://c/x?y=z", "wss://c:443/x?y=z"),
        ] {
            let address: BridgeAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), expected);
            assert_eq!(expected.parse(), Ok(address), "{text}");
        }
        for wrong in [
            "",
            "broker",
            "http://a",
            "mqtt://",
            "mqtt://a:0",
            "mqtt://a:70000",
            "mqtt://a/b",
            "mqtt://u:p@a",
            "ws://a/#",
            "mqtt://[x]",
            "mqtt://[::1]x",
            "mqtt://a b",
            "mqtt://::1",
        ] {
            assert!(wrong.parse::<BridgeAddress>().is_err(), "{wrong}");
        }
        let error = "mqtt://u:secret@a".parse::<BridgeAddress>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text: String) {
            let _ = text.parse::<BridgeAddress>();
            let _ = format!("ws://{text}").parse::<BridgeAddress>();
        }
    }
}
