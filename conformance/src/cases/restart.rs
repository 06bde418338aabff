//! State that survives a restart of the broker.

mod broker;
mod messages;
mod retained;
mod sessions;
mod wills;

use crate::case::{Case, Feature};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "an_acknowledged_message_and_its_session_survive_the_end_of_the_broker",
        &["MQTT-4.3.2-2", "MQTT-3.1.2-5", "MQTT-4.1.0-1"],
        &["MQTT-4.3.2-4", "MQTT-3.1.2-23"],
        messages::acknowledged,
    )
    .needs(&[Feature::Qos1, Feature::Restart])
    .seconds(60),
    Case::both(
        "waiting_messages_survive_the_end_of_the_broker_in_their_order",
        &["MQTT-4.1.0-1", "MQTT-3.1.2-5"],
        &["MQTT-3.1.2-23", "MQTT-3.1.2-5"],
        messages::waiting,
    )
    .needs(&[Feature::Restart, Feature::Qos2])
    .seconds(40),
    Case::both(
        "unacknowledged_messages_are_sent_again_after_a_restart_of_the_broker",
        &["MQTT-4.1.0-1", "MQTT-3.1.2-4"],
        &["MQTT-3.1.2-23", "MQTT-3.1.2-5"],
        messages::unacknowledged,
    )
    .needs(&[Feature::Restart, Feature::Qos2])
    .seconds(40),
    Case::both(
        "a_qos_2_message_is_delivered_once_although_the_broker_ends_before_pubrel",
        &["MQTT-4.1.0-1", "MQTT-3.1.2-4"],
        &["MQTT-3.1.2-23", "MQTT-3.1.2-5"],
        messages::received_at_qos_2,
    )
    .needs(&[Feature::Restart, Feature::Qos2])
    .seconds(40),
    Case::both(
        "pubrel_is_sent_again_after_a_restart_of_the_broker",
        &["MQTT-4.1.0-1", "MQTT-3.1.2-4"],
        &["MQTT-3.1.2-23", "MQTT-3.1.2-5"],
        messages::pubrel,
    )
    .needs(&[Feature::Restart, Feature::Qos2])
    .seconds(40),
    Case::v5(
        "the_properties_of_a_waiting_message_survive_the_end_of_the_broker",
        &["MQTT-3.1.2-23"],
        messages::properties,
    )
    .needs(&[Feature::Qos1, Feature::Restart])
    .seconds(40),
    Case::both(
        "sessions_and_subscriptions_survive_the_end_of_the_broker",
        &["MQTT-4.1.0-1", "MQTT-3.1.2-4", "MQTT-3.2.2-2"],
        &["MQTT-3.1.2-23", "MQTT-3.1.2-5", "MQTT-3.2.2-3"],
        sessions::subscriptions,
    )
    .needs(&[Feature::Qos1, Feature::Restart])
    .seconds(40),
    Case::v5(
        "subscription_options_and_identifiers_survive_the_end_of_the_broker",
        &["MQTT-3.1.2-23", "MQTT-3.1.2-5"],
        sessions::subscription_options,
    )
    .needs(&[Feature::Qos1, Feature::Restart, Feature::SubscriptionIdentifiers, Feature::Retain])
    .seconds(40),
    Case::both(
        "a_discarded_session_does_not_reappear_after_a_restart_of_the_broker",
        &["MQTT-3.1.2-6", "MQTT-3.2.2-3"],
        &["MQTT-3.1.2-4", "MQTT-4.1.0-2", "MQTT-3.2.2-3"],
        sessions::discarded,
    )
    .needs(&[Feature::Qos1, Feature::Restart])
    .seconds(40),
    Case::both(
        "a_clean_start_that_was_answered_holds_even_if_the_broker_is_killed_at_once",
        &["MQTT-3.1.2-6"],
        &["MQTT-3.1.2-4"],
        sessions::discarded_at_once,
    )
    .needs(&[Feature::Restart, Feature::Qos1, Feature::Retain])
    .seconds(40),
    Case::v5("a_session_expires_after_the_end_of_the_broker", &["MQTT-4.1.0-2"], sessions::expiry)
        .needs(&[Feature::Restart])
        .seconds(40),
    Case::both(
        "retained_messages_survive_the_end_of_the_broker",
        &["3.1.1/4.1/1", "MQTT-3.1.2-7"],
        &["MQTT-3.3.1-5"],
        retained::kept,
    )
    .needs(&[Feature::Qos1, Feature::Restart, Feature::Retain])
    .seconds(40),
    Case::both(
        "the_will_of_a_client_is_published_although_the_broker_ends",
        &["MQTT-3.1.2-8", "3.1.1/3.1.2.5/2"],
        &["MQTT-3.1.2-7", "MQTT-3.1.2-8", "5.0/3.1.2.5/2"],
        wills::connected,
    )
    .needs(&[Feature::Qos1, Feature::Restart])
    .seconds(40),
    Case::v5(
        "a_will_that_waits_for_its_delay_is_published_although_the_broker_ends",
        &["MQTT-3.1.2-7", "MQTT-3.1.2-8", "5.0/3.1.2.5/2"],
        wills::delayed,
    )
    .needs(&[Feature::Qos1, Feature::Restart])
    .seconds(40),
    Case::v5(
        "a_client_that_reconnects_within_the_will_delay_has_no_will_published_despite_a_restart",
        &["MQTT-3.1.3-9"],
        wills::back_in_time,
    )
    .needs(&[Feature::Qos1, Feature::Restart])
    .seconds(40),
    Case::both(
        "a_will_that_a_disconnect_has_removed_stays_removed_after_the_end_of_the_broker",
        &["MQTT-3.1.2-10"],
        &["MQTT-3.1.2-10"],
        wills::removed,
    )
    .needs(&[Feature::Qos1, Feature::Restart])
    .seconds(40),
];
