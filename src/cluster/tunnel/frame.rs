use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use super::{FRAME_BYTES_MAX, TunnelId};

/// What one node sends to another. A *life* is a random number for one link of one node, so that frames of an earlier link are recognized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A front begins a link.
    Hello {
        /// The life of the front.
        from: u64,
    },
    /// The owner takes part in it.
    Welcome {
        /// The life of the owner.
        from: u64,
        /// That of the front.
        to: u64,
    },
    /// Items of tunnels. Its number is one more than that of the frame before.
    Data(Head, Items),
    /// A sign of life. Its number is that of the last [`Data`](Self::Data).
    Idle(Head),
    /// The sender has no link with this life, or no more.
    Gone {
        /// The life of the receiver.
        to: u64,
    },
}

/// What the frames of a link begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The life of the sender.
    pub from: u64,
    /// The life of the receiver.
    pub to: u64,
    /// The number of the frame.
    pub number: u64,
    /// The number of the last frame that the sender has received.
    pub acknowledged: u64,
}

/// A part of a frame, about one tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A client has connected. The bytes are an [`Opening`](super::Opening).
    Open(TunnelId, Bytes),
    /// Bytes of the client, or for it.
    Bytes(TunnelId, Bytes),
    /// The receiver of this item may send this number of further bytes.
    Room(TunnelId, u32),
    /// The sender sends no more bytes.
    Finished(TunnelId),
    /// The sender has no more to do with it: it neither sends nor reads.
    Closed(TunnelId, Option<Refusal>),
}

/// Why a tunnel was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no listener with this name.
    #[error("the owner has no listener with this name")]
    NoListener,
    /// A limit of the owner, or a ban.
    #[error("a limit or a ban of the owner refuses it")]
    Limit,
    /// What it began with makes no sense to the owner.
    #[error("the owner does not understand it")]
    Malformed,
    /// The cell for which it is is not at this node.
    #[error("its cell is not at the other node any more")]
    NotHere,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// It is shorter or longer than a frame.
    #[error("a frame has another length")]
    Length,
    /// Its checksum does not fit.
    #[error("a frame has another checksum")]
    Checksum,
    /// It is of another version of the broker.
    #[error("a frame has version {0}")]
    Version(u8),
    /// It has a kind, or an item, that does not exist.
    #[error("a frame or an item has an unknown kind")]
    Kind,
}

/// The items of a frame, of which each is decoded when it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items(Bytes);

impl Frame {
    /// Decodes a frame. Its items are decoded later.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(bytes: &Bytes) -> Result<Self, FrameError> {
        if !(HEAD_BYTES + CHECKSUM_BYTES..=FRAME_BYTES_MAX).contains(&bytes.len()) {
            return Err(FrameError::Length);
        }
        let mut rest = bytes.slice(..bytes.len() - CHECKSUM_BYTES);
        let mut checksum = bytes.slice(rest.len()..);
        if checksum.get_u32_le() != crc32c::crc32c(&rest) {
            return Err(FrameError::Checksum);
        }
        let version = rest.get_u8();
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = rest.get_u8();
        let head = Head {
            from: rest.get_u64_le(),
            to: rest.get_u64_le(),
            number: rest.get_u64_le(),
            acknowledged: rest.get_u64_le(),
        };
        let Head { from, to, .. } = head;
        match (kind, rest.is_empty()) {
            (HELLO, true) => Ok(Self::Hello { from }),
            (WELCOME, true) => Ok(Self::Welcome { from, to }),
            (DATA, _) => Ok(Self::Data(head, Items(rest))),
            (IDLE, true) => Ok(Self::Idle(head)),
            (GONE, true) => Ok(Self::Gone { to }),
            _ => Err(FrameError::Kind),
        }
    }

    /// The bytes of a frame without items.
    pub(super) fn encode(&self) -> Bytes {
        let (kind, head) = match self {
            Self::Hello { from } => (HELLO, Head { from: *from, to: 0, number: 0, acknowledged: 0 }),
            Self::Welcome { from, to } => (WELCOME, Head { from: *from, to: *to, number: 0, acknowledged: 0 }),
            Self::Data(head, _) => (DATA, *head),
            Self::Idle(head) => (IDLE, *head),
            Self::Gone { to } => (GONE, Head { from: 0, to: *to, number: 0, acknowledged: 0 }),
        };
        let mut bytes = begin(kind, head, 0);
        if let Self::Data(_, Items(items)) = self {
            bytes.extend_from_slice(items);
        }
        finish(bytes)
    }
}

/// Builds a frame with items.
#[derive(Debug)]
pub(super) struct Builder(BytesMut);

impl Builder {
    pub(super) fn new(head: Head, capacity: usize) -> Self {
        Self(begin(DATA, head, capacity.min(FRAME_BYTES_MAX)))
    }

    /// The bytes that an item with a value may have.
    pub(super) fn room(&self) -> usize {
        (FRAME_BYTES_MAX - CHECKSUM_BYTES - ITEM_BYTES).saturating_sub(self.0.len())
    }

    /// Adds an item. The caller has looked at [`room`](Self::room).
    pub(super) fn add(&mut self, item: &Item) {
        let (kind, tunnel, value): (u8, TunnelId, &[u8]) = match item {
            Item::Open(tunnel, opening) => (OPEN, *tunnel, opening),
            Item::Bytes(tunnel, bytes) => return self.add_bytes(*tunnel, bytes),
            Item::Room(tunnel, bytes) => (ROOM, *tunnel, &bytes.to_le_bytes()),
            Item::Finished(tunnel) => (FINISHED, *tunnel, &[]),
            Item::Closed(tunnel, refusal) => (CLOSED, *tunnel, &[refusal_code(*refusal)]),
        };
        self.add_item(kind, tunnel, value);
    }

    pub(super) fn add_bytes(&mut self, tunnel: TunnelId, bytes: &[u8]) {
        self.add_item(BYTES, tunnel, bytes);
    }

    fn add_item(&mut self, kind: u8, tunnel: TunnelId, value: &[u8]) {
        debug_assert!(value.len() <= self.room(), "a frame has an end");
        self.0.put_u8(kind);
        self.0.put_u32_le(tunnel);
        // A value is shorter than a frame, whose length fits.
        self.0.put_u16_le(u16::try_from(value.len()).unwrap_or_default());
        self.0.put_slice(value);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == HEAD_BYTES
    }

    pub(super) fn finish(self) -> Bytes {
        finish(self.0)
    }
}

impl Iterator for Items {
    type Item = Result<Item, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let item = self.decode_next();
        if item.is_err() {
            self.0.clear();
        }
        Some(item)
    }
}

impl Items {
    fn decode_next(&mut self) -> Result<Item, FrameError> {
        if self.0.len() < ITEM_BYTES {
            return Err(FrameError::Length);
        }
        let (kind, tunnel, length) = (self.0.get_u8(), self.0.get_u32_le(), usize::from(self.0.get_u16_le()));
        if self.0.len() < length {
            return Err(FrameError::Length);
        }
        let mut value = self.0.split_to(length);
        match (kind, length) {
            (OPEN, _) => Ok(Item::Open(tunnel, value)),
            (BYTES, 1..) => Ok(Item::Bytes(tunnel, value)),
            (ROOM, 4) => Ok(Item::Room(tunnel, value.get_u32_le())),
            (FINISHED, 0) => Ok(Item::Finished(tunnel)),
            (CLOSED, 1) => Ok(Item::Closed(tunnel, refusal_of(value.get_u8())?)),
            _ => Err(FrameError::Kind),
        }
    }
}

fn begin(kind: u8, head: Head, capacity: usize) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(capacity.max(HEAD_BYTES + CHECKSUM_BYTES));
    bytes.put_u8(VERSION);
    bytes.put_u8(kind);
    for number in [head.from, head.to, head.number, head.acknowledged] {
        bytes.put_u64_le(number);
    }
    bytes
}

fn finish(mut bytes: BytesMut) -> Bytes {
    bytes.put_u32_le(crc32c::crc32c(&bytes));
    bytes.freeze()
}

const fn refusal_code(refusal: Option<Refusal>) -> u8 {
    match refusal {
        None => 0,
        Some(Refusal::NoListener) => 1,
        Some(Refusal::Limit) => 2,
        Some(Refusal::Malformed) => 3,
        Some(Refusal::NotHere) => 4,
    }
}

const fn refusal_of(code: u8) -> Result<Option<Refusal>, FrameError> {
    match code {
        0 => Ok(None),
        1 => Ok(Some(Refusal::NoListener)),
        2 => Ok(Some(Refusal::Limit)),
        3 => Ok(Some(Refusal::Malformed)),
        4 => Ok(Some(Refusal::NotHere)),
        _ => Err(FrameError::Kind),
    }
}

const VERSION: u8 = 1;
const HELLO: u8 = 0;
const WELCOME: u8 = 1;
const DATA: u8 = 2;
const IDLE: u8 = 3;
const GONE: u8 = 4;
const OPEN: u8 = 0;
const BYTES: u8 = 1;
const ROOM: u8 = 2;
const FINISHED: u8 = 3;
const CLOSED: u8 = 4;
/// Version, kind and four numbers.
const HEAD_BYTES: usize = 2 + 4 * 8;
const CHECKSUM_BYTES: usize = 4;
/// Kind, tunnel and length.
pub(super) const ITEM_BYTES: usize = 7;

const _: () = assert!(FRAME_BYTES_MAX <= u16::MAX as usize + 1, "the length of a value has 16 bits");

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head { from: 1, to: 2, number: 3, acknowledged: 4 }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let items = [
            Item::Open(7, Bytes::from_static(b"who")),
            Item::Bytes(7, Bytes::from_static(b"bytes")),
            Item::Room(8, 70_000),
            Item::Finished(u32::MAX),
            Item::Closed(9, Some(Refusal::Limit)),
            Item::Closed(10, Some(Refusal::NotHere)),
            Item::Closed(9, None),
        ];
        let mut builder = Builder::new(head(), 0);
        items.iter().for_each(|item| builder.add(item));
        let Ok(Frame::Data(found, decoded)) = Frame::decode(&builder.finish()) else { panic!("no frame") };
        assert_eq!((found, decoded.collect::<Result<Vec<_>, _>>()), (head(), Ok(items.into())));
        for frame in
            [Frame::Hello { from: 1 }, Frame::Welcome { from: 1, to: 2 }, Frame::Idle(head()), Frame::Gone { to: 5 }]
        {
            assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn a_full_frame_is_as_large_as_a_frame_may_be_and_what_was_changed_is_none() {
        let mut builder = Builder::new(head(), 0);
        let bytes = vec![7; builder.room()];
        builder.add_bytes(1, &bytes);
        assert_eq!(builder.room(), 0);
        let frame = builder.finish();
        assert_eq!(frame.len(), FRAME_BYTES_MAX);
        assert!(Frame::decode(&frame).is_ok());
        for place in [0, 1, 20, 40, frame.len() - 1] {
            let mut changed = frame.to_vec();
            changed[place] ^= 1;
            assert_eq!(Frame::decode(&changed.into()), Err(FrameError::Checksum), "{place}");
        }
        assert_eq!(Frame::decode(&frame.slice(..frame.len() - 1)), Err(FrameError::Checksum));
        assert_eq!(Frame::decode(&frame.slice(..9)), Err(FrameError::Length));
    }
}
