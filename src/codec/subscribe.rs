use bytes::{BufMut, BytesMut};
use bytestring::ByteString;
use std::num::NonZeroU32;

use super::primitives::{Reader, put_packet};
use super::property::{
    Place, REASON_STRING, SUBSCRIPTION_IDENTIFIER, decode_properties, put_properties, put_string_property,
};
use super::user_properties::UserPropertyRuns;
use super::{DecodeError, EncodedUserProperties, PacketId, PacketType, ProtocolVersion, Qos, ReasonCode};
use crate::topic::Filter;

/// A Subscription Identifier, from 1 to 268,435,455.
pub type SubscriptionId = NonZeroU32;

/// A SUBSCRIBE packet. [MQTT-3.8]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The SUBACK has the same one. [MQTT-2.2.1-6]
    pub packet_id: PacketId,
    /// Applies to every subscription of this packet.
    pub subscription_id: Option<SubscriptionId>,
    /// In the order of the packet.
    pub user_properties: EncodedUserProperties,
    /// At least one subscription. [MQTT-3.8.3-2]
    pub subscriptions: Vec<Subscription>,
}

/// A Topic Filter with its Subscription Options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The Topic Filter, with a ShareName for a Shared Subscription.
    pub filter: Filter,
    /// The delivery options.
    pub options: SubscriptionOptions,
}

/// The Subscription Options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Maximum QoS.
    pub qos: Qos,
    /// No Local: messages of this Client are not delivered to it. Never set on a Shared Subscription. [MQTT-3.8.3-4]
    pub no_local: bool,
    /// Retain As Published: delivered messages keep their RETAIN flag.
    pub retain_as_published: bool,
    /// Which retained messages are sent at the time of the subscription.
    pub retain_handling: RetainHandling,
}

/// Retain Handling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainHandling {
    /// 0: send them at every SUBSCRIBE.
    Send,
    /// 1: send them if the subscription is new.
    SendIfNew,
    /// 2: do not send them.
    DoNotSend,
}

/// A SUBACK packet. [MQTT-3.9]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suback {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// One for each subscription, in order. [MQTT-3.8.4-6]
    pub reason_codes: Vec<ReasonCode>,
    /// Reason String, a human-readable explanation.
    pub reason_string: Option<ByteString>,
}

impl Subscribe {
    /// Decodes the body of the packet.
    pub(super) fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut subscribe = Self {
            packet_id: reader.packet_id()?,
            subscription_id: None,
            user_properties: EncodedUserProperties::new(),
            subscriptions: Vec::new(),
        };
        if version.has_properties() {
            let mut kept = UserPropertyRuns::default();
            decode_properties(reader, Place::Subscribe, |id, reader| {
                match id {
                    SUBSCRIPTION_IDENTIFIER => {
                        let subscription_id = SubscriptionId::new(reader.variable_byte_integer()?);
                        subscribe.subscription_id = Some(subscription_id.ok_or(DecodeError::PropertyValue(id))?);
                    }
                    _ => kept.keep(reader)?,
                }
                Ok(())
            })?;
            subscribe.user_properties = kept.into_properties(reader.frame());
        }
        while !reader.is_empty() {
            subscribe.subscriptions.push(Subscription::decode(version, reader)?);
        }
        if subscribe.subscriptions.is_empty() {
            return Err(DecodeError::TopicFilterMissing(PacketType::Subscribe));
        }
        Ok(subscribe)
    }
}

impl Subscription {
    fn decode(version: ProtocolVersion, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let filter = reader.filter()?;
        let byte = reader.u8()?;
        if !version.has_properties() {
            let byte = if version.ignores_unused() { byte & 0b11 } else { byte };
            let qos = Qos::new(byte).ok_or(DecodeError::SubscriptionOptions(byte))?; // [MQTT-3.8.3-4] of 3.1.1
            return Ok(Self { filter, options: SubscriptionOptions::new(qos) });
        }
        let options = SubscriptionOptions::decode(byte)?;
        if options.no_local && filter.share.is_some() {
            return Err(DecodeError::NoLocalOnShared); // [MQTT-3.8.3-4]
        }
        Ok(Self { filter, options })
    }
}

impl SubscriptionOptions {
    /// The options of a 3.1.1 subscription at `qos`.
    pub const fn new(qos: Qos) -> Self {
        Self { qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    fn decode(byte: u8) -> Result<Self, DecodeError> {
        if byte & 0b1100_0000 != 0 {
            return Err(DecodeError::SubscriptionOptions(byte)); // [MQTT-3.8.3-5]
        }
        let retain_handling = match byte >> 4 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(DecodeError::SubscriptionOptionValue(byte)),
        };
        Ok(Self {
            qos: Qos::new(byte & 0b11).ok_or(DecodeError::SubscriptionOptionValue(byte))?,
            no_local: byte & NO_LOCAL != 0,
            retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
            retain_handling,
        })
    }

    pub(super) fn encode(self) -> u8 {
        let retain_handling: u8 = match self.retain_handling {
            RetainHandling::Send => 0,
            RetainHandling::SendIfNew => 1,
            RetainHandling::DoNotSend => 2,
        };
        let no_local = if self.no_local { NO_LOCAL } else { 0 };
        let retain_as_published = if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
        self.qos.level() | no_local | retain_as_published | retain_handling << 4
    }
}

impl Suback {
    /// A SUBACK without properties.
    pub const fn new(packet_id: PacketId, reason_codes: Vec<ReasonCode>) -> Self {
        Self { packet_id, reason_codes, reason_string: None }
    }

    /// Encodes the 5.0 packet.
    pub(super) fn encode(&self, output: &mut BytesMut) {
        encode_acknowledgement(PacketType::Suback, self.packet_id, &self.reason_string, &self.reason_codes, output);
    }
}

/// Encodes SUBACK or UNSUBACK, which have the same layout in 5.0.
pub(super) fn encode_acknowledgement(
    packet_type: PacketType,
    packet_id: PacketId,
    reason_string: &Option<ByteString>,
    reason_codes: &[ReasonCode],
    output: &mut BytesMut,
) {
    let mut body = BytesMut::with_capacity(3 + reason_codes.len());
    body.put_u16(packet_id.number());
    put_properties(&mut body, |properties| put_string_property(properties, REASON_STRING, reason_string.as_ref()));
    body.extend(reason_codes.iter().map(|reason_code| reason_code.number()));
    put_packet(output, packet_type.first_byte(), &body);
}

const NO_LOCAL: u8 = 0b0100;
const RETAIN_AS_PUBLISHED: u8 = 0b1000;
