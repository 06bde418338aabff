//! The threads that attend to a broker that serves: clients don't depend on them.

use std::sync::Arc;

use super::bridges::Bridges;
use super::own_client::OwnClients;
use super::probe::Probe;
use super::sinks::Sinks;
use super::store::marks::LoggedMarks;
use super::telemetry::{Inbox, Telemetry};

/// The broker's own clients and the traces of messages, as far as they are on.
#[derive(Debug, Default)]
pub(super) struct Attendants {
    /// A random number that all nodes of the cluster have; `None`: there is no cluster.
    pub(super) secret: Option<[u8; 16]>,
    /// Opens the connections of the broker's own clients, once there is one.
    pub(super) own_clients: Option<OwnClients>,
    /// Pass messages on between this broker and others.
    pub(super) bridges: Option<Bridges>,
    /// What bridges still have to do, in a cluster.
    pub(super) marks: Arc<LoggedMarks>,
    /// A client of the broker's own, while the broker serves.
    pub(super) probe: Option<Probe>,
    /// Those that send messages to services outside of MQTT, once there is one.
    pub(super) sinks: Option<Sinks>,
    /// Whether the sinks of the configuration were started.
    pub(super) sinks_applied: bool,
    /// Takes the messages of which traces are made.
    pub(super) traces: Arc<Inbox>,
    /// Makes and sends them.
    pub(super) telemetry: Option<Telemetry>,
}
