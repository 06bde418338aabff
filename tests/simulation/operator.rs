//! An operator who ends connections and looks at queues and messages, at the shard that has the Session or at another one.

use std::collections::HashSet;

use oncemq::broker::{Answer, Event, HoldersRequest, JourneyRequest, Kick, Query, QueryId, QueuePlace, QueueRequest};
use oncemq::codec::{ClientId, MessageId, ReasonCode};

use crate::world::{Phase, Step, World};

/// What the operator has asked for.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    last: u64,
    /// The requests that are not answered, since the last start of the broker.
    waiting: HashSet<u64>,
}

impl World {
    /// Begins the requests, if connections end in this run anyway.
    pub(crate) fn begin_operator(&mut self) {
        if self.mix.losses > 0 || self.mix.refuses_messages || self.mix.groups {
            let delay = self.rng.between(1, INTERVAL_MAX);
            self.schedule(delay, Step::Operate);
        }
    }

    pub(crate) fn on_operate(&mut self) {
        if self.phase != Phase::Busy {
            return;
        }
        let longest = if self.mix.refuses_messages { LETTERS_INTERVAL_MAX } else { INTERVAL_MAX };
        let delay = self.rng.between(1, longest);
        self.schedule(delay, Step::Operate);
        if self.mix.refuses_messages {
            for _ in 0..8 {
                self.operate_letters();
            }
        }
        if self.mix.groups && self.rng.percent(20) {
            self.operate_groups();
        }
        if self.mix.losses == 0 || self.mix.refuses_messages && self.rng.percent(80) {
            return;
        }
        let (client, shard) = (self.rng.index(self.clients.len()), self.rng.index(self.shards.len()));
        let client_id = ClientId::from(format!("c{client}"));
        let message = MessageId { run: 0, number: (shard as u64) << 48 | self.rng.between(1, 40) };
        let query = if self.rng.percent(20) {
            Query::Journey(Box::new(JourneyRequest { id: message, receivers: Vec::new(), from: 0 }))
        } else if self.rng.percent(20) {
            Query::Holders(HoldersRequest { id: message, from: QueuePlace::default() })
        } else if self.rng.percent(50) {
            Query::Kick(Box::new(Kick { client_id, reason_code: ReasonCode::AdministrativeAction, ban: None }))
        } else {
            Query::Queue(client_id, QueueRequest { limit: 10, preview: 10 })
        };
        if self.restarting.is_some() {
            return;
        }
        let id = self.operator.next_request();
        self.trace.note(self.now, Some(client), || format!("operator asks shard {shard}: {query:?}"));
        self.handle(shard, Event::Query(QueryId(id), Box::new(query)));
    }

    pub(crate) fn on_answer(&mut self, id: QueryId, answer: &Answer) {
        self.trace.note(self.now, None, || format!("operator reads {answer:?}"));
        if !self.operator.waiting.remove(&id.0) {
            self.fail(None, format!("a second answer to request {}", id.0));
        }
        self.on_letters(id.0, answer);
        self.on_group_answer(id.0, answer);
    }

    pub(crate) fn check_answered(&self) -> Result<(), String> {
        let waiting = &self.operator.waiting;
        if waiting.is_empty() { Ok(()) } else { Err(format!("requests without an answer: {waiting:?}")) }
    }
}

impl Operator {
    /// The number of a new request.
    pub(crate) fn next_request(&mut self) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last);
        self.last
    }

    /// The broker has crashed.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
    }
}

/// The longest time between two requests, in milliseconds.
const INTERVAL_MAX: u64 = 600;
/// The same for an operator who looks at dead letters.
const LETTERS_INTERVAL_MAX: u64 = 100;
