//! The delivery protocols of QoS 0, 1 and 2.

use crate::case::{Case, Feature};
use crate::context::Context;
use crate::failure::{Outcome, check_equal};
use crate::wire::{Ack, Publish};

pub(super) const CASES: &[Case] = &[Case::both(
    "a_qos2_message_sent_twice_before_pubrel_is_delivered_once",
    &["MQTT-4.3.3-2"],
    &["MQTT-4.3.3-10"],
    qos2_duplicate,
)
.needs(&[Feature::Qos2])];

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
    check_equal("the QoS", received.qos, 2)?;
    subscriber.expect_silence_after(&mut publisher)
}
