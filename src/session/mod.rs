//! One client's Session: the rules of MQTT for one client, with no socket, clock or task inside.

mod acknowledgement;
mod action;
mod alias;
mod delivery;
mod event;
mod inbound;
mod link;
mod machine;
mod outbound;
mod protocol_error;

#[cfg(test)]
mod tests;

pub use action::{Action, Application, DropCause, Ended};
pub use delivery::queued_bytes;
pub use event::{Delivery, DeliveryPlace, Event, Ticket};
pub use link::Link;
pub use machine::{Limits, Session};
pub use outbound::RestoredMessage;
pub use protocol_error::ProtocolError;
