use std::ops::Deref;
use std::sync::{Arc, RwLockWriteGuard};

use crate::codec::{Subscription, SubscriptionId};
use crate::routing::{RouteGenerations, SessionKey, ShareStrategy, SubscribeOutcome, Subscriber, SubscriptionIndex};
use crate::topic::Filter;

/// The subscription index, locked for changes. Dropping it invalidates the affected cached routes.
#[derive(Debug)]
pub(in crate::broker) struct IndexChange<'a> {
    index: RwLockWriteGuard<'a, SubscriptionIndex>,
    generations: &'a RouteGenerations,
    has_changed: bool,
}

impl<'a> IndexChange<'a> {
    pub(in crate::broker) const fn new(
        index: RwLockWriteGuard<'a, SubscriptionIndex>,
        generations: &'a RouteGenerations,
    ) -> Self {
        Self { index, generations, has_changed: false }
    }

    /// See [`SubscriptionIndex::subscribe`].
    pub(in crate::broker) fn subscribe(
        &mut self,
        subscriber: &Arc<Subscriber>,
        subscription: &Subscription,
        id: Option<SubscriptionId>,
        strategy: ShareStrategy,
    ) -> SubscribeOutcome {
        self.has_changed = true;
        self.generations.change(&subscription.filter.topic_filter);
        self.index.subscribe(subscriber, subscription, id, strategy)
    }

    /// See [`SubscriptionIndex::unsubscribe`].
    pub(in crate::broker) fn unsubscribe(&mut self, key: SessionKey, filter: &Filter) -> bool {
        let existed = self.index.unsubscribe(key, filter);
        if existed {
            self.has_changed = true;
            self.generations.change(&filter.topic_filter);
        }
        existed
    }

    /// See [`SubscriptionIndex::remove`].
    pub(in crate::broker) fn remove(&mut self, key: SessionKey) {
        self.has_changed = true;
        change_all_of(key, &self.index, self.generations);
        self.index.remove(key);
    }
}

impl Deref for IndexChange<'_> {
    type Target = SubscriptionIndex;

    fn deref(&self) -> &SubscriptionIndex {
        &self.index
    }
}

impl Drop for IndexChange<'_> {
    fn drop(&mut self) {
        if self.has_changed {
            self.generations.publish(); // before the lock is released
        }
    }
}

/// Marks the routes of all subscriptions of a Session as changed.
pub(in crate::broker) fn change_all_of(key: SessionKey, index: &SubscriptionIndex, generations: &RouteGenerations) {
    if index.subscription_count_of(key) > COUNTED_MAX {
        return generations.change_all();
    }
    for (subscription, _) in index.subscriptions_of(key) {
        generations.change(&subscription.filter.topic_filter);
    }
}

/// The number of filters up to which they are marked one by one. For more, resolving all cached routes again is cheaper.
const COUNTED_MAX: usize = 1_024;
