//! The PROXY protocol, versions 1 and 2: a proxy sends the address of the client before the client's bytes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::config::ProxyProtocol;

/// Why a PROXY header was not accepted.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum ProxyError {
    /// The first bytes don't begin a header of an accepted version.
    #[error("no PROXY header of an accepted version")]
    Missing,
    /// The header begins correctly and is malformed.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
    /// The connection ended before the header was complete.
    #[error("no PROXY header: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header, and no byte after it. `None`: the proxy opened the connection itself, or the source is unknown.
pub(super) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
    accepted: ProxyProtocol,
) -> Result<Option<SocketAddr>, ProxyError> {
    let mut header = Vec::with_capacity(V1_LENGTH_MAX);
    loop {
        let missing = match parse(&header, accepted)? {
            Parsed::Header { source } => return Ok(source),
            Parsed::Incomplete { missing } => missing,
        };
        let length = header.len();
        header.resize(length + missing, 0);
        stream.read_exact(header.get_mut(length..).unwrap_or_default()).await?;
    }
}

/// The state of a header that is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parsed {
    /// Complete.
    Header { source: Option<SocketAddr> },
    /// At least `missing` more bytes belong to the header.
    Incomplete { missing: usize },
}

fn parse(bytes: &[u8], accepted: ProxyProtocol) -> Result<Parsed, ProxyError> {
    let v1 = matches!(accepted, ProxyProtocol::V1 | ProxyProtocol::Any) && begins_like(bytes, V1_SIGNATURE);
    let v2 = matches!(accepted, ProxyProtocol::V2 | ProxyProtocol::Any) && begins_like(bytes, V2_SIGNATURE);
    match (v1, v2) {
        // Either header is longer than the signature of version 2.
        (true, true) => Ok(Parsed::Incomplete { missing: V2_SIGNATURE.len() - bytes.len() }),
        (true, false) => parse_v1(bytes),
        (false, true) => parse_v2(bytes),
        (false, false) => Err(ProxyError::Missing),
    }
}

fn begins_like(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n`
fn parse_v1(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        return match bytes.len() {
            length if length >= V1_LENGTH_MAX => Err(ProxyError::Malformed("line too long")),
            length => Ok(Parsed::Incomplete { missing: V1_LENGTH_MIN.saturating_sub(length).max(1) }),
        };
    };
    let line = str::from_utf8(line).map_err(|_| ProxyError::Malformed("not ASCII"))?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Parsed::Header { source: None });
    }
    let (Some(source), Some(_), Some(port), Some(_), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ProxyError::Malformed("not six words"));
    };
    let address: IpAddr = match family {
        Some("TCP4") => source.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
        Some("TCP6") => source.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
        Some(_) | None => None,
    }
    .ok_or(ProxyError::Malformed("source address"))?;
    let port = port.parse::<u16>().map_err(|_| ProxyError::Malformed("source port"))?;
    Ok(Parsed::Header { source: Some(SocketAddr::new(address, port)) })
}

/// Signature, version and command, family, length, addresses, and further fields within that length.
fn parse_v2(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let Some((&[version_and_command, family, high, low], body)) =
        bytes.get(V2_SIGNATURE.len()..).and_then(|rest| rest.split_first_chunk::<4>())
    else {
        return Ok(Parsed::Incomplete { missing: V2_SIGNATURE.len() + 4 - bytes.len() });
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_LENGTH_MAX {
        return Err(ProxyError::Malformed("too long"));
    }
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Malformed("version or command")),
    };
    if body.len() < length {
        return Ok(Parsed::Incomplete { missing: length - body.len() });
    }
    if is_local {
        return Ok(Parsed::Header { source: None });
    }
    let source = match family {
        0x11 => Some(v2_source(body, 4).ok_or(ProxyError::Malformed("addresses"))?),
        0x21 => Some(v2_source(body, 16).ok_or(ProxyError::Malformed("addresses"))?),
        // Unspecified, a datagram or a Unix socket: the connection is accepted without a source address.
        _ => None,
    };
    Ok(Parsed::Header { source })
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
    Some(SocketAddr::new(address, u16::from_be_bytes(*port)))
}

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// `PROXY UNKNOWN\r\n`, the shortest.
const V1_LENGTH_MIN: usize = 15;
/// The longest that the specification allows.
const V1_LENGTH_MAX: usize = 107;
/// Addresses take at most 216 bytes; the rest is for TLVs such as the name of a certificate.
const V2_LENGTH_MAX: usize = 4_096;

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

    /// Reads a header followed by `rest`. Returns the result and the unread bytes.
    fn read(header: &[u8], rest: &[u8], accepted: ProxyProtocol) -> (Result<Option<SocketAddr>, ProxyError>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let all = [header, rest].concat();
        let mut stream = all.as_slice();
        let result = runtime.block_on(read_header(&mut stream, accepted));
        (result, stream.to_vec())
    }

    #[test]
    fn version_1_gives_the_source_and_leaves_the_following_bytes() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Some("192.0.2.1:56324")),
            ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", Some("[2001:db8::1]:1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            for accepted in [ProxyProtocol::V1, ProxyProtocol::Any] {
                let (result, rest) = read(line.as_bytes(), b"\x10rest", accepted);
                assert_eq!(result.unwrap(), source.map(|text| text.parse().unwrap()), "{line:?}");
                assert_eq!(rest, b"\x10rest");
            }
            assert!(matches!(read(line.as_bytes(), b"and more", ProxyProtocol::V2).0, Err(ProxyError::Missing)));
        }
    }

    #[test]
    fn malformed_version_1_headers_are_refused() {
        for line in [
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 70000 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            &format!("PROXY {}\r\n", "x".repeat(200)),
        ] {
            let (result, _) = read(line.as_bytes(), b"", ProxyProtocol::Any);
            assert!(matches!(result, Err(ProxyError::Malformed(_))), "{line:?}: {result:?}");
        }
        assert!(matches!(
            read(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", b"", ProxyProtocol::Any).0,
            Err(ProxyError::Missing)
        ));
        assert!(matches!(read(b"PROXY TCP4 192", b"", ProxyProtocol::Any).0, Err(ProxyError::Io(_))));
    }

    #[test]
    fn version_2_gives_the_source_and_skips_unknown_fields() {
        let mut v4 = vec![192, 0, 2, 1, 198, 51, 100, 1];
        v4.extend([0xDC, 0x04, 0x01, 0xBB]);
        let with_extra = [v4.as_slice(), &[0x04, 0, 1, 9]].concat();
        let mut v6 = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]; 2].concat();
        v6.extend([0, 1, 0, 2]);
        for (header, source) in [
            (v2(0x21, 0x11, &v4), Some("192.0.2.1:56324")),
            (v2(0x21, 0x11, &with_extra), Some("192.0.2.1:56324")),
            (v2(0x21, 0x21, &v6), Some("[2001:db8::1]:1")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            for accepted in [ProxyProtocol::V2, ProxyProtocol::Any] {
                let (result, rest) = read(&header, b"\x16\x03rest", accepted);
                assert_eq!(result.unwrap(), source.map(|text| text.parse().unwrap()));
                assert_eq!(rest, b"\x16\x03rest");
            }
            assert!(matches!(read(&header, b"", ProxyProtocol::V1).0, Err(ProxyError::Missing)));
        }
        for header in [v2(0x11, 0x11, &v4), v2(0x22, 0x11, &v4), v2(0x21, 0x11, &v4[..11]), v2(0x21, 0x21, &v4)] {
            assert!(matches!(read(&header, b"", ProxyProtocol::Any).0, Err(ProxyError::Malformed(_))));
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
                if let Ok(Parsed::Incomplete { missing }) = parse(&bytes, accepted) {
                    prop_assert!(missing > 0);
                    prop_assert!(bytes.len() + missing <= V2_SIGNATURE.len() + 4 + V2_LENGTH_MAX);
                }
            }
        }

        #[test]
        fn every_source_is_parsed_in_both_versions(octets in any::<[u8; 16]>(), port in any::<u16>(), six in any::<bool>()) {
            let address = if six { IpAddr::from(octets) } else { IpAddr::from(*octets.first_chunk::<4>().unwrap()) };
            let source = SocketAddr::new(address, port);
            let line = format!("PROXY {} {address} {address} {port} 1\r\n", if six { "TCP6" } else { "TCP4" });
            let (result, rest) = read(line.as_bytes(), b"x", ProxyProtocol::Any);
            prop_assert_eq!(result.unwrap(), Some(source));
            prop_assert_eq!(rest, b"x");

            let length = if six { 16 } else { 4 };
            let body = [&octets[..length], &octets[..length], &port.to_be_bytes(), &[0, 1]].concat();
            let (result, _) = read(&v2(0x21, if six { 0x21 } else { 0x11 }, &body), b"", ProxyProtocol::Any);
            prop_assert_eq!(result.unwrap(), Some(source));
        }
    }
}
