//! The host in `Host` and `Origin` headers.

use std::net::IpAddr;

/// A host with or without a port, such as `mqtt.example.com:8083` or `[::1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    /// The name or the address, without the brackets of IPv6.
    pub(crate) host: &'a str,
    pub(crate) port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// `None`: the text is something else, such as one with a user or a path.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                match rest {
                    "" => (host, None),
                    _ => (host, Some(rest.strip_prefix(':')?)),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        if host.is_empty() || !host.bytes().all(is_of_host) {
            return None;
        }
        let port = match port {
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            Some(_) => return None,
            None => None,
        };
        Some(Self { host, port })
    }

    /// The address, if the host is one.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.parse().map(|address: IpAddr| address.to_canonical()).ok()
    }

    /// Whether the host is `localhost` or a loopback address, which no website can have as its name.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.address().is_some_and(|address| address.is_loopback())
    }

    /// Whether both are the same host, whatever the ports. All names of this machine's loopback are the same.
    pub(crate) fn is_same_host(&self, other: &Authority<'_>) -> bool {
        let are_same_address = self.address().is_some() && self.address() == other.address();
        self.host.eq_ignore_ascii_case(other.host) || are_same_address || (self.is_loopback() && other.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_have_a_port() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("mqtt.example.com:8083", "mqtt.example.com", Some(8083)),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "::1", None),
            ("[::1]:443", "::1", Some(443)),
            ("my_host", "my_host", None),
        ] {
            assert_eq!(Authority::parse(text), Some(Authority { host, port }), "{text}");
        }
        for text in [
            "", ":1", "a:", "a:b", "a:65536", "a:+1", "a:1:2", "::1", "[::1", "[::1]1", "[::1]:", "[a]", "user@a",
            "a/b", "a?b", "a b", "a,b", "ä",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn loopback_is_localhost_and_loopback_addresses_alone() {
        let is_loopback = |text: &str| Authority::parse(text).is_some_and(|authority| authority.is_loopback());
        for text in ["localhost", "LocalHost:1", "127.0.0.1", "127.255.255.254:1", "[::1]:1", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback(text), "{text}");
        }
        for text in [
            "localhost.",
            "a.localhost",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "127.1",
            "10.0.0.1",
            "[::]",
        ] {
            assert!(!is_loopback(text), "{text}");
        }
    }
}
