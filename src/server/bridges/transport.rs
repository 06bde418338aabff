use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

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
    let stream = connect(host, address.port).await.map_err(BridgeError::Unreachable)?;
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

/// Connects to the first address of a host that answers. One that is silent leaves time for the next one.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((host, port)).await? {
        match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error,
            Err(_) => failure = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failure)
}

/// For each address of a host.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_host_is_connected_or_the_reason_is_that_of_its_last_address() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            assert_eq!(connect("localhost", port).await.unwrap().peer_addr().unwrap().port(), port);
            drop(listener);
            assert_eq!(connect("127.0.0.1", port).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        });
    }
}
