use crate::packet::{PUBLISH, Packet, parse_length};
use crate::version::Version;

/// The fields of a PUBLISH or of a Will Message, without properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The Topic Name.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// 0 at QoS 0.
    pub packet_id: u16,
}

impl Publish {
    /// A PUBLISH at QoS 0, or a Will Message.
    pub fn new(topic: &str, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.to_owned(), payload: payload.into(), qos: 0, retain: false, dup: false, packet_id: 0 }
    }

    /// The encoded packet.
    pub fn bytes(&self, version: Version) -> Vec<u8> {
        let first = PUBLISH | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        version.publish(first, &self.topic, self.packet_id, &self.payload)
    }

    /// Decodes a packet; `None` if it isn't a well-formed PUBLISH.
    pub fn parse(version: Version, packet: &Packet) -> Option<Self> {
        let (length, rest) = packet.body.split_first_chunk()?;
        let (topic, mut rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let qos = packet.first >> 1 & 0x03;
        let mut packet_id = 0;
        if qos > 0 {
            let (number, behind) = rest.split_first_chunk()?;
            (packet_id, rest) = (u16::from_be_bytes(*number), behind);
        }
        if version == Version::V5 {
            let (length, size) = parse_length(rest)?;
            rest = rest.get(size + length..)?;
        }
        let (retain, dup) = (packet.first & 0x01 != 0, packet.first & 0x08 != 0);
        let topic = String::from_utf8(topic.to_vec()).ok()?;
        Some(Self { topic, payload: rest.to_vec(), qos, retain, dup, packet_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_survives_a_round_trip() {
        for version in [Version::V311, Version::V5] {
            for publish in [
                Publish::new("a/b", "hi"),
                Publish { qos: 2, retain: true, dup: true, packet_id: 300, ..Publish::new("t", "") },
            ] {
                let packet = Packet::take(&mut publish.bytes(version)).unwrap();
                assert_eq!(Publish::parse(version, &packet), Some(publish));
            }
        }
    }
}
