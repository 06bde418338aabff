//! The control plane of 3.1.1, by way of `mqttbytes`.
//!
//! That crate is no judge of what a stranger sends, so the frame, the bounds of every field, the options and the filters
//! are checked here, and it only ever sees what is well-formed.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use mqttbytes::v4;

use super::frame::FixedHeader;
use super::primitives::Reader;
use super::{
    Connack, DecodeError, PacketId, PacketType, Qos, ReasonCode, Suback, Subscribe, Subscription, SubscriptionOptions,
    Unsuback, Unsubscribe, UserProperties,
};
use crate::topic::{Filter, InvalidTopic};

/// Reads a SUBSCRIBE: `frame` is exactly one packet.
pub(super) fn decode_subscribe(header: FixedHeader, frame: &Bytes) -> Result<Subscribe, DecodeError> {
    let packet_id = check_payload(PacketType::Subscribe, header, frame)?;
    let packet = v4::Subscribe::read(foreign_header(header), frame.clone()).map_err(|_| DecodeError::Truncated)?;
    let subscriptions = packet.filters.into_iter().map(|wanted| {
        let qos = match wanted.qos {
            mqttbytes::QoS::AtMostOnce => Qos::AtMostOnce,
            mqttbytes::QoS::AtLeastOnce => Qos::AtLeastOnce,
            mqttbytes::QoS::ExactlyOnce => Qos::ExactlyOnce,
        };
        Ok(Subscription { filter: filter(wanted.path)?, options: SubscriptionOptions::new(qos) })
    });
    let subscriptions = subscriptions.collect::<Result<_, DecodeError>>()?;
    Ok(Subscribe { packet_id, subscription_id: None, user_properties: UserProperties::new(), subscriptions })
}

/// Reads an UNSUBSCRIBE: `frame` is exactly one packet.
pub(super) fn decode_unsubscribe(header: FixedHeader, frame: &Bytes) -> Result<Unsubscribe, DecodeError> {
    let packet_id = check_payload(PacketType::Unsubscribe, header, frame)?;
    let packet = v4::Unsubscribe::read(foreign_header(header), frame.clone()).map_err(|_| DecodeError::Truncated)?;
    let filters = packet.topics.into_iter().map(filter).collect::<Result<_, _>>()?;
    Ok(Unsubscribe { packet_id, user_properties: UserProperties::new(), filters })
}

/// Writes nothing if no Return Code says what the Reason Code does. [MQTT-3.2.2-6]
pub(super) fn encode_connack(connack: &Connack, output: &mut BytesMut) {
    if let Some(code) = return_code(connack.reason_code) {
        let packet = v4::ConnAck::new(code, connack.session_present);
        write(output, |output| packet.write(output));
    }
}

/// Any failure is 0x80.
pub(super) fn encode_suback(suback: &Suback, output: &mut BytesMut) {
    let codes = suback.reason_codes.iter().map(|reason_code| match mqttbytes::qos(reason_code.number()) {
        Ok(qos) => v4::SubscribeReasonCode::Success(qos),
        Err(_) => v4::SubscribeReasonCode::Failure,
    });
    let packet = v4::SubAck::new(suback.packet_id.number(), codes.collect());
    write(output, |output| packet.write(output));
}

/// Without Reason Codes.
pub(super) fn encode_unsuback(unsuback: &Unsuback, output: &mut BytesMut) {
    let packet = v4::UnsubAck::new(unsuback.packet_id.number());
    write(output, |output| packet.write(output));
}

/// Checks all of a SUBSCRIBE or UNSUBSCRIBE but its filters.
fn check_payload(packet_type: PacketType, header: FixedHeader, frame: &Bytes) -> Result<PacketId, DecodeError> {
    let mut reader = Reader::new(frame, header.length..header.packet_size());
    let packet_id = reader.packet_id()?;
    if reader.is_empty() {
        return Err(DecodeError::TopicFilterMissing(packet_type)); // [MQTT-3.8.3-3], [MQTT-3.10.3-2]
    }
    while !reader.is_empty() {
        // An empty filter costs two bytes here and tenfold in memory.
        if reader.str()?.is_empty() {
            return Err(DecodeError::TopicFilter(InvalidTopic::Empty));
        }
        if packet_type == PacketType::Subscribe {
            let options = reader.u8()?;
            Qos::new(options).ok_or(DecodeError::SubscriptionOptions(options))?; // [MQTT-3.8.3-4]
        }
    }
    Ok(packet_id)
}

fn foreign_header(header: FixedHeader) -> mqttbytes::FixedHeader {
    mqttbytes::FixedHeader::new(header.first_byte, header.length - 1, header.remaining_length)
}

fn filter(string: String) -> Result<Filter, DecodeError> {
    Filter::new(ByteString::from(string)).map_err(DecodeError::TopicFilter)
}

/// Leaves no half packet behind.
fn write(output: &mut BytesMut, packet: impl FnOnce(&mut BytesMut) -> Result<usize, mqttbytes::Error>) {
    let start = output.len();
    if packet(output).is_err() {
        output.truncate(start);
    }
}

/// The Connect Return Code nearest to the Reason Code, if one is near.
fn return_code(reason_code: ReasonCode) -> Option<v4::ConnectReturnCode> {
    match reason_code {
        ReasonCode::Success => Some(v4::ConnectReturnCode::Success),
        ReasonCode::UnsupportedProtocolVersion => Some(v4::ConnectReturnCode::RefusedProtocolVersion),
        ReasonCode::ClientIdentifierNotValid => Some(v4::ConnectReturnCode::BadClientId),
        ReasonCode::BadUserNameOrPassword => Some(v4::ConnectReturnCode::BadUserNamePassword),
        ReasonCode::NotAuthorized | ReasonCode::Banned | ReasonCode::BadAuthenticationMethod => {
            Some(v4::ConnectReturnCode::NotAuthorized)
        }
        ReasonCode::UnspecifiedError
        | ReasonCode::ImplementationSpecificError
        | ReasonCode::ServerUnavailable
        | ReasonCode::ServerBusy
        | ReasonCode::ServerShuttingDown
        | ReasonCode::QuotaExceeded
        | ReasonCode::UseAnotherServer
        | ReasonCode::ServerMoved
        | ReasonCode::ConnectionRateExceeded => Some(v4::ConnectReturnCode::ServiceUnavailable),
        ReasonCode::GrantedQos1
        | ReasonCode::GrantedQos2
        | ReasonCode::DisconnectWithWillMessage
        | ReasonCode::NoMatchingSubscribers
        | ReasonCode::NoSubscriptionExisted
        | ReasonCode::ContinueAuthentication
        | ReasonCode::ReAuthenticate
        | ReasonCode::MalformedPacket
        | ReasonCode::ProtocolError
        | ReasonCode::KeepAliveTimeout
        | ReasonCode::SessionTakenOver
        | ReasonCode::TopicFilterInvalid
        | ReasonCode::TopicNameInvalid
        | ReasonCode::PacketIdentifierInUse
        | ReasonCode::PacketIdentifierNotFound
        | ReasonCode::ReceiveMaximumExceeded
        | ReasonCode::TopicAliasInvalid
        | ReasonCode::PacketTooLarge
        | ReasonCode::MessageRateTooHigh
        | ReasonCode::AdministrativeAction
        | ReasonCode::PayloadFormatInvalid
        | ReasonCode::RetainNotSupported
        | ReasonCode::QosNotSupported
        | ReasonCode::SharedSubscriptionsNotSupported
        | ReasonCode::MaximumConnectTime
        | ReasonCode::SubscriptionIdentifiersNotSupported
        | ReasonCode::WildcardSubscriptionsNotSupported => None,
    }
}
