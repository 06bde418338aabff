//! The wire format: builders that can also build malformed packets, and a decoder that rejects them.

pub mod bytes;
pub mod connect;
pub mod data_type;
pub mod decode;
pub mod kind;
pub mod packet;
pub mod property;
pub mod publish;
pub mod subscribe;
pub mod tables;
pub mod version;

pub use bytes::{Encode, Text, Utf8};
pub use connect::{Connect, Will};
pub use decode::{Violation, decode};
pub use kind::Kind;
pub use packet::{Ack, AckKind, Auth, Connack, Disconnect, Packet, Pingreq};
pub use property::{Properties, Property, Value};
pub use publish::Publish;
pub use subscribe::{Filter, Suback, Subscribe, Unsuback, Unsubscribe};
pub use version::Version;
