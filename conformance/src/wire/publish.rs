//! PUBLISH, in both directions.

use super::bytes::{Encode, Text, frame, prefixed};
use super::kind::{Kind, first_byte};
use super::property::{Properties, Value};
use super::version::Version;

/// PUBLISH.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Publish {
    /// The DUP flag.
    pub dup: bool,
    /// The QoS level; 3 is malformed.
    pub qos: u8,
    /// The RETAIN flag.
    pub retain: bool,
    /// The Topic Name.
    pub topic: Text,
    /// The Packet Identifier. `Client::publish` assigns a missing one at QoS 1 and 2.
    pub packet_id: Option<u16>,
    /// Empty in 3.1.1.
    pub properties: Properties,
    /// The payload.
    pub payload: Text,
}

impl Publish {
    /// At QoS 0.
    pub fn new(topic: impl Into<Text>, payload: impl Into<Text>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }

    /// At this QoS level.
    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// With the RETAIN flag.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// With the DUP flag.
    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// With this Packet Identifier, whatever the QoS level.
    pub fn packet_id(mut self, packet_id: u16) -> Self {
        self.packet_id = Some(packet_id);
        self
    }

    /// With a property.
    pub fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.properties.push(id, value);
        self
    }
}

impl Encode for Publish {
    fn encode(&self, version: Version) -> Vec<u8> {
        let flags = u8::from(self.dup) << 3 | (self.qos & 0b11) << 1 | u8::from(self.retain);
        let mut body = prefixed(self.topic.as_bytes());
        body.extend(self.packet_id.into_iter().flat_map(u16::to_be_bytes));
        if version.is_v5() {
            body.extend(self.properties.encode());
        }
        body.extend_from_slice(self.payload.as_bytes());
        frame(first_byte(Kind::Publish, Some(flags)), &body)
    }

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

impl std::fmt::Debug for Publish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut packet = f.debug_struct("Publish");
        packet.field("qos", &self.qos);
        if self.dup {
            packet.field("dup", &self.dup);
        }
        if self.retain {
            packet.field("retain", &self.retain);
        }
        if let Some(packet_id) = self.packet_id {
            packet.field("packet_id", &packet_id);
        }
        packet.field("topic", &self.topic);
        if !self.properties.0.is_empty() {
            packet.field("properties", &self.properties);
        }
        packet.field("payload", &self.payload).finish()
    }
}
