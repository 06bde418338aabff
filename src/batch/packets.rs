//! A batch as MQTT 5.0 PUBLISH packets, one behind the other.
//!
//! A Packet Identifier has to be there at QoS 1 and 2 and has no meaning, as DUP. There are no Topic Aliases.

use std::sync::Arc;

use bytes::Bytes;

use super::malformed::Malformed;
use super::message::{BatchMessage, Terms};
use crate::codec::{ClientPacket, Decoder, ProtocolVersion, Publish};

pub(super) fn read(payload: &Bytes, terms: Terms) -> Result<Vec<BatchMessage>, Malformed> {
    let mut decoder = Decoder::connected(ProtocolVersion::V5);
    let (mut rest, mut messages) = (payload.clone(), Vec::new());
    while !rest.is_empty() {
        let place = messages.len();
        if place == terms.messages_max {
            return Err(Malformed::too_many(terms.messages_max));
        }
        let wrong = |cause: &str| Err(Malformed::at(place, None, cause));
        match decoder.decode(&mut rest) {
            Ok(Some(ClientPacket::Publish(publish))) => messages.push(message(place, publish)?),
            Ok(Some(_)) => return wrong("it is no PUBLISH packet"),
            Ok(None) => return wrong("the packet is incomplete"),
            Err(error) => return wrong(&error.to_string()),
        }
    }
    Ok(messages)
}

fn message(place: usize, publish: Publish) -> Result<BatchMessage, Malformed> {
    let Publish { message, qos, retain, message_expiry_interval, topic_alias, .. } = publish;
    if topic_alias.is_some() {
        return Err(Malformed::at(place, None, "a message of a batch has no Topic Alias"));
    }
    let mut message = Arc::unwrap_or_clone(message);
    message.topic = message.topic.detached();
    message.detach();
    Ok(BatchMessage { message, qos, retain, message_expiry_interval })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{MessageProperty, Qos};

    const TERMS: Terms = Terms { messages_max: 3, qos: Qos::AtLeastOnce };

    fn read(packets: &[&[u8]]) -> Result<Vec<BatchMessage>, Malformed> {
        super::read(&Bytes::from(packets.concat()), TERMS)
    }

    /// QoS 2, DUP, RETAIN, Packet Identifier 7, Message Expiry Interval 60, a User Property, payload `x`.
    const RICH: &[u8] = b"\x3d\x13\0\x01t\0\x07\x0c\x02\0\0\0\x3c\x26\0\x01k\0\x01vx";
    const PLAIN: &[u8] = b"\x30\x05\0\x01u\0y";

    #[test]
    fn the_fields_of_a_packet_are_those_of_the_message() {
        let [rich, plain] = &read(&[RICH, PLAIN]).unwrap()[..] else { panic!("two messages") };
        assert_eq!((rich.message.topic.as_str(), &*rich.message.payload), ("t", &b"x"[..]));
        assert_eq!((rich.qos, rich.retain, rich.message_expiry_interval), (Qos::ExactlyOnce, true, Some(60)));
        let property = MessageProperty::UserProperty("k".into(), "v".into());
        assert_eq!(rich.message.properties.iter().collect::<Vec<_>>(), [property]);
        assert_eq!(
            (plain.message.topic.as_str(), &*plain.message.payload, plain.qos),
            ("u", &b"y"[..], Qos::AtMostOnce)
        );
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (packets, expected) in [
            (&[PLAIN, &RICH[..5]][..], "message 2: the packet is incomplete"),
            (&[PLAIN, b"\xc0\0"], "message 2: it is no PUBLISH packet"),
            (&[b"\x30\x05\0\x01+\0y"], "message 1: "),
            (&[b"\x36\x07\0\x01t\0\x01\0y"], "message 1: "),
            (&[b"\x32\x07\0\x01t\0\0\0y"], "message 1: "),
            (&[b"\x30\x07\0\x01t\x03\x23\0\x01"], "message 1: a message of a batch has no Topic Alias"),
            (&[b"\x10\x0c\0\x04MQTT\x05\0\0\0\0"], "message 1: "),
            (&[PLAIN, PLAIN, PLAIN, PLAIN], "the batch: it has more than 3 messages"),
        ] {
            let malformed = read(packets).unwrap_err().to_string();
            assert!(malformed.starts_with(expected), "{packets:?}: {malformed}");
        }
    }

    #[test]
    fn messages_keep_no_memory_of_the_batch() {
        let payload = Bytes::from([PLAIN, RICH].concat());
        let range = payload.as_ptr_range();
        for message in super::read(&payload, TERMS).unwrap() {
            let topic = message.message.topic.as_str().as_ptr();
            assert!(!range.contains(&message.message.payload.as_ptr()) && !range.contains(&topic));
        }
    }
}
