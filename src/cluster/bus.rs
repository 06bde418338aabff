//! What passes frames between nodes, at most once: [`Link`](super::tunnel::Link)s notice what is lost.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::engine::{EngineError, Pending};

/// Passes frames between the nodes of a cluster. All of its calls need a runtime of tokio.
pub trait Bus: Send + Sync + 'static {
    /// Sends a frame, of at most [`FRAME_BYTES_MAX`](super::tunnel::FRAME_BYTES_MAX), to a node. Waits while too many wait already, for at most a second. The
    /// frames to one node arrive in their order, or not at all.
    fn send(&self, node: &str, frame: Bytes) -> Pending<Result<(), EngineError>>;

    /// The frames of other nodes for this one, each with the name of its node, until the receiver is dropped. When too many wait, some are lost.
    fn frames(&self) -> Pending<Result<mpsc::Receiver<(String, Bytes)>, EngineError>>;

    /// Waits until what was sent is with the service, for at most a second.
    fn flush(&self) -> Pending<()>;
}
