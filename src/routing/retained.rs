use std::collections::BTreeSet;
use std::sync::Arc;

use crate::codec::{ClientId, Message, Qos};
use crate::routing::arena::{Arena, NodeId};
use crate::routing::compact_map::CompactMap;
use crate::timestamp::Timestamp;
use crate::topic::{TopicFilter, TopicName};

/// A retained message: the last one of its topic, for those who subscribe later. [MQTT-3.3.1-5]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// The message, detached from the buffer it was read from.
    pub message: Arc<Message>,
    /// The QoS it was published at.
    pub qos: Qos,
    /// When its Message Expiry Interval is over, if it has one.
    pub expires_at: Option<Timestamp>,
    /// Who published it; `None` for the broker itself.
    pub publisher: Option<ClientId>,
    /// Its number among all that were ever retained, ascending.
    pub number: u64,
}

/// How much is retained at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedLimits {
    /// Messages.
    pub retained_messages_max: usize,
    /// Their cost in memory, as [`RetainedStore::bytes`] counts it.
    pub retained_bytes_max: usize,
}

/// Why a message was not retained. What the topic had before stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetainedFull {
    /// As many messages as are allowed, and none of this topic.
    #[error("{retained_messages_max} messages are retained already")]
    Messages {
        /// The limit.
        retained_messages_max: usize,
    },
    /// It would be more bytes than are allowed.
    #[error("the retained messages would take more than {retained_bytes_max} bytes")]
    Bytes {
        /// The limit.
        retained_bytes_max: usize,
    },
}

/// The retained messages of all topics, as a tree of their levels.
#[derive(Debug)]
pub struct RetainedStore {
    nodes: Arena<Node>,
    /// Those that expire, the first to do so first.
    expiries: BTreeSet<(Timestamp, TopicName)>,
    limits: RetainedLimits,
    messages: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Node {
    children: CompactMap<Box<str>, NodeId>,
    retained: Option<Arc<Retained>>,
}

const _: () = assert!(size_of::<Node>() <= 32);

impl RetainedStore {
    /// Nothing retained yet.
    pub fn new(limits: RetainedLimits) -> Self {
        Self { nodes: Arena::with_root(Node::default()), expiries: BTreeSet::new(), limits, messages: 0, bytes: 0 }
    }

    /// Other limits from now on. What is retained stays, even if it is too much.
    pub fn set_limits(&mut self, limits: RetainedLimits) {
        self.limits = limits;
    }

    /// Retains a message in place of the one that its topic has; without a payload, none from now on. [MQTT-3.3.1-7]
    pub fn set(&mut self, retained: Retained) -> Result<(), RetainedFull> {
        let topic = retained.message.topic.clone();
        if retained.message.payload.is_empty() {
            self.clear(&topic);
            return Ok(());
        }
        self.check_limits(&retained)?;
        self.clear(&topic);
        self.messages += 1;
        self.bytes += cost(&retained);
        self.expiries.extend(retained.expires_at.map(|expires_at| (expires_at, topic.clone())));
        let mut id = NodeId::ROOT;
        for level in topic.levels() {
            id = match self.nodes.node(id).children.get(level) {
                Some(&child) => child,
                None => {
                    let child = self.nodes.insert(Node::default());
                    self.nodes.node_mut(id).children.insert(level.into(), child);
                    child
                }
            };
        }
        self.nodes.node_mut(id).retained = Some(Arc::new(retained));
        Ok(())
    }

    /// Forgets what the topic has; `false` if it has nothing. [MQTT-3.3.1-6]
    pub fn clear(&mut self, topic: &TopicName) -> bool {
        let mut path = Vec::new();
        let mut id = NodeId::ROOT;
        for level in topic.levels() {
            path.push((id, level));
            match self.nodes.node(id).children.get(level) {
                Some(&child) => id = child,
                None => return false,
            }
        }
        let Some(retained) = self.nodes.node_mut(id).retained.take() else { return false };
        self.messages -= 1;
        self.bytes -= cost(&retained);
        if let Some(expires_at) = retained.expires_at {
            self.expiries.remove(&(expires_at, topic.clone()));
        }
        while self.nodes.node(id).is_unused()
            && let Some((parent, level)) = path.pop()
        {
            self.nodes.remove(id);
            self.nodes.node_mut(parent).children.remove(level);
            id = parent;
        }
        true
    }

    /// What the topic has, expired or not.
    pub fn get(&self, topic: &TopicName) -> Option<&Arc<Retained>> {
        let mut levels = topic.levels();
        let id = levels.try_fold(NodeId::ROOT, |id, level| self.nodes.node(id).children.get(level).copied())?;
        self.nodes.node(id).retained.as_ref()
    }

    /// The messages of all topics that `filter` matches and that haven't expired at `now`, ordered by their topics' levels.
    pub fn matching(&self, filter: &TopicFilter, now: Timestamp) -> Vec<Arc<Retained>> {
        let levels: Vec<&str> = filter.levels().collect();
        let mut found = Vec::new();
        let mut waiting = vec![(NodeId::ROOT, 0)];
        while let Some((id, depth)) = waiting.pop() {
            let node = self.nodes.node(id);
            match levels.get(depth) {
                Some(&level @ ("+" | "#")) => {
                    let depth_below = if level == "#" { depth } else { depth + 1 };
                    let hidden = |name: &str| id == NodeId::ROOT && name.starts_with('$'); // [MQTT-4.7.2-1]
                    let children = node.children.iter().rev().filter(|(name, _)| !hidden(name));
                    waiting.extend(children.map(|(_, &child)| (child, depth_below)));
                }
                Some(&level) => waiting.extend(node.children.get(level).map(|&child| (child, depth + 1))),
                None => {}
            }
            if matches!(levels.get(depth), None | Some(&"#")) {
                found.extend(node.retained.as_ref().filter(|retained| !retained.has_expired(now)).cloned());
            }
        }
        found
    }

    /// Forgets messages that have expired at `now`, `limit` at most, and gives their numbers: if they are `limit`, there may be more.
    pub fn remove_expired(&mut self, now: Timestamp, limit: usize) -> Vec<u64> {
        let mut removed = Vec::new();
        while removed.len() < limit
            && let Some((_, topic)) = self.expiries.first().filter(|(expires_at, _)| *expires_at <= now)
        {
            let topic = topic.clone();
            removed.extend(self.get(&topic).map(|retained| retained.number));
            assert!(self.clear(&topic), "what expires is retained");
        }
        removed
    }

    /// When the next message expires.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|&(expires_at, _)| expires_at)
    }

    /// How many messages are retained, those included that have expired but aren't removed yet.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// What they cost in memory: topics, payloads and properties, and what keeping each message and each topic level
    /// takes, so that a limit holds whatever they look like.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn check_limits(&self, retained: &Retained) -> Result<(), RetainedFull> {
        let RetainedLimits { retained_messages_max, retained_bytes_max } = self.limits;
        let replaced = self.get(&retained.message.topic);
        if replaced.is_none() && self.messages >= retained_messages_max {
            return Err(RetainedFull::Messages { retained_messages_max });
        }
        let (old, new) = (replaced.map_or(0, |replaced| cost(replaced)), cost(retained));
        if new > old && self.bytes - old + new > retained_bytes_max {
            return Err(RetainedFull::Bytes { retained_bytes_max });
        }
        Ok(())
    }
}

impl Retained {
    fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

impl Node {
    fn is_unused(&self) -> bool {
        self.children.is_empty() && self.retained.is_none()
    }
}

fn cost(retained: &Retained) -> usize {
    let Message { topic, payload, properties, .. } = &*retained.message;
    let levels = topic.levels().count() * LEVEL_BYTES;
    topic.as_str().len() + payload.len() + properties.encoded_len() + levels + MESSAGE_BYTES
}

/// About what a node, its name's allocation and its entry at its parent take.
const LEVEL_BYTES: usize = 96;

/// About what a message takes beside its own bytes: the two structures, and an entry among those that expire.
const MESSAGE_BYTES: usize = 288;

#[cfg(test)]
mod tests;
