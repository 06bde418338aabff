use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use oncemq::codec::{
    Ack, Auth, Connack, Disconnect, Message, MessageProperties, MessageProperty, OutgoingPublish, PacketId,
    ProtocolVersion, Qos, ReasonCode, ServerPacket, Suback, Unsuback, encode as write,
};
use oncemq::topic::TopicName;
use std::sync::Arc;

use super::choices::Choices;
use super::decode::{VERSIONS, answered};

/// What the broker may send has the announced length, and a client reads it to its end.
pub(crate) fn encode(input: &[u8]) {
    let mut choices = Choices::new(input);
    let version = VERSIONS[choices.below(VERSIONS.len())];
    let mut client = answered(version);
    while !choices.is_empty() {
        let packet = packet(&mut choices, version);
        let mut written = BytesMut::new();
        write(&packet, version, &mut written);
        assert_eq!(written.len(), packet.encoded_len(version), "{packet:?}");
        let mut written = written.freeze();
        if written.is_empty() {
            continue; // the version doesn't have the packet
        }
        match client.decode(&mut written) {
            Ok(Some(read)) => assert_eq!(read.packet_type(), packet.packet_type()),
            // The Reason Code may be one that this packet may not have.
            Ok(None) => panic!("half a packet: {packet:?}"),
            Err(_) => return,
        }
        assert!(written.is_empty(), "bytes behind {packet:?}");
    }
}

fn packet(choices: &mut Choices<'_>, version: ProtocolVersion) -> ServerPacket {
    let id = PacketId::new(choices.u16()).unwrap_or(PacketId::new(1).expect("not 0"));
    let reason_code = ReasonCode::new(choices.byte()).unwrap_or(ReasonCode::Success);
    let ack = Ack::new(id, reason_code);
    match choices.below(11) {
        0 => ServerPacket::Puback(ack),
        1 => ServerPacket::Pubrec(ack),
        2 => ServerPacket::Pubrel(ack),
        3 => ServerPacket::Pubcomp(ack),
        4 => ServerPacket::Pingresp,
        5 => {
            let mut disconnect = Disconnect::new(reason_code);
            disconnect.reason_string = text(choices);
            disconnect.server_reference = text(choices);
            ServerPacket::Disconnect(Box::new(disconnect))
        }
        6 => {
            let mut auth = Auth::new(reason_code, text(choices));
            auth.reason_string = text(choices);
            ServerPacket::Auth(Box::new(auth))
        }
        7 => {
            let codes = (0..=choices.below(5)).map(|_| ReasonCode::new(choices.byte()).unwrap_or(ReasonCode::Success));
            ServerPacket::Suback(Box::new(Suback::new(id, codes.collect())))
        }
        8 => ServerPacket::Unsuback(Box::new(Unsuback::new(id, vec![reason_code; 1 + choices.below(3)]))),
        9 => {
            let mut connack = Connack::accepted(choices.coin() && version.has_properties());
            connack.properties.assigned_client_identifier = text(choices);
            connack.properties.reason_string = text(choices);
            ServerPacket::Connack(Box::new(connack))
        }
        _ => ServerPacket::Publish(publish(choices, id)),
    }
}

fn publish(choices: &mut Choices<'_>, id: PacketId) -> OutgoingPublish {
    let topic = text(choices).and_then(|text| TopicName::new(text).ok());
    let topic = topic.unwrap_or(TopicName::new(ByteString::from_static("t")).expect("legal"));
    let mut message = Message::new(topic, Bytes::copy_from_slice(choices.bytes()));
    let pairs = (0..choices.below(4)).filter_map(|_| Some((text(choices)?, text(choices)?)));
    let properties: Vec<_> = pairs.map(|(name, value)| MessageProperty::UserProperty(name, value)).collect();
    message.properties = MessageProperties::from_properties(properties);
    let mut publish = OutgoingPublish::new(Arc::new(message));
    publish.qos = Qos::new(choices.byte() % 3).expect("below 3");
    publish.packet_id = (publish.qos != Qos::AtMostOnce).then_some(id);
    publish.dup = publish.packet_id.is_some() && choices.coin();
    publish.retain = choices.coin();
    publish.message_expiry_interval = choices.coin().then(|| choices.u32());
    publish
}

fn text(choices: &mut Choices<'_>) -> Option<ByteString> {
    let bytes = choices.bytes();
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.contains('\0'))?;
    Some(ByteString::from(text))
}
