use proptest::prelude::*;

use super::*;
use crate::topic::InvalidTopic;

fn acl(text: &str) -> AclFile {
    AclFile::parse(text, "acl.conf").unwrap()
}

fn allow(action: AccessAction, filter: &str, line: usize) -> AccessRule {
    let topic_filter = TopicFilter::new(filter.into()).unwrap();
    AccessRule { effect: Effect::Allow, action, topic_filter, source: format!("acl.conf:{line}").into() }
}

fn deny(filter: &str, line: usize) -> AccessRule {
    AccessRule { effect: Effect::Deny, ..allow(AccessAction::Both, filter, line) }
}

const EXAMPLE: &str = "# A comment
topic read news/#

user alice
topic home/alice/#
topic write log/with space
  topic deny home/alice/secret
user bob builder
topic readwrite #
pattern read config/%c/%u
user alice
topic read late
";

#[test]
fn each_client_gets_the_rules_of_its_user_and_the_patterns() {
    let acl = acl(EXAMPLE);
    let alice = vec![
        allow(AccessAction::Both, "home/alice/#", 5),
        allow(AccessAction::Publish, "log/with space", 6),
        deny("home/alice/secret", 7),
        allow(AccessAction::Subscribe, "late", 12),
        allow(AccessAction::Subscribe, "config/c1/alice", 10),
    ];
    assert_eq!(acl.access("c1", Some("alice")), Access::new(alice));
    let builder = vec![allow(AccessAction::Both, "#", 9), allow(AccessAction::Subscribe, "config/c1/bob builder", 10)];
    assert_eq!(acl.access("c1", Some("bob builder")), Access::new(builder));
    assert_eq!(acl.access("c1", None), Access::new(vec![allow(AccessAction::Subscribe, "news/#", 2)]));
    let stranger = vec![allow(AccessAction::Subscribe, "config/c1/carol", 10)];
    assert_eq!(acl.access("c1", Some("carol")), Access::new(stranger));
}

#[test]
fn an_empty_file_allows_nothing() {
    assert_eq!(acl("# nothing\n").access("c1", Some("alice")), Access::new(Vec::new()));
}

#[test]
fn a_single_word_is_the_filter_even_if_it_is_a_keyword() {
    assert_eq!(acl("topic read").access("c", None), Access::new(vec![allow(AccessAction::Both, "read", 1)]));
}

#[test]
fn a_name_with_wildcards_or_slashes_gets_nothing_from_a_pattern() {
    let acl = acl("pattern read sensors/%c/data\npattern write users/%u\n");
    for name in ["+", "#", "a/b", "/", "a+", ""] {
        assert_eq!(acl.access(name, Some(name)), Access::new(Vec::new()), "{name}");
    }
}

#[test]
fn a_pattern_that_denies_cannot_be_escaped_by_a_name() {
    let acl = acl("pattern deny sensors/%c/secret\npattern deny users/x%u\n");
    let both = vec![deny("sensors/+/secret", 1), deny("users/+", 2)];
    assert_eq!(acl.access("a/b", Some("+")), Access::new(both));
    let named = vec![deny("sensors/a/secret", 1), deny("users/xu", 2)];
    assert_eq!(acl.access("a", Some("u")), Access::new(named));
    let anonymous = vec![deny("sensors/a/secret", 1), deny("users/+", 2)];
    assert_eq!(acl.access("a", None), Access::new(anonymous));
}

#[test]
fn a_placeholder_within_a_name_is_not_filled_in_again() {
    let acl = acl("pattern read %c/100%/%u\n");
    let rules = vec![allow(AccessAction::Subscribe, "%u/100%/alice", 1)];
    assert_eq!(acl.access("%u", Some("alice")), Access::new(rules));
}

#[test]
fn a_pattern_without_a_placeholder_applies_to_all_clients() {
    let rules = || Access::new(vec![allow(AccessAction::Subscribe, "news/#", 1)]);
    let acl = acl("pattern read news/#");
    assert_eq!(acl.access("c", None), rules());
    assert_eq!(acl.access("a/b", Some("+")), rules());
}

#[test]
fn an_invalid_line_is_reported_with_its_cause() {
    let invalid = |filter: &str, source| AclCause::InvalidFilter { filter: filter.to_owned(), source };
    let cases = [
        ("\nuser", 2, AclCause::NoUser),
        ("topic", 1, AclCause::NoFilter),
        ("pattern  ", 1, AclCause::NoFilter),
        ("topics read a", 1, AclCause::UnknownKeyword("topics".to_owned())),
        ("topic reed a", 1, AclCause::UnknownAccess("reed".to_owned())),
        ("topic read a/#/b", 1, invalid("a/#/b", InvalidTopic::MisplacedMultiLevelWildcard)),
        ("# x\npattern read a+/%c", 2, invalid("a+/c", InvalidTopic::MisplacedSingleLevelWildcard)),
    ];
    for (text, line, cause) in cases {
        assert_eq!(AclFile::parse(text, "acl.conf").map(|_| ()), Err((line, cause)), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_causes_a_panic(text: String, client_id: String, user: Option<String>) {
        let _ = AclFile::parse(&text, "acl.conf");
        for keyword in ["topic", "pattern", "pattern deny"] {
            if let Ok(acl) = AclFile::parse(&format!("{keyword} {text}"), "acl.conf") {
                let _ = acl.access(&client_id, user.as_deref());
            }
        }
    }

    #[test]
    fn no_name_adds_a_wildcard_to_what_a_pattern_allows(client_id: String, user: String) {
        let acl = acl("pattern read a/%c/%u/b");
        for pattern in &acl.patterns {
            if let Some(rule) = pattern.rule(&client_id, Some(&user)) {
                let levels: Vec<_> = rule.topic_filter.levels().collect();
                prop_assert_eq!(levels, ["a", &client_id, &user, "b"]);
                prop_assert!(!rule.topic_filter.as_str().contains(['+', '#']));
            }
        }
    }
}
