//! A build without QUIC: the configuration can't ask for it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls;

#[derive(Debug)]
pub(in crate::server) enum Listening {}
#[derive(Debug)]
pub(in crate::server) enum Arriving {}
#[derive(Debug)]
pub(in crate::server) enum QuicStream {}
#[derive(Debug, Clone)]
pub(in crate::server::listener) enum QuicSettings {}
#[derive(Debug, Default)]
pub(in crate::server) struct Intake;

#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum QuicError {
    #[error("never")]
    Silent,
}

impl Intake {
    pub(in crate::server) fn stop(&self) {}
}

impl QuicSettings {
    pub(in crate::server::listener) fn new(_: &rustls::ServerConfig) -> Result<Self, rustls::Error> {
        Err(rustls::Error::General("this build has no QUIC".to_owned()))
    }
}

impl Listening {
    pub(in crate::server::listener) fn open(_: UdpSocket, _: Arc<Intake>, settings: &QuicSettings) -> io::Result<Self> {
        match *settings {}
    }

    pub(in crate::server::listener) async fn accept(&self) -> io::Result<(Arriving, SocketAddr)> {
        match *self {}
    }
}

pub(in crate::server::listener) async fn establish(
    arriving: Arriving,
    _: QuicSettings,
) -> Result<QuicStream, QuicError> {
    match arriving {}
}

impl QuicStream {
    pub(in crate::server::listener) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        match *self {}
    }

    pub(in crate::server::listener) fn abort(&self) {
        match *self {}
    }

    pub(in crate::server::listener) fn is_closed(&self) -> bool {
        match *self {}
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        match *self {}
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match *self {}
    }
}
