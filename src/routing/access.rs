use std::fmt;
use std::sync::Arc;

use crate::routing::overlap::{covers, intersection};
use crate::topic::{Filter, MountCoverage, MountPoint, TopicFilter, TopicName};

/// What one client may publish and receive. It is decided at CONNECT, and is plain data from then on.
///
/// A topic that no rule allows is denied. A rule that denies takes precedence over all that allow, whatever their order. Rules match as
/// subscriptions do: `#` doesn't match topics that start with `$`. [MQTT-4.7.2-1]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `None` allows everything.
    rules: Option<Arc<[AccessRule]>>,
    /// See [`is_granted`](Self::is_granted).
    is_granted: bool,
    /// See [`mount_point`](Self::mount_point).
    mount_point: Option<MountPoint>,
    /// See [`is_superuser`](Self::is_superuser).
    is_superuser: bool,
    /// See [`listener`](Self::listener).
    listener: Option<Arc<str>>,
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
    /// The line it was read from.
    pub source: Arc<RuleSource>,
}

/// The line of a file from which a rule was read. All clients share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSource {
    /// The name of the file, without its folder.
    pub file: Arc<str>,
    /// The number of the line, from 1.
    pub line: usize,
    /// The rule as it stands there, with its placeholders.
    pub text: Box<str>,
}

/// The decision on an action of a client, and the rule that makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement<'a> {
    /// Whether the action is allowed.
    pub is_allowed: bool,
    /// `None`: there are no rules, and all is allowed; or no rule allows the action.
    pub rule: Option<&'a AccessRule>,
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
    pub rule: Option<Arc<RuleSource>>,
}

impl Access {
    /// No restriction, not even for topics that start with `$`.
    pub const fn everything() -> Self {
        Self { rules: None, is_granted: false, is_superuser: false, listener: None, mount_point: None }
    }

    /// Allows what `rules` allow and none of them denies. Without rules, nothing is allowed.
    pub fn new(rules: Vec<AccessRule>) -> Self {
        Self { rules: Some(rules.into()), is_granted: false, is_superuser: false, listener: None, mount_point: None }
    }

    /// The same, granted to one client by its provider.
    pub fn granted(rules: Vec<AccessRule>) -> Self {
        Self { is_granted: true, ..Self::new(rules) }
    }

    /// No restriction, for a Session whose provider decides when its client connects.
    pub const fn undecided() -> Self {
        Self { rules: None, is_granted: true, is_superuser: false, listener: None, mount_point: None }
    }

    /// No restriction, for a user to whom no rule applies.
    pub const fn superuser() -> Self {
        Self { rules: None, is_granted: false, is_superuser: true, listener: None, mount_point: None }
    }

    /// Whether it may do everything although there are rules for others.
    pub const fn is_superuser(&self) -> bool {
        self.is_superuser
    }

    /// The same, by the rules of a listener.
    pub fn at_listener(self, listener: Arc<str>) -> Self {
        Self { listener: Some(listener), ..self }
    }

    /// The listener by whose rules it was decided; `None`: all have the same, or it is not known.
    pub fn listener(&self) -> Option<&str> {
        self.listener.as_deref()
    }

    /// Whether the provider of the client has granted it, as the topics in a token. A reload of the ACL file doesn't change it.
    pub const fn is_granted(&self) -> bool {
        self.is_granted
    }

    /// The same for a client with this mount point, or without one: topics that the client has no name for are denied, whatever the rules say.
    #[must_use]
    pub fn below(self: Arc<Self>, mount_point: Option<&MountPoint>) -> Arc<Self> {
        if self.mount_point.as_ref() == mount_point {
            return self;
        }
        Arc::new(Self { mount_point: mount_point.cloned(), ..Self::clone(&self) })
    }

    /// The mount point of the client. All topics and filters that this decides about are full ones, with the mount point.
    pub const fn mount_point(&self) -> Option<&MountPoint> {
        self.mount_point.as_ref()
    }

    /// Whether there are topics that are denied, or may be.
    pub const fn is_restricted(&self) -> bool {
        self.rules.is_some() || self.mount_point.is_some()
    }

    /// Whether there are rules, so that a topic is allowed only if a rule allows it.
    pub const fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether the client may publish to `topic`.
    pub fn publish(&self, topic: &TopicName) -> Result<(), Denied> {
        self.judge_publish(topic).outcome()
    }

    /// Whether the client may receive messages of `topic`.
    pub fn receive(&self, topic: &TopicName) -> bool {
        self.judge(AccessAction::Subscribe, topic).is_allowed
    }

    /// Whether the client may subscribe to `filter`. It is refused if the client could receive no message through it.
    pub fn subscribe(&self, filter: &Filter) -> Result<Coverage, Denied> {
        let (judgement, coverage) = self.judge_subscribe(filter);
        judgement.outcome().map(|()| coverage)
    }

    /// [`publish`](Self::publish), with the rule that decides.
    pub fn judge_publish(&self, topic: &TopicName) -> Judgement<'_> {
        self.judge(AccessAction::Publish, topic)
    }

    /// [`subscribe`](Self::subscribe), with the rule that decides: the first one that denies, or that allows some of the topics of the filter.
    /// If the client may not subscribe, the coverage says nothing.
    ///
    /// The answer is exact for each pair of rules. A filter that only several rules together cover counts as [`Coverage::Part`]: then each
    /// message is checked, which is always correct. To decide such a case exactly takes exponential time.
    pub fn judge_subscribe(&self, filter: &Filter) -> (Judgement<'_>, Coverage) {
        let at_most = match self.mount_point.as_ref().map(|mount_point| mount_point.covers(&filter.topic_filter)) {
            None | Some(MountCoverage::Whole) => Coverage::Whole,
            Some(MountCoverage::Part) => Coverage::Part,
            Some(MountCoverage::None) => return (DENIED, Coverage::Part),
        };
        let Some(rules) = &self.rules else { return (Judgement { is_allowed: true, rule: None }, at_most) };
        let wanted: Vec<&str> = filter.topic_filter.levels().collect();
        let denies: Vec<_> =
            of(rules, AccessAction::Subscribe, Effect::Deny).map(|rule| (rule, levels(rule))).collect();
        let is_denied_in_part = denies.iter().any(|(_, deny)| intersection(deny, &wanted).is_some());
        let (mut allowing, mut denying) = (None, None);
        for allow in of(rules, AccessAction::Subscribe, Effect::Allow) {
            let allowed = levels(allow);
            let Some(granted) = intersection(&wanted, &allowed) else { continue };
            if let Some((deny, _)) = denies.iter().find(|(_, deny)| covers(deny, &granted)) {
                denying.get_or_insert(*deny);
                continue;
            }
            allowing.get_or_insert(allow);
            if is_denied_in_part {
                break;
            }
            if covers(&allowed, &wanted) {
                return (Judgement { is_allowed: true, rule: Some(allow) }, at_most);
            }
        }
        (Judgement { is_allowed: allowing.is_some(), rule: allowing.or(denying) }, Coverage::Part)
    }

    /// An estimate of the cost of a decision: the number of rules.
    pub fn rules(&self) -> usize {
        self.rules.as_ref().map_or(0, |rules| rules.len())
    }

    fn judge(&self, action: AccessAction, topic: &TopicName) -> Judgement<'_> {
        if self.mount_point.as_ref().is_some_and(|mount_point| mount_point.below(topic.as_str()).is_none()) {
            return DENIED;
        }
        let Some(rules) = &self.rules else { return Judgement { is_allowed: true, rule: None } };
        let deciding = |effect| of(rules, action, effect).find(|rule| rule.topic_filter.matches(topic));
        if let Some(deny) = deciding(Effect::Deny) {
            return Judgement { is_allowed: false, rule: Some(deny) };
        }
        let allow = deciding(Effect::Allow);
        Judgement { is_allowed: allow.is_some(), rule: allow }
    }
}

impl Judgement<'_> {
    fn outcome(self) -> Result<(), Denied> {
        if self.is_allowed { Ok(()) } else { Err(Denied { rule: self.rule.map(|rule| Arc::clone(&rule.source)) }) }
    }
}

impl RuleSource {
    /// The rule of a file at this line, from 1.
    pub fn new(file: &str, line: usize, text: &str) -> Arc<Self> {
        Arc::new(Self { file: file.into(), line, text: text.into() })
    }
}

impl fmt::Display for RuleSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.line)
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

/// No rule is asked: the client has no name for the topic.
const DENIED: Judgement<'static> = Judgement { is_allowed: false, rule: None };

fn of(rules: &[AccessRule], action: AccessAction, effect: Effect) -> impl Iterator<Item = &AccessRule> {
    rules
        .iter()
        .filter(move |rule| rule.effect == effect && (rule.action == action || rule.action == AccessAction::Both))
}

fn levels(rule: &AccessRule) -> Vec<&str> {
    rule.topic_filter.levels().collect()
}

#[cfg(test)]
mod tests;
