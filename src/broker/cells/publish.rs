use std::sync::Arc;

use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::publish::blocked::BlockedMessage;
use crate::broker::publish::ingress::PublishAnswer;
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Qos, ReasonCode};
use crate::session::Application;

impl Shard {
    /// Accepts a message of another cell, which has acknowledged it to its publisher: nothing is checked again, and it is not refused. Returns it if there
    /// is no room for it now: then the link waits.
    pub(in crate::broker) fn publish_of_cell(
        &mut self,
        (slot, id): (usize, ConnectionId),
        mut application: Application,
        turn: &mut Turn<'_>,
    ) -> Option<Box<BlockedMessage>> {
        let (packet_id, sent) = (application.packet_id, application.qos);
        application.qos = if sent == Qos::AtMostOnce { sent } else { application.message.qos };
        let entry = self.sessions.get(slot)?;
        let publisher = Publisher {
            key: Some(entry.subscriber.key),
            slot: Some(slot),
            origin: Some(Origin::new(self.id, id)),
            received: packet_id.map(|packet_id| (slot, packet_id)),
            is_link: true,
            ..Publisher::broker()
        };
        let (reason_code, wait) = match self.accept(&publisher, application, turn) {
            Verdict::Answer { reason_code, wait } => (reason_code, wait),
            Verdict::Full(mut blocked) | Verdict::Pending(mut blocked) => {
                // As it came.
                let qos = blocked.application.qos;
                Arc::make_mut(&mut blocked.application.message).qos = qos;
                blocked.application.qos = sent;
                return Some(blocked);
            }
        };
        let reason_code = if reason_code.is_error() { ReasonCode::Success } else { reason_code };
        let answer = PublishAnswer { reason_code, wait, duplicate: false };
        self.answer_publish(slot, (packet_id?, sent, false), answer, turn);
        None
    }
}
