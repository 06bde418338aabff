use std::sync::Arc;

use super::delivery::Delivery;
use super::outcome::Outcome;
use crate::codec::{PacketId, Qos};

/// The number of a request or of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What happens to a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its Session sent a message.
    Arrived(Delivery),
    /// A request was answered, or was not in time.
    Answered(RequestId, Outcome),
    /// A dead letter was acknowledged or refused.
    Buried(RequestId, Stored),
    /// [`Machine::deadline`](super::Machine::deadline) has passed.
    DeadlinePassed,
}

/// Whether a dead letter is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// The broker has acknowledged it.
    Yes,
    /// The broker has refused it, for this reason, which may pass.
    No(Arc<str>),
    /// The broker will not take it, for this reason.
    Never(Arc<str>),
}

/// What the caller must do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a request with these messages, and answer with [`Event::Answered`].
    Send {
        /// Its number.
        id: RequestId,
        /// 1 for the first attempt.
        attempt: u32,
        /// At least one.
        messages: Vec<Arc<Delivery>>,
    },
    /// Publish a dead letter of this message, and answer with [`Event::Buried`].
    Bury {
        /// Its number.
        id: RequestId,
        /// The message.
        message: Arc<Delivery>,
        /// Why it is one.
        reason: Arc<str>,
    },
    /// Acknowledge a message to the Session: PUBACK at QoS 1, PUBREC at QoS 2.
    Acknowledge(PacketId, Qos),
    /// Say that a message is lost: it was neither taken nor became a dead letter.
    Dropped {
        /// The message.
        message: Arc<Delivery>,
        /// Why.
        reason: Arc<str>,
    },
}
