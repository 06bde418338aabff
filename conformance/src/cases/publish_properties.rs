//! The properties of PUBLISH.

use crate::case::{Case, Feature};

mod alias;
mod expiry;
mod forwarding;
mod malformed;

pub(super) const CASES: &[Case] = &[
    Case::v5(
        "the_payload_format_indicator_arrives_unaltered",
        &["MQTT-3.3.2-4", "5.0/3.3.2.3.2/1"],
        forwarding::payload_format_indicator,
    )
    .needs(&[Feature::Qos1, Feature::Qos2, Feature::Retain]),
    Case::v5("the_response_topic_arrives_unaltered", &["MQTT-3.3.2-15", "MQTT-3.3.2-13"], forwarding::response_topic)
        .needs(&[Feature::Qos1, Feature::Qos2, Feature::Retain]),
    Case::v5("the_correlation_data_arrive_unaltered", &["MQTT-3.3.2-16"], forwarding::correlation_data).needs(&[
        Feature::Qos1,
        Feature::Qos2,
        Feature::Retain,
    ]),
    Case::v5("the_content_type_arrives_unaltered", &["MQTT-3.3.2-20", "MQTT-3.3.2-19"], forwarding::content_type)
        .needs(&[Feature::Qos1, Feature::Qos2, Feature::Retain]),
    Case::v5(
        "all_user_properties_arrive_unaltered_and_in_order",
        &["MQTT-3.3.2-17", "MQTT-3.3.2-18"],
        forwarding::user_properties,
    )
    .needs(&[Feature::Qos1, Feature::Qos2, Feature::Retain]),
    Case::v5(
        "all_properties_of_a_message_arrive_together",
        &["MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-20"],
        forwarding::all_together,
    )
    .needs(&[Feature::Qos1, Feature::Qos2, Feature::Retain]),
    Case::v5(
        "a_payload_that_is_not_as_indicated_is_refused_or_delivered_unaltered",
        &["5.0/3.3.2.3.2/1", "5.0/3.3.2.3.2/2"],
        malformed::payload_format,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "an_expired_message_does_not_reach_a_client_that_reconnects",
        &["MQTT-3.3.2-5"],
        expiry::expired_while_away,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5("an_expired_retained_message_is_not_sent", &["MQTT-3.3.2-5"], expiry::expired_retained)
        .needs(&[Feature::Qos1, Feature::Retain]),
    Case::v5(
        "a_message_that_expires_while_it_waits_for_acknowledgements_is_not_sent",
        &["MQTT-3.3.2-5"],
        expiry::expired_behind_others,
    )
    .needs(&[Feature::Qos1]),
    Case::v5(
        "the_message_expiry_interval_is_reduced_by_the_time_spent_waiting",
        &["MQTT-3.3.2-6"],
        expiry::reduced_by_waiting,
    )
    .needs(&[Feature::Qos1, Feature::Retain]),
    Case::v5(
        "a_message_that_does_not_wait_keeps_its_message_expiry_interval",
        &["MQTT-3.3.2-6"],
        expiry::kept_without_waiting,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "a_topic_alias_stands_for_the_topic_that_it_was_last_set_to",
        &["MQTT-3.3.2-12"],
        alias::set_used_and_changed,
    )
    .needs(&[Feature::TopicAliases, Feature::Qos1, Feature::Qos2]),
    Case::v5("every_topic_alias_up_to_the_maximum_is_accepted", &["MQTT-3.3.2-12"], alias::all_values)
        .needs(&[Feature::TopicAliases]),
    Case::v5(
        "a_message_by_topic_alias_is_retained_under_its_topic",
        &["MQTT-3.3.2-12", "MQTT-3.3.1-5"],
        alias::retained_by_alias,
    )
    .needs(&[Feature::TopicAliases, Feature::Retain, Feature::Qos1]),
    Case::v5(
        "a_topic_alias_ends_with_its_connection",
        &["MQTT-3.3.2-7", "5.0/3.3.4/4"],
        alias::ends_with_its_connection,
    )
    .needs(&[Feature::TopicAliases]),
    Case::v5("the_topic_alias_0_is_invalid", &["MQTT-3.3.2-8", "5.0/3.3.4/3"], alias::zero),
    Case::v5("a_topic_alias_above_the_maximum_is_invalid", &["MQTT-3.3.2-9", "5.0/3.3.4/3"], alias::above_the_maximum),
    Case::v5("a_topic_alias_that_was_not_set_is_a_protocol_error", &["5.0/3.3.4/4"], alias::not_set)
        .needs(&[Feature::TopicAliases]),
    Case::v5(
        "the_server_sends_only_topic_aliases_that_the_client_allows_and_knows",
        &["MQTT-3.3.2-11", "MQTT-3.3.2-7", "MQTT-3.3.2-8"],
        alias::of_the_server,
    )
    .needs(&[Feature::Qos1]),
    Case::v5(
        "the_topic_aliases_of_client_and_server_are_independent",
        &["MQTT-3.3.2-12"],
        alias::independent_directions,
    )
    .needs(&[Feature::TopicAliases]),
    Case::v5(
        "a_repeated_property_of_publish_is_a_protocol_error",
        &["5.0/3.3.2.3.4/1", "5.0/3.3.2.3.5/1", "5.0/3.3.2.3.6/1", "5.0/3.3.2.3.9/1"],
        malformed::twice,
    ),
    Case::v5(
        "a_response_topic_with_wildcards_closes_the_connection",
        &["MQTT-3.3.2-14"],
        malformed::wildcards_in_response_topic,
    ),
    Case::v5(
        "a_response_topic_or_content_type_that_is_not_utf8_is_malformed",
        &["MQTT-3.3.2-13", "MQTT-3.3.2-19"],
        malformed::ill_formed_strings,
    ),
];
