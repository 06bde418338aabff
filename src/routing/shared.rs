use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::routing::SessionKey;
use crate::routing::receiver::{Receiver, Subscribed};
use crate::topic::{Filter, ShareName, TopicName};

/// How a share selects the member that receives a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShareStrategy {
    /// Each member in turn.
    #[default]
    RoundRobin,
    /// The member with the fewest unacknowledged messages; among equals, each in turn.
    LeastInFlight,
    /// The same member while it is connected.
    Sticky,
    /// By the publisher: while the members don't change, its messages go to one member, in order.
    HashPublisher,
    /// By the Topic Name: while the members don't change, messages of a topic go to one member, in order.
    HashTopic,
}

/// A Shared Subscription in a route, of which one member receives the message. [MQTT-4.8]
#[derive(Debug, Clone)]
pub struct Share {
    filter: Arc<Filter>,
    strategy: ShareStrategy,
    /// By Session, ascending; at least one.
    members: Vec<Receiver>,
    turn: Turn,
}

/// Where the next selection starts: at the first member whose Session has this number or a higher one.
///
/// It is the number of a Session and not a place in the list, so that turns stay fair when members join and leave. All routes through a share
/// use the same one.
type Turn = Arc<AtomicU64>;

impl Share {
    /// The ShareName and the Topic Filter.
    pub fn filter(&self) -> &Arc<Filter> {
        &self.filter
    }

    /// The members, ordered by Session.
    pub fn members(&self) -> &[Receiver] {
        &self.members
    }

    /// Selects the member that receives a message of `publisher` to `topic`, except `exclude`.
    ///
    /// It prefers a member that is connected; the Session of one that is not queues the message. `None` if there is no member but `exclude`.
    /// Round robin, sticky and the hashes stop at the first member that is connected; least in flight looks at all members.
    pub fn choose(
        &self,
        publisher: Option<SessionKey>,
        topic: &TopicName,
        exclude: Option<SessionKey>,
    ) -> Option<&Receiver> {
        let start = match self.strategy {
            ShareStrategy::RoundRobin | ShareStrategy::LeastInFlight | ShareStrategy::Sticky => {
                let turn = self.turn.load(Ordering::Relaxed);
                self.members.partition_point(|member| member.subscriber.key.0 < turn)
            }
            ShareStrategy::HashPublisher => self.place_of_hash(publisher.map(|key| key.0)),
            ShareStrategy::HashTopic => self.place_of_hash(topic.as_str()),
        };
        let (before, from) = self.members.split_at_checked(start).unwrap_or((&[], &self.members));
        let candidates =
            from.iter().chain(before).filter(|member| exclude.is_none_or(|key| member.subscriber.key != key));
        let mut connected = candidates.clone().filter(|member| member.subscriber.is_connected());
        let chosen = match self.strategy {
            ShareStrategy::LeastInFlight => connected.min_by_key(|member| member.subscriber.in_flight()),
            ShareStrategy::RoundRobin
            | ShareStrategy::Sticky
            | ShareStrategy::HashPublisher
            | ShareStrategy::HashTopic => connected.next(),
        };
        let chosen = chosen.or_else(|| candidates.clone().next())?;
        self.end_turn(chosen.subscriber.key);
        Some(chosen)
    }

    /// Two shards that choose at the same moment may choose the same member. That does no harm, and to prevent it would cost more.
    fn end_turn(&self, chosen: SessionKey) {
        let next = match self.strategy {
            ShareStrategy::RoundRobin | ShareStrategy::LeastInFlight => chosen.0.wrapping_add(1),
            ShareStrategy::Sticky => chosen.0,
            ShareStrategy::HashPublisher | ShareStrategy::HashTopic => return,
        };
        self.turn.store(next, Ordering::Relaxed);
    }

    /// The hash has no seed, so all shards select the same member, also after a restart.
    fn place_of_hash(&self, value: impl std::hash::Hash) -> usize {
        let hash = foldhash::quality::FixedState::default().hash_one(value);
        let members = u64::try_from(self.members.len()).unwrap_or(u64::MAX).max(1);
        usize::try_from(hash % members).unwrap_or(0)
    }
}

/// The shares of a Topic Filter; most filters have none.
#[derive(Debug, Default)]
pub(super) struct Shares {
    #[expect(clippy::box_collection, reason = "most filters have no share and need only a pointer")]
    groups: Option<Box<BTreeMap<ShareName, Group>>>,
}

/// A share, as the index stores it.
#[derive(Debug)]
struct Group {
    filter: Filter,
    strategy: ShareStrategy,
    members: BTreeMap<SessionKey, Subscribed>,
    turn: Turn,
    /// The share that routes refer to if all members may receive the message. It is made when first needed.
    share: OnceLock<Arc<Share>>,
}

impl Shares {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_none()
    }

    /// Adds a Session to the share that `filter` names, or replaces its subscription there and returns it. The share
    /// uses `strategy` from now on.
    pub(super) fn join(
        &mut self,
        filter: &Filter,
        subscribed: Subscribed,
        strategy: ShareStrategy,
    ) -> Option<Subscribed> {
        let filter = filter.detached();
        let name = filter.share.clone()?;
        let group = self.groups.get_or_insert_default().entry(name).or_insert_with(|| Group::new(filter, strategy));
        group.strategy = strategy;
        group.share.take();
        group.members.insert(subscribed.subscriber.key, subscribed)
    }

    pub(super) fn leave(&mut self, name: &ShareName, key: SessionKey) -> Option<Subscribed> {
        let groups = self.groups.as_mut()?;
        let group = groups.get_mut(name)?;
        let removed = group.members.remove(&key)?;
        group.share.take();
        if group.members.is_empty() {
            groups.remove(name);
        }
        if groups.is_empty() {
            self.groups = None;
        }
        Some(removed)
    }

    pub(super) fn get(&self, name: &ShareName, key: SessionKey) -> Option<&Subscribed> {
        self.groups.as_ref()?.get(name)?.members.get(&key)
    }

    /// The share `name` for a message to `topic`, with the members that may receive it; `None` if there are none.
    pub(super) fn resolve(&self, name: &ShareName, topic: &TopicName) -> Option<Arc<Share>> {
        self.groups.as_ref()?.get(name)?.resolve(topic)
    }

    /// All shares for a message to `topic`, each with the members that may receive it.
    pub(super) fn resolve_all(&self, topic: &TopicName) -> impl Iterator<Item = Arc<Share>> {
        self.groups.iter().flat_map(|groups| groups.values()).filter_map(|group| group.resolve(topic))
    }
}

impl Group {
    fn new(filter: Filter, strategy: ShareStrategy) -> Self {
        Self { filter, strategy, members: BTreeMap::new(), turn: Turn::default(), share: OnceLock::new() }
    }

    fn resolve(&self, topic: &TopicName) -> Option<Arc<Share>> {
        let share = self.share.get_or_init(|| {
            let filter = Arc::new(self.filter.clone());
            let members = self.members.values().map(|member| Receiver::of_share(member, &filter)).collect();
            Arc::new(Share { filter, strategy: self.strategy, members, turn: Arc::clone(&self.turn) })
        });
        let may_receive = |member: &&Receiver| member.subscriber.access().receive(topic);
        if share.members.iter().all(|member| may_receive(&member)) {
            return Some(Arc::clone(share));
        }
        let members: Vec<Receiver> = share.members.iter().filter(may_receive).cloned().collect();
        (!members.is_empty()).then(|| Arc::new(Share { members, ..Share::clone(share) }))
    }
}

#[cfg(test)]
mod tests;
