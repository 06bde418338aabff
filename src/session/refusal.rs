//! Acknowledgements that refuse, and the sentences that tell the client why.

use super::link::Link;
use crate::codec::{Ack, AckDetails, Late, ReasonCode, ServerPacket, UserProperties};

impl Link {
    /// The Reason String of a PUBACK or PUBREC with an error, if the client accepts it. `sentence`: the cause, if it is
    /// more specific than the Reason Code.
    #[cold]
    pub(super) fn details_of_refusal(&self, ack: &Ack, sentence: Option<&str>) -> Option<Box<AckDetails>> {
        let mut packet = ServerPacket::Puback(ack.clone());
        self.explain(ack.reason_code, sentence, &mut packet);
        let ServerPacket::Puback(ack) = packet else { return None };
        ack.details
    }

    /// Tells the client that its message is a duplicate by its `dedup-id`, if the client accepts that. [MQTT-3.1.2-29]
    #[cold]
    pub(super) fn details_of_duplicate(&self, ack: &Ack) -> Option<Box<AckDetails>> {
        self.details_told(ack, (vec![("duplicate".into(), "true".into())], None))
    }

    /// These User Properties of a PUBACK or PUBREC, if the client accepts them. [MQTT-3.1.2-29]
    #[cold]
    pub(super) fn details_told(
        &self,
        ack: &Ack,
        (user_properties, late): (UserProperties, Option<Late>),
    ) -> Option<Box<AckDetails>> {
        if !self.request_problem_information {
            return None;
        }
        let details = Some(Box::new(AckDetails { reason_string: None, user_properties, late }));
        let packet = ServerPacket::Puback(Ack { details: details.clone(), ..*ack });
        details.filter(|_| self.takes(&packet)) // [MQTT-3.4.2-3] [MQTT-3.5.2-3]
    }

    /// Adds to an acknowledgement what is known only now, if that fits.
    pub(super) fn complete(&self, packet: &mut ServerPacket) {
        let (ServerPacket::Puback(ack) | ServerPacket::Pubrec(ack)) = packet else { return };
        let Some(details) = ack.details.as_ref().and_then(|details| details.complete()) else { return };
        let details = Some(Box::new(details));
        if self.takes(&ServerPacket::Puback(Ack { details: details.clone(), ..*ack })) {
            ack.details = details; // [MQTT-3.4.2-3] [MQTT-3.5.2-3]
        }
    }

    /// PUBREL or PUBCOMP for a Packet Identifier that is not in use. `packet` is its kind.
    #[cold]
    pub(super) fn unknown_packet_id(&self, packet: fn(Ack) -> ServerPacket, ack: &Ack) -> ServerPacket {
        let reason_code = ReasonCode::PacketIdentifierNotFound;
        let mut packet = packet(Ack::new(ack.packet_id, reason_code));
        self.explain(reason_code, None, &mut packet);
        packet
    }

    fn explain(&self, reason_code: ReasonCode, sentence: Option<&str>, packet: &mut ServerPacket) {
        self.terms().explain(packet, sentence.unwrap_or_else(|| sentence_of(reason_code)));
    }
}

/// What a Reason Code means to the publisher of a message.
fn sentence_of(reason_code: ReasonCode) -> &'static str {
    let sentence = SENTENCES.iter().find(|(code, _)| *code == reason_code);
    sentence.map_or_else(|| reason_code.name(), |(_, sentence)| sentence)
}

/// None of them contains an access rule or the name of another client.
const SENTENCES: [(ReasonCode, &str); 6] = [
    (ReasonCode::NotAuthorized, "not authorized to publish to this topic"),
    (ReasonCode::TopicNameInvalid, "clients cannot publish to this topic"),
    (ReasonCode::PacketIdentifierInUse, "the Packet Identifier is in use by a QoS 2 message that waits for PUBREL"),
    (
        ReasonCode::PacketIdentifierNotFound,
        "no QoS 2 message has this Packet Identifier: it was refused, completed before, or is unknown",
    ),
    (
        ReasonCode::QuotaExceeded,
        "no further retained message is stored: retained_messages_max or retained_bytes_max is reached",
    ),
    (ReasonCode::PayloadFormatInvalid, "the payload is not UTF-8 although its Payload Format Indicator is 1"),
];
