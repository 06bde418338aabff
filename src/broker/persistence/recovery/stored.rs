//! What becomes of the stored state of one Session.

use super::{Orphan, RecoveredSession, Stored};
use crate::broker::persistence::encode::received_packet_id;
use crate::routing::SessionKey;

impl Stored {
    /// Whether all records of the Session are deleted.
    pub(super) fn is_empty(&self) -> bool {
        let Self { session, will, detached, subscriptions, queue, received, redeliveries, positions, message_ids: _ } =
            self;
        session.is_none()
            && will.is_none()
            && detached.is_none()
            && subscriptions.is_empty()
            && queue.is_empty()
            && received.is_empty()
            && redeliveries.is_empty()
            && positions.is_empty()
    }

    /// The Session, or what is left if it had ended.
    pub(super) fn finish(mut self, key: SessionKey) -> Result<RecoveredSession, Orphan> {
        let Some(session) = self.session.take() else { return Err(Orphan { key, messages: self.share_messages() }) };
        let detached = self.detached;
        Ok(RecoveredSession {
            key,
            client_id: session.client_id,
            owner: session.owner,
            session_expiry_interval: detached.map_or(session.session_expiry_interval, |d| d.session_expiry_interval),
            detached_at: detached.map(|detached| detached.at),
            sent_until: detached.map_or(u64::MAX, |detached| detached.sent_until),
            will: self.will,
            subscriptions: self.subscriptions.into_values().collect(),
            queue: self.queue,
            redeliveries: self.redeliveries,
            positions: self.positions.into_values().collect(),
            message_ids: self.message_ids,
            has_expired: false,
            received: self.received.into_iter().filter_map(received_packet_id).collect(),
        })
    }
}
