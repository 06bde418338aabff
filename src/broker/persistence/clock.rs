//! The broker's time in the store.

use std::time::Duration;

use crate::broker::persistence::body::{Body, put_option};
use crate::broker::persistence::encode::RecordBytes;
use crate::broker::persistence::record_key::RecordKey;
use crate::timestamp::{Anchor, BootId, MachineTime, Timestamp, WallTime};

/// An anchor of the broker's time. The latest one in the store counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredAnchor {
    /// The anchor.
    pub anchor: Anchor,
    /// Whether a start expired the stored messages that have a Message Expiry Interval, and their removal may not be in the store yet.
    pub expires_messages: bool,
}

impl StoredAnchor {
    /// Encodes the anchor for the store. It replaces the one before it.
    pub fn to_bytes(&self) -> RecordBytes {
        let Self { anchor: Anchor { time, machine }, expires_messages } = self;
        let mut bytes = RecordBytes::default();
        bytes.puts.push(RecordKey { group: RecordKey::NO_SESSION, kind: RecordKey::CLOCK, id: 0 });
        let body = &mut bytes.body;
        body.extend(time.0.to_le_bytes());
        put_option(body, machine.boot, |body, BootId(id)| body.extend(id));
        body.extend(u64::try_from(machine.since_boot.as_millis()).unwrap_or(u64::MAX).to_le_bytes());
        body.extend(machine.wall.0.to_le_bytes());
        body.push(u8::from(machine.synchronized));
        body.push(u8::from(*expires_messages));
        bytes
    }

    pub(in crate::broker) fn read(body: &[u8]) -> Option<Self> {
        let body = &mut Body(body);
        let time = Timestamp(body.u64()?);
        let boot = body.option(|body| body.array().map(BootId))?;
        let (since_boot, wall) = (Duration::from_millis(body.u64()?), WallTime(body.u64()?));
        let machine = MachineTime { boot, since_boot, wall, synchronized: body.bool()? };
        Some(Self { anchor: Anchor { time, machine }, expires_messages: body.bool()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_as_it_was_written() {
        for boot in [None, Some(BootId(*b"0123456789abcdef"))] {
            let (since_boot, wall) = (Duration::from_millis(77), WallTime(88));
            let machine = MachineTime { boot, since_boot, wall, synchronized: boot.is_some() };
            let stored =
                StoredAnchor { anchor: Anchor { time: Timestamp(66), machine }, expires_messages: boot.is_none() };
            let bytes = stored.to_bytes();
            assert_eq!(StoredAnchor::read(&bytes.body), Some(stored));
            assert!((0..bytes.body.len()).all(|end| StoredAnchor::read(&bytes.body[..end]).is_none()));
        }
    }
}
