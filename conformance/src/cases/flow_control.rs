//! Receive Maximum in both directions; 5.0 only.

use crate::case::{Case, Feature};

mod of_client;
mod of_server;

pub(super) const CASES: &[Case] = &[
    Case::v5(
        "no_more_messages_than_the_receive_maximum_are_in_flight",
        &["MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2"],
        of_client::never_more,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "queued_messages_respect_the_receive_maximum",
        &["MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2"],
        of_client::never_more_after_being_away,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "an_acknowledgement_that_refuses_frees_its_place",
        &["MQTT-3.3.4-9", "MQTT-4.9.0-2", "MQTT-4.4.0-2"],
        of_client::refusals_free_a_place,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "a_pubcomp_of_an_earlier_connection_does_not_raise_the_send_quota",
        &["MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2"],
        of_client::pubcomp_of_an_earlier_connection,
    )
    .needs(&[Feature::Qos2]),
    Case::v5(
        "each_connection_has_its_own_receive_maximum",
        &["MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.4.0-1"],
        of_client::each_connection_its_own,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "everything_but_publish_flows_while_the_receive_maximum_is_reached",
        &["MQTT-3.3.4-10", "MQTT-4.9.0-3"],
        of_client::everything_else_flows,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5("messages_at_qos_0_are_not_counted", &["5.0/4.9/1", "MQTT-3.3.4-9"], of_client::qos_0_is_not_counted)
        .needs(&[Feature::Qos1]),
    Case::v5(
        "a_client_may_have_as_many_messages_in_flight_as_the_server_allows",
        &["MQTT-3.3.4-7", "MQTT-4.9.0-3"],
        of_server::as_many_as_allowed,
    )
    .needs(&[Feature::Qos2])
    .seconds(20),
    Case::v5(
        "more_messages_in_flight_than_the_server_allows_end_the_connection",
        &["MQTT-3.3.4-7"],
        of_server::more_than_allowed,
    )
    .needs(&[Feature::Qos2])
    .seconds(20),
];
