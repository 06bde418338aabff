use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::codec::{ClientId, Message, Qos};
use crate::routing::arena::{Arena, NodeId};
use crate::routing::edges::{Edges, Linked, split_level};
use crate::timestamp::Timestamp;
use crate::topic::TopicName;

mod cursor;

pub use cursor::RetainedCursor;

/// A retained message: the last one of its topic, for later subscribers. [MQTT-3.3.1-5]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedMessage {
    /// The message, detached from the read buffer.
    pub message: Arc<Message>,
    /// The QoS at which it was published.
    pub qos: Qos,
    /// When it expires, if it has a Message Expiry Interval.
    pub expires_at: Option<Timestamp>,
    /// The publisher's Client Identifier; `None` for the broker.
    pub publisher: Option<ClientId>,
    /// A number that increases with every retained message of the broker.
    pub number: u64,
    /// Whether it is the retained message of its topic now.
    pub current: Current,
}

impl RetainedMessage {
    /// The memory that counts for `retained_bytes_max`, in bytes: at most this, because messages share the names of their upper levels.
    pub fn memory(&self) -> usize {
        cost(self)
    }
}

/// Whether a message is still the retained one of its topic, without a look-up. It is not a part of the message's value: a copy is current,
/// and comparing two messages ignores it.
#[derive(Debug)]
pub struct Current(AtomicBool);

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
#[derive(Debug)]
pub struct RetainedStore {
    nodes: Arena<Node>,
    edges: Edges,
    /// The expiring messages, the earliest first.
    expiries: BTreeSet<(Timestamp, TopicName)>,
    limits: RetainedLimits,
    messages: usize,
    bytes: usize,
    /// The number of nodes created so far.
    created: u64,
    /// The highest number of a message so far.
    newest: u64,
}

/// A topic level.
#[derive(Debug)]
struct Node {
    content: Content,
    /// A number that increases with every created node. It distinguishes the node from a later one with the same
    /// [`NodeId`], and orders the children of a node.
    created: u64,
    parent: NodeId,
    next_of_hash: Option<NodeId>,
    /// The first and the last child.
    children: Option<(NodeId, NodeId)>,
    /// The previous sibling.
    previous: Option<NodeId>,
    next: Option<NodeId>,
}

/// The content of a node; both variants have the size of a name.
#[derive(Debug)]
enum Content {
    /// The name of the level.
    Name(Box<str>),
    /// The retained message of the topic that ends here. The name of the level is the last one of the topic.
    Message(Arc<RetainedMessage>),
}

const _: () = assert!(size_of::<Node>() == 48);

impl RetainedStore {
    /// An empty store.
    pub fn new(limits: RetainedLimits) -> Self {
        let (nodes, edges) = (Arena::with_root(Node::new("", NodeId::ROOT, 0)), Edges::default());
        Self { nodes, edges, expiries: BTreeSet::new(), limits, messages: 0, bytes: 0, created: 0, newest: 0 }
    }

    /// Retains a message in place of the one that its topic has, which is returned; without a payload, none from now on. [MQTT-3.3.1-7]
    pub fn set(&mut self, retained: RetainedMessage) -> Result<Option<Arc<RetainedMessage>>, RetainedFull> {
        let message = Arc::clone(&retained.message);
        let (mut id, mut missing) = self.descend(&message.topic);
        if message.payload.is_empty() {
            return Ok(if missing.is_none() { self.take(id) } else { None });
        }
        let replaced = self.nodes.node(id).message().filter(|_| missing.is_none());
        let replaced = replaced.map(Arc::as_ref);
        let (old, new) = (replaced.map(cost), cost(&retained));
        self.check_limits(old, new)?;
        if let Some(expires_at) = replaced.and_then(|replaced| replaced.expires_at) {
            self.expiries.remove(&(expires_at, message.topic.clone()));
        }
        self.expiries.extend(retained.expires_at.map(|expires_at| (expires_at, message.topic.clone())));
        while let Some(levels) = missing {
            let (level, below) = split_level(levels);
            // The last node gets its name from the message.
            id = self.insert(id, level, if below.is_some() { level } else { "" });
            missing = below;
        }
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

    /// Adds a new last child of `parent`.
    fn insert(&mut self, parent: NodeId, level: &str, name: &str) -> NodeId {
        self.created += 1;
        let id = self.nodes.insert(Node::new(name, parent, self.created));
        self.edges.insert(&mut self.nodes, (parent, level), id);
        let children = self.nodes.node(parent).children;
        if let Some((_, last)) = children {
            self.nodes.node_mut(last).next = Some(id);
            self.nodes.node_mut(id).previous = Some(last);
        }
        self.nodes.node_mut(parent).children = Some((children.map_or(id, |(first, _)| first), id));
        id
    }

    /// Removes the message of a node, and nodes that no other message needs.
    fn take(&mut self, mut id: NodeId) -> Option<Arc<RetainedMessage>> {
        let node = self.nodes.node_mut(id);
        let name = Content::Name(node.message().map(|retained| last_level(retained))?.into());
        let retained = mem::replace(&mut node.content, name).into_message()?;
        retained.current.end();
        self.messages -= 1;
        self.bytes -= cost(&retained);
        if let Some(expires_at) = retained.expires_at {
            self.expiries.remove(&(expires_at, retained.message.topic.clone()));
        }
        while id != NodeId::ROOT && self.nodes.node(id).is_unused() {
            id = self.remove(id);
        }
        Some(retained)
    }

    /// Removes a node without children and returns its parent.
    fn remove(&mut self, id: NodeId) -> NodeId {
        let node = self.nodes.node_mut(id);
        let parent = node.parent;
        // The edges identify nodes by name, except for the removed one.
        if let Content::Name(name) = mem::take(&mut node.content) {
            self.edges.remove(&mut self.nodes, (parent, &name), id);
        }
        let Node { previous, next, .. } = self.nodes.remove(id);
        if let Some(previous) = previous {
            self.nodes.node_mut(previous).next = next;
        }
        if let Some(next) = next {
            self.nodes.node_mut(next).previous = previous;
        }
        let parent_node = self.nodes.node_mut(parent);
        parent_node.children = parent_node.children.and_then(|(first, last)| {
            let first = if first == id { next } else { Some(first) };
            let last = if last == id { previous } else { Some(last) };
            first.zip(last)
        });
        parent
    }
}

impl Current {
    /// Whether the message was the retained one of its topic at the time of the call.
    pub fn is(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn end(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Default for Current {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Clone for Current {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Current {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Current {}

impl RetainedMessage {
    fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

impl Node {
    fn new(name: &str, parent: NodeId, created: u64) -> Self {
        Self {
            content: Content::Name(name.into()),
            created,
            parent,
            next_of_hash: None,
            children: None,
            previous: None,
            next: None,
        }
    }

    fn message(&self) -> Option<&Arc<RetainedMessage>> {
        match &self.content {
            Content::Message(retained) => Some(retained),
            Content::Name(_) => None,
        }
    }

    fn name(&self) -> &str {
        match &self.content {
            Content::Message(retained) => last_level(retained),
            Content::Name(name) => name,
        }
    }

    fn is_unused(&self) -> bool {
        self.children.is_none() && self.message().is_none()
    }
}

impl Content {
    fn into_message(self) -> Option<Arc<RetainedMessage>> {
        match self {
            Self::Message(retained) => Some(retained),
            Self::Name(_) => None,
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Self::Name(Box::default())
    }
}

impl Linked for Node {
    fn is_child(&self, parent: NodeId, level: &str) -> bool {
        self.parent == parent && self.name() == level
    }

    fn next_of_hash(&self) -> Option<NodeId> {
        self.next_of_hash
    }

    fn set_next_of_hash(&mut self, next: Option<NodeId>) {
        self.next_of_hash = next;
    }
}

fn last_level(retained: &RetainedMessage) -> &str {
    let topic = retained.message.topic.as_str();
    topic.rsplit_once('/').map_or(topic, |(_, level)| level)
}

fn cost(retained: &RetainedMessage) -> usize {
    let Message { topic, payload, properties, .. } = &*retained.message;
    let (length, levels) = (topic.as_str().len(), topic.levels().count());
    // The last level gets its name from the message.
    let names = length - last_level(retained).len() + (levels - 1) * NAME_BYTES;
    length + payload.len() + properties.encoded_len() + levels * LEVEL_BYTES + names + MESSAGE_BYTES
}

/// Maximum memory of a node and its edge in bytes, right after their tables have grown.
const LEVEL_BYTES: usize = 120;

/// Maximum overhead of a name's allocation in bytes.
const NAME_BYTES: usize = 32;

/// Approximate overhead of a message in bytes: the two structures, and an entry in the expiries.
const MESSAGE_BYTES: usize = 288;

#[cfg(test)]
mod tests;
