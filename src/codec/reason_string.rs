use bytestring::ByteString;

use super::primitives::prefix_within;
use super::{AckDetails, AnswerTerms, ServerPacket};

impl AnswerTerms {
    /// Whether `packet` fits the Maximum Packet Size.
    pub fn fits(&self, packet: &ServerPacket) -> bool {
        self.maximum_packet_size.is_none_or(|maximum| packet.encoded_len(self.version) <= maximum.get() as usize)
    }

    /// Adds `sentence` as the Reason String, in at most [`REASON_STRING_MAX`] bytes. The packet stays as it is if the
    /// client has no Reason Strings, does not want them, or would get a packet above its Maximum Packet Size.
    /// [MQTT-3.2.2-19] [MQTT-3.4.2-2] [MQTT-3.9.2-1] [MQTT-3.14.2-3]
    pub fn explain(&self, packet: &mut ServerPacket, sentence: &str) {
        if self.version.has_properties() && self.request_problem_information {
            packet.set_reason_string(Some(bounded(sentence)));
            if !self.fits(packet) {
                packet.set_reason_string(None);
            }
        }
    }
}

impl ServerPacket {
    fn set_reason_string(&mut self, reason_string: Option<ByteString>) {
        match self {
            Self::Connack(connack) => connack.properties.reason_string = reason_string,
            Self::Puback(ack) | Self::Pubrec(ack) | Self::Pubrel(ack) | Self::Pubcomp(ack) => {
                let mut details = ack.details.take().unwrap_or_default();
                details.reason_string = reason_string;
                ack.details = (*details != AckDetails::default()).then_some(details);
            }
            Self::Suback(suback) => suback.reason_string = reason_string,
            Self::Unsuback(unsuback) => unsuback.reason_string = reason_string,
            Self::Disconnect(disconnect) => disconnect.reason_string = reason_string,
            Self::Auth(auth) => auth.reason_string = reason_string,
            Self::Publish(_) | Self::Pingresp => {}
        }
    }
}

/// The sentence without control characters, cut between characters to [`REASON_STRING_MAX`] bytes.
fn bounded(sentence: &str) -> ByteString {
    prefix_within(sentence, REASON_STRING_MAX)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect::<String>()
        .into()
}

/// Maximum length of a Reason String of the broker, in bytes.
pub const REASON_STRING_MAX: usize = 256;
