//! Decodes and encodes packets. All differences between 3.1.1 and 5.0 on the wire are in this module.
//!
//! A [`Decoder`] decodes [`ClientPacket`]s; [`encode`] encodes [`ServerPacket`]s. All versions share one packet model:
//! fields that 3.1.1 lacks are absent or have their default value.

mod ack;
mod answer_terms;
mod auth;
pub mod client;
mod connack;
mod connect;
mod decoder;
mod disconnect;
mod error;
mod find_client_id;
mod find_property;
mod frame;
mod last_topic;
pub mod limits;
mod message_id;
mod packet;
mod packet_id;
mod packet_type;
mod primitives;
mod property;
mod publish;
mod qos;
mod reason_code;
mod reason_string;
mod runs;
mod server_reference;
mod share_copy;
mod subscribe;
mod unsubscribe;
mod user_properties;
mod v3;
mod version;

pub use ack::{Ack, AckDetails, Late, LateUserProperties};
pub use answer_terms::AnswerTerms;
pub use auth::Auth;
pub use connack::{Connack, ConnackProperties};
pub use connect::{ClientId, Connect, ConnectProperties, Will, shown_user_name};
pub use decoder::Decoder;
pub use disconnect::Disconnect;
pub use error::DecodeError;
pub use find_client_id::{CLIENT_ID_WITHIN, FoundClientId, find_client_id};
pub use frame::frame_length;
pub use message_id::MessageId;
pub use packet::{ClientPacket, ServerPacket, encode};
pub use packet_id::PacketId;
pub use packet_type::PacketType;
pub use primitives::prefix_within;
pub use property::{MessageProperties, MessageProperty, UserProperties};
pub use publish::{AliasUse, Matched, Message, OutgoingPublish, Publish, TopicAlias, UNCOPIED_PAYLOAD_MIN};
pub use qos::Qos;
pub use reason_code::ReasonCode;
pub use reason_string::REASON_STRING_MAX;
pub use share_copy::ShareCopy;
pub use subscribe::{RetainHandling, Suback, Subscribe, Subscription, SubscriptionId, SubscriptionOptions};
pub use unsubscribe::{Unsuback, Unsubscribe};
pub use user_properties::EncodedUserProperties;
pub use version::ProtocolVersion;

#[cfg(test)]
mod tests;
