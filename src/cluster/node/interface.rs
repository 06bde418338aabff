use std::sync::Arc;

use tokio::sync::oneshot;

use crate::cluster::{ClusterRequest, Owner};
use crate::store::{Home, Options, Replication, Store, StreamTerms};

/// What a node is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The cell whose log it has; 0 if there is one.
    pub cell: u16,
    /// Its name, which no other node of the cell has.
    pub node: String,
    /// Where clients reach it: host and port.
    pub advertise: String,
    /// Where its log is.
    pub home: Home,
    /// How it is opened.
    pub options: Options,
    /// Reads the definitions of its streams.
    pub streams: StreamTerms,
    /// How many nodes must have on their disks what the stream does not have any more, the owner included; with 1, nothing waits for another one.
    pub copies: u8,
}

/// What a node does with the server that the process runs now.
pub enum Command {
    /// A standby runs.
    Standby(StandbyServer),
    /// The broker runs, on this store.
    Serving(BrokerServer),
    /// The broker has ended, and its store is closed.
    Stopped,
    /// A request of an operator.
    Asked(ClusterRequest),
    /// The process ends. The answer comes when the others know that.
    Leave(oneshot::Sender<()>),
}

/// A server that sends clients to the owner.
pub struct StandbyServer {
    /// Sets who the owner is, if it is another node; `None`: it is not known.
    pub announce: Box<dyn Fn(Option<Owner>) + Send>,
    /// Ends it: this node is the owner.
    pub promote: Box<dyn FnOnce() + Send>,
}

/// Ends a broker. Of several calls the first counts, but [`End::Fenced`] counts before all else.
pub type Stop = Arc<dyn Fn(End) + Send + Sync>;

/// What the broker of an owner begins with.
#[derive(Debug)]
pub struct Promotion {
    /// The number of this ownership.
    pub epoch: u64,
    /// What its store needs.
    pub replication: Replication,
}

/// A broker.
pub struct BrokerServer {
    /// Its store.
    pub store: Arc<Store>,
    /// Ends it.
    pub stop: Stop,
}

/// Why a broker is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Another node is the owner, or this one cannot be it any more. Nothing that waits is acknowledged.
    Fenced(String),
    /// The node hands over; clients reach the next owner there, if that is known.
    HandsOver(Option<String>),
}

/// What a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Something has changed.
    News,
    /// Something is wrong.
    Trouble,
}

pub(super) type Log = Box<dyn Fn(Note, &str)>;
