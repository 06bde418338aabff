use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// A listener with a greatest number of connections, each with a limited lifetime. For a further connection, the oldest one without a request
/// under way is closed: otherwise silent connections could take all slots. If all have a request, the further connection waits for a slot, and
/// those after it wait in the operating system's backlog.
#[derive(Debug)]
pub(super) struct BoundedListener<L: Listener> {
    listener: L,
    lifetime: Duration,
    permits: Arc<Semaphore>,
    /// The connections, the oldest first. At most as many as there are permits, and those that have ended since the last look.
    leases: VecDeque<(Lifetime, oneshot::Sender<()>)>,
    /// A connection that waits for a slot.
    waiting: Option<(L::Io, L::Addr)>,
}

/// The end of a connection's lifetime, and its slot.
#[derive(Debug)]
pub(super) struct Lease {
    end: Pin<Box<Sleep>>,
    /// Ends it in favour of another connection.
    eviction: Option<oneshot::Receiver<()>>,
    lifetime: Lifetime,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Extends the lifetime of a connection, for a response that takes longer, and knows whether it has a request. An extension of each request.
#[derive(Debug, Clone, Default)]
pub(super) struct Lifetime {
    end: Arc<OnceLock<Instant>>,
    is_asked: Arc<AtomicBool>,
}

impl Lifetime {
    /// Lets the connection live until `end`, if that is later than its end. Only the first call has an effect.
    pub(super) fn extend_to(&self, end: Instant) {
        self.end.get_or_init(|| end);
    }

    /// A request begins, or its response does.
    pub(super) fn set_asked(&self, is_asked: bool) {
        self.is_asked.store(is_asked, Ordering::Relaxed);
    }

    /// Waits until the end to which a response has extended it, and otherwise for `time`.
    pub(super) async fn over(&self, time: Duration) {
        sleep(time).await;
        if let Some(end) = self.end.get() {
            sleep_until(*end).await;
        }
    }

    fn is_idle(&self) -> bool {
        !self.is_asked.load(Ordering::Relaxed) && self.end.get().is_none()
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
        let permits = Arc::new(Semaphore::new(connections_max));
        Self { listener, lifetime, permits, leases: VecDeque::new(), waiting: None }
    }

    /// Waits for a connection and a slot.
    pub(super) async fn accept(&mut self) -> (L::Io, L::Addr, Lease) {
        loop {
            if self.waiting.is_none() {
                self.waiting = Some(self.listener.accept().await);
            }
            if self.permits.available_permits() == 0 {
                self.evict();
            }
            // `acquire_owned` fails only if the semaphore is closed, which never happens.
            let permit = select! {
                permit = Arc::clone(&self.permits).acquire_owned() => permit.ok(),
                // A connection may have become idle.
                () = sleep(EVICTION_INTERVAL) => continue,
            };
            let Some((stream, address)) = self.waiting.take() else { continue };
            let (lifetime, (evict, eviction)) = (Lifetime::default(), oneshot::channel());
            self.leases.retain(|(_, evict)| !evict.is_closed());
            self.leases.push_back((lifetime.clone(), evict));
            let end = Box::pin(sleep(self.lifetime));
            return (stream, address, Lease { end, eviction: Some(eviction), lifetime, _permit: permit });
        }
    }

    /// Ends the oldest connection without a request.
    fn evict(&mut self) {
        self.leases.retain(|(_, evict)| !evict.is_closed());
        let Some(oldest) = self.leases.iter().position(|(lifetime, _)| lifetime.is_idle()) else { return };
        if let Some((_, evict)) = self.leases.remove(oldest) {
            // It may have ended just now.
            let _ = evict.send(());
        }
    }
}

impl Lease {
    /// Waits for what comes before the first request.
    pub(super) async fn within<T>(&mut self, work: impl Future<Output = T>) -> io::Result<T> {
        select! {
            result = work => Ok(result),
            () = self.end.as_mut() => Err(io::ErrorKind::TimedOut.into()),
            () = evicted(&mut self.eviction) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Whether the lifetime is over.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(eviction) = &mut self.eviction
            && let Poll::Ready(result) = Pin::new(eviction).poll(context)
        {
            self.eviction = None;
            if result.is_ok() {
                return Poll::Ready(());
            }
        }
        ready!(self.end.as_mut().poll(context));
        if let Some(end) = self.lifetime.end.get().copied().filter(|end| *end > self.end.deadline()) {
            self.end.as_mut().reset(end);
            ready!(self.end.as_mut().poll(context));
        }
        Poll::Ready(())
    }
}

/// Waits until the connection is ended in favour of another one.
async fn evicted(eviction: &mut Option<oneshot::Receiver<()>>) {
    if let Some(receiver) = eviction
        && receiver.await.is_ok()
    {
        return;
    }
    *eviction = None;
    pending().await
}

/// How often a connection that waits looks for an idle one.
const EVICTION_INTERVAL: Duration = Duration::from_millis(50);

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
        ready!(self.lease.poll_end(context));
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
    async fn the_oldest_connection_without_a_request_gives_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = BoundedListener::new(listener, CONNECTIONS_MAX, Duration::from_secs(60));
        let (mut clients, mut served) = (Vec::new(), Vec::new());
        for number in 0..CONNECTIONS_MAX {
            clients.push(TcpStream::connect(address).await.unwrap());
            let (stream, _, lease) = listener.accept().await;
            let mut stream = BoundedStream::new(stream, lease);
            stream.lifetime().set_asked(number == 0);
            served.push(tokio::spawn(async move { stream.read(&mut [0; 16]).await.map_err(|error| error.kind()) }));
        }
        clients.push(TcpStream::connect(address).await.unwrap());
        let (_stream, _, _lease) = listener.accept().await;
        assert_eq!(served.remove(1).await.unwrap(), Err(io::ErrorKind::TimedOut));
        assert!(served.iter().all(|served| !served.is_finished()));
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_until_another_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = BoundedListener::new(listener, CONNECTIONS_MAX, Duration::from_secs(60));
        let (mut clients, mut accepted) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS_MAX {
            clients.push(TcpStream::connect(address).await.unwrap());
            let (stream, address, lease) = listener.accept().await;
            lease.lifetime.set_asked(true);
            accepted.push((stream, address, lease));
        }
        clients.push(TcpStream::connect(address).await.unwrap());
        tokio::time::timeout(Duration::from_millis(20), listener.accept()).await.unwrap_err();
        accepted.pop();
        listener.accept().await;
    }
}
