//! Names what arrives where MQTT, TLS, HTTP or a PROXY header was expected, from its first bytes.

use std::fmt;
use std::io;

use crate::config::Transport;

/// A protocol that is recognized by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Protocol {
    Mqtt,
    Tls,
    Http,
    Ssh,
    ProxyHeader,
}

/// Something else than a listener expects, with a hint for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Foreign {
    found: Protocol,
    expected: Expected,
    transport: Transport,
}

/// What a listener expects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Expected {
    Mqtt,
    Tls,
    Http,
}

impl Foreign {
    /// Recognizes `bytes` as another protocol than the expected one.
    pub(in crate::server) fn recognize(bytes: &[u8], expected: Expected, transport: Transport) -> Option<Self> {
        let found = recognize(bytes)?;
        let is_expected = matches!(
            (found, expected),
            (Protocol::Mqtt, Expected::Mqtt) | (Protocol::Tls, Expected::Tls) | (Protocol::Http, Expected::Http)
        );
        (!is_expected).then_some(Self { found, expected, transport })
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, expected, transport } = self;
        let without_tls = if *expected == Expected::Tls { " without TLS" } else { "" };
        let inside_tls = matches!(transport, Transport::Tls | Transport::Wss) && *expected != Expected::Tls;
        write!(formatter, "this looks like {found}{without_tls}; ")?;
        match (found, expected) {
            (Protocol::Tls, Expected::Http) => formatter.write_str("TLS needs a listener with transport = \"wss\""),
            (Protocol::Tls, _) => formatter.write_str("TLS needs a listener with transport = \"tls\""),
            (Protocol::Http, _) if inside_tls => {
                formatter.write_str("WebSocket over TLS needs a listener with transport = \"wss\"")
            }
            (Protocol::Http, _) => formatter.write_str("WebSocket needs a listener with transport = \"ws\""),
            (Protocol::Mqtt, _) if inside_tls => {
                formatter.write_str("MQTT over TLS without WebSocket needs a listener with transport = \"tls\"")
            }
            (Protocol::Mqtt, _) => formatter.write_str("plain MQTT needs a listener with transport = \"tcp\""),
            (Protocol::Ssh, _) => formatter.write_str("the client has the wrong port"),
            (Protocol::ProxyHeader, _) => {
                formatter.write_str("a PROXY header needs a listener with proxy_protocol, and is sent only once")
            }
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Mqtt => "MQTT",
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::Ssh => "SSH",
            Self::ProxyHeader => "a PROXY header",
        })
    }
}

/// Recognizes a protocol by its first bytes. No CONNECT that the broker accepts is taken for another protocol.
pub(super) fn recognize(bytes: &[u8]) -> Option<Protocol> {
    if bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0") {
        return Some(Protocol::ProxyHeader);
    }
    if bytes.starts_with(b"SSH-") {
        return Some(Protocol::Ssh);
    }
    if METHODS.iter().any(|method| bytes.strip_prefix(method.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))) {
        return Some(Protocol::Http);
    }
    match bytes {
        // A record of the handshake or an alert, version 3.0 to 3.4. As a CONNECT it would be too short.
        [0x15 | 0x16, 3, 0..=4, ..] => Some(Protocol::Tls),
        [first, rest @ ..] if first >> 4 == 1 => {
            let length = rest.iter().take(3).take_while(|byte| **byte >= 0x80).count() + 1;
            let name = rest.get(length..).filter(|name| name.len() >= 3)?;
            let begins = |expected: &[u8]| name.iter().zip(expected).all(|(byte, expected)| byte == expected);
            (begins(b"\0\x04MQTT") || begins(b"\0\x06MQIsdp")).then_some(Protocol::Mqtt)
        }
        _ => None,
    }
}

/// Whether the error only says that the peer has closed the connection.
pub(in crate::server) fn is_peer_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
    )
}

/// The methods of HTTP, and the beginning of HTTP/2.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_recognized_by_their_first_bytes() {
        for (bytes, protocol) in [
            (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], Some(Protocol::Tls)),
            (b"\x16\x03\x03", Some(Protocol::Tls)),
            (b"\x15\x03\x03\x00\x02\x02\x28", Some(Protocol::Tls)),
            (b"GET / HTTP/1.1\r\n", Some(Protocol::Http)),
            (b"OPTIONS / HTTP/1.0\r\n\r\n", Some(Protocol::Http)),
            (b"POST /x HTTP/1.1\r\n", Some(Protocol::Http)),
            (b"CONNECT host:1 HTTP/1.1\r\n", Some(Protocol::Http)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Protocol::Http)),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Some(Protocol::Ssh)),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Some(Protocol::ProxyHeader)),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Some(Protocol::ProxyHeader)),
            (b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", Some(Protocol::Mqtt)),
            (b"\x10\xff\x01\0\x04MQTT\x05", Some(Protocol::Mqtt)),
            (b"\x12\x0e\0\x06MQIsdp\x03\x02\0\x3c\0\0", Some(Protocol::Mqtt)),
            (b"\x10\x03\x01\x02\x00", None),
            (b"GETAWAY", None),
            (b"GE", None),
            (b"", None),
            (b"\x10", None),
            (b"\xC0\0", None),
        ] {
            assert_eq!(recognize(bytes), protocol, "{bytes:x?}");
        }
    }

    #[test]
    fn the_hint_names_the_listener_that_the_client_needs() {
        let hint = |bytes: &[u8], expected, transport| {
            Foreign::recognize(bytes, expected, transport).map(|foreign| foreign.to_string()).unwrap_or_default()
        };
        let (tls, http) = (b"\x16\x03\x01", b"GET / HTTP/1.1");
        let (mqtt, ssh, proxy) = (b"\x10\x0c\0\x04MQTT", b"SSH-2.0", b"PROXY UNKNOWN");
        for (text, words) in [
            (
                hint(tls, Expected::Mqtt, Transport::Tcp),
                "looks like TLS; TLS needs a listener with transport = \"tls\"",
            ),
            (hint(tls, Expected::Http, Transport::Ws), "transport = \"wss\""),
            (
                hint(http, Expected::Mqtt, Transport::Tcp),
                "looks like HTTP; WebSocket needs a listener with transport = \"ws\"",
            ),
            (hint(http, Expected::Mqtt, Transport::Tls), "transport = \"wss\""),
            (
                hint(http, Expected::Tls, Transport::Wss),
                "looks like HTTP without TLS; WebSocket needs a listener with transport = \"ws\"",
            ),
            (
                hint(mqtt, Expected::Tls, Transport::Tls),
                "looks like MQTT without TLS; plain MQTT needs a listener with transport = \"tcp\"",
            ),
            (
                hint(mqtt, Expected::Http, Transport::Ws),
                "looks like MQTT; plain MQTT needs a listener with transport = \"tcp\"",
            ),
            (hint(mqtt, Expected::Http, Transport::Wss), "transport = \"tls\""),
            (hint(ssh, Expected::Mqtt, Transport::Tcp), "looks like SSH; the client has the wrong port"),
            (
                hint(proxy, Expected::Tls, Transport::Tls),
                "looks like a PROXY header without TLS; a PROXY header needs a listener with proxy_protocol",
            ),
        ] {
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(hint(mqtt, Expected::Mqtt, Transport::Tcp), "");
        assert_eq!(hint(tls, Expected::Tls, Transport::Tls), "");
        assert_eq!(hint(http, Expected::Http, Transport::Ws), "");
    }
}
