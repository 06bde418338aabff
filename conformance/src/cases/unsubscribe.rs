//! UNSUBSCRIBE and UNSUBACK.

mod actions;
mod delivery;

use crate::case::{Case, Feature};
use crate::context::Context;
use crate::failure::Outcome;
use crate::wire::{Unsubscribe, Utf8};

pub(super) const CASES: &[Case] = &[
    Case::both(
        "an_unsubscribe_with_other_flags_than_0010_closes_the_connection",
        &["MQTT-3.10.1-1"],
        &["MQTT-3.10.1-1"],
        reserved_flags,
    ),
    Case::both(
        "a_topic_filter_in_unsubscribe_that_is_not_utf8_closes_the_connection",
        &["MQTT-3.10.3-1"],
        &["MQTT-3.10.3-1"],
        not_utf8,
    ),
    Case::both(
        "an_unsubscribe_without_topic_filter_closes_the_connection",
        &["MQTT-3.10.3-2"],
        &["MQTT-3.10.3-2", "5.0/3.10.3/1"],
        no_topic_filter,
    ),
    Case::both(
        "unsubscribe_deletes_the_subscription_with_exactly_its_topic_filter",
        &["MQTT-3.10.4-1"],
        &["MQTT-3.10.4-1"],
        actions::exact_filter,
    )
    .needs(&[Feature::Wildcards]),
    Case::both(
        "unsubscribe_deletes_the_subscription_of_its_own_client_only",
        &["MQTT-3.10.4-1"],
        &["MQTT-3.10.4-1"],
        actions::own_subscription,
    ),
    Case::both(
        "unsubscribe_is_answered_with_unsuback_and_its_packet_identifier",
        &["MQTT-3.10.4-4"],
        &["MQTT-3.10.4-4", "MQTT-3.10.4-5"],
        actions::packet_identifier,
    ),
    Case::both(
        "unsubscribe_is_answered_where_there_is_no_subscription",
        &["MQTT-3.10.4-5"],
        &["MQTT-3.10.4-5", "MQTT-3.11.3-2"],
        actions::nothing_deleted,
    ),
    Case::both(
        "an_unsubscribe_with_many_topic_filters_is_as_many_unsubscribes",
        &["MQTT-3.10.4-6"],
        &["MQTT-3.10.4-6"],
        actions::many_filters,
    ),
    Case::v5(
        "unsuback_has_a_code_for_each_topic_filter_in_their_order",
        &["MQTT-3.11.3-1", "MQTT-3.11.3-2"],
        actions::codes_in_order,
    ),
    Case::v5(
        "unsuback_keeps_to_the_maximum_packet_size",
        &["MQTT-3.11.2-1", "MQTT-3.11.2-2", "5.0/3.11.2.1.2/2"],
        actions::maximum_packet_size,
    ),
    Case::both(
        "no_message_that_is_published_after_unsuback_is_sent",
        &["MQTT-3.10.4-2"],
        &["MQTT-3.10.4-2"],
        delivery::no_new_messages,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "an_unsubscribed_topic_filter_is_removed_from_the_session",
        &["MQTT-3.10.4-1", "MQTT-3.10.4-2"],
        &["MQTT-3.10.4-1", "MQTT-3.10.4-2"],
        delivery::gone_from_the_session,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "the_delivery_of_a_qos1_message_under_way_is_completed_after_unsubscribe",
        &["MQTT-3.10.4-3"],
        &["MQTT-3.10.4-3"],
        delivery::qos1_completed,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "the_delivery_of_a_qos2_message_under_way_is_completed_after_unsubscribe",
        &["MQTT-3.10.4-3"],
        &["MQTT-3.10.4-3"],
        delivery::qos2_completed,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "messages_queued_before_unsubscribe_may_be_sent_or_not",
        &["3.1.1/3.10.4/1"],
        &["5.0/3.10.4/1"],
        delivery::waiting_messages,
    )
    .needs(&[Feature::Qos1]),
];

fn refused(cx: &mut Context, unsubscribe: &Unsubscribe, reasons: &[u8]) -> Outcome {
    let mut client = cx.client("a")?;
    client.send(unsubscribe.clone().packet_id(1))?;
    client.expect_disconnect_or_close(reasons)
}

fn reserved_flags(cx: &mut Context) -> Outcome {
    for flags in (0..16).filter(|flags| *flags != 0b0010) {
        refused(cx, &Unsubscribe::new(cx.topic("a")).flags(flags), &[0x81])?;
    }
    Ok(())
}

fn not_utf8(cx: &mut Context) -> Outcome {
    for (_, text) in Utf8::ILL_FORMED {
        refused(cx, &Unsubscribe::new(text), &[0x81, 0x8F])?;
        refused(cx, &Unsubscribe::new(cx.topic("a")).and(text), &[0x81, 0x8F])?;
    }
    Ok(())
}

fn no_topic_filter(cx: &mut Context) -> Outcome {
    refused(cx, &Unsubscribe::default(), &[0x81, 0x82])
}
