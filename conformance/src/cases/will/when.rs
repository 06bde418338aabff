//! When the Will Message is published, and when it is not.

use std::time::Duration;

use crate::client::Client;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::wire::kind::Kind;
use crate::wire::{Connect, Disconnect, Publish, Will, property};

/// How long the case waits for a forbidden Will, in addition to waiting for the marker.
const WAIT: Duration = Duration::from_millis(300);

/// A subscriber to the Will Topic.
fn subscriber(cx: &mut Context) -> Result<(Client, String), Failure> {
    let topic = cx.topic("will");
    let mut subscriber = cx.client("subscriber")?;
    subscriber.subscribe(&topic, 0)?;
    Ok((subscriber, topic))
}

/// CONNECT packets with the Will: for a Session that ends with its connection, and for a persistent one.
fn willing(cx: &Context, topic: &str) -> [Connect; 2] {
    let connect = cx.connecting("willing").will(Will::new(topic, "gone"));
    [connect.clone(), connect.persistent(60)]
}

fn expect_none(cx: &mut Context, subscriber: &mut Client) -> Outcome {
    subscriber.expect_nothing(WAIT)?;
    subscriber.expect_silence_after(&mut cx.client("publisher")?)
}

pub(super) fn broken_connection(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    for connect in willing(cx, &topic) {
        let mut client = cx.connect(connect)?;
        subscriber.expect_silence_after(&mut client)?;
        client.abandon();
        subscriber.expect_message(&topic, "gone")?;
    }
    Ok(())
}

pub(super) fn half_closed(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    for connect in willing(cx, &topic) {
        let mut client = cx.connect(connect)?;
        client.link().finish();
        client.expect_close()?;
        subscriber.expect_message(&topic, "gone")?;
    }
    Ok(())
}

pub(super) fn protocol_error(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    let errors: [Vec<u8>; 4] = [
        vec![Kind::Connack.first_byte(), 2, 0, 0],
        vec![0x36, 4, 0, 1, b'a', 0],
        vec![Kind::Subscribe.first_byte(), 2, 0, 1],
        vec![Kind::Publish.first_byte(), 2, 0, 9],
    ];
    for error in errors {
        for connect in willing(cx, &topic) {
            let mut client = cx.connect(connect)?;
            client.send(error.clone())?;
            client.expect_close()?;
            subscriber.expect_message(&topic, "gone")?;
        }
    }
    Ok(())
}

pub(super) fn takeover(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    for connect in willing(cx, &topic) {
        for newer in [cx.connecting("willing"), cx.connecting("willing").resume()] {
            let _older = cx.connect(connect.clone())?;
            let newer = cx.connect(newer)?;
            subscriber.expect_message(&topic, "gone")?;
            newer.disconnect()?;
        }
    }
    expect_none(cx, &mut subscriber)
}

pub(super) fn disconnect_with_code(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    for reason in [0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99] {
        for connect in willing(cx, &topic) {
            cx.connect(connect)?.disconnect_with(Disconnect::new().reason(reason))?;
            subscriber.expect_message(&topic, "gone")?;
        }
    }
    Ok(())
}

pub(super) fn normal_disconnect(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    let mut disconnects = vec![Disconnect::new()];
    if cx.version().is_v5() {
        disconnects.push(Disconnect::new().reason(0));
        disconnects.push(Disconnect::new().reason(0).with(property::SESSION_EXPIRY_INTERVAL, 0));
    }
    for disconnect in disconnects {
        for connect in willing(cx, &topic) {
            cx.connect(connect)?.disconnect_with(disconnect.clone())?;
            // It isn't published at the end of the Session either.
            cx.client("willing")?.disconnect()?;
        }
    }
    expect_none(cx, &mut subscriber)
}

pub(super) fn once(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    for connect in willing(cx, &topic) {
        cx.connect(connect)?.abandon();
        subscriber.expect_message(&topic, "gone")?;
        // Neither when the next connection is interrupted, nor when the Session ends.
        let next = cx.connecting("willing").persistent(60);
        cx.connect(next)?.abandon();
        cx.client("willing")?.abandon();
        expect_none(cx, &mut subscriber)?;
    }
    Ok(())
}

pub(super) fn no_will(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    for connect in willing(cx, &topic) {
        cx.connect(connect)?.disconnect()?;
        for plain in [cx.connecting("willing").persistent(60), cx.connecting("willing")] {
            let mut client = cx.connect(plain)?;
            client.publish(Publish::new(cx.topic("other"), ""))?;
            client.ping()?;
            client.abandon();
        }
        expect_none(cx, &mut subscriber)?;
    }
    Ok(())
}

pub(super) fn refused(cx: &mut Context) -> Outcome {
    let (mut subscriber, topic) = subscriber(cx)?;
    for connect in willing(cx, &topic) {
        let mut refused = vec![connect.clone().connect_flags(connect.flags_of_the_fields() | 1)];
        if cx.version().is_v5() {
            refused.push(connect.with(property::AUTHENTICATION_METHOD, "conformance has no such method"));
        } else {
            refused.push(connect.client_id("").resume());
        }
        for connect in refused {
            let mut client = cx.open()?;
            client.send_connect(&connect)?;
            client.expect_close()?;
        }
    }
    expect_none(cx, &mut subscriber)
}
