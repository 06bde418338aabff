use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::bridge_address::host_and_port;

/// A server of NATS: `nats://host[:port]`, or `tls://host[:port]` over TLS. An IPv6 address is in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsAddress {
    /// Whether the connection has TLS.
    pub is_encrypted: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// By default 4222.
    pub port: u16,
}

/// Why a text is no address of a server of NATS: a predicate about the setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("has {0:?}, which is not like \"nats://127.0.0.1:4222\" or \"tls://host:4222\", without user")]
pub struct NatsAddressError(String);

impl NatsAddress {
    /// Whether the server is on this machine, by its address or as `localhost`.
    pub fn is_local(&self) -> bool {
        let is_loopback = self.host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        is_loopback || self.host.eq_ignore_ascii_case("localhost")
    }
}

impl FromStr for NatsAddress {
    type Err = NatsAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (scheme, rest) = text.split_once("://")?;
            let is_encrypted = match scheme {
                "nats" => false,
                "tls" => true,
                _ => return None,
            };
            let (host, port) = host_and_port(rest.strip_suffix('/').unwrap_or(rest))?;
            Some(Self { is_encrypted, host: host.to_owned(), port: port.unwrap_or(PORT) })
        };
        // What precedes an @ may be a password.
        let shown = || text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"));
        parse().ok_or_else(|| NatsAddressError(shown()))
    }
}

impl fmt::Display for NatsAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted { "tls" } else { "nats" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(formatter, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

/// The port that a server of NATS has by default.
const PORT: u16 = 4222;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_a_host_and_perhaps_a_port() {
        let shown = |text: &str| text.parse::<NatsAddress>().map(|address| (address.to_string(), address.is_local()));
        for (text, expected, is_local) in [
            ("nats://127.0.0.1", "nats://127.0.0.1:4222", true),
            ("nats://localhost:4223/", "nats://localhost:4223", true),
            ("tls://[::1]:4222", "tls://[::1]:4222", true),
            ("tls://nats-1.example.com", "tls://nats-1.example.com:4222", false),
            ("nats://127.0.0.1.example.com", "nats://127.0.0.1.example.com:4222", false),
        ] {
            assert_eq!(shown(text), Ok((expected.to_owned(), is_local)));
        }
        for text in ["", "a:4222", "mqtt://a", "nats://", "nats://a:0", "nats://a:70000", "nats://a/b", "tls://[::g]"] {
            assert!(shown(text).is_err(), "{text}");
        }
        let error = shown("nats://user:secret@a").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("…@a"), "{error}");
    }
}
