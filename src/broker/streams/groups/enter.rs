//! Passes messages of streams to groups when they are stable. A group that has all messages before them needs no read.

use std::sync::Arc;

use crate::broker::persistence::record::Record;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::deliver::MESSAGES_PER_TURN;
use crate::broker::streams::groups::fresh::{Entering, FreshMessage, FreshOfStreams};
use crate::session::Ticket;
use crate::timestamp::Timestamp;

impl Shard {
    /// Passes the record of an accepted message to the store. If its message enters streams, their groups may get it when it is stable.
    #[inline]
    pub(in crate::broker) fn persist_entering(&mut self, record: Record, turn: &mut Turn<'_>) -> Ticket {
        let entering = self.entering(&record);
        let ticket = self.persist(record, turn);
        if let Some(entering) = entering {
            self.streams.enter(Entering { ticket, ..entering });
        }
        ticket
    }

    fn entering(&self, record: &Record) -> Option<Entering> {
        let Record::Accepted { message, expires_at, sequences: Some(sequences), .. } = record else { return None };
        let expires_at = expires_at.unwrap_or(Timestamp::NEVER);
        let (message, sequences) = (Arc::clone(message), Arc::clone(sequences));
        let entering = Entering { ticket: Ticket::default(), message, expires_at, sequences };
        self.shared.groups.exist().then_some(entering)
    }

    /// Passes the messages whose records are stable to the groups of their streams.
    pub(in crate::broker) fn offer_entered(&mut self, turn: &mut Turn<'_>) {
        let mut streams = FreshOfStreams::new();
        let mut count = 0;
        while let Some(entered) = self.streams.next_entered(self.pipeline.stable()) {
            count += 1;
            entered.add_to(&mut streams);
        }
        let table = self.shared.streams();
        for (number, messages) in streams {
            let dispatch = table.get(number).map(|stream| stream.group_dispatch.clone()).unwrap_or_default();
            for group in self.shared.groups.of(number) {
                let filter = group.name.filter.as_ref();
                let wants = |fresh: &FreshMessage| filter.is_none_or(|filter| filter.matches(&fresh.message.topic));
                self.change_group(&group, None, |ledger| ledger.add_fresh(&messages, wants, dispatch.clone()), turn);
            }
        }
        self.continue_streams(count.max(MESSAGES_PER_TURN), turn);
    }
}
