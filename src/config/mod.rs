//! The configuration: one plain-data type for each section of the file, with its defaults and the reasons for them.
//!
//! The precedence is: command-line flag, environment variable, file, default. [`load()`] merges them and records the
//! origin of each value.

mod admin;
mod arguments;
mod auth;
mod auth_settings;
mod bans;
mod bridge_address;
mod bridge_exposure;
mod bridges;
mod client_identity;
mod cluster;
mod cluster_exposure;
mod differences;
mod durability_rules;
mod effective;
mod environment;
mod error;
mod exposure;
mod foreign;
mod limits;
mod listen_address;
mod listener_identity;
mod listener_protocol;
mod listener_web;
mod listeners;
mod load;
mod locate;
mod log;
mod log_format;
mod mount_points;
mod mqtt;
mod nats_address;
mod nearest;
mod network;
mod origin;
mod postgresql;
mod probe;
mod problem;
mod protocol;
mod proxy_tls;
mod receipts;
mod redelivery;
mod role;
mod schema;
mod security;
mod server;
mod service_url;
mod show;
mod sinks;
mod socket_mode;
mod streams;
mod telemetry;
mod tls;
mod tls_handshake;
mod topics;
mod transport;
mod user_limits;
mod validate;
mod value;

use serde::{Deserialize, Serialize};

pub use admin::Admin;
pub use arguments::{Arguments, DataArguments, LocationArguments};
pub use auth::{Provider, ProviderKind, TokenAlgorithm, TokenFrom};
pub use bans::Bans;
pub use bridge_address::{BridgeAddress, BridgeAddressError};
pub use bridges::{AddressOrder, Bridge, BridgeDirection, BridgeProtocol, BridgeRetain, BridgeStart, BridgeTopic};
pub use client_identity::{CertificateIdentity, ClientIdRule};
pub use cluster::{Cluster, Front};
pub use durability_rules::DurabilityRule;
pub use effective::{Setting, Source};
pub use error::ConfigError;
pub use limits::{Limits, QueueOverflow};
pub use listen_address::{AddressError, ListenAddress};
pub use listeners::{ClientCertificate, Listener, ProxyProtocol, ProxyTls, Tls, WebSocketSubprotocol};
pub use load::{Loaded, data_override, load, load_file, load_text};
pub use log::{Log, LogFormat, LogLevel};
pub use log_format::early_log_format;
pub use mount_points::{MountTemplate, Unfillable, UserMountPoint};
pub use mqtt::{AfterUnknownTime, Mqtt, SharedSubscriptionStrategy};
pub use nats_address::{NatsAddress, NatsAddressError};
pub use network::{Network, NetworkError};
pub use origin::Origin;
pub use postgresql::{Database, Place, Placeholder, Query};
pub use probe::Probe;
pub use problem::Problem;
pub use protocol::{AcceptedVersion, MaximumQos};
pub use receipts::Receipts;
pub use redelivery::Redelivery;
pub use role::{Role, UnknownRole};
pub use security::{AllowAnonymous, AnonymousSessions, OnPasswordChange, Security};
pub use server::{Durability, Server, UnlistedStreams};
pub use service_url::ServiceUrl;
pub use sinks::{Sink, SinkKind, SinkOrder};
pub use socket_mode::SocketMode;
pub use streams::{GroupDispatch, Stream, StreamKey, TrimmedOffset};
pub use telemetry::{SamplingRatio, Telemetry, read_headers, traces_url};
pub use tls::{CertificateDates, CipherSuite, CrlCheck, ExpiredCrl, NamedCertificate, TlsVersion};
pub use topics::{AutoSubscribe, RewriteAction, TopicRewrite};
pub use transport::Transport;
pub use user_limits::UserLimit;

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The process.
    pub server: Server,
    /// Durability levels that override `server.durability` for some topics.
    pub durability_rules: Vec<DurabilityRule>,
    /// Addresses where clients connect. Listeners of a file or a flag replace the default ones.
    pub listeners: Vec<Listener>,
    /// Authentication and authorization.
    pub security: Security,
    /// Who authenticates clients, in order. Without any: certificates, then `security.password_file`.
    pub auth: Vec<Provider>,
    /// MQTT features, and choices that the standard leaves to the server.
    pub mqtt: Mqtt,
    /// Rules that replace topics.
    pub topic_rewrite: Vec<TopicRewrite>,
    /// Subscriptions that clients get when they connect.
    pub auto_subscribe: Vec<AutoSubscribe>,
    /// Topics whose messages are kept in order.
    pub streams: Vec<Stream>,
    /// Which refused messages are sent again.
    pub redelivery: Vec<Redelivery>,
    /// Messages that tell what became of others.
    pub receipts: Receipts,
    /// Limits that apply to all clients.
    pub limits: Limits,
    /// Limits of the clients of some users.
    pub user_limits: Vec<UserLimit>,
    /// Clients that are slowed down or banned for a time.
    pub bans: Bans,
    /// A client of the broker's own that publishes to itself.
    pub probe: Probe,
    /// Services outside of MQTT that messages are sent on to.
    pub sinks: Vec<Sink>,
    /// Connections to other brokers that pass messages on.
    pub bridges: Vec<Bridge>,
    /// Several nodes with one log, of which one serves clients.
    pub cluster: Cluster,
    /// Traces of messages for an OpenTelemetry collector.
    pub telemetry: Telemetry,
    /// The log on standard error.
    pub log: Log,
    /// The admin listener.
    pub admin: Admin,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server::default(),
            durability_rules: Vec::new(),
            listeners: listeners::default_listeners(),
            security: Security::default(),
            auth: Vec::new(),
            mqtt: Mqtt::default(),
            topic_rewrite: Vec::new(),
            auto_subscribe: Vec::new(),
            streams: Vec::new(),
            redelivery: Vec::new(),
            receipts: Receipts::default(),
            limits: Limits::default(),
            user_limits: Vec::new(),
            bans: Bans::default(),
            probe: Probe::default(),
            sinks: Vec::new(),
            bridges: Vec::new(),
            cluster: Cluster::default(),
            telemetry: Telemetry::default(),
            log: Log::default(),
            admin: Admin::default(),
        }
    }
}

impl Config {
    /// Whether the listeners are those of a configuration without any.
    pub fn has_default_listeners(&self) -> bool {
        self.listeners == listeners::default_listeners()
    }

    /// The names of the providers that verify users.
    pub fn provider_names(&self) -> Vec<String> {
        let mut names: Vec<_> = match self.auth.is_empty() {
            true => [ProviderKind::PasswordFile, ProviderKind::Certificate].map(ProviderKind::default_name).into(),
            false => self.auth.iter().map(Provider::label).collect(),
        };
        let own: Vec<_> = self.listeners.iter().filter_map(Listener::own_provider).collect();
        names.extend(own.iter().map(Provider::label));
        names.into_iter().map(str::to_owned).collect()
    }

    /// The level of the store: the strongest level of any message.
    pub fn strongest_durability(&self) -> Durability {
        let rules = self.durability_rules.iter().map(|rule| rule.level);
        rules.fold(self.server.durability, Durability::min)
    }
}

#[cfg(test)]
mod tests;
