//! The receipts of the previous run.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::broker::persistence::encode::StoredMessage;
use crate::broker::persistence::receipt::{CopyOutcome, CopyState, ReceiptState};
use crate::broker::persistence::record_key::{RecordKey, group_of, receipt_of};
use crate::broker::persistence::recovery::orphan::Orphan;
use crate::codec::MessageId;
use crate::routing::SessionKey;
use crate::timestamp::Timestamp;

/// A receipt of the previous run.
#[derive(Debug)]
pub struct RecoveredReceipt {
    /// What is stored of it. Its places are those of the copies at first.
    pub state: ReceiptState,
    /// The topic of its message.
    pub topic: Arc<str>,
    /// The identity of its message.
    pub message_id: Option<MessageId>,
    /// The Correlation Data of its message.
    pub correlation: Option<Bytes>,
    /// Where each copy is, or what became of it.
    pub copies: Vec<CopyState>,
}

/// What the records of receipts have left.
#[derive(Debug, Default)]
pub(super) struct StoredReceipts {
    receipts: BTreeMap<u64, RecoveredReceipt>,
    /// By receipt, then by copy. In any order with the receipts: records may have been moved in the log.
    copies: BTreeMap<u64, BTreeMap<u64, CopyState>>,
    pub(super) unreadable: u64,
    /// The latest time of a receipt or of an outcome: it has passed.
    pub(super) latest: Timestamp,
}

impl StoredReceipts {
    /// The keys of a group were deleted.
    pub(super) fn end(&mut self, group: u64) {
        if let Some(number) = receipt_of(group) {
            self.receipts.remove(&number);
            self.copies.remove(&number);
        }
    }

    /// Applies the puts of receipts, and returns the others with their parts.
    pub(super) fn put<'a>(
        &mut self,
        body: &[u8],
        puts: &[RecordKey],
        parts: &[&'a [u8]],
    ) -> (SmallVec<[RecordKey; 4]>, SmallVec<[&'a [u8]; 4]>) {
        let mut others = (SmallVec::new(), SmallVec::new());
        for (place, key) in puts.iter().enumerate() {
            let part = parts.get(place).copied().unwrap_or_default();
            if !key.is_of_receipt() {
                others.0.push(*key);
                others.1.push(part);
            } else if self.put_one(*key, body, part).is_none() {
                self.unreadable += 1;
            }
        }
        others
    }

    fn put_one(&mut self, key: RecordKey, body: &[u8], part: &[u8]) -> Option<()> {
        let number = receipt_of(key.group).filter(|_| key.is_plausible())?;
        if key.kind == RecordKey::RECEIPT {
            let state = ReceiptState::read(number, part)?;
            self.latest = self.latest.max(state.at);
            let message = StoredMessage::read(body)?.message;
            let (topic, message_id) = (message.topic.as_str().into(), message.id);
            let correlation = message.properties.correlation_data().map(Bytes::copy_from_slice);
            let receipt = RecoveredReceipt { state, topic, message_id, correlation, copies: Vec::new() };
            self.receipts.insert(number, receipt);
        } else {
            let state = CopyState::read(if part.is_empty() { body } else { part })?;
            if let CopyState::Left(_, at) = state {
                self.latest = self.latest.max(at);
            }
            self.copies.entry(number).or_default().insert(key.id, state);
        }
        Some(())
    }

    /// The receipts, and the groups of those of which only copies are left. A copy that is in no queue, and of which no record tells what
    /// became of it, was in the queue of a Session that ended: at `latest` or before.
    pub(super) fn finish(
        mut self,
        latest: Timestamp,
        is_queued: impl Fn(SessionKey, u64) -> bool,
    ) -> (Vec<RecoveredReceipt>, Vec<Orphan>) {
        let mut receipts = Vec::with_capacity(self.receipts.len());
        for (number, mut receipt) in self.receipts {
            let known = self.copies.remove(&number).unwrap_or_default();
            let (first, ended_at) = (receipt.state.places.iter(), latest.max(receipt.state.at));
            let copies = (0_u64..).zip(first).map(|(copy, (key, sequence))| {
                let known = known.get(&copy).copied();
                match known.unwrap_or(CopyState::Queued(*key, *sequence)) {
                    CopyState::Queued(key, sequence) if !is_queued(key, sequence) => {
                        CopyState::Left(CopyOutcome::SessionEnded, ended_at)
                    }
                    state @ (CopyState::Queued(..) | CopyState::Left(..)) => state,
                }
            });
            receipt.copies = copies.collect();
            receipts.push(receipt);
        }
        let gone = |number| Orphan { key: SessionKey(group_of(number)), messages: Vec::new() };
        (receipts, self.copies.into_keys().map(gone).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::persistence::receipt::{CopyChange, Originator, ReceiptChange};
    use crate::broker::{Owner, Record, RecordBytes, Recovery};

    fn apply(recovery: &mut Recovery, bytes: &RecordBytes) {
        recovery.apply(&bytes.body, (&bytes.puts, &bytes.parts.list()), &bytes.deletes, bytes.ends);
    }

    fn left(copy: u32, outcome: CopyOutcome) -> RecordBytes {
        let state = CopyState::Left(outcome, Timestamp(9));
        let change = CopyChange { receipt: 7, copy, state };
        Record::CopyLeft { key: SessionKey(copy.into()), sequence: 1, change }.to_bytes()
    }

    fn opened() -> RecordBytes {
        let message = crate::codec::Message::new(crate::topic::TopicName::new("t".into()).unwrap(), "m");
        let (qos, at) = (crate::codec::Qos::AtLeastOnce, Timestamp(1));
        let mut bytes = RecordBytes::default();
        crate::broker::persistence::head::put_head(&mut bytes.body, qos, None, at);
        bytes.body.push(0);
        crate::broker::persistence::body::put_message(&mut bytes.body, &message);
        bytes.body.extend([0; 5]);
        let originator = Arc::new(Originator { client_id: "c".into(), owner: Owner::Anonymous });
        let (to, places) = (message.topic, vec![(SessionKey(1), 1), (SessionKey(2), 1)]);
        let state = ReceiptState { number: 7, originator, to, at, left_out: 0, places };
        ReceiptChange::Opened(Box::new(state)).put(&mut bytes);
        bytes
    }

    #[test]
    fn outcomes_are_found_in_any_order_of_the_records_and_what_is_in_no_queue_has_ended() {
        let records = [opened(), left(0, CopyOutcome::Acknowledged)];
        for order in [[0, 1], [1, 0]] {
            let mut recovery = Recovery::default();
            order.iter().for_each(|place: &usize| apply(&mut recovery, &records[*place]));
            let recovered = recovery.finish();
            let copies: Vec<_> = recovered.receipts.iter().flat_map(|receipt| receipt.copies.clone()).collect();
            let expected = [
                CopyState::Left(CopyOutcome::Acknowledged, Timestamp(9)),
                CopyState::Left(CopyOutcome::SessionEnded, recovered.latest.max(Timestamp(1))),
            ];
            assert_eq!((copies, recovered.orphans.len(), recovered.unreadable), (expected.to_vec(), 0, 0));
            assert_eq!(recovered.latest, Timestamp(9), "the time of an outcome has passed");
        }
    }

    #[test]
    fn copies_without_their_receipt_are_named_and_an_ended_group_is_gone() {
        let mut recovery = Recovery::default();
        apply(&mut recovery, &left(3, CopyOutcome::Expired));
        let recovered = recovery.finish();
        let gone: Vec<_> = recovered.orphans.iter().map(|orphan| orphan.key.0).collect();
        assert_eq!((recovered.receipts.len(), gone), (0, vec![group_of(7)]));
        let mut recovery = Recovery::default();
        for bytes in [opened(), left(0, CopyOutcome::Acknowledged), Record::ReceiptRemoved { number: 7 }.to_bytes()] {
            apply(&mut recovery, &bytes);
        }
        let recovered = recovery.finish();
        assert_eq!((recovered.receipts.len(), recovered.orphans.len(), recovered.unreadable), (0, 0, 0));
    }
}
