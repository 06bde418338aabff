use proptest::prelude::*;

use super::*;
use crate::topic::InvalidTopic;

fn acl(text: &str) -> AclFile {
    AclFile::parse(text, "acl.conf").unwrap()
}

fn rule(effect: Effect, action: AccessAction, filter: &str, (line, text): (usize, &str)) -> AccessRule {
    let topic_filter = TopicFilter::new(filter.into()).unwrap();
    AccessRule { effect, action, topic_filter, source: RuleSource::new("acl.conf", line, text) }
}

/// The rule in this line of `text` that allows.
fn allow_in(text: &str, action: AccessAction, filter: &str, line: usize) -> AccessRule {
    rule(Effect::Allow, action, filter, (line, text.lines().nth(line - 1).unwrap().trim()))
}

fn deny_in(text: &str, filter: &str, line: usize) -> AccessRule {
    AccessRule { effect: Effect::Deny, ..allow_in(text, AccessAction::Both, filter, line) }
}

fn allow(action: AccessAction, filter: &str, line: usize) -> AccessRule {
    allow_in(EXAMPLE, action, filter, line)
}

fn deny(filter: &str, line: usize) -> AccessRule {
    deny_in(EXAMPLE, filter, line)
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
fn a_denial_can_be_about_one_direction() {
    let acl = acl("topic readwrite a/#\ntopic deny-write a/b\npattern deny-read a/%c\n");
    let access = acl.access("c", None);
    let decides = |topic: &str| {
        let topic = crate::topic::TopicName::try_from(topic).unwrap();
        (access.publish(&topic).is_ok(), access.receive(&topic))
    };
    assert_eq!(["a/a", "a/b", "a/c"].map(decides), [(true, true), (false, true), (true, false)]);
}

#[test]
fn an_empty_file_allows_nothing() {
    assert_eq!(acl("# nothing\n").access("c1", Some("alice")), Access::new(Vec::new()));
}

#[test]
fn a_single_word_is_the_filter_even_if_it_is_a_keyword() {
    assert_eq!(
        acl("topic read").access("c", None),
        Access::new(vec![allow_in("topic read", AccessAction::Both, "read", 1)])
    );
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
    const TEXT: &str = "pattern deny sensors/%c/secret\npattern deny users/x%u\n";
    let acl = acl(TEXT);
    let both = vec![deny_in(TEXT, "sensors/+/secret", 1), deny_in(TEXT, "users/+", 2)];
    assert_eq!(acl.access("a/b", Some("+")), Access::new(both));
    let named = vec![deny_in(TEXT, "sensors/a/secret", 1), deny_in(TEXT, "users/xu", 2)];
    assert_eq!(acl.access("a", Some("u")), Access::new(named));
    let anonymous = vec![deny_in(TEXT, "sensors/a/secret", 1), deny_in(TEXT, "users/+", 2)];
    assert_eq!(acl.access("a", None), Access::new(anonymous));
}

#[test]
fn a_placeholder_within_a_name_is_not_filled_in_again() {
    const TEXT: &str = "pattern read %c/100%/%u\n";
    let acl = acl(TEXT);
    let rules = vec![allow_in(TEXT, AccessAction::Subscribe, "%u/100%/alice", 1)];
    assert_eq!(acl.access("%u", Some("alice")), Access::new(rules));
}

#[test]
fn a_pattern_without_a_placeholder_applies_to_all_clients() {
    const TEXT: &str = "pattern read news/#";
    let rules = || Access::new(vec![allow_in(TEXT, AccessAction::Subscribe, "news/#", 1)]);
    let acl = acl(TEXT);
    assert_eq!(acl.access("c", None), rules());
    assert_eq!(acl.access("a/b", Some("+")), rules());
}

#[test]
fn a_rule_keeps_its_line_and_its_text() {
    let acl = acl(EXAMPLE);
    let access = acl.access("c1", Some("alice"));
    let source = |name: &str| {
        let topic = crate::topic::TopicName::try_from(name).unwrap();
        let source = Arc::clone(&access.judge_publish(&topic).rule.unwrap().source);
        (source.to_string(), source.text.to_string())
    };
    assert_eq!(source("home/alice/secret"), ("acl.conf:7".to_owned(), "topic deny home/alice/secret".to_owned()));
    assert_eq!(source("home/alice/x"), ("acl.conf:5".to_owned(), "topic home/alice/#".to_owned()));
    let filter = crate::topic::Filter::try_from("config/c1/alice").unwrap();
    let rule = access.judge_subscribe(&filter).0.rule.unwrap();
    assert_eq!((rule.source.line, &*rule.source.text), (10, "pattern read config/%c/%u"));
    assert_eq!(rule.topic_filter.as_str(), "config/c1/alice");
}

#[test]
fn an_invalid_line_is_reported_with_its_cause() {
    let invalid = |filter: &str, source| AclCause::InvalidFilter { filter: filter.to_owned(), source };
    let cases = [
        ("\nuser", 2, AclCause::NoUser),
        ("group", 1, AclCause::NoGroup),
        ("group a\nmember", 2, AclCause::NoMember),
        ("member alice", 1, AclCause::OutsideGroup),
        ("user alice\nmember bob", 2, AclCause::OutsideGroup),
        ("superuser", 1, AclCause::AnonymousSuperuser),
        ("user alice\nsuperuser alice", 2, AclCause::AfterSuperuser("alice".to_owned())),
        ("group a\ntopic read desks/%u", 2, AclCause::Placeholder),
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

const GROUPS: &str = "topic read news/#
user alice
topic home/alice
group plant staff
member alice
member bob builder
topic read plant/#
pattern readwrite desks/%u/%c
group secrets
topic deny plant/secret
member alice
pattern deny home/%u
group plant staff
member carol
user olga
superuser
group operators
member oscar
superuser
topic deny #
";

fn is_allowed(access: &Access, topic: &str) -> bool {
    access.receive(&crate::topic::TopicName::try_from(topic).unwrap())
}

#[test]
fn a_member_gets_the_rules_and_patterns_of_all_its_groups() {
    let acl = acl(GROUPS);
    let rule = |action, filter, line| allow_in(GROUPS, action, filter, line);
    let builder =
        vec![rule(AccessAction::Subscribe, "plant/#", 7), rule(AccessAction::Both, "desks/bob builder/c1", 8)];
    assert_eq!(acl.access("c1", Some("bob builder")), Access::new(builder));
    let carol = vec![rule(AccessAction::Subscribe, "plant/#", 7), rule(AccessAction::Both, "desks/carol/c1", 8)];
    assert_eq!(acl.access("c1", Some("carol")), Access::new(carol), "the section is continued below");
    let alice = acl.access("c1", Some("alice"));
    for (topic, expected) in
        [("plant/1", true), ("plant/secret", false), ("home/alice", false), ("desks/alice/c1", true), ("news/1", false)]
    {
        assert_eq!(is_allowed(&alice, topic), expected, "{topic}");
    }
    // A name with a slash: the pattern that allows does not apply.
    assert_eq!(acl.access("a/b", Some("carol")).rules(), 1);
}

#[test]
fn a_group_says_nothing_about_a_user_of_its_name_or_about_anyone_else() {
    let acl = acl(GROUPS);
    for stranger in ["plant staff", "operators", "secrets", "Alice", "bob", "builder", "dave"] {
        assert_eq!(acl.access("c1", Some(stranger)), Access::new(Vec::new()), "{stranger}");
        assert_eq!(acl.superuser(Some(stranger)), None);
    }
    assert_eq!(acl.access("c1", None), Access::new(vec![allow_in(GROUPS, AccessAction::Subscribe, "news/#", 1)]));
    assert_eq!(acl.size(), AclSize { users: 5, groups: 3, rules: 7 });
}

#[test]
fn a_superuser_may_do_everything_and_no_rule_denies_it() {
    let acl = acl(GROUPS);
    for (user, line) in [("olga", 16), ("oscar", 19)] {
        assert_eq!(acl.access("c1", Some(user)), Access::superuser(), "{user}");
        assert_eq!(acl.superuser(Some(user)).map(|source| source.line), Some(line));
    }
    assert_eq!(acl.superuser(None), None);
    assert!(self::acl("user root\nsuperuser").has_rules());
    assert!(!self::acl("group a\nmember b\nuser c").has_rules());
}

#[test]
fn the_groups_of_a_user_and_the_rules_of_a_client_are_bounded() {
    let memberships = |count: usize| -> String {
        (0..count).map(|number| format!("group {number}\nmember alice\nmember alice\ntopic read {number}\n")).collect()
    };
    assert_eq!(acl(&memberships(GROUPS_MAX)).access("c", Some("alice")).rules(), GROUPS_MAX);
    let cause = AclCause::TooManyGroups("alice".to_owned());
    assert_eq!(AclFile::parse(&memberships(GROUPS_MAX + 1), "").unwrap_err(), (4 * GROUPS_MAX + 2, cause));
    let rules = |count: usize| format!("group a\n{}member bob\nmember alice\n", "topic read x\n".repeat(count));
    let one_more = "user alice\ntopic read y\n";
    assert!(AclFile::parse(&(rules(bounds::RULES_MAX - 1) + one_more), "").is_ok());
    let (line, cause) = AclFile::parse(&(rules(bounds::RULES_MAX) + one_more), "").unwrap_err();
    assert_eq!((line, cause), (bounds::RULES_MAX + 3, AclCause::TooManyRules("the user \"alice\"".to_owned())));
    let many = "pattern read x\n".repeat(bounds::RULES_MAX) + "topic read y";
    assert!(matches!(AclFile::parse(&many, ""), Err((1, AclCause::TooManyRules(_)))));
}

fn is_denied(access: &Access, topic: &crate::topic::TopicName) -> bool {
    access.judge_publish(topic).rule.is_some_and(|rule| rule.effect == Effect::Deny)
}

/// Lines of a file with the users `a` and `b`, and the groups `g` and `h`.
fn lines() -> impl Strategy<Value = String> {
    let filter = "(a|b|\\+|x)(/(a|b|\\+)){0,2}(/#)?";
    let rule =
        (prop::sample::select(vec!["topic", "pattern"]), prop::sample::select(vec!["", "read ", "write ", "deny "]));
    prop_oneof![
        prop::sample::select(vec!["user a", "user b", "group g", "group h"]).prop_map(str::to_owned),
        (rule, filter).prop_map(|((keyword, access), filter)| format!("{keyword} {access}{filter}")),
    ]
}

proptest! {
    #[test]
    fn a_rule_of_a_group_concerns_its_members_only_and_a_denial_wins(
        before in prop::collection::vec(lines(), 0..12),
        member_of_h in any::<bool>(),
        (keyword, access) in (prop::sample::select(vec!["topic", "pattern"]), prop::sample::select(vec!["", "read ", "deny "])),
        filter in "(a|\\+|x)(/(a|b|\\+)){0,2}(/#)?",
    ) {
        let members = if member_of_h { "group g\nmember a\ngroup h\nmember a\n" } else { "group g\nmember a\n" };
        let before = format!("{}\n{members}", before.join("\n"));
        let after = format!("{before}group g\n{keyword} {access}{filter}\n");
        let (before, after) = (acl(&before), acl(&after));
        for other in [None, Some("b"), Some("g"), Some("h")] {
            prop_assert_eq!(before.access("c", other), after.access("c", other));
        }
        let (old, new) = (before.access("c", Some("a")), after.access("c", Some("a")));
        let filter = TopicFilter::try_from(&*filter).unwrap();
        for topic in ["a", "b", "x", "a/a", "a/b", "x/a", "x/b", "b/a", "a/a/a", "x/b/a", "a/b/b/a", "$SYS/a"] {
            let name = crate::topic::TopicName::try_from(topic).unwrap();
            let is_concerned = filter.matches(&name);
            match access {
                "deny " if is_concerned => prop_assert!(!new.receive(&name) && new.publish(&name).is_err()),
                "" | "read " if is_concerned => prop_assert!(new.receive(&name) || is_denied(&old, &name)),
                _ => prop_assert_eq!((old.receive(&name), old.publish(&name).is_ok()), (new.receive(&name), new.publish(&name).is_ok())),
            }
        }
    }

    #[test]
    fn no_text_causes_a_panic(text: String, client_id: String, user: Option<String>) {
        let _ = AclFile::parse(&text, "acl.conf");
        for keyword in ["topic", "pattern", "pattern deny", "group", "group a\nmember", "user a\nsuperuser\ngroup"] {
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
