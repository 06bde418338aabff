//! Which Session has the exclusive subscription to a topic: `$exclusive/TOPIC`.

use std::collections::HashMap;

use foldhash::quality::RandomState;

use crate::routing::SessionKey;
use crate::topic::{Filter, TopicFilter};

/// The exclusive subscriptions of all Sessions, connected or not. They change together with the index of subscriptions, under its lock, so of two
/// Sessions that subscribe at the same time, one gets the subscription.
#[derive(Debug, Default)]
pub(in crate::broker) struct ExclusiveSubscriptions(HashMap<TopicFilter, SessionKey, RandomState>);

impl ExclusiveSubscriptions {
    /// Whether the Session may have this subscription. Only an exclusive one can belong to another Session.
    pub(in crate::broker) fn admits(&self, filter: &Filter, key: SessionKey) -> bool {
        !filter.is_exclusive || self.0.get(&filter.topic_filter).is_none_or(|holder| *holder == key)
    }

    /// The Session has subscribed: an ordinary subscription to the same topic replaces its exclusive one.
    pub(in crate::broker) fn subscribed(&mut self, filter: &Filter, key: SessionKey) {
        if filter.is_exclusive {
            self.0.insert(filter.topic_filter.clone(), key);
        } else if filter.share.is_none() {
            self.release(&filter.topic_filter, key);
        }
    }

    /// Whether the subscription of the Session to this topic, if it has one, is of the kind that the filter names.
    pub(in crate::broker) fn names(&self, filter: &Filter, key: SessionKey) -> bool {
        filter.share.is_some() || filter.is_exclusive == self.has(&filter.topic_filter, key)
    }

    /// Whether the Session has the exclusive subscription to this topic.
    pub(in crate::broker) fn has(&self, topic_filter: &TopicFilter, key: SessionKey) -> bool {
        !self.0.is_empty() && self.0.get(topic_filter) == Some(&key)
    }

    /// The Session has no exclusive subscription to this topic any more.
    pub(in crate::broker) fn release(&mut self, topic_filter: &TopicFilter, key: SessionKey) {
        if self.has(topic_filter, key) {
            self.0.remove(topic_filter);
        }
    }

    /// Whether there are none.
    pub(in crate::broker) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
