use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value::duration;
use super::{Mqtt, Problem};
use crate::topic::TopicFilter;

/// What becomes of messages that subscribers refuse: one `[[redelivery]]`. The first one whose filter matches applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redelivery {
    /// A Topic Filter such as `orders/#`; a Shared Subscription is not allowed.
    pub topic: String,
    /// How often a message is sent in all, from 1; after the last refusal, it is a dead letter.
    #[serde(default = "default_attempts")]
    pub attempts: u16,
    /// The time before the second attempt.
    #[serde(default = "default_first", with = "duration")]
    pub backoff_first: Duration,
    /// How many times longer it is before each further attempt, at least 1.
    #[serde(default = "default_factor")]
    pub backoff_factor: u32,
    /// The longest time before an attempt.
    #[serde(default = "default_most", with = "duration")]
    pub backoff_most: Duration,
    /// By how many percent each of these times may be shorter, at random, from 0 to 100.
    #[serde(default = "default_jitter")]
    pub backoff_jitter: u8,
    /// The topic to which dead letters are published; by default `mqtt.dead_letter_topic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter_topic: Option<String>,
    /// Whether later messages of a topic wait until a refused one of it was accepted or became a dead letter.
    #[serde(default)]
    pub keep_order: bool,
}

const fn default_attempts() -> u16 {
    5 // with the times below, a receiver that is away for a quarter of a minute loses nothing
}

const fn default_first() -> Duration {
    Duration::from_secs(1)
}

const fn default_factor() -> u32 {
    2
}

const fn default_most() -> Duration {
    Duration::from_secs(300)
}

const fn default_jitter() -> u8 {
    20 // messages that were refused together do not come back together
}

/// Checks what the types do not express.
pub(super) fn problems(rules: &[Redelivery], mqtt: &Mqtt) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let mut add = |key: &str, text: &str| problems.push(Problem::new(&format!("redelivery[{index}].{key}"), text));
        match TopicFilter::new(rule.topic.as_str().into()) {
            Err(error) => add("topic", &format!("is not a valid topic filter for a rule: {error}")),
            Ok(_) if rules.iter().take(index).any(|before| before.topic == rule.topic) => {
                add("topic", &format!("is {}, which an earlier [[redelivery]] already uses", rule.topic));
            }
            Ok(_) => {}
        }
        if rule.attempts == 0 {
            add("attempts", "must be at least 1");
        }
        if rule.backoff_factor == 0 {
            add("backoff_factor", "must be at least 1");
        }
        if rule.backoff_most < rule.backoff_first {
            add("backoff_most", "must not be shorter than backoff_first");
        }
        if rule.backoff_jitter > 100 {
            add("backoff_jitter", "must be at most 100");
        }
        if let Some(text) = rule.dead_letter_topic.as_ref().and_then(|topic| mqtt.why_no_dead_letter_topic(topic)) {
            add("dead_letter_topic", text);
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn rule(text: &str) -> Redelivery {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_rule_needs_a_topic_only() {
        let rule = rule("topic = \"orders/#\"");
        assert_eq!((rule.attempts, rule.backoff_first, rule.backoff_factor), (5, Duration::from_secs(1), 2));
        assert_eq!((rule.backoff_most, rule.backoff_jitter), (Duration::from_secs(300), 20));
        assert_eq!((rule.dead_letter_topic.as_deref(), rule.keep_order), (None, false));
        assert_eq!(problems(&[rule], &Mqtt::default()), []);
    }

    #[test]
    fn a_rule_that_can_not_be_applied_is_a_problem_with_its_setting() {
        for (text, key, problem) in [
            ("topic = \"a/#/b\"", "topic", "is not a valid topic filter for a rule: `#` is not the whole last level"),
            ("topic = \"t\"\nattempts = 0", "attempts", "must be at least 1"),
            ("topic = \"t\"\nbackoff_factor = 0", "backoff_factor", "must be at least 1"),
            ("topic = \"t\"\nbackoff_most = \"500ms\"", "backoff_most", "must not be shorter than backoff_first"),
            ("topic = \"t\"\nbackoff_jitter = 101", "backoff_jitter", "must be at most 100"),
            (
                "topic = \"t\"\ndead_letter_topic = \"a/+\"",
                "dead_letter_topic",
                "must be a topic: not empty, without + and #, and not below $SYS/",
            ),
            (
                "topic = \"t\"\ndead_letter_topic = \"$batch\"",
                "dead_letter_topic",
                "can't be $batch: it is for batches, whose messages have topics of their own",
            ),
            (
                "topic = \"t\"\ndead_letter_topic = \"$delayed/1/x\"",
                "dead_letter_topic",
                "can't begin with $delayed/: it is for delayed messages, which have the topic behind $delayed/SECONDS/",
            ),
        ] {
            let mut config = Config { redelivery: vec![rule(text)], ..Config::default() };
            let expected = Problem::new(&format!("redelivery[0].{key}"), problem);
            assert_eq!(config.problems(), std::slice::from_ref(&expected));
            // The topic of all dead letters has the same bounds.
            config.mqtt.dead_letter_topic = config.redelivery[0].dead_letter_topic.clone();
            let of_all =
                config.mqtt.dead_letter_topic.as_ref().map(|_| Problem::new("mqtt.dead_letter_topic", problem));
            assert_eq!(config.problems(), of_all.into_iter().chain([expected]).collect::<Vec<_>>());
        }
        let twice = [rule("topic = \"a\""), rule("topic = \"a\"")];
        let text = "is a, which an earlier [[redelivery]] already uses";
        assert_eq!(problems(&twice, &Mqtt::default()), [Problem::new("redelivery[1].topic", text)]);
    }
}
