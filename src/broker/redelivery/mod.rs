//! Messages that a subscriber refuses are sent to it again, and become dead letters after the last attempt.
//!
//! ```text
//! PUBACK, PUBREC ≥ 0x80 ──► parked: still in the limits of the queue ──► read for its topic ──► rule: attempts left?
//!                                                                                          │           │
//!            one record: the message leaves the queue, and its next attempt is scheduled ◄─┘ yes       │ no
//!                                             │ due                                                    ▼
//!       one record: it is in the queue again, with a new sequence, and nowhere else      one record: it leaves the queue and is
//!                                             │ stable                                   kept as a dead letter
//!                                  a new PUBLISH with `delivery-attempt`                                │ redrive
//!                                             ▲──── one record: in the queue again, no dead letter ─────┘
//! ```
//!
//! - The record that schedules a message says that what the store has under its sequence is not in the queue: so after a crash, it is in
//!   the queue or scheduled, never both and never neither. Without it, the message is sent again as one that was not acknowledged.
//! - Its new PUBLISH waits for the record that deletes the old place. Otherwise, a crash could have it sent a third time, at QoS 2 too.
//! - This is for durable Sessions: what a transient Session refuses is discarded, as without a rule.
//! - The rule is found when a message is refused. A reload changes what is refused later, and no schedule.

pub(super) mod dead_letter;
pub(super) mod kept;
pub(super) mod operate;
pub(super) mod query;
pub(super) mod queue_again;
pub(super) mod refused;
pub(super) mod rules;
