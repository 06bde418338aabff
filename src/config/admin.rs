use std::net::{Ipv4Addr, SocketAddr};

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

/// The admin listener, which serves metrics and health over HTTP: `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether the admin listener runs.
    pub enabled: bool,
    /// Address of the admin listener. Not a name or a port alone: it has no authentication, so what it stands for must be plain.
    #[serde(deserialize_with = "ip_and_port")]
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

fn ip_and_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let address = value.as_str().and_then(|text| text.parse().ok());
    address.ok_or_else(|| Error::custom("must be an IP address and a port, such as 127.0.0.1:9883 or [::1]:9883"))
}
