//! The Client's side of MQTT, for connections that the broker or a command opens to a Server.
//!
//! [`encode_client`] turns a [`ClientPacket`](super::ClientPacket) into bytes, and a [`ServerDecoder`] turns what the Server sends into
//! [`ServerPacket`](super::ServerPacket)s: the same packets that the broker reads and writes, the other way round.

mod answers;
mod decode;
mod encode;

pub use decode::ServerDecoder;
pub use encode::encode_client;
