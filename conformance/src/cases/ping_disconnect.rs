//! PINGREQ and PINGRESP, Keep Alive, and DISCONNECT; the end of connections on errors in 3.1.1; plain connections.

mod by_the_client;
mod by_the_server;
mod malformed;
mod plain;
mod session_expiry;

use crate::case::{Case, Feature};

pub(super) const CASES: &[Case] = &[
    Case::both("each_pingreq_is_answered_with_pingresp", &["MQTT-3.12.4-1"], &["MQTT-3.12.4-1"], plain::ping),
    Case::both(
        "the_will_is_discarded_on_a_normal_disconnect",
        &["MQTT-3.14.4-3", "MQTT-3.1.2-10"],
        &["MQTT-3.14.4-3", "MQTT-3.1.2-10"],
        by_the_client::will_discarded,
    ),
    Case::v5(
        "the_will_is_published_on_a_disconnect_with_will_message",
        &["MQTT-3.1.2-8"],
        by_the_client::will_asked_for,
    ),
    Case::v5(
        "the_will_is_published_on_a_disconnect_because_of_an_error",
        &["MQTT-3.1.2-8", "MQTT-3.14.2-1"],
        by_the_client::will_published,
    ),
    Case::v5(
        "a_disconnect_with_a_reason_code_that_no_client_may_send_is_no_normal_one",
        &["MQTT-3.14.2-1"],
        by_the_client::wrong_reason_code,
    ),
    Case::both(
        "the_connection_is_closed_after_a_disconnect_of_the_client",
        &["3.1.1/3.14.4/1"],
        &["5.0/3.14.4/1"],
        by_the_client::connection_closed,
    ),
    Case::both(
        "packets_after_a_disconnect_get_no_response",
        &["3.1.1/3.14.4/1"],
        &["5.0/3.14.4/1"],
        by_the_client::nothing_behind,
    ),
    Case::v5("the_reason_string_of_a_disconnect_changes_nothing", &["5.0/3.14.2.2.3/1"], by_the_client::reason_string),
    Case::both(
        "a_disconnect_with_reserved_flags_is_no_disconnect",
        &["MQTT-3.14.1-1"],
        &["MQTT-3.14.1-1"],
        malformed::reserved_flags,
    ),
    Case::v5(
        "a_property_twice_in_disconnect_is_a_protocol_error",
        &["5.0/3.14.2.2.2/1", "5.0/3.14.2.2.3/2", "5.0/3.14.2.2.5/1"],
        malformed::property_twice,
    ),
    Case::v5(
        "a_disconnect_that_gives_a_session_a_life_that_connect_did_not_is_a_protocol_error",
        &["5.0/3.14.2.2.2/2", "5.0/3.14.2.2.2/3"],
        session_expiry::not_from_zero,
    ),
    Case::v5(
        "the_session_expiry_interval_of_disconnect_takes_the_place_of_that_of_connect",
        &["MQTT-3.1.2-23", "5.0/3.14.2.2.2/2"],
        session_expiry::replaced,
    ),
    Case::v5(
        "no_disconnect_is_sent_before_a_successful_connack",
        &["MQTT-3.14.0-1"],
        by_the_server::none_before_connack,
    ),
    Case::v5(
        "a_disconnect_of_the_server_has_a_reason_and_ends_the_connection",
        &["MQTT-3.14.2-1", "MQTT-3.14.2-2", "MQTT-3.14.4-1", "MQTT-3.14.4-2", "5.0/3.14/1"],
        by_the_server::reasons,
    ),
    Case::v5(
        "a_disconnect_of_the_server_keeps_to_the_maximum_packet_size",
        &["MQTT-3.14.2-3", "MQTT-3.14.2-4"],
        by_the_server::maximum_packet_size,
    ),
    Case::v5(
        "nothing_is_sent_after_a_disconnect_of_the_server",
        &["MQTT-3.14.4-1", "MQTT-3.14.4-2", "MQTT-3.1.4-3"],
        by_the_server::nothing_after,
    ),
    Case::v3("a_protocol_violation_ends_only_its_own_connection", &["MQTT-4.8.0-1"], malformed::protocol_violations),
    Case::v3("plain_mqtt_suffices_to_exchange_messages", &["MQTT-7.0.0-2"], plain::no_extensions)
        .needs(&[Feature::Qos2]),
    Case::v3("packets_may_be_fragmented_and_combined", &["MQTT-7.1.1-1"], plain::stream_of_bytes),
];
