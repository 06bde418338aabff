use std::str::FromStr;

use serde::de::IntoDeserializer;
use serde::de::value::Error;
use serde::{Deserialize, Serialize};

use super::error::explain;
use super::{Durability, Problem};
use crate::topic::TopicFilter;

/// The durability of the topics that match a filter: one `[[durability_rules]]`. The first rule that matches applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DurabilityRule {
    /// A Topic Filter such as `telemetry/#`; a Shared Subscription is not allowed.
    pub topic: String,
    /// The level that replaces `server.durability`.
    pub level: Durability,
}

impl DurabilityRule {
    /// Checks what the types do not express. `key` is the path of this rule, such as `durability_rules[0]`.
    pub(super) fn problems(&self, key: &str) -> Option<Problem> {
        let text = match TopicFilter::new(self.topic.as_str().into()) {
            Err(error) => format!("is not a valid topic filter for a rule: {error}"),
            Ok(_) if self.topic.starts_with("$SYS/") && !self.topic.starts_with("$SYS/broker/connection/") => {
                "has no effect: the broker's own topics are published anew at every start".to_owned()
            }
            Ok(_) => return None,
        };
        Some(Problem::new(&format!("{key}.topic"), &text))
    }
}

impl FromStr for DurabilityRule {
    type Err = String;

    /// Parses `filter=level`, splitting at the last `=`, because a filter may contain one.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((topic, level)) = text.rsplit_once('=') else {
            return Err(format!("`{text}` must be FILTER=LEVEL, such as telemetry/#=none"));
        };
        let level = Durability::deserialize(level.trim().into_deserializer())
            .map_err(|error: Error| explain("durability_rules.level", &error.to_string()))?;
        Ok(Self { topic: topic.trim().to_owned(), level })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn rule(topic: &str, level: Durability) -> DurabilityRule {
        DurabilityRule { topic: topic.to_owned(), level }
    }

    #[test]
    fn an_invalid_topic_filter_is_a_problem() {
        for (topic, expected) in [
            ("", "is not a valid topic filter for a rule: empty"),
            ("a/#/b", "is not a valid topic filter for a rule: `#` is not the whole last level"),
            ("a+", "is not a valid topic filter for a rule: `+` is not a whole level"),
            (
                "$share/g/telemetry/#",
                "is not a valid topic filter for a rule: a plain topic filter must not begin with `$share/`",
            ),
            ("$SYS/#", "has no effect: the broker's own topics are published anew at every start"),
        ] {
            let problem = rule(topic, Durability::None).problems("durability_rules[0]").unwrap();
            assert_eq!((problem.key.as_str(), problem.text.as_str()), ("durability_rules[0].topic", expected));
        }
        for topic in ["telemetry/#", "+/state", "#", "$other/+", "$SYS/broker/connection/+/state"] {
            assert_eq!(rule(topic, Durability::None).problems("durability_rules[0]"), None, "{topic}");
        }
    }

    #[test]
    fn a_rule_is_parsed_from_text() {
        assert_eq!("telemetry/#=none".parse(), Ok(rule("telemetry/#", Durability::None)));
        assert_eq!(" a=b = power-loss".parse(), Ok(rule("a=b", Durability::PowerLoss)));
        let error = |text: &str| text.parse::<DurabilityRule>().unwrap_err();
        assert_eq!(error("telemetry/#"), "`telemetry/#` must be FILTER=LEVEL, such as telemetry/#=none");
        assert!(error("a=powerloss").ends_with("; did you mean `power-loss`?"), "{}", error("a=powerloss"));
    }

    #[test]
    fn two_rules_with_one_filter_are_a_problem() {
        let rules = vec![rule("a/#", Durability::None), rule("b", Durability::None), rule("a/#", Durability::Crash)];
        let config = Config { durability_rules: rules, ..Config::default() };
        let expected =
            Problem::new("durability_rules[2].topic", "is a/#, which durability_rules[0].topic already uses");
        assert_eq!(config.problems(), [expected]);
    }

    #[test]
    fn the_strongest_level_is_that_of_a_rule_or_of_the_server() {
        let strongest = |durability, levels: &[Durability]| {
            let mut config = Config::default();
            config.server.durability = durability;
            config.durability_rules = levels.iter().map(|level| rule("a", *level)).collect();
            config.strongest_durability()
        };
        assert_eq!(strongest(Durability::None, &[]), Durability::None);
        assert_eq!(strongest(Durability::None, &[Durability::Crash, Durability::None]), Durability::Crash);
        assert_eq!(strongest(Durability::Crash, &[Durability::PowerLoss]), Durability::PowerLoss);
        assert_eq!(strongest(Durability::PowerLoss, &[Durability::None]), Durability::PowerLoss);
    }
}
