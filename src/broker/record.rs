use std::sync::Arc;

use crate::codec::{Message, PacketId, Qos};
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;

/// What has to be on disk before an acknowledgement leaves: one client action, atomic by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An inbound PUBLISH.
    Accepted {
        /// Whose received set gets the Packet Identifier (QoS 2).
        publisher: Option<(SessionKey, PacketId)>,
        /// The message, once.
        message: Arc<Message>,
        /// When it expires.
        expires_at: Option<Timestamp>,
        /// The QoS it was published with, if it becomes the retained message of its topic.
        retained: Option<Qos>,
        /// The durable Sessions that get it, each with its sequence and QoS.
        receivers: Vec<(SessionKey, u64, Qos)>,
    },
}
