/// A packet from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Packet type and flags.
    pub first: u8,
    /// The bytes after the fixed header.
    pub body: Vec<u8>,
}

impl Packet {
    /// Removes the first packet from the received bytes, if it is complete.
    pub fn take(received: &mut Vec<u8>) -> Option<Self> {
        let (&first, rest) = received.split_first()?;
        let (length, size) = parse_length(rest)?;
        let body = rest.get(size..size + length)?.to_vec();
        received.drain(..1 + size + length);
        Some(Self { first, body })
    }

    /// The packet type, as in the constants of this crate.
    pub fn kind(&self) -> u8 {
        self.first & 0xF0
    }

    /// The Packet Identifier at the beginning of an acknowledgement; 0 if there is none.
    pub fn packet_id(&self) -> u16 {
        self.body.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
    }

    /// The Reason Code: the second byte of CONNACK, the last of SUBACK and UNSUBACK, the first of DISCONNECT, and the
    /// one behind the Packet Identifier of others. An absent one is 0.
    pub fn reason_code(&self) -> u8 {
        let code = match self.kind() {
            SUBACK | UNSUBACK => self.body.last(),
            CONNACK => self.body.get(1),
            DISCONNECT => self.body.first(),
            _ => self.body.get(2),
        };
        code.copied().unwrap_or(0)
    }
}

/// A packet with its Remaining Length.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &length(body.len())[..], body].concat()
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP without a Reason Code, which is valid in both versions.
pub fn acknowledge(first: u8, packet_id: u16) -> Vec<u8> {
    packet(first, &packet_id.to_be_bytes())
}

/// A UTF-8 Encoded String or Binary Data, truncated at its maximum length.
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    let kept = text.get(..usize::from(length)).unwrap_or_default();
    [&length.to_be_bytes(), kept].concat()
}

/// A Variable Byte Integer.
pub(crate) fn length(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            bytes.push(low & 0x7F);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A Variable Byte Integer and its size, if it is complete.
pub(crate) fn parse_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.iter().take(4).position(|byte| byte & 0x80 == 0)?;
    let value = bytes.get(..=end)?.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7F));
    Some((value, end + 1))
}

/// The first byte of CONNECT.
pub const CONNECT: u8 = 0x10;
/// The first byte of CONNACK.
pub const CONNACK: u8 = 0x20;
/// The first byte of PUBLISH, without flags.
pub const PUBLISH: u8 = 0x30;
/// The first byte of PUBACK.
pub const PUBACK: u8 = 0x40;
/// The first byte of PUBREC.
pub const PUBREC: u8 = 0x50;
/// The first byte of PUBREL.
pub const PUBREL: u8 = 0x62;
/// The value of [`Packet::kind`] for PUBREL.
pub const PUBREL_KIND: u8 = 0x60;
/// The first byte of PUBCOMP.
pub const PUBCOMP: u8 = 0x70;
/// The first byte of SUBSCRIBE.
pub const SUBSCRIBE: u8 = 0x82;
/// The first byte of SUBACK.
pub const SUBACK: u8 = 0x90;
/// The first byte of UNSUBSCRIBE.
pub const UNSUBSCRIBE: u8 = 0xA2;
/// The first byte of UNSUBACK.
pub const UNSUBACK: u8 = 0xB0;
/// The first byte of PINGREQ.
pub const PINGREQ: u8 = 0xC0;
/// The first byte of PINGRESP.
pub const PINGRESP: u8 = 0xD0;
/// The first byte of DISCONNECT.
pub const DISCONNECT: u8 = 0xE0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_is_taken_when_all_of_it_is_there() {
        let long = packet(PUBLISH, &[7; 200]);
        assert_eq!(long[..3], [PUBLISH, 0xC8, 0x01]);
        for length in 0..long.len() {
            assert_eq!(Packet::take(&mut long[..length].to_vec()), None);
        }
        let mut received = [&long[..], &acknowledge(PUBREL, 258)].concat();
        assert_eq!(Packet::take(&mut received).map(|packet| packet.body), Some(vec![7; 200]));
        assert_eq!(received, [PUBREL, 2, 1, 2]);
        let pubrel = Packet::take(&mut received).unwrap();
        assert_eq!((pubrel.kind(), pubrel.packet_id(), pubrel.reason_code()), (PUBREL_KIND, 258, 0));
        assert!(received.is_empty());
    }
}
