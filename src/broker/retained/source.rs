//! Whether the publisher of a retained message may still publish to its topic.
//!
//! A message has the user and the Client Identifier of its publisher. When it is replayed, its right is judged by the access rules in force, once
//! for each generation of the rules and not at all for messages that nobody asks for; see [`PublishRight`](crate::routing::PublishRight). A message
//! whose publisher has lost the right is not sent and not deleted: with the right, it comes back.

use std::fmt;
use std::sync::Arc;

use crate::codec::ClientId;
use crate::routing::{RetainedMessage, User};
use crate::topic::TopicName;

/// What clients may publish by the access rules in force, whether they are connected or not. Shards have only the rules of their Sessions.
pub trait CurrentRights: fmt::Debug + Send + Sync {
    /// The generation of the rules. Answers may differ only if it differs.
    fn generation(&self) -> u64;

    /// Whether a client may publish to `topic`. `user` is its verified user.
    fn may_publish(&self, client_id: &ClientId, user: Option<&User>, topic: &TopicName) -> bool;
}

/// The check of the messages of one replay.
#[derive(Debug)]
pub(in crate::broker) struct SourceCheck {
    rights: Arc<dyn CurrentRights>,
    generation: u64,
}

impl SourceCheck {
    /// By the rights of the current generation.
    pub(in crate::broker) fn new(rights: &Arc<dyn CurrentRights>) -> Self {
        Self { rights: Arc::clone(rights), generation: rights.generation() }
    }

    /// Whether the publisher of `retained` may still publish it. If that must be judged, it consumes `visits`.
    pub(in crate::broker) fn allows(&self, retained: &RetainedMessage, visits: &mut usize) -> bool {
        if let Some(is_allowed) = retained.right.at(self.generation) {
            return is_allowed;
        }
        let Some(client_id) = &retained.publisher else { return true };
        *visits = visits.saturating_sub(JUDGED_VISITS);
        let is_allowed = self.rights.may_publish(client_id, retained.user.as_deref(), &retained.message.topic);
        retained.right.judge(self.generation, is_allowed);
        is_allowed
    }
}

/// A judgement takes about as long as so many visits of nodes.
const JUDGED_VISITS: usize = 3;
