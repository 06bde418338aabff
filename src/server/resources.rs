//! Fits the settings to what the operating system and the disk have: file descriptors, and the size of segments.

use crate::config::{Config, Durability};
use crate::server::log::log_line;
use crate::server::process;
use crate::server::store::options::segment_bytes;

/// Raises the limit of file descriptors, and lowers the limits of `config` that the process could not keep; the log says which.
/// The server of a cell has no sockets of clients: the front of the process has them.
pub(super) fn fit(config: &mut Config, shards: usize, is_cell: bool) {
    if !is_cell {
        fit_connections(config, process::raise_open_files_max(), shards);
    }
    if config.strongest_durability() != Durability::None {
        fit_packets(config);
    }
}

fn fit_connections(config: &mut Config, files: Option<u64>, shards: usize) {
    let cells = if config.cluster.has_cells() { u64::from(config.cluster.cells) } else { 0 };
    let others = FILES_PER_CELL * cells
        + FILES_PER_BRIDGE * config.bridges.len() as u64
        + FILES_PER_STREAM * config.streams.len() as u64;
    let Some(files) = files.map(|files| files.saturating_sub(others)) else { return };
    let configured = config.limits.connections_max;
    let effective = configured.min(connections_for(files, shards, config.listeners.len()));
    if effective < configured {
        config.limits.connections_max = effective;
        log_line!(
            LimitLowered { setting = "limits.connections_max", configured, effective, reason = "file descriptors" },
            "limits.connections_max is {effective} instead of {configured}: the process may open {files} file descriptors (ulimit -n, LimitNOFILE=)"
        );
    }
}

/// The connections that leave enough of `files` descriptors to everything else, with these numbers of shards and listeners.
pub fn connections_for(files: u64, shards: usize, listeners: usize) -> usize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    let reserve = FILES_RESERVED + FILES_PER_SHARD * shards + FILES_PER_LISTENER * listeners;
    // With very few descriptors, half of them: then the store may have to wait for one.
    files.saturating_sub(reserve).max(files / 2).max(1)
}

/// A message must fit the reserve of the store, beside others that are pending.
fn fit_packets(config: &mut Config) {
    let effective = u32::try_from(segment_bytes(config) / PACKETS_PER_SEGMENT).unwrap_or(u32::MAX);
    let listeners = config.listeners.iter_mut().filter_map(|listener| listener.maximum_packet_size.as_mut());
    let mut highest = 0;
    for size in listeners.chain([&mut config.limits.maximum_packet_size]) {
        highest = highest.max(*size);
        *size = (*size).min(effective);
    }
    if effective < highest {
        let configured = highest;
        log_line!(
            LimitLowered { setting = "limits.maximum_packet_size", configured, effective, reason = "disk" },
            "limits.maximum_packet_size is {effective} bytes instead of {configured}: the disk is small, and the store must have room for a message when the disk is full (server.segment_size)"
        );
    }
}

/// Descriptors for what is not a connection: standard streams, the store with its segments, spare files and readers (25), the admin
/// listener and its connections (56), a backup (6), reloaded files, runtimes and signals.
const FILES_RESERVED: usize = 112;
/// Descriptors for both ends of the connection of a bridge to this broker, the one to the other broker, and a file or a further attempt.
const FILES_PER_BRIDGE: u64 = 4;
/// Descriptors for the lock, the directory and the last segment of a stream, the next segment and index while they are made, and up to 8 segments that are read.
const FILES_PER_STREAM: u64 = 13;
/// Descriptors for the store of a cell (25), copies of it that other nodes make, the runtimes of its node and its server, and its connection to NATS.
const FILES_PER_CELL: u64 = 64;
/// Descriptors for the runtime of a shard.
const FILES_PER_SHARD: usize = 4;
/// A listening socket has a second descriptor for a process that takes over, and a third while it is passed.
const FILES_PER_LISTENER: usize = 3;
/// The largest packet is this part of a segment.
const PACKETS_PER_SEGMENT: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ListenAddress, Listener};

    #[test]
    fn connections_leave_descriptors_to_the_store() {
        assert_eq!(connections_for(1_024, 2, 2), 1_024 - 112 - 8 - 6);
        assert_eq!(connections_for(100, 64, 2), 50);
        assert_eq!(connections_for(0, 1, 1), 1);
        let mut config = Config::default();
        fit_connections(&mut config, None, 1);
        assert_eq!(config.limits.connections_max, Config::default().limits.connections_max);
        fit_connections(&mut config, Some(1_000), 1);
        assert_eq!(config.limits.connections_max, 1_000 - 112 - 4 - 3 * config.listeners.len());
        (config.cluster.node, config.cluster.cells) = (Some("a".to_owned()), 3);
        config.limits.connections_max = 1_000;
        fit_connections(&mut config, Some(1_000), 1);
        assert_eq!(config.limits.connections_max, 1_000 - 3 * 64 - 112 - 4 - 3 * config.listeners.len());
        config.cluster.cells = 1;
        config.limits.connections_max = 1_000;
        config.streams = vec![toml::from_str("name = \"a\"\ntopic = \"a/#\"").unwrap(); 2];
        fit_connections(&mut config, Some(1_000), 1);
        assert_eq!(config.limits.connections_max, 1_000 - 2 * 13 - 112 - 4 - 3 * config.listeners.len());
    }

    #[test]
    fn a_packet_fits_half_a_segment() {
        let mut config = Config::default();
        let mut listener = Listener::new(ListenAddress::Ip("127.0.0.1:0".parse().unwrap()));
        listener.maximum_packet_size = Some(1 << 20);
        config.listeners = vec![listener];
        config.server.segment_size = Some(64 << 20);
        fit_packets(&mut config);
        assert_eq!(config.limits.maximum_packet_size, 16 << 20);
        config.server.segment_size = Some(1 << 20);
        fit_packets(&mut config);
        assert_eq!(config.limits.maximum_packet_size, 512 << 10);
        assert_eq!(config.listeners[0].maximum_packet_size, Some(512 << 10));
    }
}
