use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::socket::Accepting;
use super::{Accepted, AcceptedSocket, Admission, Endpoint, ListeningSocket};
use crate::config::ProxyProtocol;
use crate::server::LogEvent;
use crate::server::clock::{Clock, Reading};
use crate::server::log::{Whom, allows, log_line};
use crate::timestamp::Timestamp;

/// Accepts connections at listeners on one thread. Dropping it ends the tasks and closes the sockets.
#[derive(Debug)]
pub(in crate::server) struct Acceptor {
    shared: Rc<Shared>,
    tasks: JoinSet<()>,
}

/// Connections that were accepted before the broker could serve them, each with its listener.
pub(in crate::server) type Early = Vec<(Arc<Endpoint>, AcceptedSocket)>;

/// What the tasks of an [`Acceptor`] share.
struct Shared {
    clock: Clock,
    admission: Arc<Admission>,
    deliver: Box<dyn Fn(Accepted)>,
    rate: RefCell<Rate>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Passes the admitted connections to `deliver`.
    pub(in crate::server) fn new(
        clock: Clock,
        admission: Arc<Admission>,
        deliver: impl Fn(Accepted) + 'static,
    ) -> Self {
        let rate = RefCell::default();
        let shared = Rc::new(Shared { clock, admission, deliver: Box::new(deliver), rate });
        Self { shared, tasks: JoinSet::new() }
    }

    /// Starts a task of this thread for each socket, which ends when its listener is closed. After an error, none was started. `accepted` are
    /// connections that were accepted before, at these or other listeners.
    pub(in crate::server) fn listen(&mut self, sockets: Vec<ListeningSocket>, accepted: Early) -> io::Result<()> {
        while self.tasks.try_join_next().is_some() {} // those of listeners that were closed
        let register = |ListeningSocket { endpoint, socket }| {
            // One that was closed meanwhile has no listener any more.
            let current = endpoint.borrow().clone();
            current.map(|current| Ok((endpoint, socket.register(&current)?))).transpose()
        };
        let registered = sockets.into_iter().filter_map(|socket| register(socket).transpose());
        let registered = registered.collect::<io::Result<Vec<_>>>()?;
        for (endpoint, socket) in registered {
            let shared = Rc::clone(&self.shared);
            self.tasks.spawn_local(async move { shared.watch(endpoint, socket).await });
        }
        if !accepted.is_empty() {
            let shared = Rc::clone(&self.shared);
            self.tasks.spawn_local(async move { shared.admit_all(accepted).await });
        }
        Ok(())
    }
}

impl Shared {
    /// Accepts connections at one socket until its listener is closed. Each change of the listener's settings applies to the connections that
    /// are accepted after it.
    async fn watch(&self, mut current: watch::Receiver<Option<Arc<Endpoint>>>, socket: Accepting) {
        let Some(mut endpoint) = current.borrow_and_update().clone() else { return };
        let mut rate = Rate::default();
        for accepted in 1_u64.. {
            select! {
                biased;
                changed = current.changed() => {
                    let next = changed.ok().and_then(|()| current.borrow_and_update().clone());
                    let Some(next) = next else { return };
                    socket.set_write_timeout(next.write_timeout);
                    endpoint = next;
                }
                result = self.accept(&endpoint, &mut rate, &socket) => match result {
                    Ok(socket) => self.admit(socket, &endpoint),
                    Err(error) => self.on_error(&endpoint, &error).await,
                },
            }
            if accepted % ACCEPTS_PER_TURN == 0 {
                yield_now().await;
            }
        }
    }

    /// The next connection, within the rates: those beyond them wait in the backlog of the operating system.
    async fn accept(&self, endpoint: &Endpoint, rate: &mut Rate, socket: &Accepting) -> io::Result<AcceptedSocket> {
        self.wait_for_rate().await;
        if let Some(maximum) = endpoint.settings.connections_per_second_max {
            let rate = RefCell::new(rate);
            self.wait_for(|now| rate.borrow_mut().take(now, maximum)).await;
        }
        socket.accept().await
    }

    /// Admits connections that were accepted before, within the rate of all listeners.
    async fn admit_all(&self, accepted: Early) {
        for (number, (endpoint, socket)) in (1_u64..).zip(accepted) {
            self.wait_for_rate().await;
            self.admit(socket, &endpoint);
            if number % ACCEPTS_PER_TURN == 0 {
                yield_now().await;
            }
        }
    }

    /// Waits until the rate of all listeners allows a connection.
    async fn wait_for_rate(&self) {
        let maximum = || self.admission.connections_per_second_max();
        self.wait_for(|now| self.rate.borrow_mut().take(now, maximum())).await;
    }

    async fn wait_for(&self, take: impl Fn(Reading) -> Result<(), Duration>) {
        while let Err(wait) = take(self.clock.read()) {
            sleep(wait).await;
        }
    }

    fn admit(&self, socket: AcceptedSocket, endpoint: &Arc<Endpoint>) {
        let address = socket.address();
        let permit = match (self.admission.admit(endpoint), address) {
            // Behind a proxy the client's address is counted when the PROXY header or the HTTP request has been read.
            (Ok(permit), Some(address))
                if endpoint.settings.proxy_protocol == ProxyProtocol::Off && !endpoint.is_web_proxy(address.ip()) =>
            {
                permit.of_address(address)
            }
            (result, _) => result,
        };
        match permit {
            Ok(permit) => {
                let accepted_at = self.clock.read().elapsed;
                (self.deliver)(Accepted { socket, endpoint: Arc::clone(endpoint), permit, accepted_at });
            }
            Err(refused) => {
                log_refused(&endpoint.name, address, &refused.to_string(), self.clock.read().now);
            }
        }
    }

    async fn on_error(&self, endpoint: &Endpoint, error: &io::Error) {
        // The client closed the connection before it was accepted.
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        self.admission.accept_failed();
        if allows(LogEvent::AcceptFailed, Whom::default(), self.clock.read().now) {
            let (name, reason) = (&*endpoint.name, error.to_string());
            log_line!(AcceptFailed { listener = name, reason = &*reason }, "cannot accept connections at {name}: {reason}");
        }
        sleep(ERROR_PAUSE).await;
    }
}

/// Logs that a connection at a listener was refused before it was served.
pub(in crate::server) fn log_refused(name: &str, address: Option<SocketAddr>, reason: &str, now: Timestamp) {
    let whom = Whom { client_id: None, address: address.map(|address| address.ip()) };
    if allows(LogEvent::ConnectionClosed, whom, now) {
        let from = address.map(|address| format!(" from {}", address.ip())).unwrap_or_default();
        log_line!(
            ConnectionClosed { address = address.map(tracing::field::display), listener = name, reason },
            "connection{from} at {name} closed: {reason}"
        );
    }
}

/// A token bucket for accepted connections: it holds the tokens of one second.
#[derive(Debug, Default)]
pub(in crate::server) struct Rate {
    /// `None`: full.
    allowance: Option<f64>,
    /// When the allowance was updated, as the time since the start.
    at: Duration,
}

impl Rate {
    /// Takes one token, or returns how long to wait for it.
    pub(in crate::server) fn take(&mut self, reading: Reading, per_second: NonZeroU32) -> Result<(), Duration> {
        let per_second = f64::from(per_second.get());
        let passed = reading.elapsed.saturating_sub(self.at).as_secs_f64();
        self.at = reading.elapsed;
        let before = self.allowance.unwrap_or(per_second);
        let allowance = (before + passed * per_second).min(per_second);
        let taken = if allowance < 1.0 { 0.0 } else { 1.0 };
        self.allowance = Some(allowance - taken);
        if taken > 0.0 { Ok(()) } else { Err(Duration::from_secs_f64((1.0 - allowance) / per_second)) }
    }
}

/// After this number of accepted connections, the task yields to the tasks of these connections. So the first clients of a burst are served
/// while others still connect.
const ACCEPTS_PER_TURN: u64 = 4;
/// Pause after a failed accept(2), most often because the process has no file descriptors left. A retry without pause would use a whole
/// core.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_allows_no_more_than_its_rate_and_idle_time_saves_up_one_second() {
        let mut rate = Rate::default();
        let per_second = NonZeroU32::new(10).unwrap();
        let mut taken = |ms: u64| {
            let reading = Reading { now: Timestamp(ms), elapsed: Duration::from_millis(ms) };
            (0..1_000).filter(|_| rate.take(reading, per_second).is_ok()).count()
        };
        assert_eq!(taken(0), 10);
        assert_eq!(taken(50), 0);
        assert_eq!(taken(100), 1);
        assert_eq!(taken(600), 5);
        assert_eq!(taken(60_000), 10);
    }

    #[test]
    fn a_changed_rate_applies_to_the_next_token() {
        let (mut rate, one, many) = (Rate::default(), NonZeroU32::MIN, NonZeroU32::new(1_000).unwrap());
        let at = |ms: u64| Reading { now: Timestamp(ms), elapsed: Duration::from_millis(ms) };
        rate.take(at(0), one).unwrap();
        assert!(rate.take(at(1), one).unwrap_err() > Duration::from_millis(900));
        assert_eq!((0..1_000).filter(|_| rate.take(at(101), many).is_ok()).count(), 100);
        assert_eq!((0..1_000).filter(|_| rate.take(at(5_000), one).is_ok()).count(), 1, "what was saved up is lost");
    }

    #[test]
    fn after_the_returned_wait_a_token_is_available() {
        let (mut rate, per_second) = (Rate::default(), NonZeroU32::new(3).unwrap());
        let mut elapsed = Duration::ZERO;
        for _ in 0..100 {
            if let Err(wait) = rate.take(Reading { now: Timestamp(0), elapsed }, per_second) {
                elapsed += wait + Duration::from_nanos(1);
                assert!(rate.take(Reading { now: Timestamp(0), elapsed }, per_second).is_ok());
            }
        }
        assert!(elapsed >= Duration::from_secs(32), "{elapsed:?}");
    }
}
