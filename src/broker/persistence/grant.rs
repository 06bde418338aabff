//! The part of one receiver in the record of an accepted message: how it gets the message.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use smallvec::SmallVec;

use crate::broker::persistence::body::Body;
use crate::codec::{Matched, MessageProperties, Qos, SubscriptionId};
use crate::session::Delivery;
use crate::topic::Filter;

/// How a receiver gets a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::broker) struct StoredGrant {
    pub(in crate::broker) qos: Qos,
    pub(in crate::broker) retain: bool,
    pub(in crate::broker) matched: Option<Arc<Matched>>,
}

/// The parts of a record's puts: those of the same value are stored once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordParts {
    /// The values, one behind the other.
    values: SmallVec<[u8; 16]>,
    /// The range of each put's value.
    ranges: SmallVec<[(u32, u32); 2]>,
}

impl RecordParts {
    /// The part of each put, in the order of the puts; empty if it has none. Further puts have none.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + '_ {
        self.ranges.iter().map(|(start, end)| self.values.get(*start as usize..*end as usize).unwrap_or_default())
    }

    /// [`iter`](Self::iter) as a list.
    pub fn list(&self) -> SmallVec<[&[u8]; 2]> {
        self.iter().collect()
    }

    /// Says that the first `puts` puts have no parts.
    pub(in crate::broker) fn skip(&mut self, puts: usize) {
        self.ranges.resize(puts, (0, 0));
    }

    /// Adds the part of the next put.
    pub(in crate::broker) fn push(&mut self, delivery: &Delivery) {
        let start = self.values.len();
        put_grant(&mut self.values, delivery);
        self.end(start);
    }

    /// Adds a part of these bytes.
    pub(in crate::broker) fn push_bytes(&mut self, bytes: &[u8]) {
        let start = self.values.len();
        self.values.extend_from_slice(bytes);
        self.end(start);
    }

    /// Adds the part that begins at `start` of the values.
    fn end(&mut self, start: usize) {
        // The store finds other equal parts.
        let last = self.ranges.last().copied().filter(|(from, to)| {
            from < to && self.values.get(*from as usize..*to as usize) == self.values.get(start..)
        });
        // The store refuses records of more bytes.
        let offset = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let range = last.inspect(|_| self.values.truncate(start));
        self.ranges.push(range.unwrap_or_else(|| (offset(start), offset(self.values.len()))));
    }
}

/// The part of a receiver that gets a message in this way.
pub(in crate::broker) fn grant_of(delivery: &Delivery) -> SmallVec<[u8; 16]> {
    let mut part = SmallVec::new();
    put_grant(&mut part, delivery);
    part
}

fn put_grant(to: &mut SmallVec<[u8; 16]>, Delivery { qos, retain, matched, .. }: &Delivery) {
    let flags = qos.level() | if *retain { RETAIN } else { 0 };
    let Some(Matched { subscription_ids, share, source }) = matched.as_deref() else { return to.push(flags) };
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    to.push(flags | MATCHED | if source.is_empty() { 0 } else { SOURCE });
    to.extend_from_slice(&length(subscription_ids.len()));
    for id in subscription_ids {
        to.extend_from_slice(&id.get().to_le_bytes());
    }
    to.push(u8::from(share.is_some()));
    if let Some(filter) = share {
        let filter = filter.to_string();
        to.extend_from_slice(&length(filter.len()));
        to.extend_from_slice(filter.as_bytes());
    }
    if !source.is_empty() {
        to.extend_from_slice(&length(source.encoded_len()));
        to.extend_from_slice(source.as_bytes());
    }
}

impl StoredGrant {
    pub(in crate::broker) fn read(part: &[u8]) -> Option<Self> {
        let body = &mut Body(part);
        let flags = body.u8()?;
        let qos = Qos::new(flags & QOS)?;
        let mut matched = if flags & MATCHED == 0 { None } else { read_matched(body)? };
        if flags & SOURCE != 0 {
            let source = MessageProperties::from_bytes(Bytes::copy_from_slice(body.bytes()?)).ok()?;
            let named = matched.as_deref().cloned().unwrap_or_default();
            matched = Some(Arc::new(Matched { source, ..named }));
        }
        let is_known = flags & !(QOS | RETAIN | MATCHED | SOURCE) == 0 && body.0.is_empty();
        is_known.then_some(Self { qos, retain: flags & RETAIN != 0, matched })
    }
}

/// Reads Subscription Identifiers and share.
fn read_matched(body: &mut Body<'_>) -> Option<Option<Arc<Matched>>> {
    let ids = body.length()?.checked_mul(size_of::<u32>())?;
    let mut ids = Body(body.take(ids)?);
    let mut subscription_ids = SmallVec::new();
    while let Some(id) = ids.u32() {
        subscription_ids.push(SubscriptionId::new(id)?);
    }
    let share = match body.option(Body::str)? {
        Some(filter) => Some(Arc::new(Filter::new(ByteString::from(filter)).ok()?)),
        None => None,
    };
    Some(Matched::new(subscription_ids, share))
}

/// The bits of the first byte: the QoS, RETAIN, whether Subscription Identifiers and the share follow, and whether it follows for another cell who has
/// published the message.
const QOS: u8 = 3;
const RETAIN: u8 = 4;
const MATCHED: u8 = 8;
const SOURCE: u8 = 16;
