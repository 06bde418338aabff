use std::sync::Arc;

use crate::topic::TopicFilter;

/// What one client may publish and receive: decided at CONNECT, plain data ever after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    rules: Option<Arc<[AccessRule]>>,
}

/// One rule: the placeholders `%c` and `%u` are already filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// Whether it allows or denies.
    pub effect: Effect,
    /// What it speaks of.
    pub action: AccessAction,
    /// The topics it speaks of.
    pub topic_filter: TopicFilter,
    /// Where it stands, for the log line of a denial: `acl.conf:12`.
    pub source: Arc<str>,
}

/// Whether a rule allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It allows, unless another denies.
    Allow,
    /// It denies, whatever others allow.
    Deny,
}

/// What a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessAction {
    /// PUBLISH to the topic (mosquitto's `write`).
    Publish,
    /// Subscribing and receiving (mosquitto's `read`).
    Subscribe,
    /// Both (mosquitto's `readwrite`).
    Both,
}

/// How much of a Topic Filter may be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Every topic it matches.
    Whole,
    /// Some: granted, and each message is judged by its topic.
    Part,
    /// None: refused.
    Nothing,
}
