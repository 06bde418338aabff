//! How Sessions begin and end.

use std::time::Duration;

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome, check_equal};
use crate::wire::{Disconnect, Publish, property};

fn check_session_present(client: &Client, expected: bool) -> Outcome {
    check_equal("Session Present", client.connack().session_present, expected)
}

/// Skips the case if the broker replaced the Session Expiry Interval. It may also repeat the one that was asked for.
fn check_expiry(client: &Client, asked: u32) -> Outcome {
    match client.connack().properties.number(property::SESSION_EXPIRY_INTERVAL) {
        Some(other) if other != asked => {
            Err(Failure::skipped(format!("the broker has set the Session Expiry Interval to {other}")))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn clean_start(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let mut publisher = cx.client("publisher")?;
    for clean in [cx.connecting("a"), cx.connecting("a")] {
        let mut client = cx.connect(lasting.clone())?;
        client.subscribe(&topic, 1)?;
        client.disconnect()?;
        publisher.publish(Publish::new(&topic, "waits").qos(1))?;
        let mut client = cx.connect(clean)?;
        check_session_present(&client, false)?;
        publisher.publish(Publish::new(&topic, "no subscription").qos(1))?;
        client.expect_silence_after(&mut publisher)?;
        client.disconnect()?;
        // The next Session doesn't have the old state either.
        let mut client = cx.connect(lasting.clone())?;
        check_session_present(&client, false)?;
        publisher.publish(Publish::new(&topic, "no subscription").qos(1))?;
        client.expect_silence_after(&mut publisher)?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn clean_start_and_in_flight(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let mut publisher = cx.client("publisher")?;
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&cx.topic("b"), 2)?;
    let mut client = cx.connect(lasting)?;
    client.subscribe(&topic, 2)?;
    publisher.publish(Publish::new(&topic, "1").qos(1))?;
    publisher.publish(Publish::new(&topic, "2").qos(2))?;
    client.expect_publish()?;
    client.expect_publish()?;
    let message = Publish::new(cx.topic("b"), "first").qos(2).packet_id(9);
    client.send(&message)?;
    client.expect_pubrec(9)?;
    client.abandon();
    let mut client = cx.client("a")?;
    check_session_present(&client, false)?;
    client.expect_silence_after(&mut publisher)?;
    // In the new Session the Packet Identifier is unused, so this is another message.
    client.publish(Publish::new(cx.topic("b"), "second").qos(2).packet_id(9))?;
    // The first message was never released, so the broker may deliver it at any time or not at all.
    let mut delivered = subscriber.expect_publish()?;
    subscriber.acknowledge(&delivered)?;
    if delivered.payload == "first" {
        delivered = subscriber.expect_publish()?;
        subscriber.acknowledge(&delivered)?;
    }
    check_equal("the payload", delivered.payload.to_text(), "second")
}

pub(super) fn nothing_of_a_clean_session(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    for broken in [false, true] {
        let mut client = cx.client("a")?;
        client.subscribe(&topic, 1)?;
        if broken {
            // The broker must have noticed the disconnect before the next connection.
            client.send([0x30 | 0b110, 0])?;
            client.expect_close()?;
        } else {
            client.disconnect()?;
        }
        publisher.publish(Publish::new(&topic, "none is there").qos(1))?;
        let mut client = cx.connect(cx.connecting("a").persistent(60))?;
        check_session_present(&client, false)?;
        publisher.publish(Publish::new(&topic, "no subscription").qos(1))?;
        client.expect_silence_after(&mut publisher)?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn made(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let lasting = cx.connecting("a").persistent(60);
    let mut client = cx.connect(lasting.clone())?;
    check_session_present(&client, false)?;
    client.subscribe(&topic, 0)?;
    client.publish(Publish::new(&topic, "works"))?;
    client.expect_message(&topic, "works")?;
    client.disconnect()?;
    let client = cx.connect(lasting)?;
    check_session_present(&client, true)
}

pub(super) fn retained_messages(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut reader = cx.client("reader")?;
    for (label, connect) in [("clean", cx.connecting("a")), ("lasting", cx.connecting("a").persistent(60))] {
        let mut client = cx.connect(connect)?;
        client.publish(Publish::new(&topic, label).qos(1).retain())?;
        client.disconnect()?;
        cx.client("a")?.disconnect()?;
        reader.subscribe(&topic, 0)?;
        reader.expect_message(&topic, label)?;
        reader.unsubscribe(&topic)?;
    }
    Ok(())
}

pub(super) fn open_connection(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let short = if cx.version().is_v5() { cx.connecting("short").persistent(1) } else { cx.connecting("short") };
    let mut clients = vec![cx.client("a")?, cx.connect(short.clone())?];
    for client in &mut clients {
        client.subscribe(&topic, 1)?;
    }
    cx.sleep(Duration::from_secs(4));
    publisher.publish(Publish::new(&topic, "still there").qos(1))?;
    for client in &mut clients {
        client.expect_message(&topic, "still there")?;
    }
    // The interval starts when the connection ends.
    if cx.version().is_v5() {
        let client = cx.connect(short.resume())?;
        check_session_present(&client, true)?;
    }
    Ok(())
}

pub(super) fn no_expiry(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let plain = cx.connecting("a");
    let resumed = plain.clone().resume();
    for connect in [plain, resumed.clone(), resumed.clone().with(property::SESSION_EXPIRY_INTERVAL, 0)] {
        let mut client = cx.connect(connect)?;
        check_session_present(&client, false)?;
        client.subscribe(&topic, 1)?;
        client.disconnect()?;
        publisher.publish(Publish::new(&topic, "none is there").qos(1))?;
        let mut client = cx.connect(resumed.clone())?;
        check_session_present(&client, false)?;
        publisher.publish(Publish::new(&topic, "no subscription").qos(1))?;
        client.expect_silence_after(&mut publisher)?;
        client.disconnect()?;
    }
    Ok(())
}

pub(super) fn expiry(cx: &mut Context) -> Outcome {
    let topic = cx.topic("a");
    let mut publisher = cx.client("publisher")?;
    let connects = [("a", cx.connecting("a").persistent(1)), ("b", cx.connecting("b").persistent(1))];
    for (label, connect) in &connects {
        let mut client = cx.connect(connect.clone())?;
        check_expiry(&client, 1)?;
        client.subscribe(&topic, 1)?;
        if *label == "a" {
            client.disconnect()?;
        } else {
            client.abandon();
        }
    }
    publisher.publish(Publish::new(&topic, "expires with it").qos(1))?;
    // An interval that DISCONNECT changed.
    let long = cx.connect(cx.connecting("c").persistent(600))?;
    long.disconnect_with(Disconnect::new().with(property::SESSION_EXPIRY_INTERVAL, 1).reason(0))?;
    cx.sleep(Duration::from_secs(4));
    for label in ["a", "b", "c"] {
        let mut client = cx.connect(cx.connecting(label).resume())?;
        check_session_present(&client, false)?;
        publisher.publish(Publish::new(&topic, "no subscription").qos(1))?;
        client.expect_silence_after(&mut publisher)?;
    }
    Ok(())
}

pub(super) fn kept(cx: &mut Context) -> Outcome {
    let intervals = [10, 0x0001_0000, u32::MAX - 1, u32::MAX];
    for (label, interval) in ["a", "b", "c", "d"].into_iter().zip(intervals) {
        let mut client = cx.connect(cx.connecting(label).persistent(interval))?;
        check_expiry(&client, interval)?;
        client.subscribe(&cx.topic(label), 1)?;
        client.disconnect()?;
    }
    cx.sleep(Duration::from_secs(3));
    let mut publisher = cx.client("publisher")?;
    for label in ["a", "b", "c", "d"] {
        publisher.publish(Publish::new(cx.topic(label), "kept").qos(1))?;
        let mut client = cx.connect(cx.connecting(label).resume())?;
        check_session_present(&client, true)?;
        client.expect_message(&cx.topic(label), "kept")?;
    }
    Ok(())
}

pub(super) fn last_expiry(cx: &mut Context) -> Outcome {
    let client = cx.connect(cx.connecting("longer").persistent(1))?;
    check_expiry(&client, 1)?;
    client.disconnect()?;
    cx.connect(cx.connecting("longer").persistent(60))?.disconnect()?;
    cx.connect(cx.connecting("shorter").persistent(60))?.disconnect()?;
    // The default is 0.
    cx.connect(cx.connecting("shorter").resume())?.disconnect()?;
    // A Session with Clean Start can be persistent too.
    let clean = cx.connecting("clean").with(property::SESSION_EXPIRY_INTERVAL, 60);
    cx.connect(clean)?.disconnect()?;
    cx.sleep(Duration::from_secs(3));
    for (label, present) in [("longer", true), ("shorter", false), ("clean", true)] {
        let client = cx.connect(cx.connecting(label).resume())?;
        check_session_present(&client, present).map_err(|failure| failure_of(failure, label))?;
    }
    Ok(())
}

fn failure_of(failure: Failure, label: &str) -> Failure {
    match failure {
        Failure::Broken { statement, expected, came } => {
            Failure::Broken { statement, expected: format!("{label}: {expected}"), came }
        }
        Failure::Skipped(reason) => Failure::Skipped(reason),
    }
}
