//! CONNECT: its header, flags and payload, and what the broker does on it.

mod actions;
mod flags;
mod header;
mod identifiers;
mod keep_alive;
mod payload;
mod refusal;

use crate::case::{Case, Feature};

pub(super) use refusal::{bytes_until_close, expect_refused};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "a_first_packet_other_than_connect_closes_the_connection",
        &["MQTT-3.1.0-1"],
        &["MQTT-3.1.0-1"],
        header::another_first_packet,
    ),
    Case::both("a_second_connect_closes_the_connection", &["MQTT-3.1.0-2"], &["MQTT-3.1.0-2"], header::second_connect),
    Case::both(
        "a_second_connect_causes_the_will_to_be_published",
        &["MQTT-3.1.0-2", "MQTT-3.1.2-8"],
        &["MQTT-3.1.0-2", "MQTT-3.1.2-8"],
        header::second_connect_and_will,
    ),
    Case::both(
        "reserved_flags_in_the_fixed_header_of_connect_close_the_connection",
        &["MQTT-3.1.4-1"],
        &["MQTT-3.1.4-1"],
        header::fixed_header_flags,
    ),
    Case::both("another_protocol_name_is_not_accepted", &["MQTT-3.1.2-1"], &["MQTT-3.1.2-1"], header::protocol_name),
    Case::v3(
        "an_unsupported_protocol_level_is_answered_with_return_code_1",
        &["MQTT-3.1.2-2", "MQTT-3.2.2-5"],
        header::protocol_level,
    ),
    Case::v5("an_unsupported_protocol_version_closes_the_connection", &["MQTT-3.1.2-2"], header::protocol_version),
    Case::both(
        "an_older_client_on_the_same_port_is_served_in_its_version_or_refused",
        &["3.1.1/3.1.4/1"],
        &["5.0/3.1.4/1"],
        header::older_client,
    ),
    Case::both(
        "the_reserved_connect_flag_closes_the_connection",
        &["MQTT-3.1.2-3", "MQTT-3.1.4-1"],
        &["MQTT-3.1.2-3", "5.0/3.1.2.3/1", "MQTT-3.1.4-1"],
        flags::reserved,
    ),
    Case::both(
        "will_qos_and_will_retain_without_will_flag_close_the_connection",
        &["MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-15"],
        &["MQTT-3.1.2-11", "MQTT-3.1.2-13"],
        flags::will_bits_without_will,
    ),
    Case::both(
        "will_qos_3_closes_the_connection",
        &["MQTT-3.1.2-14"],
        &["MQTT-3.1.2-12", "5.0/3.1.2.6/1"],
        flags::will_qos_3,
    ),
    Case::v3("a_password_without_user_name_closes_the_connection", &["MQTT-3.1.2-22"], flags::password_alone_v3),
    Case::v5("a_password_without_user_name_is_well_formed", &["MQTT-3.1.2-19"], flags::password_alone_v5),
    Case::both(
        "a_field_whose_flag_is_0_closes_the_connection",
        &["MQTT-3.1.2-11", "MQTT-3.1.2-18", "MQTT-3.1.2-20"],
        &["MQTT-3.1.2-16", "MQTT-3.1.2-18"],
        flags::field_without_flag,
    ),
    Case::both(
        "a_missing_field_whose_flag_is_1_closes_the_connection",
        &["MQTT-3.1.2-9", "MQTT-3.1.2-19", "MQTT-3.1.2-21"],
        &["MQTT-3.1.2-9", "MQTT-3.1.2-17", "MQTT-3.1.2-19"],
        flags::flag_without_field,
    ),
    Case::both(
        "a_connect_that_breaks_off_anywhere_closes_the_connection",
        &["MQTT-3.1.4-1", "MQTT-3.1.3-3", "MQTT-3.2.2-6"],
        &["MQTT-3.1.4-1", "MQTT-3.1.3-3", "5.0/3.1.4/3"],
        payload::broken_off,
    ),
    Case::both(
        "bytes_after_the_last_field_of_connect_close_the_connection",
        &["MQTT-3.1.4-1"],
        &["MQTT-3.1.4-1"],
        payload::trailing_bytes,
    ),
    Case::both(
        "the_fields_of_connect_are_taken_in_the_order_of_the_standard",
        &["MQTT-3.1.3-1"],
        &["MQTT-3.1.3-1"],
        payload::order_of_fields,
    )
    .needs(&[Feature::Qos1]),
    Case::v5("will_properties_after_the_will_payload_close_the_connection", &["MQTT-3.1.3-1"], payload::wrong_order),
    Case::both(
        "an_ill_formed_client_identifier_closes_the_connection",
        &["MQTT-3.1.3-4"],
        &["MQTT-3.1.3-4"],
        payload::ill_formed_client_id,
    ),
    Case::both(
        "an_ill_formed_will_topic_closes_the_connection",
        &["MQTT-3.1.3-10"],
        &["MQTT-3.1.3-11"],
        payload::ill_formed_will_topic,
    ),
    Case::both(
        "an_ill_formed_user_name_closes_the_connection",
        &["MQTT-3.1.3-11"],
        &["MQTT-3.1.3-12"],
        payload::ill_formed_user_name,
    ),
    Case::both(
        "a_password_of_any_bytes_is_well_formed",
        &["MQTT-3.1.2-21"],
        &["MQTT-3.1.2-19"],
        payload::password_of_any_bytes,
    ),
    Case::both(
        "a_client_identifier_of_1_to_23_letters_and_digits_is_accepted",
        &["MQTT-3.1.3-5"],
        &["MQTT-3.1.3-5"],
        identifiers::letters_and_digits,
    ),
    Case::both(
        "a_longer_client_identifier_is_used_unchanged_or_refused",
        &["3.1.1/3.1.3.1/1", "MQTT-3.1.3-9"],
        &["5.0/3.1.3.1/1", "MQTT-3.1.3-8"],
        identifiers::longer,
    ),
    Case::both(
        "a_client_identifier_of_other_characters_is_used_unchanged_or_refused",
        &["3.1.1/3.1.3.1/2", "MQTT-3.1.3-9"],
        &["5.0/3.1.3.1/2", "MQTT-3.1.3-8"],
        identifiers::other_characters,
    ),
    Case::both(
        "a_session_belongs_to_exactly_one_client_identifier",
        &["MQTT-3.1.3-2"],
        &["MQTT-3.1.3-2"],
        identifiers::name_the_session,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "clients_without_client_identifier_are_different_clients",
        &["MQTT-3.1.3-6"],
        &["MQTT-3.1.3-6"],
        identifiers::none_given,
    ),
    Case::v3(
        "a_client_without_client_identifier_has_to_ask_for_clean_session",
        &["MQTT-3.1.3-7", "MQTT-3.1.3-8"],
        identifiers::none_given_without_clean_session,
    ),
    Case::v5("an_assigned_client_identifier_names_a_session", &["MQTT-3.1.3-7"], identifiers::assigned)
        .needs(&[Feature::Qos1]),
    Case::both(
        "a_client_silent_for_one_and_a_half_keep_alives_is_disconnected_and_its_will_published",
        &["MQTT-3.1.2-24", "MQTT-3.1.2-8"],
        &["MQTT-3.1.2-22", "MQTT-3.2.2-22", "MQTT-3.1.2-8"],
        keep_alive::silence,
    )
    .seconds(15),
    Case::both(
        "any_packet_within_the_keep_alive_keeps_the_connection",
        &["MQTT-3.1.2-24"],
        &["MQTT-3.1.2-22"],
        keep_alive::any_packet,
    )
    // The case sends seven packets, each one Keep Alive after the other, which the broker may set to 5 seconds.
    .seconds(45),
    Case::both(
        "an_incomplete_packet_does_not_keep_the_connection_open",
        &["MQTT-3.1.2-24"],
        &["MQTT-3.1.2-22"],
        keep_alive::bytes_of_a_packet,
    )
    .seconds(15),
    Case::v5("keep_alive_0_cuts_no_one_off", &["MQTT-3.2.2-22"], keep_alive::zero).seconds(15),
    Case::both(
        "a_client_that_connects_again_takes_over_from_its_older_connection",
        &["MQTT-3.1.4-2"],
        &["MQTT-3.1.4-3"],
        actions::takeover,
    ),
    Case::both(
        "packets_after_a_refused_connect_have_no_effect",
        &["MQTT-3.1.4-5"],
        &["MQTT-3.1.4-6", "MQTT-3.1.2-30"],
        actions::after_refusal,
    ),
    Case::both(
        "packets_sent_before_connack_are_handled_after_it",
        &["MQTT-3.1.4-4", "MQTT-3.2.0-1"],
        &["MQTT-3.1.4-5", "MQTT-3.2.0-1"],
        actions::before_connack,
    ),
    Case::both(
        "a_connection_without_connect_is_closed_after_a_while",
        &["3.1.1/3.1.4/2"],
        &["5.0/3.1.4/2"],
        actions::no_connect,
    )
    .seconds(40),
    Case::both(
        "an_unusual_connect_is_accepted_or_refused_and_then_closed",
        &["3.1.1/3.1.4/3", "3.1.1/3.1.4/4", "3.1.1/3.2.2.3/1"],
        &["MQTT-3.1.4-2", "5.0/3.1.4/4", "5.0/3.2.2.2/1"],
        actions::unusual,
    ),
];
