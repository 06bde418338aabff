//! Will Messages: the broker may publish them before it ends or after its restart, but it must publish them.

use std::time::Duration;

use super::broker::restart;
use crate::broker::Signal;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::wire::{Connect, Will, property};

const SIGNALS: [Signal; 2] = [Signal::Term, Signal::Kill];

/// Subscribes with a persistent Session, which receives Wills published while it is disconnected.
fn subscribe(cx: &mut Context) -> Result<Connect, Failure> {
    let lasting = cx.connecting("subscriber").persistent(600);
    let mut subscriber = cx.connect(lasting.clone())?;
    subscriber.subscribe(&cx.topic("will"), 1)?;
    subscriber.disconnect()?;
    Ok(lasting)
}

fn willing(cx: &Context) -> Connect {
    cx.connecting("willing").will(Will::new(cx.topic("will"), "gone").qos(1))
}

fn delayed_willing(cx: &Context, delay: u32) -> Connect {
    let will = Will::new(cx.topic("will"), "gone").qos(1).with(property::WILL_DELAY_INTERVAL, delay);
    cx.connecting("willing").persistent(600).will(will)
}

fn expect_will(cx: &Context, mut subscriber: Client) -> Outcome {
    subscriber.expect_message(&cx.topic("will"), "gone")?;
    subscriber.disconnect()
}

pub(super) fn connected(cx: &mut Context) -> Outcome {
    let lasting = subscribe(cx)?;
    for signal in SIGNALS {
        for connect in [willing(cx).persistent(600), willing(cx)] {
            let _connected = cx.connect(connect)?;
            restart(cx, signal)?;
            let subscriber = cx.connect(lasting.clone())?;
            expect_will(cx, subscriber)?;
        }
    }
    Ok(())
}

pub(super) fn delayed(cx: &mut Context) -> Outcome {
    let lasting = subscribe(cx)?;
    for signal in SIGNALS {
        let mut client = cx.connect(delayed_willing(cx, 2))?;
        client.send([0x36, 0])?;
        client.expect_close()?;
        restart(cx, signal)?;
        let subscriber = cx.connect(lasting.clone())?;
        expect_will(cx, subscriber)?;
    }
    Ok(())
}

pub(super) fn back_in_time(cx: &mut Context) -> Outcome {
    let lasting = subscribe(cx)?;
    for signal in SIGNALS {
        let mut client = cx.connect(delayed_willing(cx, 3))?;
        client.send([0x36, 0])?;
        client.expect_close()?;
        restart(cx, signal)?;
        let back = cx.connect(cx.connecting("willing").persistent(600))?;
        let mut subscriber = cx.connect(lasting.clone())?;
        subscriber.expect_nothing(Duration::from_secs(4))?;
        subscriber.disconnect()?;
        back.disconnect()?;
    }
    Ok(())
}

pub(super) fn removed(cx: &mut Context) -> Outcome {
    let lasting = subscribe(cx)?;
    for signal in SIGNALS {
        for connect in [willing(cx).persistent(600), willing(cx)] {
            cx.connect(connect)?.disconnect()?;
        }
        // The client can't know when a DISCONNECT is stored.
        cx.sleep(Duration::from_secs(1));
        restart(cx, signal)?;
        let mut subscriber = cx.connect(lasting.clone())?;
        subscriber.expect_nothing(Duration::from_secs(1))?;
        subscriber.expect_silence_after(&mut cx.client("publisher")?)?;
        subscriber.disconnect()?;
    }
    Ok(())
}
