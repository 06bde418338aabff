use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::stream::{TunnelStream, Tunneled};
use crate::broker::{LinkPeer, LinkRole};
use crate::cluster::tunnel::{Destination, Opening, Refusal, TunnelId};
use crate::routing::CellId;
use crate::server::cells::{Cells, Gate, Place};
use crate::server::clock::Clock;
use crate::server::listener::{Admission, Endpoint, Rate, log_refused};
use crate::server::log::log_cluster;

/// The listeners in force.
pub(in crate::server) type Endpoints = Arc<ArcSwap<Vec<Arc<Endpoint>>>>;

/// Lets the clients of other nodes in, as a listener does: within its limits, and those of the broker.
pub(super) struct Arrivals {
    clock: Clock,
    admission: Arc<Admission>,
    endpoints: Endpoints,
    receiver: Receiver,
    /// Those that wait for the rates. The links bound their number.
    waiting: VecDeque<(Key, Opening, TunnelStream)>,
    rate: Rate,
    /// Those of listeners with a rate of their own.
    rates: HashMap<Arc<str>, Rate>,
    /// The last refusal that was logged.
    logged: Option<String>,
}

/// Who gets them.
pub(super) enum Receiver {
    /// The shards of this server.
    Shards(Gate),
    /// Each the server of its cell; a stream of another node, whoever accepts these.
    Cells(Arc<Cells>, mpsc::Sender<TunnelStream>),
}

impl Receiver {
    fn take_of_node(&self, stream: TunnelStream) -> Result<(), Refusal> {
        match self {
            Self::Shards(_) => Err(Refusal::NotHere),
            Self::Cells(_, of_nodes) => of_nodes.try_send(stream).map_err(|_| Refusal::Limit),
        }
    }
}

/// A link and a tunnel.
type Key = (usize, TunnelId);

impl fmt::Debug for Arrivals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Arrivals").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Arrivals {
    pub(super) fn new((clock, admission): (Clock, Arc<Admission>), endpoints: Endpoints, receiver: Receiver) -> Self {
        let (waiting, rate, rates) = (VecDeque::new(), Rate::default(), HashMap::new());
        Self { clock, admission, endpoints, receiver, waiting, rate, rates, logged: None }
    }

    /// Takes what has come. A link between cells, and a stream of the other node itself, is let in at once, and a client by [`admit`](Self::admit).
    ///
    /// # Errors
    /// The cell of a link is not here, or too many streams of nodes wait.
    pub(super) fn add(&mut self, key: Key, opening: Opening, stream: TunnelStream) -> Result<(), Refusal> {
        let (from, kind) = match opening.to {
            Destination::Link { from, kind, .. } => (from, kind),
            Destination::Node => return self.receiver.take_of_node(stream),
            Destination::Broker | Destination::Cell(_) => {
                self.waiting.push_back((key, opening, stream));
                return Ok(());
            }
        };
        let role = LinkRole::of_number(kind).ok_or(Refusal::Malformed)?;
        let gate = self.gate(opening.to)?;
        // The other node waits for it before it begins, too.
        stream.put(ACCEPTED);
        if gate.admit_link(stream, LinkPeer { cell: CellId(from), role: role.reversed() }) {
            Ok(())
        } else {
            Err(Refusal::NotHere)
        }
    }

    /// The gate of the server for which a tunnel is.
    fn gate(&self, to: Destination) -> Result<Gate, Refusal> {
        match (&self.receiver, to.cell()) {
            (Receiver::Shards(gate), None) => Ok(gate.clone()),
            (Receiver::Cells(cells, _), Some(cell)) => match cells.place(CellId(cell)) {
                Place::Here(gate) => Ok(gate),
                Place::Joining(gate) if matches!(to, Destination::Link { .. }) => Ok(gate),
                Place::Unknown | Place::Node(_) | Place::Joining(_) => Err(Refusal::NotHere),
            },
            (Receiver::Shards(_), Some(_)) => Err(Refusal::NotHere),
            // The other node spreads its clients over no cells.
            (Receiver::Cells(..), None) => Err(Refusal::Malformed),
        }
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

    fn accept(&mut self, opening: Opening, stream: TunnelStream) -> Result<(), Refusal> {
        let gate = self.gate(opening.to)?;
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
        let address = opening.address;
        match gate.admit_other(Tunneled { stream, opening }, endpoint) {
            Ok(()) => Ok(()),
            Err(None) => Err(Refusal::NotHere),
            Err(Some(reason)) => {
                log_refused(&endpoint.name, address, &reason.to_string(), reading.now);
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
/// What the node of the other cell sends first through a link: it has taken it.
pub(super) const ACCEPTED: u8 = 1;
