//! What is not pure, as constants that were measured.

use serde::{Deserialize, Serialize};

/// CPU times in microseconds, and delays in microseconds. The commands that measure them are in docs/SCALE.md.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Model {
    /// A turn of a shard; and what is added if its thread slept.
    pub(crate) turn: f64,
    pub(crate) wake: f64,
    /// The system calls for a connection with input, or with output, in a turn.
    pub(crate) socket: f64,
    /// A packet of a client in either direction: decode, handle and encode.
    pub(crate) packet: f64,
    /// A record: encode and append.
    pub(crate) record: f64,
    /// A client that connects, with CONNACK.
    pub(crate) connect: f64,
    /// A packet of a link between cells, at each end.
    pub(crate) link_packet: f64,
    /// A turn's bytes for another cell of the same node.
    pub(crate) local_frame: f64,
    /// A turn's bytes for another node: at the two nodes, and at the servers.
    pub(crate) frame_nodes: f64,
    pub(crate) frame_servers: f64,
    /// For each KiB of it, likewise.
    pub(crate) frame_nodes_kib: f64,
    pub(crate) frame_servers_kib: f64,
    /// A commit: at the owner, at the servers together, and at each follower.
    pub(crate) commit_owner: f64,
    pub(crate) commit_servers: f64,
    pub(crate) commit_follower: f64,
    /// For each KiB of it, likewise.
    pub(crate) commit_owner_kib: f64,
    pub(crate) commit_servers_kib: f64,
    pub(crate) commit_follower_kib: f64,
    /// The sync of a disk: a delay.
    pub(crate) sync: f64,
    /// One way between two processes of a machine, and between machines: delays.
    pub(crate) hop: f64,
    /// Connecting until CONNECT is there, with the authentication: a delay.
    pub(crate) connecting: f64,
    /// Until a dead node is noticed, at least and at most: seconds.
    pub(crate) noticed_s: (f64, f64),
    /// Until the cell of a dead node is open again, for each million keys of its log: seconds.
    pub(crate) open_s: f64,
    /// CPU time of an idle process of a node or a server with one cell, per second.
    pub(crate) idle_node: f64,
    pub(crate) idle_server: f64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            turn: 2.0,
            wake: 40.0,
            socket: 3.0,
            packet: 0.2,
            record: 0.4,
            connect: 70.0,
            link_packet: 0.25,
            local_frame: 6.0,
            frame_nodes: 70.0,
            frame_servers: 50.0,
            frame_nodes_kib: 4.0,
            frame_servers_kib: 3.5,
            commit_owner: 100.0,
            commit_servers: 1000.0,
            commit_follower: 60.0,
            commit_owner_kib: 3.0,
            commit_servers_kib: 12.4,
            commit_follower_kib: 3.0,
            sync: 150.0,
            hop: 30.0,
            connecting: 300.0,
            noticed_s: (3.0, 4.0),
            open_s: 0.35,
            idle_node: 7000.0,
            idle_server: 20000.0,
        }
    }
}

/// Microseconds of the model as nanoseconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times of a model are positive and short")]
pub(crate) fn ns(us: f64) -> u64 {
    (us * 1e3) as u64
}

/// Seconds of the model as nanoseconds.
pub(crate) fn seconds(s: f64) -> u64 {
    ns(s * 1e6)
}
