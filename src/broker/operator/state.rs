use crate::broker::operator::drops::Drops;
use crate::broker::operator::query::TopicAnswer;
use crate::broker::operator::refusals::Refusals;
use crate::broker::query::QueryId;
use crate::session::Ticket;

/// What a shard keeps for operators.
#[derive(Debug, Default)]
pub(in crate::broker) struct Operator {
    pub(in crate::broker) refusals: Refusals,
    pub(in crate::broker) drops: Drops,
    /// Answers that wait until their ticket is stable. The caller of [`Event::Query`](crate::broker::Event::Query) bounds their number.
    pub(in crate::broker) answers: Vec<(Ticket, QueryId, TopicAnswer)>,
}
