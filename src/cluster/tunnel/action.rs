use bytes::Bytes;

use super::TunnelId;
use super::frame::Refusal;

/// Which end of a link a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The sockets of clients are here. It begins the link, and opens tunnels.
    Front,
    /// The clients are served here.
    Owner,
}

/// What the caller is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The link carries tunnels.
    Up,
    /// All tunnels are closed, for this reason. A front begins anew by itself.
    Down(&'static str),
    /// A client has connected at the other node.
    Opened(TunnelId, Bytes),
    /// Bytes for the tunnel's reader, which `Link::consumed` counts when it has taken them.
    Received(TunnelId, Bytes),
    /// The tunnel can take this number of further bytes.
    Room(TunnelId, usize),
    /// The other node sends no more bytes.
    Finished(TunnelId),
    /// The other node has no more to do with the tunnel. It is forgotten.
    Closed(TunnelId, Option<Refusal>),
}
