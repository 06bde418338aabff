use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ListenAddress {
    /// An IP address and a port: `127.0.0.1:1883`, `[::1]:1883`. `[::]` takes IPv4 too, unless another listener does at that port.
    Ip(SocketAddr),
    /// All IP addresses of a name, or an IPv6 address with the name of its interface: `localhost:1883`, `[fe80::1%eth0]:1883`.
    Name {
        /// The name of a host, or the address with its interface.
        name: String,
        /// The port.
        port: u16,
    },
    /// A port at all addresses of the machine, IPv4 and IPv6: `:1883`, `1883`.
    Port(u16),
    /// The path of a Unix socket: `unix:/path`.
    Unix(PathBuf),
}

/// A text that is not a valid address of a listener.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a listener address: {problem} (valid are 127.0.0.1:1883, [::1]:1883, localhost:1883, :1883 for all \
     addresses, and unix:/path)"
)]
pub struct AddressError {
    text: String,
    problem: &'static str,
}

impl ListenAddress {
    /// The port; `None` for a Unix socket.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            Self::Name { port, .. } | Self::Port(port) => Some(*port),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map_err(|problem| AddressError { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<ListenAddress, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.is_empty() { Err("the path is missing") } else { Ok(ListenAddress::Unix(PathBuf::from(path))) };
    }
    if let Ok(address) = text.parse() {
        return Ok(ListenAddress::Ip(address));
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return port(text).map(ListenAddress::Port);
    }
    let (host, port_text) = text.rsplit_once(':').ok_or("the port is missing")?;
    if host.starts_with('[') && port_text.ends_with(']') {
        return Err("the port is missing");
    }
    if text.contains("://") {
        return Err("it must not be a URL");
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err("an IPv6 address must be in brackets");
    }
    let port = port(port_text)?;
    if host.is_empty() {
        return Ok(ListenAddress::Port(port));
    }
    if let Some(scoped) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return scoped_name(scoped).map(|name| ListenAddress::Name { name, port });
    }
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err("this is not an IPv4 address");
    }
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if !is_name || host.len() > NAME_MAX {
        return Err("this is not the name of a host");
    }
    Ok(ListenAddress::Name { name: host.to_owned(), port })
}

/// An IPv6 address with the name of an interface.
fn scoped_name(text: &str) -> Result<String, &'static str> {
    let (address, scope) = text.split_once('%').ok_or("this is not an IPv6 address")?;
    if address.parse::<std::net::Ipv6Addr>().is_err() {
        return Err("this is not an IPv6 address");
    }
    let is_interface = scope.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'%'));
    if scope.is_empty() || !is_interface {
        return Err("the interface after % is missing or invalid");
    }
    Ok(text.to_owned())
}

fn port(text: &str) -> Result<u16, &'static str> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or("the port must be a number up to 65535")
}

impl TryFrom<String> for ListenAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<ListenAddress> for String {
    fn from(address: ListenAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(formatter),
            Self::Name { name, port } if name.contains(':') => write!(formatter, "[{name}]:{port}"),
            Self::Name { name, port } => write!(formatter, "{name}:{port}"),
            Self::Port(port) => write!(formatter, ":{port}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// Maximum length of a host name in the Domain Name System.
const NAME_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_names_ports_and_paths_are_parsed_and_written_alike() {
        let name = |name: &str, port| ListenAddress::Name { name: name.to_owned(), port };
        for (text, address) in [
            ("127.0.0.1:1883", ListenAddress::Ip("127.0.0.1:1883".parse().unwrap())),
            ("[::]:1883", ListenAddress::Ip("[::]:1883".parse().unwrap())),
            ("[fe80::1%3]:1883", ListenAddress::Ip("[fe80::1%3]:1883".parse().unwrap())),
            ("[fe80::1%eth0]:1883", name("fe80::1%eth0", 1883)),
            ("localhost:0", name("localhost", 0)),
            ("my-host.example.org:65535", name("my-host.example.org", 65535)),
            (":1883", ListenAddress::Port(1883)),
            ("unix:/run/oncemq.sock", ListenAddress::Unix("/run/oncemq.sock".into())),
        ] {
            assert_eq!(text.parse(), Ok(address.clone()), "{text}");
            assert_eq!(address.to_string(), text);
        }
        assert_eq!("1883".parse(), Ok(ListenAddress::Port(1883)));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, problem) in [
            ("", "the port is missing"),
            ("127.0.0.1", "the port is missing"),
            ("localhost", "the port is missing"),
            ("[::1]", "the port is missing"),
            ("::1", "must be in brackets"),
            ("::1:1883", "must be in brackets"),
            ("fe80::1%eth0:1883", "must be in brackets"),
            ("[::1:1883", "not the name of a host"),
            ("[::g]:1883", "not an IPv6 address"),
            ("[fe80::1%]:1883", "the interface after %"),
            ("[127.0.0.1]:1883", "not an IPv6 address"),
            ("127.0.0.1:70000", "a number up to 65535"),
            ("127.0.0.1:+1883", "a number up to 65535"),
            ("127.0.0.1:", "a number up to 65535"),
            ("localhost:mqtt", "a number up to 65535"),
            ("65536", "a number up to 65535"),
            ("300.0.0.1:1883", "not an IPv4 address"),
            ("127.1:1883", "not an IPv4 address"),
            ("mqtt://localhost:1883", "must not be a URL"),
            ("my host:1883", "not the name of a host"),
            ("unix:", "the path is missing"),
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains(&format!("`{text}`")), "{text}: {error}");
        }
    }
}
