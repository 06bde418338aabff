//! A model of the stored state: the Sessions and their queued messages.

use std::collections::{BTreeMap, BTreeSet};

use oncemq::broker::{InsteadOf, Record, Recovered, RetainedChange, Ticket};
use oncemq::routing::SessionKey;

use crate::checker::Checker;
use crate::refusing::LETTERS;

/// The state after applying all records in order.
#[derive(Debug, Default)]
pub(crate) struct Store {
    /// The sequences of queued messages of each Session.
    pub(crate) sessions: BTreeMap<SessionKey, BTreeSet<u64>>,
    /// Sessions stored only for their Will, which don't exist after a restart.
    pub(crate) transient: BTreeSet<SessionKey>,
}

impl Store {
    /// Resets the model to the recovered state.
    pub(crate) fn recover(&mut self, recovered: &Recovered) {
        let sessions = recovered.sessions.iter();
        self.sessions = sessions.map(|session| (session.key, session.queue.keys().copied().collect())).collect();
        let transient = recovered.sessions.iter().filter(|session| session.session_expiry_interval == 0);
        self.transient = transient.map(|session| session.key).collect();
    }

    fn apply(&mut self, record: &Record) {
        match record {
            Record::SessionOpened { key, session_expiry_interval, .. } => {
                self.sessions.entry(*key).or_default();
                if *session_expiry_interval == 0 {
                    self.transient.insert(*key);
                } else {
                    self.transient.remove(key);
                }
            }
            Record::SessionEnded { key } | Record::SessionReplaced { key } | Record::SessionGone { key, .. } => {
                self.sessions.remove(key);
            }
            Record::Accepted { receivers, instead_of, .. } => {
                if let Some(InsteadOf::Queued(key, sequence) | InsteadOf::Refused(key, sequence, _)) = instead_of
                    && let Some(queued) = self.sessions.get_mut(key)
                {
                    queued.remove(sequence);
                }
                for receiver in receivers.iter() {
                    if let Some(queued) = self.sessions.get_mut(&receiver.to.key) {
                        queued.insert(receiver.sequence);
                    }
                }
            }
            Record::Done { key, sequence } | Record::CopyLeft { key, sequence, .. } => {
                if let Some(queued) = self.sessions.get_mut(key) {
                    queued.remove(sequence);
                }
            }
            Record::DeadLetterKept { letter, sequence, .. } => {
                if let Some(queued) = self.sessions.get_mut(&letter.info.session) {
                    queued.remove(sequence);
                }
            }
            Record::Redelivery { .. }
            | Record::RedeliveryRemoved { .. }
            | Record::ReceiptRemoved { .. }
            | Record::Fence
            | Record::DeadLettersRemoved { .. }
            | Record::GroupStored { .. }
            | Record::GroupRemoved { .. }
            | Record::SessionDetached { .. }
            | Record::Subscribed { .. }
            | Record::Unsubscribed { .. }
            | Record::StreamPosition { .. }
            | Record::StreamPositionsRemoved { .. }
            | Record::DeduplicationRemoved { .. }
            | Record::RetainedObsolete(_)
            | Record::RetainedDeletion { .. }
            | Record::DelayedRemoved { .. }
            | Record::ReceivedReleased { .. }
            | Record::OutboundReleased { .. } => {}
        }
    }
}

impl Checker {
    pub(crate) fn on_record(&mut self, shard: usize, ticket: Ticket, record: &Record) {
        self.store.apply(record);
        let Record::Accepted { message, retained, instead_of, .. } = record else { return };
        // A message that was accepted before, or one of a stream for a durable position.
        let is_window = message.properties.user_property("stream-sequence").is_some();
        if is_window || matches!(instead_of, Some(InsteadOf::Refused(..) | InsteadOf::DeadLetter(_))) {
            return;
        }
        // The record of a retained message for a new subscriber, of one that moves to another member of a share, or of the
        // dead letter of a group looks the same, so these messages are ignored.
        let other = |number: &usize| {
            *retained != RetainedChange::None
                || self.ledger.messages[*number].retain
                || message.topic.as_str().starts_with("s/")
                || message.topic.as_str() == LETTERS
        };
        if let Some(number) = self.ledger.find(&message.payload).filter(|number| !other(number)) {
            self.ledger.messages[number].records.push((shard, ticket));
        }
    }
}
