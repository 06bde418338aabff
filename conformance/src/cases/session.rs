//! Sessions: their state, their lifetime, and resuming them.

mod in_flight;
mod life;
mod resumed;

use crate::case::{Case, Feature};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "a_clean_start_discards_subscriptions_and_waiting_messages",
        &["MQTT-3.1.2-6", "MQTT-3.1.4-3"],
        &["MQTT-3.1.2-4", "MQTT-3.1.4-4"],
        life::clean_start,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "a_clean_start_discards_messages_in_flight",
        &["MQTT-3.1.2-6"],
        &["MQTT-3.1.2-4"],
        life::clean_start_and_in_flight,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v3(
        "nothing_of_a_clean_session_is_found_by_the_next",
        &["MQTT-3.1.2-6", "MQTT-3.2.2-3"],
        life::nothing_of_a_clean_session,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "a_session_is_made_where_there_is_none",
        &["MQTT-3.1.2-4", "MQTT-3.2.2-3"],
        &["MQTT-3.1.2-6", "MQTT-3.2.2-3"],
        life::made,
    ),
    Case::v3("retained_messages_outlive_the_session", &["MQTT-3.1.2-7", "3.1.1/4.1/1"], life::retained_messages)
        .needs(&[Feature::Retain]),
    Case::both(
        "a_session_lasts_while_its_connection_is_open",
        &["MQTT-4.1.0-2", "MQTT-3.1.2-6"],
        &["MQTT-4.1.0-1"],
        life::open_connection,
    )
    .needs(&[Feature::Qos1])
    .seconds(15),
    Case::v5(
        "a_session_without_expiry_interval_ends_with_its_connection",
        &["MQTT-4.1.0-2", "MQTT-3.2.2-3"],
        life::no_expiry,
    )
    .needs(&[Feature::Qos1]),
    Case::v5("a_session_ends_when_its_expiry_interval_has_passed", &["MQTT-4.1.0-2"], life::expiry)
        .needs(&[Feature::Qos1])
        .seconds(20),
    Case::v5("a_session_is_kept_until_its_expiry_interval_has_passed", &["MQTT-3.1.2-23"], life::kept)
        .needs(&[Feature::Qos1])
        .seconds(20),
    Case::v5("the_expiry_interval_of_the_last_connect_holds", &["MQTT-3.1.2-23", "MQTT-4.1.0-2"], life::last_expiry)
        .seconds(15),
    Case::both(
        "subscriptions_are_kept_with_the_session",
        &["MQTT-3.1.2-4", "MQTT-4.1.0-1"],
        &["MQTT-3.1.2-5", "MQTT-3.1.2-23"],
        resumed::subscriptions,
    )
    .needs(&[Feature::Qos1]),
    Case::v5(
        "subscription_options_and_identifiers_are_kept_with_the_session",
        &["MQTT-3.1.2-5", "MQTT-3.1.2-23"],
        resumed::subscription_options,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "messages_for_a_disconnected_client_are_queued_in_order",
        &["MQTT-3.1.2-5", "MQTT-4.1.0-1"],
        &["MQTT-3.1.2-5", "MQTT-3.1.2-23"],
        resumed::waiting_messages,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "qos_0_messages_for_a_disconnected_client_are_queued_or_dropped",
        &["3.1.1/3.1.2.4/1"],
        &["MQTT-3.1.2-5"],
        resumed::qos_0_messages,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "a_session_is_resumed_by_a_takeover",
        &["MQTT-3.1.2-4", "MQTT-3.1.4-3"],
        &["MQTT-3.1.2-5", "MQTT-3.1.4-4"],
        resumed::takeover,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "an_acknowledged_message_is_not_sent_again_in_the_session",
        &["MQTT-3.1.2-4"],
        &["MQTT-3.1.2-5"],
        resumed::acknowledged_messages,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "unacknowledged_messages_are_sent_again_with_their_packet_identifiers_and_dup",
        &["MQTT-3.1.2-4", "MQTT-4.1.0-1"],
        &["MQTT-3.1.2-5", "MQTT-3.1.2-23"],
        in_flight::unacknowledged,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "pubrel_is_sent_again_after_pubrec",
        &["MQTT-3.1.2-4", "MQTT-4.1.0-1"],
        &["MQTT-3.1.2-5", "MQTT-3.1.2-23"],
        in_flight::pubrel,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "a_qos_2_message_received_before_the_break_is_not_delivered_again",
        &["MQTT-3.1.2-4", "MQTT-4.1.0-1"],
        &["MQTT-3.1.2-5", "MQTT-3.1.2-23"],
        in_flight::received,
    )
    .needs(&[Feature::Qos2]),
];
