//! PUBLISH: its header, topic and payload, and its receivers.

use crate::case::{Case, Feature};

mod delivery;
mod header;
mod subscriptions;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "both_qos_bits_close_the_connection",
        &["MQTT-3.3.1-4"],
        &["MQTT-3.3.1-4", "5.0/3.3.1.2/1", "5.0/3.3.1.2/2"],
        header::both_qos_bits,
    ),
    Case::both("dup_at_qos_0_closes_the_connection", &["MQTT-3.3.1-2"], &["MQTT-3.3.1-2"], header::dup_at_qos_0),
    Case::both(
        "the_dup_flag_of_a_publisher_is_not_passed_on",
        &["MQTT-3.3.1-2", "MQTT-3.3.1-3", "MQTT-4.3.1-1", "MQTT-4.3.2-1", "MQTT-4.3.3-1"],
        &["MQTT-3.3.1-2", "MQTT-3.3.1-3", "MQTT-4.3.1-1", "MQTT-4.3.2-2", "MQTT-4.3.3-2"],
        header::dup_is_not_passed_on,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "a_publish_that_ends_in_its_topic_name_closes_the_connection",
        &["MQTT-3.3.2-1"],
        &["MQTT-3.3.2-1"],
        header::cut_topic_name,
    ),
    Case::both(
        "a_publish_whose_topic_name_is_not_utf8_closes_the_connection_at_every_qos",
        &["MQTT-3.3.2-1"],
        &["MQTT-3.3.2-1"],
        header::ill_formed_topic_name,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "a_wildcard_in_a_topic_name_closes_the_connection",
        &["MQTT-3.3.2-2"],
        &["MQTT-3.3.2-2"],
        header::wildcards,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "an_empty_topic_name_without_topic_alias_is_a_protocol_error",
        &["5.0/3.3.2.1/1"],
        header::empty_topic_name,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "the_packet_identifier_0_closes_the_connection",
        &["MQTT-2.3.1-1"],
        &["MQTT-2.2.1-3"],
        header::packet_identifier_0,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "a_publish_that_ends_before_its_packet_identifier_closes_the_connection",
        &["MQTT-2.3.1-1"],
        &["MQTT-2.2.1-3"],
        header::no_packet_identifier,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "a_publish_is_acknowledged_according_to_its_qos",
        &["MQTT-3.3.4-1"],
        &["MQTT-3.3.4-1"],
        delivery::answer_by_qos,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "every_answer_has_the_packet_identifier_that_it_answers",
        &["MQTT-2.3.1-6", "MQTT-2.3.1-7", "MQTT-4.3.2-2", "MQTT-4.3.3-2"],
        &["MQTT-2.2.1-5", "MQTT-2.2.1-6", "MQTT-4.3.2-4", "MQTT-4.3.3-8", "MQTT-4.3.3-11"],
        delivery::packet_identifiers_of_answers,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "a_payload_of_any_size_and_content_arrives_unchanged",
        &["MQTT-4.5.0-1"],
        &["MQTT-4.5.0-1"],
        delivery::payloads,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "a_message_goes_to_every_session_with_a_matching_subscription",
        &["MQTT-4.5.0-1"],
        &["MQTT-4.5.0-1"],
        delivery::every_session,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "a_message_goes_between_clients_of_both_versions",
        &["MQTT-4.5.0-1"],
        &["MQTT-4.5.0-1"],
        delivery::both_versions,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "only_messages_whose_topic_matches_the_filter_arrive",
        &["MQTT-3.3.2-3"],
        &["MQTT-3.3.2-3"],
        delivery::matching_topics,
    )
    .needs(&[Feature::Wildcards]),
    Case::v3(
        "a_publish_to_any_topic_is_acknowledged_or_ends_the_connection",
        &["MQTT-3.3.5-2"],
        delivery::acknowledged_or_closed,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "overlapping_subscriptions_deliver_at_the_highest_of_their_qos",
        &["MQTT-3.3.5-1", "3.1.1/3.3.5/1"],
        &["MQTT-3.3.4-2", "5.0/3.3.4/1"],
        subscriptions::overlapping,
    )
    .needs(&[Feature::Qos1, Feature::Qos2, Feature::Wildcards]),
    Case::v5(
        "a_message_carries_the_identifiers_of_all_matching_subscriptions_and_no_others",
        &["MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5", "5.0/3.3.4/2"],
        subscriptions::identifiers_of_all,
    )
    .needs(&[Feature::SubscriptionIdentifiers, Feature::Wildcards]),
    Case::v5(
        "a_subscription_identifier_that_two_subscriptions_share_is_sent",
        &["MQTT-3.3.4-3", "MQTT-3.3.4-4", "MQTT-3.3.4-5"],
        subscriptions::shared_identifier,
    )
    .needs(&[Feature::SubscriptionIdentifiers, Feature::Wildcards]),
    Case::v5(
        "a_subscription_identifier_of_any_length_is_returned_unchanged",
        &["MQTT-3.3.4-3", "MQTT-3.3.4-4", "5.0/3.3.2.3.8/1"],
        subscriptions::identifiers_of_all_lengths,
    )
    .needs(&[Feature::SubscriptionIdentifiers]),
    Case::v5(
        "a_new_subscribe_to_the_same_filter_changes_the_subscription_identifier",
        &["MQTT-3.3.4-3", "5.0/3.3.4/2"],
        subscriptions::changed_identifier,
    )
    .needs(&[Feature::SubscriptionIdentifiers]),
    Case::v5(
        "a_retained_message_carries_the_subscription_identifier",
        &["MQTT-3.3.4-3", "5.0/3.3.4/2"],
        subscriptions::identifier_of_retained,
    )
    .needs(&[Feature::SubscriptionIdentifiers, Feature::Retain]),
    Case::v5(
        "a_publish_from_a_client_with_a_subscription_identifier_is_refused",
        &["MQTT-3.3.4-6", "5.0/3.3.2.3.8/1"],
        subscriptions::identifier_from_a_client,
    ),
];
