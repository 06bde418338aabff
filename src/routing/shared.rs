use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Bound::{Included, Unbounded};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::routing::receiver::{Receiver, Subscribed};
use crate::routing::share_members::{Candidates, Entitled, ShareMembers};
use crate::routing::{SessionKey, ShareCounts};
use crate::topic::{Filter, ShareName, TopicName};

/// How a share selects the member that receives a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShareStrategy {
    /// Each member in turn.
    #[default]
    RoundRobin,
    /// The member with the fewest unacknowledged messages; among equals, each in turn. Of the members that are connected, the next 64 in turn are
    /// compared.
    LeastInFlight,
    /// The same member while it is connected.
    Sticky,
    /// By the publisher: while the members don't change, its messages go to one member, in order.
    HashPublisher,
    /// By the Topic Name: while the members don't change, messages of a topic go to one member, in order.
    HashTopic,
}

impl ShareStrategy {
    const fn hashes(self) -> bool {
        matches!(self, Self::HashPublisher | Self::HashTopic)
    }
}

/// A Shared Subscription in a route, of which one member receives the message. [MQTT-4.8]
///
/// The members that it chooses from are those at the time of the choice: a route stays valid while members connect and disconnect.
#[derive(Debug, Clone)]
pub struct Share {
    group: Arc<Group>,
    entitled: Entitled,
}

impl Share {
    /// The ShareName and the Topic Filter.
    pub fn filter(&self) -> &Arc<Filter> {
        &self.group.filter
    }

    /// The members that may receive messages of the topic of the route, ordered by Session.
    pub fn members(&self) -> Vec<SessionKey> {
        let state = self.group.state();
        let candidates = state.members.candidates(&self.entitled);
        let mut members: Vec<_> =
            candidates.iter().flat_map(|candidates| candidates.members.iter().map(|(key, _)| key)).collect();
        members.sort_unstable();
        members
    }

    /// Whether those members are entitled that may receive every topic of the Topic Filter, and no others.
    pub(super) fn is_whole(&self) -> bool {
        matches!(&self.entitled, Entitled::Classes(parts) if parts.is_empty())
    }

    /// The number of the share, unchanged while it has members.
    pub(super) fn number(&self) -> u64 {
        self.group.number
    }

    /// Another one after each change of the members or the strategy; those of different shares differ.
    pub(super) fn version(&self) -> u64 {
        self.group.version.load(Ordering::Acquire)
    }

    /// The first Session of the next selection.
    pub(super) fn turn(&self) -> SessionKey {
        SessionKey(self.group.turn.load(Ordering::Relaxed))
    }

    /// The strategy and the connected members of a [whole](Self::is_whole) share, if it still has this version. `None` if there are more than
    /// `max`, or if the strategy also regards members that are not connected.
    pub(super) fn connected(&self, version: u64, max: usize) -> Option<Connected> {
        let state = self.group.state();
        if self.version() != version || state.strategy.hashes() {
            return None;
        }
        let candidates = state.members.candidates(&self.entitled);
        let [Candidates { connected, .. }] = &*candidates else { return None };
        let list = || connected.iter().map(|(key, member)| (key, Arc::clone(member))).collect();
        (connected.len() <= max).then(|| (state.strategy, list()))
    }

    /// Ends the turn of a member that was chosen outside.
    #[inline]
    pub(super) fn end_turn(&self, strategy: ShareStrategy, chosen: SessionKey) {
        self.group.end_turn(strategy, chosen);
    }

    /// Selects the member that receives a message of `publisher` to `topic`, except `exclude`.
    ///
    /// It prefers a member that is connected; the Session of one that is not queues the message. `None` if there is no member but `exclude`.
    pub fn choose(
        &self,
        publisher: Option<SessionKey>,
        topic: &TopicName,
        exclude: Option<SessionKey>,
    ) -> Option<Arc<Receiver>> {
        let state = self.group.state();
        let candidates = state.members.candidates(&self.entitled);
        let start = match state.strategy {
            ShareStrategy::RoundRobin | ShareStrategy::LeastInFlight | ShareStrategy::Sticky => self.turn(),
            ShareStrategy::HashPublisher => place_of_hash(&candidates, publisher.map(|key| key.0)),
            ShareStrategy::HashTopic => place_of_hash(&candidates, topic.as_str()),
        };
        let is_candidate = |member: &&Arc<Receiver>| exclude.is_none_or(|key| member.subscriber.key != key);
        let distance = |member: &&Arc<Receiver>| member.subscriber.key.0.wrapping_sub(start.0);
        let connected = candidates.iter().filter_map(|candidates| {
            let connected = candidates.connected.cycle_from(start).filter(is_candidate);
            let mut connected = connected.filter(|member| member.subscriber.is_connected());
            match state.strategy {
                ShareStrategy::LeastInFlight => {
                    connected.take(COMPARED_MAX).min_by_key(|member| member.subscriber.in_flight())
                }
                ShareStrategy::RoundRobin
                | ShareStrategy::Sticky
                | ShareStrategy::HashPublisher
                | ShareStrategy::HashTopic => connected.next(),
            }
        });
        let chosen = match state.strategy {
            ShareStrategy::LeastInFlight => {
                connected.min_by_key(|member| (member.subscriber.in_flight(), distance(member)))
            }
            ShareStrategy::RoundRobin
            | ShareStrategy::Sticky
            | ShareStrategy::HashPublisher
            | ShareStrategy::HashTopic => connected.min_by_key(distance),
        };
        let any = || {
            candidates
                .iter()
                .filter_map(|candidates| candidates.members.cycle_from(start).find(is_candidate))
                .min_by_key(distance)
        };
        let chosen = Arc::clone(chosen.or_else(any)?);
        self.group.end_turn(state.strategy, chosen.subscriber.key);
        Some(chosen)
    }
}

/// The strategy of a share, and its connected members by Session, ascending.
pub(super) type Connected = (ShareStrategy, Vec<(SessionKey, Arc<Receiver>)>);

/// The Session at which the choice for `value` starts. The hash has no seed, so all shards select the same member, and, if all members may
/// receive all messages of the share, also after a restart.
fn place_of_hash(candidates: &[Candidates<'_>], value: impl std::hash::Hash) -> SessionKey {
    let hash = foldhash::quality::FixedState::default().hash_one(value);
    let count: usize = candidates.iter().map(|candidates| candidates.members.len()).sum();
    let mut index = usize::try_from(hash % (count as u64).max(1)).unwrap_or(0);
    for Candidates { members, .. } in candidates {
        if let Some(key) = members.nth(index) {
            return key;
        }
        index -= members.len();
    }
    SessionKey(0)
}

/// The shares of a Topic Filter.
#[derive(Debug, Default)]
pub(super) struct Shares {
    groups: BTreeMap<ShareName, Arc<Group>>,
}

/// A share, in the index and in routes.
#[derive(Debug)]
struct Group {
    filter: Arc<Filter>,
    number: u64,
    /// Taken from [`VERSIONS`] before each change of the state.
    version: AtomicU64,
    /// Locked for a choice without a copy of the members, and changed only when a member joins, leaves, connects, disconnects or gets other access rules.
    state: RwLock<GroupState>,
    /// Where the next selection starts: at the first member whose Session has this number or a higher one.
    ///
    /// It is the number of a Session and not an index, so that turns stay fair when members join and leave.
    turn: AtomicU64,
}

#[derive(Debug)]
struct GroupState {
    strategy: ShareStrategy,
    members: ShareMembers,
}

impl Shares {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Adds a Session to the share that `filter` names, or replaces its subscription there and returns it. The share
    /// uses `strategy` from now on.
    pub(super) fn join(
        &mut self,
        filter: &Filter,
        subscribed: Subscribed,
        strategy: ShareStrategy,
    ) -> Option<Subscribed> {
        let name = filter.share.as_ref()?;
        if !self.groups.contains_key(name) {
            self.groups.insert(name.detached(), Arc::new(Group::new(filter.detached(), strategy)));
        }
        let group = self.groups.get(name)?;
        let mut state = group.state_mut();
        state.strategy = strategy;
        state.members.insert(subscribed, &group.filter)
    }

    pub(super) fn leave(&mut self, name: &ShareName, key: SessionKey) -> Option<Subscribed> {
        let (removed, is_empty) = {
            let mut state = self.groups.get(name)?.state_mut();
            (state.members.remove(key)?, state.members.is_empty())
        };
        if is_empty {
            self.groups.remove(name);
        }
        Some(removed)
    }

    pub(super) fn get(&self, name: &ShareName, key: SessionKey) -> Option<Subscribed> {
        self.groups.get(name)?.state().members.get(key).cloned()
    }

    /// How many members of a share may receive messages.
    pub(super) fn counts(&self, name: &ShareName) -> ShareCounts {
        self.groups.get(name).map(|group| group.state().members.counts()).unwrap_or_default()
    }

    /// The names of the shares from this one on; `None`: all, in their order.
    pub(super) fn names_from(&self, name: Option<&ShareName>) -> impl Iterator<Item = &ShareName> {
        let start = name.map_or(Unbounded, Included);
        self.groups.range((start, Unbounded)).map(|(name, _)| name)
    }

    /// Passes the members of a share to `found`, from the Session `start` on, until it breaks.
    pub(super) fn list(
        &self,
        name: &ShareName,
        start: SessionKey,
        mut found: impl FnMut(SessionKey, &Subscribed) -> ControlFlow<()>,
    ) {
        let Some(group) = self.groups.get(name) else { return };
        let state = group.state();
        let _ = state.members.iter_from(start).try_for_each(|(key, subscribed)| found(key, subscribed));
    }

    /// Takes notice that a member has connected or disconnected, or has other access rules.
    pub(super) fn refresh(&self, name: &ShareName, key: SessionKey) {
        if let Some(group) = self.groups.get(name) {
            group.state_mut().members.refresh(key, &group.filter);
        }
    }

    /// The share `name` for a message to `topic`; `None` if no member may receive it.
    pub(super) fn resolve(&self, name: &ShareName, topic: &TopicName) -> Option<Share> {
        self.groups.get(name)?.resolve(topic)
    }

    /// All shares for a message to `topic` that have members that may receive it.
    pub(super) fn resolve_all(&self, topic: &TopicName) -> impl Iterator<Item = Share> {
        self.groups.values().filter_map(|group| group.resolve(topic))
    }
}

impl Group {
    fn new(filter: Filter, strategy: ShareStrategy) -> Self {
        let state = GroupState { strategy, members: ShareMembers::default() };
        let number = next_version();
        let version = AtomicU64::new(number);
        Self { filter: Arc::new(filter), number, version, state: RwLock::new(state), turn: AtomicU64::new(0) }
    }

    fn state(&self) -> RwLockReadGuard<'_, GroupState> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, GroupState> {
        let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        self.version.store(next_version(), Ordering::Release); // while it is locked: who reads the state knows its version
        state
    }

    fn resolve(self: &Arc<Self>, topic: &TopicName) -> Option<Share> {
        let entitled = self.state().members.entitled(topic)?;
        Some(Share { group: Arc::clone(self), entitled })
    }

    /// Two shards that choose at the same moment may choose the same member. That does no harm, and to prevent it would cost more.
    fn end_turn(&self, strategy: ShareStrategy, chosen: SessionKey) {
        let next = match strategy {
            ShareStrategy::RoundRobin | ShareStrategy::LeastInFlight => chosen.0.wrapping_add(1),
            ShareStrategy::Sticky => chosen.0,
            ShareStrategy::HashPublisher | ShareStrategy::HashTopic => return,
        };
        self.turn.store(next, Ordering::Relaxed);
    }
}

fn next_version() -> u64 {
    VERSIONS.fetch_add(1, Ordering::Relaxed)
}

/// The next version of a share; not 0, so that 0 is the version of none.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

/// The connected members that [`ShareStrategy::LeastInFlight`] compares for one message.
const COMPARED_MAX: usize = 64;

#[cfg(test)]
mod tests;
