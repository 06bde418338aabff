use std::net::{Ipv4Addr, SocketAddr};

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::value::text_list;

/// Metrics, health and the API, over HTTP: `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Whether the admin listener runs.
    pub enabled: bool,
    /// Address of the admin listener. Not a name or a port alone: it has no authentication, so what it stands for must be plain.
    #[serde(deserialize_with = "ip_and_port")]
    pub address: SocketAddr,
    /// Names in the Host header of requests that are answered, beside `localhost` and all IP addresses.
    #[serde(deserialize_with = "names")]
    pub allowed_hosts: Vec<String>,
    /// Whether the broker refuses to start if it can't listen at this address. Otherwise it logs a warning and runs
    /// without.
    pub required: bool,
    /// Whether `admin.sock` in the data directory serves the API to the user of the broker and root, without a token.
    pub socket: bool,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            // Operators need metrics and health checks.
            enabled: true,
            // Loopback, because there is no authentication. The port is 1883 moved into the range of Prometheus
            // exporters.
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9883)),
            // A website can give its own name to this machine's address, but not to an address alone (DNS rebinding).
            allowed_hosts: Vec::new(),
            // A second broker on the same machine should still serve its clients.
            required: false,
            // The command line needs it. Who can open it can read and replace the store as well.
            socket: true,
        }
    }
}

impl Admin {
    /// Checks what the types do not express.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let is_name = |name: &String| {
            let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_of_name)
        };
        let mut problems = Vec::new();
        if !self.allowed_hosts.iter().all(is_name) {
            problems.push(Problem::new("admin.allowed_hosts", "must be names of hosts, without a port"));
        }
        if self.allowed_hosts.len() > NAMES_MAX {
            problems.push(Problem::new("admin.allowed_hosts", &format!("must be at most {NAMES_MAX} names")));
        }
        problems
    }
}

/// The longest name of a host in the Domain Name System.
const NAME_BYTES_MAX: usize = 253;
const NAMES_MAX: usize = 64;

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    text_list(deserializer, "a list of names such as [\"broker\"]")
}

fn ip_and_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let address = value.as_str().and_then(|text| text.parse().ok());
    address.ok_or_else(|| Error::custom("must be an IP address and a port, such as 127.0.0.1:9883 or [::1]:9883"))
}
