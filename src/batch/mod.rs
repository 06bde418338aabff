//! The payload of a PUBLISH that has several messages: a batch.
//!
//! It is a JSON array of messages, or MQTT 5.0 PUBLISH packets one behind the other; the Content Type says which.

mod json;
mod malformed;
mod message;
mod packets;
mod read;

pub use malformed::{Malformed, name_of};
pub use message::{BatchMessage, Terms};
pub use read::{JSON, PACKETS, read};
