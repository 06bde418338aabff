//! The Client's side of the codec, for connections that the broker or a command opens to a Server.
//!
//! [`encode_client`] encodes a [`ClientPacket`](super::ClientPacket), and a [`ServerDecoder`] decodes
//! [`ServerPacket`](super::ServerPacket)s. The broker decodes and encodes the same types in the other direction.

mod answers;
mod decode;
mod encode;

pub use decode::{Oversized, ServerDecoder};
pub use encode::encode_client;
