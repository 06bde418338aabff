//! Delivery after UNSUBSCRIBE.

use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal};
use crate::wire::{Ack, Publish};

pub(super) fn no_new_messages(cx: &mut Context) -> Outcome {
    let mut client = cx.client("subscriber")?;
    let mut publisher = cx.client("publisher")?;
    for filter in ["a", "b/+", "c/#"] {
        for qos in 0..3 {
            let topic = cx.topic(&filter.replace(['+', '#'], "x"));
            client.subscribe(&cx.topic(filter), qos)?;
            publisher.publish(Publish::new(&topic, "before").qos(qos))?;
            client.expect_message(&topic, "before")?;
            client.unsubscribe(&cx.topic(filter))?;
            for published in 0..3 {
                publisher.publish(Publish::new(&topic, "after").qos(published))?;
            }
            client.expect_silence_after(&mut publisher)?;
        }
    }
    Ok(())
}

pub(super) fn gone_from_the_session(cx: &mut Context) -> Outcome {
    let [a, b] = ["a", "b"].map(|name| cx.topic(name));
    let session = cx.connecting("subscriber").persistent(600);
    let mut client = cx.connect(session.clone())?;
    client.subscribe(&a, 1)?;
    client.subscribe(&b, 1)?;
    client.unsubscribe(&a)?;
    client.disconnect()?;
    let mut publisher = cx.client("publisher")?;
    for topic in [&a, &b] {
        publisher.publish(Publish::new(topic, "payload").qos(1))?;
    }
    let mut client = cx.connect(session)?;
    check_equal("Session Present", client.connack().session_present, true)?;
    client.expect_message(&b, "payload")?;
    publisher.publish(Publish::new(&a, "payload").qos(1))?;
    client.expect_silence_after(&mut publisher)
}

/// After a disconnect before PUBACK, the broker sends the message again.
pub(super) fn qos1_completed(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let session = cx.connecting("subscriber").persistent(600);
    let mut client = cx.connect(session.clone())?;
    let mut publisher = cx.client("publisher")?;
    client.subscribe(&topic, 1)?;
    publisher.publish(Publish::new(&topic, "payload").qos(1))?;
    let first = client.expect_publish()?;
    client.unsubscribe(&topic)?;
    client.abandon();
    let mut client = cx.connect(session.clone())?;
    let again = client.expect_publish()?;
    check_equal("the Packet Identifier", again.packet_id, first.packet_id)?;
    check_equal("the DUP flag", again.dup, true)?;
    check_equal("the payload", &again.payload, &first.payload)?;
    client.acknowledge(&again)?;
    client.expect_silence_after(&mut publisher)?;
    client.disconnect()?;
    // After its acknowledgement, the message is not sent again.
    cx.connect(session)?.expect_silence_after(&mut publisher)
}

pub(super) fn qos2_completed(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let session = cx.connecting("subscriber").persistent(600);
    // The connection is interrupted: not at all, before PUBREC, before PUBCOMP.
    for (breaks_before_pubrec, breaks_before_pubcomp) in [(false, false), (true, false), (false, true)] {
        let mut client = cx.connect(session.clone())?;
        client.subscribe(&topic, 2)?;
        publisher.publish(Publish::new(&topic, "payload").qos(2))?;
        let message = client.expect_publish()?;
        let packet_id = message.packet_id.ok_or_else(|| Failure::new("QoS 2", format!("{message:?}")))?;
        client.unsubscribe(&topic)?;
        if breaks_before_pubrec {
            client.abandon();
            client = cx.connect(session.clone())?;
            let again = client.expect_publish()?;
            check_equal("the Packet Identifier", again.packet_id, Some(packet_id))?;
            check_equal("the DUP flag", again.dup, true)?;
        }
        client.send(Ack::pubrec(packet_id))?;
        client.expect_pubrel(packet_id)?;
        if breaks_before_pubcomp {
            client.abandon();
            client = cx.connect(session.clone())?;
            client.expect_pubrel(packet_id)?;
        }
        client.send(Ack::pubcomp(packet_id))?;
        client.expect_silence_after(&mut publisher)?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn waiting_messages(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let session = cx.connecting("subscriber").persistent(600);
    let mut client = cx.connect(session.clone())?;
    let mut publisher = cx.client("publisher")?;
    client.subscribe(&topic, 1)?;
    client.disconnect()?;
    for number in 1..=3 {
        publisher.publish(Publish::new(&topic, number.to_string()).qos(1))?;
    }
    let mut client = cx.connect(session)?;
    client.unsubscribe(&topic)?;
    publisher.publish(Publish::new(&topic, "4").qos(1))?;
    // Earlier messages may arrive, in order; the later one must not.
    let messages = client.messages_until_marker(&mut publisher)?;
    let payloads: Vec<String> = messages.iter().map(|message| message.payload.to_text()).collect();
    let is_ordered = payloads.is_sorted_by(|one, next| one < next);
    let is_early = payloads.iter().all(|payload| payload != "4");
    check(is_early, "no message from after UNSUBACK", format!("{payloads:?}"))
        .map_err(|failure| failure.of("MQTT-3.10.4-2"))?;
    check(is_ordered, "the messages from before UNSUBSCRIBE in their order", format!("{payloads:?}"))
}
