//! Queries about the journey of a message, and their answers: plain data, in bounded parts.

use crate::broker::counters::DropReason;
use crate::codec::{ClientId, MessageId, Qos};
use crate::routing::SessionKey;
use crate::session::QueuedState;
use crate::timestamp::Timestamp;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JourneyStep {
    /// It waits in the queue of a receiver.
    Queued,
    /// It was sent.
    Sent,
    /// It was sent again, with DUP.
    Resent,
    /// The receiver acknowledged it: PUBACK.
    Acknowledged,
    /// The receiver has it: PUBREC.
    Released,
    /// The receiver completed it: PUBCOMP.
    Completed,
    /// The receiver refused it, with an error in PUBACK or PUBREC.
    Refused,
    /// It was dropped.
    Dropped,
    /// Receivers whose steps are not noted.
    LeftOut,
}

impl JourneyStep {
    /// Its name in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent | Self::Resent => "sent",
            Self::Acknowledged => "acknowledged",
            Self::Released => "released",
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
            Self::LeftOut => "left-out",
        }
    }

    /// Whether nothing follows for its receiver.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Acknowledged | Self::Completed | Self::Refused | Self::Dropped)
    }
}

/// A part of what a shard has noted about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JourneyRequest {
    /// The message.
    pub id: MessageId,
    /// If there are any, the further steps of these receivers, by Session and sequence, at most [`RECEIVERS_ASKED_MAX`]. Otherwise the first
    /// steps of all, which tell them.
    pub receivers: Vec<(SessionKey, u32)>,
    /// 0, or [`JourneyPart::next`] of the part before.
    pub from: u64,
}

/// A part of what a shard has noted about a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JourneyPart {
    /// How it was accepted, if this shard did that and still knows it. In the first part only.
    pub accepted: Option<AcceptedView>,
    /// Steps, the oldest first.
    pub steps: Vec<StepView>,
    /// Receivers whose steps were not noted, because there were too many.
    pub left_out: u64,
    /// Those of the receivers asked for whose Sessions have ended on this shard.
    pub ended: Vec<SessionKey>,
    /// Where to continue; `None`: this was the last part.
    pub next: Option<u64>,
}

/// How a message was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedView {
    /// When.
    pub at: Timestamp,
    /// The Topic Name, of which long ones are cut; `None`: it is not known any more.
    pub topic: Option<String>,
    /// The QoS at which it was published.
    pub qos: Qos,
    /// Who published it.
    pub publisher: PublisherView,
    /// When it was stable.
    pub stable: StableView,
    /// The number of receivers.
    pub matched: u32,
    /// Whether the steps since then are all still known.
    pub is_complete: bool,
}

/// Who published a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublisherView {
    /// A client; `None`: its Session ended, and its name is not known any more.
    Client(Option<ClientId>),
    /// An operator.
    Operator,
    /// The broker itself, as it does with dead letters.
    Broker,
}

/// When the record of a message was stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StableView {
    /// It has no record: no durable Session needs it.
    NoRecord,
    /// It is not stable yet.
    NotYet,
    /// It is stable since then.
    Since(Timestamp),
    /// It is stable, but the time is not known any more.
    Unknown,
}

/// A step of a message towards a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepView {
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub step: JourneyStep,
    /// The Session of the receiver.
    pub receiver: SessionKey,
    /// Its sequence in the queue of the receiver, without the upper bits; 0: it was not in the queue.
    pub sequence: u32,
    /// The Client Identifier of the receiver; `None`: its Session has left this shard, and its name is not known any more.
    pub client_id: Option<ClientId>,
    /// Whether the Session has ended on this shard.
    pub is_ended: bool,
    /// Why, if it was dropped.
    pub reason: Option<DropReason>,
}

/// A part of the Sessions of a shard in whose queues a message is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldersRequest {
    /// The message.
    pub id: MessageId,
    /// The default, or [`HoldersPart::next`] of the part before.
    pub from: QueuePlace,
}

/// A place in the queues of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueuePlace {
    /// The slot of the Session.
    pub slot: u64,
    /// The sequence of the message.
    pub sequence: u64,
}

/// Sessions in whose queues a message is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HoldersPart {
    /// The Sessions.
    pub holders: Vec<HolderView>,
    /// The messages that were read from the store for this part.
    pub read: usize,
    /// Where to continue; `None`: this was the last part.
    pub next: Option<QueuePlace>,
}

/// A Session in whose queue a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderView {
    /// The Session.
    pub key: SessionKey,
    /// Its Client Identifier.
    pub client_id: ClientId,
    /// The sequence of the message in the queue.
    pub sequence: u64,
    /// How far the delivery is.
    pub state: QueuedState,
    /// The Topic Name.
    pub topic: String,
    /// The QoS at which it was published.
    pub qos: Qos,
}

/// The receivers of a [`JourneyRequest`].
pub const RECEIVERS_ASKED_MAX: usize = 1_000;
