//! A position in the retained messages that a Topic Filter matches.

use std::ops::ControlFlow;
use std::sync::Arc;

use smallvec::SmallVec;

use super::node::Node;
use super::plan::Plan;
use super::{RetainedMessage, RetainedStore};
use crate::routing::arena::NodeId;
use crate::timestamp::Timestamp;
use crate::topic::TopicFilter;

/// A subscription's position in the retained messages that existed when it was created.
///
/// It stores no message, only the path to the last visited node: from the root of the tree, or from a node with the name of one of the filter's
/// levels (see `Plan`). Nodes are visited before their children, and children and nodes with the same name in the order of their creation. The
/// store may change between two steps. A node is identified by its creation number; if it was removed, the walk continues at its first sibling
/// with a higher number. Therefore each message that existed at the beginning and still exists is found exactly once. Later messages and nodes
/// are skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedCursor {
    /// Made by the first step.
    plan: Option<Plan>,
    /// To the last visited node: from a child of the root, or from a node with the name that the plan has chosen.
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
    /// Before the first node: all nodes with this depth and name.
    Named(usize, &'a str),
}

impl RetainedCursor {
    /// Whether all messages were found.
    pub fn is_finished(&self) -> bool {
        self.next == Next::Finished
    }

    /// It as numbers, from which [`from_numbers`](Self::from_numbers) makes it again.
    pub fn numbers(&self) -> Vec<u64> {
        let plan = match self.plan {
            None => NO_PLAN,
            Some(Plan::Down) => DOWN,
            Some(Plan::Nothing) => NOTHING,
            Some(Plan::Named(depth)) => NAMED + depth as u64,
        };
        let [next, last] = match self.next {
            Next::Child => [0, 0],
            Next::Sibling => [1, 0],
            Next::SkipSiblings(last) => [2, last],
            Next::Finished => [3, 0],
        };
        let places = self.path.iter().flat_map(|place| [u64::from(place.id.number()), place.created]);
        [self.newest, self.created, plan, next, last].into_iter().chain(places).collect()
    }

    /// A cursor of these numbers; `None` if no cursor has such numbers. With numbers of another cursor, the walk finds other messages, or none:
    /// it ends all the same, and reads no node that is not there.
    pub fn from_numbers(numbers: &[u64]) -> Option<Self> {
        let (&[newest, created, plan, next, last], places) = numbers.split_first_chunk()?;
        let plan = match plan {
            NO_PLAN => None,
            DOWN => Some(Plan::Down),
            NOTHING => Some(Plan::Nothing),
            named => {
                let depth = usize::try_from(named.checked_sub(NAMED)?).ok()?;
                (2..=LEVELS_MAX).contains(&depth).then_some(Plan::Named(depth)).map(Some)?
            }
        };
        let next = match (next, last) {
            (0, 0) => Next::Child,
            (1, 0) => Next::Sibling,
            (2, last) => Next::SkipSiblings(last),
            (3, 0) => Next::Finished,
            _ => return None,
        };
        let (places, []) = places.as_chunks() else { return None };
        let place = |&[id, created]: &[u64; 2]| Some(Place { id: NodeId::of(u32::try_from(id).ok()?)?, created });
        Some(Self { plan, path: places.iter().map(place).collect::<Option<_>>()?, next, newest, created })
    }

    /// Finds the messages in another way.
    #[cfg(test)]
    pub(super) fn with_plan(self, plan: Plan) -> Self {
        Self { plan: Some(plan), ..self }
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
        RetainedCursor { plan: None, path: Vec::new(), next: Next::Child, newest: self.newest, created: self.created }
    }

    /// Advances `cursor` and passes messages that match `filter` and haven't expired at `now` to `found`, until `found`
    /// breaks or `visits` nodes were visited; visited nodes are subtracted from `visits`, and further levels that were compared or looked up, a
    /// long one as several. All steps must use the same filter.
    pub fn advance(
        &self,
        (cursor, filter): (&mut RetainedCursor, &TopicFilter),
        now: Timestamp,
        visits: &mut usize,
        mut found: impl FnMut(&Arc<RetainedMessage>) -> ControlFlow<()>,
    ) {
        let levels: SmallVec<[&str; 16]> = filter.levels().collect();
        let mut walk = Walk { store: self, cursor, levels: &levels, spent: 0 };
        walk.begin();
        walk.skip_removed_nodes();
        while *visits > 0 && !walk.cursor.is_finished() {
            let step = walk.step();
            *visits = visits.saturating_sub(1 + std::mem::take(&mut walk.spent));
            if let Some(retained) = step
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
    /// The cost of the current step beyond one visit.
    spent: usize,
}

impl<'a> Walk<'a, '_> {
    /// Makes the plan, if there is none yet.
    fn begin(&mut self) {
        if self.cursor.plan.is_none() {
            let plan = self.store.plan(self.levels);
            self.cursor.plan = Some(plan);
            self.spent = self.levels.iter().map(|level| 1 + level.len() / VISIT_BYTES).sum();
            if plan == Plan::Nothing {
                self.cursor.next = Next::Finished;
            }
        }
    }

    /// Makes one step towards the next node. Returns its message if it was reached and the filter matches.
    fn step(&mut self) -> Option<&'a Arc<RetainedMessage>> {
        match self.cursor.next {
            Next::Child => match self.first_child() {
                Some(child) => self.visit(child),
                None => self.go(Next::Sibling),
            },
            Next::Sibling => match self.cursor.path.pop() {
                Some(place) => match self.sibling(place.id) {
                    Some(sibling) => self.visit(sibling),
                    None => self.go(Next::Sibling),
                },
                None => self.go(Next::Finished),
            },
            Next::SkipSiblings(last) => match self.cursor.path.pop() {
                Some(place) if place.created > last => self.visit(place.id),
                Some(place) => self.skip_siblings(self.sibling(place.id), last),
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
        let is_first = self.cursor.path.is_empty();
        self.cursor.path.push(Place { id, created: node.created });
        if is_first && !self.begins_match(id) {
            return self.go(Next::Sibling);
        }
        self.cursor.next = Next::Child;
        node.message().filter(|_| matches!(self.levels.get(self.depth()), None | Some(&"#")))
    }

    /// Whether the filter matches the levels down to the first node of the path: the node, and those above it.
    fn begins_match(&mut self, id: NodeId) -> bool {
        let (mut node, depth) = (self.node(id), self.depth());
        for (above, level) in self.levels.iter().take(depth).enumerate().rev() {
            self.spent += level.len() / VISIT_BYTES;
            if above + 1 < depth {
                self.spent += 1;
                if node.parent == NodeId::ROOT {
                    return false; // a node of another depth, whose name has the same hash
                }
                node = self.node(node.parent);
            }
            if !matches!(*level, "+" | "#") && node.name() != *level {
                return false;
            }
        }
        let is_hidden = matches!(self.levels, ["+" | "#", ..]) && node.name().starts_with('$'); // [MQTT-4.7.2-1]
        node.parent == NodeId::ROOT && !is_hidden
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
        let sibling =
            if matches!(self.children(), Children::All | Children::Named(..)) { self.first_child() } else { None };
        self.skip_siblings(sibling, last);
    }

    /// The first child of the last node that can match the filter.
    fn first_child(&mut self) -> Option<NodeId> {
        let parent = self.cursor.path.last().map_or(NodeId::ROOT, |place| place.id);
        let cost = |level: &str| 1 + level.len() / VISIT_BYTES;
        let (child, cost) = match self.children() {
            Children::None => (None, 0),
            Children::One(level) => (self.store.edges.child(&self.store.nodes, parent, level), cost(level)),
            Children::All => (self.node(parent).first_child, 0),
            Children::Named(depth, level) => (self.store.names.first((depth, level)), cost(level)),
        };
        self.spent += cost;
        child
    }

    /// The next node after `id`, which the path no longer has, that can match the filter at the same level.
    fn sibling(&self, id: NodeId) -> Option<NodeId> {
        match self.children() {
            Children::None | Children::One(_) => None,
            Children::All => self.node(id).next,
            Children::Named(..) => self.node(id).next_of_name,
        }
    }

    /// The children of the last node that can match the filter.
    fn children(&self) -> Children<'_> {
        if let (Some(Plan::Named(depth)), true) = (self.cursor.plan, self.cursor.path.is_empty()) {
            return self.levels.get(depth - 1).map_or(Children::None, |level| Children::Named(depth, level));
        }
        match self.levels.get(self.depth()).or_else(|| self.levels.last().filter(|level| **level == "#")) {
            None => Children::None,
            Some(&("+" | "#")) => Children::All,
            Some(&level) => Children::One(level),
        }
    }

    /// The depth of the last node; 0: the root.
    fn depth(&self) -> usize {
        let above = if let Some(Plan::Named(depth)) = self.cursor.plan { depth - 1 } else { 0 };
        above + self.cursor.path.len()
    }

    fn node(&self, id: NodeId) -> &'a Node {
        self.store.nodes.node(id)
    }
}

/// A level with more bytes costs more than one visit, because it is hashed or compared.
const VISIT_BYTES: usize = 256;

/// The numbers of plans in [`RetainedCursor::numbers`]; that of `Plan::Named` is followed by its depth.
const NO_PLAN: u64 = 0;
const DOWN: u64 = 1;
const NOTHING: u64 = 2;
const NAMED: u64 = 3;
/// No topic has more levels.
const LEVELS_MAX: usize = 65_536;
