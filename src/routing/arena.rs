use std::num::NonZeroU32;

use slab::Slab;

/// The nodes of a tree, which refer to each other by number. A number is half the size of a pointer, and a tree that a client made thousands
/// of levels deep is walked and dropped without recursion.
#[derive(Debug)]
pub(super) struct Arena<T> {
    nodes: Slab<T>,
}

/// The number of a node. An `Option<NodeId>` has the same size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeId(NonZeroU32);

impl NodeId {
    /// The first node of an arena.
    pub(super) const ROOT: Self = Self(NonZeroU32::MIN);

    /// The node with this number, from 1, whether there is one or not.
    pub(super) fn of(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// It as a number from 1.
    pub(super) const fn number(self) -> u32 {
        self.0.get()
    }

    const fn key(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl<T> Arena<T> {
    pub(super) const fn new() -> Self {
        Self { nodes: Slab::new() }
    }

    /// Creates an arena with `root` as [`NodeId::ROOT`], which is never removed.
    pub(super) fn with_root(root: T) -> Self {
        let mut arena = Self::new();
        arena.insert(root);
        arena
    }

    #[expect(clippy::expect_used, reason = "memory is exhausted before the numbers: a node has at least 32 bytes")]
    pub(super) fn insert(&mut self, node: T) -> NodeId {
        let number = u32::try_from(self.nodes.insert(node) + 1).ok().and_then(NonZeroU32::new);
        NodeId(number.expect("fewer than 2³² nodes"))
    }

    #[expect(clippy::expect_used, reason = "numbers refer to existing nodes")]
    pub(super) fn node(&self, id: NodeId) -> &T {
        self.nodes.get(id.key()).expect("a node with this number")
    }

    /// The node that has this number now, if there is one.
    pub(super) fn get(&self, id: NodeId) -> Option<&T> {
        self.nodes.get(id.key())
    }

    /// The node with this number, if there is one.
    pub(super) fn id(&self, number: u32) -> Option<NodeId> {
        NodeId::of(number).filter(|id| self.nodes.contains(id.key()))
    }

    /// No node has a number above this one.
    pub(super) fn last_number(&self) -> u32 {
        u32::try_from(self.nodes.capacity()).unwrap_or(u32::MAX)
    }

    #[expect(clippy::expect_used, reason = "numbers refer to existing nodes")]
    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut T {
        self.nodes.get_mut(id.key()).expect("a node with this number")
    }

    pub(super) fn remove(&mut self, id: NodeId) -> T {
        self.nodes.remove(id.key())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
}
