//! CONNACK: its flags, codes and properties.

mod announced;
mod flags;

use crate::case::{Case, Feature};

pub(super) const CASES: &[Case] = &[
    Case::v5(
        "a_client_without_client_identifier_is_assigned_a_new_one",
        &["MQTT-3.2.2-16", "MQTT-3.1.3-6", "MQTT-3.1.3-7"],
        flags::assigned_client_identifier,
    ),
    Case::v3(
        "a_client_without_client_identifier_and_without_clean_session_is_refused",
        &["MQTT-3.1.3-8", "MQTT-3.1.3-9", "MQTT-3.2.2-5"],
        flags::no_client_identifier_and_no_clean_session,
    ),
    Case::both(
        "connack_precedes_queued_messages",
        &["MQTT-3.2.0-1"],
        &["MQTT-3.2.0-1", "MQTT-3.2.0-2"],
        flags::first_packet,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "a_valid_connect_is_answered_with_success",
        &["MQTT-3.1.4-4"],
        &["MQTT-3.1.4-5", "MQTT-3.2.2-8"],
        flags::success,
    ),
    Case::both(
        "the_acknowledge_flags_have_no_bit_but_session_present",
        &["3.1.1/3.2.2.1/1"],
        &["MQTT-3.2.2-1"],
        flags::reserved_bits,
    ),
    Case::both(
        "session_present_is_0_after_a_clean_start",
        &["MQTT-3.2.2-1"],
        &["MQTT-3.2.2-2"],
        flags::session_present_after_clean_start,
    ),
    Case::both(
        "session_present_is_1_exactly_if_there_is_a_session",
        &["MQTT-3.2.2-2", "MQTT-3.2.2-3"],
        &["MQTT-3.2.2-3"],
        flags::session_present,
    ),
    Case::both(
        "a_refusing_connack_has_session_present_0_and_ends_the_connection",
        &["MQTT-3.2.2-4", "MQTT-3.2.2-5"],
        &["MQTT-3.2.2-6", "MQTT-3.2.2-7", "MQTT-3.2.2-8"],
        flags::refused_with_session,
    ),
    Case::v5(
        "each_property_of_connack_occurs_once_and_within_its_range",
        &[
            "5.0/3.2.2.3.2/1",
            "5.0/3.2.2.3.3/1",
            "5.0/3.2.2.3.4/1",
            "5.0/3.2.2.3.5/1",
            "5.0/3.2.2.3.6/1",
            "5.0/3.2.2.3.7/1",
            "5.0/3.2.2.3.8/1",
            "5.0/3.2.2.3.9/2",
            "5.0/3.2.2.3.11/1",
            "5.0/3.2.2.3.12/1",
            "5.0/3.2.2.3.13/1",
            "5.0/3.2.2.3.14/1",
            "5.0/3.2.2.3.15/1",
            "5.0/3.2.2.3.16/1",
            "5.0/3.2.2.3.17/1",
            "5.0/3.2.2.3.18/1",
        ],
        announced::properties,
    ),
    Case::v5(
        "messages_up_to_the_announced_maximum_qos_are_taken_and_others_are_not",
        &["MQTT-3.2.2-9", "MQTT-3.2.2-11", "5.0/3.2.2.3.4/2"],
        announced::maximum_qos,
    ),
    Case::v5(
        "subscriptions_of_any_qos_are_accepted_regardless_of_the_maximum_qos",
        &["MQTT-3.2.2-10"],
        announced::subscriptions_of_any_qos,
    ),
    Case::v5("a_will_is_taken_up_to_the_announced_maximum_qos", &["MQTT-3.2.2-12"], announced::will_qos),
    Case::v5(
        "retained_messages_and_wills_are_taken_exactly_if_they_are_announced",
        &["MQTT-3.2.2-13", "MQTT-3.2.2-14", "5.0/3.2.2.3.5/2", "5.0/3.2.2.3.5/3"],
        announced::retain_available,
    ),
    Case::v5(
        "a_packet_up_to_the_announced_maximum_packet_size_is_taken_and_a_larger_one_is_not",
        &["MQTT-3.2.2-15", "5.0/3.2.2.3.6/2"],
        announced::maximum_packet_size,
    )
    .seconds(20),
    Case::v5(
        "topic_aliases_are_taken_up_to_the_announced_maximum",
        &["MQTT-3.2.2-17", "MQTT-3.2.2-18"],
        announced::topic_alias_maximum,
    ),
    Case::v5(
        "wildcards_are_taken_exactly_if_they_are_announced",
        &["5.0/3.2.2.3.11/2", "5.0/3.2.2.3.11/3"],
        announced::wildcards,
    ),
    Case::v5(
        "subscription_identifiers_are_taken_exactly_if_they_are_announced",
        &["5.0/3.2.2.3.12/2"],
        announced::subscription_identifiers,
    ),
    Case::v5(
        "shared_subscriptions_are_taken_exactly_if_they_are_announced",
        &["5.0/3.2.2.3.13/2"],
        announced::shared_subscriptions,
    ),
];
