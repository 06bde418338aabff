use std::collections::HashMap;
use std::hash::BuildHasher;

use crate::routing::arena::{Arena, NodeId};

/// All edges of a tree of topic levels, in one hash table: the time of a look-up doesn't depend on the number of siblings, and an edge takes a
/// few bytes.
#[derive(Debug, Default)]
pub(super) struct Edges {
    /// Maps the hash of a parent and a level to the first such node; [`Linked::next_of_hash`] leads to the others.
    first: HashMap<u32, NodeId, foldhash::fast::RandomState>,
    hasher: foldhash::quality::RandomState,
}

/// A node of the tree.
pub(super) trait Linked {
    /// Whether it is the only child of `parent` at `level`.
    fn is_child(&self, parent: NodeId, level: &str) -> bool;

    /// The next node with the same hash of parent and level.
    fn next_of_hash(&self) -> Option<NodeId>;

    fn set_next_of_hash(&mut self, next: Option<NodeId>);
}

impl Edges {
    /// The child of `parent` at `level`.
    pub(super) fn child<T: Linked>(&self, nodes: &Arena<T>, parent: NodeId, level: &str) -> Option<NodeId> {
        let mut id = *self.first.get(&self.hash(parent, level))?;
        loop {
            let node = nodes.node(id);
            if node.is_child(parent, level) {
                return Some(id);
            }
            id = node.next_of_hash()?;
        }
    }

    /// Adds a node as the child of `parent` at `level`.
    pub(super) fn insert<T: Linked>(&mut self, nodes: &mut Arena<T>, (parent, level): (NodeId, &str), id: NodeId) {
        let next = self.first.insert(self.hash(parent, level), id);
        nodes.node_mut(id).set_next_of_hash(next);
    }

    /// Removes the edge to a node, which is still in the arena.
    pub(super) fn remove<T: Linked>(&mut self, nodes: &mut Arena<T>, (parent, level): (NodeId, &str), id: NodeId) {
        let hash = self.hash(parent, level);
        let next = nodes.node(id).next_of_hash();
        let mut before = self.first.get(&hash).copied().filter(|&first| first != id);
        match (before, next) {
            (None, Some(next)) => _ = self.first.insert(hash, next),
            (None, None) => _ = self.first.remove(&hash),
            (Some(_), _) => {}
        }
        while let Some(other) = before {
            let other = nodes.node_mut(other);
            before = other.next_of_hash();
            if before == Some(id) {
                other.set_next_of_hash(next);
                break;
            }
        }
    }

    /// 32 bits are enough: nodes with the same hash are compared by their names.
    fn hash(&self, parent: NodeId, level: &str) -> u32 {
        let [a, b, c, d, ..] = self.hasher.hash_one((parent, level)).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}

/// Splits off the first level; the rest is `None` if there is only one.
pub(super) fn split_level(levels: &str) -> (&str, Option<&str>) {
    // Levels are short, so a plain loop is faster than a search by words.
    let end = levels.bytes().position(|byte| byte == b'/');
    let split = end.and_then(|end| Some((levels.get(..end)?, levels.get(end + 1..)?)));
    split.map_or((levels, None), |(level, others)| (level, Some(others)))
}
