use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::identity::NodeKey;

/// What two nodes tell each other by the service before one connects to the other: who has which key, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Introduction {
    /// Whether the other node is to answer with its own.
    pub(super) is_question: bool,
    /// The key by which the sender is known in connections.
    pub(super) key: NodeKey,
    /// Where the sender listens: `host:port`. `None`: nowhere.
    pub(super) address: Option<String>,
}

impl Introduction {
    /// Bytes that are no [`Frame`](crate::cluster::tunnel::Frame).
    pub(super) fn encode(&self) -> Bytes {
        let address = self.address.as_deref().unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(3 + self.key.0.len() + address.len());
        bytes.put_u8(MARK);
        bytes.put_u8(VERSION);
        bytes.put_u8(u8::from(self.is_question));
        bytes.put_slice(&self.key.0);
        bytes.put_slice(address.as_bytes());
        bytes.freeze()
    }

    /// `None`: the bytes are something else.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.try_get_u8().ok()? != MARK || bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let is_question = match bytes.try_get_u8().ok()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let mut key = NodeKey::default();
        bytes.try_copy_to_slice(&mut key.0).ok()?;
        if bytes.len() > ADDRESS_BYTES_MAX {
            return None;
        }
        let address = String::from_utf8(bytes.into()).ok()?;
        Some(Self { is_question, key, address: (!address.is_empty()).then_some(address) })
    }
}

/// No version of a frame.
const MARK: u8 = 0xD1;
const VERSION: u8 = 1;
/// More than a name of a host and a port have.
const ADDRESS_BYTES_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tunnel::Frame;

    #[test]
    fn what_is_encoded_is_decoded_and_is_no_frame() {
        for (is_question, address) in [(true, None), (false, Some("b.example.com:7883".to_owned()))] {
            let introduction = Introduction { is_question, key: NodeKey([7; 44]), address };
            let bytes = introduction.encode();
            assert!(Frame::decode(&bytes).is_err());
            assert_eq!(Introduction::decode(bytes), Some(introduction));
        }
    }

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        let bytes = Introduction { is_question: true, key: NodeKey([7; 44]), address: None }.encode();
        for length in 0..bytes.len() {
            assert_eq!(Introduction::decode(bytes.slice(..length)), None, "{length}");
        }
        for (place, value) in [(0, 1), (1, 2), (2, 2)] {
            let mut changed = bytes.to_vec();
            changed[place] = value;
            assert_eq!(Introduction::decode(changed.into()), None, "{place}");
        }
        assert_eq!(Introduction::decode([&bytes[..], &[0xFF]].concat().into()), None, "no text");
        assert_eq!(Introduction::decode([&bytes[..], &[b'x'; 301]].concat().into()), None, "too long");
    }
}
