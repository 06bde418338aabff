//! The delivery protocols of QoS 0, 1 and 2.

use crate::case::{Case, Feature};
use crate::context::Context;
use crate::failure::{Outcome, check_qos};
use crate::wire::{Ack, Publish};

mod receiver;
mod resend;
mod sender;

pub(super) const CASES: &[Case] = &[
    Case::both(
        "a_qos2_message_sent_twice_before_pubrel_is_delivered_once",
        &["MQTT-4.3.3-2"],
        &["MQTT-4.3.3-10"],
        qos2_duplicate,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "a_qos2_message_sent_again_after_a_reconnect_is_delivered_once",
        &["MQTT-4.3.3-2"],
        &["MQTT-4.3.3-10"],
        receiver::duplicate_after_reconnect,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "a_qos2_message_sent_twice_without_dup_is_delivered_once",
        &["MQTT-4.3.3-2"],
        &["MQTT-4.3.3-10"],
        receiver::duplicate_without_dup,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "pubrel_is_answered_after_a_reconnect_and_again",
        &["MQTT-4.3.3-2"],
        &["MQTT-4.3.3-11"],
        receiver::pubrel_after_reconnect,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "after_puback_the_same_packet_identifier_is_a_new_message_even_with_dup",
        &["MQTT-4.3.2-2"],
        &["MQTT-4.3.2-5"],
        receiver::new_after_puback,
    )
    .needs(&[Feature::Qos1]),
    Case::both(
        "after_pubcomp_the_same_packet_identifier_is_a_new_message_even_with_dup",
        &["MQTT-4.3.3-2"],
        &["MQTT-4.3.3-12"],
        receiver::new_after_pubcomp,
    )
    .needs(&[Feature::Qos2]),
    Case::v5(
        "after_a_pubrec_that_refuses_the_same_packet_identifier_is_a_new_message",
        &["MQTT-4.3.3-9"],
        receiver::new_after_refusal,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "many_qos2_exchanges_at_once_are_kept_apart",
        &["MQTT-4.3.3-2", "MQTT-2.3.1-6"],
        &["MQTT-4.3.3-8", "MQTT-4.3.3-11", "MQTT-2.2.1-5"],
        receiver::interleaved,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "a_packet_identifier_may_be_in_use_in_both_directions",
        &["MQTT-2.3.1-6", "MQTT-4.3.3-1", "MQTT-4.3.3-2"],
        &["MQTT-2.2.1-5", "MQTT-4.3.3-4", "MQTT-4.3.3-11"],
        receiver::both_directions,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "an_acknowledged_message_outlives_its_publisher",
        &["MQTT-4.3.2-2", "MQTT-4.3.3-2"],
        &["MQTT-4.3.2-4", "MQTT-4.3.3-8"],
        receiver::ownership,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "a_qos2_exchange_continues_after_its_message_has_expired",
        &["MQTT-4.3.3-13"],
        receiver::exchange_of_an_expired_message,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "a_message_is_first_sent_with_an_unused_packet_identifier_and_dup_0",
        &["MQTT-4.3.2-1", "MQTT-4.3.3-1", "MQTT-2.3.1-4", "MQTT-4.3.1-1"],
        &["MQTT-4.3.2-1", "MQTT-4.3.2-2", "MQTT-4.3.3-1", "MQTT-4.3.3-2", "MQTT-2.2.1-4", "MQTT-4.3.1-1"],
        sender::first_time,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "a_packet_identifier_in_use_is_not_reused_after_all_others",
        &["MQTT-4.3.2-1", "MQTT-2.2.1-4"],
        sender::identifiers_wrap,
    )
    .needs(&[Feature::Qos1])
    .seconds(60),
    Case::both(
        "pubrel_is_sent_upon_pubrec_and_not_before",
        &["MQTT-4.3.3-1", "MQTT-2.3.1-6"],
        &["MQTT-4.3.3-4", "MQTT-2.2.1-5"],
        sender::pubrel_upon_pubrec,
    )
    .needs(&[Feature::Qos2]),
    Case::v5(
        "a_message_that_expires_in_flight_is_sent_again_and_its_exchange_completed",
        &["MQTT-4.3.3-7", "MQTT-4.4.0-1"],
        sender::expired_in_flight,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::v5(
        "nothing_is_sent_again_while_the_connection_lasts",
        &["MQTT-4.4.0-1"],
        sender::nothing_again_on_the_connection,
    )
    .needs(&[Feature::Qos1, Feature::Qos2])
    .seconds(20),
    Case::v5("a_message_that_the_client_refuses_is_not_sent_again", &["MQTT-4.4.0-2"], resend::refused_by_the_client)
        .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "an_unacknowledged_publish_is_sent_again_with_dup_and_its_packet_identifier",
        &["MQTT-3.3.1-1", "MQTT-4.3.2-1", "MQTT-4.3.3-1", "MQTT-4.4.0-1"],
        &["MQTT-3.3.1-1", "MQTT-4.3.2-3", "MQTT-4.3.3-3", "MQTT-4.4.0-1"],
        resend::publish,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "an_unacknowledged_pubrel_is_sent_again_and_its_publish_is_not",
        &["MQTT-4.3.3-1", "MQTT-4.4.0-1"],
        &["MQTT-4.3.3-5", "MQTT-4.3.3-6", "MQTT-4.4.0-1"],
        resend::pubrel,
    )
    .needs(&[Feature::Qos2]),
    Case::both(
        "only_unacknowledged_packets_are_sent_again",
        &["MQTT-4.3.2-1", "MQTT-4.3.3-1", "MQTT-4.4.0-1", "MQTT-3.3.1-3"],
        &["MQTT-4.3.2-3", "MQTT-4.3.3-3", "MQTT-4.3.3-5", "MQTT-4.4.0-1", "MQTT-3.3.1-3"],
        resend::only_the_unacknowledged,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "nothing_is_sent_again_in_a_new_session",
        &["MQTT-4.4.0-1"],
        &["MQTT-4.4.0-1"],
        resend::nothing_in_a_new_session,
    )
    .needs(&[Feature::Qos1, Feature::Qos2]),
    Case::both(
        "unacknowledged_packets_are_sent_again_after_a_restart_of_the_broker",
        &["MQTT-4.4.0-1", "MQTT-3.3.1-1"],
        &["MQTT-4.4.0-1", "MQTT-3.3.1-1"],
        resend::after_a_restart,
    )
    .needs(&[Feature::Restart, Feature::Qos1, Feature::Qos2])
    .seconds(60),
];

fn qos2_duplicate(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 2)?;
    let mut publisher = cx.client("publisher")?;
    let message = Publish::new(&topic, "once").qos(2).packet_id(7);
    publisher.send(&message)?;
    publisher.expect_pubrec(7)?;
    publisher.send(message.dup())?;
    publisher.expect_pubrec(7)?;
    publisher.send(Ack::pubrel(7))?;
    publisher.expect_pubcomp(7)?;
    let received = subscriber.expect_message(&topic, "once")?;
    check_qos(cx.version(), received.qos, 2)?;
    subscriber.expect_silence_after(&mut publisher)
}
