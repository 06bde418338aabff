//! What passes frames between nodes, at most once: [`Link`](super::tunnel::Link)s notice what is lost.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::engine::{EngineError, Pending};

/// Passes frames between the nodes of a cluster. All of its calls need a runtime of tokio.
pub trait Bus: Send + Sync + 'static {
    /// The way that a link to a node begins with. `None`: that is being found out, which takes at most two seconds.
    fn way_to(&self, _node: &str) -> Option<Way> {
        Some(Way::Service)
    }

    /// Sends a frame, of at most [`FRAME_BYTES_MAX`](super::tunnel::FRAME_BYTES_MAX), to a node. Waits while too many wait already, for at most a second. The
    /// frames that go one way to one node arrive in their order, or not at all.
    fn send(&self, node: &str, way: Way, frame: Bytes) -> Pending<Result<(), EngineError>>;

    /// The frames of other nodes for this one, until the receiver is dropped. When too many wait, some are lost.
    fn frames(&self) -> Pending<Result<mpsc::Receiver<Arrived>, EngineError>>;

    /// The link that went this way is closed: if it was a connection of its own, that ends when what was sent is with the other node.
    fn leave(&self, _way: Way) {}

    /// Waits until what was sent is with the service, or with the kernel, for at most a second.
    fn flush(&self) -> Pending<()>;
}

/// How a frame gets to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By what connects all nodes.
    Service,
    /// By a connection between both nodes, which has this number.
    Direct(u64),
}

/// A frame that has come.
#[derive(Debug)]
pub struct Arrived {
    /// The node that has sent it.
    pub node: String,
    /// How it came, which is how the answer goes.
    pub way: Way,
    /// Its bytes.
    pub frame: Bytes,
}
