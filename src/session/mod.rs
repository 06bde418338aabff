//! One client's Session: the rules of MQTT for one client, with no socket, clock or task inside.

mod acknowledgement;
mod action;
mod alias;
mod delivery;
mod entry;
mod event;
mod head;
mod inbound;
mod limits;
mod link;
mod machine;
mod outbound;
mod protocol_error;

#[cfg(test)]
mod tests;

pub use action::{Action, Actions, Application, DropCause, Ended};
pub use delivery::queued_bytes;
pub use entry::RestoredMessage;
pub use event::{Delivery, DeliveryPlace, Event, Ticket};
pub use head::FetchedMessage;
pub use limits::{Limits, QueueHead};
pub use link::Link;
pub use machine::Session;
pub use protocol_error::ProtocolError;
