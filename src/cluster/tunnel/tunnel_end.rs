use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Builder, Item, Refusal};
use super::{TunnelId, WINDOW_BYTES};

/// One end of a tunnel.
#[derive(Debug, Default)]
pub(super) struct TunnelEnd {
    pub(super) is_ready: bool,
    /// Not sent yet.
    pub(super) opening: Option<Bytes>,
    pub(super) outgoing: BytesMut,
    /// The bytes that `Link::push` may still take.
    pub(super) room: usize,
    /// The bytes that the other node may still send.
    pub(super) allowed: usize,
    /// The bytes that were consumed, of which the other node was not told.
    pub(super) consumed: usize,
    pub(super) has_other_finished: bool,
    pub(super) end: End,
}

/// How much of a tunnel's sending side has ended.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Open,
    /// It has, and the other node is to be told so.
    Finishing,
    /// It was told.
    Finished,
    /// The whole tunnel has ended, and the other node is to be told so.
    Closing(Option<Refusal>),
}

/// Whether a tunnel has more to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    More,
}

impl TunnelEnd {
    pub(super) fn new() -> Self {
        Self { room: WINDOW_BYTES, allowed: WINDOW_BYTES, ..Self::default() }
    }

    pub(super) const fn is_closing(&self) -> bool {
        matches!(self.end, End::Closing(_))
    }

    /// The bytes that its next items have, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.outgoing.len() + self.opening.as_ref().map_or(0, Bytes::len) + 32
    }

    pub(super) fn has_something_to_send(&self) -> bool {
        self.opening.is_some()
            || !self.outgoing.is_empty()
            || self.consumed >= ROOM_TOLD_MIN
            || matches!(self.end, End::Finishing | End::Closing(_))
    }

    /// Adds its items to a frame with room for [`ITEMS_BYTES_MIN`].
    pub(super) fn send(&mut self, id: TunnelId, builder: &mut Builder) -> Sent {
        if let Some(opening) = self.opening.take() {
            builder.add(&Item::Open(id, opening));
        }
        if self.consumed >= ROOM_TOLD_MIN && !self.is_closing() {
            let bytes = std::mem::take(&mut self.consumed);
            self.allowed += bytes;
            builder.add(&Item::Room(id, u32::try_from(bytes).unwrap_or_default()));
        }
        let length = self.outgoing.len().min(BYTES_AT_ONCE).min(builder.room().saturating_sub(ITEMS_BYTES_AFTER));
        if length > 0 {
            builder.add_bytes(id, self.outgoing.get(..length).unwrap_or_default());
            self.outgoing.advance(length);
            if self.outgoing.is_empty() {
                // An idle tunnel has no memory for bytes.
                self.outgoing = BytesMut::new();
            }
        }
        if !self.outgoing.is_empty() {
            return Sent::More;
        }
        match self.end {
            End::Open | End::Finished => {}
            End::Finishing => {
                builder.add(&Item::Finished(id));
                self.end = End::Finished;
            }
            End::Closing(refusal) => builder.add(&Item::Closed(id, refusal)),
        }
        Sent::All
    }
}

/// The reader of a tunnel has consumed so much before its sender is told.
const ROOM_TOLD_MIN: usize = WINDOW_BYTES / 2;
/// The most bytes of a tunnel in a frame, so that a large message of one client does not delay the others.
const BYTES_AT_ONCE: usize = 16 << 10;
/// Room that bytes leave to the end of their tunnel.
const ITEMS_BYTES_AFTER: usize = 16;
