use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::codec::{Subscription, SubscriptionId, SubscriptionOptions};
use crate::routing::compact_map::CompactMap;
use crate::routing::filter_tree::{FilterId, FilterTree};
use crate::routing::listing::{ListedSubscription, Listing, ListingScope, SubscriptionPlace};
use crate::routing::matching::resolve;
use crate::routing::receiver::Subscribed;
use crate::routing::route::Route;
use crate::routing::shared::{Share, ShareStrategy};
use crate::routing::subscriber::{SessionKey, Subscriber};
use crate::topic::{Filter, ShareName, TopicName};

/// The subscriptions of all Sessions.
#[derive(Debug)]
pub struct SubscriptionIndex {
    filters: FilterTree,
    sessions: HashMap<SessionKey, SessionSubscriptions, foldhash::fast::RandomState>,
    subscriptions: usize,
    shared_subscriptions: usize,
}

/// The result of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeOutcome {
    /// The Session had no subscription to this filter.
    New,
    /// The Session had a subscription to this filter, which is replaced. [MQTT-3.8.4-3]
    Replaced,
}

/// The subscriptions of one Session.
#[derive(Debug, Default)]
struct SessionSubscriptions {
    own: CompactMap<FilterId, ()>,
    #[expect(clippy::box_collection, reason = "most sessions have no shared subscription and need only a pointer")]
    shared: Option<Box<BTreeSet<(FilterId, ShareName)>>>,
}

impl SubscriptionIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self { filters: FilterTree::new(), sessions: HashMap::default(), subscriptions: 0, shared_subscriptions: 0 }
    }

    /// Adds `subscription`, or replaces the Session's subscription to the identical filter. [MQTT-3.8.4-3]
    ///
    /// A share uses `strategy` from now on; it has no effect on a Non-shared Subscription.
    pub fn subscribe(
        &mut self,
        subscriber: &Arc<Subscriber>,
        subscription: &Subscription,
        id: Option<SubscriptionId>,
        strategy: ShareStrategy,
    ) -> SubscribeOutcome {
        let Subscription { filter, options } = subscription;
        let key = subscriber.key;
        let filter_id = self.filters.find_or_insert(&filter.topic_filter);
        let subscribed = Subscribed { subscriber: Arc::clone(subscriber), options: *options, id };
        let subscriptions = self.filters.subscriptions_mut(filter_id);
        let replaced = match &filter.share {
            None => subscriptions.insert(subscribed),
            Some(_) => subscriptions.change_shares(|shares| shares.join(filter, subscribed, strategy)),
        };
        if replaced.is_some() {
            return SubscribeOutcome::Replaced;
        }
        let session = self.sessions.entry(key).or_default();
        self.subscriptions += 1;
        match &filter.share {
            None => _ = session.own.insert(filter_id, ()),
            Some(share) => {
                session.shared.get_or_insert_default().insert((filter_id, share.detached()));
                self.shared_subscriptions += 1;
            }
        }
        SubscribeOutcome::New
    }

    /// Whether the Session `key` is subscribed to the identical filter.
    pub fn is_subscribed(&self, key: SessionKey, filter: &Filter) -> bool {
        let Some(filter_id) = self.filters.find(&filter.topic_filter) else { return false };
        self.sessions.get(&key).is_some_and(|session| session.has(filter_id, filter.share.as_ref()))
    }

    /// Removes the Session's subscription to the identical filter. Returns `false` if there is none. [MQTT-3.10.4-1]
    pub fn unsubscribe(&mut self, key: SessionKey, filter: &Filter) -> bool {
        let Some(filter_id) = self.filters.find(&filter.topic_filter) else { return false };
        let Some(session) = self.sessions.get_mut(&key) else { return false };
        if !session.forget(filter_id, filter.share.as_ref()) {
            return false;
        }
        if session.len() == 0 {
            self.sessions.remove(&key);
        }
        self.leave(key, filter_id, filter.share.as_ref());
        true
    }

    /// Removes all subscriptions of the Session `key`.
    pub fn remove(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.remove(&key) else { return };
        for (&filter_id, ()) in session.own.iter() {
            self.leave(key, filter_id, None);
        }
        for (filter_id, share) in session.shared.iter().flat_map(|shared| shared.iter()) {
            self.leave(key, *filter_id, Some(share));
        }
    }

    /// Takes notice that the Session `key` has connected or disconnected, or has other access rules: its shares choose by that.
    ///
    /// The caller must also invalidate the cached routes of its subscriptions if the access rules have changed.
    pub fn refresh_shares(&self, key: SessionKey) {
        let shared = self.sessions.get(&key).and_then(|session| session.shared.as_ref());
        for (filter_id, name) in shared.into_iter().flat_map(|shared| shared.iter()) {
            if let Some(shares) = self.filters.subscriptions(*filter_id).shares() {
                shares.refresh(name, key);
            }
        }
    }

    /// The receivers of a message to `topic`, without those whose access rules deny it.
    pub fn matching(&self, topic: &TopicName) -> Route {
        let mut route = Route::default();
        self.resolve(topic, &mut route);
        route
    }

    /// Makes `route` that of a message to `topic`, without receivers whose access rules deny it. Its memory is used again.
    pub fn resolve(&self, topic: &TopicName, route: &mut Route) {
        resolve(&self.filters.matching(topic), topic, route);
    }

    /// The share that `filter` names, for a message to `topic`, to select another member.
    pub fn share(&self, filter: &Filter, topic: &TopicName) -> Option<Share> {
        let filter_id = self.filters.find(&filter.topic_filter)?;
        self.filters.subscriptions(filter_id).shares()?.resolve(filter.share.as_ref()?, topic)
    }

    /// The subscriptions of the Session `key`, in an unspecified but deterministic order.
    pub fn subscriptions_of(&self, key: SessionKey) -> impl Iterator<Item = (Subscription, Option<SubscriptionId>)> {
        let session = self.sessions.get(&key);
        let own = session.into_iter().flat_map(|session| session.own.iter()).map(|(&filter_id, ())| (filter_id, None));
        let shared = session.and_then(|session| session.shared.as_ref());
        let shared =
            shared.into_iter().flat_map(|shared| shared.iter()).map(|(filter_id, share)| (*filter_id, Some(share)));
        own.chain(shared).filter_map(move |(filter_id, share)| {
            let subscriptions = self.filters.subscriptions(filter_id);
            let subscribed = match share {
                None => subscriptions.own().get(&key).cloned(),
                Some(share) => subscriptions.shares()?.get(share, key),
            }?;
            let filter = Filter { share: share.cloned(), topic_filter: self.filters.filter(filter_id) };
            Some((Subscription { filter, options: subscribed.options }, subscribed.id))
        })
    }

    /// Passes subscriptions to `found`, from `from` on, until it breaks, or until `visits` filters and subscriptions were visited. `found` returns
    /// what a subscription costs in visits, beside one. Returns where to continue; `None`: everything was listed.
    ///
    /// A step costs the same whatever was listed before, except for [`ListingScope::Matching`]: each call looks up the matching filters.
    pub fn list(
        &self,
        scope: ListingScope<'_>,
        from: &SubscriptionPlace,
        visits: &mut usize,
        found: impl FnMut(ListedSubscription<'_>) -> ControlFlow<(), usize>,
    ) -> Option<SubscriptionPlace> {
        Listing { filters: &self.filters, visits, found }.run(scope, from)
    }

    /// The number of subscriptions, including shared ones.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions
    }

    /// The number of Shared Subscriptions.
    pub fn shared_subscription_count(&self) -> usize {
        self.shared_subscriptions
    }

    /// The number of subscriptions of the Session `key`, including shared ones.
    pub fn subscription_count_of(&self, key: SessionKey) -> usize {
        self.sessions.get(&key).map_or(0, SessionSubscriptions::len)
    }

    /// Removes a Session from a filter. The caller removes the filter from the Session's list.
    fn leave(&mut self, key: SessionKey, filter_id: FilterId, share: Option<&ShareName>) {
        let subscriptions = self.filters.subscriptions_mut(filter_id);
        let removed = match share {
            None => subscriptions.remove(key),
            Some(share) => subscriptions.change_shares(|shares| shares.leave(share, key)),
        };
        assert!(removed.is_some(), "the session's list and the filters are consistent");
        self.filters.prune(filter_id);
        self.subscriptions -= 1;
        self.shared_subscriptions -= usize::from(share.is_some());
    }
}

impl Default for SubscriptionIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl SessionSubscriptions {
    fn len(&self) -> usize {
        self.own.len() + self.shared.as_ref().map_or(0, |shared| shared.len())
    }

    fn has(&self, filter_id: FilterId, share: Option<&ShareName>) -> bool {
        let Some(share) = share else { return self.own.get(&filter_id).is_some() };
        self.shared.as_ref().is_some_and(|shared| shared.contains(&(filter_id, share.clone())))
    }

    fn forget(&mut self, filter_id: FilterId, share: Option<&ShareName>) -> bool {
        let Some(share) = share else { return self.own.remove(&filter_id).is_some() };
        let Some(shared) = &mut self.shared else { return false };
        let removed = shared.remove(&(filter_id, share.clone()));
        if shared.is_empty() {
            self.shared = None;
        }
        removed
    }
}

const _: () = assert!(size_of::<(SessionKey, SessionSubscriptions)>() <= 32);
const _: () = assert!(size_of::<Subscribed>() == 16);
const _: () = assert!(size_of::<SubscriptionOptions>() == 4);

#[cfg(test)]
mod tests;
