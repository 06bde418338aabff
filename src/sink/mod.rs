//! What a sink does with the messages that its Session sends to it: which of them become a request and when, what an answer means, and when
//! each is acknowledged. No socket, clock or task: events go into [`Machine::handle`], and what is to be done comes out as [`Action`]s.
//!
//! A message is acknowledged after a request with it was answered with success, or after its dead letter was acknowledged; if there is no dead
//! letter topic, after it was counted as dropped. With [`Order::Topic`] a message is in no request before all earlier ones of its topic are
//! acknowledged, or in the same request. So a topic whose messages are not taken holds up no other topic, until the window is full of them.
//!
//! The window, the Receive Maximum of the sink, bounds what is here at QoS 1 and 2; QoS 0 has a bound of its own in messages and bytes, beyond
//! which it is dropped and counted.

mod action;
mod backoff;
mod body;
mod delivery;
mod lanes;
mod machine;
mod outcome;
mod settings;
mod signature;

pub use action::{Action, Event, RequestId, Stored};
pub use body::body;
pub use delivery::Delivery;
pub use machine::{Counts, Machine};
pub use outcome::{Outcome, retry_after};
pub use settings::{Order, Settings};
pub use signature::signature;
