//! A position in the retained messages that a Topic Filter matches.

use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Node, RetainedMessage, RetainedStore};
use crate::routing::arena::NodeId;
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

/// A subscription's position in the retained messages that existed when it was created.
///
/// It stores no message, only the path from the root of the tree to the last visited node. Nodes are visited before
/// their children, and children in the order of their creation. The store may change between two steps. A node is
/// identified by its creation number; if it was removed, the walk continues at its first sibling with a higher number.
/// Therefore each message that existed at the beginning and still exists is found exactly once. Later messages and
/// nodes are skipped.
#[derive(Debug)]
pub struct RetainedCursor {
    /// From a child of the root to the last visited node.
    path: Vec<Place>,
    next: Next,
    /// The highest numbers of a message and of a node at the creation of the cursor.
    newest: u64,
    created: u64,
}

/// A node that may have been removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    id: NodeId,
    /// Its creation number.
    created: u64,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The last node of the path was visited; continue with its children.
    Child,
    /// The subtree of the last node was visited; continue with its next sibling.
    Sibling,
    /// The last node was removed before its visit; skip siblings up to this creation number.
    SkipSiblings(u64),
    /// The walk is finished.
    Finished,
}

/// The children of a node that can match the filter.
enum Children<'a> {
    None,
    One(&'a str),
    All,
}

impl RetainedCursor {
    /// Whether all messages were found.
    pub fn is_finished(&self) -> bool {
        self.next == Next::Finished
    }

    /// Goes back to the beginning. Messages that came after it was made are still passed over.
    pub fn restart(&mut self) {
        self.path.clear();
        self.next = Next::Child;
    }
}

impl RetainedStore {
    /// A cursor before the first message.
    pub fn cursor(&self) -> RetainedCursor {
        RetainedCursor { path: Vec::new(), next: Next::Child, newest: self.newest, created: self.created }
    }

    /// Advances `cursor` and passes messages that match `filter` and haven't expired at `now` to `found`, until `found`
    /// breaks or `visits` nodes were visited; visited nodes are subtracted from `visits`. All steps must use the same
    /// filter.
    pub fn advance(
        &self,
        (cursor, filter): (&mut RetainedCursor, &TopicFilter),
        now: Timestamp,
        visits: &mut usize,
        mut found: impl FnMut(&Arc<RetainedMessage>) -> ControlFlow<()>,
    ) {
        let levels: SmallVec<[&str; 16]> = filter.levels().collect();
        let mut walk = Walk { store: self, cursor, levels: &levels };
        walk.skip_removed_nodes();
        while *visits > 0 && !walk.cursor.is_finished() {
            *visits -= 1;
            if let Some(retained) = walk.step()
                && retained.number <= walk.cursor.newest
                && !retained.has_expired(now)
                && found(retained).is_break()
            {
                return;
            }
        }
    }
}

/// A cursor with its store and filter.
struct Walk<'a, 'b> {
    store: &'a RetainedStore,
    cursor: &'b mut RetainedCursor,
    levels: &'b [&'b str],
}

impl<'a> Walk<'a, '_> {
    /// Makes one step towards the next node. Returns its message if it was reached and the filter matches.
    fn step(&mut self) -> Option<&'a Arc<RetainedMessage>> {
        match self.cursor.next {
            Next::Child => match self.first_child() {
                Some(child) => self.visit(child),
                None => self.go(Next::Sibling),
            },
            Next::Sibling => match self.cursor.path.pop() {
                Some(place) => match self.node(place.id).next.filter(|_| matches!(self.children(), Children::All)) {
                    Some(sibling) => self.visit(sibling),
                    None => self.go(Next::Sibling),
                },
                None => self.go(Next::Finished),
            },
            Next::SkipSiblings(last) => match self.cursor.path.pop() {
                Some(place) if place.created > last => self.visit(place.id),
                Some(place) => self.skip_siblings(self.node(place.id).next, last),
                None => self.go(Next::Finished),
            },
            Next::Finished => None,
        }
    }

    fn go(&mut self, next: Next) -> Option<&'a Arc<RetainedMessage>> {
        self.cursor.next = next;
        None
    }

    /// Appends a node to the path. Returns its message if the filter matches.
    fn visit(&mut self, id: NodeId) -> Option<&'a Arc<RetainedMessage>> {
        let node = self.node(id);
        if node.created > self.cursor.created {
            return self.go(Next::Sibling); // later siblings have higher numbers
        }
        let is_hidden = self.cursor.path.is_empty() && matches!(self.levels, ["+" | "#", ..]);
        self.cursor.path.push(Place { id, created: node.created });
        if is_hidden && node.name().starts_with('$') {
            return self.go(Next::Sibling); // [MQTT-4.7.2-1]
        }
        self.cursor.next = Next::Child;
        let depth = self.cursor.path.len();
        node.message().filter(|_| matches!(self.levels.get(depth), None | Some(&"#")))
    }

    /// Continues at `sibling`, which is visited if its creation number is above `last`.
    fn skip_siblings(&mut self, sibling: Option<NodeId>, last: u64) -> Option<&'a Arc<RetainedMessage>> {
        let Some(id) = sibling else { return self.go(Next::Sibling) };
        self.cursor.path.push(Place { id, created: self.node(id).created });
        self.go(Next::SkipSiblings(last))
    }

    /// If nodes of the path were removed, truncates the path to continue among the siblings of the highest removed
    /// node.
    fn skip_removed_nodes(&mut self) {
        let path = &self.cursor.path;
        let is_there = |place: &Place| self.store.nodes.get(place.id).is_some_and(|node| node.created == place.created);
        let Some((depth, gone)) = path.iter().copied().enumerate().find(|(_, place)| !is_there(place)) else { return };
        let last = match self.cursor.next {
            Next::SkipSiblings(last) if depth + 1 == path.len() => last,
            Next::Child | Next::Sibling | Next::SkipSiblings(_) | Next::Finished => gone.created,
        };
        self.cursor.path.truncate(depth);
        let sibling = if matches!(self.children(), Children::All) { self.first_child() } else { None };
        self.skip_siblings(sibling, last);
    }

    /// The first child of the last node that can match the filter.
    fn first_child(&self) -> Option<NodeId> {
        let parent = self.cursor.path.last().map_or(NodeId::ROOT, |place| place.id);
        match self.children() {
            Children::None => None,
            Children::One(level) => self.store.edges.child(&self.store.nodes, parent, level),
            Children::All => self.node(parent).children.map(|(first, _)| first),
        }
    }

    /// The children of the last node that can match the filter.
    fn children(&self) -> Children<'_> {
        match self.levels.get(self.cursor.path.len()).or_else(|| self.levels.last().filter(|level| **level == "#")) {
            None => Children::None,
            Some(&("+" | "#")) => Children::All,
            Some(&level) => Children::One(level),
        }
    }

    fn node(&self, id: NodeId) -> &'a Node {
        self.store.nodes.node(id)
    }
}
