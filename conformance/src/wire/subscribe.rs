//! SUBSCRIBE and UNSUBSCRIBE, and their answers.

use super::bytes::{Encode, Text, frame, prefixed};
use super::kind::{Kind, first_byte};
use super::property::{Properties, Value};
use super::version::Version;

/// A Topic Filter in SUBSCRIBE with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The Topic Filter.
    pub filter: Text,
    /// The byte of the Subscription Options; 3.1.1: the Requested QoS.
    pub options: u8,
}

impl Filter {
    /// The No Local option.
    pub const NO_LOCAL: u8 = 0b100;
    /// The Retain As Published option.
    pub const RETAIN_AS_PUBLISHED: u8 = 0b1000;
    /// Retain Handling 1: retained messages only if the subscription is new.
    pub const RETAIN_IF_NEW: u8 = 1 << 4;
    /// Retain Handling 2: no retained messages.
    pub const RETAIN_NEVER: u8 = 2 << 4;
}

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscribe {
    /// The Packet Identifier; `Client::subscribe_with` assigns a missing one. It is encoded as 0 if it is missing.
    pub packet_id: Option<u16>,
    /// Not written in 3.1.1.
    pub properties: Properties,
    /// The Topic Filters, in their order.
    pub filters: Vec<Filter>,
    /// The four flags of the fixed header, if they aren't 0010.
    pub flags: Option<u8>,
}

impl Subscribe {
    /// With one Topic Filter; `options` is the QoS, combined with the constants of [`Filter`].
    pub fn new(filter: impl Into<Text>, options: u8) -> Self {
        Self::default().and(filter, options)
    }

    /// With a further Topic Filter.
    pub fn and(mut self, filter: impl Into<Text>, options: u8) -> Self {
        self.filters.push(Filter { filter: filter.into(), options });
        self
    }

    /// With this Packet Identifier.
    pub fn packet_id(mut self, packet_id: u16) -> Self {
        self.packet_id = Some(packet_id);
        self
    }

    /// With a property.
    pub fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.properties.push(id, value);
        self
    }

    /// With other flags in the fixed header.
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }
}

impl Encode for Subscribe {
    fn encode(&self, version: Version) -> Vec<u8> {
        let mut body = head(version, self.packet_id, &self.properties);
        for Filter { filter, options } in &self.filters {
            body.extend(prefixed(filter.as_bytes()));
            body.push(*options);
        }
        frame(first_byte(Kind::Subscribe, self.flags), &body)
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unsubscribe {
    /// The Packet Identifier; `Client::unsubscribe_with` assigns a missing one. It is encoded as 0 if it is missing.
    pub packet_id: Option<u16>,
    /// Not written in 3.1.1.
    pub properties: Properties,
    /// The Topic Filters, in their order.
    pub filters: Vec<Text>,
    /// The four flags of the fixed header, if they aren't 0010.
    pub flags: Option<u8>,
}

impl Unsubscribe {
    /// With one Topic Filter.
    pub fn new(filter: impl Into<Text>) -> Self {
        Self::default().and(filter)
    }

    /// With a further Topic Filter.
    pub fn and(mut self, filter: impl Into<Text>) -> Self {
        self.filters.push(filter.into());
        self
    }

    /// With this Packet Identifier.
    pub fn packet_id(mut self, packet_id: u16) -> Self {
        self.packet_id = Some(packet_id);
        self
    }

    /// With a property.
    pub fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.properties.push(id, value);
        self
    }

    /// With other flags in the fixed header.
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }
}

impl Encode for Unsubscribe {
    fn encode(&self, version: Version) -> Vec<u8> {
        let mut body = head(version, self.packet_id, &self.properties);
        for filter in &self.filters {
            body.extend(prefixed(filter.as_bytes()));
        }
        frame(first_byte(Kind::Unsubscribe, self.flags), &body)
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// SUBACK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suback {
    /// The Packet Identifier.
    pub packet_id: u16,
    /// Empty in 3.1.1.
    pub properties: Properties,
    /// The Reason Codes (3.1.1: return codes), one for each Topic Filter.
    pub reasons: Vec<u8>,
}

/// UNSUBACK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unsuback {
    /// The Packet Identifier.
    pub packet_id: u16,
    /// Empty in 3.1.1.
    pub properties: Properties,
    /// The Reason Codes, one for each Topic Filter; none in 3.1.1.
    pub reasons: Vec<u8>,
}

fn head(version: Version, packet_id: Option<u16>, properties: &Properties) -> Vec<u8> {
    let mut body = packet_id.unwrap_or_default().to_be_bytes().to_vec();
    if version.is_v5() {
        body.extend(properties.encode());
    }
    body
}
