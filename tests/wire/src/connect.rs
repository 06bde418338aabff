use crate::packet::{CONNECT, packet, string};
use crate::publish::Publish;
use crate::version::Version;

/// A CONNECT packet.
#[derive(Debug, Clone)]
pub struct Connect {
    /// The version.
    pub version: Version,
    /// The Client Identifier.
    pub client_id: String,
    /// Clean Start; Clean Session in 3.1.1.
    pub clean_start: bool,
    /// Keep Alive in seconds.
    pub keep_alive: u16,
    /// Encoded properties without their length; 3.1.1 omits them.
    pub properties: Vec<u8>,
    /// User Name and Password.
    pub user: Option<(String, String)>,
    /// The Will Message.
    pub will: Option<Publish>,
}

impl Connect {
    /// A CONNECT for a session that ends with its connection.
    pub fn new(version: Version, client_id: &str) -> Self {
        let client_id = client_id.to_owned();
        Self { version, client_id, clean_start: true, keep_alive: 60, properties: Vec::new(), user: None, will: None }
    }

    /// A CONNECT for a session that outlives its connection by an hour.
    pub fn durable(version: Version, client_id: &str) -> Self {
        Self { clean_start: false, properties: vec![0x11, 0, 0, 0x0E, 0x10], ..Self::new(version, client_id) }
    }

    /// Sets User Name and Password.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.user = Some((name.to_owned(), password.to_owned()));
        self
    }

    /// The encoded packet.
    pub fn bytes(&self) -> Vec<u8> {
        let user_flags = if self.user.is_some() { 0xC0 } else { 0 };
        let will_flags = self.will.as_ref().map_or(0, |will| 0x04 | will.qos << 3 | u8::from(will.retain) << 5);
        let mut body = string("MQTT");
        body.extend([self.version as u8, user_flags | will_flags | u8::from(self.clean_start) << 1]);
        body.extend(self.keep_alive.to_be_bytes());
        body.extend(self.version.properties(&self.properties));
        body.extend(string(&self.client_id));
        if let Some(will) = &self.will {
            body.extend(self.version.properties(&[]));
            body.extend(string(&will.topic));
            body.extend(string(&will.payload));
        }
        if let Some((name, password)) = &self.user {
            body.extend(string(name));
            body.extend(string(password));
        }
        packet(CONNECT, &body)
    }
}
