use super::Session;
use crate::codec::ServerPacket;
use crate::session::{Action, Actions, Ended, ProtocolError, Ticket};
use crate::timestamp::Timestamp;

impl Session {
    /// Sends a response after those that wait, or at once if none waits.
    pub(super) fn respond(&mut self, packet: ServerPacket, wait: Option<Ticket>, actions: &mut impl Actions) {
        if self.connection.link.is_none() {
            return;
        }
        let last = self.connection.last_held();
        match wait.filter(|ticket| *ticket > self.stable).max(last) {
            Some(ticket) => self.connection.hold(ticket, packet),
            None => self.send_response(packet, actions),
        }
    }

    pub(super) fn on_persisted(&mut self, now: Timestamp, stable: Ticket, actions: &mut impl Actions) {
        self.stable = self.stable.max(stable);
        self.send_stable(actions);
        self.send(now, actions);
    }

    pub(super) fn on_hold_ended(&mut self, hold: u64, actions: &mut impl Actions) {
        self.connection.end_hold(hold);
        self.send_stable(actions);
    }

    pub(super) fn on_room(&mut self, now: Timestamp, bytes: usize, actions: &mut impl Actions) {
        if let Some(link) = &mut self.connection.link {
            link.room = bytes;
        }
        self.send(now, actions);
    }

    /// Sends the responses that wait for nothing any more.
    #[inline]
    pub(super) fn send_stable(&mut self, actions: &mut impl Actions) {
        while let Some(packet) = self.connection.pop_held(self.stable) {
            self.send_response(packet, actions);
        }
    }

    /// Sends a response, or omits it if it is too large for the client.
    pub(super) fn send_response(&mut self, mut packet: ServerPacket, actions: &mut impl Actions) {
        if let ServerPacket::Puback(ack) | ServerPacket::Pubrec(ack) = &packet
            && ack.details.is_some()
            && let Some(link) = &self.connection.link
        {
            link.complete(&mut packet);
        }
        let fits = self.connection.link.as_ref().is_some_and(|link| link.takes(&packet));
        match &packet {
            ServerPacket::Connack(_) if !fits => {
                return actions.push(Action::End(Ended::ByError(ProtocolError::MaximumPacketSizeTooSmall)));
            }
            ServerPacket::Connack(_) => self.connection.link.iter_mut().for_each(|link| link.open = true),
            ServerPacket::Puback(_) => self.inbound.acknowledged(),
            ServerPacket::Pubrec(ack) if ack.reason_code.is_error() => self.inbound.acknowledged(),
            ServerPacket::Pubrec(_)
            | ServerPacket::Publish(_)
            | ServerPacket::Pubrel(_)
            | ServerPacket::Pubcomp(_)
            | ServerPacket::Suback(_)
            | ServerPacket::Unsuback(_)
            | ServerPacket::Pingresp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => {}
        }
        if fits {
            actions.send(packet); // [MQTT-3.1.2-25]
        }
    }
}
