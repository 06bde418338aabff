use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::fault::Fault;

/// The connections to one server: at most so many, each for one question at a time.
///
/// A connection is opened by a task of its own, and is not given up when the client that needed it has gone: otherwise clients that come and go
/// could keep the broker opening connections. After one could not be opened, no other is tried for a while, which doubles up to
/// [`PAUSE_MAX`]. Meanwhile questions wait for the connections that there are, and fail at once if there are none.
pub(super) struct Pool<L> {
    connections_max: usize,
    open: Open<L>,
    open_within: Duration,
    state: Mutex<State<L>>,
    changed: Notify,
}

/// Opens a connection.
pub(super) type Open<L> = Box<dyn Fn() -> BoxFuture<'static, Result<L, Fault>> + Send + Sync>;

struct State<L> {
    idle: Vec<L>,
    /// Idle, lent, or being opened.
    count: usize,
    failure: Option<Failure>,
}

/// Why the last connection could not be opened.
struct Failure {
    cause: Fault,
    pause: Duration,
    until: Instant,
}

/// A connection in use. It is closed when this is dropped, unless it is [given back](Self::give_back).
pub(super) struct Lent<L: Link> {
    pool: Arc<Pool<L>>,
    link: Option<L>,
}

/// A connection of the pool.
pub(super) trait Link: Send + 'static {
    /// Whether the server has closed it.
    fn is_closed(&self) -> bool;
}

enum Attempt<L: Link> {
    Lent(Lent<L>),
    Failed(Fault),
    Wait,
}

impl<L: Link> Pool<L> {
    pub(super) fn new(connections_max: usize, open_within: Duration, open: Open<L>) -> Arc<Self> {
        let state = Mutex::new(State { idle: Vec::new(), count: 0, failure: None });
        Arc::new(Self { connections_max, open, open_within, state, changed: Notify::new() })
    }

    /// Waits for a connection. The error is why none can be opened now.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Lent<L>, Fault> {
        loop {
            // Registered before the look at the state, so that no change is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.attempt() {
                Attempt::Lent(lent) => return Ok(lent),
                Attempt::Failed(cause) => return Err(cause),
                Attempt::Wait => changed.await,
            }
        }
    }

    fn attempt(self: &Arc<Self>) -> Attempt<L> {
        let mut state = self.state();
        while let Some(link) = state.idle.pop() {
            if !link.is_closed() {
                return Attempt::Lent(Lent { pool: Arc::clone(self), link: Some(link) });
            }
            state.count -= 1;
        }
        if let Some(failure) = state.failure.as_ref().filter(|failure| Instant::now() < failure.until) {
            return if state.count == 0 { Attempt::Failed(failure.cause.clone()) } else { Attempt::Wait };
        }
        if state.count < self.connections_max {
            state.count += 1;
            let pool = Arc::clone(self);
            tokio::spawn(async move { pool.open().await });
        }
        Attempt::Wait
    }

    async fn open(&self) {
        let opened =
            timeout(self.open_within, (self.open)()).await.unwrap_or_else(|_| Err(Fault::Lost(NOT_IN_TIME.to_owned())));
        let mut state = self.state();
        match opened {
            Ok(link) => {
                state.failure = None;
                state.idle.push(link);
            }
            Err(cause) => {
                state.count -= 1;
                let now = Instant::now();
                // Several attempts that fail at once are one failure.
                let before = state.failure.take();
                let (pause, until) = match before {
                    Some(failure) if now < failure.until => (failure.pause, failure.until),
                    Some(failure) => {
                        let pause = (failure.pause * 2).min(PAUSE_MAX);
                        (pause, now + pause)
                    }
                    None => (PAUSE_MIN, now + PAUSE_MIN),
                };
                state.failure = Some(Failure { cause, pause, until });
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Link> Lent<L> {
    /// The connection.
    pub(super) const fn link(&self) -> Option<&L> {
        self.link.as_ref()
    }

    /// Gives the connection back for the next question.
    pub(super) fn give_back(mut self) {
        if let Some(link) = self.link.take() {
            self.pool.state().idle.push(link);
        }
        // What remains to be done is to wake those who wait.
    }

    /// Closes the connection, and those that are idle: the server has closed one.
    pub(super) fn close_all(self) {
        let mut state = self.pool.state();
        state.count -= state.idle.len();
        state.idle.clear();
    }
}

impl<L: Link> Drop for Lent<L> {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            self.pool.state().count -= 1;
            drop(link);
        }
        self.pool.changed.notify_waiters();
    }
}

impl<L> fmt::Debug for Pool<L> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").field("connections_max", &self.connections_max).finish_non_exhaustive()
    }
}

/// The first pause after a connection could not be opened.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// How long a server that is back may be taken for gone.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const NOT_IN_TIME: &str = "no connection could be opened in time";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Server {
        is_gone: AtomicBool,
        hangs: AtomicBool,
        opened: AtomicUsize,
        attempts: AtomicUsize,
    }

    struct Connection(Arc<Server>);

    impl Link for Connection {
        fn is_closed(&self) -> bool {
            self.0.is_gone.load(Ordering::Relaxed)
        }
    }

    fn pool(connections_max: usize) -> (Arc<Server>, Arc<Pool<Connection>>) {
        let server = Arc::new(Server::default());
        let shared = Arc::clone(&server);
        let open: Open<Connection> = Box::new(move || {
            let server = Arc::clone(&shared);
            Box::pin(async move {
                server.attempts.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
                if server.hangs.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                if server.is_gone.load(Ordering::Relaxed) {
                    return Err(Fault::Lost("gone".to_owned()));
                }
                server.opened.fetch_add(1, Ordering::Relaxed);
                Ok(Connection(server))
            })
        });
        (server, Pool::new(connections_max, Duration::from_millis(100), open))
    }

    #[tokio::test]
    async fn questions_share_connections_and_wait_for_them() {
        let (server, pool) = pool(2);
        let (first, second) = (pool.take().await.unwrap(), pool.take().await.unwrap());
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.take().await.map(Lent::give_back) })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(waiting.iter().all(|task| !task.is_finished()));
        first.give_back();
        for task in waiting {
            task.await.unwrap().unwrap();
        }
        assert_eq!(server.opened.load(Ordering::Relaxed), 2);
        // One that was not given back is replaced.
        drop(second);
        let (_one, _two) = (pool.take().await.unwrap(), pool.take().await.unwrap());
        assert_eq!(server.opened.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_tried_now_and_then_and_found_again() {
        let (server, pool) = pool(4);
        pool.take().await.unwrap().give_back();
        server.is_gone.store(true, Ordering::Relaxed);
        let started = Instant::now();
        let mut refused = 0;
        while started.elapsed() < Duration::from_secs(1) {
            let cause = pool.take().await.err().unwrap();
            assert_eq!(cause, Fault::Lost("gone".to_owned()));
            refused += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let attempts = server.attempts.load(Ordering::Relaxed);
        // One, then after 100, 300, and 700 ms.
        assert!(refused > 20 && (4..=6).contains(&attempts), "{refused} {attempts}");
        server.is_gone.store(false, Ordering::Relaxed);
        let back = Instant::now();
        while pool.take().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(back.elapsed() < PAUSE_MAX);
    }

    #[tokio::test]
    async fn a_server_without_an_answer_fails_for_all_who_wait() {
        let (server, pool) = pool(4);
        server.hangs.store(true, Ordering::Relaxed);
        for _ in 0..2 {
            assert_eq!(pool.take().await.err(), Some(Fault::Lost(NOT_IN_TIME.to_owned())));
        }
    }

    #[tokio::test]
    async fn clients_that_have_gone_neither_use_up_nor_spoil_connections() {
        let (server, pool) = pool(2);
        for _ in 0..100 {
            if let Ok(Ok(lent)) = timeout(Duration::ZERO, pool.take()).await {
                lent.give_back();
            }
        }
        pool.take().await.unwrap().give_back();
        assert!(server.opened.load(Ordering::Relaxed) <= 2);
    }

    #[tokio::test]
    async fn who_waits_gets_a_connection_even_if_no_more_can_be_opened() {
        let (server, pool) = pool(4);
        let lent = pool.take().await.unwrap();
        server.is_gone.store(true, Ordering::Relaxed);
        let waiting = {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move { pool.take().await.is_ok() })
        };
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!waiting.is_finished());
        server.is_gone.store(false, Ordering::Relaxed);
        lent.give_back();
        assert!(waiting.await.unwrap());
    }
}
