//! DISCONNECT from the client.

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check};
use crate::wire::bytes::frame;
use crate::wire::kind::Kind;
use crate::wire::{Disconnect, Encode, Pingreq, Publish, Will, property};

const NORMAL: u8 = 0x00;
const WITH_WILL: u8 = 0x04;

/// A client with a Will, and a subscriber to it.
pub(super) struct WillPair {
    pub(super) topic: String,
    pub(super) subscriber: Client,
}

impl WillPair {
    pub(super) fn new(cx: &mut Context) -> Result<Self, Failure> {
        let topic = cx.topic("will");
        let mut subscriber = cx.client("subscriber")?;
        subscriber.subscribe(&topic, 0)?;
        Ok(Self { topic, subscriber })
    }

    pub(super) fn client(&self, cx: &mut Context) -> Result<Client, Failure> {
        cx.connect(cx.connecting("willing").will(Will::new(&self.topic, "gone")))
    }

    pub(super) fn expect_will(&mut self) -> Outcome {
        self.subscriber.expect_message(&self.topic, "gone").map(|_| ())
    }
}

/// All forms of a normal DISCONNECT.
fn normal(cx: &Context) -> Vec<Vec<u8>> {
    let shortest = frame(Kind::Disconnect.first_byte(), &[]);
    if !cx.version().is_v5() {
        return vec![shortest];
    }
    let with_user_property = Disconnect::new().with(property::USER_PROPERTY, ("name", "value"));
    vec![
        shortest,
        frame(Kind::Disconnect.first_byte(), &[NORMAL]),
        frame(Kind::Disconnect.first_byte(), &[NORMAL, 0]),
        with_user_property.encode(cx.version()),
    ]
}

pub(super) fn will_discarded(cx: &mut Context) -> Outcome {
    let mut willing = WillPair::new(cx)?;
    for disconnect in normal(cx) {
        let mut client = willing.client(cx)?;
        client.send(disconnect)?;
        client.disconnect()?;
    }
    // The Will is deleted: a later connection of the same client has none.
    cx.client("willing")?.abandon();
    cx.client("willing")?.disconnect()?;
    let mut publisher = cx.client("publisher")?;
    willing.subscriber.expect_silence_after(&mut publisher)
}

pub(super) fn will_asked_for(cx: &mut Context) -> Outcome {
    let mut willing = WillPair::new(cx)?;
    let disconnect = Disconnect::new().reason(WITH_WILL);
    for disconnect in [disconnect.clone(), disconnect.with(property::REASON_STRING, "on purpose")] {
        willing.client(cx)?.disconnect_with(disconnect)?;
        willing.expect_will()?;
    }
    let mut publisher = cx.client("publisher")?;
    willing.subscriber.expect_silence_after(&mut publisher)
}

pub(super) fn will_published(cx: &mut Context) -> Outcome {
    let mut willing = WillPair::new(cx)?;
    for reason in [0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        let client = willing.client(cx)?;
        client.disconnect_with(Disconnect::new().reason(reason))?;
        willing.expect_will()?;
    }
    let mut publisher = cx.client("publisher")?;
    willing.subscriber.expect_silence_after(&mut publisher)
}

pub(super) fn wrong_reason_code(cx: &mut Context) -> Outcome {
    // Codes that are not valid in DISCONNECT, and codes that only a server sends.
    const REASONS: [u8; 14] = [0x01, 0x02, 0x18, 0x7F, 0x84, 0x8C, 0xFF, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x9C, 0xA2];
    let mut willing = WillPair::new(cx)?;
    for reason in REASONS {
        let mut client = willing.client(cx)?;
        client.send(Disconnect::new().reason(reason))?;
        client.expect_disconnect_or_close(&[0x81, 0x82])?;
        willing.expect_will()?;
    }
    Ok(())
}

pub(super) fn connection_closed(cx: &mut Context) -> Outcome {
    for disconnect in normal(cx) {
        let mut client = cx.client("a")?;
        client.send(disconnect)?;
        let then = client.receive_or_close()?;
        check(then.is_none(), "the connection is closed", format!("{then:?}"))?;
    }
    Ok(())
}

pub(super) fn nothing_behind(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    for disconnect in normal(cx) {
        let mut client = cx.client("a")?;
        let publish = Publish::new(&topic, "too late").qos(1).packet_id(1).encode(cx.version());
        client.send([disconnect, publish, Pingreq.encode(cx.version())].concat())?;
        let then = client.receive_or_close()?;
        check(then.is_none(), "the connection is closed", format!("{then:?}"))?;
    }
    let mut publisher = cx.client("publisher")?;
    subscriber.expect_silence_after(&mut publisher)
}

pub(super) fn reason_string(cx: &mut Context) -> Outcome {
    let mut willing = WillPair::new(cx)?;
    for text in ["", "gone", "0x04", "Disconnect with Will Message"] {
        let disconnect = Disconnect::new().with(property::REASON_STRING, text);
        willing.client(cx)?.disconnect_with(disconnect)?;
    }
    let mut publisher = cx.client("publisher")?;
    willing.subscriber.expect_silence_after(&mut publisher)
}
