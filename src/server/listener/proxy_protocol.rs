//! The PROXY protocol, versions 1 and 2: a proxy sends the address of the client before the client's bytes.
//!
//! A header that is not exactly as the specification says ends the connection, as soon as the first wrong byte has arrived.

mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt};

pub(super) use self::tls::ClientTls;
use self::tls::ClientTlsError;
use super::foreign::{self, Protocol};
use crate::config::ProxyProtocol;

/// Why a PROXY header was not accepted.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum ProxyError {
    /// The connection is not from one of `trusted_proxies`.
    #[error("the address is not one of trusted_proxies")]
    Untrusted,
    /// The connection ended before its first byte.
    #[error("closed before the PROXY header")]
    Silent,
    /// The first bytes don't begin a header of an accepted version.
    #[error("no PROXY header of an accepted version")]
    Missing,
    /// Like `Missing`; the bytes are those of this protocol.
    #[error("no PROXY header of an accepted version: {}", hint(*.0))]
    Foreign(Protocol),
    /// The header begins correctly and is malformed.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
    /// What it says about the TLS of the client is malformed, or not enough.
    #[error("{0}")]
    Client(#[from] ClientTlsError),
    /// The proxy itself has connected, where only clients with TLS are accepted.
    #[error("a health check of the proxy")]
    OwnCheck,
    /// The connection ended before the header was complete.
    #[error("incomplete PROXY header: {0}")]
    Io(#[from] io::Error),
}

/// Who opened a connection, according to its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A client with this address.
    Client(SocketAddr),
    /// A client whose address the proxy doesn't say.
    Unknown,
    /// The proxy itself, for a health check.
    Proxy,
}

/// Reads the header, and no byte after it. What it says about TLS is of no interest.
pub(super) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
    accepted: ProxyProtocol,
) -> Result<Source, ProxyError> {
    let Header { source, rest, .. } = read_addresses(stream, accepted).await?;
    skip(stream, rest).await?;
    Ok(source)
}

/// Reads the header, and no byte after it, with what it says about TLS.
pub(super) async fn read_header_with_tls(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<(Source, ClientTls), ProxyError> {
    let Header { source, rest, head, length } = read_addresses(stream, ProxyProtocol::V2).await?;
    if rest + length > WITH_TLS_MAX {
        return Err(ProxyError::Malformed("longer than 16 KiB"));
    }
    let mut fields = vec![0; rest];
    stream.read_exact(&mut fields).await?;
    let head = head.get(..length).unwrap_or_default();
    let tls = match source {
        Source::Client(_) | Source::Unknown => ClientTls::parse(head, &fields)?,
        // The proxy itself has no client.
        Source::Proxy => ClientTls::default(),
    };
    Ok((source, tls))
}

/// A header without its further fields.
struct Header {
    source: Source,
    /// The bytes of the fields that follow, which are not read yet.
    rest: usize,
    /// What was read, in its first `length` bytes.
    head: [u8; HEADER_KEPT_MAX],
    length: usize,
}

/// Reads the header up to its addresses.
async fn read_addresses(stream: &mut (impl AsyncRead + Unpin), accepted: ProxyProtocol) -> Result<Header, ProxyError> {
    let mut header = [0; HEADER_KEPT_MAX];
    let mut length = 0;
    loop {
        match parse(header.get(..length).unwrap_or_default(), accepted) {
            Err(ProxyError::Missing) => {
                // As many bytes as have arrived already may show what it is.
                let more = header.get_mut(length..).unwrap_or_default();
                length += stream.read(more).now_or_never().and_then(Result::ok).unwrap_or_default();
                let found = foreign::recognize(header.get(..length).unwrap_or_default());
                return Err(found.map_or(ProxyError::Missing, ProxyError::Foreign));
            }
            Err(error) => return Err(error),
            Ok(Parsed::Header { source, skip }) => {
                return Ok(Header { source, rest: skip, head: header, length });
            }
            Ok(Parsed::Incomplete { missing }) => {
                let buffer = header.get_mut(length..length + missing).ok_or(ProxyError::Malformed("too long"))?;
                length += match stream.read(buffer).await {
                    Ok(0) if length == 0 => return Err(ProxyError::Silent),
                    Err(error) if length == 0 && foreign::is_peer_gone(&error) => return Err(ProxyError::Silent),
                    Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                    result => result?,
                };
            }
        }
    }
}

/// Reads and discards `length` bytes: fields of version 2 that the broker doesn't use.
async fn skip(stream: &mut (impl AsyncRead + Unpin), mut length: usize) -> io::Result<()> {
    let mut buffer = [0; 512];
    while length > 0 {
        let part = buffer.get_mut(..length.min(512)).unwrap_or_default();
        length -= match stream.read(part).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
    }
    Ok(())
}

/// The state of a header that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parsed {
    /// Complete but for `skip` bytes that have no meaning for the broker.
    Header { source: Source, skip: usize },
    /// At least `missing` more bytes belong to the header.
    Incomplete { missing: usize },
}

fn parse(bytes: &[u8], accepted: ProxyProtocol) -> Result<Parsed, ProxyError> {
    let v1 = matches!(accepted, ProxyProtocol::V1 | ProxyProtocol::Any) && begins_like(bytes, V1_SIGNATURE);
    let v2 = matches!(accepted, ProxyProtocol::V2 | ProxyProtocol::Any) && begins_like(bytes, V2_SIGNATURE);
    match (v1, v2) {
        (true, _) if bytes.len() < V1_SIGNATURE.len() => {
            Ok(Parsed::Incomplete { missing: V1_SIGNATURE.len() - bytes.len() })
        }
        (true, _) => parse_v1(bytes),
        (false, true) => parse_v2(bytes),
        (false, false) => Err(ProxyError::Missing),
    }
}

fn begins_like(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n`
fn parse_v1(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let rest = bytes.get(V1_SIGNATURE.len()..).unwrap_or_default();
    let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        check_v1_part(rest)?;
        // CR LF is missing at least.
        return match bytes.len() + 2 {
            length if length > V1_LENGTH_MAX => Err(ProxyError::Malformed("longer than 107 bytes")),
            _ => Ok(Parsed::Incomplete { missing: 2 }),
        };
    };
    let (line, ending) = rest.split_at_checked(end).unwrap_or_default();
    match ending {
        b"\r\n" => parse_v1_line(line),
        b"\r" if bytes.len() < V1_LENGTH_MAX => {
            check_v1_part(line)?;
            Ok(Parsed::Incomplete { missing: 1 })
        }
        _ => Err(ProxyError::Malformed("CR and LF must end the line together")),
    }
}

/// Whether `part` can begin what follows `PROXY ` in a line.
fn check_v1_part(part: &[u8]) -> Result<(), ProxyError> {
    let is_of = |family: &[u8], allowed: fn(u8) -> bool| {
        begins_like(part, family) && part.iter().skip(family.len()).all(|byte| allowed(*byte))
    };
    let is_valid = is_of(b"TCP4 ", |byte| matches!(byte, b'0'..=b'9' | b'.' | b' '))
        || is_of(b"TCP6 ", |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b' '))
        || is_of(b"UNKNOWN ", |_| true);
    if is_valid { Ok(()) } else { Err(ProxyError::Malformed("not TCP4, TCP6 or UNKNOWN with addresses and ports")) }
}

/// What stands between `PROXY ` and CR LF.
fn parse_v1_line(line: &[u8]) -> Result<Parsed, ProxyError> {
    // What follows UNKNOWN is ignored.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Parsed::Header { source: Source::Unknown, skip: 0 });
    }
    let line = str::from_utf8(line).map_err(|_| ProxyError::Malformed("not ASCII"))?;
    let mut words = line.split(' ');
    let (Some(family), Some(source), Some(destination), Some(source_port), Some(destination_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ProxyError::Malformed("not six words"));
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
        // HAProxy writes IPv4-mapped addresses with dots, as inet_ntop does.
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
        _ => None,
    };
    let source = address(source).ok_or(ProxyError::Malformed("source address"))?;
    address(destination).ok_or(ProxyError::Malformed("destination address"))?;
    let port = v1_port(source_port).ok_or(ProxyError::Malformed("source port"))?;
    v1_port(destination_port).ok_or(ProxyError::Malformed("destination port"))?;
    Ok(Parsed::Header { source: Source::Client(SocketAddr::new(source.to_canonical(), port)), skip: 0 })
}

/// A decimal number up to 65,535, without sign and without leading zeroes.
fn v1_port(text: &str) -> Option<u16> {
    let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_canonical)
}

/// Signature, version and command, family and protocol, length, addresses, and further fields within that length.
fn parse_v2(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let rest = bytes.get(V2_SIGNATURE.len()..).unwrap_or_default();
    let command = rest.first().map(|byte| v2_command(*byte)).transpose()?;
    if let (Some(V2Command::Proxy), Some(family)) = (command, rest.get(1)) {
        v2_addresses_length(*family)?;
    }
    let (Some(command), Some((&[_, family, high, low], body))) = (command, rest.split_first_chunk::<4>()) else {
        return Ok(Parsed::Incomplete { missing: V2_SIGNATURE.len() + 4 - bytes.len() });
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let addresses = match command {
        // Family and addresses are ignored.
        V2Command::Local => 0,
        V2Command::Proxy => v2_addresses_length(family)?,
    };
    if length < addresses {
        return Err(ProxyError::Malformed("shorter than its addresses"));
    }
    if body.len() < addresses {
        return Ok(Parsed::Incomplete { missing: addresses - body.len() });
    }
    let source = match (command, family) {
        (V2Command::Proxy, 0x11) => v2_source(body, 4).map_or(Source::Unknown, Source::Client),
        (V2Command::Proxy, 0x21) => v2_source(body, 16).map_or(Source::Unknown, Source::Client),
        // An unspecified family or protocol, a datagram, a Unix socket: accepted without a source address.
        (V2Command::Proxy, _) => Source::Unknown,
        (V2Command::Local, _) => Source::Proxy,
    };
    Ok(Parsed::Header { source, skip: length.saturating_sub(body.len()) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum V2Command {
    /// The proxy opened the connection itself, such as for a health check.
    Local,
    /// The proxy forwards a connection.
    Proxy,
}

fn v2_command(byte: u8) -> Result<V2Command, ProxyError> {
    match byte {
        0x20 => Ok(V2Command::Local),
        0x21 => Ok(V2Command::Proxy),
        _ => Err(ProxyError::Malformed("version or command")),
    }
}

/// The bytes of the addresses and ports of a family and protocol.
fn v2_addresses_length(family_and_protocol: u8) -> Result<usize, ProxyError> {
    match (family_and_protocol >> 4, family_and_protocol & 0x0F) {
        (0..=3, 3..) => Err(ProxyError::Malformed("unknown protocol")),
        (0, _) | (1..=3, 0) => Ok(0),
        (1, _) => Ok(12),
        (2, _) => Ok(36),
        (3, _) => Ok(216),
        (4.., _) => Err(ProxyError::Malformed("unknown address family")),
    }
}

/// Source address, destination address, source port, destination port.
fn v2_source(body: &[u8], length: usize) -> Option<SocketAddr> {
    let address = body.get(..length)?;
    let port = body.get(2 * length..2 * length + 4)?.first_chunk::<2>()?;
    let address = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
        (Ok(v4), _) => IpAddr::from(v4),
        (Err(_), Ok(v6)) => IpAddr::from(v6),
        (Err(_), Err(_)) => return None,
    };
    Some(SocketAddr::new(address.to_canonical(), u16::from_be_bytes(*port)))
}

/// The end of the sentence about a missing header.
fn hint(found: Protocol) -> String {
    match found {
        Protocol::ProxyHeader => "the header has the other version; see proxy_protocol of this listener".to_owned(),
        Protocol::Mqtt | Protocol::Tls | Protocol::Http | Protocol::Ssh => format!(
            "this looks like {found}; the client must connect through the proxy, or the listener needs proxy_protocol = \"off\""
        ),
    }
}

/// The longest header in which the fields about TLS are read: one with a chain of certificates fits.
const WITH_TLS_MAX: usize = 16 * 1024;
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line that the specification allows, with CR LF.
const V1_LENGTH_MAX: usize = 107;
/// The longest header without further fields: that of two Unix sockets. The other fields are read and discarded.
const HEADER_KEPT_MAX: usize = V2_SIGNATURE.len() + 4 + 216;

#[cfg(test)]
mod tests;
