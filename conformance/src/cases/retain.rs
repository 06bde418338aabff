//! Retained messages.

use crate::case::{Case, Feature};
use crate::context::Context;
use crate::failure::{Outcome, check_equal};
use crate::wire::Publish;

mod flag;
mod handling;
mod stored;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "a_new_subscriber_gets_the_last_retained_message_with_retain_1",
        &["MQTT-3.3.1-6", "MQTT-3.3.1-8"],
        &["MQTT-3.3.1-5", "MQTT-3.3.1-9"],
        last_retained_message,
    )
    .needs(&[Feature::Retain]),
    Case::both(
        "an_empty_retained_message_removes_the_retained_message",
        &["MQTT-3.3.1-10", "MQTT-3.3.1-11"],
        &["MQTT-3.3.1-6", "MQTT-3.3.1-7"],
        empty_retained_message,
    )
    .needs(&[Feature::Retain]),
    Case::both(
        "a_retained_message_keeps_its_qos_after_its_publisher_has_disconnected",
        &["MQTT-3.3.1-5", "MQTT-3.3.1-6"],
        &["MQTT-3.3.1-5", "MQTT-3.3.1-9"],
        stored::with_its_qos,
    )
    .needs(&[Feature::Retain, Feature::Qos1, Feature::Qos2]),
    Case::both(
        "a_retained_message_at_qos_0_replaces_the_one_before",
        &["MQTT-3.3.1-7"],
        &["MQTT-3.3.1-5", "5.0/3.3.1.3/1"],
        stored::qos_0_replaces,
    )
    .needs(&[Feature::Retain, Feature::Qos1]),
    Case::both(
        "each_matching_topic_has_a_retained_message_of_its_own",
        &["MQTT-3.3.1-6", "MQTT-3.3.1-8"],
        &["MQTT-3.3.1-5", "MQTT-3.3.1-9"],
        stored::every_topic_its_own,
    )
    .needs(&[Feature::Retain, Feature::Qos1, Feature::Wildcards]),
    Case::both(
        "a_message_with_retain_0_does_not_change_the_retained_message",
        &["MQTT-3.3.1-12"],
        &["MQTT-3.3.1-8"],
        stored::retain_0_changes_nothing,
    )
    .needs(&[Feature::Retain]),
    Case::both(
        "an_empty_retained_message_at_any_qos_removes_and_is_not_stored",
        &["MQTT-3.3.1-10", "MQTT-3.3.1-11"],
        &["MQTT-3.3.1-6", "MQTT-3.3.1-7"],
        stored::empty_at_any_qos,
    )
    .needs(&[Feature::Retain, Feature::Qos1, Feature::Qos2]),
    Case::both(
        "an_empty_retained_message_reaches_those_who_are_subscribed",
        &["MQTT-3.3.1-10"],
        &["MQTT-3.3.1-6"],
        flag::empty_is_delivered,
    )
    .needs(&[Feature::Retain, Feature::Qos1, Feature::Qos2]),
    Case::both(
        "an_established_subscription_gets_a_retained_message_with_retain_0",
        &["MQTT-3.3.1-9"],
        &["MQTT-3.3.1-12"],
        flag::zero_for_established_subscriptions,
    )
    .needs(&[Feature::Retain, Feature::Qos1, Feature::Qos2]),
    Case::both(
        "a_client_that_reconnects_gets_a_queued_retained_message_with_retain_0",
        &["MQTT-3.3.1-9"],
        &["MQTT-3.3.1-12"],
        flag::zero_for_those_away,
    )
    .needs(&[Feature::Retain, Feature::Qos1]),
    Case::v5("retain_as_published_keeps_the_retain_flag", &["MQTT-3.3.1-13"], flag::retain_as_published).needs(&[
        Feature::Retain,
        Feature::Qos1,
        Feature::Qos2,
    ]),
    Case::v5(
        "retain_as_published_is_a_matter_of_each_subscription",
        &["MQTT-3.3.1-12", "MQTT-3.3.1-13"],
        flag::as_published_by_subscription,
    )
    .needs(&[Feature::Retain]),
    Case::v5(
        "a_new_subscribe_to_the_same_filter_changes_retain_as_published",
        &["MQTT-3.8.4-3", "MQTT-3.3.1-12", "MQTT-3.3.1-13"],
        flag::as_published_is_replaced,
    )
    .needs(&[Feature::Retain]),
    Case::v5(
        "retain_handling_0_sends_the_retained_messages_at_every_subscribe",
        &["MQTT-3.3.1-9"],
        handling::at_every_subscribe,
    )
    .needs(&[Feature::Retain, Feature::Qos1]),
    Case::v5(
        "retain_handling_1_sends_the_retained_messages_only_if_the_subscription_is_new",
        &["MQTT-3.3.1-10"],
        handling::only_if_new,
    )
    .needs(&[Feature::Retain, Feature::Qos1]),
    Case::v5(
        "retain_handling_1_respects_the_subscriptions_of_a_resumed_session",
        &["MQTT-3.3.1-10"],
        handling::only_if_new_in_the_session,
    )
    .needs(&[Feature::Retain, Feature::Qos1]),
    Case::v5("retain_handling_2_sends_no_retained_messages", &["MQTT-3.3.1-11"], handling::never)
        .needs(&[Feature::Retain, Feature::Qos1]),
    Case::v5(
        "retain_handling_is_a_matter_of_each_subscription",
        &["MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11"],
        handling::by_subscription,
    )
    .needs(&[Feature::Retain, Feature::Qos1]),
];

fn last_retained_message(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "first").retain().qos(1))?;
    publisher.publish(Publish::new(&topic, "second").retain().qos(1))?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    let message = subscriber.expect_message(&topic, "second")?;
    check_equal("the RETAIN flag", message.retain, true)?;
    subscriber.expect_silence_after(&mut publisher)
}

fn empty_retained_message(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    publisher.publish(Publish::new(&topic, "first").retain().qos(1))?;
    publisher.publish(Publish::new(&topic, "").retain().qos(1))?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 1)?;
    subscriber.expect_silence_after(&mut publisher)
}
