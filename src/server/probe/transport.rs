use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::error::ProbeError;
use super::target::{Place, Target};
use super::tls;
use crate::config;
use crate::server::bans::Bans;
use crate::server::listener::WebSocket;

/// A connection to a listener.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Transport for T {}

/// Opens a connection, and makes the handshakes before MQTT.
pub(super) async fn open(
    target: &Target,
    settings: &config::Probe,
    bans: &Bans,
) -> Result<Box<dyn Transport>, ProbeError> {
    let unreachable = |source| ProbeError::Unreachable { target: target.to_string(), source };
    match &target.place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            shake_hands(stream, target, settings).await
        }
        Place::Ip(address) => {
            let stream = connect(*address, bans).await.map_err(unreachable)?;
            shake_hands(stream, target, settings).await
        }
    }
}

/// Connects from a port that the bans know before the connection arrives.
async fn connect(address: SocketAddr, bans: &Bans) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let mut own = address;
    own.set_port(0);
    socket.bind(own)?;
    bans.add_own(socket.local_addr()?);
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

async fn shake_hands<S: Transport>(
    mut stream: S,
    target: &Target,
    settings: &config::Probe,
) -> Result<Box<dyn Transport>, ProbeError> {
    stream.write_all(target.proxy_header).await.map_err(ProbeError::Lost)?;
    match target.has_tls {
        true => open_websocket(tls::connect(stream, settings).await?, target).await,
        false => open_websocket(stream, target).await,
    }
}

async fn open_websocket<S: Transport>(stream: S, target: &Target) -> Result<Box<dyn Transport>, ProbeError> {
    match &target.websocket_path {
        Some(path) => Ok(Box::new(WebSocket::connect(stream, ("localhost", path), 0).await.map_err(ProbeError::Lost)?)),
        None => Ok(Box::new(stream)),
    }
}
