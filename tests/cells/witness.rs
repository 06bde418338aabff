//! What clients have seen, and what they are owed.

use std::collections::{BTreeMap, BTreeSet};

use oncemq::topic::TopicFilter;

use crate::cell::{Message, Session, State};

/// Knows only what went to and came from clients.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// Subscriptions with SUBACK whose end nobody wants.
    subscribed: BTreeSet<(Session, TopicFilter)>,
    /// The messages that were published, with the subscriptions at that time.
    published: BTreeMap<u64, (Message, Vec<(Session, TopicFilter)>)>,
    acknowledged: BTreeSet<u64>,
    ended: BTreeSet<(Session, TopicFilter)>,
}

impl Witness {
    pub(crate) fn subscribed(&mut self, session: Session, filter: TopicFilter) {
        if !self.ended.contains(&(session, filter.clone())) {
            self.subscribed.insert((session, filter));
        }
    }

    /// A client asks for the end of a subscription. It does not subscribe to this filter again.
    pub(crate) fn unsubscribes(&mut self, session: Session, filter: TopicFilter) {
        self.subscribed.remove(&(session, filter.clone()));
        self.ended.insert((session, filter));
    }

    pub(crate) fn has_ended(&self, session: Session, filter: &TopicFilter) -> bool {
        self.ended.contains(&(session, filter.clone()))
    }

    pub(crate) fn published(&mut self, message: &Message) {
        let wants = |(_, filter): &&(Session, TopicFilter)| filter.matches(&message.topic);
        let owed = self.subscribed.iter().filter(wants).cloned().collect();
        self.published.insert(message.id, (message.clone(), owed));
    }

    pub(crate) fn acknowledged(&mut self, id: u64) {
        self.acknowledged.insert(id);
    }

    /// Compares with the logs at the end. Returns how many deliveries were owed.
    pub(crate) fn judge(&self, logs: &[State]) -> Result<u64, String> {
        let mut owed = 0;
        for (cell, log) in logs.iter().enumerate() {
            for (number, queue) in &log.queues {
                let session = (oncemq::routing::CellId(u8::try_from(cell).unwrap()), *number);
                let mut last = BTreeMap::new();
                for message in queue {
                    if !self.published.contains_key(&message.id) {
                        return Err(format!("{message:?} was never published"));
                    }
                    let before = last.insert(message.source, message.id).unwrap_or(0);
                    if before >= message.id {
                        return Err(format!("{session:?} gets {message:?} after {before}"));
                    }
                }
            }
        }
        for id in &self.acknowledged {
            let (message, subscriptions) = &self.published[id];
            for (session, filter) in subscriptions.iter().filter(|it| !self.ended.contains(it)) {
                owed += 1;
                let queue = logs[usize::from(session.0.0)].queues.get(&session.1);
                if !queue.is_some_and(|queue| queue.contains(message)) {
                    return Err(format!("{message:?} was acknowledged, and {session:?} does not get it ({filter:?})"));
                }
            }
        }
        Ok(owed)
    }
}
