//! A build without QUIC: the configuration can't ask for it, so no connection ever begins.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls;

#[derive(Debug)]
pub(in crate::server) struct Listening;
#[derive(Debug)]
pub(in crate::server) struct Arriving;
#[derive(Debug)]
pub(in crate::server) struct QuicStream;
#[derive(Debug, Clone)]
pub(in crate::server::listener) struct QuicSettings;
#[derive(Debug, Default)]
pub(in crate::server) struct Intake;
#[derive(Debug, thiserror::Error)]
#[error("this build has no QUIC")]
pub(in crate::server) struct QuicError;

impl QuicError {
    pub(in crate::server::listener) const fn is_silence(&self) -> bool {
        false
    }
}

impl Intake {
    pub(in crate::server) fn stop(&self) {}
}

impl QuicSettings {
    pub(in crate::server::listener) fn new(_: &rustls::ServerConfig) -> Result<Self, rustls::Error> {
        Ok(Self)
    }
}

impl Listening {
    pub(in crate::server::listener) fn open(_: UdpSocket, _: Arc<Intake>, _: &QuicSettings) -> io::Result<Self> {
        Ok(Self)
    }

    pub(in crate::server::listener) async fn accept(&self) -> io::Result<(Arriving, SocketAddr)> {
        std::future::pending().await
    }
}

pub(in crate::server::listener) async fn establish(_: Arriving, _: QuicSettings) -> Result<QuicStream, QuicError> {
    Err(QuicError)
}

impl QuicStream {
    pub(in crate::server::listener) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        Vec::new()
    }

    pub(in crate::server::listener) fn abort(&self) {}

    pub(in crate::server::listener) fn is_closed(&self) -> bool {
        true
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
