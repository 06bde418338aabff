//! The order of messages and of what is sent again, and the stream of bytes under it.

use crate::case::{Case, Feature};

mod messages;
mod resent;
mod stream;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "packets_arrive_in_order_and_complete_from_any_fragments",
        &["MQTT-4.6.0-6"],
        &["MQTT-4.2.0-1", "5.0/4.2/1"],
        stream::however_it_is_cut,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "the_messages_of_a_topic_arrive_in_the_order_in_which_they_were_published",
        &["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
        &["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
        messages::one_qos,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "messages_at_mixed_qos_arrive_in_order_at_each_qos",
        &["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
        &["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
        messages::mixed_qos,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "messages_of_different_sizes_keep_their_order",
        &["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
        &["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
        messages::different_sizes,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "the_messages_of_each_publisher_keep_their_order_among_those_of_others",
        &["MQTT-4.6.0-6"],
        &["MQTT-4.6.0-5"],
        messages::two_publishers,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "messages_for_a_disconnected_client_keep_their_order",
        &["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
        &["MQTT-4.6.0-5", "MQTT-4.6.0-6"],
        messages::while_away,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "retransmissions_keep_their_order_and_precede_new_messages",
        &["MQTT-4.6.0-6"],
        &["MQTT-4.6.0-5"],
        resent::publishes,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v3("pubrels_are_sent_in_the_order_of_the_pubrecs", &["MQTT-4.6.0-6"], resent::pubrels)
        .needs(&[Feature::Qos2]),
];
