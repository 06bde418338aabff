use std::collections::HashMap;
use std::hash::BuildHasher;

use crate::routing::arena::{Arena, NodeId};
use crate::routing::compact_map::CompactMap;
use crate::routing::receiver::Subscribed;
use crate::routing::shared::Shares;
use crate::routing::subscriber::SessionKey;
use crate::topic::{TopicFilter, TopicName};

/// All Topic Filters that have subscriptions, as a tree of their levels.
///
/// A node hangs on its parent by a level's name, `+` included; `#` is no node but a second place at the node it follows.
/// What comes after a filter's last `+` is one edge, if the filter doesn't end in `#`: it matches only a topic that ends
/// in just that text, so that a filter without a wildcard is one node, however deep, found by one look-up of the whole
/// topic. Such a *tail* of several levels can't be taken for a level: it contains a `/`.
///
/// All edges are in one hash table, which makes a look-up among a million siblings no slower than among two, and costs a
/// few bytes for each node.
#[derive(Debug)]
pub(super) struct FilterTree {
    nodes: Arena<Node>,
    /// Hash of parent and name to the first node with that hash; the others follow by `next_of_hash`.
    edges: HashMap<u32, NodeId, foldhash::fast::RandomState>,
    hasher: foldhash::quality::RandomState,
}

#[derive(Debug)]
struct Node {
    name: Box<str>,
    parent: NodeId,
    next_of_hash: Option<NodeId>,
    children: u32,
    /// How many of the children are tails.
    tails: u32,
    exact: Option<Box<FilterSubscriptions>>,
    below: Option<Box<FilterSubscriptions>>,
}

const _: () = assert!(size_of::<Node>() == 48);

/// Where a Topic Filter is in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    node: NodeId,
    reach: Reach,
}

/// What a filter matches, seen from its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// The topic that ends there.
    Exact,
    /// That and everything below: `#`.
    Below,
}

/// The subscriptions of one Topic Filter.
#[derive(Debug, Default)]
pub(super) struct FilterSubscriptions {
    pub(super) own: CompactMap<SessionKey, Subscribed>,
    pub(super) shares: Shares,
}

const _: () = assert!(size_of::<FilterSubscriptions>() <= 40);

impl FilterTree {
    pub(super) fn new() -> Self {
        Self {
            nodes: Arena::new(Node::new("", NodeId::ROOT)),
            edges: HashMap::default(),
            hasher: foldhash::quality::RandomState::default(),
        }
    }

    /// The subscriptions of every filter that matches `topic`.
    ///
    /// Level by level, and each node at most once: the work is bounded by the nodes whose path matches a beginning of
    /// the topic.
    pub(super) fn matching(&self, topic: &TopicName) -> Vec<&FilterSubscriptions> {
        let mut found = Vec::new();
        let mut wildcards = !topic.as_str().starts_with('$'); // [MQTT-4.7.2-1]
        let (mut reached, mut next) = (vec![NodeId::ROOT], Vec::new());
        let mut rest = Some(topic.as_str());
        while let Some(remaining) = rest.filter(|_| !reached.is_empty()) {
            let (level, after) =
                remaining.split_once('/').map_or((remaining, None), |(level, after)| (level, Some(after)));
            for &id in &reached {
                let node = self.nodes.node(id);
                if wildcards {
                    found.extend(node.below.as_deref());
                }
                if after.is_some() && node.tails > 0 {
                    found.extend(self.child(id, remaining).and_then(|tail| self.nodes.node(tail).exact.as_deref()));
                }
                if node.children > node.tails {
                    next.extend(self.child(id, level));
                    next.extend(self.child(id, "+").filter(|_| wildcards));
                }
            }
            std::mem::swap(&mut reached, &mut next);
            next.clear();
            wildcards = true;
            rest = after;
        }
        for id in reached {
            let node = self.nodes.node(id);
            found.extend(node.exact.as_deref());
            found.extend(node.below.as_deref());
        }
        found
    }

    /// Where `filter` is, if it is there.
    pub(super) fn find(&self, filter: &TopicFilter) -> Option<Place> {
        let (mut names, reach) = path(filter);
        let node = names.try_fold(NodeId::ROOT, |parent, name| self.child(parent, name))?;
        Some(Place { node, reach })
    }

    /// Where `filter` is, from now on if not before. The caller puts a subscription there.
    pub(super) fn find_or_insert(&mut self, filter: &TopicFilter) -> Place {
        let (names, reach) = path(filter);
        let mut node = NodeId::ROOT;
        for name in names {
            node = match self.child(node, name) {
                Some(child) => child,
                None => self.insert(node, name),
            };
        }
        Place { node, reach }
    }

    /// The filter at `place`, put together again: keeping it would double its cost.
    #[expect(clippy::expect_used, reason = "its levels are those of a filter")]
    pub(super) fn filter(&self, place: Place) -> TopicFilter {
        let mut names: Vec<&str> = if place.reach == Reach::Below { vec!["#"] } else { Vec::new() };
        let mut id = place.node;
        while id != NodeId::ROOT {
            let node = self.nodes.node(id);
            names.push(&node.name);
            id = node.parent;
        }
        names.reverse();
        TopicFilter::new(names.join("/").into()).expect("a filter from its levels")
    }

    pub(super) fn subscriptions(&self, place: Place) -> Option<&FilterSubscriptions> {
        let node = self.nodes.node(place.node);
        match place.reach {
            Reach::Exact => node.exact.as_deref(),
            Reach::Below => node.below.as_deref(),
        }
    }

    pub(super) fn subscriptions_mut(&mut self, place: Place) -> &mut FilterSubscriptions {
        self.slot(place).get_or_insert_default()
    }

    /// Forgets the filter at `place` if it has no subscription left, and the nodes that only it needed.
    pub(super) fn prune(&mut self, place: Place) {
        let slot = self.slot(place);
        if slot.as_ref().is_some_and(|subscriptions| subscriptions.is_empty()) {
            *slot = None;
        }
        let mut id = place.node;
        while id != NodeId::ROOT && self.nodes.node(id).is_unused() {
            id = self.remove(id);
        }
    }

    fn slot(&mut self, place: Place) -> &mut Option<Box<FilterSubscriptions>> {
        let node = self.nodes.node_mut(place.node);
        match place.reach {
            Reach::Exact => &mut node.exact,
            Reach::Below => &mut node.below,
        }
    }

    fn child(&self, parent: NodeId, name: &str) -> Option<NodeId> {
        let mut id = *self.edges.get(&self.hash(parent, name))?;
        loop {
            let node = self.nodes.node(id);
            if node.parent == parent && *node.name == *name {
                return Some(id);
            }
            id = node.next_of_hash?;
        }
    }

    fn insert(&mut self, parent: NodeId, name: &str) -> NodeId {
        let hash = self.hash(parent, name);
        let id = self.nodes.insert(Node::new(name, parent));
        self.nodes.node_mut(id).next_of_hash = self.edges.insert(hash, id);
        let parent = self.nodes.node_mut(parent);
        parent.children += 1;
        parent.tails += u32::from(is_tail(name));
        id
    }

    /// Removes a node without children and returns its parent.
    fn remove(&mut self, id: NodeId) -> NodeId {
        let node = self.nodes.remove(id);
        let hash = self.hash(node.parent, &node.name);
        let mut before = self.edges.get(&hash).copied().filter(|&first| first != id);
        match (before, node.next_of_hash) {
            (None, Some(next)) => _ = self.edges.insert(hash, next),
            (None, None) => _ = self.edges.remove(&hash),
            (Some(_), _) => {}
        }
        while let Some(other) = before {
            let other = self.nodes.node_mut(other);
            if other.next_of_hash == Some(id) {
                other.next_of_hash = node.next_of_hash;
                break;
            }
            before = other.next_of_hash;
        }
        let parent = self.nodes.node_mut(node.parent);
        parent.children -= 1;
        parent.tails -= u32::from(is_tail(&node.name));
        node.parent
    }

    fn hash(&self, parent: NodeId, name: &str) -> u32 {
        let [a, b, c, d, ..] = self.hasher.hash_one((parent, name)).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && self.edges.is_empty()
    }
}

impl Node {
    fn new(name: &str, parent: NodeId) -> Self {
        Self { name: name.into(), parent, next_of_hash: None, children: 0, tails: 0, exact: None, below: None }
    }

    fn is_unused(&self) -> bool {
        self.children == 0 && self.exact.is_none() && self.below.is_none()
    }
}

impl FilterSubscriptions {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shares.is_empty()
    }
}

/// The names of the nodes from the root to that of `filter`: its levels, but for those after the last wildcard, which
/// are one name.
fn path(filter: &TopicFilter) -> (impl Iterator<Item = &str>, Reach) {
    let text = filter.as_str();
    let (levels, tail, reach) = match (text.strip_suffix('#'), text.rfind('+')) {
        (Some(body), _) => (body.strip_suffix('/'), None, Reach::Below),
        (None, None) => (None, Some(text), Reach::Exact),
        (None, Some(at)) => {
            let (levels, tail) = text.split_at(at + 1);
            (Some(levels), tail.strip_prefix('/'), Reach::Exact)
        }
    };
    (levels.into_iter().flat_map(|levels| levels.split('/')).chain(tail), reach)
}

fn is_tail(name: &str) -> bool {
    name.contains('/')
}
