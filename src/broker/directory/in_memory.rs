//! Who holds a Client Identifier, and where interested receivers are.
//!
//! These are the only questions by which a shard learns of Sessions that it doesn't have itself; what it wants of them it then sends to
//! their shards as a [`ShardMessage`](super::message::ShardMessage). The answers are those of one process: it has all of its shards in
//! its memory.
//!
//! | verb | who asks | another node would |
//! | --- | --- | --- |
//! | `claim` | CONNECT | give the order of claims of one Client Identifier |
//! | `unclaim` | the end of a Session | forget the holder |
//! | `holder` | a query | answer from its copy |
//! | `matching` | the first message to a topic, and after a change that concerns it | answer from its copy |
//! | `share` | a message whose chosen member is gone | answer from its copy |
//! | `index_mut`, `access_changed` | SUBSCRIBE, UNSUBSCRIBE, the end of a Session, a reload of access rules | be told of the change |

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::quality::RandomState;

use crate::broker::directory::claim::{Claim, Holder};
use crate::broker::directory::index_change::{IndexChange, change_all_of};
use crate::codec::ClientId;
use crate::routing::{Route, RouteGenerations, SessionKey, ShardId, Share, SubscriptionIndex};
use crate::topic::{Filter, TopicName};

/// The directory of the shards of one process.
///
/// Invariants: claims of one Client Identifier are numbered in the order in which they are made, and the last one holds it; a route that
/// was resolved before a change that concerns it is void as soon as the change can be seen.
#[derive(Debug)]
pub(in crate::broker) struct Directory {
    holders: DashMap<ClientId, Holder, RandomState>,
    claims: AtomicU64,
    index: RwLock<SubscriptionIndex>,
    /// Which cached routes the changes of the index concern.
    pub(in crate::broker) route_generations: RouteGenerations,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            holders: DashMap::default(),
            claims: AtomicU64::new(1),
            index: RwLock::new(SubscriptionIndex::new()),
            route_generations: RouteGenerations::new(),
        }
    }
}

impl Directory {
    /// Makes `shard` the holder of a Client Identifier. Returns its claim, and the holder before it.
    pub(in crate::broker) fn claim(&self, client_id: &ClientId, shard: ShardId) -> (Claim, Option<Holder>) {
        // The number is taken under the entry's lock: claims of one identifier are in the order of their numbers.
        let entry = self.holders.entry(client_id.clone());
        let claim = Claim(self.claims.fetch_add(1, Ordering::Relaxed));
        let holder = Holder::new(shard, claim);
        match entry {
            Entry::Occupied(mut place) => (claim, Some(place.insert(holder))),
            Entry::Vacant(place) => {
                place.insert(holder);
                (claim, None)
            }
        }
    }

    /// Who holds a Client Identifier. Its Session may still be on the way to that shard.
    pub(in crate::broker) fn holder(&self, client_id: &ClientId) -> Option<Holder> {
        self.holders.get(client_id).map(|holder| *holder)
    }

    /// The Session of this claim is gone: nobody holds the Client Identifier, unless somebody claimed it since.
    pub(in crate::broker) fn unclaim(&self, client_id: &ClientId, claim: Claim) {
        self.holders.remove_if(client_id, |_, holder| holder.claim() == claim);
    }

    /// Who gets a message to `topic`: see [`SubscriptionIndex::matching`].
    pub(in crate::broker) fn matching(&self, topic: &TopicName) -> Route {
        self.index().matching(topic)
    }

    /// The share that `filter` names, for a message to `topic`: see [`SubscriptionIndex::share`].
    pub(in crate::broker) fn share(&self, filter: &Filter, topic: &TopicName) -> Option<Arc<Share>> {
        self.index().share(filter, topic)
    }

    /// The subscriptions of Sessions, which their own shards look at.
    pub(in crate::broker) fn index(&self) -> RwLockReadGuard<'_, SubscriptionIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index for changes: cached routes that one concerns are void when it is dropped.
    pub(in crate::broker) fn index_mut(&self) -> IndexChange<'_> {
        let index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        IndexChange::new(index, &self.route_generations)
    }

    /// What a Session may receive has changed, which is part of the routes: those that its subscriptions concern are void.
    pub(in crate::broker) fn access_changed(&self, key: SessionKey) {
        let index = self.index();
        if index.subscription_count_of(key) > 0 {
            change_all_of(key, &index, &self.route_generations);
            self.route_generations.publish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_claim_holds_a_client_identifier_until_it_is_given_up() {
        let directory = Directory::default();
        let (a, b) = (ClientId::from("a"), ClientId::from("b"));
        assert_eq!(directory.holder(&a), None);
        let (first, before) = directory.claim(&a, ShardId(0));
        assert_eq!((before, directory.holder(&a)), (None, Some(Holder::new(ShardId(0), first))));
        let (second, before) = directory.claim(&a, ShardId(1));
        assert!(second > first);
        assert_eq!(before, Some(Holder::new(ShardId(0), first)));
        directory.unclaim(&a, first);
        assert_eq!(directory.holder(&a), Some(Holder::new(ShardId(1), second)), "the first has no say any more");
        assert_eq!(directory.holder(&b), None);
        directory.unclaim(&a, second);
        assert_eq!(directory.holder(&a), None);
    }
}
