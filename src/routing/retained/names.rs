use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;

use super::node::Node;
use crate::routing::arena::{Arena, NodeId};

/// The nodes of the tree below the first level, by their depth and name, in the order of their creation.
///
/// It takes 8 bytes of each node, and 13 bytes for each depth and name that any node has. 32 bits of the hash are the key, so nodes of
/// another depth or name may be among those that are looked up.
#[derive(Debug, Default)]
pub(super) struct Names {
    lists: HashMap<u32, List, foldhash::fast::RandomState>,
    hasher: foldhash::quality::RandomState,
}

/// Nodes that are linked by [`Node::next_of_name`].
#[derive(Debug)]
pub(super) struct List {
    first: NodeId,
    nodes: u32,
}

impl Names {
    /// The first node with this depth and name.
    pub(super) fn first(&self, place: (usize, &str)) -> Option<NodeId> {
        self.lists.get(&self.hash(place)).map(|list| list.first)
    }

    /// The number of nodes with this depth and name.
    pub(super) fn count(&self, place: (usize, &str)) -> usize {
        self.lists.get(&self.hash(place)).map_or(0, |list| list.nodes as usize)
    }

    /// Adds a node as the last one of its list.
    pub(super) fn insert(&mut self, nodes: &mut Arena<Node>, place: (usize, &str), id: NodeId) {
        let list = match self.lists.entry(self.hash(place)) {
            Entry::Vacant(vacant) => {
                vacant.insert(List { first: id, nodes: 1 });
                nodes.node_mut(id).previous_of_name = Some(id);
                return;
            }
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        list.nodes += 1;
        let last = nodes.node_mut(list.first).previous_of_name.replace(id);
        nodes.node_mut(id).previous_of_name = last;
        if let Some(last) = last {
            nodes.node_mut(last).next_of_name = Some(id);
        }
    }

    /// Removes a node, which is still in the arena.
    pub(super) fn remove(&mut self, nodes: &mut Arena<Node>, place: (usize, &str), id: NodeId) {
        let Entry::Occupied(mut occupied) = self.lists.entry(self.hash(place)) else { return };
        let &Node { previous_of_name: previous, next_of_name: next, .. } = nodes.node(id);
        let list = occupied.get_mut();
        list.nodes -= 1;
        if list.first != id {
            if let Some(previous) = previous {
                nodes.node_mut(previous).next_of_name = next;
            }
        } else if let Some(next) = next {
            list.first = next;
        } else {
            occupied.remove();
            return;
        }
        nodes.node_mut(next.unwrap_or(list.first)).previous_of_name = previous;
    }

    fn hash(&self, place: (usize, &str)) -> u32 {
        let [a, b, c, d, ..] = self.hasher.hash_one(place).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }
}
