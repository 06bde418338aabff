//! The methods of [`Driver`] for what was recovered from the store, and for delayed messages, which are read from it.

use super::Driver;
use crate::broker::{DelayedBatch, Event, Orphan, RecoveredSession};
use crate::server::authentication::account;

impl Driver {
    /// Restores recovered Sessions, before the first connection.
    #[expect(clippy::vec_box, reason = "each is given back when it is restored")]
    pub(super) fn restore(&mut self, sessions: Vec<Box<RecoveredSession>>, orphans: Vec<Orphan>) {
        let mut actions = std::mem::take(&mut self.actions);
        for session in sessions {
            let access = self.access_of_recovered(&session);
            self.shard.restore(self.reading.now, *session, access, &mut actions);
            for action in actions.drain(..) {
                self.perform(action);
            }
        }
        self.shard.end_orphans(orphans, &mut actions);
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.store.end_turn();
        self.actions = actions;
    }

    /// Adds what the originators of delayed messages may do by the current files.
    pub(super) fn on_delayed_read(&mut self, mut batch: Box<DelayedBatch>) {
        batch.grant(|client_id, owner, topic| self.authentication.access_to_publish(client_id, account(owner), topic));
        self.handle(Event::DelayedPrepared(batch));
    }
}
