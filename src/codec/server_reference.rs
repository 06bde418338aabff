use bytestring::ByteString;

use super::{AnswerTerms, ServerPacket};

impl AnswerTerms {
    /// Adds a Server Reference to a CONNACK or DISCONNECT with 0x9C or 0x9D. The packet stays as it is if there is none, if the client's version
    /// has none, or if the client would get a packet above its Maximum Packet Size. [MQTT-3.1.2-24] [4.11]
    pub fn refer(&self, packet: &mut ServerPacket, reference: Option<&ByteString>) {
        if !self.version.has_properties() || reference.is_none() {
            return;
        }
        packet.set_server_reference(reference.cloned());
        if !self.fits(packet) {
            packet.set_server_reference(None);
        }
    }
}

impl ServerPacket {
    fn set_server_reference(&mut self, reference: Option<ByteString>) {
        match self {
            Self::Connack(connack) => connack.properties.server_reference = reference,
            Self::Disconnect(disconnect) => disconnect.server_reference = reference,
            Self::Publish(_)
            | Self::Puback(_)
            | Self::Pubrec(_)
            | Self::Pubrel(_)
            | Self::Pubcomp(_)
            | Self::Suback(_)
            | Self::Unsuback(_)
            | Self::Auth(_)
            | Self::Pingresp => {}
        }
    }
}
