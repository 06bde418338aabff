use std::sync::Arc;

use super::message::RetainedMessage;
use crate::routing::arena::NodeId;
use crate::routing::edges::Linked;

/// A topic level.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    /// A number that increases with every created node. It distinguishes the node from a later one with the same
    /// [`NodeId`], and orders the children of a node.
    pub(super) created: u64,
    pub(super) parent: NodeId,
    pub(super) next_of_hash: Option<NodeId>,
    pub(super) first_child: Option<NodeId>,
    pub(super) children: u32,
    /// The previous sibling; that of the first one is the last one.
    pub(super) previous: Option<NodeId>,
    pub(super) next: Option<NodeId>,
    /// The neighbours in [`Names`](super::names::Names), in the same way.
    pub(super) previous_of_name: Option<NodeId>,
    pub(super) next_of_name: Option<NodeId>,
}

/// The content of a node; both variants have the size of a name.
#[derive(Debug)]
pub(super) enum Content {
    /// The name of the level.
    Name(Box<str>),
    /// The retained message of the topic that ends here. The name of the level is the last one of the topic.
    Message(Arc<RetainedMessage>),
}

const _: () = assert!(size_of::<Node>() == 56);

impl Node {
    pub(super) fn new(name: &str, parent: NodeId, created: u64) -> Self {
        Self {
            content: Content::Name(name.into()),
            created,
            parent,
            next_of_hash: None,
            first_child: None,
            children: 0,
            previous: None,
            next: None,
            previous_of_name: None,
            next_of_name: None,
        }
    }

    pub(super) fn message(&self) -> Option<&Arc<RetainedMessage>> {
        match &self.content {
            Content::Message(retained) => Some(retained),
            Content::Name(_) => None,
        }
    }

    pub(super) fn name(&self) -> &str {
        match &self.content {
            Content::Message(retained) => retained.last_level(),
            Content::Name(name) => name,
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.children == 0 && self.message().is_none()
    }
}

impl Content {
    pub(super) fn into_message(self) -> Option<Arc<RetainedMessage>> {
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
