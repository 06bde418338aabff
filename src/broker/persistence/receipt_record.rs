//! Reads and writes the records of receipts.

use std::sync::Arc;

use crate::broker::persistence::body::{Body, put_length, put_owner, put_str};
use crate::broker::persistence::encode::RecordBytes;
use crate::broker::persistence::receipt::{
    CopyChange, CopyOutcome, CopyState, Originator, ReceiptChange, ReceiptState,
};
use crate::broker::persistence::record_key::RecordKey;
use crate::codec::ClientId;
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

impl ReceiptChange {
    /// Adds it to the record of the message.
    pub(in crate::broker) fn put(&self, bytes: &mut RecordBytes) {
        match self {
            Self::Opened(state) => {
                bytes.parts.skip(bytes.puts.len());
                bytes.puts.push(RecordKey::receipt(state.number));
                bytes.parts.push_bytes(&state.to_part());
            }
            Self::Copy(change) => change.put(bytes),
        }
    }
}

impl CopyChange {
    /// Adds it to the record that moves or removes the copy.
    pub(in crate::broker) fn put(&self, bytes: &mut RecordBytes) {
        bytes.parts.skip(bytes.puts.len());
        bytes.puts.push(RecordKey::receipt_copy(self.receipt, self.copy));
        bytes.parts.push_bytes(&self.state.to_part());
    }

    /// Adds it to a record without a body, as the body: a record without one may be coalesced with others.
    pub(in crate::broker) fn put_alone(&self, bytes: &mut RecordBytes) {
        bytes.puts.push(RecordKey::receipt_copy(self.receipt, self.copy));
        bytes.body = self.state.to_part();
    }
}

impl ReceiptState {
    fn to_part(&self) -> Vec<u8> {
        let mut part = Vec::with_capacity(PART_BYTES + self.places.len() * PLACE_BYTES);
        part.extend(self.at.0.to_le_bytes());
        part.extend(self.left_out.to_le_bytes());
        put_str(&mut part, self.originator.client_id.as_str());
        put_owner(&mut part, &self.originator.owner);
        put_str(&mut part, self.to.as_str());
        put_length(&mut part, self.places.len());
        for (key, sequence) in &self.places {
            part.extend(key.0.to_le_bytes());
            part.extend(sequence.to_le_bytes());
        }
        part
    }

    /// Decodes the part of its key.
    pub(in crate::broker) fn read(number: u64, part: &[u8]) -> Option<Self> {
        let body = &mut Body(part);
        let (at, left_out) = (Timestamp(body.u64()?), body.u32()?);
        let client_id = ClientId::from(body.str()?);
        let owner = body.owner()?;
        let to = TopicName::new(body.str()?.into()).ok()?;
        let count = body.length()?;
        if body.0.len() != count.checked_mul(PLACE_BYTES)? {
            return None;
        }
        let places = (0..count).map(|_| read_place(body.u64()?, body.u64()?)).collect::<Option<_>>()?;
        Some(Self { number, originator: Arc::new(Originator { client_id, owner }), to, at, left_out, places })
    }
}

impl CopyState {
    fn to_part(self) -> Vec<u8> {
        let (kind, code, numbers) = match self {
            Self::Queued(key, sequence) => (QUEUED, 0, [key.0, sequence]),
            Self::Left(outcome, at) => (number_of(outcome), outcome.reason_code().unwrap_or_default(), [at.0, 0]),
        };
        let mut part = vec![kind, code];
        for number in numbers {
            part.extend(number.to_le_bytes());
        }
        part
    }

    /// Decodes the part of its key.
    pub(in crate::broker) fn read(part: &[u8]) -> Option<Self> {
        let body = &mut Body(part);
        let (kind, code, first, second) = (body.u8()?, body.u8()?, body.u64()?, body.u64()?);
        if !body.0.is_empty() {
            return None;
        }
        let outcome = match kind {
            QUEUED => return read_place(first, second).map(|(key, sequence)| Self::Queued(key, sequence)),
            1 => CopyOutcome::Acknowledged,
            2 => CopyOutcome::Refused(code),
            3 => CopyOutcome::DeadLetter(code),
            4 => CopyOutcome::Expired,
            5 => CopyOutcome::QueueFull,
            6 => CopyOutcome::PacketTooLarge,
            7 => CopyOutcome::NotAuthorized,
            8 => CopyOutcome::SessionEnded,
            9 => CopyOutcome::Untracked,
            _ => return None,
        };
        Some(Self::Left(outcome, Timestamp(first)))
    }
}

/// A place in the queue of a Session.
fn read_place(key: u64, sequence: u64) -> Option<(SessionKey, u64)> {
    let key = SessionKey(key);
    RecordKey::queued(key, sequence).is_plausible().then_some((key, sequence))
}

/// The number of an outcome in the store, from 1.
const fn number_of(outcome: CopyOutcome) -> u8 {
    match outcome {
        CopyOutcome::Acknowledged => 1,
        CopyOutcome::Refused(_) => 2,
        CopyOutcome::DeadLetter(_) => 3,
        CopyOutcome::Expired => 4,
        CopyOutcome::QueueFull => 5,
        CopyOutcome::PacketTooLarge => 6,
        CopyOutcome::NotAuthorized => 7,
        CopyOutcome::SessionEnded => 8,
        CopyOutcome::Untracked => 9,
    }
}

/// The number of a copy that is in a queue.
const QUEUED: u8 = 0;
/// Session and sequence.
const PLACE_BYTES: usize = 16;
/// Capacity for the other fields of a part in bytes, to allocate it once. A longer part allocates again.
const PART_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Record;
    use crate::broker::owner::Owner;

    #[test]
    fn a_receipt_is_read_as_it_was_written_and_never_if_its_part_is_cut() {
        let originator = Originator { client_id: "c".into(), owner: Owner::named("alice".into()) };
        let state = ReceiptState {
            number: 7,
            originator: Arc::new(originator),
            to: TopicName::new("receipts/c".into()).unwrap(),
            at: Timestamp(4_000),
            left_out: 1,
            places: vec![(SessionKey(3), 9), (SessionKey(4), 1)],
        };
        let part = state.to_part();
        assert_eq!(ReceiptState::read(7, &part).as_ref(), Some(&state));
        for length in 0..part.len() {
            assert_eq!(ReceiptState::read(7, &part[..length]), None, "{length}");
        }
    }

    #[test]
    fn each_state_of_a_copy_is_read_as_it_was_written() {
        let outcomes = [
            CopyOutcome::Acknowledged,
            CopyOutcome::Refused(0x83),
            CopyOutcome::DeadLetter(0x80),
            CopyOutcome::Expired,
            CopyOutcome::QueueFull,
            CopyOutcome::PacketTooLarge,
            CopyOutcome::NotAuthorized,
            CopyOutcome::SessionEnded,
            CopyOutcome::Untracked,
        ];
        let left = outcomes.map(|outcome| CopyState::Left(outcome, Timestamp(5)));
        for state in left.into_iter().chain([CopyState::Queued(SessionKey(3), 9)]) {
            let part = state.to_part();
            assert_eq!(CopyState::read(&part), Some(state));
            for length in 0..part.len() {
                assert_eq!(CopyState::read(&part[..length]), None, "{state:?} {length}");
            }
        }
        assert_eq!(CopyState::read(&[10; 18]), None);
        let nobody = CopyState::Queued(SessionKey(u64::MAX), 1);
        assert_eq!(CopyState::read(&nobody.to_part()), None, "no Session has such a number");
    }

    #[test]
    fn the_record_that_removes_a_copy_has_its_outcome() {
        let (key, sequence) = (SessionKey(3), 9);
        let state = CopyState::Left(CopyOutcome::Acknowledged, Timestamp(5));
        let change = CopyChange { receipt: 7, copy: 1, state };
        let bytes = Record::CopyLeft { key, sequence, change }.to_bytes();
        assert_eq!(bytes.puts[..], [RecordKey::receipt_copy(7, 1)]);
        assert_eq!(bytes.deletes[0], RecordKey::queued(key, sequence));
        assert_eq!(CopyState::read(&bytes.body), Some(state));
        assert!(!bytes.can_be_joined());
        assert!(bytes.puts.iter().all(RecordKey::is_plausible));
    }
}
