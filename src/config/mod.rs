//! The configuration: one type for each section of the file, plain data, each default in one place with its reason.
//!
//! What counts is, in this order: a flag, a variable of the environment, the file, the default. [`load()`] puts the layers
//! together and remembers where each value came from.

mod admin;
mod arguments;
mod durability_rules;
mod environment;
mod error;
mod limits;
mod listeners;
mod load;
mod locate;
mod log;
mod mqtt;
mod nearest;
mod origin;
mod problem;
mod schema;
mod security;
mod server;
mod show;
mod validate;
mod value;

use serde::{Deserialize, Serialize};

pub use admin::Admin;
pub use arguments::{Arguments, DataArguments};
pub use durability_rules::DurabilityRule;
pub use error::ConfigError;
pub use limits::{Limits, QueueOverflow};
pub use listeners::{AddressError, ClientCertificate, ListenAddress, Listener, ProxyProtocol, Tls, Transport};
pub use load::{Loaded, load, load_file};
pub use log::{Log, LogFormat, LogLevel};
pub use mqtt::{Mqtt, SharedSubscriptionStrategy};
pub use origin::Origin;
pub use problem::Problem;
pub use security::{AllowAnonymous, Security};
pub use server::{Durability, Server};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process itself.
    pub server: Server,
    /// What messages of some topics survive instead of `server.durability`.
    pub durability_rules: Vec<DurabilityRule>,
    /// Where clients connect. Those of a file or a flag replace the default ones.
    pub listeners: Vec<Listener>,
    /// Who may connect, and what they may do.
    pub security: Security,
    /// What the broker offers of MQTT.
    pub mqtt: Mqtt,
    /// Limits every client is held to.
    pub limits: Limits,
    /// What is written while running.
    pub log: Log,
    /// Metrics and health.
    pub admin: Admin,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            durability_rules: Vec::new(),
            listeners: listeners::default_listeners(),
            security: Security::default(),
            mqtt: Mqtt::default(),
            limits: Limits::default(),
            log: Log::default(),
            admin: Admin::default(),
        }
    }
}

impl Config {
    /// The level that the store must have: the strongest that any message may have.
    pub fn strongest_durability(&self) -> Durability {
        let rules = self.durability_rules.iter().map(|rule| rule.level);
        rules.fold(self.server.durability, Durability::min)
    }
}

#[cfg(test)]
mod tests;
