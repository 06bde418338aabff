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
    let long = [unknown, long, format!("PROXY UNKNOWN {}", "x".repeat(200)), format!("PROXY TCP4 {}", "1".repeat(200))];
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
