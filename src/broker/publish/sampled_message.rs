use crate::broker::publish::trace_context::TraceContext;
use crate::codec::{ClientId, MessageId, Qos};
use crate::timestamp::Timestamp;

/// A message that was accepted and of which a trace is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledMessage {
    /// Its identity; `None` at QoS 0.
    pub id: Option<MessageId>,
    /// The QoS at which it was published.
    pub qos: Qos,
    /// The Topic Name, of which at most 256 bytes are kept.
    pub topic: String,
    /// The Client Identifier of its publisher; `None`: an operator published it.
    pub client_id: Option<ClientId>,
    /// The bytes of its payload.
    pub bytes: usize,
    /// When it was accepted.
    pub at: Timestamp,
    /// Whether its acknowledgement waits for its record, if it has one.
    pub waits: bool,
    /// The trace that the publisher has begun.
    pub parent: Option<TraceContext>,
}
