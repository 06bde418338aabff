use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection to a server that may send only so many bytes for each question. One that sends more has failed.
///
/// The client library keeps a message in memory until it is whole, and reads while it is not asked. Without a limit, a row of 100 MB or a
/// server that sends notices without an end would take as much memory and time as it sends.
pub(super) struct Metered<S> {
    stream: S,
    meter: Meter,
}

/// How many bytes a server may still send.
#[derive(Debug, Clone)]
pub(super) struct Meter(Arc<AtomicUsize>);

impl Meter {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(ANSWER_BYTES_MAX)))
    }

    /// Begins a question.
    pub(super) fn refill(&self) {
        self.0.store(ANSWER_BYTES_MAX, Ordering::Relaxed);
    }

    /// Whether it has sent all of them.
    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn take(&self, bytes: usize) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(bytes), Ordering::Relaxed);
    }
}

impl<S> Metered<S> {
    pub(super) const fn new(stream: S, meter: Meter) -> Self {
        Self { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.meter.is_empty() {
            return Poll::Ready(Err(io::Error::other(TOO_MUCH)));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        this.meter.take(buffer.filled().len().saturating_sub(before));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// 1,024 rules with long topics take a tenth of it.
const ANSWER_BYTES_MAX: usize = 1 << 20;
pub(super) const TOO_MUCH: &str = "the server has sent more than 1 MiB for one question";

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_server_that_sends_without_an_end_fails() {
        let meter = Meter::new();
        let mut stream = Metered::new(tokio::io::repeat(7), meter.clone());
        for _ in 0..2 {
            meter.refill();
            let mut bytes = vec![0; ANSWER_BYTES_MAX];
            stream.read_exact(&mut bytes).await.unwrap();
        }
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.to_string(), TOO_MUCH);
    }
}
