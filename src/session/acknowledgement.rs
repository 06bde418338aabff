//! Acknowledgements of QoS 1 and 2 messages by the client.

use super::entry::State;
use super::link::Link;
use super::outbound::Outbound;
use super::{Action, Actions, ProtocolError, QueueExit, QueueStep};
use crate::codec::{Ack, PacketId, PacketType, ReasonCode, ServerPacket};

impl Outbound {
    /// PUBACK completes a QoS 1 message. One for an unknown identifier is a repeat and is ignored.
    pub(super) fn on_puback(&mut self, ack: &Ack, actions: &mut impl Actions) -> Result<(), ProtocolError> {
        match self.find(ack.packet_id) {
            Some((place, _, State::AwaitingPuback)) => {
                let is_refused = ack.reason_code.is_error();
                if is_refused && self.limits.refused.are_sent_again() && !self.is_of_group(place) {
                    self.refuse(place, ack.reason_code, actions);
                    return Ok(());
                }
                let way = if is_refused { refused(ack.reason_code) } else { (QueueStep::Acknowledged, ACKNOWLEDGED) };
                self.complete(place, way, actions);
                Ok(())
            }
            Some((_, _, State::AwaitingPubrec | State::AwaitingPubcomp)) => {
                Err(ProtocolError::UnexpectedAck { packet: PacketType::Puback })
            }
            Some((_, _, State::Queued | State::Done)) | None => Ok(()),
        }
    }

    /// PUBREC: the client has received or refused the QoS 2 message. [MQTT-4.3.3-4] [MQTT-4.4.0-2]
    ///
    /// If this connection still has to retransmit the message, PUBREC is ignored: the client will respond to the
    /// retransmission, and PUBREL must not be sent before the record that it waits for is stable.
    pub(super) fn on_pubrec(
        &mut self,
        ack: &Ack,
        link: Option<&Link>,
        actions: &mut impl Actions,
    ) -> Result<(), ProtocolError> {
        let id = ack.packet_id;
        match self.find(id) {
            Some((place, _, State::AwaitingPubrec)) if ack.reason_code.is_error() => {
                if self.limits.refused.are_sent_again() {
                    self.refuse(place, ack.reason_code, actions);
                } else {
                    self.complete(place, refused(ack.reason_code), actions);
                }
            }
            Some((_, sequence, State::AwaitingPubrec)) if sequence >= self.cursor => {}
            Some((place, sequence, State::AwaitingPubrec)) => {
                self.release(place, actions);
                actions.push(Action::Released(sequence, id));
            }
            Some((_, _, State::AwaitingPubcomp)) if ack.reason_code.is_error() => {}
            Some((_, sequence, State::AwaitingPubcomp)) => actions.push(Action::Released(sequence, id)),
            Some((_, _, State::AwaitingPuback)) => {
                return Err(ProtocolError::UnexpectedAck { packet: PacketType::Pubrec });
            }
            Some((_, _, State::Queued | State::Done)) | None if ack.reason_code.is_error() => {}
            Some((_, _, State::Queued | State::Done)) | None => {
                if let Some(link) = link {
                    actions.send(link.unknown_packet_id(ServerPacket::Pubrel, ack));
                }
            }
        }
        Ok(())
    }

    /// PUBCOMP completes a QoS 2 message. One for an unknown identifier is a repeat and is ignored.
    pub(super) fn on_pubcomp(&mut self, id: PacketId, actions: &mut impl Actions) -> Result<(), ProtocolError> {
        match self.find(id) {
            Some((place, _, State::AwaitingPubcomp)) => {
                self.complete(place, (QueueStep::Completed, ACKNOWLEDGED), actions);
                Ok(())
            }
            Some((_, _, State::AwaitingPuback | State::AwaitingPubrec)) => {
                Err(ProtocolError::UnexpectedAck { packet: PacketType::Pubcomp })
            }
            Some((_, _, State::Queued | State::Done)) | None => Ok(()),
        }
    }
}

const fn refused(reason_code: ReasonCode) -> (QueueStep, QueueExit) {
    (QueueStep::Refused, QueueExit::Refused(reason_code))
}

const ACKNOWLEDGED: QueueExit = QueueExit::Acknowledged;
