//! What is simulated.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use oncemq::broker::{
    AnonymousSessions, DeadLetterLimits, DelayedLimits, Durability, QueueHead, QueueOverflow, ReceiptLimits,
    RedeliveryRules, Settings, UserLimits,
};
use oncemq::codec::Qos;
use oncemq::rewrite::RewriteRules;
use oncemq::routing::ShareStrategy;
use serde::Serialize;

/// A cluster, its load, and what happens to it.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Setup {
    /// Nodes that own cells
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: usize,
    /// Cells, at most 256
    #[arg(long, default_value_t = 6)]
    pub(crate) cells: u16,
    /// Sessions, each with one exact filter of its own
    #[arg(long, default_value_t = 10_000)]
    pub(crate) sessions: u32,
    /// The number of Sessions that publish; by default all
    #[arg(long)]
    pub(crate) publishers: Option<u32>,
    /// Messages per second; 0: each publisher sends when one of its messages in flight has arrived and is acknowledged
    #[arg(long, default_value_t = 1_000.0)]
    pub(crate) rate: f64,
    /// Messages a publisher has in flight
    #[arg(long, default_value_t = 64)]
    pub(crate) window: u32,
    /// QoS of publishing and subscribing
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
    /// Bytes of a payload, at least 16
    #[arg(long, default_value_t = 64)]
    pub(crate) payload: usize,
    /// Seconds of messages
    #[arg(long, default_value_t = 60.0)]
    pub(crate) seconds: f64,
    /// The cells of publishers and subscribers
    #[arg(long, value_enum, default_value_t)]
    pub(crate) placement: Placement,
    /// The nodes that clients connect to
    #[arg(long, value_enum, default_value_t)]
    pub(crate) front: Front,
    /// Groups of a Shared Subscription with four members each; every twentieth publisher publishes to one of them
    #[arg(long, default_value_t = 0)]
    pub(crate) shares: u32,
    /// New subscriptions per second; each ends after a minute
    #[arg(long, default_value_t = 0.0)]
    pub(crate) churn: f64,
    /// Deaths of nodes, one after the other at equal times
    #[arg(long, default_value_t = 0)]
    pub(crate) deaths: u32,
    /// Seconds after which a dead node is back
    #[arg(long, default_value_t = 60.0)]
    pub(crate) back_after: f64,
    /// The longest time in seconds until a client that lost its connection connects again
    #[arg(long, default_value_t = 5.0)]
    pub(crate) reconnect: f64,
    /// Clients that connect to a node in a second at the beginning
    #[arg(long, default_value_t = 5_000.0)]
    pub(crate) connects: f64,
    /// Processors of each machine, which has a node and, of the first three, a server
    #[arg(long, default_value_t = 8)]
    pub(crate) cores: usize,
    /// All nodes and servers are on one machine
    #[arg(long)]
    pub(crate) one_machine: bool,
    /// Copies of each cell's log; 0: one broker without a cluster
    #[arg(long, default_value_t = 3)]
    pub(crate) copies: usize,
    /// The source of all decisions
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A fault of the broker that the ledger must find
    #[arg(long, value_enum)]
    pub(crate) fault: Option<Fault>,
    /// A file with constants instead of those that are built in, in JSON
    #[arg(long)]
    pub(crate) model: Option<PathBuf>,
    /// Write the report to this file, too
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

/// The cells of the clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Placement {
    /// By their identifiers
    #[default]
    Spread,
    /// All in one cell
    SameCell,
    /// Subscribers in another cell of the publishers' node
    OtherCell,
    /// Subscribers in a cell of another node
    OtherNode,
}

/// Where clients connect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Front {
    /// To any node
    #[default]
    Any,
    /// To the owner of their cell
    Owner,
    /// To the node behind the owner of their cell
    Other,
}

/// A fault of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Fault {
    /// Who takes over a cell has nothing of what waits for other cells
    DropLinkQueue,
    /// Who takes over a cell does not know what it has received
    ForgetReceived,
}

impl Setup {
    /// The first sessions, which publish.
    pub(crate) fn publishers(&self) -> u32 {
        self.publishers.unwrap_or(self.sessions).clamp(1, self.sessions.max(1))
    }

    /// The settings of a node of a cluster, as far as they have a meaning here.
    pub(crate) fn settings(&self) -> Settings {
        let many = usize::MAX / 2;
        Settings {
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            receive_maximum: const { NonZeroU16::new(64).unwrap() },
            topic_alias_maximum: 0,
            topic_alias_maximum_outgoing: 0,
            topic_length_max: 1_024,
            topic_levels_max: 16,
            subscriptions_per_session_max: 1_000,
            queued_messages_max: 1_000_000,
            queued_bytes_max: 1 << 30,
            queue_head: Some(QueueHead::default()),
            queue_overflow: QueueOverflow::Reject,
            dead_letter_topic: None,
            redelivery: RedeliveryRules::default(),
            dead_letter_limits: DeadLetterLimits { messages_max: 0, bytes_max: 0, age_max: Duration::ZERO },
            receipts: ReceiptLimits { open_max: 0, per_client_max: 0, age_max: Duration::from_secs(1) },
            deduplication_window: Duration::from_secs(60),
            deduplication_ids_max: 0,
            check_retain_source: false,
            is_replicated: self.copies > 0,
            delayed_publish: false,
            batch_messages_max: 0,
            delayed_limits: DelayedLimits {
                messages_max: 0,
                bytes_max: 0,
                messages_per_client_max: 0,
                bytes_per_client_max: 0,
            },
            inflight_messages_max: const { NonZeroU16::new(100).unwrap() },
            inflight_bytes_max: None,
            outgoing_bytes_max: 16 << 20,
            slow_receiver_grace: Duration::from_secs(2),
            client_messages_per_second_max: None,
            client_bytes_per_second_max: None,
            keep_alive_max: None,
            session_expiry_max: u32::MAX,
            sessions_max: many,
            connect_timeout: Duration::from_secs(10),
            client_id_length_max: 256,
            assigned_client_id_prefix: "auto-".into(),
            anonymous_sessions: AnonymousSessions::End,
            validate_payload_format: true,
            share_strategy: ShareStrategy::RoundRobin,
            response_information: None,
            server_reference: None,
            is_standby: false,
            durability: Durability::PowerLoss,
            durability_rules: Vec::new(),
            exclusive_subscriptions: false,
            rewrite_rules: RewriteRules::default(),
            auto_subscriptions: Vec::new(),
            sys_interval: Duration::ZERO,
            client_events: false,
            listeners: Vec::new(),
            user_limits: UserLimits::default(),
            traced_per_million: None,
            journey_steps_max: 0,
        }
    }
}
