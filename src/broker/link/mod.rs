//! Links: the messages of one cell to another, exactly once and in order.
//!
//! The record of a message has an outbox key for each other cell that is interested in it, with its number in the *link* to that cell: 1, 2, 3, … in the
//! order of the log. The [`LinkSender`] sends what is stable, and its owner deletes the keys that the destination has confirmed. The [`LinkReceiver`] accepts
//! each number once: the record that the message makes there has the number, too, so the effect and the number are in the log together or not at all.
//!
//! | event | what follows |
//! | --- | --- |
//! | either cell gets another owner, or starts again | the sender asks how far the receiver is, and goes on behind that; what comes twice is dropped by its number |
//! | a frame is lost, late, repeated or out of order | the receiver takes what follows what it has; without an answer, the sender asks |
//! | the source lost acknowledged records (a person accepted this) | its link has a higher *incarnation*, and its numbers start anew |
//! | a former owner of the destination answers | its epoch is lower than that of the announcement before which no SUBACK was sent; the answer has no effect |
//!
//! A message that makes no record at the destination, because no durable Session there wants it any more, is confirmed without one. So a receiver that
//! starts again may know a lower number than it had confirmed; the sender tells it which ones were.

mod receiver;
mod sender;

#[cfg(test)]
mod tests;

pub use receiver::{LinkPosition, LinkReceiver};
pub use sender::LinkSender;

/// What a sender knows of a link when it asks or sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkState {
    /// Which numbering of the source it is.
    pub incarnation: u64,
    /// All numbers below were confirmed by an owner of the destination.
    pub first: u64,
}

/// The answer of a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkAnswer {
    /// The epoch of the owner of the destination.
    pub epoch: u64,
    /// The numbering that it means.
    pub incarnation: u64,
    /// It has accepted all numbers below.
    pub next: u64,
    /// All numbers below are done: their records are stable, or they need none.
    pub done: u64,
    /// Whether something is missing, so that it needs what is from `next` on again.
    pub lacks: bool,
}
