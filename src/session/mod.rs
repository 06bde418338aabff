//! A client's Session: the rules of MQTT for one client, without sockets, clocks and tasks.

mod acknowledgement;
mod action;
mod alias;
mod connection;
mod delivery;
mod entry;
mod event;
mod expire;
mod fetch;
mod head;
mod inbound;
mod limits;
mod link;
mod machine;
mod note;
mod outbound;
mod outgoing;
mod parked;
mod protocol_error;
mod queue_view;
mod recheck;
mod redelivery;
mod refusal;
mod rights;

#[cfg(test)]
mod tests;

pub use action::{Action, Actions, Application, Ended};
pub use delivery::{Delivery, DeliveryPlace, DropCause, Settlement, Unreceived};
pub use entry::{RestoredMessage, queued_bytes};
pub use event::{Event, FetchedMessage, Ticket};
pub use limits::{Limits, QueueHead, RefusedMessages};
pub use link::Link;
pub use machine::Session;
pub use note::{QueueExit, QueueStep};
pub use protocol_error::ProtocolError;
pub use queue_view::{QueuedMessage, QueuedState};
pub use redelivery::{Parking, Redelivery, RefusedMessage, topic_number};
pub use rights::Rights;
