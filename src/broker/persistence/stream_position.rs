//! The position of a durable Session in a stream, in the store.

use std::ops::RangeInclusive;

use crate::broker::persistence::body::{Body, put_option, put_subscription};
use crate::broker::persistence::encode::RecordBytes;
use crate::broker::persistence::record_key::RecordKey;
use crate::broker::streams::number::StreamNumber;
use crate::broker::streams::position::{StreamPlace, StreamPosition};
use crate::broker::streams::start::StreamStart;
use crate::codec::SubscriptionId;
use crate::routing::SessionKey;

impl StreamPosition {
    /// Encodes the position of a Session for the store.
    pub(in crate::broker) fn put(&self, session: SessionKey, bytes: &mut RecordBytes) {
        let Self { number, stream, subscription, subscription_id, place } = self;
        let StreamPlace { next, since, previous, trimmed, unreadable } = place;
        bytes.puts.push(RecordKey::stream_position(session, *number));
        let body = &mut bytes.body;
        body.extend(stream.0.to_le_bytes());
        put_subscription(body, subscription);
        body.extend(subscription_id.map_or(0, SubscriptionId::get).to_le_bytes());
        let (kind, value) = match *next {
            StreamStart::Earliest => (0, 0),
            StreamStart::Latest => (1, 0),
            StreamStart::Sequence(sequence) => (2, sequence),
            StreamStart::Time(time) => (3, time),
        };
        body.push(kind);
        body.extend(value.to_le_bytes());
        for number in [since, previous] {
            put_option(body, *number, |body, number| body.extend(number.to_le_bytes()));
        }
        for range in [trimmed, unreadable] {
            put_option(body, range.as_ref(), |body, range| {
                body.extend(range.start().to_le_bytes());
                body.extend(range.end().to_le_bytes());
            });
        }
    }

    /// Decodes the position with this number. A later version may append to it.
    pub(in crate::broker) fn read(number: u64, body: &[u8]) -> Option<Self> {
        let body = &mut Body(body);
        let (stream, subscription) = (StreamNumber(body.u32()?), body.subscription()?);
        let subscription_id = SubscriptionId::new(body.u32()?);
        let (kind, value) = (body.u8()?, body.u64()?);
        let next = match kind {
            0 => StreamStart::Earliest,
            1 => StreamStart::Latest,
            2 => StreamStart::Sequence(value),
            3 => StreamStart::Time(value),
            _ => return None,
        };
        let (since, previous) = (body.option(Body::u64)?, body.option(Body::u64)?);
        let (trimmed, unreadable) = (body.option(range)?, body.option(range)?);
        let place = StreamPlace { next, since, previous, trimmed, unreadable };
        Some(Self { number, stream, subscription, subscription_id, place })
    }
}

fn range(body: &mut Body<'_>) -> Option<RangeInclusive<u64>> {
    Some(body.u64()?..=body.u64()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{Qos, Subscription, SubscriptionOptions};
    use crate::topic::Filter;

    fn position() -> impl Strategy<Value = StreamPosition> {
        let next = prop_oneof![
            Just(StreamStart::Earliest),
            Just(StreamStart::Latest),
            any::<u64>().prop_map(StreamStart::Sequence),
            any::<u64>().prop_map(StreamStart::Time),
        ];
        let options = any::<[Option<u64>; 2]>();
        let range = || prop::option::of((any::<u64>(), any::<u64>()).prop_map(|(start, end)| start..=end));
        (next, options, range(), range(), any::<u32>(), 0_u32..9).prop_map(
            |(next, [since, previous], trimmed, unreadable, stream, id)| StreamPosition {
                number: 3,
                stream: StreamNumber(stream),
                subscription: Subscription {
                    filter: Filter::try_from("$stream/orders@seq:7/a/+").unwrap(),
                    options: SubscriptionOptions::new(Qos::AtLeastOnce),
                },
                subscription_id: SubscriptionId::new(id),
                place: StreamPlace { next, since, previous, trimmed, unreadable },
            },
        )
    }

    proptest! {
        #[test]
        fn a_position_is_read_as_it_was_written_or_with_more_behind_it_and_never_if_it_is_cut(position in position()) {
            let mut bytes = RecordBytes::default();
            position.put(SessionKey(9), &mut bytes);
            prop_assert_eq!(&bytes.puts[..], [RecordKey::of(SessionKey(9), 17, 3)]);
            prop_assert_eq!(StreamPosition::read(3, &bytes.body), Some(position.clone()));
            let longer = [&bytes.body[..], b"later"].concat();
            prop_assert_eq!(StreamPosition::read(3, &longer), Some(position));
            for length in 0..bytes.body.len() {
                prop_assert_eq!(StreamPosition::read(3, &bytes.body[..length]), None, "{}", length);
            }
        }

        #[test]
        fn any_bytes_are_a_position_or_not(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = StreamPosition::read(1, &bytes);
        }
    }
}
