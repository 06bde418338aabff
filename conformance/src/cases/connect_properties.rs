//! The properties of CONNECT and what they ask of the broker.

mod limits;
mod reasons;
mod values;

use crate::case::{Case, Feature};

pub(super) const CASES: &[Case] = &[
    Case::v5(
        "a_connect_property_given_twice_is_a_protocol_error",
        &[
            "5.0/3.1.2.11.2/1",
            "5.0/3.1.2.11.3/1",
            "5.0/3.1.2.11.4/1",
            "5.0/3.1.2.11.5/1",
            "5.0/3.1.2.11.6/1",
            "5.0/3.1.2.11.7/1",
            "5.0/3.1.2.11.9/1",
            "5.0/3.1.2.11.10/2",
        ],
        values::twice,
    ),
    Case::v5(
        "a_connect_property_out_of_its_range_is_a_protocol_error",
        &["5.0/3.1.2.11.3/1", "5.0/3.1.2.11.4/1", "5.0/3.1.2.11.6/1", "5.0/3.1.2.11.7/1"],
        values::out_of_range,
    ),
    Case::v5(
        "connect_properties_at_the_ends_of_their_ranges_are_accepted",
        &["MQTT-3.1.4-5", "5.0/3.1.2.11.3/1", "5.0/3.1.2.11.4/1", "5.0/3.1.2.11.6/1", "5.0/3.1.2.11.7/1"],
        values::ends_of_ranges,
    ),
    Case::v5("user_properties_of_connect_may_repeat", &["MQTT-3.1.4-5"], values::user_properties),
    Case::v5(
        "authentication_data_without_authentication_method_is_a_protocol_error",
        &["5.0/3.1.2.11.10/1"],
        values::authentication_data_alone,
    ),
    Case::v5("a_property_that_connect_does_not_have_closes_the_connection", &["MQTT-3.1.4-1"], values::foreign),
    Case::v5("ill_formed_connect_properties_close_the_connection", &["MQTT-3.1.4-1"], values::ill_formed),
    Case::v5(
        "a_message_above_the_maximum_packet_size_is_dropped_and_later_ones_arrive",
        &["MQTT-3.1.2-24", "MQTT-3.1.2-25"],
        limits::large_messages,
    ),
    Case::v5(
        "a_dropped_message_does_not_count_against_the_receive_maximum",
        &["MQTT-3.1.2-25"],
        limits::large_messages_and_receive_maximum,
    )
    .needs(&[Feature::Qos1]),
    Case::v5(
        "the_maximum_packet_size_holds_for_retained_and_queued_messages",
        &["MQTT-3.1.2-24", "MQTT-3.1.2-25"],
        limits::large_retained_and_queued,
    )
    .needs(&[Feature::Qos1, Feature::Retain]),
    Case::v5(
        "no_acknowledgement_is_larger_than_the_maximum_packet_size",
        &["MQTT-3.1.2-24"],
        limits::large_acknowledgements,
    ),
    Case::v5(
        "connack_is_never_larger_than_the_maximum_packet_size",
        &["MQTT-3.1.2-24", "MQTT-3.2.2-19", "MQTT-3.2.2-20"],
        limits::large_connack,
    ),
    Case::v5("no_topic_alias_is_above_the_maximum_of_the_client", &["MQTT-3.1.2-26"], limits::topic_aliases),
    Case::v5("a_client_that_allows_no_topic_alias_gets_none", &["MQTT-3.1.2-27"], limits::no_topic_aliases),
    Case::v5(
        "response_information_is_sent_only_on_request",
        &["MQTT-3.1.2-28", "5.0/3.1.2.11.6/2"],
        limits::response_information,
    ),
    Case::v5(
        "without_problem_information_no_acknowledgement_has_a_reason_string_or_user_property",
        &["MQTT-3.1.2-29"],
        limits::no_problem_information,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "with_problem_information_an_acknowledgement_may_have_a_reason_string",
        &["5.0/3.1.2.11.7/3"],
        limits::problem_information,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "a_reason_string_that_does_not_fit_is_left_out_and_its_packet_is_sent",
        &["MQTT-3.2.2-19", "MQTT-3.7.2-2", "MQTT-3.14.2-3", "MQTT-4.3.3-11"],
        reasons::too_large,
    )
    .needs(&[Feature::Qos2]),
];
