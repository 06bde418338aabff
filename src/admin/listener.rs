use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// A listener with a greatest number of connections, each with a limited lifetime. Further connections wait in the operating system's
/// backlog.
#[derive(Debug)]
pub(super) struct BoundedListener<L> {
    listener: L,
    lifetime: Duration,
    permits: Arc<Semaphore>,
}

/// The end of a connection's lifetime, and its slot.
#[derive(Debug)]
pub(super) struct Lease {
    end: Pin<Box<Sleep>>,
    lifetime: Lifetime,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Extends the lifetime of a connection, for a response that takes longer. An extension of each request.
#[derive(Debug, Clone, Default)]
pub(super) struct Lifetime(Arc<OnceLock<Instant>>);

impl Lifetime {
    /// Lets the connection live until `end`, if that is later than its end. Only the first call has an effect.
    pub(super) fn extend_to(&self, end: Instant) {
        self.0.get_or_init(|| end);
    }
}

/// A connection whose reads and writes fail with `TimedOut` when its lifetime is over.
#[derive(Debug)]
pub(super) struct BoundedStream<S> {
    stream: S,
    lease: Lease,
}

impl<L: Listener> BoundedListener<L> {
    pub(super) fn new(listener: L, connections_max: usize, lifetime: Duration) -> Self {
        Self { listener, lifetime, permits: Arc::new(Semaphore::new(connections_max)) }
    }

    /// Waits for a free slot and a connection.
    pub(super) async fn accept(&mut self) -> (L::Io, L::Addr, Lease) {
        // `acquire_owned` fails only if the semaphore is closed, which never happens.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let (stream, address) = self.listener.accept().await;
        (stream, address, Lease { end: Box::pin(sleep(self.lifetime)), lifetime: Lifetime::default(), _permit: permit })
    }
}

impl Lease {
    /// Waits for what comes before the first request.
    pub(super) async fn within<T>(&mut self, work: impl Future<Output = T>) -> io::Result<T> {
        select! {
            result = work => Ok(result),
            () = self.end.as_mut() => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl<S> BoundedStream<S> {
    pub(super) fn new(stream: S, lease: Lease) -> Self {
        Self { stream, lease }
    }

    /// What extends its lifetime.
    pub(super) fn lifetime(&self) -> Lifetime {
        self.lease.lifetime.clone()
    }
}

impl<S: Unpin> BoundedStream<S> {
    /// Polls the stream; returns `TimedOut` instead of `Pending` when the lifetime is over.
    fn poll_with_deadline<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = poll(Pin::new(&mut self.stream), context) {
            return Poll::Ready(result);
        }
        ready!(self.lease.end.as_mut().poll(context));
        if let Some(end) = self.lease.lifetime.0.get().copied().filter(|end| *end > self.lease.end.deadline()) {
            self.lease.end.as_mut().reset(end);
            ready!(self.lease.end.as_mut().poll(context));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_with_deadline(context, |stream, context| stream.poll_read(context, buffer))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with_deadline(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with_deadline(context, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with_deadline(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_with_deadline(context, |stream, context| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const CONNECTIONS_MAX: usize = 4;

    #[tokio::test]
    async fn a_silent_connection_fails_at_the_end_of_its_lifetime() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = BoundedListener::new(listener, CONNECTIONS_MAX, Duration::from_millis(20));
        let _client = TcpStream::connect(address).await.unwrap();
        let (stream, _, lease) = listener.accept().await;
        let mut stream = BoundedStream::new(stream, lease);
        let error = stream.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_response_that_takes_longer_extends_the_lifetime_up_to_a_new_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = BoundedListener::new(listener, CONNECTIONS_MAX, Duration::from_millis(20));
        let _client = TcpStream::connect(address).await.unwrap();
        let (stream, _, lease) = listener.accept().await;
        let mut stream = BoundedStream::new(stream, lease);
        let (before, lifetime) = (Instant::now(), stream.lifetime());
        lifetime.extend_to(before + Duration::from_millis(200));
        lifetime.extend_to(before + Duration::from_secs(600));
        let error = stream.read(&mut [0; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(before.elapsed() >= Duration::from_millis(200), "{:?}", before.elapsed());
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_until_another_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = BoundedListener::new(listener, CONNECTIONS_MAX, Duration::from_secs(60));
        let (mut clients, mut accepted) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS_MAX {
            clients.push(TcpStream::connect(address).await.unwrap());
            accepted.push(listener.accept().await);
        }
        clients.push(TcpStream::connect(address).await.unwrap());
        tokio::time::timeout(Duration::from_millis(20), listener.accept()).await.unwrap_err();
        accepted.pop();
        listener.accept().await;
    }
}
