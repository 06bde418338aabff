//! The Will Message and its properties.

mod delay;
mod message;
mod when;

use crate::case::{Case, Feature};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "the_will_is_published_when_the_connection_breaks",
        &["MQTT-3.1.2-8", "3.1.1/3.1.2.5/1"],
        &["MQTT-3.1.2-7", "MQTT-3.1.2-8", "5.0/3.1.2.5/1"],
        when::broken_connection,
    ),
    Case::both(
        "the_will_is_published_when_the_client_closes_without_disconnect",
        &["MQTT-3.1.2-8"],
        &["MQTT-3.1.2-8"],
        when::half_closed,
    ),
    Case::both(
        "the_will_is_published_when_the_broker_closes_because_of_an_error",
        &["MQTT-3.1.2-8"],
        &["MQTT-3.1.2-8"],
        when::protocol_error,
    ),
    Case::both(
        "the_will_is_published_when_the_session_is_taken_over",
        &["MQTT-3.1.2-8"],
        &["MQTT-3.1.2-8"],
        when::takeover,
    ),
    Case::v5(
        "the_will_is_published_after_a_disconnect_with_any_code_but_0",
        &["MQTT-3.1.2-8", "MQTT-3.1.2-10"],
        when::disconnect_with_code,
    ),
    Case::both(
        "a_normal_disconnect_removes_the_will",
        &["MQTT-3.1.2-8", "MQTT-3.1.2-10"],
        &["MQTT-3.1.2-8", "MQTT-3.1.2-10"],
        when::normal_disconnect,
    ),
    Case::both("a_will_is_published_once", &["MQTT-3.1.2-10"], &["MQTT-3.1.2-10"], when::once),
    Case::both(
        "a_connection_without_will_publishes_none_when_it_breaks",
        &["MQTT-3.1.2-12"],
        &["MQTT-3.1.2-10"],
        when::no_will,
    ),
    Case::both(
        "the_will_of_a_refused_connect_is_not_published",
        &["MQTT-3.1.2-8", "MQTT-3.1.4-5"],
        &["MQTT-3.1.2-7", "MQTT-3.1.4-6"],
        when::refused,
    ),
    Case::both(
        "the_will_has_its_topic_payload_and_qos",
        &["MQTT-3.1.2-9", "MQTT-3.1.2-14"],
        &["MQTT-3.1.2-9", "MQTT-3.1.2-12"],
        message::qos,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "a_will_with_will_retain_0_is_not_retained",
        &["MQTT-3.1.2-16"],
        &["MQTT-3.1.2-14"],
        message::not_retained,
    ),
    Case::both("a_will_with_will_retain_1_is_retained", &["MQTT-3.1.2-17"], &["MQTT-3.1.2-15"], message::retained)
        .needs(&[Feature::Retain]),
    Case::v5(
        "a_subscription_with_retain_as_published_sees_will_retain",
        &["MQTT-3.1.2-14", "MQTT-3.1.2-15"],
        message::retain_as_published,
    )
    .needs(&[Feature::Retain]),
    Case::both(
        "a_will_is_queued_for_a_disconnected_subscriber",
        &["MQTT-3.1.2-8", "MQTT-3.1.2-5"],
        &["MQTT-3.1.2-8"],
        message::queued,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "a_will_topic_that_is_no_topic_name_closes_the_connection",
        &["MQTT-3.1.4-1", "MQTT-4.7.1-1", "MQTT-4.7.3-1"],
        &["MQTT-3.1.4-1", "MQTT-4.7.1-1", "MQTT-4.7.3-1"],
        message::no_topic_name,
    ),
    Case::v5("the_will_has_its_properties", &["MQTT-3.1.2-9", "MQTT-3.1.3-10"], message::properties),
    Case::v5("the_user_properties_of_the_will_keep_their_order", &["MQTT-3.1.3-10"], message::user_properties),
    Case::v5(
        "a_will_property_given_twice_is_a_protocol_error",
        &[
            "5.0/3.1.3.2.2/1",
            "5.0/3.1.3.2.3/2",
            "5.0/3.1.3.2.4/1",
            "5.0/3.1.3.2.5/1",
            "5.0/3.1.3.2.6/1",
            "5.0/3.1.3.2.7/1",
        ],
        message::properties_twice,
    ),
    Case::v5(
        "a_will_with_an_invalid_payload_format_is_published_unchanged_or_refused",
        &["5.0/3.1.3.2.3/1", "5.0/3.1.3.2.3/3"],
        message::payload_format,
    ),
    Case::v5("the_will_waits_for_its_delay", &["MQTT-3.1.3-9", "MQTT-3.1.2-8"], delay::back_in_time).seconds(15),
    Case::v5("a_takeover_within_the_will_delay_publishes_no_will", &["MQTT-3.1.3-9"], delay::takeover).seconds(15),
    Case::v5(
        "the_will_is_published_at_the_end_of_the_session_if_its_delay_is_longer",
        &["MQTT-3.1.2-8", "5.0/3.1.2.5/1"],
        delay::session_ends_first,
    )
    .seconds(15),
    Case::v5(
        "a_normal_disconnect_removes_a_will_with_delay",
        &["MQTT-3.1.2-8", "MQTT-3.1.2-10"],
        delay::normal_disconnect,
    )
    .seconds(15),
    Case::v5(
        "a_will_delay_after_disconnect_with_will_message_is_respected",
        &["MQTT-3.1.2-8"],
        delay::disconnect_with_will,
    )
    .seconds(15),
];
