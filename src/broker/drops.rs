//! What is not delivered is counted, and told where it is somebody's trouble.

use super::connection::Connection;
use super::shard::Turn;
use super::{Action, ClientLabel, DropReason, Report, Shard};
use crate::routing::SessionKey;
use crate::session::DropCause;

impl Shard {
    pub(super) fn on_dropped(&mut self, slot: usize, cause: &DropCause, turn: &mut Turn<'_>) {
        let reason = match cause {
            DropCause::QueueFull => DropReason::QueueFull,
            DropCause::NotConnected => DropReason::NotConnected,
            DropCause::Expired => DropReason::Expired,
            DropCause::PacketTooLarge => DropReason::PacketTooLarge,
        };
        let Some(key) = self.sessions.get(slot).map(|entry| entry.subscriber.key) else { return };
        self.count_dropped(slot, key, reason, turn);
    }

    /// Counts a message that this Session, in `slot` if it is here, doesn't get, and reports the first of an episode where it is somebody's trouble.
    pub(super) fn count_dropped(&mut self, slot: usize, key: SessionKey, reason: DropReason, turn: &mut Turn<'_>) {
        self.counters.dropped(reason, 1);
        if matches!(reason, DropReason::NotConnected | DropReason::Expired) {
            return;
        }
        let Some(entry) = self.sessions.get_mut(slot).filter(|entry| entry.subscriber.key == key) else { return };
        if !std::mem::replace(&mut entry.dropping, true) {
            let client_id = Some(entry.subscriber.client_id.clone());
            let id = entry.connection;
            let label = id.and_then(|id| self.connection(id)).map(Connection::label).unwrap_or_default();
            let client = ClientLabel { client_id, ..label };
            turn.actions.push(Action::Report(Box::new(Report::Dropping { client, reason })));
        }
    }
}
