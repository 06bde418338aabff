//! SUBSCRIBE and SUBACK.

mod actions;
mod identifiers;
mod malformed;
mod options;

use crate::case::{Case, Feature};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "a_subscribe_with_other_flags_than_0010_closes_the_connection",
        &["MQTT-3.8.1-1"],
        &["MQTT-3.8.1-1"],
        malformed::reserved_flags,
    ),
    Case::both(
        "a_topic_filter_in_subscribe_that_is_not_utf8_closes_the_connection",
        &["MQTT-3.8.3-1"],
        &["MQTT-3.8.3-1"],
        malformed::not_utf8,
    ),
    Case::both(
        "a_subscribe_without_topic_filter_closes_the_connection",
        &["MQTT-3.8.3-3"],
        &["MQTT-3.8.3-2", "5.0/3.8.3/1"],
        malformed::no_topic_filter,
    ),
    Case::both(
        "a_topic_filter_without_its_options_closes_the_connection",
        &["MQTT-3.8.3-3"],
        &["MQTT-3.8.3-2"],
        malformed::no_options,
    ),
    Case::v3(
        "a_reserved_bit_beside_the_requested_qos_closes_the_connection",
        &["MQTT-3.8.3-4"],
        malformed::reserved_bits_v3,
    ),
    Case::v5("a_reserved_bit_in_the_subscription_options_is_malformed", &["MQTT-3.8.3-5"], malformed::reserved_bits_v5),
    Case::both("a_requested_qos_of_3_closes_the_connection", &["MQTT-3.8.3-4"], &["5.0/3.8.3.1/1"], malformed::qos_3),
    Case::v5("a_retain_handling_of_3_is_a_protocol_error", &["5.0/3.8.3.1/2"], malformed::retain_handling_3),
    Case::v5("no_local_on_a_shared_subscription_is_a_protocol_error", &["MQTT-3.8.3-4"], malformed::no_local_shared)
        .needs(&[Feature::SharedSubscriptions]),
    Case::v5(
        "a_subscription_identifier_of_0_is_a_protocol_error",
        &["5.0/3.8.2.1.2/1"],
        malformed::subscription_identifier_0,
    )
    .needs(&[Feature::SubscriptionIdentifiers]),
    Case::v5(
        "two_subscription_identifiers_in_subscribe_are_a_protocol_error",
        &["5.0/3.8.2.1.2/2"],
        malformed::two_subscription_identifiers,
    )
    .needs(&[Feature::SubscriptionIdentifiers]),
    Case::v5("no_local_keeps_a_clients_own_messages_from_it", &["MQTT-3.8.3-3"], options::no_local)
        .needs(&[Feature::Qos2]),
    Case::v5("no_local_stays_with_the_subscription_in_the_session", &["MQTT-3.8.3-3"], options::no_local_in_session)
        .needs(&[Feature::Qos1]),
    Case::v5("subscribing_again_replaces_the_subscription_options", &["MQTT-3.8.4-3"], options::replaced_options)
        .needs(&[Feature::Qos1, Feature::Retain]),
    Case::v5(
        "retain_as_published_decides_on_the_retain_flag",
        &["MQTT-3.3.1-12", "MQTT-3.3.1-13"],
        options::retain_as_published,
    )
    .needs(&[Feature::Retain]),
    Case::v5(
        "retain_handling_0_brings_retained_messages_on_every_subscribe",
        &["MQTT-3.3.1-9", "MQTT-3.8.4-4"],
        options::retain_handling_0,
    )
    .needs(&[Feature::Retain]),
    Case::v5(
        "retain_handling_1_brings_retained_messages_to_a_new_subscription_only",
        &["MQTT-3.3.1-10"],
        options::retain_handling_1,
    )
    .needs(&[Feature::Retain]),
    Case::v5("retain_handling_2_brings_no_retained_messages", &["MQTT-3.3.1-11"], options::retain_handling_2)
        .needs(&[Feature::Retain]),
    Case::v5(
        "a_message_carries_the_identifier_of_its_subscription",
        &["MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5"],
        identifiers::of_every_width,
    )
    .needs(&[Feature::SubscriptionIdentifiers]),
    Case::v5(
        "the_identifiers_of_all_matching_subscriptions_come",
        &["MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5"],
        identifiers::of_overlapping_subscriptions,
    )
    .needs(&[Feature::SubscriptionIdentifiers, Feature::Wildcards]),
    Case::v5(
        "subscribing_again_replaces_the_subscription_identifier",
        &["MQTT-3.8.4-3"],
        identifiers::replaced_with_the_subscription,
    )
    .needs(&[Feature::SubscriptionIdentifiers]),
    Case::v5(
        "the_subscription_identifier_stays_with_the_session",
        &["MQTT-3.3.4-3", "MQTT-3.8.4-3"],
        identifiers::kept_in_the_session,
    )
    .needs(&[Feature::SubscriptionIdentifiers, Feature::Qos1]),
    Case::v5(
        "a_retained_message_has_the_identifier_of_the_new_subscription",
        &["MQTT-3.3.4-3"],
        identifiers::of_retained_messages,
    )
    .needs(&[Feature::SubscriptionIdentifiers, Feature::Retain]),
    Case::both(
        "subscribe_is_answered_with_suback_and_its_packet_identifier",
        &["MQTT-3.8.4-1", "MQTT-3.8.4-2"],
        &["MQTT-3.8.4-1", "MQTT-3.8.4-2"],
        actions::packet_identifier,
    ),
    Case::both(
        "suback_has_a_code_for_each_topic_filter_in_their_order",
        &["MQTT-3.8.4-5", "MQTT-3.9.3-1", "MQTT-3.9.3-2"],
        &["MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2"],
        actions::codes_in_order,
    ),
    Case::both(
        "a_subscribe_with_many_topic_filters_is_as_many_subscribes",
        &["MQTT-3.8.4-4"],
        &["MQTT-3.8.4-5"],
        actions::many_filters,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "the_same_topic_filter_twice_in_subscribe_brings_retained_messages_twice",
        &["MQTT-3.8.4-3", "MQTT-3.8.4-4"],
        &["MQTT-3.8.4-4", "MQTT-3.8.4-5"],
        actions::same_filter_twice,
    )
    .needs(&[Feature::Retain, Feature::Qos1]),
    Case::both(
        "a_message_is_sent_at_the_lower_of_its_and_the_granted_qos",
        &["MQTT-3.8.4-6"],
        &["MQTT-3.8.4-8", "MQTT-3.8.4-7"],
        actions::lower_qos,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "a_retained_message_is_sent_at_the_lower_of_its_and_the_granted_qos",
        &["MQTT-3.8.4-6"],
        &["MQTT-3.8.4-8", "MQTT-3.3.1-9"],
        actions::lower_qos_retained,
    )
    .needs(&[Feature::Qos2, Feature::Retain]),
    Case::both("subscribing_again_replaces_the_subscription", &["MQTT-3.8.4-3"], &["MQTT-3.8.4-3"], actions::replaced)
        .needs(&[Feature::Qos2]),
    Case::both(
        "subscribing_again_sends_retained_messages_again",
        &["MQTT-3.8.4-3"],
        &["MQTT-3.8.4-4"],
        actions::retained_again,
    )
    .needs(&[Feature::Retain, Feature::Wildcards]),
    Case::both(
        "no_message_is_lost_while_a_subscription_is_replaced",
        &["MQTT-3.8.4-3"],
        &["MQTT-3.8.4-4"],
        actions::nothing_lost,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "messages_that_wait_in_the_session_outlive_a_replaced_subscription",
        &["MQTT-3.8.4-3"],
        &["MQTT-3.8.4-4"],
        actions::waiting_messages_kept,
    )
    .needs(&[Feature::Qos1]),
    Case::v5(
        "suback_keeps_to_the_maximum_packet_size",
        &["MQTT-3.9.2-1", "MQTT-3.9.2-2", "5.0/3.9.2.1.2/2"],
        actions::maximum_packet_size,
    ),
    Case::v3(
        "a_topic_filter_with_a_wildcard_is_granted_and_works_or_is_refused",
        &["MQTT-3.8.3-2", "3.1.1/3.8.3/1"],
        actions::wildcards_or_refusal,
    ),
];
