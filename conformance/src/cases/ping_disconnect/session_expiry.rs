//! The Session Expiry Interval in DISCONNECT.

use super::by_the_client::WillPair;
use crate::context::Context;
use crate::failure::{Outcome, check_equal};
use crate::wire::{Disconnect, Will, property};

const ID: u8 = property::SESSION_EXPIRY_INTERVAL;

pub(super) fn not_from_zero(cx: &mut Context) -> Outcome {
    let mut willing = WillPair::new(cx)?;
    for in_connect in [None, Some(0)] {
        for seconds in [1, 600, u32::MAX] {
            let mut connect = cx.connecting("willing").will(Will::new(&willing.topic, "gone"));
            if let Some(interval) = in_connect {
                connect = connect.with(ID, interval);
            }
            let mut client = cx.connect(connect)?;
            client.send(Disconnect::new().with(ID, seconds))?;
            client.expect_disconnect_or_close(&[0x82])?;
            // The DISCONNECT was invalid: the Will is published, and the Session is not extended.
            willing.expect_will()?;
            let client = cx.connect(cx.connecting("willing").resume())?;
            check_equal("Session Present", client.connack().session_present, false)?;
            client.disconnect()?;
        }
    }
    // Replacing 0 by 0 is allowed.
    willing.client(cx)?.disconnect_with(Disconnect::new().with(ID, 0))?;
    let mut publisher = cx.client("publisher")?;
    willing.subscriber.expect_silence_after(&mut publisher)
}

pub(super) fn replaced(cx: &mut Context) -> Outcome {
    let kept = cx.connecting("a").with(ID, 600);
    // Session Expiry Interval of CONNECT, of DISCONNECT, and whether the Session exists afterwards.
    for (disconnect, present) in [
        (Disconnect::new(), true),
        (Disconnect::new().with(ID, 500), true),
        (Disconnect::new().with(ID, u32::MAX), true),
        (Disconnect::new().with(ID, 0), false),
    ] {
        cx.connect(kept.clone())?.disconnect_with(disconnect)?;
        let client = cx.connect(cx.connecting("a").resume())?;
        check_equal("Session Present", client.connack().session_present, present)?;
        client.disconnect()?;
    }
    Ok(())
}
