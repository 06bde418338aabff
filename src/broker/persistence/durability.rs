//! Durability levels: what an acknowledged message survives, by its topic.

use crate::codec::Qos;
use crate::routing::Route;
use crate::session::Application;
use crate::topic::TopicFilter;

/// What an acknowledged message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Nothing: it is only in memory.
    None,
    /// The end of the process: the operating system has it.
    Crash,
    /// The loss of power: it is on the disk.
    PowerLoss,
}

/// The durability level of the messages of some topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilityRule {
    /// These topics.
    pub topic_filter: TopicFilter,
    /// Their level.
    pub level: Durability,
}

impl Durability {
    /// The name that it has in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crash => "crash",
            Self::PowerLoss => "power-loss",
        }
    }

    /// The level of the record of a message whose topic has this level: the highest where a lower one is not sound.
    ///
    /// The Packet Identifiers of a durable Session follow from its records. If a QoS 2 message went out and its record were
    /// lost, the next message would take its identifier, and a client that still holds it would drop that one as a resend.
    /// And an older retained message must not come back in place of one without a record.
    pub(in crate::broker) fn of_record(self, application: &Application, route: &Route) -> Self {
        if self == Self::PowerLoss {
            return self;
        }
        let is_owed =
            || !route.shares.is_empty() || route.receivers.iter().any(|receiver| receiver.subscriber.is_durable());
        let takes_identifiers = application.qos == Qos::ExactlyOnce && is_owed();
        let replaces_state = self == Self::None && application.retain;
        if takes_identifiers || replaces_state { Self::PowerLoss } else { self }
    }
}
