use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Metrics and health over HTTP, on a listener of their own: `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether it is there.
    pub enabled: bool,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether the broker refuses to start when that address can't be had; otherwise it starts without, with a warning.
    pub required: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            // What can't be watched can't be run.
            enabled: true,
            // Loopback: it asks for no password. The port is MQTT's 1883 moved among those of Prometheus exporters.
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9883)),
            // A second broker on one machine should serve its clients.
            required: false,
        }
    }
}
