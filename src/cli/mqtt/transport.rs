use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::error::MqttError;
use super::options::{Place, Settings};
use crate::tls_client::{client_config, server_name};

/// A connection to a broker, over any transport.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// Opens the connection.
pub(super) async fn open(settings: &Settings) -> Result<Box<dyn Transport>, MqttError> {
    let Settings { place, tls, .. } = settings;
    let unreachable = |source: io::Error| MqttError::Unreachable { place: place.to_string(), source };
    let (host, port) = match place {
        Place::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await.map_err(unreachable)?)),
        Place::Host { host, port } => (host.as_str(), *port),
    };
    let config = tls.as_ref().map(client_config).transpose()?;
    let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    match config {
        None => Ok(Box::new(stream)),
        Some(config) => {
            let name = server_name(host).map_err(unreachable)?;
            let stream = TlsConnector::from(config).connect(name, stream).await.map_err(unreachable)?;
            Ok(Box::new(stream))
        }
    }
}
