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
        self.history.add(ClientEvent { client_id, at, kind, address: client.address, reason_code, reason });
    }

    /// The last events of a client, the newest last.
    pub(in crate::broker) fn events_of(&self, client_id: &ClientId, limit: usize) -> Vec<EventView> {
        let view = |CountedEvent { event, count, .. }| {
            let ClientEvent { client_id: _, at, kind, address, reason_code, reason } = event;
            let reason = reason.map(|reason| ByteString::from(reason.as_str()));
            EventView { at, kind, address, reason_code, reason, count }
        };
        self.history.of(client_id, limit.clamp(1, PAGE_MAX)).into_iter().map(view).collect()
    }

    /// How the last connection of a Session ended, or else that of an earlier Session of its Client Identifier.
    pub(in crate::broker) fn last_disconnect(&self, entry: &SessionSlot) -> Option<LastDisconnect> {
        if let Some(end) = entry.last_end {
            let reason = end.known().map(ByteString::from_static);
            let reason = reason.or_else(|| entry.incidents.end_reason().map(ByteString::from));
            let (kind, reason_code) = (end.kind, end.reason_code);
            return Some(LastDisconnect { at: entry.detached_at, kind, reason_code, reason });
        }
        let (event, kind) = self.history.last_end(&entry.subscriber.client_id)?;
        let reason = event.reason.as_ref().map(|reason| ByteString::from(reason.as_str()));
        Some(LastDisconnect { at: event.at, kind, reason_code: event.reason_code, reason })
    }
}
