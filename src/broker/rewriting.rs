//! Applies the rewrite rules of the operator to the topics of packets.

use std::borrow::Cow;
use std::sync::Arc;

use crate::broker::connection::state::Connection;
use crate::broker::delayed::prefix::target_of;
use crate::broker::ids::ConnectionId;
use crate::broker::publish::ingress::Denial;
use crate::broker::publish::refusal::Refusal;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Message, ReasonCode, Subscription};
use crate::rewrite::{RewriteAction, Whose};
use crate::session::Application;
use crate::topic::{Filter, TopicFilter, TopicName};

/// The subscriptions of a part of a SUBSCRIBE packet, with the topics that the rules give them.
pub(super) struct Rewritten<'a> {
    pub(super) subscriptions: Cow<'a, [Subscription]>,
    /// Those that have no valid topic, by their place; empty: all have.
    unfit: Vec<bool>,
}

impl Rewritten<'_> {
    /// Whether the subscription at this place is refused.
    pub(super) fn is_unfit(&self, place: usize) -> bool {
        self.unfit.get(place).copied().unwrap_or(false)
    }
}

impl Shard {
    /// Replaces the topic of a PUBLISH. Reports a refusal.
    #[cold]
    pub(super) fn rewrite_publish(
        &mut self,
        id: ConnectionId,
        application: &mut Application,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        match self.rewritten_topic(id, &application.message.topic) {
            Ok(None) => Ok(()),
            Ok(Some(topic)) => {
                application.message = Arc::new(Message { topic, ..Message::clone(&application.message) });
                application.is_topic_copied = true;
                Ok(())
            }
            Err(refusal) => {
                let (topic, reason_code) = (application.message.topic.as_str().into(), refusal.reason_code);
                let rule = refusal.rule.clone();
                self.report_denied(id, Denial { packet: "PUBLISH", topic, reason_code, rule }, turn);
                Err(refusal)
            }
        }
    }

    /// The topic that the rules give a message or a Will of a client; `None`: its own. Of `$delayed/SECONDS/TOPIC`, they replace TOPIC.
    pub(super) fn rewritten_topic(&self, id: ConnectionId, topic: &TopicName) -> Result<Option<TopicName>, Refusal> {
        let rules = &self.settings.rewrite_rules;
        if rules.is_empty() || !self.within_limits(topic.as_str()) {
            return Ok(None);
        }
        let Some(connection) = self.connection(id) else { return Ok(None) };
        let (prefix, target) =
            target_of(topic.as_str()).filter(|_| self.settings.delayed_publish).unwrap_or(("", topic.as_str()));
        let refused = |cause: String| Refusal::by_limit(format!("rewriting {topic:.100}: {cause}"));
        let replaced = rules.replace(RewriteAction::Publish, target, whose(connection));
        let Some(replaced) = replaced.map_err(|unfit| refused(unfit.to_string()))? else { return Ok(None) };
        let replaced = TopicName::new(format!("{prefix}{replaced}").into());
        replaced.map(Some).map_err(|invalid| refused(invalid.to_string()))
    }

    /// The subscriptions with the topics that the rules give them. Reports those that have no valid one.
    pub(super) fn rewrite_subscriptions<'a>(
        &mut self,
        id: ConnectionId,
        requested: &'a [Subscription],
        turn: &mut Turn<'_>,
    ) -> Rewritten<'a> {
        if self.settings.rewrite_rules.is_empty() {
            return Rewritten { subscriptions: Cow::Borrowed(requested), unfit: Vec::new() };
        }
        let (mut subscriptions, mut unfit) = (requested.to_vec(), Vec::with_capacity(requested.len()));
        for subscription in &mut subscriptions {
            let replaced = self.rewritten_filter(id, &subscription.filter);
            unfit.push(replaced.is_err());
            match replaced {
                Ok(None) => {}
                Ok(Some(filter)) => subscription.filter = filter,
                Err(cause) => {
                    let (topic, reason_code) = (subscription.filter.to_string().into(), ReasonCode::TopicFilterInvalid);
                    let denial = Denial { packet: "SUBSCRIBE", topic, reason_code, rule: cause.into() };
                    self.report_denied(id, denial, turn);
                }
            }
        }
        Rewritten { subscriptions: Cow::Owned(subscriptions), unfit }
    }

    /// The Topic Filters of an UNSUBSCRIBE packet that the rules make of these. One without a valid replacement stays as it is: there is no such
    /// subscription.
    pub(super) fn rewrite_filters<'a>(&self, id: ConnectionId, filters: &'a [Filter]) -> Cow<'a, [Filter]> {
        if self.settings.rewrite_rules.is_empty() {
            return Cow::Borrowed(filters);
        }
        let rewritten = |filter: &Filter| self.rewritten_filter(id, filter).ok().flatten();
        filters.iter().map(|filter| rewritten(filter).unwrap_or_else(|| filter.clone())).collect()
    }

    /// The filter that the rules make of the part behind `$share/GROUP/` or `$exclusive/`, or of the whole; `None`: it stays as it is.
    fn rewritten_filter(&self, id: ConnectionId, filter: &Filter) -> Result<Option<Filter>, String> {
        let text = filter.topic_filter.as_str();
        let Some(connection) = self.connection(id).filter(|_| self.within_limits(text)) else { return Ok(None) };
        let replaced = self.settings.rewrite_rules.replace(RewriteAction::Subscribe, text, whose(connection));
        let Some(replaced) = replaced.map_err(|unfit| unfit.to_string())? else { return Ok(None) };
        let replaced = if filter.share.is_none() && !filter.is_exclusive {
            Filter::new(replaced.into()) // it may become an exclusive subscription
        } else {
            TopicFilter::new(replaced.into()).map(|topic_filter| Filter { topic_filter, ..filter.clone() })
        };
        replaced.map(Some).map_err(|invalid| invalid.to_string())
    }
}

/// The names of a client.
pub(super) fn whose(connection: &Connection) -> Whose<'_> {
    let client_id = connection.client_id.as_ref().map_or("", |client_id| client_id.as_str());
    Whose { client_id, user: connection.verified_user().map(|user| &**user) }
}
