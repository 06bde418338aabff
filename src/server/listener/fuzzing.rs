//! Entrances for fuzz targets: the parsers of what precedes MQTT, over bytes in memory.

use std::net::SocketAddr;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, join};
use tokio::runtime::Builder;

use super::proxy_protocol::{ClientTls, Source, read_header, read_header_with_tls};
use super::websocket::WebSocket;
use crate::config::{Listener, ProxyProtocol};

/// A PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The address of the client, if the header has one.
    pub source: Option<SocketAddr>,
    /// The length of the header in bytes.
    pub length: usize,
}

/// A PROXY header of version 2 with what it says about the client's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyTlsHeader {
    /// Its addresses and its length.
    pub header: ProxyHeader,
    /// Whether the client speaks TLS with the proxy.
    pub is_encrypted: bool,
    /// The result of verifying the client's certificate, if it has presented one.
    pub certificate: Option<u32>,
    /// The Common Name of the certificate.
    pub common_name: Option<String>,
}

/// The result of a request for a WebSocket, and of the frames behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebSocketRun {
    /// Whether the request was accepted.
    pub is_open: bool,
    /// The bytes of MQTT in the frames, up to the first error or the end.
    pub content: Vec<u8>,
    /// What the broker has sent.
    pub sent: Vec<u8>,
}

/// Reads a PROXY header at the beginning of `bytes`; `None` if there is no valid one.
pub fn read_proxy_header(bytes: &[u8], accepted: ProxyProtocol) -> Option<ProxyHeader> {
    let mut rest = bytes;
    // Bytes in memory are always ready.
    let source = match read_header(&mut rest, accepted).now_or_never()?.ok()? {
        Source::Client(address) => Some(address),
        Source::Unknown | Source::Proxy => None,
    };
    Some(ProxyHeader { source, length: bytes.len() - rest.len() })
}

/// Reads a PROXY header of version 2 with its fields about TLS at the beginning of `bytes`; `None` if there is no valid one.
pub fn read_proxy_tls_header(bytes: &[u8]) -> Option<ProxyTlsHeader> {
    let mut rest = bytes;
    let (source, tls) = read_header_with_tls(&mut rest).now_or_never()?.ok()?;
    let source = match source {
        Source::Client(address) => Some(address),
        Source::Unknown | Source::Proxy => None,
    };
    let ClientTls { is_encrypted, certificate, common_name } = tls;
    let header = ProxyHeader { source, length: bytes.len() - rest.len() };
    Some(ProxyTlsHeader { header, is_encrypted, certificate, common_name: common_name.map(|name| name.to_string()) })
}

/// Answers the request of a WebSocket at the beginning of `bytes`, and reads the frames behind it.
pub fn run_websocket(bytes: &[u8], listener: &Listener, maximum_packet_size: u32) -> WebSocketRun {
    let mut run = WebSocketRun::default();
    let Ok(runtime) = Builder::new_current_thread().enable_time().build() else { return run };
    runtime.block_on(async {
        let stream = join(bytes, &mut run.sent);
        if let Ok((mut socket, _)) = WebSocket::accept(stream, listener, maximum_packet_size, None).await {
            run.is_open = true;
            // The content up to the error is in the vector.
            let _ = socket.read_to_end(&mut run.content).await;
        }
    });
    run
}
