use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use crate::routing::arena::{Arena, NodeId};
use crate::routing::edges::{Edges, split_level};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

mod changes;
mod cleared;
mod cursor;
mod fits;
mod message;
mod names;
mod node;
mod plan;
mod right;
mod sequences;
mod users;

use cleared::ClearedTopics;
use names::Names;
use node::{Content, Node};

pub use cleared::Cleared;
pub use cursor::RetainedCursor;
pub use message::{Current, RetainedMessage};
pub use right::PublishRight;
pub use sequences::StreamSequences;
pub(crate) use users::RetainedUsers;

/// The limits of all retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Maximum number of messages.
    pub retained_messages_max: usize,
    /// Maximum memory in bytes, as counted by [`RetainedStore::bytes`].
    pub retained_bytes_max: usize,
}

/// Why a message was not retained. The previous retained message of the topic stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetainedFull {
    /// The number of messages is at its limit, and the topic has none.
    #[error("the limit of {retained_messages_max} retained messages is reached")]
    Messages {
        /// The limit.
        retained_messages_max: usize,
    },
    /// The message would exceed the limit of bytes.
    #[error("the limit of {retained_bytes_max} bytes of retained messages is reached")]
    Bytes {
        /// The limit.
        retained_bytes_max: usize,
    },
}

/// The retained messages of all topics, as a tree of their levels.
///
/// The messages of a Topic Filter are found from one of its levels: down from its first levels, or from all nodes that have the name of a
/// later one. So `+/x` costs as many steps as there are topics with `x` at the second level, however many others there are.
#[derive(Debug)]
pub struct RetainedStore {
    nodes: Arena<Node>,
    edges: Edges,
    names: Names,
    /// The number of nodes at each depth, from 1.
    depths: Vec<usize>,
    users: RetainedUsers,
    /// The expiring messages, the earliest first.
    expiries: BTreeSet<(Timestamp, TopicName)>,
    /// Of a broker that is one of several.
    cleared: ClearedTopics,
    limits: RetainedLimits,
    messages: usize,
    bytes: usize,
    /// The number of nodes created so far.
    created: u64,
    /// The highest number of a message so far.
    newest: u64,
}

impl RetainedStore {
    /// An empty store.
    pub fn new(limits: RetainedLimits) -> Self {
        Self {
            nodes: Arena::with_root(Node::new("", NodeId::ROOT, 0)),
            edges: Edges::default(),
            names: Names::default(),
            depths: Vec::new(),
            users: RetainedUsers::default(),
            expiries: BTreeSet::new(),
            cleared: ClearedTopics::default(),
            limits,
            messages: 0,
            bytes: 0,
            created: 0,
            newest: 0,
        }
    }

    /// Retains a message in place of the one that its topic has, which is returned; without a payload, none from now on. [MQTT-3.3.1-7]
    pub fn set(&mut self, retained: RetainedMessage) -> Result<Option<Arc<RetainedMessage>>, RetainedFull> {
        self.put(retained, true)
    }

    /// The same, whatever the limits are: another broker has checked them.
    pub fn set_beyond_limits(&mut self, retained: RetainedMessage) -> Option<Arc<RetainedMessage>> {
        self.put(retained, false).ok().flatten()
    }

    fn put(
        &mut self,
        mut retained: RetainedMessage,
        is_limited: bool,
    ) -> Result<Option<Arc<RetainedMessage>>, RetainedFull> {
        let message = Arc::clone(&retained.message);
        let (mut id, mut missing) = self.descend(&message.topic);
        if message.payload.is_empty() {
            return Ok(if missing.is_none() { self.take(id) } else { None });
        }
        let replaced = self.nodes.node(id).message().filter(|_| missing.is_none());
        let replaced = replaced.map(Arc::as_ref);
        let (old, new) = (replaced.map(RetainedMessage::memory), retained.memory());
        if is_limited {
            self.check_limits(old, new)?;
        }
        if let Some(expires_at) = replaced.and_then(|replaced| replaced.expires_at) {
            self.expiries.remove(&(expires_at, message.topic.clone()));
        }
        self.expiries.extend(retained.expires_at.map(|expires_at| (expires_at, message.topic.clone())));
        let mut depth = missing.map_or(0, |levels| message.topic.levels().count() - levels.split('/').count());
        while let Some(levels) = missing {
            let (level, below) = split_level(levels);
            depth += 1;
            // The last node gets its name from the message.
            id = self.insert(id, (depth, level), if below.is_some() { level } else { "" });
            missing = below;
        }
        retained.user = retained.user.map(|user| self.users.intern(user));
        self.messages += usize::from(old.is_none());
        self.bytes = self.bytes - old.unwrap_or(0) + new;
        self.newest = self.newest.max(retained.number);
        let content = Content::Message(Arc::new(retained));
        let replaced = mem::replace(&mut self.nodes.node_mut(id).content, content);
        Ok(replaced.into_message().inspect(|old| old.current.end()))
    }

    /// Deletes the retained message of a topic. Returns `false` if there is none. [MQTT-3.3.1-6]
    pub fn clear(&mut self, topic: &TopicName) -> bool {
        self.find(topic).is_some_and(|id| self.take(id).is_some())
    }

    /// The retained message of a topic, even if it has expired.
    pub fn get(&self, topic: &TopicName) -> Option<&Arc<RetainedMessage>> {
        self.nodes.node(self.find(topic)?).message()
    }

    /// Removes up to `limit` messages that have expired at `now`, and returns their numbers. If there are `limit`, call
    /// it again.
    pub fn remove_expired(&mut self, now: Timestamp, limit: usize) -> Vec<u64> {
        let mut removed = Vec::new();
        while removed.len() < limit
            && let Some((_, topic)) = self.expiries.first().filter(|(expires_at, _)| *expires_at <= now)
        {
            let topic = topic.clone();
            removed.extend(self.get(&topic).map(|retained| retained.number));
            assert!(self.clear(&topic), "an expiring message is retained");
        }
        removed
    }

    /// How many messages are retained, those included that have expired but aren't removed yet.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether there are no retained messages.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// What they cost in memory: topics, payloads, properties, and the structures for each message and each topic level. So a limit on it
    /// bounds the memory, whatever the messages look like.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the limits. Messages beyond them stay until they are replaced or deleted.
    pub fn set_limits(&mut self, limits: RetainedLimits) {
        self.limits = limits;
    }

    fn check_limits(&self, old: Option<usize>, new: usize) -> Result<(), RetainedFull> {
        let RetainedLimits { retained_messages_max, retained_bytes_max } = self.limits;
        if old.is_none() && self.messages >= retained_messages_max {
            return Err(RetainedFull::Messages { retained_messages_max });
        }
        let old = old.unwrap_or(0);
        if new > old && self.bytes - old + new > retained_bytes_max {
            return Err(RetainedFull::Bytes { retained_bytes_max });
        }
        Ok(())
    }

    fn find(&self, topic: &TopicName) -> Option<NodeId> {
        let (id, missing) = self.descend(topic);
        missing.is_none().then_some(id)
    }

    /// Follows the topic's levels as far as nodes exist. Returns the last node and the levels without nodes.
    fn descend<'a>(&self, topic: &'a TopicName) -> (NodeId, Option<&'a str>) {
        let (mut id, mut rest) = (NodeId::ROOT, Some(topic.as_str()));
        while let Some(levels) = rest {
            let (level, below) = split_level(levels);
            let Some(child) = self.edges.child(&self.nodes, id, level) else { break };
            (id, rest) = (child, below);
        }
        (id, rest)
    }

    /// Adds a new last child of `parent`, at this depth and for this level.
    fn insert(&mut self, parent: NodeId, (depth, level): (usize, &str), name: &str) -> NodeId {
        self.created += 1;
        let id = self.nodes.insert(Node::new(name, parent, self.created));
        self.edges.insert(&mut self.nodes, (parent, level), id);
        if depth > 1 {
            self.names.insert(&mut self.nodes, (depth, level), id); // the edges of the root find those of the first level
        }
        if self.depths.len() < depth {
            self.depths.resize(depth, 0);
        }
        if let Some(nodes) = self.depths.get_mut(depth - 1) {
            *nodes += 1;
        }
        let parent = self.nodes.node_mut(parent);
        parent.children += 1;
        let first = *parent.first_child.get_or_insert(id);
        let last = self.nodes.node_mut(first).previous.replace(id);
        if let Some(last) = last {
            self.nodes.node_mut(last).next = Some(id);
            self.nodes.node_mut(id).previous = Some(last);
        }
        id
    }

    /// Removes the message of a node, and nodes that no other message needs.
    fn take(&mut self, mut id: NodeId) -> Option<Arc<RetainedMessage>> {
        let node = self.nodes.node_mut(id);
        let name = Content::Name(node.message().map(|retained| retained.last_level())?.into());
        let retained = mem::replace(&mut node.content, name).into_message()?;
        retained.current.end();
        self.messages -= 1;
        self.bytes -= retained.memory();
        if let Some(expires_at) = retained.expires_at {
            self.expiries.remove(&(expires_at, retained.message.topic.clone()));
        }
        let mut depth = retained.message.topic.levels().count();
        while id != NodeId::ROOT && self.nodes.node(id).is_unused() {
            id = self.remove(id, depth);
            depth -= 1;
        }
        Some(retained)
    }

    /// Removes a node without children at this depth, and returns its parent.
    fn remove(&mut self, id: NodeId, depth: usize) -> NodeId {
        let node = self.nodes.node_mut(id);
        let parent = node.parent;
        // The edges identify nodes by name, except for the removed one.
        if let Content::Name(name) = mem::take(&mut node.content) {
            self.edges.remove(&mut self.nodes, (parent, &name), id);
            if depth > 1 {
                self.names.remove(&mut self.nodes, (depth, &name), id);
            }
        }
        if let Some(nodes) = self.depths.get_mut(depth - 1) {
            *nodes -= 1;
        }
        while self.depths.pop_if(|nodes| *nodes == 0).is_some() {}
        let Node { previous, next, .. } = self.nodes.remove(id);
        let parent_node = self.nodes.node_mut(parent);
        parent_node.children -= 1;
        if parent_node.first_child == Some(id) {
            parent_node.first_child = next;
        } else if let Some(previous) = previous {
            self.nodes.node_mut(previous).next = next;
        }
        // The last one is before the first one.
        if let Some(after) = next.or(self.nodes.node(parent).first_child) {
            self.nodes.node_mut(after).previous = previous;
        }
        parent
    }
}

#[cfg(test)]
mod tests;
