//! Retained messages.

use super::broker::restart;
use crate::broker::Signal;
use crate::context::Context;
use crate::failure::{Outcome, check_equal, check_qos};
use crate::wire::Publish;

pub(super) fn kept(cx: &mut Context) -> Outcome {
    let (kept, replaced, removed) = (cx.topic("kept"), cx.topic("replaced"), cx.topic("removed"));
    for signal in [Signal::Term, Signal::Kill] {
        let mut publisher = cx.client("publisher")?;
        publisher.publish(Publish::new(&kept, "kept").qos(1).retain())?;
        publisher.publish(Publish::new(&replaced, "first").qos(1).retain())?;
        publisher.publish(Publish::new(&replaced, "second").qos(1).retain())?;
        publisher.publish(Publish::new(&removed, "removed").qos(1).retain())?;
        publisher.publish(Publish::new(&removed, "").qos(1).retain())?;
        publisher.disconnect()?;
        restart(cx, signal)?;
        let mut reader = cx.client("reader")?;
        reader.subscribe(&removed, 1)?;
        for (topic, payload) in [(&kept, "kept"), (&replaced, "second")] {
            reader.subscribe(topic, 1)?;
            let message = reader.expect_message(topic, payload)?;
            check_equal("the RETAIN flag", message.retain, true)?;
            check_qos(cx.version(), message.qos, 1)?;
        }
        reader.expect_silence_after(&mut cx.client("publisher")?)?;
    }
    Ok(())
}
