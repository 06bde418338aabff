use proptest::prelude::*;

use super::*;

fn name(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

fn topic_filter(text: &str) -> TopicFilter {
    TopicFilter::try_from(text).unwrap()
}

fn matches(filter: &str, topic: &str) -> bool {
    topic_filter(filter).matches(&name(topic))
}

#[test]
fn mqtt5_4_7_0_1_a_topic_name_has_no_wildcards() {
    for text in ["+", "#", "a/+", "a/#", "a+", "#a/b"] {
        assert_eq!(TopicName::try_from(text), Err(InvalidTopic::WildcardInName), "{text}");
    }
}

#[test]
fn mqtt5_4_7_1_1_the_multi_level_wildcard_is_the_whole_last_level() {
    for text in ["a#", "a/b#", "#/a", "a/#/b", "##", "#+", "+#", "a/#/", "#/"] {
        assert_eq!(TopicFilter::try_from(text), Err(InvalidTopic::MisplacedMultiLevelWildcard), "{text}");
    }
    for text in ["#", "a/#", "/#", "+/#", "a/b/#"] {
        assert!(TopicFilter::try_from(text).is_ok(), "{text}");
    }
}

#[test]
fn mqtt5_4_7_1_1_the_multi_level_wildcard_matches_the_parent_and_everything_below() {
    for topic in ["sport", "sport/", "sport/a", "sport/a/b/c"] {
        assert!(matches("sport/#", topic), "{topic}");
    }
    for topic in ["sports", "spor", "Sport", "/sport"] {
        assert!(!matches("sport/#", topic), "{topic}");
    }
    assert!(matches("#", "/"));
    assert!(matches("/#", "/a"));
    assert!(!matches("/#", "a"));
}

#[test]
fn mqtt5_4_7_1_2_the_single_level_wildcard_is_a_whole_level() {
    for text in ["a+", "+a", "a/b+", "a/+b/c", "++"] {
        assert_eq!(TopicFilter::try_from(text), Err(InvalidTopic::MisplacedSingleLevelWildcard), "{text}");
    }
    assert!(matches("sport/tennis/+", "sport/tennis/player1"));
    assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
    assert!(!matches("sport/+", "sport"));
    assert!(matches("sport/+", "sport/"));
    assert!(matches("+/+", "/finance"));
    assert!(matches("/+", "/finance"));
    assert!(!matches("+", "/finance"));
}

#[test]
fn mqtt5_4_7_2_1_wildcards_at_the_beginning_dont_match_topics_that_start_with_a_dollar() {
    assert!(!matches("#", "$SYS/uptime"));
    assert!(!matches("+/uptime", "$SYS/uptime"));
    assert!(!matches("+", "$x"));
    assert!(matches("$SYS/#", "$SYS/uptime"));
    assert!(matches("$SYS/+", "$SYS/uptime"));
    assert!(matches("+/$SYS", "a/$SYS"));
}

#[test]
fn mqtt5_4_7_3_1_topics_have_at_least_one_character() {
    assert_eq!(TopicName::try_from(""), Err(InvalidTopic::Empty));
    assert_eq!(TopicFilter::try_from(""), Err(InvalidTopic::Empty));
    assert_eq!(Filter::try_from(""), Err(InvalidTopic::Empty));
    assert!(TopicName::try_from("/").is_ok());
    assert!(TopicName::try_from(" ").is_ok());
}

#[test]
fn mqtt5_4_7_3_2_topics_have_no_null_character() {
    assert_eq!(TopicName::try_from("a\0"), Err(InvalidTopic::NullCharacter));
    assert_eq!(TopicFilter::try_from("\0/#"), Err(InvalidTopic::NullCharacter));
    assert_eq!(Filter::try_from("$share/a\0/b"), Err(InvalidTopic::NullCharacter));
    assert_eq!(Filter::try_from("$share/a/b\0"), Err(InvalidTopic::NullCharacter));
}

#[test]
fn mqtt5_4_7_3_3_topics_have_at_most_65_535_bytes() {
    let longest = "ä/".repeat(65_535 / 3);
    assert_eq!(longest.len(), 65_535);
    assert!(TopicName::try_from(&*longest).is_ok());
    assert!(TopicFilter::try_from(&*longest).is_ok());
    let too_long = longest.clone() + "x";
    assert_eq!(TopicName::try_from(&*too_long), Err(InvalidTopic::TooLong));
    assert_eq!(TopicFilter::try_from(&*too_long), Err(InvalidTopic::TooLong));
    assert_eq!(Filter::try_from(&*format!("$share/g/{longest}")), Err(InvalidTopic::TooLong));
}

#[test]
fn mqtt5_4_7_3_4_topics_are_not_normalized() {
    for (one, other) in [("a", "A"), ("a", "a/"), ("a/b", "a//b"), ("ä", "a\u{308}"), ("a", " a"), ("\u{feff}a", "a")]
    {
        assert!(!matches(one, other), "{one} {other}");
        assert!(matches(one, one));
        assert_eq!(name(other).to_string(), other);
    }
}

#[test]
fn mqtt5_4_8_2_1_a_shared_subscription_has_a_share_name() {
    let shared = Filter::try_from("$share/consumer/sport/+/#").unwrap();
    assert_eq!(shared.share, Some(ShareName::try_from("consumer").unwrap()));
    assert_eq!(shared.topic_filter, topic_filter("sport/+/#"));
    assert_eq!(shared.to_string(), "$share/consumer/sport/+/#");
    assert_eq!(Filter::try_from("$share//sport"), Err(InvalidTopic::EmptyShareName));
    assert_eq!(Filter::try_from("$share/"), Err(InvalidTopic::EmptyShareName));
    for plain in ["$share", "$shared/a/b", "$Share/a/b", "/$share/a/b"] {
        assert_eq!(Filter::try_from(plain).unwrap(), topic_filter(plain).into(), "{plain}");
    }
}

#[test]
fn mqtt5_4_8_2_2_a_share_name_has_no_wildcard_and_is_followed_by_a_filter() {
    for text in ["$share/+/a", "$share/#/a", "$share/a+/b", "$share/a#/b"] {
        assert_eq!(Filter::try_from(text), Err(InvalidTopic::ShareNameCharacter), "{text}");
    }
    for text in ["$share/a", "$share/a/"] {
        assert_eq!(Filter::try_from(text), Err(InvalidTopic::ShareWithoutFilter), "{text}");
    }
    assert_eq!(Filter::try_from("$share/a//").unwrap().topic_filter, topic_filter("/"));
    assert_eq!(Filter::try_from("$share/a/b#"), Err(InvalidTopic::MisplacedMultiLevelWildcard));
    assert_eq!(Filter::try_from("$share/a/$share/b/c"), Err(InvalidTopic::NestedShare));
    assert_eq!(TopicFilter::try_from("$share/a/b"), Err(InvalidTopic::NestedShare));
    assert_eq!(ShareName::try_from("a/b"), Err(InvalidTopic::ShareNameCharacter));
}

#[test]
fn a_detached_topic_does_not_keep_its_buffer() {
    let buffer = ByteString::from("a buffer with a/topic in it");
    let sliced = TopicName::new(buffer.slice_ref(&buffer[14..21])).unwrap();
    assert_eq!(sliced.as_str(), "a/topic");
    let detached = sliced.detached();
    assert_eq!(detached, sliced);
    let range = buffer.as_bytes().as_ptr_range();
    assert!(range.contains(&sliced.as_str().as_ptr()));
    assert!(!range.contains(&detached.as_str().as_ptr()));
}

proptest! {
    #[test]
    fn any_text_is_stored_unchanged_or_refused(text in "(\\$share/)?(\\PC|[/+#\\$\0]){0,12}") {
        if let Ok(name) = TopicName::try_from(&*text) {
            prop_assert_eq!(name.as_str(), &*text);
            if let Ok(filter) = TopicFilter::try_from(&*text) {
                prop_assert!(filter.matches(&name));
            }
        }
        if let Ok(filter) = Filter::try_from(&*text) {
            prop_assert_eq!(filter.to_string(), text);
        }
    }

    #[test]
    fn filters_match_like_a_second_implementation_of_the_rules(
        filter in "(\\$?[ab]?|\\+)(/([ab]?|\\+)){0,3}(/#)?",
        topic in "\\$?[ab]?(/[ab]?){0,4}",
    ) {
        prop_assume!(!filter.is_empty() && !topic.is_empty());
        prop_assert_eq!(matches(&filter, &topic), matches_by_recursion(&filter, &topic), "{} {}", filter, topic);
    }
}

/// A second implementation of section 4.7, by recursion over the texts.
fn matches_by_recursion(filter: &str, topic: &str) -> bool {
    fn rest(filter: Option<&str>, topic: Option<&str>) -> bool {
        let split = |text: &str| {
            let (level, rest) = text.split_once('/').map_or((text, None), |(level, rest)| (level, Some(rest)));
            (level.to_owned(), rest.map(str::to_owned))
        };
        match (filter.map(split), topic.map(split)) {
            (None, None) => true,
            (Some((level, _)), _) if level == "#" => true,
            (Some((level, filter)), Some((name, topic))) => {
                (level == "+" || level == name) && rest(filter.as_deref(), topic.as_deref())
            }
            _ => false,
        }
    }
    let hidden = topic.starts_with('$') && !filter.starts_with('$');
    !hidden && rest(Some(filter), Some(topic))
}

#[test]
fn an_exclusive_subscription_is_to_the_topic_behind_its_prefix() {
    let filter = Filter::try_from("$exclusive/a/+").unwrap();
    assert_eq!((filter.topic_filter.as_str(), filter.is_exclusive), ("a/+", true));
    assert_eq!(filter.to_string(), "$exclusive/a/+");
    assert_eq!(filter.detached(), filter);
    assert_eq!(filter.ordinary().to_string(), "a/+");
    for plain in ["$exclusive", "$exclusive/", "$exclusives/a", "a/$exclusive/b", "$share/g/$exclusive/a"] {
        let filter = Filter::try_from(plain).unwrap();
        assert!(!filter.is_exclusive, "{plain}");
        assert_eq!(filter.to_string(), plain);
    }
    assert!(Filter::try_from("$exclusive/$share/g/a").is_err());
    assert!(Filter::try_from("$exclusive/a/#/b").is_err());
}
