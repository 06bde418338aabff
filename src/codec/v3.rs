//! Encodes the responses of 3.1 and 3.1.1 that differ from those of 5.0, with `mqttbytes`.
//!
//! Packets from clients are decoded by this codec only, because `mqttbytes` accepts reserved bits and U+0000, and
//! finding them would require a second pass.

use bytes::BytesMut;
use mqttbytes::v4;

use super::{Connack, ProtocolVersion, ReasonCode, Suback, Unsuback};

/// Encodes nothing if no Return Code corresponds to the Reason Code. [MQTT-3.2.2-6] 3.1 has no Session Present: its byte is
/// reserved.
pub(super) fn encode_connack(connack: &Connack, version: ProtocolVersion, output: &mut BytesMut) {
    if let Some(code) = return_code(connack.reason_code) {
        let session_present = connack.session_present && version != ProtocolVersion::V3_1;
        let packet = v4::ConnAck::new(code, session_present);
        write(output, |output| packet.write(output));
    }
}

/// Every failure becomes 0x80. 3.1 has no failure, and does not use the upper six bits of a granted QoS: a client that
/// keeps to its text reads QoS 0, and most clients of 3.1 know the failure of 3.1.1.
pub(super) fn encode_suback(suback: &Suback, output: &mut BytesMut) {
    let codes = suback.reason_codes.iter().map(|reason_code| match mqttbytes::qos(reason_code.number()) {
        Ok(qos) => v4::SubscribeReasonCode::Success(qos),
        Err(_) => v4::SubscribeReasonCode::Failure,
    });
    let packet = v4::SubAck::new(suback.packet_id.number(), codes.collect());
    write(output, |output| packet.write(output));
}

/// Encodes the packet without Reason Codes.
pub(super) fn encode_unsuback(unsuback: &Unsuback, output: &mut BytesMut) {
    let packet = v4::UnsubAck::new(unsuback.packet_id.number());
    write(output, |output| packet.write(output));
}

/// Appends a whole packet, or nothing if encoding fails.
fn write(output: &mut BytesMut, packet: impl FnOnce(&mut BytesMut) -> Result<usize, mqttbytes::Error>) {
    let start = output.len();
    if packet(output).is_err() {
        output.truncate(start);
    }
}

/// The Connect Return Code that corresponds to the Reason Code; `None` if it is not a refusal, or the CONNECT is malformed. What the client
/// may try again unchanged is Server unavailable, and what it may not do is Not authorized.
fn return_code(reason_code: ReasonCode) -> Option<v4::ConnectReturnCode> {
    match reason_code {
        ReasonCode::Success => Some(v4::ConnectReturnCode::Success),
        ReasonCode::UnsupportedProtocolVersion => Some(v4::ConnectReturnCode::RefusedProtocolVersion),
        ReasonCode::ClientIdentifierNotValid => Some(v4::ConnectReturnCode::BadClientId),
        ReasonCode::BadUserNameOrPassword => Some(v4::ConnectReturnCode::BadUserNamePassword),
        ReasonCode::NotAuthorized
        | ReasonCode::Banned
        | ReasonCode::BadAuthenticationMethod
        | ReasonCode::TopicFilterInvalid
        | ReasonCode::TopicNameInvalid
        | ReasonCode::PacketTooLarge
        | ReasonCode::AdministrativeAction
        | ReasonCode::PayloadFormatInvalid
        | ReasonCode::RetainNotSupported
        | ReasonCode::QosNotSupported
        | ReasonCode::SharedSubscriptionsNotSupported
        | ReasonCode::SubscriptionIdentifiersNotSupported
        | ReasonCode::WildcardSubscriptionsNotSupported => Some(v4::ConnectReturnCode::NotAuthorized),
        ReasonCode::UnspecifiedError
        | ReasonCode::ImplementationSpecificError
        | ReasonCode::ServerUnavailable
        | ReasonCode::ServerBusy
        | ReasonCode::ServerShuttingDown
        | ReasonCode::QuotaExceeded
        | ReasonCode::UseAnotherServer
        | ReasonCode::ServerMoved
        | ReasonCode::ConnectionRateExceeded
        | ReasonCode::KeepAliveTimeout
        | ReasonCode::SessionTakenOver
        | ReasonCode::PacketIdentifierInUse
        | ReasonCode::PacketIdentifierNotFound
        | ReasonCode::ReceiveMaximumExceeded
        | ReasonCode::TopicAliasInvalid
        | ReasonCode::MessageRateTooHigh
        | ReasonCode::MaximumConnectTime => Some(v4::ConnectReturnCode::ServiceUnavailable),
        ReasonCode::GrantedQos1
        | ReasonCode::GrantedQos2
        | ReasonCode::DisconnectWithWillMessage
        | ReasonCode::NoMatchingSubscribers
        | ReasonCode::NoSubscriptionExisted
        | ReasonCode::ContinueAuthentication
        | ReasonCode::ReAuthenticate
        | ReasonCode::MalformedPacket
        | ReasonCode::ProtocolError => None,
    }
}
