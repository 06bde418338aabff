//! Durability levels of messages by topic.

use crate::codec::Qos;
use crate::routing::Route;
use crate::session::Application;
use crate::topic::TopicFilter;

/// The failures that an acknowledged message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// None: it is only in memory.
    None,
    /// A crash of the process: it was written to the operating system.
    Crash,
    /// A loss of power: it was synced to the disk.
    PowerLoss,
}

/// The durability level of the messages of some topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilityRule {
    /// The topics that the rule applies to.
    pub topic_filter: TopicFilter,
    /// The level of their messages.
    pub level: Durability,
}

impl Durability {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crash => "crash",
            Self::PowerLoss => "power-loss",
        }
    }

    /// The level of the record of a message whose topic has this level. It is the highest level where a lower one would violate the protocol.
    ///
    /// The Packet Identifiers of a durable Session are derived from its records. If a QoS 2 message was sent and its record is
    /// lost, the next message gets the same identifier, and a client that still has it discards the next message as a resend.
    /// For a retained message without a record, an older one would be restored.
    /// A reader of a stream remembers the sequence that it has read, so no other message may get it after a crash; and another cell the Packet Identifier of
    /// what it has got, at whatever QoS it was published. `enters_log`: it enters a stream, or the queue for another cell.
    pub(in crate::broker) fn of_record(self, application: &Application, route: &Route, enters_log: bool) -> Self {
        if self == Self::PowerLoss {
            return self;
        }
        let is_owed =
            || !route.shares.is_empty() || route.receivers.iter().any(|receiver| receiver.subscriber.is_durable());
        let takes_identifiers = application.qos == Qos::ExactlyOnce && is_owed();
        let replaces_state = enters_log || self == Self::None && application.retain;
        if takes_identifiers || replaces_state { Self::PowerLoss } else { self }
    }
}
