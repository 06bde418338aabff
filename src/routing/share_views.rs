use std::ops::Deref;
use std::sync::Arc;

use crate::routing::SessionKey;
use crate::routing::receiver::Receiver;
use crate::routing::shared::{Share, ShareStrategy};
use crate::topic::TopicName;

/// One shard's copies of the connected members of the shares that it uses much, so that it chooses among them without a lock.
///
/// A copy holds for one version of the share. It is made after as many choices as it may have members, so the members of a share may change
/// at any rate, and each choice still takes a constant number of steps. There are at most `VIEWS_MAX` copies of at most `MEMBERS_MAX`
/// members each; other shares are locked for each choice.
#[derive(Debug, Default)]
pub struct ShareViews {
    /// At the index that the number of the share gives. Empty until the first use.
    views: Vec<View>,
}

#[derive(Debug, Default)]
struct View {
    /// The version of the share that was used last. Versions of different shares differ.
    version: u64,
    /// The choices since that version was first used, until the members are copied.
    choices: usize,
    strategy: ShareStrategy,
    /// By Session, ascending; empty: there is no copy.
    connected: Vec<(SessionKey, Arc<Receiver>)>,
}

/// The chosen member of a share.
#[derive(Debug)]
pub enum ChosenMember<'a> {
    /// It was chosen in a copy.
    Viewed(&'a Receiver),
    /// It was chosen under the lock.
    Locked(Arc<Receiver>),
}

impl Deref for ChosenMember<'_> {
    type Target = Receiver;

    fn deref(&self) -> &Receiver {
        match self {
            Self::Viewed(receiver) => receiver,
            Self::Locked(receiver) => receiver,
        }
    }
}

impl ShareViews {
    /// Prepares a choice: makes or discards the copy for `share`. To be called before each [`choose`](Self::choose).
    pub fn refresh(&mut self, share: &Share) {
        if !share.is_whole() {
            return;
        }
        let version = share.version();
        match self.views.get(place_of(share)) {
            Some(view) if view.version == version && !view.connected.is_empty() => {}
            Some(_) | None => self.count(share, version),
        }
    }

    /// Selects like [`Share::choose`], without an excluded member.
    pub fn choose(&self, share: &Share, publisher: Option<SessionKey>, topic: &TopicName) -> Option<ChosenMember<'_>> {
        let view = self.views.get(place_of(share)).filter(|view| view.version == share.version());
        if let Some(view) = view.filter(|_| share.is_whole())
            && let Some(receiver) = view.choose(share.turn())
        {
            share.end_turn(view.strategy, receiver.subscriber.key);
            return Some(ChosenMember::Viewed(receiver));
        }
        share.choose(publisher, topic, None).map(ChosenMember::Locked)
    }

    /// Discards all copies. Those of shares that are not used any more would otherwise keep ended Sessions alive.
    pub fn clear(&mut self) {
        self.views = Vec::new();
    }

    /// Counts a choice without a copy; makes the copy if there were enough.
    #[cold]
    fn count(&mut self, share: &Share, version: u64) {
        if self.views.is_empty() {
            self.views.resize_with(VIEWS_MAX, View::default);
        }
        let Some(view) = self.views.get_mut(place_of(share)) else { return };
        if view.version != version {
            *view = View { version, ..View::default() };
        }
        view.choices += 1;
        if view.choices >= MEMBERS_MAX {
            view.choices = 0;
            if let Some((strategy, connected)) = share.connected(version, MEMBERS_MAX) {
                (view.strategy, view.connected) = (strategy, connected);
            }
        }
    }
}

impl View {
    /// `None`: a member that is away is to be chosen, or there is no copy.
    fn choose(&self, turn: SessionKey) -> Option<&Receiver> {
        let start = self.connected.partition_point(|(key, _)| *key < turn);
        let (before, from) = self.connected.split_at_checked(start)?;
        let members = from.iter().chain(before).map(|(_, member)| &**member);
        let mut connected = members.filter(|member| member.subscriber.is_connected());
        match self.strategy {
            ShareStrategy::LeastInFlight => connected.min_by_key(|member| member.subscriber.in_flight()),
            ShareStrategy::RoundRobin
            | ShareStrategy::Sticky
            | ShareStrategy::HashPublisher
            | ShareStrategy::HashTopic => connected.next(),
        }
    }
}

fn place_of(share: &Share) -> usize {
    usize::try_from(share.number() % VIEWS_MAX as u64).unwrap_or(0)
}

/// The copies of a shard.
const VIEWS_MAX: usize = 64;
/// The members of a copy, and the choices before it is made.
const MEMBERS_MAX: usize = 64;
