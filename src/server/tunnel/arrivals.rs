use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::pipe::{TunnelStream, Tunneled};
use crate::cluster::tunnel::{Opening, Refusal, TunnelId};
use crate::server::clock::Clock;
use crate::server::listener::{Accepted, AcceptedSocket, Admission, Endpoint, Rate, log_refused};
use crate::server::log::log_cluster;
use crate::server::shard::mailbox::{Mailbox, round_robin};

/// The listeners in force.
pub(in crate::server) type Endpoints = Arc<ArcSwap<Vec<Arc<Endpoint>>>>;

/// Lets the clients of other nodes in, as a listener does: within its limits, and those of the broker.
pub(super) struct Arrivals {
    clock: Clock,
    admission: Arc<Admission>,
    endpoints: Endpoints,
    deliver: Box<dyn Fn(Accepted) + Send>,
    /// Those that wait for the rates. The links bound their number.
    waiting: VecDeque<(Key, Bytes, TunnelStream)>,
    rate: Rate,
    /// Those of listeners with a rate of their own.
    rates: HashMap<Arc<str>, Rate>,
    /// The last refusal that was logged.
    logged: Option<String>,
}

/// A link and a tunnel.
type Key = (usize, TunnelId);

impl fmt::Debug for Arrivals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Arrivals").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Arrivals {
    pub(super) fn new(
        (clock, admission): (Clock, Arc<Admission>),
        endpoints: Endpoints,
        mailboxes: Arc<[Mailbox]>,
    ) -> Self {
        let deliver = Box::new(round_robin(mailboxes));
        let (waiting, rate, rates) = (VecDeque::new(), Rate::default(), HashMap::new());
        Self { clock, admission, endpoints, deliver, waiting, rate, rates, logged: None }
    }

    pub(super) fn add(&mut self, key: Key, opening: Bytes, stream: TunnelStream) {
        self.waiting.push_back((key, opening, stream));
    }

    /// How long the first one waits; `None`: there is none.
    pub(super) fn wait(&self) -> Option<Duration> {
        (!self.waiting.is_empty()).then_some(RATE_PERIOD)
    }

    /// Lets in what the rates allow. Returns those that are refused.
    pub(super) fn admit(&mut self) -> Vec<(Key, Refusal)> {
        let mut refused = Vec::new();
        while let Some((_, _, stream)) = self.waiting.front() {
            let reading = self.clock.read();
            // The client has gone meanwhile, or it may come in now.
            if stream.closed().is_none()
                && self.rate.take(reading, self.admission.connections_per_second_max()).is_err()
            {
                break;
            }
            let Some((key, opening, stream)) = self.waiting.pop_front() else { break };
            if stream.closed().is_none()
                && let Err(refusal) = self.accept(opening, stream)
            {
                refused.push((key, refusal));
            }
        }
        refused
    }

    fn accept(&mut self, opening: Bytes, stream: TunnelStream) -> Result<(), Refusal> {
        let opening = Opening::decode(opening).ok_or(Refusal::Malformed)?;
        let endpoints = self.endpoints.load();
        let endpoint = endpoints.iter().find(|endpoint| *endpoint.name == *opening.listener && !endpoint.is_removed());
        let Some(endpoint) = endpoint else {
            self.log_missing(&opening.listener);
            return Err(Refusal::NoListener);
        };
        let reading = self.clock.read();
        if let Some(most) = endpoint.settings().connections_per_second_max {
            self.within_rate(endpoint, most, reading)?;
        }
        let permit = self.admission.admit(endpoint);
        let permit = permit.and_then(|permit| match opening.address {
            Some(address) => permit.of_address(address),
            None => Ok(permit),
        });
        match permit {
            Ok(permit) => {
                let socket = AcceptedSocket::Tunnel(Box::new(Tunneled { stream, opening }));
                let endpoint = Arc::clone(endpoint);
                (self.deliver)(Accepted { socket, endpoint, permit, accepted_at: reading.elapsed });
                Ok(())
            }
            Err(reason) => {
                log_refused(&endpoint.name, opening.address, &reason.to_string(), reading.now);
                Err(Refusal::Limit)
            }
        }
    }

    /// The rate of one listener. What is beyond it is refused, because a client of another listener must not wait for it.
    fn within_rate(
        &mut self,
        endpoint: &Endpoint,
        most: NonZeroU32,
        reading: crate::server::clock::Reading,
    ) -> Result<(), Refusal> {
        // Names of listeners that are not there any more.
        if self.rates.len() > RATES_MAX {
            self.rates.clear();
        }
        let rate = self.rates.entry(Arc::clone(&endpoint.name)).or_default();
        rate.take(reading, most).map_err(|_| Refusal::Limit)
    }

    fn log_missing(&mut self, listener: &str) {
        if self.logged.as_deref() != Some(listener) {
            let text = format!(
                "clients of another node are refused: they are at its listener {listener:?}, and this node has none with this name. All nodes need the same listeners: give each a name"
            );
            log_cluster(true, &text);
            self.logged = Some(listener.to_owned());
        }
    }
}

/// How often the rate of all connections is looked at while some wait.
const RATE_PERIOD: Duration = Duration::from_millis(10);
const RATES_MAX: usize = 1_024;
