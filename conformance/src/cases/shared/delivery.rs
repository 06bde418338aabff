//! The delivery of the messages of a Shared Subscription.

use std::time::Duration;

use super::share::share;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check, check_equal, check_qos};
use crate::wire::{Ack, Connect, Publish};

pub(super) fn granted_qos(cx: &mut Context) -> Outcome {
    let (topic, filter) = (cx.topic("a"), share(cx, &cx.topic("a")));
    let mut publisher = cx.client("publisher")?;
    let mut client = cx.client("one")?;
    for requested in [0, 1, 2, 1, 0] {
        let suback = client.subscribe(&filter, requested)?;
        let granted = suback.reasons.first().copied().unwrap_or_default();
        for published in 0..3 {
            publisher.publish(Publish::new(&topic, "payload").qos(published))?;
            let message = client.expect_message(&topic, "payload")?;
            check_qos(cx.version(), message.qos, published.min(granted))?;
        }
    }
    client.expect_silence_after(&mut publisher)
}

pub(super) fn granted_qos_of_each(cx: &mut Context) -> Outcome {
    let (topic, filter) = (cx.topic("a"), share(cx, &cx.topic("a")));
    let mut publisher = cx.client("publisher")?;
    let mut members = Vec::new();
    for requested in 0..3 {
        let mut member = cx.client(&requested.to_string())?;
        let suback = member.subscribe(&filter, requested)?;
        members.push((member, suback.reasons.first().copied().unwrap_or_default()));
    }
    for number in 0..18 {
        publisher.publish(Publish::new(&topic, number.to_string()).qos(number % 3))?;
    }
    let mut came = 0;
    for (member, granted) in &mut members {
        for message in member.messages_until_marker(&mut publisher)? {
            let number: u8 = message.payload.to_text().parse().unwrap_or_default();
            check_qos(cx.version(), message.qos, (number % 3).min(*granted))?;
            came += 1;
        }
    }
    check_equal("the number of messages of all sessions together", came, 18)
}

/// Two sessions of a Shared Subscription. The first was its only member when a message was published, and has not
/// acknowledged.
struct Broken {
    filter: String,
    topic: String,
    publisher: Client,
    first: Client,
    message: Publish,
    packet_id: u16,
    other: Client,
}

impl Broken {
    fn new(cx: &mut Context, first: Connect, qos: u8) -> Result<Self, Failure> {
        let (topic, filter) = (cx.topic("a"), share(cx, &cx.topic("a")));
        let mut publisher = cx.client("publisher")?;
        let mut first = cx.connect(first)?;
        first.subscribe(&filter, qos)?;
        publisher.publish(Publish::new(&topic, "payload").qos(qos))?;
        let message = first.expect_publish()?;
        let packet_id = message.packet_id.ok_or_else(|| Failure::new(format!("QoS {qos}"), format!("{message:?}")))?;
        let mut other = cx.client("other")?;
        other.subscribe(&filter, qos)?;
        Ok(Self { filter, topic, publisher, first, message, packet_id, other })
    }
}

pub(super) fn qos2_completed(cx: &mut Context) -> Outcome {
    let session = cx.connecting("first").persistent(600);
    for received in [false, true] {
        let mut broken = Broken::new(cx, session.clone(), 2)?;
        if received {
            broken.first.send(Ack::pubrec(broken.packet_id))?;
            broken.first.expect_pubrel(broken.packet_id)?;
        }
        broken.first.abandon();
        broken.other.expect_silence_after(&mut broken.publisher)?;
        let mut first = cx.connect(session.clone())?;
        check_equal("Session Present", first.connack().session_present, true)?;
        if !received {
            let again = first.expect_publish()?;
            check_equal("the Packet Identifier", again.packet_id, Some(broken.packet_id))?;
            check_equal("the DUP flag", again.dup, true)?;
            check_equal("the payload", &again.payload, &broken.message.payload)?;
            first.send(Ack::pubrec(broken.packet_id))?;
        }
        first.expect_pubrel(broken.packet_id)?;
        first.send(Ack::pubcomp(broken.packet_id))?;
        first.expect_silence_after(&mut broken.publisher)?;
        broken.other.expect_silence_after(&mut broken.publisher)?;
        first.unsubscribe(&broken.filter)?;
        first.disconnect()?;
        // A clean disconnect: otherwise the broker might send the next message to this session.
        broken.other.disconnect()?;
    }
    Ok(())
}

pub(super) fn qos2_ends_with_the_session(cx: &mut Context) -> Outcome {
    let plain = cx.connecting("first");
    let kept_for = |seconds| cx.connecting("first").persistent(seconds);
    // The Session ends with the connection, because a new one replaces it, and because it expires.
    for (session, expires) in [(plain.clone(), false), (kept_for(600), false), (kept_for(1), true)] {
        for received in [false, true] {
            let mut broken = Broken::new(cx, session.clone(), 2)?;
            if received {
                broken.first.send(Ack::pubrec(broken.packet_id))?;
                broken.first.expect_pubrel(broken.packet_id)?;
            }
            broken.first.abandon();
            if expires {
                cx.sleep(Duration::from_millis(1500));
            }
            // When the broker responds, it has discarded the old Session.
            let mut first = cx.connect(plain.clone())?;
            check_equal("Session Present", first.connack().session_present, false)?;
            broken.other.expect_silence_after(&mut broken.publisher)?;
            first.expect_silence_after(&mut broken.publisher)?;
            // As above.
            broken.other.disconnect()?;
        }
    }
    Ok(())
}

pub(super) fn refused_message(cx: &mut Context) -> Outcome {
    const REASONS: [u8; 7] = [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let session = cx.connecting("first").persistent(600);
    for qos in [1, 2] {
        for reason in REASONS {
            let mut broken = Broken::new(cx, session.clone(), qos)?;
            let answer = if qos == 1 { Ack::puback(broken.packet_id) } else { Ack::pubrec(broken.packet_id) };
            broken.first.send(answer.reason(reason))?;
            // When the broker responds, it has handled the refusal.
            broken.first.expect_silence_by_ping()?;
            broken.other.expect_silence_after(&mut broken.publisher)?;
            broken.first.disconnect()?;
            let mut first = cx.connect(session.clone())?;
            first.expect_silence_after(&mut broken.publisher)?;
            broken.other.expect_silence_after(&mut broken.publisher)?;
            first.unsubscribe(&broken.filter)?;
            first.disconnect()?;
            // As above.
            broken.other.disconnect()?;
        }
    }
    Ok(())
}

pub(super) fn qos1_is_not_lost(cx: &mut Context) -> Outcome {
    let session = cx.connecting("first").persistent(600);
    let mut broken = Broken::new(cx, session.clone(), 1)?;
    broken.first.abandon();
    let mut first = cx.connect(session)?;
    // The broker may have waited for the first client, or have sent the message to the other one.
    let mut messages = first.messages_until_marker(&mut broken.publisher)?;
    messages.extend(broken.other.messages_until_marker(&mut broken.publisher)?);
    let fits = messages.iter().all(|message| message.topic == broken.topic && message.payload == "payload");
    check(fits && !messages.is_empty(), "the message, at the first client or the other", format!("{messages:?}"))
}

pub(super) fn qos1_goes_on(cx: &mut Context) -> Outcome {
    for session in [cx.connecting("first"), cx.connecting("first").persistent(600)] {
        let mut broken = Broken::new(cx, session, 1)?;
        broken.first.abandon();
        // With Clean Start, the previous Session is discarded.
        let mut first = cx.client("first")?;
        first.expect_silence_after(&mut broken.publisher)?;
        let messages = broken.other.messages_until_marker(&mut broken.publisher)?;
        let fits = messages.iter().all(|message| message.topic == broken.topic && message.payload == "payload");
        let came = format!("{messages:?}");
        check(fits && messages.len() <= 1, "the message once at the other client, or not at all", came)?;
        broken.other.disconnect()?;
    }
    Ok(())
}
