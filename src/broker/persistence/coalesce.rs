//! Coalesces consecutive records that have no body: the acknowledgements of one turn become one record.

use crate::broker::persistence::encode::RecordBytes;

impl RecordBytes {
    /// Whether it has no body and only a few keys.
    pub fn can_be_joined(&self) -> bool {
        self.body.is_empty() && self.ends.is_none() && self.puts.len() + self.deletes.len() < KEYS_MAX
    }

    /// Adds the keys of the next record to this one, if both [can be joined](Self::can_be_joined). Returns `false` if they cannot.
    pub fn join(&mut self, next: &Self) -> bool {
        // A record deletes before it puts, so a key that this record puts must not also be deleted or put by `next`.
        let fits = self.can_be_joined()
            && next.can_be_joined()
            && !next.deletes.iter().chain(&next.puts).any(|key| self.puts.contains(key));
        if fits {
            self.puts.extend_from_slice(&next.puts);
            self.deletes.extend_from_slice(&next.deletes);
        }
        fits
    }
}

/// A few kilobytes; low enough for a linear search.
const KEYS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::{Record, Recovery};
    use crate::codec::PacketId;
    use crate::routing::SessionKey;
    use crate::topic::Filter;

    fn record() -> impl Strategy<Value = Record> {
        (0..5_u8, 1..4_u64, 1..6_u16).prop_map(|(kind, key, number)| {
            let (key, sequence, packet_id) = (SessionKey(key), u64::from(number), PacketId::new(number).unwrap());
            match kind {
                0 => Record::ReceivedReleased { key, packet_id, is_of_link: false },
                1 | 2 => Record::OutboundReleased { key, sequence, is_of_link: false },
                3 => Record::Done { key, sequence },
                _ => Record::Unsubscribed { key, filters: vec![Filter::try_from("a").unwrap()] },
            }
        })
    }

    fn left(records: &[RecordBytes]) -> String {
        let mut recovery = Recovery::default();
        for RecordBytes { body, puts, parts, deletes, ends, .. } in records {
            recovery.apply(body, (puts, &parts.list()), deletes, *ends);
        }
        recovery.sessions_left()
    }

    proptest! {
        #[test]
        fn joined_records_recover_to_the_same_state(records in prop::collection::vec(record(), 1..60)) {
            let single: Vec<_> = records.iter().map(Record::to_bytes).collect();
            let mut joined: Vec<RecordBytes> = Vec::new();
            for next in &single {
                if !joined.last_mut().is_some_and(|last| last.join(next)) {
                    joined.push(next.clone());
                }
            }
            prop_assert_eq!(left(&joined), left(&single));
        }
    }

    #[test]
    fn released_messages_of_one_turn_are_one_record_and_are_all_recovered() {
        let released =
            |key, sequence| Record::OutboundReleased { key: SessionKey(key), sequence, is_of_link: false }.to_bytes();
        let mut joined = released(1, 1);
        assert!(joined.join(&released(1, 2)) && joined.join(&released(2, 1)));
        assert!(
            !joined.join(&Record::Done { key: SessionKey(1), sequence: 2 }.to_bytes()),
            "the joined record puts this key"
        );
        assert!(!joined.join(&released(1, 2)), "the joined record puts this key");
        assert!(!joined.join(&Record::SessionEnded { key: SessionKey(1) }.to_bytes()));
        assert_eq!(left(&[joined]).matches("Released").count(), 3);
    }

    #[test]
    fn keys_of_a_joined_record_are_bounded() {
        let done = |sequence| Record::Done { key: SessionKey(1), sequence }.to_bytes();
        let mut joined = done(1);
        let count = (2..1_000).take_while(|sequence| joined.join(&done(*sequence))).count();
        assert!(joined.deletes.len() <= KEYS_MAX + 1, "{count}");
        let numbers = (0..1_000).collect();
        assert!(!Record::DeduplicationRemoved { numbers }.to_bytes().can_be_joined());
    }
}
