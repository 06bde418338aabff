//! Which messages pass in one direction, and as what.

use crate::codec::Qos;
use crate::topic::{TopicFilter, TopicName};

/// Some of the messages that pass in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Their topics where they come from, the prefix included.
    pub filter: TopicFilter,
    /// What is taken away from the topic.
    pub from_prefix: String,
    /// What is put in front of the rest.
    pub to_prefix: String,
    /// The highest QoS, which the subscription has.
    pub qos: Qos,
    /// Whether the RETAIN flag stays.
    pub keeps_retain: bool,
}

/// The rules of one direction. The first one that matches a topic applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// The topic of a message where it goes to, and whether its RETAIN flag stays; `None`: it does not pass.
    pub fn target(&self, topic: &TopicName) -> Option<(TopicName, bool)> {
        let rule = self.0.iter().find(|rule| rule.filter.matches(topic))?;
        if rule.from_prefix == rule.to_prefix {
            return Some((topic.clone(), rule.keeps_retain));
        }
        let target = match topic.as_str().strip_prefix(rule.from_prefix.as_str()) {
            Some(rest) => format!("{}{rest}", rule.to_prefix),
            // `a/#` matches the topic `a`, too.
            None if rule.from_prefix.strip_suffix('/') == Some(topic.as_str()) => {
                rule.to_prefix.strip_suffix('/').unwrap_or(&rule.to_prefix).to_owned()
            }
            None => return None,
        };
        Some((TopicName::new(target.into()).ok()?, rule.keeps_retain))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(filter: &str, from_prefix: &str, to_prefix: &str) -> Rule {
        let filter = TopicFilter::new(format!("{from_prefix}{filter}").into()).unwrap();
        let (from_prefix, to_prefix) = (from_prefix.to_owned(), to_prefix.to_owned());
        Rule { filter, from_prefix, to_prefix, qos: Qos::ExactlyOnce, keeps_retain: true }
    }

    fn target(rules: &[Rule], topic: &str) -> Option<String> {
        let topic = TopicName::try_from(topic).unwrap();
        Rules(rules.to_vec()).target(&topic).map(|(topic, _)| topic.as_str().to_owned())
    }

    #[test]
    fn one_prefix_replaces_the_other_and_the_first_rule_that_matches_applies() {
        for (from, to, topic, expected) in [
            ("", "", "a/b", Some("a/b")),
            ("", "site7/", "a/b", Some("site7/a/b")),
            ("site7/", "", "site7/a", Some("a")),
            ("x/", "y/", "x/a/b", Some("y/a/b")),
            ("x/", "y/", "x", Some("y")),
            ("x/", "", "x", None),
            ("x/", "", "x/", None),
            ("x/", "y/", "z", None),
            ("", "y/", "$SYS/a", None),
            ("$SYS/", "y/", "$SYS/a", Some("y/a")),
        ] {
            assert_eq!(target(&[rule("#", from, to)], topic).as_deref(), expected, "{from} {to} {topic}");
        }
        let rules = [rule("a/+", "", "first/"), rule("#", "", "second/")];
        assert_eq!(target(&rules, "a/b").as_deref(), Some("first/a/b"));
        assert_eq!(target(&rules, "a/b/c").as_deref(), Some("second/a/b/c"));
    }

    proptest! {
        /// What goes out by a rule comes back as what it was by the opposite rule.
        #[test]
        fn opposite_rules_restore_a_topic(from in "([a-c]/){0,2}", to in "([a-c]/){0,2}", rest in "[a-c/]{1,6}") {
            let topic = format!("{from}{rest}");
            let there = target(&[rule("#", &from, &to)], &topic).unwrap();
            prop_assert_eq!(target(&[rule("#", &to, &from)], &there), Some(topic));
        }
    }
}
