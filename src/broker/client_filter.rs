//! Selects Sessions for a list.

use std::net::SocketAddr;

use crate::broker::query::ClientFilter;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::Shard;

impl Shard {
    /// Whether all of the filter applies to a Session.
    pub(in crate::broker) fn is_selected(&self, filter: &ClientFilter, entry: &SessionSlot) -> bool {
        let ClientFilter { connected, client_id, user, address } = filter;
        let connection = || entry.connection.and_then(|id| self.connection(id));
        let has_address = |at: SocketAddr| *address == Some(at.ip().to_canonical());
        connected.is_none_or(|connected| connected == entry.connection.is_some())
            && user.as_ref().is_none_or(|user| {
                let of_client = || connection().is_some_and(|client| client.identity.user.as_ref() == Some(user));
                entry.owner.user() == Some(user) || of_client()
            })
            && (address.is_none()
                || connection().is_some_and(|client| client.identity.peer.address.is_some_and(has_address)))
            && client_id.as_ref().is_none_or(|pattern| pattern.matches(entry.subscriber.client_id.as_str()))
    }
}

/// What it costs at most to test a Session, in tenths of a microsecond: a pattern with many stars takes a step for each byte of the pattern
/// and of the Client Identifier.
pub(in crate::broker) fn cost(filter: &ClientFilter, entry: &SessionSlot) -> usize {
    let steps = filter.client_id.as_ref().map_or(0, |pattern| pattern.steps(entry.subscriber.client_id.as_str()));
    2 + steps / 64
}
