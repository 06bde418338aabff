//! Packets that only a Server sends in response: CONNACK, SUBACK and UNSUBACK.

use bytestring::ByteString;
use std::num::{NonZeroU16, NonZeroU32};

use crate::codec::primitives::Reader;
use crate::codec::property::{
    ASSIGNED_CLIENT_IDENTIFIER, AUTHENTICATION_DATA, AUTHENTICATION_METHOD, MAXIMUM_PACKET_SIZE, MAXIMUM_QOS, Place,
    REASON_STRING, RECEIVE_MAXIMUM, RESPONSE_INFORMATION, RETAIN_AVAILABLE, SERVER_KEEP_ALIVE, SERVER_REFERENCE,
    SESSION_EXPIRY_INTERVAL, SHARED_SUBSCRIPTION_AVAILABLE, SUBSCRIPTION_IDENTIFIERS_AVAILABLE, TOPIC_ALIAS_MAXIMUM,
    USER_PROPERTY, WILDCARD_SUBSCRIPTION_AVAILABLE, decode_properties, flag, user_property,
};
use crate::codec::{
    Connack, ConnackProperties, DecodeError, PacketId, PacketType, ProtocolVersion, Qos, ReasonCode, Suback, Unsuback,
};

/// Decodes the body of a CONNACK.
pub(super) fn connack(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<Connack, DecodeError> {
    let flags = reader.u8()? & if version.ignores_unused() { 0 } else { u8::MAX };
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

/// Decodes the body of a SUBACK.
pub(super) fn suback(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<Suback, DecodeError> {
    let (packet_id, reason_string) = acknowledged(reader, version)?;
    let mut reason_codes = Vec::new();
    while !reader.is_empty() {
        let reason_code = reader.reason_code(PacketType::Suback)?;
        if !version.has_properties() && reason_code > ReasonCode::UnspecifiedError {
            return Err(DecodeError::ReasonCode(reason_code.number())); // [MQTT-3.9.3-2] of 3.1.1
        }
        reason_codes.push(reason_code);
    }
    if reason_codes.is_empty() {
        return Err(DecodeError::Truncated); // [MQTT-3.8.4-6]
    }
    Ok(Suback { packet_id, reason_codes, reason_string })
}

/// Decodes the body of an UNSUBACK, which has no Reason Codes in 3.1.1.
pub(super) fn unsuback(reader: &mut Reader<'_>, version: ProtocolVersion) -> Result<Unsuback, DecodeError> {
    let (packet_id, reason_string) = acknowledged(reader, version)?;
    let mut reason_codes = Vec::new();
    while version.has_properties() && !reader.is_empty() {
        reason_codes.push(reader.reason_code(PacketType::Unsuback)?);
    }
    if version.has_properties() && reason_codes.is_empty() {
        return Err(DecodeError::Truncated); // [MQTT-3.11.3-2]
    }
    Ok(Unsuback { packet_id, reason_codes, reason_string })
}

/// Decodes the common beginning of SUBACK and UNSUBACK. User Properties are validated and discarded.
fn acknowledged(
    reader: &mut Reader<'_>,
    version: ProtocolVersion,
) -> Result<(PacketId, Option<ByteString>), DecodeError> {
    let packet_id = reader.packet_id()?;
    let mut reason_string = None;
    if version.has_properties() {
        decode_properties(reader, Place::Acknowledgement, |id, reader| {
            match id {
                REASON_STRING => reason_string = Some(reader.string()?),
                _ => reader.skip_string_pairs(USER_PROPERTY)?,
            }
            Ok(())
        })?;
    }
    Ok((packet_id, reason_string))
}
