//! What the rings of a shard contain.

use std::time::Duration;

use crate::broker::counters::DropReason;
use crate::broker::journey::query::JourneyStep;
use crate::broker::journey::texts::Text;
use crate::codec::Qos;
use crate::routing::SessionKey;
use crate::session::{DropCause, QueueStep, Ticket};
use crate::timestamp::Timestamp;

/// A message that was accepted here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) number: u64,
    pub(super) publisher: SessionKey,
    /// Of its record; 0: it has none.
    pub(super) ticket: Ticket,
    pub(super) topic: Text,
    /// The position of the first step that may be its own.
    pub(super) steps: u64,
    pub(super) at: u32,
    /// The slot of its publisher, or [`NO_SLOT`].
    pub(super) slot: u32,
    pub(super) matched: u32,
    pub(super) qos: Qos,
    pub(super) source: Source,
}

/// Who published a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Client,
    Operator,
    Broker,
}

/// A step of a message towards one receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Of the message, if it is the first step of this receiver; otherwise 0.
    pub(super) number: u64,
    pub(super) receiver: SessionKey,
    /// The time in milliseconds, without its upper bits: no entry is as old as that.
    pub(super) at: u32,
    pub(super) slot: u32,
    /// The sequence in the receiver's queue, without its upper bits.
    pub(super) sequence: u32,
    pub(super) run: u8,
    pub(super) kind: JourneyStep,
    pub(super) reason: Option<Reason>,
}

/// The number of a [`DropReason`].
pub(super) type Reason = std::num::NonZeroU8;

/// A commit: all tickets up to this one were stable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commit {
    pub(super) ticket: Ticket,
    pub(super) at: u32,
}

/// The receivers of a message that have steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub(super) number: u64,
    pub(super) noted: u16,
    pub(super) run: u8,
    pub(super) left_out: u32,
}

const _: () = assert!(size_of::<Step>() == 32 && size_of::<Accepted>() <= 64 && size_of::<Count>() == 16);

pub(super) const fn kind_of(step: QueueStep) -> (JourneyStep, Option<Reason>) {
    match step {
        QueueStep::Queued => (JourneyStep::Queued, None),
        QueueStep::Sent => (JourneyStep::Sent, None),
        QueueStep::Resent => (JourneyStep::Resent, None),
        QueueStep::Acknowledged => (JourneyStep::Acknowledged, None),
        QueueStep::Released => (JourneyStep::Released, None),
        QueueStep::Completed => (JourneyStep::Completed, None),
        QueueStep::Refused => (JourneyStep::Refused, None),
        QueueStep::Dropped(cause) => (JourneyStep::Dropped, number_of(reason_of(cause))),
        QueueStep::Unreadable => (JourneyStep::Dropped, number_of(DropReason::Unreadable)),
    }
}

/// The reason of a drop in metrics, the log and journeys.
pub(in crate::broker) const fn reason_of(cause: DropCause) -> DropReason {
    match cause {
        DropCause::QueueFull => DropReason::QueueFull,
        DropCause::NotConnected => DropReason::NotConnected,
        DropCause::Expired => DropReason::Expired,
        DropCause::PacketTooLarge => DropReason::PacketTooLarge,
        DropCause::NotAuthorized => DropReason::NotAuthorized,
    }
}

pub(super) const fn number_of(reason: DropReason) -> Option<Reason> {
    Reason::new(reason as u8 + 1)
}

pub(super) fn reason_from(number: Reason) -> Option<DropReason> {
    DropReason::ALL.get(usize::from(number.get()) - 1).copied()
}

#[expect(clippy::cast_possible_truncation, reason = "the lower bits are enough")]
pub(super) const fn short(number: u64) -> u32 {
    number as u32
}

pub(super) fn slot_number(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(NO_SLOT)
}

/// How long ago an entry was noted.
pub(super) fn age(at: u32, now: Timestamp) -> Duration {
    Duration::from_millis(u64::from(short(now.0).wrapping_sub(at)))
}

/// When an entry was noted.
pub(super) fn time_of(at: u32, now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_sub(u64::from(short(now.0).wrapping_sub(at))))
}

/// The slot of a Session that is on no shard, or on another one.
pub(super) const NO_SLOT: u32 = u32::MAX;
