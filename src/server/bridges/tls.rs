use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::BridgeError;
use crate::config;
use crate::server_trust::{ClientTls, NameCheck, client_config};

/// Makes a TLS handshake with a broker at `host`. The files are read, so that new ones are used at the next connect.
pub(super) async fn connect<S>(stream: S, host: &str, settings: &config::Bridge) -> Result<TlsStream<S>, BridgeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut config = client_config(ClientTls {
        trusted: settings.ca.as_deref(),
        identity: settings.certificate.as_deref().zip(settings.key.as_deref()),
        name: if settings.insecure_no_hostname { NameCheck::Any } else { NameCheck::Required },
    })?;
    config.alpn_protocols = settings.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    let name = settings.server_name.as_deref().unwrap_or(host);
    let server_name = ServerName::try_from(name.to_owned()).map_err(|_| BridgeError::ServerName(name.to_owned()))?;
    TlsConnector::from(Arc::new(config)).connect(server_name, stream).await.map_err(BridgeError::Handshake)
}
