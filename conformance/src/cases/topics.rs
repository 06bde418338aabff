//! Topic Names and Topic Filters, and how they match.

mod dollar;
mod malformed;
mod matching;
mod refusal;

use crate::case::{Case, Feature};

pub(super) use refusal::expect_filter_refused;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "a_topic_name_with_a_wildcard_closes_the_connection_at_every_qos",
        &["MQTT-4.7.1-1"],
        &["MQTT-4.7.0-1"],
        malformed::wildcard_in_topic_name,
    ),
    Case::both(
        "a_connect_with_a_wildcard_in_the_will_topic_is_refused",
        &["MQTT-4.7.1-1"],
        &["MQTT-4.7.0-1"],
        malformed::wildcard_in_will_topic,
    ),
    Case::both(
        "a_multi_level_wildcard_that_is_not_the_whole_last_level_is_refused",
        &["MQTT-4.7.1-2"],
        &["MQTT-4.7.1-1"],
        malformed::misplaced_multi_level_wildcard,
    ),
    Case::both(
        "a_single_level_wildcard_that_is_not_a_whole_level_is_refused",
        &["MQTT-4.7.1-3"],
        &["MQTT-4.7.1-2"],
        malformed::misplaced_single_level_wildcard,
    ),
    Case::both(
        "an_empty_topic_name_closes_the_connection",
        &["MQTT-4.7.3-1"],
        &["MQTT-4.7.3-1"],
        malformed::empty_topic_name,
    ),
    Case::both("an_empty_topic_filter_is_refused", &["MQTT-4.7.3-1"], &["MQTT-4.7.3-1"], malformed::empty_topic_filter),
    Case::both(
        "the_null_character_in_a_topic_closes_the_connection",
        &["MQTT-4.7.3-2"],
        &["MQTT-4.7.3-2"],
        malformed::null_character,
    ),
    Case::both(
        "the_longest_topic_name_arrives_complete_or_is_refused",
        &["MQTT-4.7.3-3"],
        &["MQTT-4.7.3-3"],
        malformed::longest_topic_name,
    )
    .needs(&[Feature::Wildcards]),
    Case::both(
        "the_longest_topic_filter_is_granted_or_refused",
        &["MQTT-4.7.3-3"],
        &["MQTT-4.7.3-3"],
        malformed::longest_topic_filter,
    ),
    Case::both(
        "a_topic_that_is_longer_than_its_packet_closes_the_connection",
        &["MQTT-4.7.3-3"],
        &["MQTT-4.7.3-3"],
        malformed::longer_than_the_packet,
    ),
    Case::both(
        "the_wildcards_match_the_levels_that_they_stand_for",
        &["MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-3.3.2-3"],
        &["MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-3.3.2-3"],
        matching::wildcards,
    )
    .needs(&[Feature::Wildcards, Feature::Qos1])
    .seconds(20),
    Case::both(
        "the_wildcards_match_retained_messages_in_the_same_way",
        &["MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-3.3.2-3"],
        &["MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-3.3.2-3"],
        matching::wildcards_and_retained_messages,
    )
    .needs(&[Feature::Wildcards, Feature::Qos1, Feature::Retain])
    .seconds(20),
    Case::both(
        "a_wildcard_may_stand_for_the_first_level",
        &["MQTT-4.7.1-2", "MQTT-4.7.1-3"],
        &["MQTT-4.7.1-1", "MQTT-4.7.1-2"],
        matching::leading_wildcards,
    )
    .needs(&[Feature::Wildcards, Feature::Qos1])
    .seconds(20),
    Case::both("the_shortest_topics_are_valid", &["MQTT-4.7.3-1"], &["MQTT-4.7.3-1"], matching::shortest_topics)
        .needs(&[Feature::Qos1]),
    Case::both("topics_match_character_by_character", &["MQTT-4.7.3-4"], &["MQTT-4.7.3-4"], matching::no_normalization)
        .needs(&[Feature::Qos1])
        .seconds(30),
    Case::both(
        "a_leading_wildcard_matches_no_topic_that_begins_with_a_dollar_sign",
        &["MQTT-4.7.2-1"],
        &["MQTT-4.7.2-1"],
        dollar::leading_wildcards,
    )
    .needs(&[Feature::Wildcards])
    .seconds(20),
    Case::v5(
        "a_leading_wildcard_in_a_shared_subscription_matches_no_topic_that_begins_with_a_dollar_sign",
        &["MQTT-4.7.2-1"],
        dollar::shared_wildcards,
    )
    .needs(&[Feature::Wildcards, Feature::SharedSubscriptions]),
    Case::both(
        "clients_can_not_exchange_messages_over_the_servers_own_topics",
        &["3.1.1/4.7.2/1"],
        &["5.0/4.7.2/1"],
        dollar::no_exchange,
    ),
    Case::both(
        "only_the_servers_own_topics_match_a_filter_for_them",
        &["3.1.1/4.7.2/2"],
        &["5.0/4.7.2/2"],
        dollar::own_topics,
    )
    .needs(&[Feature::Wildcards]),
    Case::both(
        "a_topic_that_was_not_used_before_works_or_is_refused",
        &["3.1.1/4.7.3/1"],
        &["5.0/4.7.3/1"],
        matching::new_topic,
    ),
];
