//! Queries about the next steps of some messages, and their answers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::broker::journey::query::{AcceptedView, StepView};
use crate::codec::MessageId;
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;

/// A place in the queue of a Session, without the upper bits of the sequence.
pub type TailPlace = (SessionKey, u32);

/// Asks a shard for the steps of some messages, and how it has accepted others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailRequest {
    /// The messages whose first steps are wanted, of this run of the broker.
    pub messages: Arc<HashSet<MessageId, RandomState>>,
    /// The places whose further steps are wanted, with their messages.
    pub places: Arc<HashMap<TailPlace, MessageId, RandomState>>,
    /// [`TailPart::next`] of the part before; `None`: the first step that was noted at `since` or later.
    pub from: Option<u64>,
    /// See `from`.
    pub since: Timestamp,
    /// Later steps are left for the next request.
    pub until: Timestamp,
    /// Messages that this shard has accepted, at most [`ACCEPTED_ASKED_MAX`].
    pub accepted: Vec<MessageId>,
}

/// A part of the steps, in the order in which they were noted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TailPart {
    /// Each step, with its message if it is the first one of its receiver.
    pub steps: Vec<(Option<MessageId>, StepView)>,
    /// How the messages asked for were accepted; those that are not known any more are missing.
    pub accepted: Vec<(MessageId, AcceptedView)>,
    /// Where to continue.
    pub next: u64,
    /// Whether there are more until the requested time.
    pub has_more: bool,
}

/// The messages of one request about which a shard tells how it has accepted them.
pub const ACCEPTED_ASKED_MAX: usize = 512;
