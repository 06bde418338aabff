//! Decodes packets with `mqttbytes` and converts them to our types, as far as its result is reliable.
//!
//! Not compared: 3.1, AUTH, DISCONNECT of 5.0 (its Reason Code is lost) and UNSUBSCRIBE of 5.0 (it prints).

#![expect(clippy::wildcard_enum_match_arm, reason = "most of the packets of the other side's enums are not compared")]

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use mqttbytes::{QoS, v4, v5};
use std::num::{NonZeroU16, NonZeroU32};

use crate::codec::{
    Ack, AliasUse, ClientPacket, Connect, ConnectProperties, Disconnect, EncodedUserProperties, MessageProperties,
    MessageProperty, PacketId, ProtocolVersion, Publish, Qos, ReasonCode, RetainHandling, Subscribe, Subscription,
    SubscriptionOptions, Unsubscribe, Will,
};
use crate::topic::{Filter, TopicName};

/// Fails if `mqttbytes` decodes `frame` to something else than `packet`.
pub(super) fn compare(version: ProtocolVersion, frame: &[u8], packet: &ClientPacket) {
    if let Some((theirs, _)) = second_opinion(version, frame, packet) {
        assert_eq!(canonical(packet.clone()), canonical(theirs), "{frame:02x?}");
    }
}

/// The packet that `mqttbytes` decodes from `frame`, and the frame that it encodes for it.
pub(super) fn second_opinion(
    version: ProtocolVersion,
    frame: &[u8],
    packet: &ClientPacket,
) -> Option<(ClientPacket, Option<Bytes>)> {
    let version = if let ClientPacket::Connect(connect) = packet { connect.version } else { version };
    let mut stream = BytesMut::from(frame);
    match (version, packet) {
        (ProtocolVersion::V3_1, _) => None,
        (ProtocolVersion::V3_1_1, _) => {
            let theirs = v4::read(&mut stream, usize::MAX).ok()?;
            Some((from_v4(theirs.clone())?, write_v4(&theirs)))
        }
        (ProtocolVersion::V5, ClientPacket::Unsubscribe(_) | ClientPacket::Disconnect(_) | ClientPacket::Auth(_)) => {
            None
        }
        (ProtocolVersion::V5, _) => {
            let theirs = v5::read(&mut stream, usize::MAX).ok()?;
            Some((from_v5(theirs.clone())?, write_v5(&theirs)))
        }
    }
}

/// Removes information that `mqttbytes` loses: the order of properties of different kinds, and empty User Names and
/// Passwords.
pub(super) fn canonical(packet: ClientPacket) -> ClientPacket {
    match packet {
        ClientPacket::Connect(mut connect) => {
            connect.user_name = connect.user_name.filter(|user_name| !user_name.is_empty());
            connect.password = connect.password.filter(|password| !password.is_empty());
            if let Some(will) = &mut connect.will {
                will.properties = sorted(&will.properties);
            }
            ClientPacket::Connect(connect)
        }
        ClientPacket::Publish(publish) => {
            let properties = sorted(&publish.message.properties);
            ClientPacket::Publish(publish.with_properties(properties))
        }
        other => other,
    }
}

fn sorted(properties: &MessageProperties) -> MessageProperties {
    let mut properties: Vec<_> = properties.iter().collect();
    properties.sort_by_key(|property| match property {
        MessageProperty::PayloadFormatIndicator(_) => 0,
        MessageProperty::ContentType(_) => 1,
        MessageProperty::ResponseTopic(_) => 2,
        MessageProperty::CorrelationData(_) => 3,
        MessageProperty::UserProperty(..) => 4,
    });
    MessageProperties::from_properties(properties)
}

fn from_v4(packet: v4::Packet) -> Option<ClientPacket> {
    Some(match packet {
        v4::Packet::Connect(theirs) => {
            let mut connect = Connect::new(ProtocolVersion::V3_1_1, theirs.client_id, theirs.clean_session);
            connect.keep_alive = theirs.keep_alive;
            connect.will = theirs.last_will.map(|will| Will {
                topic: topic(will.topic),
                payload: will.message,
                qos: qos(will.qos),
                retain: will.retain,
                will_delay_interval: 0,
                message_expiry_interval: None,
                properties: MessageProperties::default(),
            });
            if let Some(login) = theirs.login {
                connect.user_name = Some(login.username.into());
                connect.password = Some(login.password.into());
            }
            ClientPacket::Connect(Box::new(connect))
        }
        v4::Packet::Publish(theirs) => ClientPacket::Publish(Publish {
            dup: theirs.dup,
            qos: qos(theirs.qos),
            retain: theirs.retain,
            packet_id: PacketId::new(theirs.pkid),
            ..Publish::new(topic(theirs.topic), theirs.payload)
        }),
        v4::Packet::PubAck(ack) => ClientPacket::Puback(success(ack.pkid)),
        v4::Packet::PubRec(ack) => ClientPacket::Pubrec(success(ack.pkid)),
        v4::Packet::PubRel(ack) => ClientPacket::Pubrel(success(ack.pkid)),
        v4::Packet::PubComp(ack) => ClientPacket::Pubcomp(success(ack.pkid)),
        v4::Packet::Subscribe(theirs) => ClientPacket::Subscribe(Box::new(Subscribe {
            packet_id: PacketId::new(theirs.pkid)?,
            subscription_id: None,
            user_properties: EncodedUserProperties::new(),
            subscriptions: theirs.filters.into_iter().map(subscription_of_v4).collect(),
        })),
        v4::Packet::Unsubscribe(theirs) => ClientPacket::Unsubscribe(Box::new(Unsubscribe {
            packet_id: PacketId::new(theirs.pkid)?,
            user_properties: EncodedUserProperties::new(),
            filters: theirs.topics.into_iter().map(filter).collect(),
        })),
        v4::Packet::PingReq => ClientPacket::Pingreq,
        v4::Packet::Disconnect => ClientPacket::Disconnect(Box::new(Disconnect::new(ReasonCode::Success))),
        other => panic!("read as {other:?}"),
    })
}

fn subscription_of_v4(theirs: v4::SubscribeFilter) -> Subscription {
    Subscription { filter: filter(theirs.path), options: SubscriptionOptions::new(qos(theirs.qos)) }
}

fn write_v4(packet: &v4::Packet) -> Option<Bytes> {
    let mut output = BytesMut::new();
    match packet {
        // It leaves out an empty User Name and keeps the Password flag, which 3.1.1 forbids. [MQTT-3.1.2-22]
        v4::Packet::Connect(packet) if packet.login.as_ref().is_some_and(|login| login.username.is_empty()) => {
            return None;
        }
        v4::Packet::Connect(packet) => packet.write(&mut output),
        v4::Packet::Publish(packet) => packet.write(&mut output),
        v4::Packet::PubAck(packet) => packet.write(&mut output),
        v4::Packet::PubRec(packet) => packet.write(&mut output),
        v4::Packet::PubRel(packet) => packet.write(&mut output),
        v4::Packet::PubComp(packet) => packet.write(&mut output),
        v4::Packet::Subscribe(packet) => packet.write(&mut output),
        v4::Packet::Unsubscribe(packet) => packet.write(&mut output),
        _ => return None,
    }
    .ok()?;
    Some(output.freeze())
}

fn from_v5(packet: v5::Packet) -> Option<ClientPacket> {
    Some(match packet {
        v5::Packet::Connect(theirs) => ClientPacket::Connect(Box::new(connect_of_v5(theirs))),
        v5::Packet::Publish(theirs) => ClientPacket::Publish(publish_of_v5(theirs)),
        v5::Packet::PubAck(ack) => ClientPacket::Puback(Ack::new(PacketId::new(ack.pkid)?, reason(ack.reason as u8))),
        v5::Packet::PubRec(ack) => ClientPacket::Pubrec(Ack::new(PacketId::new(ack.pkid)?, reason(ack.reason as u8))),
        v5::Packet::PubRel(ack) => ClientPacket::Pubrel(Ack::new(PacketId::new(ack.pkid)?, reason(ack.reason as u8))),
        v5::Packet::PubComp(ack) => ClientPacket::Pubcomp(Ack::new(PacketId::new(ack.pkid)?, reason(ack.reason as u8))),
        v5::Packet::Subscribe(theirs) => {
            let (id, user_properties) =
                theirs.properties.map_or((None, Vec::new()), |properties| (properties.id, properties.user_properties));
            ClientPacket::Subscribe(Box::new(Subscribe {
                packet_id: PacketId::new(theirs.pkid)?,
                subscription_id: id.map(|id| NonZeroU32::new(u32::try_from(id).unwrap()).unwrap()),
                user_properties: pairs(user_properties),
                subscriptions: theirs.filters.into_iter().map(subscription_of_v5).collect(),
            }))
        }
        v5::Packet::PingReq => ClientPacket::Pingreq,
        other => panic!("read as {other:?}"),
    })
}

fn connect_of_v5(theirs: v5::Connect) -> Connect {
    let mut connect = Connect::new(ProtocolVersion::V5, theirs.client_id, theirs.clean_session);
    connect.keep_alive = theirs.keep_alive;
    if let Some(properties) = theirs.properties {
        connect.properties = ConnectProperties {
            session_expiry_interval: properties.session_expiry_interval.unwrap_or(0),
            receive_maximum: NonZeroU16::new(properties.receive_maximum.unwrap_or(u16::MAX)).unwrap(),
            maximum_packet_size: properties.max_packet_size.map(|size| NonZeroU32::new(size).unwrap()),
            topic_alias_maximum: properties.topic_alias_max.unwrap_or(0),
            request_response_information: properties.request_response_info == Some(1),
            request_problem_information: properties.request_problem_info != Some(0),
            user_properties: pairs(properties.user_properties),
            authentication_method: properties.authentication_method.map(ByteString::from),
            authentication_data: properties.authentication_data,
        };
    }
    connect.will = theirs.last_will.map(|will| {
        let properties = will.properties.clone();
        let user_properties = properties.clone().map_or(Vec::new(), |properties| properties.user_properties);
        let of = |name: fn(v5::WillProperties) -> Option<MessageProperty>| properties.clone().and_then(name);
        let message_properties = [
            of(|all| all.payload_format_indicator.map(|value| MessageProperty::PayloadFormatIndicator(value == 1))),
            of(|all| all.content_type.map(|value| MessageProperty::ContentType(value.into()))),
            of(|all| all.response_topic.map(|value| MessageProperty::ResponseTopic(value.into()))),
            of(|all| all.correlation_data.map(MessageProperty::CorrelationData)),
        ];
        Will {
            topic: topic(will.topic),
            payload: will.message,
            qos: qos(will.qos),
            retain: will.retain,
            will_delay_interval: properties.as_ref().and_then(|all| all.delay_interval).unwrap_or(0),
            message_expiry_interval: properties.as_ref().and_then(|all| all.message_expiry_interval),
            properties: message_properties_of(message_properties, user_properties),
        }
    });
    if let Some(login) = theirs.login {
        connect.user_name = Some(login.username.into());
        connect.password = Some(login.password.into());
    }
    connect
}

fn publish_of_v5(theirs: v5::Publish) -> Publish {
    let has_topic = !theirs.topic.is_empty();
    let mut publish = Publish {
        dup: theirs.dup,
        qos: qos(theirs.qos),
        retain: theirs.retain,
        packet_id: PacketId::new(theirs.pkid),
        ..Publish::new(if has_topic { topic(theirs.topic) } else { TopicName::unresolved() }, theirs.payload)
    };
    if let Some(properties) = theirs.properties {
        let alias_use = if has_topic { AliasUse::Set } else { AliasUse::Known };
        publish.topic_alias = properties.topic_alias.map(|alias| (NonZeroU16::new(alias).unwrap(), alias_use));
        publish.message_expiry_interval = properties.message_expiry_interval;
        let format = properties.payload_format_indicator;
        let message_properties = [
            format.map(|value| MessageProperty::PayloadFormatIndicator(value == 1)),
            properties.content_type.map(|value| MessageProperty::ContentType(value.into())),
            properties.response_topic.map(|value| MessageProperty::ResponseTopic(value.into())),
            properties.correlation_data.map(MessageProperty::CorrelationData),
        ];
        publish = publish.with_properties(message_properties_of(message_properties, properties.user_properties));
    }
    publish
}

fn subscription_of_v5(theirs: v5::SubscribeFilter) -> Subscription {
    let options = SubscriptionOptions {
        qos: qos(theirs.qos),
        no_local: theirs.nolocal,
        retain_as_published: theirs.preserve_retain,
        retain_handling: match theirs.retain_forward_rule {
            v5::RetainForwardRule::OnEverySubscribe => RetainHandling::Send,
            v5::RetainForwardRule::OnNewSubscribe => RetainHandling::SendIfNew,
            v5::RetainForwardRule::Never => RetainHandling::DoNotSend,
        },
    };
    Subscription { filter: filter(theirs.path), options }
}

fn write_v5(packet: &v5::Packet) -> Option<Bytes> {
    let mut output = BytesMut::new();
    match packet {
        v5::Packet::Connect(packet) => packet.write(&mut output),
        v5::Packet::Publish(packet) => packet.write(&mut output),
        v5::Packet::Subscribe(packet) => packet.write(&mut output),
        _ => return None,
    }
    .ok()?;
    Some(output.freeze())
}

fn message_properties_of(
    properties: [Option<MessageProperty>; 4],
    user_properties: Vec<(String, String)>,
) -> MessageProperties {
    let user_properties =
        user_properties.into_iter().map(|(name, value)| MessageProperty::UserProperty(name.into(), value.into()));
    MessageProperties::from_properties(properties.into_iter().flatten().chain(user_properties))
}

fn pairs(user_properties: Vec<(String, String)>) -> EncodedUserProperties {
    user_properties.into_iter().collect()
}

fn success(packet_id: u16) -> Ack {
    Ack::new(PacketId::new(packet_id).unwrap(), ReasonCode::Success)
}

fn reason(number: u8) -> ReasonCode {
    ReasonCode::new(number).unwrap()
}

fn qos(theirs: QoS) -> Qos {
    Qos::new(theirs as u8).unwrap()
}

fn topic(string: String) -> TopicName {
    TopicName::new(string.into()).unwrap()
}

fn filter(string: String) -> Filter {
    Filter::new(string.into()).unwrap()
}
