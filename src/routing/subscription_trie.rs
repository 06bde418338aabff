use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::codec::{Subscription, SubscriptionId, SubscriptionOptions};
use crate::dense_map::DenseMap;
use crate::routing::ShareCounts;
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
    sessions: DenseMap<SessionKey, SessionSubscriptions, foldhash::fast::RandomState>,
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
enum SessionSubscriptions {
    #[default]
    None,
    /// One that is not shared: most Sessions have no more.
    One(FilterId),
    Many(Box<ManySubscriptions>),
}

/// The filters of a Session that has several subscriptions, or a shared one.
#[derive(Debug, Default)]
struct ManySubscriptions {
    own: BTreeSet<FilterId>,
    shared: BTreeSet<(FilterId, ShareName)>,
}

impl SubscriptionIndex {
    /// An empty index.
    pub fn new() -> Self {
        Self { filters: FilterTree::new(), sessions: DenseMap::default(), subscriptions: 0, shared_subscriptions: 0 }
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
        self.sessions.or_default(key).add(filter_id, filter.share.as_ref());
        self.subscriptions += 1;
        self.shared_subscriptions += usize::from(filter.share.is_some());
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
        for (filter_id, share) in session.iter() {
            self.leave(key, filter_id, share);
        }
    }

    /// Takes notice that the Session `key` has connected or disconnected, or has other access rules: its shares choose by that.
    ///
    /// The caller must also invalidate the cached routes of its subscriptions if the access rules have changed.
    pub fn refresh_shares(&self, key: SessionKey) {
        let subscriptions = self.sessions.get(&key).into_iter().flat_map(SessionSubscriptions::iter);
        for (filter_id, name) in subscriptions {
            if let Some(name) = name
                && let Some(shares) = self.filters.subscriptions(filter_id).shares()
            {
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

    /// How many members of a share may receive messages of its Topic Filter.
    pub fn share_counts(&self, filter: &Filter) -> ShareCounts {
        let shares = self.filters.find(&filter.topic_filter).and_then(|id| self.filters.subscriptions(id).shares());
        shares.zip(filter.share.as_ref()).map(|(shares, name)| shares.counts(name)).unwrap_or_default()
    }

    /// The Shared Subscriptions of the Session `key`.
    pub fn shares_of(&self, key: SessionKey) -> impl Iterator<Item = Filter> {
        let subscriptions = self.sessions.get(&key).into_iter().flat_map(SessionSubscriptions::iter);
        subscriptions.filter_map(|(filter_id, share)| {
            let share = Some(share?.clone());
            Some(Filter { share, topic_filter: self.filters.filter(filter_id), is_exclusive: false })
        })
    }

    /// The subscriptions of the Session `key`, in an unspecified but deterministic order.
    pub fn subscriptions_of(&self, key: SessionKey) -> impl Iterator<Item = (Subscription, Option<SubscriptionId>)> {
        let subscriptions = self.sessions.get(&key).into_iter().flat_map(SessionSubscriptions::iter);
        subscriptions.filter_map(move |(filter_id, share)| {
            let subscriptions = self.filters.subscriptions(filter_id);
            let subscribed = match share {
                None => subscriptions.own().get(&key).cloned(),
                Some(share) => subscriptions.shares()?.get(share, key),
            }?;
            let filter = Filter {
                share: share.cloned(),
                topic_filter: self.filters.filter(filter_id),
                is_exclusive: false, // the directory knows it
            };
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
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(many) => many.own.len() + many.shared.len(),
        }
    }

    fn has(&self, filter_id: FilterId, share: Option<&ShareName>) -> bool {
        match (self, share) {
            (Self::One(only), None) => *only == filter_id,
            (Self::None, _) | (Self::One(_), Some(_)) => false,
            (Self::Many(many), None) => many.own.contains(&filter_id),
            (Self::Many(many), Some(share)) => many.shared.contains(&(filter_id, share.clone())),
        }
    }

    fn add(&mut self, filter_id: FilterId, share: Option<&ShareName>) {
        let mut many = match std::mem::take(self) {
            Self::None if share.is_none() => return *self = Self::One(filter_id),
            Self::None => Box::default(),
            Self::One(only) => Box::new(ManySubscriptions { own: BTreeSet::from([only]), ..Default::default() }),
            Self::Many(many) => many,
        };
        match share {
            None => many.own.insert(filter_id),
            Some(share) => many.shared.insert((filter_id, share.detached())),
        };
        *self = Self::Many(many);
    }

    fn forget(&mut self, filter_id: FilterId, share: Option<&ShareName>) -> bool {
        if !self.has(filter_id, share) {
            return false;
        }
        if let Self::Many(mut many) = std::mem::take(self) {
            match share {
                None => many.own.remove(&filter_id),
                Some(share) => many.shared.remove(&(filter_id, share.clone())),
            };
            *self = match (many.own.first(), many.own.len() + many.shared.len()) {
                (_, 0) => Self::None,
                (Some(only), 1) => Self::One(*only),
                _ => Self::Many(many),
            };
        }
        true
    }

    /// The filters, with the names of shares.
    fn iter(&self) -> impl Iterator<Item = (FilterId, Option<&ShareName>)> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(only) => (Some(*only), None),
            Self::Many(many) => (None, Some(many)),
        };
        let own = many.into_iter().flat_map(|many| many.own.iter().copied());
        let shared = many.into_iter().flat_map(|many| many.shared.iter());
        one.into_iter()
            .chain(own)
            .map(|filter_id| (filter_id, None))
            .chain(shared.map(|(filter_id, name)| (*filter_id, Some(name))))
    }
}

const _: () = assert!(size_of::<Option<(SessionKey, SessionSubscriptions)>>() == 24);
const _: () = assert!(size_of::<Subscribed>() == 16);
const _: () = assert!(size_of::<SubscriptionOptions>() == 4);

#[cfg(test)]
mod tests;
