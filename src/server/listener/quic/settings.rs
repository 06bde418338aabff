use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, TransportConfig, VarInt};
use tokio_rustls::rustls;

/// What a connection of QUIC gets: the certificates of its listener, and the limits of all.
#[derive(Debug, Clone)]
pub(in crate::server::listener) struct QuicSettings(Arc<quinn::ServerConfig>);

impl QuicSettings {
    /// Those of a listener with this TLS.
    ///
    /// # Errors
    /// The cryptography has no suite that every QUIC client has.
    pub(in crate::server::listener) fn new(tls: &rustls::ServerConfig) -> Result<Self, rustls::Error> {
        let mut tls = tls.clone();
        // A client without it is refused.
        tls.alpn_protocols = vec![ALPN.to_vec()];
        // Early data could be replayed: a message would be published twice.
        tls.max_early_data_size = 0;
        let cryptography =
            QuicServerConfig::try_from(Arc::new(tls)).map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut settings = quinn::ServerConfig::with_crypto(Arc::new(cryptography));
        settings
            .transport_config(Arc::new(transport()))
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES_MAX)
            .incoming_buffer_size_total(INCOMING_BYTES_MAX * INCOMING_MAX as u64);
        Ok(Self(Arc::new(settings)))
    }

    pub(super) fn config(&self) -> Arc<quinn::ServerConfig> {
        Arc::clone(&self.0)
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .keep_alive_interval(None)
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok());
    transport
}

/// The protocol that EMQX, NanoMQ and their clients name.
const ALPN: &[u8] = b"mqtt";
/// Bytes on their way in one direction of a connection: 2.6 MB per second at a round trip of 50 ms.
const WINDOW: u32 = 128 * 1024;
/// Longer than one and a half times the longest Keep Alive, so that Keep Alive decides which client is gone. The client may ask for less.
const IDLE_TIMEOUT: Duration = Duration::from_secs(65_535 * 3 / 2 + 60);
/// Attempts to connect that wait for the rate limits.
const INCOMING_MAX: usize = 1_024;
/// Bytes of further datagrams of each of them.
const INCOMING_BYTES_MAX: u64 = 8 * 1024;
