//! Reads and writes the records of groups of subscribers of streams.

use crate::broker::persistence::body::{Body, put_length, put_option, put_str};
use crate::broker::persistence::encode::RecordBytes;
use crate::broker::persistence::record_key::RecordKey;
use crate::broker::persistence::stream_group::{GroupPosition, GroupRefusal, StreamGroup};
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::start::StreamStart;
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

impl GroupPosition {
    fn put(&self, body: &mut Vec<u8>) {
        let (kind, number) = match self.from {
            StreamStart::Earliest => (0, 0),
            StreamStart::Latest => (1, 0),
            StreamStart::Sequence(sequence) => (2, sequence),
            StreamStart::Time(time) => (3, time),
        };
        body.push(kind);
        for number in [number, self.until] {
            body.extend(number.to_le_bytes());
        }
        put_length(body, self.open.len());
        let mut before = 0;
        for sequence in &self.open {
            put_varint(body, sequence - before);
            before = *sequence;
        }
        put_length(body, self.refused.len());
        for GroupRefusal { sequence, attempts, due } in &self.refused {
            for number in [*sequence, u64::from(*attempts), due.0] {
                put_varint(body, number);
            }
        }
    }

    fn read(body: &mut Body<'_>) -> Option<Self> {
        let (kind, number, until) = (body.u8()?, body.u64()?, body.u64()?);
        let from = match kind {
            0 => StreamStart::Earliest,
            1 => StreamStart::Latest,
            2 => StreamStart::Sequence(number),
            3 => StreamStart::Time(number),
            _ => return None,
        };
        let length = body.length()?;
        let mut open = Vec::with_capacity(length.min(Self::OPEN_MAX));
        let mut before = 0_u64;
        for _ in 0..length {
            let distance = varint(body)?;
            before = before.checked_add(distance).filter(|sequence| *sequence > before)?;
            open.push(before);
        }
        let length = body.length()?;
        let mut refused = Vec::with_capacity(length.min(Self::OPEN_MAX));
        for _ in 0..length {
            let (sequence, attempts) = (varint(body)?, u16::try_from(varint(body)?).ok()?);
            refused.push(GroupRefusal { sequence, attempts, due: Timestamp(varint(body)?) });
        }
        Some(Self { from, until, open, refused })
    }
}

impl StreamGroup {
    /// Encodes the record that replaces the position.
    pub(in crate::broker) fn put(&self, bytes: &mut RecordBytes) {
        let Self { number, stream, name, filter, position } = self;
        bytes.puts.push(RecordKey::stream_group(*stream, *number));
        put_str(&mut bytes.body, name);
        put_option(&mut bytes.body, filter.as_ref(), |body, filter| put_str(body, filter.as_str()));
        position.put(&mut bytes.body);
    }

    /// Decodes the group with this key. A later version may append to it.
    pub(in crate::broker) fn read(key: RecordKey, body: &[u8]) -> Option<Self> {
        let body = &mut Body(body);
        let name = body.str()?.into();
        let filter = body.option(|body| TopicFilter::new(body.str()?.into()).ok())?;
        let (stream, position) = (StreamNumber::of_group(key.group)?, GroupPosition::read(body)?);
        Some(Self { number: key.id, stream, name, filter, position })
    }
}

/// Seven bits in each byte, the lowest first; all but the last have the highest bit.
fn put_varint(body: &mut Vec<u8>, mut number: u64) {
    while let Some(byte) = u8::try_from(number & 0x7F).ok().filter(|_| number > 0x7F) {
        body.push(byte | 0x80);
        number >>= 7;
    }
    body.push(u8::try_from(number).unwrap_or_default());
}

fn varint(body: &mut Body<'_>) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = body.u8()?;
        let bits = u64::from(byte & 0x7F);
        number |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(from: StreamStart, until: u64, open: Vec<u64>) -> StreamGroup {
        StreamGroup {
            number: 7,
            stream: StreamNumber(3),
            name: "workers".into(),
            filter: TopicFilter::try_from("orders/+").ok(),
            position: GroupPosition { from, until, open, refused: Vec::new() },
        }
    }

    fn encoded(group: &StreamGroup) -> RecordBytes {
        let mut bytes = RecordBytes::default();
        group.put(&mut bytes);
        bytes
    }

    #[test]
    fn a_group_is_read_as_it_was_written_or_with_more_behind_it_and_never_if_it_is_cut() {
        let refused = [(6, 1), (899, u16::MAX)];
        let refused =
            refused.map(|(sequence, attempts)| GroupRefusal { sequence, attempts, due: Timestamp(1_767_225_600_000) });
        let mut with_refused = group(StreamStart::Sequence(5), 900, vec![5, 6, 200, 899]);
        with_refused.position.refused = refused.into();
        for group in [
            with_refused,
            group(StreamStart::Sequence(5), 900, vec![5, 6, 200, 899]),
            group(StreamStart::Time(1_767_225_600_000), 0, Vec::new()),
            group(StreamStart::Earliest, 0, Vec::new()),
            StreamGroup { filter: None, ..group(StreamStart::Latest, 0, Vec::new()) },
        ] {
            let RecordBytes { body, puts, .. } = encoded(&group);
            assert_eq!(StreamGroup::read(puts[0], &body), Some(group.clone()));
            assert_eq!(StreamGroup::read(puts[0], &[&body[..], b"later"].concat()), Some(group));
            assert!((0..body.len()).all(|length| StreamGroup::read(puts[0], &body[..length]).is_none()));
        }
    }

    #[test]
    fn a_long_list_is_cut_where_the_rest_is_read_again() {
        let open: Vec<u64> = (10..5_000).step_by(2).collect();
        let refused = open.iter().map(|sequence| GroupRefusal { sequence: *sequence, attempts: 1, due: Timestamp(1) });
        let refused = refused.collect();
        let position = GroupPosition { from: StreamStart::Sequence(10), until: 6_000, open, refused }.shortened();
        assert_eq!(
            (position.refused.len(), position.refused.last().map(|refusal| refusal.sequence)),
            (1_024, Some(2_056))
        );
        assert_eq!((position.open.len(), position.open.last()), (1_024, Some(&2_056)));
        assert_eq!(position.until, 2_058);
    }

    proptest! {
        #[test]
        fn any_position_is_read_back_and_any_bytes_are_read_or_refused(
            open in prop::collection::btree_set(1..u64::MAX, 0..20),
            until: u64,
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let group = group(StreamStart::Sequence(until), until, open.into_iter().collect());
            let RecordBytes { body, puts, .. } = encoded(&group);
            prop_assert_eq!(StreamGroup::read(puts[0], &body), Some(group));
            StreamGroup::read(puts[0], &bytes);
        }
    }
}
