use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::socket::Accepting;
use super::{Accepted, AcceptedSocket, Admission, BoundSocket, Endpoint};
use crate::config::ProxyProtocol;
use crate::server::LogEvent;
use crate::server::clock::{Clock, Reading};
use crate::server::log::{Whom, allows, log_line};

/// The listening sockets of a broker, and what is needed to accept connections at them on any thread.
#[derive(Debug)]
pub(in crate::server) struct Listening {
    pub(in crate::server) clock: Clock,
    /// `limits.connections_per_second_max`.
    pub(in crate::server) connections_per_second_max: NonZeroU32,
    pub(in crate::server) admission: Arc<Admission>,
    pub(in crate::server) sockets: Vec<(Arc<Endpoint>, BoundSocket)>,
    /// Connections that were accepted before, at these or other listeners.
    pub(in crate::server) accepted: Vec<(Arc<Endpoint>, AcceptedSocket)>,
}

impl Listening {
    /// Starts a task of this thread for each socket, which passes the admitted connections to `deliver`. Dropping the set ends the tasks and
    /// closes the sockets.
    pub(in crate::server) fn start(self, deliver: impl Fn(Accepted) + 'static) -> io::Result<JoinSet<()>> {
        let Self { clock, connections_per_second_max, admission, sockets, accepted } = self;
        let rate = RefCell::new(Rate::new(connections_per_second_max));
        let acceptor = Rc::new(Acceptor { clock, admission, deliver: Box::new(deliver), rate });
        let mut tasks = JoinSet::new();
        for (endpoint, socket) in sockets {
            let (acceptor, socket) = (Rc::clone(&acceptor), socket.register()?);
            tasks.spawn_local(async move { acceptor.watch(endpoint, socket).await });
        }
        if !accepted.is_empty() {
            tasks.spawn_local(async move { acceptor.admit_all(accepted).await });
        }
        Ok(tasks)
    }
}

/// Accepts connections at all listeners, within the limits.
struct Acceptor {
    clock: Clock,
    admission: Arc<Admission>,
    deliver: Box<dyn Fn(Accepted)>,
    rate: RefCell<Rate>,
}

impl Acceptor {
    /// Accepts connections at one listener until the future is dropped.
    async fn watch(&self, endpoint: Arc<Endpoint>, socket: Accepting) {
        let mut rate = endpoint.settings.connections_per_second_max.map(Rate::new);
        for accepted in 1_u64.. {
            // Connections beyond the rate wait in the backlog of the operating system.
            self.wait_for(|now| self.rate.borrow_mut().take(now)).await;
            if let Some(rate) = &mut rate {
                let rate = RefCell::new(rate);
                self.wait_for(|now| rate.borrow_mut().take(now)).await;
            }
            match socket.accept().await {
                Ok(socket) => self.admit(socket, &endpoint),
                Err(error) => self.on_error(&endpoint, &error).await,
            }
            if accepted % ACCEPTS_PER_TURN == 0 {
                yield_now().await;
            }
        }
    }

    /// Admits connections that were accepted before, within the rate of all listeners.
    async fn admit_all(&self, accepted: Vec<(Arc<Endpoint>, AcceptedSocket)>) {
        for (number, (endpoint, socket)) in (1_u64..).zip(accepted) {
            self.wait_for(|now| self.rate.borrow_mut().take(now)).await;
            self.admit(socket, &endpoint);
            if number % ACCEPTS_PER_TURN == 0 {
                yield_now().await;
            }
        }
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
                permit.of_address(address.ip())
            }
            (result, _) => result,
        };
        match permit {
            Ok(permit) => (self.deliver)(Accepted { socket, endpoint: Arc::clone(endpoint), permit }),
            Err(refused) => self.on_refused(endpoint, address, &refused.to_string()),
        }
    }

    fn on_refused(&self, endpoint: &Endpoint, address: Option<SocketAddr>, reason: &str) {
        let whom = Whom { client_id: None, address: address.map(|address| address.ip()) };
        if allows(LogEvent::ConnectionClosed, whom, self.clock.read().now) {
            let name = &*endpoint.name;
            let from = address.map(|address| format!(" from {}", address.ip())).unwrap_or_default();
            log_line!(
                ConnectionClosed { address = address.map(tracing::field::display), listener = name, reason },
                "connection{from} at {name} closed: {reason}"
            );
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

/// A token bucket for accepted connections: it holds the tokens of one second.
#[derive(Debug)]
struct Rate {
    per_second: f64,
    allowance: f64,
    /// When the allowance was updated, as the time since the start.
    at: Duration,
}

impl Rate {
    fn new(per_second: NonZeroU32) -> Self {
        let per_second = f64::from(per_second.get());
        Self { per_second, allowance: per_second, at: Duration::ZERO }
    }

    /// Takes one token, or returns how long to wait for it.
    fn take(&mut self, reading: Reading) -> Result<(), Duration> {
        let passed = reading.elapsed.saturating_sub(self.at).as_secs_f64();
        self.at = reading.elapsed;
        self.allowance = (self.allowance + passed * self.per_second).min(self.per_second);
        if self.allowance < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.allowance) / self.per_second));
        }
        self.allowance -= 1.0;
        Ok(())
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
    use crate::timestamp::Timestamp;

    #[test]
    fn a_second_allows_no_more_than_its_rate_and_idle_time_saves_up_one_second() {
        let mut rate = Rate::new(NonZeroU32::new(10).unwrap());
        let mut taken = |ms: u64| {
            let reading = Reading { now: Timestamp(ms), elapsed: Duration::from_millis(ms) };
            (0..1_000).filter(|_| rate.take(reading).is_ok()).count()
        };
        assert_eq!(taken(0), 10);
        assert_eq!(taken(50), 0);
        assert_eq!(taken(100), 1);
        assert_eq!(taken(600), 5);
        assert_eq!(taken(60_000), 10);
    }

    #[test]
    fn after_the_returned_wait_a_token_is_available() {
        let mut rate = Rate::new(NonZeroU32::new(3).unwrap());
        let mut elapsed = Duration::ZERO;
        for _ in 0..100 {
            if let Err(wait) = rate.take(Reading { now: Timestamp(0), elapsed }) {
                elapsed += wait + Duration::from_nanos(1);
                assert!(rate.take(Reading { now: Timestamp(0), elapsed }).is_ok());
            }
        }
        assert!(elapsed >= Duration::from_secs(32), "{elapsed:?}");
    }
}
