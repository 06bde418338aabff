//! Sessions and their subscriptions.

use std::time::Duration;

use super::broker::restart;
use crate::broker::Signal;
use crate::context::Context;
use crate::failure::{Outcome, check_equal, check_qos};
use crate::wire::{Disconnect, Filter, Publish, Subscribe, property};

const SIGNALS: [Signal; 2] = [Signal::Term, Signal::Kill];

pub(super) fn subscriptions(cx: &mut Context) -> Outcome {
    let lasting = cx.connecting("a").persistent(600);
    let empty = cx.connecting("empty").persistent(600);
    for signal in SIGNALS {
        let mut client = cx.connect(lasting.clone())?;
        client.subscribe(&cx.topic("a"), 0)?;
        client.subscribe(&cx.topic("b"), 1)?;
        client.subscribe(&cx.topic("gone"), 1)?;
        client.unsubscribe(&cx.topic("gone"))?;
        cx.connect(empty.clone())?.disconnect()?;
        // When the broker ends, one connection is open and the other is closed.
        restart(cx, signal)?;
        let mut client = cx.connect(lasting.clone())?;
        check_equal("Session Present", client.connack().session_present, true)?;
        let mut publisher = cx.client("publisher")?;
        for (name, qos) in [("a", 0), ("gone", 1), ("b", 1)] {
            publisher.publish(Publish::new(cx.topic(name), name).qos(1))?;
            if name != "gone" {
                let message = client.expect_message(&cx.topic(name), name)?;
                check_qos(cx.version(), message.qos, qos)?;
            }
        }
        client.disconnect()?;
        let client = cx.connect(empty.clone())?;
        check_equal("Session Present of a Session with nothing in it", client.connack().session_present, true)?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn subscription_options(cx: &mut Context) -> Outcome {
    let lasting = cx.connecting("a").persistent(600);
    for signal in SIGNALS {
        let mut client = cx.connect(lasting.clone())?;
        client.subscribe(&cx.topic("local"), 1 | Filter::NO_LOCAL)?;
        client.subscribe(&cx.topic("published"), 1 | Filter::RETAIN_AS_PUBLISHED)?;
        let subscribe = Subscribe::new(cx.topic("identified"), 1).with(property::SUBSCRIPTION_IDENTIFIER, 300);
        client.subscribe_with(subscribe)?;
        client.disconnect()?;
        restart(cx, signal)?;
        let mut client = cx.connect(lasting.clone())?;
        client.publish(Publish::new(cx.topic("local"), "own").qos(1))?;
        client.expect_silence_after_own()?;
        let mut publisher = cx.client("publisher")?;
        publisher.publish(Publish::new(cx.topic("published"), "kept").qos(1).retain())?;
        let message = client.expect_message(&cx.topic("published"), "kept")?;
        check_equal("the RETAIN flag", message.retain, true)?;
        publisher.publish(Publish::new(cx.topic("identified"), "known").qos(1))?;
        let message = client.expect_message(&cx.topic("identified"), "known")?;
        let identifiers = message.properties.numbers(property::SUBSCRIPTION_IDENTIFIER);
        check_equal("the Subscription Identifiers", identifiers, [300])?;
        client.disconnect()?;
        // A retained message would arrive at the next SUBSCRIBE.
        cx.client("a")?.disconnect()?;
        publisher.publish(Publish::new(cx.topic("published"), "").qos(1).retain())?;
    }
    Ok(())
}

pub(super) fn discarded(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    for signal in SIGNALS {
        for label in ["clean", "restarted"] {
            let mut client = cx.connect(cx.connecting(label).persistent(600))?;
            client.subscribe(&topic, 1)?;
            client.disconnect()?;
        }
        // One Session is ended by a Clean Start, the other by a Clean Start whose connection is open when the broker
        // ends.
        cx.client("clean")?.disconnect()?;
        let open = cx.client("restarted")?;
        let mut never = cx.client("never")?;
        never.subscribe(&topic, 1)?;
        cx.client("publisher")?.publish(Publish::new(&topic, "for no one").qos(1))?;
        // The next case covers state that must be stable at once.
        cx.sleep(Duration::from_secs(1));
        restart(cx, signal)?;
        drop(open);
        for label in ["clean", "restarted", "never"] {
            let mut client = cx.connect(cx.connecting(label).persistent(600))?;
            check_equal("Session Present", client.connack().session_present, false)?;
            client.expect_silence_after(&mut cx.client("publisher")?)?;
            cx.client(label)?.disconnect()?;
        }
    }
    Ok(())
}

/// CONNACK reports that the old Session is discarded, so it must not reappear, even if the broker is busy with writes
/// and is killed right after CONNACK.
pub(super) fn discarded_at_once(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(600);
    for round in 0..3 {
        let mut client = cx.connect(lasting.clone())?;
        client.subscribe(&topic, 1)?;
        client.disconnect()?;
        let mut busy = cx.client("busy")?;
        for number in 0..100 {
            let message = Publish::new(cx.topic(&format!("load/{round}/{number}")), "x".repeat(50_000));
            let message = busy.with_packet_id(message.qos(1).retain());
            busy.send(message)?;
        }
        let clean = cx.client("a")?;
        check_equal("Session Present after a clean start", clean.connack().session_present, false)?;
        restart(cx, Signal::Kill)?;
        let client = cx.connect(lasting.clone())?;
        check_equal("Session Present after the crash", client.connack().session_present, false)?;
        client.disconnect()?;
        cx.client("a")?.disconnect()?;
    }
    Ok(())
}

/// Whether the broker's downtime counts is not defined; the case waits long enough while it runs.
pub(super) fn expiry(cx: &mut Context) -> Outcome {
    for signal in SIGNALS {
        cx.connect(cx.connecting("short").persistent(2))?.disconnect()?;
        cx.connect(cx.connecting("long").persistent(600))?.disconnect()?;
        let client = cx.connect(cx.connecting("shortened").persistent(600))?;
        client.disconnect_with(Disconnect::new().reason(0).with(property::SESSION_EXPIRY_INTERVAL, 2))?;
        // The client can't know when a DISCONNECT is stored.
        cx.sleep(Duration::from_secs(1));
        restart(cx, signal)?;
        cx.sleep(Duration::from_secs(4));
        for (label, present) in [("short", false), ("long", true), ("shortened", false)] {
            let client = cx.connect(cx.connecting(label).resume())?;
            check_equal("Session Present", client.connack().session_present, present)?;
            client.disconnect()?;
        }
    }
    Ok(())
}
