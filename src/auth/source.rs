use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Where a client comes from, as far as limits, queues and bans tell clients apart: an IPv4 address, or the /64 of an IPv6 address,
/// because a single host usually has all 2⁶⁴ addresses of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A Unix socket without a PROXY header.
    Local,
    /// An IPv4 address, also one that is mapped into IPv6.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6(u64),
}

impl Source {
    /// The source of an address; `None`: a Unix socket.
    pub fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => Self::Local,
            Some(IpAddr::V4(address)) => Self::V4(address),
            Some(IpAddr::V6(address)) => Self::V6(high_half(address)),
        }
    }
}

fn high_half(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = address.octets();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => formatter.write_str("a Unix socket"),
            Self::V4(address) => address.fmt(formatter),
            Self::V6(half) => write!(formatter, "{}/64", Ipv6Addr::from(u128::from(*half) << 64)),
        }
    }
}

/// A text is neither an IP address nor the /64 of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an IP address, such as 192.0.2.1, 2001:db8::1 or 2001:db8::/64")]
pub struct SourceError;

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let (address, must_be_v6) = text.strip_suffix("/64").map_or((text, false), |address| (address, true));
        match Self::of(Some(address.parse().map_err(|_| SourceError)?)) {
            Self::V4(_) if must_be_v6 => Err(SourceError),
            source @ (Self::V4(_) | Self::V6(_) | Self::Local) => Ok(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Source {
        Source::of(Some(text.parse().unwrap()))
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source() {
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("127.0.0.1"), Source::of(None));
    }

    #[test]
    fn a_source_is_shown_and_read_back() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::7", "2001:db8::/64"),
            ("2001:db8::/64", "2001:db8::/64"),
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!(source.to_string(), shown);
            assert_eq!(shown.parse(), Ok(source));
        }
        for text in ["", "192.0.2.1/64", "192.0.2.0/24", "2001:db8::/48", "example.org", "192.0.2.1:5"] {
            assert_eq!(text.parse::<Source>(), Err(SourceError), "{text}");
        }
    }
}
