use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::error::BridgeError;
use super::tls;
use crate::config::{self, BridgeAddress, Transport as Kind};
use crate::server::listener::WebSocket;

/// A connection to another broker.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

/// Opens a connection, and makes the handshakes before MQTT.
pub(super) async fn open(
    address: &BridgeAddress,
    settings: &config::Bridge,
    maximum_packet_size: u32,
) -> Result<Box<dyn Transport>, BridgeError> {
    let host = address.host.as_str();
    let stream = TcpStream::connect((host, address.port)).await.map_err(BridgeError::Unreachable)?;
    stream.set_nodelay(true).map_err(BridgeError::Unreachable)?;
    let Some(path) = &address.path else {
        return match address.transport {
            Kind::Tls => Ok(Box::new(tls::connect(stream, host, settings).await?)),
            Kind::Tcp | Kind::Unix | Kind::Ws | Kind::Wss | Kind::Quic => Ok(Box::new(stream)),
        };
    };
    let is_encrypted = address.transport.is_encrypted();
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let authority = match (is_encrypted, address.port) {
        (true, 443) | (false, 80) => bracketed,
        (_, port) => format!("{bracketed}:{port}"),
    };
    let place = (authority.as_str(), path.as_str());
    if is_encrypted {
        let stream = tls::connect(stream, host, settings).await?;
        let socket = WebSocket::connect(stream, place, maximum_packet_size).await.map_err(BridgeError::WebSocket)?;
        return Ok(Box::new(socket));
    }
    Ok(Box::new(WebSocket::connect(stream, place, maximum_packet_size).await.map_err(BridgeError::WebSocket)?))
}
