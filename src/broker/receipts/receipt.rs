//! An open receipt in memory.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::broker::persistence::receipt::{CopyOutcome, Originator};
use crate::codec::MessageId;
use crate::routing::{SessionKey, ShardId};
use crate::session::Ticket;
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

/// An open receipt.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Receipt {
    pub(in crate::broker) originator: Arc<Originator>,
    /// The [name](crate::broker::Owner::publisher_name) for which it is counted.
    pub(in crate::broker) counted_for: Arc<str>,
    pub(in crate::broker) to: TopicName,
    pub(in crate::broker) message_id: Option<MessageId>,
    pub(in crate::broker) topic: Arc<str>,
    pub(in crate::broker) correlation: Option<Bytes>,
    pub(in crate::broker) at: Timestamp,
    /// The durable Sessions that the message was for.
    pub(in crate::broker) receivers: u32,
    /// What became of copies, and how many.
    pub(in crate::broker) outcomes: SmallVec<[(CopyOutcome, u32); 2]>,
    /// When the first and the last copy left their queues.
    pub(in crate::broker) times: Option<(Timestamp, Timestamp)>,
    /// The places of the copies, by their indexes; [`NOWHERE`] if it was in none at the start. Those that have left have their last ones.
    pub(super) places: Vec<(SessionKey, u64)>,
    /// The copies that had a place when it was opened.
    pub(super) copies: usize,
    /// The copies whose outcomes are not written.
    pub(super) outstanding: u32,
    /// The last record of each shard that it depends on.
    records: SmallVec<[(ShardId, Ticket); 1]>,
    /// When it is to be published, once that is known.
    pub(super) due: Option<Timestamp>,
}

impl Receipt {
    /// A receipt whose message has copies at these places, or had some that are [`NOWHERE`]; `left_out` further ones did not enter their queues.
    pub(in crate::broker) fn new(
        (originator, to): (Arc<Originator>, TopicName),
        (message_id, topic, correlation): (Option<MessageId>, Arc<str>, Option<Bytes>),
        at: Timestamp,
        (places, left_out): (Vec<(SessionKey, u64)>, u32),
    ) -> Self {
        let receivers = u32::try_from(places.len()).unwrap_or(u32::MAX).saturating_add(left_out);
        let outstanding = places.iter().filter(|place| **place != NOWHERE).count();
        let mut receipt = Self {
            counted_for: originator.owner.publisher_name(originator.client_id.as_str()).into(),
            originator,
            to,
            message_id,
            topic,
            correlation,
            at,
            receivers,
            outcomes: SmallVec::new(),
            times: None,
            places,
            copies: outstanding,
            outstanding: u32::try_from(outstanding).unwrap_or(u32::MAX),
            records: SmallVec::new(),
            due: None,
        };
        receipt.add(CopyOutcome::QueueFull, left_out, at);
        receipt
    }

    /// The copies of which nothing is known yet.
    pub(in crate::broker) fn unknown(&self) -> u32 {
        self.outcomes.iter().fold(self.receivers, |left, (_, count)| left.saturating_sub(*count))
    }

    /// Adds what became of copies.
    pub(super) fn add(&mut self, outcome: CopyOutcome, count: u32, at: Timestamp) {
        if count == 0 {
            return;
        }
        match self.outcomes.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, before)) => *before = before.saturating_add(count),
            None => self.outcomes.push((outcome, count)),
        }
        let (first, last) = self.times.unwrap_or((at, at));
        self.times = Some((first.min(at), last.max(at)));
    }

    /// The receipt is published when this record is stable.
    pub(super) fn depends_on(&mut self, shard: ShardId, ticket: Ticket) {
        match self.records.iter_mut().find(|(other, _)| *other == shard) {
            Some((_, last)) => *last = ticket.max(*last),
            None => self.records.push((shard, ticket)),
        }
    }

    /// Whether all records are stable that it depends on.
    pub(super) fn is_stable(&self, stable: impl Fn(ShardId) -> Ticket) -> bool {
        self.records.iter().all(|(shard, ticket)| *ticket <= stable(*shard))
    }
}

/// The place of a copy that is in no queue. Sessions are numbered from 1.
pub(super) const NOWHERE: (SessionKey, u64) = (SessionKey(0), 0);
