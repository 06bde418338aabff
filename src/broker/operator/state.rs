use crate::broker::operator::drops::Drops;
use crate::broker::operator::outcomes::{OutcomeKind, Outcomes};
use crate::broker::operator::query::TopicAnswer;
use crate::broker::operator::refusals::{Refusals, Refused};
use crate::broker::query::QueryId;
use crate::broker::report::ClientLabel;
use crate::session::Ticket;
use crate::timestamp::Timestamp;

/// What a shard keeps for operators.
#[derive(Debug, Default)]
pub(in crate::broker) struct Operator {
    pub(in crate::broker) outcomes: Outcomes,
    pub(in crate::broker) refusals: Refusals,
    pub(in crate::broker) drops: Drops,
    /// Answers that wait until their ticket is stable. The caller of [`Event::Query`](crate::broker::Event::Query) bounds their number.
    pub(in crate::broker) answers: Vec<(Ticket, QueryId, TopicAnswer)>,
}

impl Operator {
    /// Counts and notes a refusal.
    pub(in crate::broker) fn refused(&mut self, now: Timestamp, client: &ClientLabel, refused: Refused<'_>) {
        let what = OutcomeKind::Refused(refused.action);
        self.outcomes.count(client.listener.as_ref(), what, Some(refused.reason_code));
        self.refusals.note(now, client, refused);
    }
}
