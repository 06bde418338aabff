//! Loads queued messages that are only in the store before they are sent.

use crate::broker::action::Action;
use crate::broker::persistence::fetch::{Fetch, Fetched, Purpose};
use crate::broker::shard::{Shard, Turn};
use crate::session;

impl Shard {
    /// Requests messages that the Session in `slot` is about to send.
    pub(in crate::broker) fn fetch(&mut self, slot: usize, number: u32, sequences: Vec<u64>, turn: &mut Turn<'_>) {
        let Some(session) = self.sessions.get(slot).map(|entry| entry.subscriber.key) else { return };
        let purpose = Purpose::Send { slot, number };
        turn.actions.push(Action::Fetch(Box::new(Fetch { session, sequences, purpose })));
    }

    /// Handles messages that were read. The Session that requested them may have ended, or may have moved away and back: then it has issued a
    /// new request with another number.
    pub(in crate::broker) fn on_fetched(&mut self, fetched: Fetched, turn: &mut Turn<'_>) {
        let Fetched { fetch: Fetch { session, purpose, .. }, messages, .. } = fetched;
        match purpose {
            Purpose::Send { slot, number } if self.session(slot, session).is_some() => {
                self.drive(slot, session::Event::Fetched(number, messages), turn);
                self.replay(slot, turn);
            }
            Purpose::Send { .. } => {}
            Purpose::Show { query, preview } => self.on_queue_read(query, preview, messages, turn),
            Purpose::Search { query } => self.on_search_read(query, session, messages, turn),
            Purpose::Letter { query, letter_use } => self.on_letter_fetched((query, letter_use), messages, turn),
            Purpose::Refused { slot } => self.on_refused_fetched((slot, session), messages, turn),
            Purpose::Redeliver { slot } => self.on_redeliveries_fetched((slot, session), messages, turn),
            Purpose::DeadLetters => self.on_dead_letters_fetched(session, messages, turn),
        }
    }
}
