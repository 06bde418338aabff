use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address or a network: `127.0.0.1`, `10.0.0.0/8`, `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    /// Not IPv4-mapped.
    address: IpAddr,
    /// Bits that the addresses of the network share.
    prefix: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither an address nor a network such as 10.0.0.0/8: {problem}")]
pub struct NetworkError {
    text: String,
    problem: &'static str,
}

impl Network {
    /// Whether the address is in the network. An IPv4-mapped address is the IPv4 address that it stands for.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4()
            && network_bits(address, self.prefix) == network_bits(self.address, self.prefix)
    }
}

/// The bits of an address that the prefix covers.
fn network_bits(address: IpAddr, prefix: u8) -> u128 {
    let (bits, length) = bits(address);
    bits.checked_shr(u32::from(length.saturating_sub(prefix))).unwrap_or_default()
}

/// The address as a number, and the number of its bits.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        parse(text).map_err(|problem| NetworkError { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Network, &'static str> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| "the address is invalid")?;
    let (bits, length) = bits(address);
    let prefix = match prefix {
        None => length,
        Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
            prefix.parse().ok().filter(|prefix| *prefix <= length).ok_or("the prefix is too long")?
        }
        Some(_) => return Err("the prefix is not a number"),
    };
    if bits.checked_shl(128 - u32::from(length) + u32::from(prefix)).is_some_and(|rest| rest != 0) {
        return Err("it has bits after the prefix");
    }
    if let IpAddr::V6(v6) = address
        && is_mapped(v6)
    {
        let prefix = prefix.checked_sub(96).ok_or("a network of IPv4-mapped addresses needs a prefix of 96 or more")?;
        return Ok(Network { address: address.to_canonical(), prefix });
    }
    Ok(Network { address, prefix })
}

fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, length) = bits(self.address);
        match self.prefix == length {
            true => write!(formatter, "{}", self.address),
            false => write!(formatter, "{}/{}", self.address, self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        for (network, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("::/0", "ffff::", "1.2.3.4"),
            ("2001:db8::/32", "2001:db8:1::7", "2001:db9::"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.1/8",
            "::/129",
            "::1/64",
            "localhost",
            "10.0.0.0/8/8",
            "10.0.0/8",
            "::ffff:0:0/64",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
