//! A directory that verifies another one at each use: for tests.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::quality::RandomState;

use crate::broker::directory::claim::{Claim, ClaimRequest, Claimed, Held, Holder};
use crate::broker::directory::{Directory, SubscriptionTerms};
use crate::broker::operator::query::{Listed, ReceiverView, ReceiversRequest, SubscriberView, SubscriptionsRequest};
use crate::broker::owner::Owner;
use crate::broker::query::{Page, PageRequest, SubscriptionView};
use crate::codec::{ClientId, Subscription, SubscriptionId};
use crate::routing::{Route, RouteGenerations, SessionKey, ShardId, Share, SubscribeOutcome, Subscriber};
use crate::topic::{Filter, TopicFilter, TopicName};

/// A directory that compares each answer of another one with a simple model of it, and panics if they differ.
///
/// Its verbs run one after another, so it is for simulated shards, whose events run one after another as well.
#[derive(Debug)]
pub(in crate::broker) struct Checked {
    inner: Arc<dyn Directory>,
    generations: Arc<RouteGenerations>,
    model: Mutex<Model>,
}

/// The expected contents of a directory.
#[derive(Debug, Default)]
struct Model {
    holders: HashMap<ClientId, Held, RandomState>,
    last_claims: HashMap<ClientId, Claim, RandomState>,
    /// By Session and filter.
    subscriptions: BTreeMap<SessionKey, BTreeMap<String, (Filter, Weak<Subscriber>)>>,
    /// The Session with the exclusive subscription to each topic.
    exclusive: BTreeMap<TopicFilter, SessionKey>,
}

/// Receivers, and the members of each share by its filter.
type Receivers = (BTreeSet<SessionKey>, BTreeMap<String, BTreeSet<SessionKey>>);

impl Checked {
    /// `generations` are those that `inner` invalidates cached routes by. `inner` is empty.
    pub(in crate::broker) fn new(inner: Arc<dyn Directory>, generations: Arc<RouteGenerations>) -> Self {
        Self { inner, generations, model: Mutex::default() }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a change that concerns the routes of `filters`, and verifies that it is counted and published when it has been made.
    fn change<T>(&self, filters: &[TopicFilter], change: impl FnOnce() -> T) -> T {
        let published = self.generations.published();
        let sum = |filter: &TopicFilter| {
            let buckets = self.generations.buckets(&topic_of(filter)?);
            let before = self.generations.sum(&buckets);
            Some((buckets, before))
        };
        let before: Vec<_> = filters.iter().map(sum).collect();
        let result = change();
        assert!(filters.is_empty() || self.generations.published() > published, "a change was not published");
        for (before, filter) in before.iter().zip(filters) {
            let is_counted = before.as_ref().is_some_and(|(buckets, before)| self.generations.sum(buckets) > *before);
            assert!(is_counted, "a change of {filter} was not counted");
        }
        result
    }
}

impl Model {
    fn held(&self, client_id: &ClientId) -> Option<(Holder, &Owner)> {
        self.holders.get(client_id).map(|held| (held.holder, &held.owner))
    }

    fn holder(&self, client_id: &ClientId) -> Option<Holder> {
        self.held(client_id).map(|(holder, _)| holder)
    }

    fn owner(&self, client_id: &ClientId) -> Option<&Owner> {
        self.held(client_id).map(|(_, owner)| owner)
    }

    /// Notes a new holder, whose claim is the last one.
    fn hold(&mut self, client_id: &ClientId, held: Held) {
        let claim = held.holder.claim();
        let before = self.last_claims.insert(client_id.clone(), claim);
        assert!(before.is_none_or(|before| before < claim), "claim {claim:?} of {client_id} after {before:?}");
        self.holders.insert(client_id.clone(), held);
    }

    fn count_of(&self, key: SessionKey) -> usize {
        self.subscriptions.get(&key).map_or(0, BTreeMap::len)
    }

    fn filters_of(&self, key: SessionKey) -> Vec<TopicFilter> {
        let subscriptions = self.subscriptions.get(&key).into_iter().flat_map(BTreeMap::values);
        subscriptions.map(|(filter, _)| filter.topic_filter.clone()).collect()
    }

    /// The receivers of a message to `topic`, by testing every subscription.
    fn matching(&self, topic: &TopicName) -> Receivers {
        let mut receivers = Receivers::default();
        for (key, subscriptions) in &self.subscriptions {
            for (filter, subscriber) in subscriptions.values() {
                let may_receive = subscriber.upgrade().is_some_and(|subscriber| subscriber.access().receive(topic));
                if !may_receive || !filter.topic_filter.matches(topic) {
                    continue;
                }
                match &filter.share {
                    None => _ = receivers.0.insert(*key),
                    Some(_) => _ = receivers.1.entry(filter.to_string()).or_default().insert(*key),
                }
            }
        }
        receivers
    }
}

impl Directory for Checked {
    fn claim(&self, client_id: &ClientId, request: ClaimRequest<'_>) -> Result<Claimed, Owner> {
        let mut model = self.model();
        let before = self.inner.holder(client_id);
        let answer = self.inner.claim(client_id, request);
        let holder = self.inner.holder(client_id);
        match &answer {
            Err(owner) => {
                assert_eq!(before, holder, "the holder of {client_id} after a refused claim");
                assert_eq!(Some(owner), model.owner(client_id), "the owner of {client_id}");
            }
            Ok(Claimed { claim, owner, prior }) => {
                assert_eq!(holder, Some(Holder::new(request.shard, *claim)), "the holder of {client_id}");
                let held = prior.as_ref().map(|prior| (prior.holder, &prior.owner));
                assert_eq!(held, model.held(client_id), "the previous holder of {client_id}");
                model.hold(client_id, Held { holder: Holder::new(request.shard, *claim), owner: owner.clone() });
            }
        }
        answer
    }

    fn restore(&self, client_id: &ClientId, shard: ShardId, owner: &Owner) -> Claim {
        let mut model = self.model();
        let claim = self.inner.restore(client_id, shard, owner);
        model.hold(client_id, Held { holder: Holder::new(shard, claim), owner: owner.clone() });
        claim
    }

    fn set_owner(&self, client_id: &ClientId, claim: Claim, owner: &Owner) -> bool {
        let mut model = self.model();
        let is_set = self.inner.set_owner(client_id, claim, owner);
        let held = model.holders.get_mut(client_id).filter(|held| held.holder.claim() == claim);
        assert_eq!(held.map(|held| held.owner = owner.clone()).is_some(), is_set, "whether {client_id} was given");
        is_set
    }

    fn unclaim(&self, client_id: &ClientId, claim: Claim) {
        let mut model = self.model();
        self.inner.unclaim(client_id, claim);
        if model.holder(client_id).is_some_and(|holder| holder.claim() == claim) {
            model.holders.remove(client_id);
        }
        assert_eq!(self.inner.holder(client_id), model.holder(client_id), "{client_id} was unclaimed");
    }

    fn holder(&self, client_id: &ClientId) -> Option<Holder> {
        let model = self.model();
        let holder = self.inner.holder(client_id);
        assert_eq!(holder, model.holder(client_id), "the holder of {client_id}");
        holder
    }

    fn matching(&self, topic: &TopicName, route: &mut Route) {
        let model = self.model();
        self.inner.matching(topic, route);
        assert_eq!(receivers(route), model.matching(topic), "the receivers of {topic}");
    }

    fn share(&self, filter: &Filter, topic: &TopicName) -> Option<Share> {
        let model = self.model();
        let share = self.inner.share(filter, topic);
        let expected = model.matching(topic).1.remove(&filter.to_string());
        assert_eq!(share.as_ref().map(members), expected, "the members of {filter}");
        share
    }

    fn subscribe(
        &self,
        subscriber: &Arc<Subscriber>,
        subscriptions: &[(&Subscription, Option<SubscriptionId>)],
        terms: SubscriptionTerms,
    ) -> Vec<Option<SubscribeOutcome>> {
        let mut model = self.model();
        let key = subscriber.key;
        let (mut expected, mut concerned) = (Vec::new(), Vec::new());
        for (Subscription { filter, .. }, _) in subscriptions {
            let has_room = model.count_of(key) < terms.subscriptions_max;
            let Model { subscriptions: all, exclusive, .. } = &mut *model;
            let own = all.entry(key).or_default();
            let name = filter.ordinary().to_string();
            let is_new = !own.contains_key(&name);
            let holder = exclusive.get(&filter.topic_filter).copied();
            if (!has_room && is_new) || (filter.is_exclusive && holder.is_some_and(|holder| holder != key)) {
                expected.push(None);
                continue;
            }
            if filter.is_exclusive {
                exclusive.insert(filter.topic_filter.clone(), key);
            } else if filter.share.is_none() && holder == Some(key) {
                exclusive.remove(&filter.topic_filter);
            }
            own.insert(name, (filter.clone(), Arc::downgrade(subscriber)));
            concerned.push(filter.topic_filter.clone());
            expected.push(Some(if is_new { SubscribeOutcome::New } else { SubscribeOutcome::Replaced }));
        }
        let outcomes = self.change(&concerned, || self.inner.subscribe(subscriber, subscriptions, terms));
        assert_eq!(outcomes, expected, "subscriptions of {key:?}");
        outcomes
    }

    fn unsubscribe(&self, key: SessionKey, filters: &[Filter]) -> Vec<bool> {
        let mut model = self.model();
        let Model { subscriptions, exclusive, .. } = &mut *model;
        let own = subscriptions.entry(key).or_default();
        let mut remove = |filter: &Filter| {
            let is_held = exclusive.get(&filter.topic_filter) == Some(&key);
            if filter.share.is_none() && is_held != filter.is_exclusive {
                return false;
            }
            let existed = own.remove(&filter.ordinary().to_string()).is_some();
            if existed && filter.is_exclusive {
                exclusive.remove(&filter.topic_filter);
            }
            existed
        };
        let expected: Vec<bool> = filters.iter().map(&mut remove).collect();
        let concerned = filters.iter().zip(&expected).filter(|(_, existed)| **existed);
        let concerned: Vec<TopicFilter> = concerned.map(|(filter, _)| filter.topic_filter.clone()).collect();
        let existed = self.change(&concerned, || self.inner.unsubscribe(key, filters));
        assert_eq!(existed, expected, "subscriptions of {key:?}");
        existed
    }

    fn remove(&self, key: SessionKey) {
        let mut model = self.model();
        let concerned = model.filters_of(key);
        model.subscriptions.remove(&key);
        model.exclusive.retain(|_, holder| *holder != key);
        self.change(&concerned, || self.inner.remove(key));
        assert_eq!(self.inner.subscription_count_of(key), 0, "subscriptions of {key:?} after its end");
    }

    fn presence_changed(&self, key: SessionKey) {
        self.inner.presence_changed(key);
    }

    fn access_changed(&self, key: SessionKey) {
        let concerned = self.model().filters_of(key);
        self.change(&concerned, || self.inner.access_changed(key));
    }

    fn subscription_count_of(&self, key: SessionKey) -> usize {
        let model = self.model();
        let count = self.inner.subscription_count_of(key);
        assert_eq!(count, model.count_of(key), "subscriptions of {key:?}");
        count
    }

    fn subscriptions_of(&self, key: SessionKey, page: PageRequest) -> Page<SubscriptionView> {
        let answer = self.inner.subscriptions_of(key, page);
        assert!(answer.entries.len() <= page.limit, "{} entries of {}", answer.entries.len(), page.limit);
        answer
    }

    fn subscriptions(&self, request: &SubscriptionsRequest) -> Listed<SubscriberView> {
        self.inner.subscriptions(request)
    }

    fn receivers(&self, request: &ReceiversRequest) -> Listed<ReceiverView> {
        self.inner.receivers(request)
    }

    fn subscription_counts(&self) -> (usize, usize) {
        self.inner.subscription_counts()
    }
}

fn receivers(route: &Route) -> Receivers {
    let receivers = route.receivers.iter().map(|receiver| receiver.subscriber.key);
    let shares = route.shares.iter().map(|share| (share.filter().to_string(), members(share)));
    (receivers.collect(), shares.collect())
}

fn members(share: &Share) -> BTreeSet<SessionKey> {
    share.members().into_iter().collect()
}

/// A Topic Name that the filter matches.
fn topic_of(filter: &TopicFilter) -> Option<TopicName> {
    let levels = filter.as_str().split('/').map(|level| if matches!(level, "+" | "#") { "x" } else { level });
    let topic = levels.collect::<Vec<_>>().join("/");
    TopicName::try_from(topic.as_str()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::directory::in_memory::InMemoryDirectory;
    use crate::codec::{Qos, SubscriptionOptions};
    use crate::routing::{Access, Location, ShareStrategy};

    const TERMS: SubscriptionTerms =
        SubscriptionTerms { strategy: ShareStrategy::RoundRobin, subscriptions_max: usize::MAX };

    fn subscription(filter: &str) -> Subscription {
        let filter = Filter::try_from(filter).unwrap();
        Subscription { filter, options: SubscriptionOptions::new(Qos::AtLeastOnce) }
    }

    fn subscriber() -> Arc<Subscriber> {
        let location = Location { shard: ShardId(0), slot: 0 };
        let access = Arc::new(Access::everything());
        Arc::new(Subscriber::new(SessionKey(1), ClientId::from("s"), location, access))
    }

    #[test]
    #[should_panic(expected = "a change was not published")]
    fn change_that_is_not_counted_in_these_generations_is_found() {
        let inner = InMemoryDirectory::new(Arc::default());
        let checked = Checked::new(Arc::new(inner), Arc::default());
        checked.subscribe(&subscriber(), &[(&subscription("a/+"), None)], TERMS);
    }

    #[test]
    #[should_panic(expected = "the receivers of a/b")]
    fn receiver_that_the_model_does_not_have_is_found() {
        let generations = Arc::default();
        let inner = Arc::new(InMemoryDirectory::new(Arc::clone(&generations)));
        let checked = Checked::new(Arc::clone(&inner) as Arc<dyn Directory>, generations);
        inner.subscribe(&subscriber(), &[(&subscription("a/+"), None)], TERMS);
        checked.matching(&TopicName::try_from("a/b").unwrap(), &mut Route::default());
    }

    #[test]
    #[should_panic(expected = "the holder of a")]
    fn claim_that_was_made_elsewhere_is_found() {
        let generations = Arc::default();
        let inner = Arc::new(InMemoryDirectory::new(Arc::clone(&generations)));
        let checked = Checked::new(Arc::clone(&inner) as Arc<dyn Directory>, generations);
        inner.restore(&ClientId::from("a"), ShardId(1), &Owner::Anonymous);
        checked.holder(&ClientId::from("a"));
    }
}
