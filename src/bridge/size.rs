use bytes::BytesMut;

use crate::codec::client::encode_client;
use crate::codec::limits::PACKET_SIZE_MAX;
use crate::codec::{ClientPacket, ProtocolVersion, Publish};

/// Whether the packet has at most this size, in bytes.
pub(super) fn fits(publish: &Publish, version: ProtocolVersion, maximum: Option<u32>) -> bool {
    let maximum = maximum.map_or(PACKET_SIZE_MAX, |maximum| maximum as usize);
    let message = &publish.message;
    let parts = message.topic.as_str().len() + message.payload.len() + message.properties.encoded_len();
    if parts + OVERHEAD_MAX <= maximum {
        return true;
    }
    let mut encoded = BytesMut::new();
    encode_client(&ClientPacket::Publish(publish.clone()), version, &mut encoded);
    encoded.len() <= maximum
}

/// Topic Name and payload, in bytes.
pub(super) fn size_of_message(publish: &Publish) -> u64 {
    (publish.message.topic.as_str().len() + publish.message.payload.len()) as u64
}

/// Fixed header, lengths, Packet Identifier, Message Expiry Interval.
const OVERHEAD_MAX: usize = 64;
