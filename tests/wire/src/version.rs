use crate::packet::{SUBSCRIBE, UNSUBSCRIBE, length, packet, string};

/// A version of MQTT, as the Protocol Level of CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1.
    V311 = 4,
    /// 5.0.
    V5 = 5,
}

impl Version {
    /// Encodes the properties of a packet, if the version has them.
    pub(crate) fn properties(self, properties: &[u8]) -> Vec<u8> {
        match self {
            Self::V311 => Vec::new(),
            Self::V5 => [&length(properties.len())[..], properties].concat(),
        }
    }

    /// A PUBLISH with this first byte, including its flags.
    pub fn publish(self, first: u8, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
        let mut body = string(topic);
        if first & 0x06 != 0 {
            body.extend(packet_id.to_be_bytes());
        }
        body.extend(self.properties(&[]));
        body.extend(payload);
        packet(first, &body)
    }

    /// A SUBSCRIBE to one filter; in 3.1.1 the options are the QoS.
    pub fn subscribe(self, packet_id: u16, filter: &str, options: u8) -> Vec<u8> {
        let mut body = packet_id.to_be_bytes().to_vec();
        body.extend(self.properties(&[]));
        body.extend(string(filter));
        body.push(options);
        packet(SUBSCRIBE, &body)
    }

    /// An UNSUBSCRIBE of one filter.
    pub fn unsubscribe(self, packet_id: u16, filter: &str) -> Vec<u8> {
        let mut body = packet_id.to_be_bytes().to_vec();
        body.extend(self.properties(&[]));
        body.extend(string(filter));
        packet(UNSUBSCRIBE, &body)
    }
}
