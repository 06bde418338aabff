//! Keeps what happens to clients in the [`history`](super::history) of the shard, and shows it.

use bytestring::ByteString;

use crate::broker::connection::last_end::ReasonText;
use crate::broker::history::{ClientEvent, CountedEvent, EventKind};
use crate::broker::query::{EventView, LastDisconnect, PAGE_MAX};
use crate::broker::report::ClientLabel;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::Shard;
use crate::codec::{ClientId, ReasonCode};
use crate::timestamp::Timestamp;

impl Shard {
    /// Adds an event of a client whose Client Identifier is known.
    pub(in crate::broker) fn note(
        &mut self,
        client: &ClientLabel,
        kind: EventKind,
        (reason_code, reason): (Option<ReasonCode>, Option<ReasonText>),
        at: Timestamp,
    ) {
        let Some(client_id) = client.client_id.clone() else { return };
        let number = self.shared.next_event();
        self.history.add(ClientEvent { number, client_id, at, kind, address: client.address, reason_code, reason });
    }

    /// The last events of a client, the newest last.
    pub(in crate::broker) fn events_of(&self, client_id: &ClientId, limit: usize) -> Vec<EventView> {
        let view = |CountedEvent { event, count, .. }| {
            let ClientEvent { number, client_id: _, at, kind, address, reason_code, reason } = event;
            let reason = reason.map(|reason| ByteString::from(reason.as_str()));
            EventView { number, at, kind, address, reason_code, reason, count }
        };
        self.history.of(client_id, limit.clamp(1, PAGE_MAX)).into_iter().map(view).collect()
    }

    /// How the last connection of a Session ended.
    pub(in crate::broker) fn last_disconnect(entry: &SessionSlot) -> Option<LastDisconnect> {
        let end = entry.last_end?;
        let reason = end.known().map(ByteString::from_static);
        let reason = reason.or_else(|| entry.incidents.end_reason().map(ByteString::from));
        Some(LastDisconnect { at: entry.detached_at, kind: end.kind, reason_code: end.reason_code, reason })
    }
}
