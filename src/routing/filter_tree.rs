use std::mem;

use smallvec::SmallVec;
use smol_str::SmolStr;

use crate::routing::arena::{Arena, NodeId};
use crate::routing::edges::{Edges, Linked, split_level};
use crate::routing::filter_subscriptions::FilterSubscriptions;
use crate::routing::of_filter::OfFilter;
use crate::topic::{TopicFilter, TopicName};

/// All Topic Filters with subscriptions, or with something else, as a tree of their levels.
///
/// The name of a node is a level, `+` included. `#` has no node: it is a second filter at the node before it. Where only one path goes on, the
/// rest of that path, wildcards included, is the name of a single leaf: so most filters take one node, however many levels they have. A leaf
/// is split when a filter is added that begins with the same level. It is not joined again.
#[derive(Debug)]
pub(super) struct FilterTree<T = FilterSubscriptions> {
    nodes: Arena<Node>,
    /// By the first level of each name, `+` excepted.
    edges: Edges,
    filters: Arena<FilterEntry<T>>,
}

#[derive(Debug)]
struct Node {
    /// One level, or for a node without children all remaining levels. Up to 23 bytes have no allocation, and are compared without another
    /// access to memory.
    name: SmolStr,
    parent: NodeId,
    next_of_hash: Option<NodeId>,
    children: u32,
    /// The child whose name begins with the level `+`.
    any: Option<NodeId>,
    /// The filter that ends at this node.
    exact: Option<FilterId>,
    /// The filter that continues with `#`, which also matches topics that end at this node.
    below: Option<FilterId>,
}

const _: () = assert!(size_of::<Node>() == 48);

/// The subscriptions of matching filters.
pub(super) type Matching<'a, T = FilterSubscriptions> = SmallVec<[&'a T; 8]>;

/// The number of a Topic Filter, valid while it has subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FilterId(NodeId);

impl FilterId {
    /// It as a number from 1.
    pub(super) const fn number(self) -> u32 {
        self.0.number()
    }
}

#[derive(Debug)]
struct FilterEntry<T> {
    subscriptions: T,
    node: NodeId,
    reach: Reach,
}

const _: () = assert!(size_of::<FilterEntry<FilterSubscriptions>>() <= 48);

/// Which topics a filter matches, relative to its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Topics that end at the node.
    Exact,
    /// Topics that end at or below the node: `#`.
    Below,
}

impl<T: OfFilter> FilterTree<T> {
    pub(super) fn new() -> Self {
        Self { nodes: Arena::with_root(Node::new("", NodeId::ROOT)), edges: Edges::default(), filters: Arena::new() }
    }

    /// The subscriptions of every filter that matches `topic`.
    pub(super) fn matching(&self, topic: &TopicName) -> Matching<'_, T> {
        let mut found = Matching::new();
        self.find_matching(topic, |id| found.push(self.subscriptions(id)));
        found
    }

    /// Passes every filter that matches `topic` to `found`, each once.
    ///
    /// It goes level by level and visits each node at most once: the work is bounded by the number of nodes whose path matches a beginning of
    /// the topic.
    pub(super) fn find_matching(&self, topic: &TopicName, mut found: impl FnMut(FilterId)) {
        let mut wildcards = !topic.as_str().starts_with('$'); // [MQTT-4.7.2-1]
        let (mut reached, mut next) = (SmallVec::<[NodeId; 8]>::new(), SmallVec::<[NodeId; 8]>::new());
        reached.push(NodeId::ROOT);
        let mut rest = Some(topic.as_str());
        while let Some((level, after)) = rest.filter(|_| !reached.is_empty()).map(split_level) {
            for &id in &reached {
                let node = self.nodes.node(id);
                node.below.filter(|_| wildcards).map(&mut found);
                if node.has_named()
                    && let Some(child) = self.edges.child(&self.nodes, id, level)
                {
                    self.visit((child, level.len()), after, (&mut found, &mut next));
                }
                // A Topic Name has no level `+`, so this is another node.
                if wildcards && let Some(child) = node.any {
                    self.visit((child, "+".len()), after, (&mut found, &mut next));
                }
            }
            mem::swap(&mut reached, &mut next);
            next.clear();
            wildcards = true;
            rest = after;
        }
        for id in reached {
            let node = self.nodes.node(id);
            node.exact.into_iter().chain(node.below).for_each(&mut found);
        }
    }

    /// A node whose first level, of `length` bytes, matches; `after`: the levels of the topic that follow.
    fn visit(
        &self,
        (id, length): (NodeId, usize),
        after: Option<&str>,
        (found, next): (&mut impl FnMut(FilterId), &mut SmallVec<[NodeId; 8]>),
    ) {
        let node = self.nodes.node(id);
        let Some(name) = node.name.get(length + 1..) else { return next.push(id) };
        if let Some(rest) = rest_after(name, after) {
            node.exact.filter(|_| rest.is_none()).map(&mut *found);
            node.below.map(found);
        }
    }

    /// The filter with this [number](FilterId::number), if there is one.
    pub(super) fn at(&self, number: u32) -> Option<FilterId> {
        self.filters.id(number).map(FilterId)
    }

    /// No filter has a number above this one.
    pub(super) fn last_number(&self) -> u32 {
        self.filters.last_number()
    }

    /// The number of `filter`, if it has one.
    pub(super) fn find(&self, filter: &TopicFilter) -> Option<FilterId> {
        let (mut path, reach) = path(filter);
        let mut id = NodeId::ROOT;
        while let Some(text) = path {
            let (level, after) = split_level(text);
            id = self.child(id, level)?;
            path = match &*self.nodes.node(id).name {
                name if name == text => None,
                name if name == level => after,
                _ => return None,
            };
        }
        self.nodes.node(id).filter(reach)
    }

    /// The number of `filter`, assigned now if it has none. The caller must add a subscription.
    pub(super) fn find_or_insert(&mut self, filter: &TopicFilter) -> FilterId {
        let (mut path, reach) = path(filter);
        let mut id = NodeId::ROOT;
        while let Some(text) = path {
            let (level, after) = split_level(text);
            let Some(child) = self.child(id, level) else {
                id = self.insert(id, text);
                break;
            };
            id = child;
            let name = &*self.nodes.node(id).name;
            if name == text {
                break;
            }
            if name != level {
                self.split(id, text);
            }
            path = after;
        }
        if let Some(filter) = self.nodes.node(id).filter(reach) {
            return filter;
        }
        let entry = FilterEntry { subscriptions: T::default(), node: id, reach };
        let filter = FilterId(self.filters.insert(entry));
        *self.nodes.node_mut(id).filter_mut(reach) = Some(filter);
        filter
    }

    /// The filter with the number `id`, built from its levels: to store its text as well would double its cost.
    #[expect(clippy::expect_used, reason = "the levels come from a valid filter")]
    pub(super) fn filter(&self, id: FilterId) -> TopicFilter {
        let entry = self.filters.node(id.0);
        let mut names: Vec<&str> = if entry.reach == Reach::Below { vec!["#"] } else { Vec::new() };
        let mut id = entry.node;
        while id != NodeId::ROOT {
            let node = self.nodes.node(id);
            names.push(&node.name);
            id = node.parent;
        }
        names.reverse();
        TopicFilter::new(names.join("/").into()).expect("a valid filter")
    }

    pub(super) fn subscriptions(&self, id: FilterId) -> &T {
        &self.filters.node(id.0).subscriptions
    }

    pub(super) fn subscriptions_mut(&mut self, id: FilterId) -> &mut T {
        &mut self.filters.node_mut(id.0).subscriptions
    }

    /// Removes a filter without subscriptions, and nodes that no other filter needs.
    pub(super) fn prune(&mut self, id: FilterId) {
        if !self.subscriptions(id).is_unused() {
            return;
        }
        let FilterEntry { mut node, reach, .. } = self.filters.remove(id.0);
        *self.nodes.node_mut(node).filter_mut(reach) = None;
        while node != NodeId::ROOT && self.nodes.node(node).is_unused() {
            node = self.remove(node);
        }
    }

    /// Splits a leaf into nodes for the levels that its name and `text` have in common, at least one, and a leaf for
    /// the rest of its name.
    fn split(&mut self, id: NodeId, text: &str) {
        let node = self.nodes.node_mut(id);
        let name = mem::take(&mut node.name);
        let filters = [node.exact.take(), node.below.take()];
        let ((level, mut name_rest), (_, mut text_rest)) = (split_level(&name), split_level(text));
        node.name = level.into();
        let mut end = id;
        while let Some(name) = name_rest {
            let (level, after) = split_level(name);
            match text_rest.map(split_level) {
                Some((same, text_after)) if same == level => {
                    end = self.insert(end, level);
                    (name_rest, text_rest) = (after, text_after);
                }
                Some(_) | None => {
                    end = self.insert(end, name);
                    break;
                }
            }
        }
        for filter in filters.into_iter().flatten() {
            let entry = self.filters.node_mut(filter.0);
            entry.node = end;
            *self.nodes.node_mut(end).filter_mut(entry.reach) = Some(filter);
        }
    }

    /// The only child whose name begins with `level`.
    fn child(&self, parent: NodeId, level: &str) -> Option<NodeId> {
        if level == "+" { self.nodes.node(parent).any } else { self.edges.child(&self.nodes, parent, level) }
    }

    fn insert(&mut self, parent: NodeId, name: &str) -> NodeId {
        let id = self.nodes.insert(Node::new(name, parent));
        match split_level(name).0 {
            "+" => self.nodes.node_mut(parent).any = Some(id),
            level => self.edges.insert(&mut self.nodes, (parent, level), id),
        }
        self.nodes.node_mut(parent).children += 1;
        id
    }

    /// Removes a node without children and returns its parent.
    fn remove(&mut self, id: NodeId) -> NodeId {
        let node = self.nodes.node_mut(id);
        let (parent, name) = (node.parent, mem::take(&mut node.name));
        match split_level(&name).0 {
            "+" => self.nodes.node_mut(parent).any = None,
            level => self.edges.remove(&mut self.nodes, (parent, level), id),
        }
        self.nodes.remove(id);
        self.nodes.node_mut(parent).children -= 1;
        parent
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && self.edges.is_empty() && self.filters.len() == 0
    }
}

impl Linked for Node {
    fn is_child(&self, parent: NodeId, level: &str) -> bool {
        let rest = || self.name.strip_prefix(level);
        self.parent == parent && rest().is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn next_of_hash(&self) -> Option<NodeId> {
        self.next_of_hash
    }

    fn set_next_of_hash(&mut self, next: Option<NodeId>) {
        self.next_of_hash = next;
    }
}

impl Node {
    fn new(name: &str, parent: NodeId) -> Self {
        Self { name: name.into(), parent, next_of_hash: None, children: 0, any: None, exact: None, below: None }
    }

    /// Whether a child's name begins with a level other than `+`.
    fn has_named(&self) -> bool {
        self.children > u32::from(self.any.is_some())
    }

    fn is_unused(&self) -> bool {
        self.children == 0 && self.exact.is_none() && self.below.is_none()
    }

    fn filter(&self, reach: Reach) -> Option<FilterId> {
        match reach {
            Reach::Exact => self.exact,
            Reach::Below => self.below,
        }
    }

    fn filter_mut(&mut self, reach: Reach) -> &mut Option<FilterId> {
        match reach {
            Reach::Exact => &mut self.exact,
            Reach::Below => &mut self.below,
        }
    }
}

/// The levels of a topic after those that `name`, the levels of a leaf, matches; `None` if it matches no beginning of the topic.
fn rest_after<'a>(name: &str, mut topic: Option<&'a str>) -> Option<Option<&'a str>> {
    if topic == Some(name) {
        return Some(None); // without wildcards
    }
    let mut name = Some(name);
    while let Some(names) = name {
        let (level, others) = split_level(names);
        let (topic_level, after) = split_level(topic?);
        if level != "+" && level != topic_level {
            return None;
        }
        (name, topic) = (others, after);
    }
    Some(topic)
}

/// The levels of a filter without a final `#`, and its reach; `None` if there are no other levels.
fn path(filter: &TopicFilter) -> (Option<&str>, Reach) {
    let text = filter.as_str();
    text.strip_suffix('#').map_or((Some(text), Reach::Exact), |body| (body.strip_suffix('/'), Reach::Below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(number: usize) -> TopicFilter {
        TopicFilter::try_from(&*number.to_string()).unwrap()
    }

    /// Enough that about ten pairs have the same 32-bit hash.
    const SIBLINGS: usize = 300_000;

    #[test]
    fn nodes_with_the_same_hash_are_distinguished() {
        let mut tree: FilterTree = FilterTree::new();
        let ids: Vec<_> = (0..SIBLINGS).map(|number| tree.find_or_insert(&filter(number))).collect();
        for (number, &id) in ids.iter().enumerate().step_by(2) {
            assert_eq!(tree.find(&filter(number)), Some(id));
            tree.prune(id);
        }
        for (number, &id) in ids.iter().enumerate() {
            assert_eq!(tree.find(&filter(number)), (number % 2 == 1).then_some(id));
        }
        for &id in ids.iter().skip(1).step_by(2).rev() {
            tree.prune(id);
        }
        assert!(tree.is_empty());
    }
}
