//! The directory of the shards of one process, in its memory.

use std::hash::BuildHasher;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::quality::RandomState;

use crate::broker::cells::CellState;
use crate::broker::directory::claim::{Claim, ClaimRequest, Claimed, Held, Holder};
use crate::broker::directory::exclusive::ExclusiveSubscriptions;
use crate::broker::directory::{Directory, SubscriptionTerms};
use crate::broker::operator::query::{Listed, ReceiverView, ReceiversRequest, SubscriberView, SubscriptionsRequest};
use crate::broker::owner::Owner;
use crate::broker::query::{PAGE_MAX, Page, PageRequest, SubscriptionView};
use crate::codec::{ClientId, Subscription, SubscriptionId};
use crate::dense_map::DenseMap;
use crate::routing::{
    ListingScope, Route, RouteGenerations, SessionKey, ShardId, Share, SubscribeOutcome, Subscriber, SubscriptionIndex,
};
use crate::topic::{Filter, TopicName};

/// The directory of the shards of one process: maps of Client Identifiers and a locked index.
#[derive(Debug)]
pub(in crate::broker) struct InMemoryDirectory {
    holders: Holders,
    claims: AtomicU64,
    index: RwLock<SubscriptionIndex>,
    /// Locked after `index`, and changed while that is locked for changes.
    exclusive: Mutex<ExclusiveSubscriptions>,
    generations: Arc<RouteGenerations>,
    /// Is told of subscriptions, so that other cells are.
    cell: Option<Arc<CellState>>,
}

/// Who holds which Client Identifier: maps with a lock each, so that shards seldom wait for each other.
#[derive(Debug)]
struct Holders {
    parts: [Mutex<HolderMap>; HOLDER_PARTS],
    hasher: RandomState,
}

type HolderMap = DenseMap<ClientId, Held, RandomState>;

impl Holders {
    /// The map that has the entry of a Client Identifier.
    fn part(&self, client_id: &ClientId) -> MutexGuard<'_, HolderMap> {
        let [part, ..] = self.hasher.hash_one(client_id).to_le_bytes();
        let [first, ..] = &self.parts;
        self.parts.get(usize::from(part) % HOLDER_PARTS).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Holders {
    fn default() -> Self {
        Self { parts: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::default() }
    }
}

impl InMemoryDirectory {
    /// An empty directory that invalidates cached routes by `generations`.
    pub(in crate::broker) fn new(generations: Arc<RouteGenerations>) -> Self {
        Self {
            holders: Holders::default(),
            claims: AtomicU64::new(1),
            index: RwLock::new(SubscriptionIndex::new()),
            exclusive: Mutex::default(),
            generations,
            cell: None,
        }
    }

    /// The same for a cell, which tells others what its Sessions want.
    pub(in crate::broker) fn of_cell(self, cell: Arc<CellState>) -> Self {
        Self { cell: Some(cell), ..self }
    }

    /// A Session has got a subscription.
    fn subscribed(&self, filter: &Filter, outcome: SubscribeOutcome, index: &SubscriptionIndex) {
        match &self.cell {
            Some(cell) if filter.share.is_some() => cell.share_changed(filter, true, || index.share_counts(filter)),
            Some(cell) if outcome == SubscribeOutcome::New => cell.subscribed(&filter.topic_filter),
            Some(_) | None => {}
        }
    }

    /// A Session has lost a subscription.
    fn unsubscribed(&self, filter: &Filter, index: &SubscriptionIndex) {
        match &self.cell {
            Some(cell) if filter.share.is_some() => cell.share_changed(filter, false, || index.share_counts(filter)),
            Some(cell) => cell.unsubscribed(&filter.topic_filter),
            None => {}
        }
    }

    /// The members of the shares of a Session have changed: those that are connected, or those that may receive.
    fn members_changed(&self, key: SessionKey, index: &SubscriptionIndex) {
        index.refresh_shares(key);
        if let Some(cell) = &self.cell {
            let tell = |filter: Filter| cell.share_changed(&filter, false, || index.share_counts(&filter));
            index.shares_of(key).for_each(tell);
        }
    }

    fn next_claim(&self) -> Claim {
        Claim(self.claims.fetch_add(1, Ordering::Relaxed))
    }

    fn index(&self) -> RwLockReadGuard<'_, SubscriptionIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, SubscriptionIndex> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> MutexGuard<'_, ExclusiveSubscriptions> {
        self.exclusive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a change of the routes of all subscriptions of a Session.
    fn change_all_of(&self, key: SessionKey, index: &SubscriptionIndex) {
        if index.subscription_count_of(key) > COUNTED_MAX {
            return self.generations.change_all();
        }
        for (subscription, _) in index.subscriptions_of(key) {
            self.generations.change(&subscription.filter.topic_filter);
        }
    }
}

impl Directory for InMemoryDirectory {
    fn claim(&self, client_id: &ClientId, request: ClaimRequest<'_>) -> Result<Claimed, Owner> {
        // The number is taken under the entry's lock, so that claims of one identifier are ordered by number.
        let mut holders = self.holders.part(client_id);
        let claim = self.next_claim();
        if let Some(held) = holders.get_mut(client_id) {
            return held.pass_to(request, claim);
        }
        let owner = request.owner.clone();
        let held = Held { holder: Holder::new(request.shard, claim), owner: owner.clone() };
        holders.insert(client_id.clone(), held);
        Ok(Claimed { claim, owner, prior: None })
    }

    fn restore(&self, client_id: &ClientId, shard: ShardId, owner: &Owner) -> Claim {
        let mut holders = self.holders.part(client_id);
        let claim = self.next_claim();
        holders.insert(client_id.clone(), Held { holder: Holder::new(shard, claim), owner: owner.clone() });
        claim
    }

    fn set_owner(&self, client_id: &ClientId, claim: Claim, owner: &Owner) -> bool {
        let mut holders = self.holders.part(client_id);
        let held = holders.get_mut(client_id).filter(|held| held.holder.claim() == claim);
        held.map(|held| held.owner = owner.clone()).is_some()
    }

    fn unclaim(&self, client_id: &ClientId, claim: Claim) {
        let mut holders = self.holders.part(client_id);
        if holders.get(client_id).is_some_and(|held| held.holder.claim() == claim) {
            holders.remove(client_id);
        }
    }

    fn holder(&self, client_id: &ClientId) -> Option<Holder> {
        self.holders.part(client_id).get(client_id).map(|held| held.holder)
    }

    fn matching(&self, topic: &TopicName, route: &mut Route) {
        self.index().resolve(topic, route);
    }

    fn share(&self, filter: &Filter, topic: &TopicName) -> Option<Share> {
        self.index().share(filter, topic)
    }

    fn subscribe(
        &self,
        subscriber: &Arc<Subscriber>,
        subscriptions: &[(&Subscription, Option<SubscriptionId>)],
        terms: SubscriptionTerms,
    ) -> Vec<Option<SubscribeOutcome>> {
        let key = subscriber.key;
        let mut index = self.index_mut();
        let mut exclusive = self.exclusive();
        let mut subscribe = |subscription: &Subscription, id: Option<SubscriptionId>| {
            let has_room = index.subscription_count_of(key) < terms.subscriptions_max;
            if !has_room && !index.is_subscribed(key, &subscription.filter) {
                return None;
            }
            if !exclusive.admits(&subscription.filter, key) {
                return None;
            }
            exclusive.subscribed(&subscription.filter, key);
            self.generations.change(&subscription.filter.topic_filter);
            let outcome = index.subscribe(subscriber, subscription, id, terms.strategy);
            self.subscribed(&subscription.filter, outcome, &index);
            Some(outcome)
        };
        let outcomes: Vec<_> = subscriptions.iter().map(|(subscription, id)| subscribe(subscription, *id)).collect();
        if outcomes.iter().any(Option::is_some) {
            self.generations.publish(); // before the lock is released
        }
        outcomes
    }

    fn unsubscribe(&self, key: SessionKey, filters: &[Filter]) -> Vec<bool> {
        let mut index = self.index_mut();
        let mut exclusive = self.exclusive();
        let mut unsubscribe = |filter: &Filter| {
            let existed = exclusive.names(filter, key) && index.unsubscribe(key, filter);
            if existed {
                if filter.is_exclusive {
                    exclusive.release(&filter.topic_filter, key);
                }
                self.generations.change(&filter.topic_filter);
                self.unsubscribed(filter, &index);
            }
            existed
        };
        let existed: Vec<bool> = filters.iter().map(&mut unsubscribe).collect();
        if existed.contains(&true) {
            self.generations.publish(); // before the lock is released
        }
        existed
    }

    fn remove(&self, key: SessionKey) {
        if self.index().subscription_count_of(key) == 0 {
            return; // most Sessions without subscriptions end without the lock for changes
        }
        let mut index = self.index_mut();
        self.change_all_of(key, &index);
        let mut exclusive = self.exclusive();
        if !exclusive.is_empty() {
            for (subscription, _) in index.subscriptions_of(key) {
                exclusive.release(&subscription.filter.topic_filter, key);
            }
        }
        let told = self.cell.as_ref().map(|_| index.subscriptions_of(key).map(|(subscription, _)| subscription.filter));
        let told: Vec<Filter> = told.into_iter().flatten().collect();
        index.remove(key);
        told.iter().for_each(|filter| self.unsubscribed(filter, &index));
        self.generations.publish(); // before the lock is released
    }

    fn presence_changed(&self, key: SessionKey) {
        self.members_changed(key, &self.index());
    }

    fn access_changed(&self, key: SessionKey) {
        let index = self.index();
        if index.subscription_count_of(key) > 0 {
            self.members_changed(key, &index);
            self.change_all_of(key, &index);
            self.generations.publish();
        }
    }

    fn subscription_count_of(&self, key: SessionKey) -> usize {
        self.index().subscription_count_of(key)
    }

    fn subscriptions_of(&self, key: SessionKey, page: PageRequest) -> Page<SubscriptionView> {
        let from = usize::try_from(page.from).unwrap_or(usize::MAX);
        let index = self.index();
        let subscriptions = index.subscriptions_of(key).skip(from).take(page.limit);
        let exclusive = self.exclusive();
        let view = |(mut subscription, id): (Subscription, _)| {
            let Filter { share, topic_filter, is_exclusive } = &mut subscription.filter;
            *is_exclusive = share.is_none() && exclusive.has(topic_filter, key);
            SubscriptionView { subscription, id, progress: None }
        };
        let entries: Vec<_> = subscriptions.map(view).collect();
        let next = from.saturating_add(entries.len());
        let has_more = next < index.subscription_count_of(key);
        Page { entries, next: has_more.then_some(next as u64) }
    }

    fn subscriptions(&self, request: &SubscriptionsRequest) -> Listed<SubscriberView> {
        let SubscriptionsRequest { filter, client_id: pattern, from, limit } = request;
        let scope = filter.as_ref().map_or(ListingScope::All, ListingScope::Filter);
        let (mut entries, mut visits) = (Vec::new(), VISITS_MAX);
        let (index, exclusive) = (self.index(), self.exclusive());
        let next = index.list(scope, from, &mut visits, |listed| {
            let client_id = &listed.subscriber.client_id;
            let cost = pattern.as_ref().map_or(0, |pattern| pattern.steps(client_id.as_str()) / STEPS_PER_VISIT);
            if pattern.as_ref().is_none_or(|pattern| pattern.matches(client_id.as_str())) {
                let (share, topic_filter) = (listed.share.cloned(), listed.filter.get().clone());
                let is_exclusive = share.is_none() && exclusive.has(&topic_filter, listed.subscriber.key);
                let filter = Filter { share, topic_filter, is_exclusive };
                let subscription = Subscription { filter, options: listed.options };
                entries.push(SubscriberView { client_id: client_id.clone(), subscription, id: listed.id });
            }
            if entries.len() >= *limit { ControlFlow::Break(()) } else { ControlFlow::Continue(cost) }
        });
        Listed { entries, next }
    }

    fn receivers(&self, ReceiversRequest { topic, from, limit }: &ReceiversRequest) -> Listed<ReceiverView> {
        let (mut entries, mut visits) = (Vec::new(), VISITS_MAX);
        let next = self.index().list(ListingScope::Matching(topic), from, &mut visits, |listed| {
            let subscriber = listed.subscriber;
            let access = subscriber.access();
            entries.push(ReceiverView {
                client_id: subscriber.client_id.clone(),
                is_connected: subscriber.is_connected(),
                qos: listed.options.qos,
                filter: listed.filter.get().clone(),
                share: listed.share.cloned(),
                is_allowed: access.receive(topic),
            });
            let is_full = entries.len() >= *limit;
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(access.rules() / RULES_PER_VISIT) }
        });
        Listed { entries, next }
    }

    fn subscription_counts(&self) -> (usize, usize) {
        let index = self.index();
        (index.subscription_count(), index.shared_subscription_count())
    }
}

/// Filters and subscriptions that one page visits. It takes about a millisecond, for which the index is locked for changes.
const VISITS_MAX: usize = 4 * PAGE_MAX;
/// Steps of a pattern of Client Identifiers that cost as much as the visit of a subscription.
const STEPS_PER_VISIT: usize = 256;
/// Access rules that cost as much as the visit of a subscription.
const RULES_PER_VISIT: usize = 8;
/// The number of filters up to which they are marked one by one. For more, resolving all cached routes again is cheaper.
const COUNTED_MAX: usize = 1_024;

/// Far more than there are shards. The maps double at different times, since they don't have the same number of entries.
const HOLDER_PARTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::owner::{AnonymousSessions, VerifiedUser};

    fn request(shard: u16, owner: &Owner) -> ClaimRequest<'_> {
        ClaimRequest { shard: ShardId(shard), owner, anonymous_sessions: AnonymousSessions::End }
    }

    fn user(name: &str) -> Owner {
        Owner::of(Some(VerifiedUser { provider: "password".into(), name: name.into() }))
    }

    #[test]
    fn last_claim_holds_a_client_identifier_until_unclaim() {
        let directory = InMemoryDirectory::new(Arc::default());
        let (a, b) = (ClientId::from("a"), ClientId::from("b"));
        assert_eq!(directory.holder(&a), None);
        let first = directory.claim(&a, request(0, &Owner::Anonymous)).unwrap();
        let holder = Holder::new(ShardId(0), first.claim);
        assert_eq!((first.prior, directory.holder(&a)), (None, Some(holder)));
        let second = directory.claim(&a, request(1, &Owner::Anonymous)).unwrap();
        assert!(second.claim > first.claim);
        assert_eq!(second.prior.map(|prior| prior.holder), Some(holder));
        directory.unclaim(&a, first.claim);
        assert_eq!(
            directory.holder(&a),
            Some(Holder::new(ShardId(1), second.claim)),
            "an older claim cannot remove the holder"
        );
        assert_eq!(directory.holder(&b), None);
        directory.unclaim(&a, second.claim);
        assert_eq!(directory.holder(&a), None);
    }

    #[test]
    fn refused_claim_changes_nothing_and_an_older_claim_cannot_give() {
        let directory = InMemoryDirectory::new(Arc::default());
        let a = ClientId::from("a");
        let restored = directory.restore(&a, ShardId(0), &user("alice"));
        assert_eq!(directory.claim(&a, request(1, &user("bob"))), Err(user("alice")));
        assert_eq!(directory.claim(&a, request(1, &Owner::Anonymous)), Err(user("alice")));
        assert_eq!(directory.holder(&a), Some(Holder::new(ShardId(0), restored)));
        let claimed = directory.claim(&a, request(1, &user("alice"))).unwrap();
        assert!(!directory.set_owner(&a, restored, &user("bob")));
        assert!(directory.set_owner(&a, claimed.claim, &user("bob")));
        assert_eq!(directory.claim(&a, request(1, &user("alice"))), Err(user("bob")));
    }
}
