use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The admin listener, which serves metrics and health over HTTP: `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether the admin listener runs.
    pub enabled: bool,
    /// Address of the admin listener.
    pub address: SocketAddr,
    /// Whether the broker refuses to start if it can't listen at this address. Otherwise it logs a warning and runs
    /// without.
    pub required: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            // Operators need metrics and health checks.
            enabled: true,
            // Loopback, because there is no authentication. The port is 1883 moved into the range of Prometheus
            // exporters.
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9883)),
            // A second broker on the same machine should still serve its clients.
            required: false,
        }
    }
}
