use std::sync::Arc;

use crate::broker::cells::source::Retained;
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
        let came = Arc::clone(&application.message);
        let (mut client_id, mut owner) = (None, None);
        if application.retain {
            let Some(retained) = Retained::take(&application.message.properties) else {
                self.break_off(id, "a retained message without its place in the order of all", turn);
                return None;
            };
            let message = Arc::make_mut(&mut application.message);
            (message.id, message.properties) = (Some(retained.id), retained.properties);
            (client_id, owner) = (retained.client_id, retained.owner);
        }
        let entry = self.sessions.get(slot)?;
        let publisher = Publisher {
            key: Some(entry.subscriber.key),
            slot: Some(slot),
            origin: Some(Origin::new(self.id, id)),
            received: packet_id.map(|packet_id| (slot, packet_id)),
            is_link: true,
            client_id,
            owner,
            ..Publisher::broker()
        };
        let (reason_code, wait) = match self.accept(&publisher, application, turn) {
            Verdict::Answer { reason_code, wait } => (reason_code, wait),
            Verdict::Full(mut blocked) | Verdict::Pending(mut blocked) => {
                (blocked.application.message, blocked.application.qos) = (came, sent);
                return Some(blocked);
            }
        };
        let reason_code = if reason_code.is_error() { ReasonCode::Success } else { reason_code };
        let answer = PublishAnswer { reason_code, wait, duplicate: false };
        self.answer_publish(slot, (packet_id?, sent, false), answer, turn);
        None
    }
}
