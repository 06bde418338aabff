use oncemq::config::{ListenAddress, Listener, ProxyProtocol, Transport, WebSocketSubprotocol};
use oncemq::server::fuzzing::{read_proxy_header, read_proxy_tls_header, run_websocket};

/// A PROXY header is read to its end and no further, or refused. What version 1 accepts is a line.
pub(crate) fn proxy(input: &[u8]) {
    for accepted in [ProxyProtocol::V1, ProxyProtocol::V2, ProxyProtocol::Any] {
        let Some(header) = read_proxy_header(input, accepted) else { continue };
        assert!(header.length >= 8 && header.length <= input.len());
        let head = &input[..header.length];
        assert!(head.starts_with(b"PROXY ") || head.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
        if head.starts_with(b"PROXY ") {
            assert!(head.ends_with(b"\r\n") && head.len() <= 107 && accepted != ProxyProtocol::V2);
        }
        // What follows the header has no influence.
        assert_eq!(read_proxy_header(head, accepted), Some(header));
    }
    // With its fields about TLS, a header is the same or refused, and a name is a part of it.
    if let Some(with_tls) = read_proxy_tls_header(input) {
        assert_eq!(read_proxy_header(input, ProxyProtocol::V2), Some(with_tls.header));
        let head = &input[..with_tls.header.length];
        assert_eq!(read_proxy_tls_header(head), Some(with_tls.clone()));
        if let Some(name) = &with_tls.common_name {
            assert!(!name.is_empty() && head.windows(name.len()).any(|part| part == name.as_bytes()));
        }
        if input[12] == 0x20 {
            assert!(!with_tls.is_encrypted && with_tls.certificate.is_none() && with_tls.common_name.is_none());
        }
    }
}

/// A request is answered with exactly one response, or not at all. Only one with a key opens a WebSocket.
pub(crate) fn opening(input: &[u8]) {
    let run = run_websocket(input, &listener(), MAXIMUM_PACKET_SIZE);
    assert!(run.sent.is_empty() || run.sent.starts_with(b"HTTP/1.1 "));
    assert_eq!(run.is_open, run.sent.starts_with(b"HTTP/1.1 101 "));
    if run.is_open {
        let lower = input.to_ascii_lowercase();
        for word in [&b"sec-websocket-key"[..], b"upgrade", b"websocket"] {
            assert!(lower.windows(word.len()).any(|window| window == word));
        }
    }
    let mut head = run.sent.split(|byte| *byte == b'\n').take_while(|line| *line != b"\r");
    assert!(run.sent.is_empty() || head.all(|line| line.ends_with(b"\r")), "the client added a line");
}

/// Frames behind a legal request never have more content than bytes, and what is answered is not larger either.
pub(crate) fn websocket(input: &[u8]) {
    let bytes = [REQUEST, input].concat();
    let run = run_websocket(&bytes, &listener(), MAXIMUM_PACKET_SIZE);
    assert!(run.is_open);
    assert!(run.content.len() <= input.len());
    let head = run.sent.windows(4).position(|window| window == b"\r\n\r\n").expect("a response") + 4;
    // Every frame of the client (a Ping, a Close) is answered with one of its size at most, without the mask; or with a Close of the broker.
    assert!(run.sent.len() - head <= input.len() + CLOSE_BYTES_MAX);
}

fn listener() -> Listener {
    let address: ListenAddress = "127.0.0.1:8083".parse().expect("a legal address");
    let mut listener = Listener::new(address);
    listener.transport = Transport::Ws;
    listener.websocket_subprotocol = WebSocketSubprotocol::Optional;
    listener
}

const REQUEST: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const MAXIMUM_PACKET_SIZE: u32 = 1 << 20;
/// A Close frame with a status and a reason.
const CLOSE_BYTES_MAX: usize = 127;
