//! The arguments of scenarios.

use clap::{Args, ValueEnum};

use crate::packet::Protocol;
use crate::placement::Placement;
use crate::transport::Transport;

/// A scenario and its parameters.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScenarioArgs {
    /// What to run
    #[arg(value_enum)]
    pub(crate) scenario: Scenario,
    /// QoS of publishing and subscribing; 1 for `offline`, else 0
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: Option<u8>,
    /// Bytes of a payload, at least 24; 64 KiB for `large`, else 64
    #[arg(long)]
    pub(crate) payload: Option<usize>,
    /// Publishers; 1 for `fan-out` and `retained`, 10 for `large`, 1,000 devices for `mixed`, else 50
    #[arg(long, visible_aliases = ["pairs", "devices"])]
    pub(crate) publishers: Option<usize>,
    /// Subscribers of `fan-out` (1,000) and `stream-replay` (1), members of `shared` (10), sessions of `wildcards` and `subscriptions` (100),
    /// Client Identifiers of `takeovers` (1,000), subscribers of `flood` with a topic each (one for each publisher)
    #[arg(long, visible_alias = "identifiers")]
    pub(crate) subscribers: Option<usize>,
    /// Sessions that receive each message of `offline`; 1 by default. With more, one publisher
    #[arg(long)]
    pub(crate) receivers: Option<usize>,
    /// Messages a publisher has in flight, 1 for one at a time; 20 for `fan-out` and `offline`, 4 for `large`, 1 for
    /// `mixed`, else 64. Of `connects` and `takeovers`, clients that wait for their CONNACK
    #[arg(long)]
    pub(crate) window: Option<usize>,
    /// Filters of `wildcards` (1,000) and `subscriptions` (100,000), topics of `topics` (10,000), `fan-out` (1), `fan-in`
    /// and `shared` (one for each publisher), messages of `retained` (10,000) and `offline` (50,000), connections of
    /// `idle`, `connects` and `takeovers` (10,000), messages of `stream-replay` (200,000) and `parked` (10,000)
    #[arg(long)]
    pub(crate) count: Option<usize>,
    /// Further members of `shared`, with durable sessions, that disconnect before the measurement
    #[arg(long, default_value_t = 0)]
    pub(crate) away: usize,
    /// Messages per second, on a schedule that is independent of the broker, instead of a window
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Subscribe, or connect, with sessions that outlive their connection
    #[arg(long)]
    pub(crate) durable: bool,
    /// Subscribe to this stream of the broker, instead of to the topics themselves
    #[arg(long)]
    pub(crate) stream: Option<String>,
    /// Each subscriber of `fan-out --stream` is the only member of a group of its own
    #[arg(long)]
    pub(crate) groups: bool,
    /// Each message of `offline` asks for a receipt, in MQTT 5.0
    #[arg(long)]
    pub(crate) receipts: bool,
    /// Before each replay of `stream-replay`, drop the stream's files from the page cache, and measure how fast they can be read
    #[arg(long)]
    pub(crate) cold: bool,
    /// The number of messages in each batch; above 1, they are published to `$batch`, at QoS 1 or 2 in MQTT 5.0
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// The version of MQTT
    #[arg(long, value_enum, default_value_t)]
    pub(crate) protocol: Protocol,
    /// The transport that carries MQTT
    #[arg(long, value_enum, default_value_t)]
    pub(crate) transport: Transport,
    /// Where the clients are in a cluster with cells; by default, all connect to the node of the first cell
    #[arg(long, value_enum)]
    pub(crate) placement: Option<Placement>,
    /// Seconds to measure
    #[arg(long, default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// Number of messages to publish and measure, instead of a time
    #[arg(long)]
    pub(crate) messages: Option<u64>,
}

/// The load that a broker is put under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Publishers with a subscriber each
    Pairs,
    /// One publisher, many subscribers
    FanOut,
    /// Many publishers, one subscriber
    FanIn,
    /// Many publishers, one shared subscription
    Shared,
    /// Publishers that go through many topics
    Topics,
    /// Many wildcard filters, topics that match three each
    Wildcards,
    /// Retained messages, replayed to new subscribers
    Retained,
    /// Messages queued for offline sessions, drained when they reconnect
    Offline,
    /// Messages of a stream, replayed to new subscribers
    StreamReplay,
    /// Messages that durable sessions refuse when they come for the first time, and accept when they come again
    Parked,
    /// Publishers at QoS 0 that never wait, each with one or more subscribers to a topic of their own; losses are
    /// counted and permitted
    Flood,
    /// Idle connections
    Idle,
    /// Clients that connect and disconnect
    Connects,
    /// Clients that connect with the identifiers of connected ones
    Takeovers,
    /// Subscriptions that receive no messages
    Subscriptions,
    /// Pairs with large payloads
    Large,
    /// Devices that report telemetry, send events and receive commands
    Mixed,
}

impl ScenarioArgs {
    /// The highest QoS that the scenario uses.
    pub(crate) fn qos_needed(&self) -> u8 {
        let at_least = match self.scenario {
            Scenario::Mixed => 2,
            Scenario::Offline | Scenario::Retained | Scenario::StreamReplay | Scenario::Parked => 1,
            Scenario::Pairs
            | Scenario::FanOut
            | Scenario::FanIn
            | Scenario::Shared
            | Scenario::Topics
            | Scenario::Wildcards
            | Scenario::Flood
            | Scenario::Idle
            | Scenario::Connects
            | Scenario::Takeovers
            | Scenario::Subscriptions
            | Scenario::Large => 0,
        };
        self.qos.unwrap_or(0).max(at_least)
    }

    /// Whether a durable broker stores messages or sessions in this scenario.
    pub(crate) const fn is_stored(&self) -> bool {
        self.durable
            || matches!(self.scenario, Scenario::Offline | Scenario::Mixed | Scenario::StreamReplay | Scenario::Parked)
    }
}
