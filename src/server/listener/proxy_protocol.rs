//! The PROXY protocol, versions 1 and 2: a proxy sends the address of the client before the client's bytes.
//!
//! A header that is not exactly as the specification says ends the connection, as soon as the first wrong byte has arrived.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt};

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

/// Reads the header, and no byte after it.
pub(super) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
    accepted: ProxyProtocol,
) -> Result<Source, ProxyError> {
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
                self::skip(stream, skip).await?;
                return Ok(source);
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

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line that the specification allows, with CR LF.
const V1_LENGTH_MAX: usize = 107;
/// The longest header without further fields: that of two Unix sockets. The other fields are read and discarded.
const HEADER_KEPT_MAX: usize = V2_SIGNATURE.len() + 4 + 216;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(version_and_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([version_and_command, family]);
        header.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        header.extend(body);
        header
    }

    fn addresses_v4() -> Vec<u8> {
        vec![192, 0, 2, 1, 198, 51, 100, 1, 0xDC, 0x04, 0x01, 0xBB]
    }

    fn addresses_v6() -> Vec<u8> {
        let mut addresses = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat();
        addresses.extend([0, 1, 0, 2]);
        addresses
    }

    /// Reads a header followed by `rest`. Returns the result and the unread bytes.
    fn read(header: &[u8], rest: &[u8], accepted: ProxyProtocol) -> (Result<Option<SocketAddr>, ProxyError>, Vec<u8>) {
        let (result, rest) = read_source(header, rest, accepted);
        let address = |source| match source {
            Source::Client(address) => Some(address),
            Source::Unknown | Source::Proxy => None,
        };
        (result.map(address), rest)
    }

    fn read_source(header: &[u8], rest: &[u8], accepted: ProxyProtocol) -> (Result<Source, ProxyError>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let all = [header, rest].concat();
        let mut stream = all.as_slice();
        let result = runtime.block_on(read_header(&mut stream, accepted));
        (result, stream.to_vec())
    }

    /// Like [`read`], over a stream that never ends: a header that is wrong must be refused without further bytes.
    fn read_open(bytes: &[u8], accepted: ProxyProtocol) -> Option<Result<Source, ProxyError>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut here, mut there) = tokio::io::duplex(64 * 1024);
            tokio::io::AsyncWriteExt::write_all(&mut there, bytes).await.unwrap();
            let reading = read_header(&mut here, accepted);
            let result = tokio::time::timeout(std::time::Duration::from_millis(20), reading).await.ok();
            drop(there);
            result
        })
    }

    fn is_malformed(result: &Option<Result<Source, ProxyError>>) -> bool {
        matches!(result, Some(Err(ProxyError::Malformed(_))))
    }

    #[test]
    fn a_client_without_address_is_not_the_proxy_itself() {
        for (header, expected) in [
            (b"PROXY UNKNOWN\r\n".to_vec(), Source::Unknown),
            (v2(0x21, 0x00, &[]), Source::Unknown),
            (v2(0x21, 0x12, &addresses_v4()), Source::Unknown),
            (v2(0x21, 0x31, &[0; 216]), Source::Unknown),
            (v2(0x20, 0x00, &[]), Source::Proxy),
            (v2(0x20, 0x11, &addresses_v4()), Source::Proxy),
        ] {
            assert_eq!(read_source(&header, b"", ProxyProtocol::Any).0.unwrap(), expected, "{header:?}");
        }
    }

    #[test]
    fn version_1_gives_the_source_and_leaves_the_following_bytes() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
        for (line, source) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Some("192.0.2.1:56324")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
            ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Some("0.0.0.0:0")),
            ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", Some("[2001:db8::1]:1")),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF 65535 65535\r\n",
                Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 7 8\r\n", Some("192.0.2.1:7")),
            ("PROXY TCP6 ::ffff:c000:201 ::1 7 8\r\n", Some("192.0.2.1:7")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN \r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
            ("PROXY UNKNOWN \u{ff} whatever\r\n", None),
            (&long, None),
        ] {
            for accepted in [ProxyProtocol::V1, ProxyProtocol::Any] {
                let (result, rest) = read(line.as_bytes(), b"\x10rest", accepted);
                assert_eq!(result.unwrap(), source.map(|text| text.parse().unwrap()), "{line:?}");
                assert_eq!(rest, b"\x10rest");
                // No byte after the header is waited for.
                assert!(matches!(read_open(line.as_bytes(), accepted), Some(Ok(_))), "{line:?}");
            }
            let refused = read(line.as_bytes(), b"and more", ProxyProtocol::V2).0;
            assert!(matches!(refused, Err(ProxyError::Foreign(Protocol::ProxyHeader))));
        }
    }

    const MALFORMED_LINES: [&str; 61] = [
        // Addresses.
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 ::1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 nonsense 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.256 1 2\r\n",
        "PROXY TCP4 192.0.2.1.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.02 1 2\r\n",
        "PROXY TCP4 0xc0.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 3221225985 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1: 192.0.2.2 1 2\r\n",
        "PROXY TCP6 ::1::1 ::1 1 2\r\n",
        "PROXY TCP6 :1 ::1 1 2\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n",
        "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n",
        "PROXY TCP6 00001::1 ::1 1 2\r\n",
        "PROXY TCP6 fe80::1%1 ::1 1 2\r\n",
        "PROXY TCP6 [::1] [::1] 1 2\r\n",
        "PROXY TCP6 ::g ::1 1 2\r\n",
        // Ports.
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 +2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 02\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 00 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 0x1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1.0 2\r\n",
        // Words.
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP6 \r\n",
        "PROXY \r\n",
        // Families.
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP44 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOW\r\n",
        "PROXY unknown\r\n",
        // The end of the line.
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rx",
        "PROXY TCP4 192.0.2.1\r\n 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWN\n\n",
        "PROXY UNKNOWN x\ny\r\n",
        "PROXY UNKNOWN x\ry\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\x10\x0c",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\0\r\n",
    ];

    #[test]
    fn malformed_version_1_headers_are_refused_without_waiting_for_more() {
        let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
        let mapped = "0000:0000:0000:0000:0000:ffff:255.255.255.255";
        let long = format!("PROXY TCP6 {mapped} {mapped} 65535 65535\r\n");
        let long =
            [unknown, long, format!("PROXY UNKNOWN {}", "x".repeat(200)), format!("PROXY TCP4 {}", "1".repeat(200))];
        for line in MALFORMED_LINES.into_iter().chain(long.iter().map(String::as_str)) {
            for accepted in [ProxyProtocol::V1, ProxyProtocol::Any] {
                let result = read_open(line.as_bytes(), accepted);
                assert!(is_malformed(&result), "{line:?}: {result:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_bytes_and_named() {
        for (bytes, words) in [
            (&b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"[..], "looks like MQTT"),
            (b"\x16\x03\x01\x02\0\x01", "looks like TLS"),
            (b"GET / HTTP/1.1\r\n\r\n", "looks like HTTP"),
            (b"SSH-2.0-x\r\n", "looks like SSH"),
            (b"\xC0\0", "accepted version"),
            (b"PROXX ", "accepted version"),
            (b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "accepted version"),
            (b"\r\n\r\n\0\r\nQUIX\n", "accepted version"),
        ] {
            for accepted in [ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::Any] {
                let result = read_open(bytes, accepted);
                let Some(Err(error @ (ProxyError::Missing | ProxyError::Foreign(_)))) = result else {
                    panic!("{bytes:x?}: {result:?}")
                };
                assert!(error.to_string().contains(words), "{error}");
            }
        }
        let (other, _) = read(b"PROXY UNKNOWN\r\n", b"", ProxyProtocol::V2);
        assert!(other.unwrap_err().to_string().contains("the other version"));
    }

    #[test]
    fn a_connection_without_a_byte_is_told_from_one_that_breaks_off() {
        for accepted in [ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::Any] {
            assert!(matches!(read(b"", b"", accepted).0, Err(ProxyError::Silent)));
        }
        assert!(matches!(read(b"P", b"", ProxyProtocol::Any).0, Err(ProxyError::Io(_))));
        assert!(matches!(read(b"PROXY TCP4 192", b"", ProxyProtocol::Any).0, Err(ProxyError::Io(_))));
        let header = v2(0x21, 0x11, &[addresses_v4(), vec![0; 1_000]].concat());
        for length in 1..header.len() {
            assert!(matches!(read(&header[..length], b"", ProxyProtocol::Any).0, Err(ProxyError::Io(_))), "{length}");
        }
    }

    #[test]
    fn version_2_gives_the_source_and_skips_what_follows_it() {
        let (v4, v6, unix) = (addresses_v4(), addresses_v6(), [0; 216]);
        let mapped = [&[0; 10][..], &[0xFF, 0xFF, 192, 0, 2, 1], &[0; 16], &[0, 7, 0, 8]].concat();
        let extended = [v4.as_slice(), &[0x04, 0, 1, 9]].concat();
        let largest = [v4.as_slice(), &[0x04, 0xFF, 0xF0], &vec![0; 65_520]].concat();
        for (header, source) in [
            (v2(0x21, 0x11, &v4), Some("192.0.2.1:56324")),
            (v2(0x21, 0x11, &extended), Some("192.0.2.1:56324")),
            (v2(0x21, 0x11, &largest), Some("192.0.2.1:56324")),
            (v2(0x21, 0x21, &v6), Some("[2001:db8::1]:1")),
            (v2(0x21, 0x21, &[v6.as_slice(), &[1; 99]].concat()), Some("[2001:db8::1]:1")),
            (v2(0x21, 0x21, &mapped), Some("192.0.2.1:7")),
            // LOCAL: whatever follows is ignored.
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x20, 0x11, &[1]), None),
            (v2(0x20, 0x41, &v4), None),
            (v2(0x20, 0xFF, &[0; 500]), None),
            // Without a source address that MQTT can use.
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x00, &[9; 300]), None),
            (v2(0x21, 0x01, &[]), None),
            (v2(0x21, 0x10, &v4), None),
            (v2(0x21, 0x12, &v4), None),
            (v2(0x21, 0x22, &v6), None),
            (v2(0x21, 0x31, &unix), None),
            (v2(0x21, 0x32, &unix), None),
            (v2(0x21, 0x31, &[&unix[..], &[4, 0, 0]].concat()), None),
        ] {
            for accepted in [ProxyProtocol::V2, ProxyProtocol::Any] {
                let (result, rest) = read(&header, b"\x16\x03rest", accepted);
                assert_eq!(result.unwrap(), source.map(|text| text.parse().unwrap()), "{:x?}", &header[12..16]);
                assert_eq!(rest, b"\x16\x03rest");
            }
            let refused = read(&header, b"", ProxyProtocol::V1).0;
            assert!(matches!(refused, Err(ProxyError::Foreign(Protocol::ProxyHeader))));
        }
    }

    #[test]
    fn malformed_version_2_headers_are_refused_without_waiting_for_more() {
        let (v4, v6) = (addresses_v4(), addresses_v6());
        let mut headers = vec![
            v2(0x21, 0x11, &v4[..11]),
            v2(0x21, 0x12, &v4[..11]),
            v2(0x21, 0x11, &[]),
            v2(0x21, 0x21, &v4),
            v2(0x21, 0x22, &v6[..35]),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x32, &v6),
        ];
        // Versions and commands.
        let commands = (0..=u8::MAX).filter(|byte| !matches!(byte, 0x20 | 0x21));
        headers.extend(commands.map(|byte| V2_SIGNATURE.iter().copied().chain([byte]).collect()));
        // Families and protocols.
        let unlisted = (0..=u8::MAX).filter(|byte| byte >> 4 > 3 || byte & 0x0F > 2);
        headers.extend(unlisted.map(|byte| V2_SIGNATURE.iter().copied().chain([0x21, byte]).collect()));
        for header in headers {
            let result = read_open(&header, ProxyProtocol::Any);
            assert!(is_malformed(&result), "{:x?}: {result:?}", &header[12..]);
        }
    }

    proptest! {
        #[test]
        fn parsing_any_bytes_never_requests_more_than_the_longest_header(
            mut bytes in prop::collection::vec(any::<u8>(), 0..300),
            signature in 0..3usize,
        ) {
            let signature: &[u8] = [V1_SIGNATURE, V2_SIGNATURE, b""][signature];
            bytes.splice(0..0, signature.iter().copied());
            for accepted in [ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::Any] {
                match parse(&bytes, accepted) {
                    Ok(Parsed::Incomplete { missing }) => {
                        prop_assert!(missing > 0);
                        prop_assert!(bytes.len() + missing <= HEADER_KEPT_MAX);
                    }
                    Ok(Parsed::Header { skip, .. }) => prop_assert!(skip <= usize::from(u16::MAX)),
                    Err(_) => {}
                }
            }
        }

        /// A line is accepted exactly if it is what the specification's own parts make of the values in it.
        #[test]
        fn a_version_1_line_with_one_changed_byte_means_the_same_or_is_refused(
            octets in any::<[u8; 16]>(),
            ports in any::<(u16, u16)>(),
            six in any::<bool>(),
            change in any::<(prop::sample::Index, u8)>(),
        ) {
            let address = if six { IpAddr::from(octets) } else { IpAddr::from(*octets.first_chunk::<4>().unwrap()) };
            let family = if six { "TCP6" } else { "TCP4" };
            let mut line = format!("PROXY {family} {address} {address} {} {}\r\n", ports.0, ports.1).into_bytes();
            let index = change.0.index(line.len());
            line[index] = change.1;
            let (result, _) = read(&line, b"", ProxyProtocol::V1);
            if let Ok(Some(source)) = result {
                let text = String::from_utf8(line).unwrap();
                let words = text.strip_suffix("\r\n").unwrap().split(' ').collect::<Vec<_>>();
                prop_assert_eq!(words.len(), 6);
                prop_assert_eq!((words[0], words[1]), ("PROXY", family));
                for word in &words[2..4] {
                    prop_assert_eq!(word.parse::<IpAddr>().unwrap().is_ipv6(), six);
                }
                for word in &words[4..6] {
                    prop_assert_eq!(word.parse::<u16>().unwrap().to_string(), *word);
                }
                prop_assert_eq!(source.ip(), words[2].parse::<IpAddr>().unwrap().to_canonical());
            }
        }

        #[test]
        fn every_source_is_parsed_in_both_versions_however_it_is_split(
            octets in any::<[u8; 16]>(),
            port in any::<u16>(),
            six in any::<bool>(),
        ) {
            let address = if six { IpAddr::from(octets) } else { IpAddr::from(*octets.first_chunk::<4>().unwrap()) };
            let source = SocketAddr::new(address.to_canonical(), port);
            let line = format!("PROXY {} {address} {address} {port} 1\r\n", if six { "TCP6" } else { "TCP4" });
            let length = if six { 16 } else { 4 };
            let body = [&octets[..length], &octets[..length], &port.to_be_bytes(), &[0, 1], &[4, 0, 1, 7]].concat();
            for header in [line.into_bytes(), v2(0x21, if six { 0x21 } else { 0x11 }, &body)] {
                let (result, rest) = read(&header, b"x", ProxyProtocol::Any);
                prop_assert_eq!(result.unwrap(), Some(source));
                prop_assert_eq!(rest, b"x");
                // Every beginning of it is incomplete, not malformed.
                for length in 0..header.len().min(HEADER_KEPT_MAX) {
                    let part = parse(&header[..length], ProxyProtocol::Any);
                    prop_assert!(part.is_ok(), "{part:?}");
                }
            }
        }
    }
}
