/// The tunnels of a node of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunnelFigures {
    /// Open tunnels: clients whose sockets are here and that another node serves, or the reverse.
    pub open: u64,
    /// Tunnels since the start.
    pub opened: u64,
    /// Links to other nodes that carry tunnels.
    pub links: u64,
    /// Of these, links over a connection of both nodes, and not over NATS.
    pub direct: u64,
    /// Links that were closed since the start, with all their tunnels.
    pub links_closed: u64,
    /// Bytes of clients that were sent to other nodes.
    pub bytes_sent: u64,
    /// Bytes of clients that came from other nodes.
    pub bytes_received: u64,
    /// Frames that were sent, with or without bytes of clients.
    pub frames_sent: u64,
}
