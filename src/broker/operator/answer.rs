//! Answers [queries about topics](crate::broker::operator::query).

use crate::broker::action::Action;
use crate::broker::operator::query::{LogRequest, ReceiversRequest, SubscriptionsRequest, TopicAnswer, TopicQuery};
use crate::broker::query::{Answer, PAGE_MAX, QueryId};
use crate::broker::shard::{Shard, Turn};
use crate::session::Ticket;

impl Shard {
    pub(in crate::broker) fn on_topic_query(&mut self, id: QueryId, query: &TopicQuery, turn: &mut Turn<'_>) {
        let answer = match query {
            TopicQuery::Subscriptions(request) => {
                let request = SubscriptionsRequest { limit: page(request.limit), ..request.clone() };
                TopicAnswer::Subscriptions(self.shared.directory.subscriptions(&request))
            }
            TopicQuery::Receivers(request) => {
                let request = ReceiversRequest { limit: page(request.limit), ..request.clone() };
                let is_retained = self.retained_message(&request.topic, turn.now).is_some();
                TopicAnswer::Receivers(self.shared.directory.receivers(&request), is_retained)
            }
            TopicQuery::Retained(request) => self.retained_messages(request, turn.now),
            TopicQuery::RetainedMessage(topic) => TopicAnswer::RetainedMessage(self.retained_message(topic, turn.now)),
            TopicQuery::DeleteRetained(request) => {
                let (answer, wait) = self.delete_retained(request, turn);
                return self.answer_topics_when_stable(id, answer, wait, turn);
            }
            TopicQuery::Publish(message) => {
                let (answer, wait) = self.publish_of_operator(message, turn);
                return self.answer_topics_when_stable(id, TopicAnswer::Published(answer), wait, turn);
            }
            TopicQuery::Explain(request) => TopicAnswer::Explained(self.explain(request)),
            TopicQuery::Refusals(request) => TopicAnswer::Refusals(self.operator.refusals.page(log_page(request))),
            TopicQuery::Drops(request) => TopicAnswer::Drops(self.operator.drops.page(log_page(request))),
        };
        push(id, answer, turn);
    }

    /// Answers a query when `wait` is stable.
    fn answer_topics_when_stable(
        &mut self,
        id: QueryId,
        answer: TopicAnswer,
        wait: Option<Ticket>,
        turn: &mut Turn<'_>,
    ) {
        match wait.filter(|ticket| !self.pipeline.is_stable(*ticket)) {
            Some(ticket) => self.operator.answers.push((ticket, id, answer)),
            None => push(id, answer, turn),
        }
    }

    /// Answers the queries whose records are stable now.
    pub(in crate::broker) fn answer_operators(&mut self, turn: &mut Turn<'_>) {
        let pipeline = &self.pipeline;
        for (_, id, answer) in self.operator.answers.extract_if(.., |(ticket, ..)| pipeline.is_stable(*ticket)) {
            push(id, answer, turn);
        }
    }
}

fn push(id: QueryId, answer: TopicAnswer, turn: &mut Turn<'_>) {
    turn.actions.push(Action::Answer(id, Box::new(Answer::Topics(answer))));
}

fn page(limit: usize) -> usize {
    limit.clamp(1, PAGE_MAX)
}

fn log_page(request: &LogRequest) -> LogRequest {
    LogRequest { limit: page(request.limit), ..*request }
}
