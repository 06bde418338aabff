//! Packets that both sides or only a server send, except PUBLISH, SUBACK and UNSUBACK.

use super::bytes::{Encode, frame};
use super::kind::{Kind, first_byte};
use super::property::{Properties, Value};
use super::publish::Publish;
use super::subscribe::{Suback, Unsuback};
use super::tables;
use super::version::Version;

/// A packet from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Packet {
    Connack(Connack),
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack),
    Suback(Suback),
    Unsuback(Unsuback),
    Pingresp,
    Disconnect(Disconnect),
    Auth(Auth),
}

impl Packet {
    /// Its type.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Connack(_) => Kind::Connack,
            Self::Publish(_) => Kind::Publish,
            Self::Ack(ack) => ack.kind.into(),
            Self::Suback(_) => Kind::Suback,
            Self::Unsuback(_) => Kind::Unsuback,
            Self::Pingresp => Kind::Pingresp,
            Self::Disconnect(_) => Kind::Disconnect,
            Self::Auth(_) => Kind::Auth,
        }
    }

    /// Its properties, empty in 3.1.1.
    pub fn properties(&self) -> Option<&Properties> {
        match self {
            Self::Connack(connack) => Some(&connack.properties),
            Self::Publish(publish) => Some(&publish.properties),
            Self::Ack(ack) => ack.properties.as_ref(),
            Self::Suback(suback) => Some(&suback.properties),
            Self::Unsuback(unsuback) => Some(&unsuback.properties),
            Self::Pingresp => None,
            Self::Disconnect(disconnect) => disconnect.properties.as_ref(),
            Self::Auth(auth) => auth.properties.as_ref(),
        }
    }

    /// The description in traces and failures.
    pub fn describe(&self) -> String {
        match self {
            Self::Connack(packet) => {
                format!("{packet:?}{}", reason(Kind::Connack, packet.reason))
            }
            Self::Publish(packet) => format!("{packet:?}"),
            Self::Ack(packet) => packet.describe(),
            Self::Suback(packet) => format!("{packet:?}"),
            Self::Unsuback(packet) => format!("{packet:?}"),
            Self::Pingresp => "Pingresp".to_owned(),
            Self::Disconnect(packet) => packet.describe(),
            Self::Auth(packet) => packet.describe(),
        }
    }
}

/// CONNACK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connack {
    /// Session Present.
    pub session_present: bool,
    /// The Reason Code; in 3.1.1, the return code.
    pub reason: u8,
    /// Empty in 3.1.1.
    pub properties: Properties,
}

/// Which of the four acknowledgements of PUBLISH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum AckKind {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
}

impl From<AckKind> for Kind {
    fn from(kind: AckKind) -> Self {
        match kind {
            AckKind::Puback => Self::Puback,
            AckKind::Pubrec => Self::Pubrec,
            AckKind::Pubrel => Self::Pubrel,
            AckKind::Pubcomp => Self::Pubcomp,
        }
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The kind.
    pub kind: AckKind,
    /// The Packet Identifier.
    pub packet_id: u16,
    /// The Reason Code, if it is written; 5.0 only.
    pub reason: Option<u8>,
    /// The properties with their length, if they are written; 5.0 only.
    pub properties: Option<Properties>,
    /// The four flags of the fixed header, if they differ from the required ones.
    pub flags: Option<u8>,
}

impl Ack {
    /// The shortest form.
    pub const fn new(kind: AckKind, packet_id: u16) -> Self {
        Self { kind, packet_id, reason: None, properties: None, flags: None }
    }

    /// PUBACK.
    pub const fn puback(packet_id: u16) -> Self {
        Self::new(AckKind::Puback, packet_id)
    }

    /// PUBREC.
    pub const fn pubrec(packet_id: u16) -> Self {
        Self::new(AckKind::Pubrec, packet_id)
    }

    /// PUBREL.
    pub const fn pubrel(packet_id: u16) -> Self {
        Self::new(AckKind::Pubrel, packet_id)
    }

    /// PUBCOMP.
    pub const fn pubcomp(packet_id: u16) -> Self {
        Self::new(AckKind::Pubcomp, packet_id)
    }

    /// With a Reason Code.
    pub const fn reason(mut self, reason: u8) -> Self {
        self.reason = Some(reason);
        self
    }

    /// With a property, and so also with a Reason Code.
    pub fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.reason.get_or_insert(0);
        self.properties.get_or_insert_default().push(id, value);
        self
    }

    /// With other flags in the fixed header.
    pub const fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }

    /// The Reason Code: 0 if it isn't written.
    pub fn reason_code(&self) -> u8 {
        self.reason.unwrap_or_default()
    }
}

impl Encode for Ack {
    fn encode(&self, _: Version) -> Vec<u8> {
        let mut body = self.packet_id.to_be_bytes().to_vec();
        body.extend(tail(self.reason, self.properties.as_ref()));
        frame(first_byte(self.kind.into(), self.flags), &body)
    }

    fn describe(&self) -> String {
        let kind = Kind::from(self.kind);
        let mut text = format!("{} {{ packet_id: {}", title(kind), self.packet_id);
        if let Some(code) = self.reason {
            text.push_str(&format!(", reason: {code}{}", reason(kind, code)));
        }
        text.push_str(&properties(self.properties.as_ref()));
        text.push_str(" }");
        text
    }
}

/// DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// The Reason Code, if it is written; 5.0 only.
    pub reason: Option<u8>,
    /// The properties with their length, if they are written; 5.0 only.
    pub properties: Option<Properties>,
    /// The four flags of the fixed header, if they aren't 0.
    pub flags: Option<u8>,
}

impl Disconnect {
    /// The shortest form: Normal disconnection.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a Reason Code.
    pub const fn reason(mut self, reason: u8) -> Self {
        self.reason = Some(reason);
        self
    }

    /// With a property, and so also with a Reason Code.
    pub fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.reason.get_or_insert(0);
        self.properties.get_or_insert_default().push(id, value);
        self
    }

    /// With other flags in the fixed header.
    pub const fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }

    /// The Reason Code: 0 if it isn't written.
    pub fn reason_code(&self) -> u8 {
        self.reason.unwrap_or_default()
    }
}

impl Encode for Disconnect {
    fn encode(&self, _: Version) -> Vec<u8> {
        frame(first_byte(Kind::Disconnect, self.flags), &tail(self.reason, self.properties.as_ref()))
    }

    fn describe(&self) -> String {
        let code = self.reason_code();
        let name = reason(Kind::Disconnect, code);
        format!("Disconnect {{ reason: {code}{name}{} }}", properties(self.properties.as_ref()))
    }
}

/// AUTH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// The Reason Code, if it is written.
    pub reason: Option<u8>,
    /// The properties with their length, if they are written.
    pub properties: Option<Properties>,
    /// The four flags of the fixed header, if they aren't 0.
    pub flags: Option<u8>,
}

impl Auth {
    /// With a Reason Code.
    pub fn new(reason: u8) -> Self {
        Self { reason: Some(reason), ..Self::default() }
    }

    /// With a property.
    pub fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.properties.get_or_insert_default().push(id, value);
        self
    }

    /// With other flags in the fixed header.
    pub const fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }

    /// The Reason Code: 0 if it isn't written.
    pub fn reason_code(&self) -> u8 {
        self.reason.unwrap_or_default()
    }
}

impl Encode for Auth {
    fn encode(&self, _: Version) -> Vec<u8> {
        frame(first_byte(Kind::Auth, self.flags), &tail(self.reason, self.properties.as_ref()))
    }

    fn describe(&self) -> String {
        let code = self.reason_code();
        format!("Auth {{ reason: {code}{}{} }}", reason(Kind::Auth, code), properties(self.properties.as_ref()))
    }
}

/// PINGREQ.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pingreq;

impl Encode for Pingreq {
    fn encode(&self, _: Version) -> Vec<u8> {
        frame(Kind::Pingreq.first_byte(), &[])
    }

    fn describe(&self) -> String {
        "Pingreq".to_owned()
    }
}

fn tail(reason: Option<u8>, properties: Option<&Properties>) -> Vec<u8> {
    let mut bytes: Vec<u8> = reason.into_iter().collect();
    bytes.extend(properties.into_iter().flat_map(Properties::encode));
    bytes
}

fn title(kind: Kind) -> String {
    format!("{kind:?}")
}

fn reason(kind: Kind, code: u8) -> String {
    tables::reason_name(kind, code).map_or_else(String::new, |name| format!(" ({name})"))
}

fn properties(properties: Option<&Properties>) -> String {
    properties.map_or_else(String::new, |properties| format!(", properties: {properties:?}"))
}
