//! A position in the retained messages that a Topic Filter matches.

use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Node, RetainedMessage, RetainedStore};
use crate::routing::arena::NodeId;
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

/// How far a new subscription has got through the retained messages that were there when it was made.
///
/// It holds no message: only the nodes from the root of the tree to the last one visited. Nodes are visited parent first, and the children of
/// a node in the order in which they were created. The store may change between two steps: a node is known by the number of its creation, and
/// where one is gone, the walk goes on at the first of its siblings that was created after it. So each message that was there at the
/// beginning, and is still there, is found exactly once. Messages and nodes that came later are passed over.
#[derive(Debug)]
pub struct RetainedCursor {
    /// From a child of the root down to the last node visited.
    path: Vec<Place>,
    next: Next,
    /// The highest number of a message, and of a node, when it was made.
    newest: u64,
    created: u64,
}

/// A node that may be gone by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    id: NodeId,
    /// The number of its creation.
    created: u64,
}

/// What the next step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The end of the path was visited: its children are next.
    Child,
    /// Everything below the end of the path was visited: its next sibling follows.
    Sibling,
    /// The end of the path was not visited. It stands for a node that is gone: the siblings created up to this one are passed over.
    PastGone(u64),
    /// There is nothing left.
    Nothing,
}

/// The children of a node that a filter goes on with.
enum Children<'a> {
    None,
    One(&'a str),
    All,
}

impl RetainedCursor {
    /// Whether every message was found.
    pub fn is_finished(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Goes back to the beginning. Messages that came after it was made are still passed over.
    pub fn restart(&mut self) {
        self.path.clear();
        self.next = Next::Child;
    }
}

impl RetainedStore {
    /// A position before the first of the messages that are there now.
    pub fn cursor(&self) -> RetainedCursor {
        RetainedCursor { path: Vec::new(), next: Next::Child, newest: self.newest, created: self.created }
    }

    /// Moves `cursor` on and gives the messages that `filter` matches and that haven't expired at `now` to `found`, until that breaks or
    /// `visits` nodes were visited; those are subtracted from it. The filter must be the same in all steps.
    pub fn advance(
        &self,
        (cursor, filter): (&mut RetainedCursor, &TopicFilter),
        now: Timestamp,
        visits: &mut usize,
        mut found: impl FnMut(&Arc<RetainedMessage>) -> ControlFlow<()>,
    ) {
        let levels: SmallVec<[&str; 16]> = filter.levels().collect();
        let mut walk = Walk { store: self, cursor, levels: &levels };
        walk.find_way_back();
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

/// A cursor in its store.
struct Walk<'a, 'b> {
    store: &'a RetainedStore,
    cursor: &'b mut RetainedCursor,
    levels: &'b [&'b str],
}

impl<'a> Walk<'a, '_> {
    /// Goes to the next node, or only a part of the way there, and returns its message if the filter matches its topic.
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
                None => self.go(Next::Nothing),
            },
            Next::PastGone(last) => match self.cursor.path.pop() {
                Some(place) if place.created > last => self.visit(place.id),
                Some(place) => self.pass_over(self.node(place.id).next, last),
                None => self.go(Next::Nothing),
            },
            Next::Nothing => None,
        }
    }

    fn go(&mut self, next: Next) -> Option<&'a Arc<RetainedMessage>> {
        self.cursor.next = next;
        None
    }

    /// Puts a node at the end of the path, and returns its message if the filter matches its topic.
    fn visit(&mut self, id: NodeId) -> Option<&'a Arc<RetainedMessage>> {
        let node = self.node(id);
        if node.created > self.cursor.created {
            return self.go(Next::Sibling); // its later siblings are newer still
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

    /// Goes on at `sibling`, which is visited if it was created after `last`.
    fn pass_over(&mut self, sibling: Option<NodeId>, last: u64) -> Option<&'a Arc<RetainedMessage>> {
        let Some(id) = sibling else { return self.go(Next::Sibling) };
        self.cursor.path.push(Place { id, created: self.node(id).created });
        self.go(Next::PastGone(last))
    }

    /// If nodes of the path are gone, goes to where the walk goes on: among the siblings of the highest of them.
    fn find_way_back(&mut self) {
        let path = &self.cursor.path;
        let is_there = |place: &Place| self.store.nodes.get(place.id).is_some_and(|node| node.created == place.created);
        let Some((depth, gone)) = path.iter().copied().enumerate().find(|(_, place)| !is_there(place)) else { return };
        let last = match self.cursor.next {
            Next::PastGone(last) if depth + 1 == path.len() => last,
            Next::Child | Next::Sibling | Next::PastGone(_) | Next::Nothing => gone.created,
        };
        self.cursor.path.truncate(depth);
        let sibling = if matches!(self.children(), Children::All) { self.first_child() } else { None };
        self.pass_over(sibling, last);
    }

    /// The first child of the end of the path that the filter goes on with.
    fn first_child(&self) -> Option<NodeId> {
        let parent = self.cursor.path.last().map_or(NodeId::ROOT, |place| place.id);
        match self.children() {
            Children::None => None,
            Children::One(level) => self.store.edges.child(&self.store.nodes, parent, level),
            Children::All => self.node(parent).children.map(|(first, _)| first),
        }
    }

    /// Which children of the end of the path the filter goes on with.
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
