use super::Session;
use crate::codec::{Ack, Late, PacketId, Qos, ReasonCode, UserProperties};
use crate::session::{Actions, Ticket};

impl Session {
    /// Answers a PUBLISH of a client that asked to be told more.
    pub(super) fn on_answered_in_detail(
        &mut self,
        (packet_id, qos): (PacketId, Qos),
        reason_code: ReasonCode,
        (wait, told): (Option<Ticket>, (UserProperties, Option<Late>)),
        actions: &mut impl Actions,
    ) {
        let mut ack = Ack::new(packet_id, reason_code);
        ack.details = self.connection.link.as_ref().and_then(|link| link.details_told(&ack, told));
        self.acknowledge(ack, qos, wait, actions);
    }
}
