use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use quinn::{Connection, RecvStream, SendStream, VarInt};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error;

/// The stream of a QUIC connection that carries MQTT. Dropping it closes the connection with code 0, and discards what was not acknowledged.
pub(in crate::server) struct QuicStream {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
    finishing: Option<Finishing>,
}

/// Ends when the client has acknowledged everything, or can't any more.
type Finishing = Pin<Box<dyn Future<Output = ()>>>;

impl fmt::Debug for QuicStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("QuicStream").field("address", &self.connection.remote_address()).finish_non_exhaustive()
    }
}

impl QuicStream {
    pub(super) const fn new(connection: Connection, send: SendStream, receive: RecvStream) -> Self {
        Self { connection, send, receive, finishing: None }
    }

    /// The certificates that the client has presented, its own first; empty if it has presented none.
    pub(in crate::server::listener) fn certificates(&self) -> Vec<CertificateDer<'static>> {
        let identity = self.connection.peer_identity();
        identity.and_then(|identity| identity.downcast().ok()).map(|certificates| *certificates).unwrap_or_default()
    }

    /// Closes the connection with an error.
    pub(in crate::server::listener) fn abort(&self) {
        self.connection.close(VarInt::from_u32(ABORTED), b"");
    }

    /// Whether the connection has ended. The library doesn't tell that the client has finished its stream before that is read to its end.
    pub(in crate::server::listener) fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }
}

impl AsyncRead for QuicStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(self.receive.poll_read_buf(cx, buffer)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(error::of_read(error).map_or(Ok(()), Err)),
        }
    }
}

impl AsyncWrite for QuicStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, bytes).map_err(error::of_write)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The library sends what was written as soon as the connection may.
        Poll::Ready(Ok(()))
    }

    /// Finishes the stream, and waits until the client has acknowledged all of it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let finishing = this.finishing.get_or_insert_with(|| {
            // It fails only if the client has stopped the stream, or the connection has ended.
            let _ = this.send.finish();
            let stopped = this.send.stopped();
            Box::pin(async move { drop(stopped.await) })
        });
        ready!(finishing.as_mut().poll(cx));
        // Another call must not poll the future again.
        this.finishing = Some(Box::pin(std::future::ready(())));
        Poll::Ready(Ok(()))
    }
}

/// The code of a connection that the broker gave up.
const ABORTED: u32 = 1;
