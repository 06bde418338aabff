//! Answers [queries](crate::broker::query), without changing the shard.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::connection::pause::PauseReason;
use crate::broker::ids::ConnectionId;
use crate::broker::query::{Answer, ClientView, ConnectionView, PAGE_MAX, Page, PageRequest, Query, QueryId};
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::codec::ClientId;

impl Shard {
    pub(in crate::broker) fn on_query(&mut self, id: QueryId, query: &Query, turn: &mut Turn<'_>) {
        let answer = match query {
            Query::Clients(page) => Answer::Clients(self.clients(*page)),
            Query::Client(client_id) => {
                let client = self.session_of(client_id).map(|entry| Box::new(self.client_view(entry)));
                Answer::Client(client)
            }
            Query::Subscriptions(client_id, page) => {
                let page = PageRequest { limit: page.limit.clamp(1, PAGE_MAX), ..*page };
                let key = self.session_of(client_id).map(|entry| entry.subscriber.key);
                Answer::Subscriptions(key.map(|key| self.shared.directory.subscriptions_of(key, page)))
            }
            Query::Topics(query) => return self.on_topic_query(id, query, turn),
            Query::Give(gift) => return self.on_give(id, gift, turn),
        };
        turn.actions.push(Action::Answer(id, Box::new(answer)));
    }

    /// The Session with this Client Identifier, if this shard has it.
    fn session_of(&self, client_id: &ClientId) -> Option<&SessionSlot> {
        let holder = self.shared.directory.holder(client_id).filter(|holder| holder.shard() == self.id)?;
        self.sessions.get(self.sessions.slot_of(holder.claim())?)
    }

    /// A page of Sessions, ordered by slot.
    fn clients(&self, PageRequest { from, limit }: PageRequest) -> Page<ClientView> {
        let limit = limit.clamp(1, PAGE_MAX);
        let end = self.sessions.slots_end();
        let mut slot = usize::try_from(from).unwrap_or(usize::MAX).min(end);
        // The number of vacant slots is unbounded by the limit of the page.
        let last = end.min(slot.saturating_add(SLOTS_PER_PAGE_MAX));
        let mut entries = Vec::new();
        while slot < last && entries.len() < limit {
            entries.extend(self.sessions.get(slot).map(|entry| self.client_view(entry)));
            slot += 1;
        }
        Page { entries, next: (slot < end).then_some(slot as u64) }
    }

    fn client_view(&self, entry: &SessionSlot) -> ClientView {
        let (queued_messages, queued_bytes) = entry.session.queued();
        let connection = entry.connection.and_then(|id| self.connection_view(id));
        ClientView {
            client_id: entry.subscriber.client_id.clone(),
            owner: entry.owner.clone(),
            disconnected_at: connection.is_none().then_some(entry.detached_at),
            connection,
            session_expiry_interval: entry.session_expiry_interval,
            subscriptions: self.shared.directory.subscription_count_of(entry.subscriber.key),
            queued_messages,
            queued_bytes,
            in_flight_messages: entry.session.in_flight(),
            not_authorized_messages: entry.not_authorized.into(),
        }
    }

    fn connection_view(&self, id: ConnectionId) -> Option<ConnectionView> {
        let connection = self.connection(id)?;
        let reasons = connection.pause_reasons();
        let pause_reasons = PauseReason::ALL.into_iter().filter(|reason| reasons.contains(*reason));
        Some(ConnectionView {
            user: connection.identity.user.clone(),
            is_verified: connection.verified_user().is_some(),
            address: connection.identity.peer.address,
            listener: Arc::clone(&connection.identity.peer.listener),
            version: connection.version,
            is_bridge: connection.identity.is_bridge,
            keep_alive: connection.keep_alive,
            unsent_bytes: connection.unsent_bytes(),
            pause_reasons: pause_reasons.map(PauseReason::name).collect(),
        })
    }
}

/// The greatest number of slots that one page checks.
const SLOTS_PER_PAGE_MAX: usize = 4 * PAGE_MAX;
