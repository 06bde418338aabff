use bytes::{BufMut, BytesMut};
use std::num::NonZeroU16;

use crate::codec::primitives::{put_binary, put_packet, put_string};
use crate::codec::property::{
    AUTHENTICATION_DATA, AUTHENTICATION_METHOD, MAXIMUM_PACKET_SIZE, MESSAGE_EXPIRY_INTERVAL, RECEIVE_MAXIMUM,
    REQUEST_PROBLEM_INFORMATION, REQUEST_RESPONSE_INFORMATION, SESSION_EXPIRY_INTERVAL, TOPIC_ALIAS,
    TOPIC_ALIAS_MAXIMUM, WILL_DELAY_INTERVAL, put_binary_property, put_byte_property, put_properties,
    put_string_property, put_subscription_id, put_u16_property, put_u32_property,
};
use crate::codec::version::BRIDGE;
use crate::codec::{
    AliasUse, ClientPacket, Connect, ConnectProperties, ProtocolVersion, Publish, Subscribe, Unsubscribe, Will,
};

/// Appends `packet` to `output`: a CONNECT in the version that it names, other packets in `version`. Fields that the
/// version lacks are omitted: properties, and in 3.1.1 the whole AUTH.
///
/// Strings and binary data are truncated to [`STRING_LENGTH_MAX`](crate::codec::limits::STRING_LENGTH_MAX) bytes.
/// Before sending, the caller must compare the number of appended bytes with the Server's Maximum Packet Size and with
/// [`PACKET_SIZE_MAX`](crate::codec::limits::PACKET_SIZE_MAX).
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
        ClientPacket::Auth(auth) if version.has_properties() => return auth.encode(output),
        ClientPacket::Auth(_) => return,
        ClientPacket::Pingreq | ClientPacket::Disconnect(_) => {}
    }
    put_packet(output, first_byte, &body);
}

fn put_connect(output: &mut BytesMut, connect: &Connect) {
    let version = connect.version;
    put_string(output, version.protocol_name());
    let is_bridge = connect.is_bridge && !version.has_properties();
    output.put_u8(version.protocol_level() | if is_bridge { BRIDGE } else { 0 });
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
    properties.user_properties.encode(output);
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
    let is_known = version.has_properties() && matches!(publish.topic_alias, Some((_, AliasUse::Known)));
    put_string(output, if is_known { "" } else { message.topic.as_str() });
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
            subscribe.user_properties.encode(properties);
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
        put_properties(output, |properties| unsubscribe.user_properties.encode(properties));
    }
    for filter in &unsubscribe.filters {
        put_string(output, &filter.to_string());
    }
}
