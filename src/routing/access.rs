use std::fmt;
use std::sync::Arc;

use crate::routing::overlap::{covers, intersection};
use crate::topic::{Filter, TopicFilter, TopicName};

/// What one client may publish and receive. It is decided at CONNECT, and is plain data from then on.
///
/// A topic that no rule allows is denied. A rule that denies takes precedence over all that allow, whatever their order. Rules match as
/// subscriptions do: `#` doesn't match topics that start with `$`. [MQTT-4.7.2-1]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `None` allows everything.
    rules: Option<Arc<[AccessRule]>>,
}

/// One rule. The placeholders `%c` and `%u` are already replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// Whether it allows or denies.
    pub effect: Effect,
    /// The action it is about.
    pub action: AccessAction,
    /// The topics it is about.
    pub topic_filter: TopicFilter,
    /// The file and line it was read from, for the log line of a denial: `acl.conf:12`.
    pub source: Arc<str>,
}

/// Whether a rule allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It allows, unless another rule denies.
    Allow,
    /// It denies, whatever other rules allow.
    Deny,
}

/// The action that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessAction {
    /// Publishing (mosquitto's `write`).
    Publish,
    /// Subscribing and receiving (mosquitto's `read`).
    Subscribe,
    /// Both (mosquitto's `readwrite`).
    Both,
}

/// How much of a granted Topic Filter the client may receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// All matching topics.
    Whole,
    /// Possibly not all: the access is checked for the topic of each message.
    Part,
}

/// A refusal, and the rule that caused it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Denied {
    /// The [source](AccessRule::source) of the rule that denies; `None` if no rule allows the operation.
    pub rule: Option<Arc<str>>,
}

impl Access {
    /// No restriction, not even for topics that start with `$`.
    pub const fn everything() -> Self {
        Self { rules: None }
    }

    /// Allows what `rules` allow and none of them denies. Without rules, nothing is allowed.
    pub fn new(rules: Vec<AccessRule>) -> Self {
        Self { rules: Some(rules.into()) }
    }

    /// Whether there are rules, so that a topic is allowed only if a rule allows it.
    pub const fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether the client may publish to `topic`.
    pub fn publish(&self, topic: &TopicName) -> Result<(), Denied> {
        self.judge(AccessAction::Publish, topic)
    }

    /// Whether the client may receive messages of `topic`.
    pub fn receive(&self, topic: &TopicName) -> bool {
        self.judge(AccessAction::Subscribe, topic).is_ok()
    }

    /// Whether the client may subscribe to `filter`. It is refused if the client could receive no message through it.
    ///
    /// The answer is exact for each pair of rules. A filter that only several rules together cover counts as [`Coverage::Part`]: then each
    /// message is checked, which is always correct. To decide such a case exactly takes exponential time.
    pub fn subscribe(&self, filter: &Filter) -> Result<Coverage, Denied> {
        let Some(rules) = &self.rules else { return Ok(Coverage::Whole) };
        let wanted: Vec<&str> = filter.topic_filter.levels().collect();
        let mut coverage = None;
        let mut denied = Denied { rule: None };
        for allow in of(rules, AccessAction::Subscribe, Effect::Allow) {
            let Some(granted) = intersection(&wanted, &levels(allow)) else { continue };
            let hidden = of(rules, AccessAction::Subscribe, Effect::Deny).find(|deny| covers(&levels(deny), &granted));
            if let Some(deny) = hidden {
                denied.rule.get_or_insert_with(|| Arc::clone(&deny.source));
                continue;
            }
            if covers(&levels(allow), &wanted) && !is_denied_in_part(rules, &wanted) {
                return Ok(Coverage::Whole);
            }
            coverage = Some(Coverage::Part);
        }
        coverage.ok_or(denied)
    }

    fn judge(&self, action: AccessAction, topic: &TopicName) -> Result<(), Denied> {
        let Some(rules) = &self.rules else { return Ok(()) };
        if let Some(deny) = of(rules, action, Effect::Deny).find(|rule| rule.topic_filter.matches(topic)) {
            return Err(Denied { rule: Some(Arc::clone(&deny.source)) });
        }
        if of(rules, action, Effect::Allow).any(|rule| rule.topic_filter.matches(topic)) {
            return Ok(());
        }
        Err(Denied { rule: None })
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(source) => write!(f, "denied by {source}"),
            None => f.write_str("no rule allows it"),
        }
    }
}

fn of(rules: &[AccessRule], action: AccessAction, effect: Effect) -> impl Iterator<Item = &AccessRule> {
    rules
        .iter()
        .filter(move |rule| rule.effect == effect && (rule.action == action || rule.action == AccessAction::Both))
}

fn levels(rule: &AccessRule) -> Vec<&str> {
    rule.topic_filter.levels().collect()
}

fn is_denied_in_part(rules: &[AccessRule], wanted: &[&str]) -> bool {
    of(rules, AccessAction::Subscribe, Effect::Deny).any(|deny| intersection(&levels(deny), wanted).is_some())
}

#[cfg(test)]
mod tests;
