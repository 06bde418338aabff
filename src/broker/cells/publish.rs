use std::sync::Arc;

use crate::broker::cells::source::Retained;
use crate::broker::ids::{ConnectionId, Origin};
use crate::broker::publish::blocked::BlockedMessage;
use crate::broker::publish::ingress::PublishAnswer;
use crate::broker::publish::plan::Verdict;
use crate::broker::publish::publisher::Publisher;
use crate::broker::shard::{Shard, Turn};
use crate::codec::{Qos, ReasonCode, ShareCopy};
use crate::session::Application;

impl Shard {
    /// Accepts a message of another cell, which has acknowledged it to its publisher: nothing is checked again, and it is not refused. Returns it if there
    /// is no room for it now, or if it is for a share of unknown cells: then the link waits.
    pub(in crate::broker) fn publish_of_cell(
        &mut self,
        (slot, id): (usize, ConnectionId),
        mut application: Application,
        turn: &mut Turn<'_>,
    ) -> Option<Box<BlockedMessage>> {
        let (packet_id, sent) = (application.packet_id, application.qos);
        application.qos = if sent == Qos::AtMostOnce { sent } else { application.message.qos };
        let is_share_copy = application.message.is_share_copy;
        let came = (application.retain || is_share_copy).then(|| Arc::clone(&application.message));
        let (mut client_id, mut owner) = (None, None);
        if application.retain && !is_share_copy {
            let Some(retained) = Retained::take(&application.message.properties) else {
                packet_id.into_iter().for_each(|packet_id| self.withdraw(slot, sent, packet_id, turn));
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
        let share_copy = is_share_copy.then(|| take_share_copy(&mut application));
        let verdict = match &share_copy {
            None => self.accept(&publisher, application, turn),
            Some(Some(share_copy)) => self.accept_share_copy(&publisher, share_copy, application, turn),
            Some(None) => {
                packet_id.into_iter().for_each(|packet_id| self.withdraw(slot, sent, packet_id, turn));
                self.break_off(id, "a message for a share does not say for which", turn);
                return None;
            }
        };
        let (reason_code, wait) = match verdict {
            Verdict::Answer { reason_code, wait } => (reason_code, wait),
            Verdict::Full(mut blocked) | Verdict::Pending(mut blocked) => {
                let qos = blocked.application.qos;
                match came {
                    Some(came) => blocked.application.message = came,
                    None => Arc::make_mut(&mut blocked.application.message).qos = qos,
                }
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

/// Takes out of a message for which share it is. `None`: it does not say that.
fn take_share_copy(application: &mut Application) -> Option<ShareCopy> {
    let message = Arc::make_mut(&mut application.message);
    let (share_copy, properties) = ShareCopy::take_from(&message.properties)?;
    (message.is_share_copy, message.properties) = (false, properties);
    Some(share_copy)
}
