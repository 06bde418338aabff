//! CONNECT.

use super::bytes::{Encode, Text, frame, prefixed};
use super::kind::{Kind, first_byte};
use super::property::{Properties, Value};
use super::version::Version;

/// CONNECT. By default it is well-formed, with Clean Start (3.1.1: Clean Session) and a Keep Alive of a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version by which the packet is encoded.
    pub version: Version,
    /// `MQTT`.
    pub protocol_name: Text,
    /// The Protocol Version (3.1.1: Protocol Level).
    pub protocol_level: u8,
    /// Clean Start; 3.1.1: Clean Session.
    pub clean_start: bool,
    /// In seconds.
    pub keep_alive: u16,
    /// Not written in 3.1.1.
    pub properties: Properties,
    /// The Client Identifier.
    pub client_id: Text,
    /// The Will Message.
    pub will: Option<Will>,
    /// The User Name.
    pub user_name: Option<Text>,
    /// The Password.
    pub password: Option<Text>,
    /// The Connect Flags, if they differ from those that the fields imply.
    pub connect_flags: Option<u8>,
    /// The four flags of the fixed header, if they aren't 0.
    pub flags: Option<u8>,
    /// Bytes behind the last field, included in the Remaining Length.
    pub trailing: Vec<u8>,
}

impl Connect {
    /// With an empty Client Identifier.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            protocol_name: Text::from("MQTT"),
            protocol_level: version.level(),
            clean_start: true,
            keep_alive: 60,
            properties: Properties::default(),
            client_id: Text::default(),
            will: None,
            user_name: None,
            password: None,
            connect_flags: None,
            flags: None,
            trailing: Vec::new(),
        }
    }

    /// With this Client Identifier.
    pub fn client_id(mut self, client_id: impl Into<Text>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// Clean Start (3.1.1: Clean Session) 0: resumes an existing Session.
    pub fn resume(mut self) -> Self {
        self.clean_start = false;
        self
    }

    /// A Session that outlives the connection: in 3.1.1 Clean Session 0; in 5.0 Clean Start 0 and this Session Expiry
    /// Interval.
    pub fn persistent(self, seconds: u32) -> Self {
        let resumed = self.resume();
        match resumed.version {
            Version::V3 => resumed,
            Version::V5 => resumed.with(super::property::SESSION_EXPIRY_INTERVAL, seconds),
        }
    }

    /// With this Keep Alive, in seconds.
    pub fn keep_alive(mut self, keep_alive: u16) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// With a property.
    pub fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.properties.push(id, value);
        self
    }

    /// With a Will Message.
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// With a User Name.
    pub fn user_name(mut self, user_name: impl Into<Text>) -> Self {
        self.user_name = Some(user_name.into());
        self
    }

    /// With a Password.
    pub fn password(mut self, password: impl Into<Text>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// With these Connect Flags, regardless of the fields.
    pub fn connect_flags(mut self, flags: u8) -> Self {
        self.connect_flags = Some(flags);
        self
    }

    /// With this Protocol Name.
    pub fn protocol_name(mut self, name: impl Into<Text>) -> Self {
        self.protocol_name = name.into();
        self
    }

    /// With this Protocol Version (3.1.1: Protocol Level); the layout stays that of `version`.
    pub fn protocol_level(mut self, level: u8) -> Self {
        self.protocol_level = level;
        self
    }

    /// With other flags in the fixed header.
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }

    /// The Connect Flags that the fields imply.
    pub fn flags_of_the_fields(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| 0b100 | (will.qos & 0b11) << 3 | u8::from(will.retain) << 5);
        let credentials = u8::from(self.user_name.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        u8::from(self.clean_start) << 1 | will | credentials
    }
}

impl Encode for Connect {
    fn encode(&self, _: Version) -> Vec<u8> {
        let mut body = prefixed(self.protocol_name.as_bytes());
        body.push(self.protocol_level);
        body.push(self.connect_flags.unwrap_or_else(|| self.flags_of_the_fields()));
        body.extend(self.keep_alive.to_be_bytes());
        if self.version.is_v5() {
            body.extend(self.properties.encode());
        }
        body.extend(prefixed(self.client_id.as_bytes()));
        if let Some(will) = &self.will {
            if self.version.is_v5() {
                body.extend(will.properties.encode());
            }
            body.extend(prefixed(will.topic.as_bytes()));
            body.extend(prefixed(will.payload.as_bytes()));
        }
        for text in self.user_name.iter().chain(&self.password) {
            body.extend(prefixed(text.as_bytes()));
        }
        body.extend_from_slice(&self.trailing);
        frame(first_byte(Kind::Connect, self.flags), &body)
    }

    fn describe(&self) -> String {
        let flags = self.connect_flags.unwrap_or_else(|| self.flags_of_the_fields());
        let mut text = format!(
            "Connect {{ {:?} {}, flags: {flags:08b}, keep_alive: {}, client_id: {:?}",
            self.protocol_name, self.protocol_level, self.keep_alive, self.client_id
        );
        if !self.properties.0.is_empty() {
            text.push_str(&format!(", properties: {:?}", self.properties));
        }
        if let Some(will) = &self.will {
            text.push_str(&format!(", will: {will:?}"));
        }
        for (name, value) in [("user_name", &self.user_name), ("password", &self.password)] {
            if let Some(value) = value {
                text.push_str(&format!(", {name}: {value:?}"));
            }
        }
        text.push_str(" }");
        text
    }
}

/// The Will Message in CONNECT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Will {
    /// The Will QoS; 3 is malformed.
    pub qos: u8,
    /// The Will Retain flag.
    pub retain: bool,
    /// The Will Properties, not written in 3.1.1.
    pub properties: Properties,
    /// The Will Topic.
    pub topic: Text,
    /// The Will Payload; 3.1.1: Will Message.
    pub payload: Text,
}

impl Will {
    /// At QoS 0.
    pub fn new(topic: impl Into<Text>, payload: impl Into<Text>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), ..Self::default() }
    }

    /// At this QoS level.
    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// With Will Retain.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// With a Will Property.
    pub fn with(mut self, id: u8, value: impl Into<Value>) -> Self {
        self.properties.push(id, value);
        self
    }
}
