use proptest::prelude::*;

use super::*;
use Effect::{Allow, Deny};

fn rule(effect: Effect, action: AccessAction, filter: &str) -> AccessRule {
    AccessRule {
        effect,
        action,
        topic_filter: TopicFilter::try_from(filter).unwrap(),
        source: RuleSource::new(&format!("{effect:?} {filter}"), 1, ""),
    }
}

/// Rules for both actions.
fn access(rules: &[(Effect, &str)]) -> Access {
    Access::new(rules.iter().map(|&(effect, filter)| rule(effect, AccessAction::Both, filter)).collect())
}

fn topic(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

fn subscribe(access: &Access, filter: &str) -> Result<Coverage, Denied> {
    access.subscribe(&Filter::try_from(filter).unwrap())
}

fn denied_by(rule: &str) -> Denied {
    Denied { rule: Some(RuleSource::new(rule, 1, "")) }
}

const NO_RULE: Denied = Denied { rule: None };

#[test]
fn without_restriction_everything_is_allowed_and_with_an_empty_list_nothing() {
    for name in ["a", "$SYS/uptime"] {
        assert_eq!(Access::everything().publish(&topic(name)), Ok(()));
        assert!(Access::everything().receive(&topic(name)));
        assert_eq!(Access::new(vec![]).publish(&topic(name)), Err(NO_RULE));
        assert!(!Access::new(vec![]).receive(&topic(name)));
    }
    assert_eq!(subscribe(&Access::everything(), "#"), Ok(Coverage::Whole));
    assert_eq!(subscribe(&Access::new(vec![]), "#"), Err(NO_RULE));
}

#[test]
fn a_rule_applies_to_its_action_only() {
    let access = Access::new(vec![
        rule(Allow, AccessAction::Publish, "up/#"),
        rule(Allow, AccessAction::Subscribe, "down/#"),
        rule(Allow, AccessAction::Both, "both"),
    ]);
    assert_eq!(access.publish(&topic("up/a")), Ok(()));
    assert_eq!(access.publish(&topic("down/a")), Err(NO_RULE));
    assert_eq!(access.publish(&topic("both")), Ok(()));
    assert!(!access.receive(&topic("up/a")));
    assert!(access.receive(&topic("down/a")));
    assert!(access.receive(&topic("both")));
    assert_eq!(subscribe(&access, "up/#"), Err(NO_RULE));
    assert_eq!(subscribe(&access, "down/#"), Ok(Coverage::Whole));
}

#[test]
fn a_denial_overrides_all_other_rules_and_is_reported() {
    for rules in [[(Allow, "a/#"), (Deny, "a/secret")], [(Deny, "a/secret"), (Allow, "a/#")]] {
        let access = access(&rules);
        assert_eq!(access.publish(&topic("a/secret")), Err(denied_by("Deny a/secret")));
        assert_eq!(access.publish(&topic("a/b")), Ok(()));
        assert_eq!(subscribe(&access, "a/secret"), Err(denied_by("Deny a/secret")));
        assert_eq!(subscribe(&access, "a/+"), Ok(Coverage::Part));
        assert_eq!(subscribe(&access, "a/+/#"), Ok(Coverage::Part));
        assert_eq!(subscribe(&access, "a/b/#"), Ok(Coverage::Whole));
    }
}

#[test]
fn a_denial_has_its_reason() {
    let denied = Denied { rule: Some(RuleSource::new("acl.conf", 12, "topic deny a")) };
    assert_eq!(denied.to_string(), "denied by acl.conf:12");
    assert_eq!(NO_RULE.to_string(), "no rule allows it");
}

#[test]
fn mqtt5_4_7_2_1_a_wildcard_rule_does_not_match_dollar_topics() {
    let access = access(&[(Allow, "#")]);
    assert!(!access.receive(&topic("$SYS/uptime")));
    assert_eq!(subscribe(&access, "$SYS/#"), Err(NO_RULE));
    assert_eq!(subscribe(&access, "#"), Ok(Coverage::Whole));
    assert_eq!(subscribe(&access, "+/#"), Ok(Coverage::Whole));
}

#[test]
fn a_filter_wider_than_the_allowed_topics_is_granted_in_part() {
    let access = access(&[(Allow, "a/+/x"), (Allow, "b")]);
    for filter in ["#", "a/#", "+/+/+", "a/1/#", "b/#", "$share/group/a/+/+"] {
        assert_eq!(subscribe(&access, filter), Ok(Coverage::Part), "{filter}");
    }
    for filter in ["a/1/x", "a/+/x", "b", "$share/group/b"] {
        assert_eq!(subscribe(&access, filter), Ok(Coverage::Whole), "{filter}");
    }
    for filter in ["a", "a/+", "c/#", "a/+/y", "a/+/x/+"] {
        assert_eq!(subscribe(&access, filter), Err(NO_RULE), "{filter}");
    }
}

fn filters() -> impl Strategy<Value = String> {
    "(\\$?[ab]|\\+)(/([ab]|\\+)){0,2}(/#)?|#".prop_filter("not empty", |filter| !filter.is_empty())
}

/// All topics of up to four levels with three names; `c` represents all names that occur in no filter.
fn universe() -> Vec<TopicName> {
    let mut topics: Vec<String> = ["a", "b", "c", "$a", "$b", "$c"].map(str::to_owned).to_vec();
    let mut longest = topics.clone();
    for _ in 0..3 {
        longest = longest.iter().flat_map(|topic| ["a", "b", "c"].map(|level| format!("{topic}/{level}"))).collect();
        topics.extend_from_slice(&longest);
    }
    topics.iter().map(|text| topic(text)).collect()
}

proptest! {
    #[test]
    fn containment_and_intersection_agree_with_sets_of_topics(one in filters(), other in filters()) {
        let (left, right) = (TopicFilter::try_from(&*one).unwrap(), TopicFilter::try_from(&*other).unwrap());
        let universe = universe();
        let (left_levels, right_levels): (Vec<_>, Vec<_>) = (left.levels().collect(), right.levels().collect());
        let covered = universe.iter().all(|topic| left.matches(topic) || !right.matches(topic));
        prop_assert_eq!(covers(&left_levels, &right_levels), covered, "{} covers {}", one, other);
        let common = intersection(&left_levels, &right_levels)
            .map(|levels| TopicFilter::try_from(&*levels.join("/")).unwrap());
        for topic in &universe {
            let matches = common.as_ref().is_some_and(|common| common.matches(topic));
            prop_assert_eq!(matches, left.matches(topic) && right.matches(topic), "{} and {}: {}", one, other, topic);
        }
    }

    #[test]
    fn coverage_never_exceeds_the_allowed_topics(
        rules in prop::collection::vec((any::<bool>(), filters()), 0..5),
        wanted in filters(),
    ) {
        let rules: Vec<_> =
            rules.iter().map(|(deny, filter)| (if *deny { Deny } else { Allow }, filter.as_str())).collect();
        let access = access(&rules);
        let wanted = Filter::try_from(&*wanted).unwrap();
        let universe = universe();
        let mut matched = universe.iter().filter(|topic| wanted.topic_filter.matches(topic));
        let received = matched.clone().filter(|topic| access.receive(topic)).count();
        match access.subscribe(&wanted) {
            Ok(Coverage::Whole) => prop_assert!(matched.all(|topic| access.receive(topic))),
            Ok(Coverage::Part) if rules.len() == 2 => {
                // The result is exact for one rule that allows and one that denies.
                let effects: Vec<_> = rules.iter().map(|&(effect, _)| effect).collect();
                prop_assume!(effects.contains(&Deny));
                prop_assert!(0 < received && received < matched.count());
            }
            Ok(Coverage::Part) => {}
            Err(_) => prop_assert_eq!(received, 0),
        }
        for topic in &universe {
            prop_assert_eq!(access.receive(topic), access.publish(topic).is_ok());
        }
    }

    #[test]
    fn the_rule_that_decides_explains_the_decision(
        rules in prop::collection::vec((any::<bool>(), 0..3_u8, filters()), 0..6),
        wanted in filters(),
    ) {
        let action = |number| [AccessAction::Publish, AccessAction::Subscribe, AccessAction::Both][usize::from(number)];
        let rules = rules.iter().map(|(deny, number, filter)| rule(if *deny { Deny } else { Allow }, action(*number), filter));
        let access = Access::new(rules.collect());
        for topic in universe() {
            let judgement = access.judge_publish(&topic);
            prop_assert_eq!(judgement.is_allowed, access.publish(&topic).is_ok());
            match judgement.rule {
                Some(rule) => {
                    prop_assert!(rule.topic_filter.matches(&topic) && rule.action != AccessAction::Subscribe);
                    prop_assert_eq!(judgement.is_allowed, rule.effect == Allow);
                }
                None => prop_assert!(!judgement.is_allowed),
            }
        }
        let wanted = Filter::try_from(&*wanted).unwrap();
        let (judgement, coverage) = access.judge_subscribe(&wanted);
        let outcome = access.subscribe(&wanted);
        prop_assert_eq!(judgement.is_allowed.then_some(coverage), outcome.ok());
        if let Some(rule) = judgement.rule {
            prop_assert_eq!(judgement.is_allowed, rule.effect == Allow);
            let wanted: Vec<&str> = wanted.topic_filter.levels().collect();
            prop_assert!(intersection(&levels(rule), &wanted).is_some() && rule.action != AccessAction::Publish);
        }
    }
}

#[test]
fn below_a_mount_point_only_its_topics_are_allowed_and_rules_name_them_in_full() {
    let mount_point = MountPoint::new("a/").unwrap();
    let free = Arc::new(Access::everything()).below(Some(&mount_point));
    assert!(free.is_restricted() && !free.has_rules());
    for (name, is_allowed) in
        [("a/b", true), ("a//", true), ("a", false), ("a/", false), ("ab", false), ("a/$x", false), ("$SYS/a", false)]
    {
        assert_eq!(free.receive(&topic(name)), is_allowed, "{name}");
        assert_eq!(free.publish(&topic(name)).is_ok(), is_allowed, "{name}");
    }
    for (filter, expected) in [
        ("a/b", Ok(Coverage::Whole)),
        ("a/b/#", Ok(Coverage::Whole)),
        ("$share/g/a/b/+", Ok(Coverage::Whole)),
        ("a/#", Ok(Coverage::Part)),
        ("a/+/b", Ok(Coverage::Part)),
        ("a//#", Ok(Coverage::Part)),
        ("$share/g/a/#", Ok(Coverage::Part)),
        ("#", Err(NO_RULE)),
        ("+/b", Err(NO_RULE)),
        ("a", Err(NO_RULE)),
        ("b/#", Err(NO_RULE)),
        ("a/$SYS/#", Err(NO_RULE)),
        ("$SYS/#", Err(NO_RULE)),
    ] {
        assert_eq!(subscribe(&free, filter), expected, "{filter}");
    }
    let ruled = Arc::new(access(&[(Allow, "a/b/#"), (Allow, "c/#"), (Deny, "a/b/secret")])).below(Some(&mount_point));
    assert!(ruled.receive(&topic("a/b/c")) && !ruled.receive(&topic("a/b/secret")) && !ruled.receive(&topic("c/d")));
    assert_eq!(subscribe(&ruled, "c/#"), Err(NO_RULE), "a rule for another namespace opens nothing");
    assert_eq!(subscribe(&ruled, "a/b/c/#"), Ok(Coverage::Whole));
    assert_eq!(subscribe(&ruled, "a/#"), Ok(Coverage::Part));
    assert!(Arc::ptr_eq(&ruled, &Arc::clone(&ruled).below(Some(&mount_point))), "nothing is copied");
    assert_eq!(*Arc::clone(&free).below(None), Access::everything());
}
