//! PUBACK, PUBREC, PUBREL and PUBCOMP: their bytes, codes and properties.

use crate::case::{Case, Feature};

mod from_client;
mod from_server;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "wrong_flags_of_pubrel_close_the_connection",
        &["MQTT-3.6.1-1"],
        &["MQTT-3.6.1-1"],
        from_client::flags_of_pubrel,
    )
    .needs(&[Feature::Qos2]),
    Case::v5(
        "the_reason_code_is_success_if_the_message_matched_a_subscription",
        &["MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.7.2-1"],
        from_server::success,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "without_subscribers_the_reason_code_is_success_or_no_matching_subscribers",
        &["MQTT-3.4.2-1", "MQTT-3.5.2-1"],
        from_server::no_matching_subscribers,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "the_pubrel_of_the_server_has_the_reason_code_success",
        &["MQTT-3.6.2-1", "MQTT-4.3.3-4"],
        from_server::pubrel_success,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "a_pubrel_for_an_unknown_packet_identifier_is_answered_with_pubcomp",
        &["MQTT-4.3.3-2"],
        &["MQTT-4.3.3-11", "MQTT-3.7.2-1"],
        from_server::unknown_pubrel,
    )
    .needs(&[Feature::Qos2]),
    Case::v5(
        "a_pubrec_for_an_unknown_packet_identifier_is_answered_with_pubrel_if_at_all",
        &["MQTT-3.6.2-1"],
        from_server::unknown_pubrec,
    )
    .needs(&[Feature::Qos2]),
    Case::v5(
        "no_acknowledgement_is_made_larger_than_the_client_allows_by_its_properties",
        &[
            "MQTT-3.4.2-2",
            "MQTT-3.4.2-3",
            "MQTT-3.5.2-2",
            "MQTT-3.5.2-3",
            "MQTT-3.6.2-2",
            "MQTT-3.6.2-3",
            "MQTT-3.7.2-2",
            "MQTT-3.7.2-3",
        ],
        from_server::maximum_packet_size,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "an_acknowledgement_is_understood_in_each_of_its_lengths",
        &["MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.6.2-1", "MQTT-3.7.2-1"],
        from_client::lengths,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "a_reason_code_that_the_acknowledgement_may_not_have_closes_the_connection",
        &["MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.6.2-1", "MQTT-3.7.2-1"],
        from_client::wrong_reason_codes,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "every_reason_code_of_an_acknowledgement_is_accepted",
        &["MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.6.2-1", "MQTT-3.7.2-1"],
        from_client::right_reason_codes,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "a_reason_string_and_user_properties_change_nothing",
        &["5.0/3.5.2.2.2/1", "5.0/3.6.2.2.2/1", "5.0/3.7.2.2.2/1"],
        from_client::reason_strings,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "a_repeated_reason_string_is_a_protocol_error",
        &["5.0/3.4.2.2.2/1", "5.0/3.5.2.2.2/2", "5.0/3.6.2.2.2/2", "5.0/3.7.2.2.2/2"],
        from_client::reason_string_twice,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
];
