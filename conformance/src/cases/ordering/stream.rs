//! Packets are independent of the fragments of the byte stream.

use std::time::Duration;

use crate::context::Context;
use crate::failure::Outcome;
use crate::wire::{Encode, Pingreq, Publish, Subscribe};

pub(in crate::cases) fn however_it_is_cut(cx: &mut Context) -> Outcome {
    const MESSAGES: u16 = 10;
    let (topic, version) = (cx.topic("a"), cx.version());
    let mut bytes = cx.connecting("a").encode(version);
    bytes.extend(Subscribe::new(&topic, 1).packet_id(1).encode(version));
    for id in 1..=MESSAGES {
        bytes.extend(Publish::new(&topic, &id.to_be_bytes()).qos(1).packet_id(id).encode(version));
    }
    bytes.extend(Pingreq.encode(version));
    // All bytes in one write, and then in smaller and smaller ones.
    for size in [bytes.len(), 100, 7, 1] {
        let mut client = cx.open()?;
        for piece in bytes.chunks(size) {
            client.link().write(piece, "a piece")?;
            if size < 100 {
                // Long enough that the broker usually reads each fragment separately.
                std::thread::sleep(Duration::from_micros(300));
            }
        }
        client.expect_connack()?;
        client.expect_suback(1)?;
        for id in 1..=MESSAGES {
            client.expect_puback(id)?;
        }
        client.expect_kind(crate::wire::Kind::Pingresp)?;
        for id in 1..=MESSAGES {
            client.expect_message(&topic, id.to_be_bytes())?;
        }
    }
    Ok(())
}
