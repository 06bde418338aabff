//! Which refused messages are sent again, and when.

use std::time::Duration;

use crate::session::RefusedMessages;
use crate::topic::{TopicFilter, TopicName};

/// What becomes of refused messages of the topics that a filter matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedeliveryRule {
    /// The topics.
    pub topic_filter: TopicFilter,
    /// How often a message is sent in all, at least 1.
    pub attempts: u16,
    /// The times between the attempts.
    pub backoff: Backoff,
    /// Where the dead letters of this rule are published; `None`: where those of dropped messages are.
    pub dead_letter_topic: Option<TopicName>,
    /// Whether later messages of a topic wait until a refused one of it was accepted or given up.
    pub keeps_order: bool,
}

/// The time before each further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// How many times longer it is before each further one, at least 1.
    pub factor: u32,
    /// The longest.
    pub most: Duration,
    /// By how many percent it may be shorter, at random, up to 100.
    pub jitter: u8,
}

impl Backoff {
    /// The time after the refusal of attempt number `attempts`, from 1. `random` is any number.
    pub(in crate::broker) fn after(&self, attempts: u16, random: u64) -> Duration {
        let mut wait = self.first.min(self.most);
        for _ in 1..attempts {
            if wait >= self.most || self.factor <= 1 {
                break;
            }
            wait = wait.saturating_mul(self.factor).min(self.most);
        }
        let percent = 100 - random % (u64::from(self.jitter.min(100)) + 1);
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 100);
        Duration::from_millis(millis.saturating_mul(percent) / 100)
    }
}

/// The rules in order: the first that matches applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedeliveryRules(Vec<RedeliveryRule>);

impl RedeliveryRules {
    /// These rules.
    pub fn new(rules: impl IntoIterator<Item = RedeliveryRule>) -> Self {
        Self(rules.into_iter().collect())
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What Sessions do with refused messages.
    pub(in crate::broker) fn refused_messages(&self) -> RefusedMessages {
        if self.0.is_empty() {
            RefusedMessages::Discarded
        } else if self.0.iter().any(|rule| rule.keeps_order) {
            RefusedMessages::SentAgainInOrder
        } else {
            RefusedMessages::SentAgain
        }
    }

    /// The rule for the messages of a topic. There is none for dead letters.
    pub(in crate::broker) fn of(&self, topic: &TopicName) -> Option<&RedeliveryRule> {
        let rule = self.0.iter().find(|rule| rule.topic_filter.matches(topic));
        rule.filter(|_| !self.has_dead_letters(topic))
    }

    /// Whether the dead letters of a rule are published to this topic.
    pub(in crate::broker) fn has_dead_letters(&self, topic: &TopicName) -> bool {
        self.0.iter().any(|rule| rule.dead_letter_topic.as_ref() == Some(topic))
    }
}

/// The User Property with the number of the attempt.
pub(in crate::broker) const ATTEMPT: &str = "delivery-attempt";

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(jitter: u8) -> Backoff {
        Backoff { first: Duration::from_secs(1), factor: 3, most: Duration::from_secs(20), jitter }
    }

    #[test]
    fn the_time_between_attempts_grows_up_to_the_longest() {
        let seconds = [1, 2, 3, 4, 5, u16::MAX].map(|attempts| backoff(0).after(attempts, 12_345).as_secs());
        assert_eq!(seconds, [1, 3, 9, 20, 20, 20]);
        let constant = Backoff { factor: 1, ..backoff(0) };
        assert_eq!(constant.after(u16::MAX, 0), Duration::from_secs(1));
        let short = Backoff { most: Duration::from_millis(10), ..backoff(0) };
        assert_eq!(short.after(1, 0), Duration::from_millis(10));
    }

    #[test]
    fn jitter_makes_it_shorter_by_the_percentage_at_most() {
        let times: Vec<u128> = (0..1_000).map(|random| backoff(25).after(2, random).as_millis()).collect();
        assert_eq!((times.iter().min(), times.iter().max()), (Some(&2_250), Some(&3_000)));
        assert_eq!(backoff(100).after(1, 100), Duration::ZERO);
    }

    #[test]
    fn the_first_rule_that_matches_applies_and_none_to_dead_letters() {
        let topic = |name: &str| TopicName::new(name.to_owned().into()).unwrap();
        let rule = |filter: &str, attempts, dead: Option<&str>| RedeliveryRule {
            topic_filter: TopicFilter::new(filter.to_owned().into()).unwrap(),
            attempts,
            backoff: backoff(0),
            dead_letter_topic: dead.map(topic),
            keeps_order: attempts == 3,
        };
        let rules = RedeliveryRules::new([rule("a/+", 2, Some("dead/a")), rule("#", 3, None)]);
        let attempts = |name: &str| rules.of(&topic(name)).map(|rule| rule.attempts);
        assert_eq!(["a/b", "a", "dead/a"].map(attempts), [Some(2), Some(3), None]);
        assert_eq!(rules.refused_messages(), RefusedMessages::SentAgainInOrder);
        assert_eq!(RedeliveryRules::new([rule("#", 2, None)]).refused_messages(), RefusedMessages::SentAgain);
        assert_eq!(RedeliveryRules::default().refused_messages(), RefusedMessages::Discarded);
    }
}
