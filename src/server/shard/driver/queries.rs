//! The methods of [`Driver`] for queries: adds to requests and answers what only the driver knows.

use std::time::Duration;

use super::Driver;
use crate::auth::Source;
use crate::broker::{Answer, ClientView, Event, KickOutcome, KickedClient, QueryId};
use crate::server::bans::{Ban, Subject};
use crate::server::shard::queries::{QueryRequest, complete};

impl Driver {
    pub(super) fn on_query(&mut self, request: QueryRequest) {
        let QueryRequest { mut query, responder } = request;
        complete(&mut query, &self.authentication);
        let id = self.queries.add(responder);
        self.handle(Event::Query(id, Box::new(query)));
    }

    pub(super) fn on_answer(&mut self, id: QueryId, mut answer: Answer) {
        match &mut answer {
            Answer::Clients(page) => page.entries.iter_mut().for_each(|view| self.set_bytes(view)),
            Answer::Client(Some(view)) => self.set_bytes(view),
            Answer::Kick(outcome) => self.ban_kicked(outcome),
            Answer::Client(None)
            | Answer::Subscriptions(_)
            | Answer::History(_)
            | Answer::Queue(_)
            | Answer::Journey(_)
            | Answer::Holders(_)
            | Answer::Tail(_)
            | Answer::Topics(_)
            | Answer::DeadLetters(_)
            | Answer::Group(_)
            | Answer::Gift(_)
            | Answer::Forget(_) => {}
        }
        self.queries.answer(id, answer);
    }

    fn set_bytes(&mut self, view: &mut ClientView) {
        if let Some(connection) = &mut view.connection
            && let Some(entry) = self.connections.get_mut(connection.id)
        {
            connection.bytes = (entry.bytes_received, entry.bytes_sent);
        }
    }

    /// Bans a client whose connection an operator has just ended, before it can know that it is ended: its verified user, or else its address.
    fn ban_kicked(&self, outcome: &mut KickOutcome) {
        if let KickOutcome::Kicked(client) = outcome
            && let KickedClient { verified_user, address, ban: Some(time) } = &**client
            && !self.ban(
                verified_user.clone().map(Subject::User),
                address.map(|address| Source::of(Some(address.ip()))),
                *time,
            )
        {
            *outcome = KickOutcome::NotBanned;
        }
    }

    fn ban(&self, user: Option<Subject>, address: Option<Source>, time: Duration) -> bool {
        let Some(subject) = user.or(address.map(Subject::Address)) else { return false };
        let ban = Ban { until: self.reading.now + time, reason: "disconnected by an operator".to_owned() };
        self.bans.add(subject, ban, self.reading.now).is_ok()
    }
}
