//! Shared Subscriptions.

mod delivery;
mod membership;
mod share;

use crate::case::{Case, Feature};
use crate::context::Context;
use crate::failure::Outcome;

const SHARED: &[Feature] = &[Feature::SharedSubscriptions];
const SHARED_QOS1: &[Feature] = &[Feature::SharedSubscriptions, Feature::Qos1];
const SHARED_QOS2: &[Feature] = &[Feature::SharedSubscriptions, Feature::Qos2];

pub(super) const CASES: &[Case] = &[
    Case::v5("a_shared_subscription_needs_a_share_name", &["MQTT-4.8.2-1"], no_share_name).needs(SHARED),
    Case::v5("a_share_name_has_no_wildcards", &["MQTT-4.8.2-2"], wildcard_in_share_name).needs(SHARED),
    Case::v5("a_share_name_is_followed_by_a_topic_filter", &["MQTT-4.8.2-2"], no_topic_filter).needs(SHARED),
    Case::v5(
        "each_message_goes_to_one_session_of_a_shared_subscription",
        &["MQTT-4.8.2-1"],
        membership::one_of_the_group,
    )
    .needs(SHARED_QOS1),
    Case::v5(
        "each_shared_subscription_gets_a_separate_copy",
        &["MQTT-4.8.2-1", "MQTT-4.8.2-2"],
        membership::a_copy_for_each,
    )
    .needs(&[Feature::SharedSubscriptions, Feature::Wildcards, Feature::Qos1]),
    Case::v5(
        "a_shared_and_a_non_shared_subscription_of_a_client_bring_a_copy_each",
        &["MQTT-4.8.2-1"],
        membership::shared_and_non_shared,
    )
    .needs(SHARED_QOS1),
    Case::v5(
        "a_shared_subscription_matches_like_its_topic_filter",
        &["MQTT-4.8.2-2"],
        membership::matches_as_its_filter,
    )
    .needs(&[Feature::SharedSubscriptions, Feature::Wildcards, Feature::Qos1]),
    Case::v5(
        "a_session_leaves_a_shared_subscription_on_its_first_unsubscribe",
        &["MQTT-4.8.2-1", "MQTT-3.10.4-1"],
        membership::leaves_on_first_unsubscribe,
    )
    .needs(SHARED_QOS1),
    Case::v5(
        "a_shared_subscription_survives_the_session_that_made_it",
        &["MQTT-4.8.2-1"],
        membership::survives_its_maker,
    )
    .needs(SHARED_QOS1),
    Case::v5("a_shared_subscription_brings_no_retained_messages", &["MQTT-4.8.2-1"], membership::no_retained_messages)
        .needs(&[Feature::SharedSubscriptions, Feature::Retain]),
    Case::v5(
        "a_message_of_a_shared_subscription_carries_its_identifier",
        &["MQTT-3.3.4-3"],
        membership::subscription_identifier,
    )
    .needs(&[Feature::SharedSubscriptions, Feature::SubscriptionIdentifiers]),
    Case::v5("a_shared_subscription_respects_the_granted_qos", &["MQTT-4.8.2-3"], delivery::granted_qos)
        .needs(SHARED_QOS2),
    Case::v5(
        "each_session_of_a_shared_subscription_has_its_granted_qos",
        &["MQTT-4.8.2-3"],
        delivery::granted_qos_of_each,
    )
    .needs(SHARED_QOS2),
    Case::v5(
        "a_qos2_message_of_a_shared_subscription_is_completed_with_the_client_that_it_went_to",
        &["MQTT-4.8.2-4"],
        delivery::qos2_completed,
    )
    .needs(SHARED_QOS2),
    Case::v5(
        "a_qos2_message_of_a_shared_subscription_ends_with_the_session_that_it_went_to",
        &["MQTT-4.8.2-5"],
        delivery::qos2_ends_with_the_session,
    )
    .needs(SHARED_QOS2),
    Case::v5(
        "a_refused_message_of_a_shared_subscription_is_not_sent_to_another_member",
        &["MQTT-4.8.2-6"],
        delivery::refused_message,
    )
    .needs(SHARED_QOS2)
    .seconds(20),
    Case::v5(
        "a_qos1_message_of_a_shared_subscription_outlives_the_connection_that_it_went_to",
        &["5.0/4.8.2/1", "5.0/4.8.2/3"],
        delivery::qos1_is_not_lost,
    )
    .needs(SHARED_QOS1),
    Case::v5(
        "a_qos1_message_of_a_shared_subscription_may_go_on_to_another_when_the_session_ends",
        &["5.0/4.8.2/2"],
        delivery::qos1_goes_on,
    )
    .needs(SHARED_QOS1),
];

fn no_share_name(cx: &mut Context) -> Outcome {
    for filter in ["$share/".to_owned(), "$share//".to_owned(), format!("$share//{}", cx.topic("a"))] {
        super::topics::expect_filter_refused(cx.client("a")?, filter)?;
    }
    Ok(())
}

fn wildcard_in_share_name(cx: &mut Context) -> Outcome {
    for name in ["+", "#", "a+", "+a", "a#", "#a", "a+b"] {
        let filter = format!("$share/{name}/{}", cx.topic("a"));
        super::topics::expect_filter_refused(cx.client("a")?, filter)?;
    }
    super::topics::expect_filter_refused(cx.client("a")?, "$share/#")?;
    super::topics::expect_filter_refused(cx.client("a")?, "$share/+")
}

fn no_topic_filter(cx: &mut Context) -> Outcome {
    for filter in ["$share/name", "$share/name/", "$share/name/a#", "$share/name/a+", "$share/name/#/a"] {
        super::topics::expect_filter_refused(cx.client("a")?, filter)?;
    }
    Ok(())
}
