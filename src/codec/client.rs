//! The other side: what a Client writes and reads. The broker has no use for it; its simulation and tests do.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use super::frame::{FixedHeader, Sender, check_first_byte};
use super::last_topic::LastTopic;
use super::primitives::{Reader, put_binary, put_packet, put_string};
use super::property::*;
use super::publish::PublishHeader;
use super::{
    Ack, AliasUse, Auth, ClientPacket, Connack, ConnackProperties, Connect, ConnectProperties, DecodeError, Disconnect,
    Matched, OutgoingPublish, PacketId, PacketType, ProtocolVersion, Publish, Qos, ReasonCode, ServerPacket, Suback,
    Subscribe, TopicAlias, Unsuback, Unsubscribe, Will,
};
use crate::topic::TopicName;

/// Appends `packet` to `output`. A CONNECT is written in the version that it names; what `version` has no place for is left
/// out.
pub fn encode_client(packet: &ClientPacket, version: ProtocolVersion, output: &mut BytesMut) {
    let packet_type = packet.packet_type();
    let first_byte = packet_type.first_byte();
    let mut body = BytesMut::new();
    match packet {
        ClientPacket::Connect(connect) => put_connect(&mut body, connect),
        ClientPacket::Publish(publish) => {
            put_publish(&mut body, publish, version);
            let flags = u8::from(publish.dup) << 3 | publish.qos.level() << 1 | u8::from(publish.retain);
            return put_packet(output, first_byte | flags, &body);
        }
        ClientPacket::Puback(ack)
        | ClientPacket::Pubrec(ack)
        | ClientPacket::Pubrel(ack)
        | ClientPacket::Pubcomp(ack) => return ack.encode(packet_type, version, output),
        ClientPacket::Subscribe(subscribe) => put_subscribe(&mut body, subscribe, version),
        ClientPacket::Unsubscribe(unsubscribe) => put_unsubscribe(&mut body, unsubscribe, version),
        ClientPacket::Disconnect(disconnect) if version.has_properties() => return disconnect.encode(output),
        ClientPacket::Auth(auth) => return auth.encode(output),
        ClientPacket::Pingreq | ClientPacket::Disconnect(_) => {}
    }
    put_packet(output, first_byte, &body);
}

/// Takes one packet off the front of `input`, or nothing if it has not all come. It knows no Topic Alias: see
/// [`ServerDecoder`].
pub fn decode_server(version: ProtocolVersion, input: &mut Bytes) -> Result<Option<ServerPacket>, DecodeError> {
    ServerDecoder::new(version).decode(input)
}

/// Turns what a Server sends into packets; it fills in the Topic Names that Topic Aliases stand for.
#[derive(Debug, Clone)]
pub struct ServerDecoder {
    version: ProtocolVersion,
    topics: HashMap<TopicAlias, TopicName>,
}

impl ServerDecoder {
    /// A decoder for a connection in this version.
    pub fn new(version: ProtocolVersion) -> Self {
        Self { version, topics: HashMap::new() }
    }

    /// Takes one packet off the front of `input`, or nothing if it has not all come.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<ServerPacket>, DecodeError> {
        let Some(&first_byte) = input.first() else { return Ok(None) };
        let packet_type = check_first_byte(first_byte)?;
        let Some(header) = FixedHeader::read(input)? else { return Ok(None) };
        if input.len() < header.packet_size() {
            return Ok(None);
        }
        let mut reader = Reader::new(input, header.length..header.packet_size());
        let packet = self.decode_packet(packet_type, first_byte, &mut reader)?;
        reader.finish()?;
        input.advance(header.packet_size());
        Ok(Some(packet))
    }

    fn decode_packet(
        &mut self,
        packet_type: PacketType,
        first_byte: u8,
        reader: &mut Reader<'_>,
    ) -> Result<ServerPacket, DecodeError> {
        let version = self.version;
        let mut ack =
            |packet: fn(Ack) -> ServerPacket| Ack::decode_with_details(packet_type, version, reader).map(packet);
        match packet_type {
            PacketType::Puback => ack(ServerPacket::Puback),
            PacketType::Pubrec => ack(ServerPacket::Pubrec),
            PacketType::Pubrel => ack(ServerPacket::Pubrel),
            PacketType::Pubcomp => ack(ServerPacket::Pubcomp),
            PacketType::Publish => self.decode_publish(first_byte, reader).map(ServerPacket::Publish),
            PacketType::Connack => connack(reader, version).map(Box::new).map(ServerPacket::Connack),
            PacketType::Suback => suback(reader, version).map(Box::new).map(ServerPacket::Suback),
            PacketType::Unsuback => unsuback(reader, version).map(Box::new).map(ServerPacket::Unsuback),
            PacketType::Pingresp => Ok(ServerPacket::Pingresp),
            PacketType::Disconnect if version.has_properties() => {
                Disconnect::decode(Sender::Server, version, reader).map(Box::new).map(ServerPacket::Disconnect)
            }
            PacketType::Auth if version.has_properties() => Auth::decode(reader).map(Box::new).map(ServerPacket::Auth),
            PacketType::Connect
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::Pingreq
            | PacketType::Disconnect
            | PacketType::Auth => Err(DecodeError::WrongDirection(packet_type)),
        }
    }

    fn decode_publish(&mut self, first_byte: u8, reader: &mut Reader<'_>) -> Result<OutgoingPublish, DecodeError> {
        let mut subscription_ids = SmallVec::new();
        let header = PublishHeader { first_byte, version: self.version, sender: Sender::Server };
        let mut publish = Publish::decode(header, reader, &mut LastTopic::default(), &mut subscription_ids)?;
        match publish.topic_alias {
            None => {}
            Some((alias, AliasUse::Set)) => drop(self.topics.insert(alias, publish.message.topic.clone())),
            Some((alias, AliasUse::Known)) => {
                let topic = self.topics.get(&alias).cloned().ok_or(DecodeError::TopicMissing)?;
                Arc::make_mut(&mut publish.message).topic = topic;
            }
        }
        Ok(OutgoingPublish {
            message: publish.message,
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            topic_alias: publish.topic_alias,
            message_expiry_interval: publish.message_expiry_interval,
            matched: Matched::new(subscription_ids, None),
            message_id: false,
        })
    }
}

impl Publish {
    /// The same with this payload.
    #[must_use]
    pub fn with_payload(mut self, payload: impl Into<Bytes>) -> Self {
        Arc::make_mut(&mut self.message).payload = payload.into();
        self
    }

    /// The same with these properties.
    #[must_use]
    pub fn with_properties(mut self, properties: MessageProperties) -> Self {
        Arc::make_mut(&mut self.message).properties = properties;
        self
    }
}

fn put_connect(output: &mut BytesMut, connect: &Connect) {
    let version = connect.version;
    put_string(output, version.protocol_name());
    output.put_u8(version.protocol_level());
    let (will_qos, will_retain) = connect.will.as_ref().map_or((0, false), |will| (will.qos.level(), will.retain));
    output.put_u8(
        u8::from(connect.clean_start) << 1
            | u8::from(connect.will.is_some()) << 2
            | will_qos << 3
            | u8::from(will_retain) << 5
            | u8::from(connect.password.is_some()) << 6
            | u8::from(connect.user_name.is_some()) << 7,
    );
    output.put_u16(connect.keep_alive);
    if version.has_properties() {
        put_properties(output, |properties| put_connect_properties(properties, &connect.properties));
    }
    put_string(output, &connect.client_id);
    if let Some(will) = &connect.will {
        if version.has_properties() {
            put_properties(output, |properties| put_will_properties(properties, will));
        }
        put_string(output, will.topic.as_str());
        put_binary(output, &will.payload);
    }
    if let Some(user_name) = &connect.user_name {
        put_string(output, user_name);
    }
    if let Some(password) = &connect.password {
        put_binary(output, password);
    }
}

fn put_connect_properties(output: &mut BytesMut, properties: &ConnectProperties) {
    if properties.session_expiry_interval > 0 {
        put_u32_property(output, SESSION_EXPIRY_INTERVAL, properties.session_expiry_interval);
    }
    if properties.receive_maximum < NonZeroU16::MAX {
        put_u16_property(output, RECEIVE_MAXIMUM, properties.receive_maximum.get());
    }
    if let Some(maximum_packet_size) = properties.maximum_packet_size {
        put_u32_property(output, MAXIMUM_PACKET_SIZE, maximum_packet_size.get());
    }
    if properties.topic_alias_maximum > 0 {
        put_u16_property(output, TOPIC_ALIAS_MAXIMUM, properties.topic_alias_maximum);
    }
    if properties.request_response_information {
        put_byte_property(output, REQUEST_RESPONSE_INFORMATION, 1);
    }
    if !properties.request_problem_information {
        put_byte_property(output, REQUEST_PROBLEM_INFORMATION, 0);
    }
    put_user_properties(output, &properties.user_properties);
    put_string_property(output, AUTHENTICATION_METHOD, properties.authentication_method.as_ref());
    put_binary_property(output, AUTHENTICATION_DATA, properties.authentication_data.as_ref());
}

fn put_will_properties(output: &mut BytesMut, will: &Will) {
    if will.will_delay_interval > 0 {
        put_u32_property(output, WILL_DELAY_INTERVAL, will.will_delay_interval);
    }
    if let Some(seconds) = will.message_expiry_interval {
        put_u32_property(output, MESSAGE_EXPIRY_INTERVAL, seconds);
    }
    output.put_slice(will.properties.as_bytes());
}

fn put_publish(output: &mut BytesMut, publish: &Publish, version: ProtocolVersion) {
    let message = &publish.message;
    put_string(
        output,
        if matches!(publish.topic_alias, Some((_, AliasUse::Known))) { "" } else { message.topic.as_str() },
    );
    if let Some(packet_id) = publish.packet_id {
        output.put_u16(packet_id.number());
    }
    if version.has_properties() {
        put_properties(output, |properties| {
            if let Some((topic_alias, _)) = publish.topic_alias {
                put_u16_property(properties, TOPIC_ALIAS, topic_alias.get());
            }
            if let Some(seconds) = publish.message_expiry_interval {
                put_u32_property(properties, MESSAGE_EXPIRY_INTERVAL, seconds);
            }
            properties.put_slice(message.properties.as_bytes());
        });
    }
    output.put_slice(&message.payload);
}

fn put_subscribe(output: &mut BytesMut, subscribe: &Subscribe, version: ProtocolVersion) {
    output.put_u16(subscribe.packet_id.number());
    if version.has_properties() {
        put_properties(output, |properties| {
            if let Some(subscription_id) = subscribe.subscription_id {
                put_subscription_id(properties, subscription_id.get());
            }
            put_user_properties(properties, &subscribe.user_properties);
        });
    }
    for subscription in &subscribe.subscriptions {
        put_string(output, &subscription.filter.to_string());
        let options = subscription.options;
        output.put_u8(if version.has_properties() { options.encode() } else { options.qos.level() });
    }
}

fn put_unsubscribe(output: &mut BytesMut, unsubscribe: &Unsubscribe, version: ProtocolVersion) {
    output.put_u16(unsubscribe.packet_id.number());
    if version.has_properties() {
        put_properties(output, |properties| put_user_properties(properties, &unsubscribe.user_properties));
    }
    for filter in &unsubscribe.filters {
        put_string(output, &filter.to_string());
    }
}

fn connack(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<Connack, DecodeError> {
    let flags = reader.u8()?;
    if flags > 1 {
        return Err(DecodeError::ConnectFlags(flags)); // [MQTT-3.2.2-1]
    }
    let mut connack = Connack::accepted(flags == 1);
    if version.has_properties() {
        connack.reason_code = reader.reason_code(PacketType::Connack)?;
        decode_properties(reader, Place::Connack, |id, reader| {
            take_connack_property(&mut connack.properties, id, reader)
        })?;
    } else {
        connack.reason_code = match reader.u8()? {
            0 => ReasonCode::Success,
            1 => ReasonCode::UnsupportedProtocolVersion,
            2 => ReasonCode::ClientIdentifierNotValid,
            3 => ReasonCode::ServerUnavailable,
            4 => ReasonCode::BadUserNameOrPassword,
            5 => ReasonCode::NotAuthorized,
            other => return Err(DecodeError::ReasonCode(other)),
        };
    }
    Ok(connack)
}

fn take_connack_property(
    properties: &mut ConnackProperties,
    id: u8,
    reader: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    let wrong = DecodeError::PropertyValue(id);
    match id {
        SESSION_EXPIRY_INTERVAL => properties.session_expiry_interval = Some(reader.u32()?),
        RECEIVE_MAXIMUM => properties.receive_maximum = Some(NonZeroU16::new(reader.u16()?).ok_or(wrong)?),
        MAXIMUM_QOS => {
            let qos = Qos::new(reader.u8()?).filter(|&qos| qos < Qos::ExactlyOnce);
            properties.maximum_qos = qos.ok_or(wrong)?;
        }
        RETAIN_AVAILABLE => properties.retain_available = flag(id, reader)?,
        MAXIMUM_PACKET_SIZE => properties.maximum_packet_size = Some(NonZeroU32::new(reader.u32()?).ok_or(wrong)?),
        ASSIGNED_CLIENT_IDENTIFIER => properties.assigned_client_identifier = Some(reader.string()?),
        TOPIC_ALIAS_MAXIMUM => properties.topic_alias_maximum = reader.u16()?,
        REASON_STRING => properties.reason_string = Some(reader.string()?),
        USER_PROPERTY => properties.user_properties.push(user_property(reader)?),
        WILDCARD_SUBSCRIPTION_AVAILABLE => properties.wildcard_subscription_available = flag(id, reader)?,
        SUBSCRIPTION_IDENTIFIERS_AVAILABLE => properties.subscription_identifiers_available = flag(id, reader)?,
        SHARED_SUBSCRIPTION_AVAILABLE => properties.shared_subscription_available = flag(id, reader)?,
        SERVER_KEEP_ALIVE => properties.server_keep_alive = Some(reader.u16()?),
        RESPONSE_INFORMATION => properties.response_information = Some(reader.string()?),
        SERVER_REFERENCE => properties.server_reference = Some(reader.string()?),
        AUTHENTICATION_METHOD => properties.authentication_method = Some(reader.string()?),
        AUTHENTICATION_DATA => properties.authentication_data = Some(reader.binary()?),
        other => return Err(DecodeError::PropertyNotAllowed(other)),
    }
    Ok(())
}

fn suback(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<Suback, DecodeError> {
    let (packet_id, reason_string) = acknowledged(reader, version)?;
    let mut reason_codes = Vec::new();
    while !reader.is_empty() {
        let reason_code = reader.reason_code(PacketType::Suback)?;
        if !version.has_properties() && reason_code > ReasonCode::UnspecifiedError {
            return Err(DecodeError::ReasonCode(reason_code.number())); // [MQTT-3.9.3-2] of 3.1.1
        }
        reason_codes.push(reason_code);
    }
    Ok(Suback { packet_id, reason_codes, reason_string })
}

fn unsuback(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<Unsuback, DecodeError> {
    let (packet_id, reason_string) = acknowledged(reader, version)?;
    let mut reason_codes = Vec::new();
    while version.has_properties() && !reader.is_empty() {
        reason_codes.push(reader.reason_code(PacketType::Unsuback)?);
    }
    Ok(Unsuback { packet_id, reason_codes, reason_string })
}

fn acknowledged(
    reader: &mut Reader<'_>,
    version: ProtocolVersion,
) -> Result<(PacketId, Option<bytestring::ByteString>), DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut reason_string = None;
    if version.has_properties() {
        decode_properties(reader, Place::Acknowledgement, |id, reader| {
            match id {
                REASON_STRING => reason_string = Some(reader.string()?),
                _ => drop(user_property(reader)?),
            }
            Ok(())
        })?;
    }
    Ok((packet_id, reason_string))
}
