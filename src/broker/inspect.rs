//! Answers [queries](crate::broker::query) that change nothing, and passes on those that do.

use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::client_filter::cost;
use crate::broker::connection::pause::PauseReason;
use crate::broker::counters::DropReason;
use crate::broker::ids::ConnectionId;
use crate::broker::query::{
    Answer, ClientFilter, ClientView, ConnectionView, PAGE_MAX, Page, PageRequest, Query, QueryId, SubscriptionView,
};
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::shard::{Shard, Turn};
use crate::broker::streams::subscriptions::stream_subscriptions;
use crate::codec::ClientId;

impl Shard {
    pub(in crate::broker) fn on_query(&mut self, id: QueryId, query: &Query, turn: &mut Turn<'_>) {
        let answer = match query {
            Query::Clients(page, filter) => Answer::Clients(self.clients(*page, filter)),
            Query::Client(client_id) => Answer::Client(self.view_of(client_id)),
            Query::StableClient(client_id) => {
                return self.answer_when_stable(id, Answer::Client(self.view_of(client_id)), turn);
            }
            Query::Subscriptions(client_id, page) => {
                let page = PageRequest { limit: page.limit.clamp(1, PAGE_MAX), ..*page };
                Answer::Subscriptions(self.session_of(client_id).map(|entry| self.subscriptions_of(entry, page)))
            }
            Query::History(client_id, limit) => Answer::History(self.events_of(client_id, *limit)),
            Query::Queue(client_id, request) => return self.on_queue_query(id, client_id, *request, turn),
            Query::Journey(request) => Answer::Journey(Box::new(self.journey(request, turn.now))),
            Query::Tail(request) => Answer::Tail(Box::new(self.journey_tail(request, turn.now))),
            Query::Holders(request) => return self.on_holders_query(id, *request, turn),
            Query::Topics(query) => return self.on_topic_query(id, query, turn),
            Query::DeadLetters(query) => return self.on_dead_letter_query(id, query, turn),
            Query::Groups(query) => return self.on_group_query(id, query, turn),
            Query::Give(gift) => return self.on_give(id, gift, turn),
            Query::Kick(kick) => return self.on_kick(id, kick, turn),
            Query::Forget(client_id) => return self.on_forget(id, client_id, turn),
        };
        turn.actions.push(Action::Answer(id, Box::new(answer)));
    }

    /// Answers when all records of this shard until now are stable.
    pub(in crate::broker) fn answer_when_stable(&mut self, id: QueryId, answer: Answer, turn: &mut Turn<'_>) {
        if self.pipeline.unstable() > 0 {
            self.awaited.push((self.pipeline.last(), id, answer));
        } else {
            turn.actions.push(Action::Answer(id, Box::new(answer)));
        }
    }

    /// Answers the queries whose records are stable now.
    pub(in crate::broker) fn answer_stable(&mut self, turn: &mut Turn<'_>) {
        let pipeline = &self.pipeline;
        for (_, id, answer) in self.awaited.extract_if(.., |(ticket, ..)| pipeline.is_stable(*ticket)) {
            turn.actions.push(Action::Answer(id, Box::new(answer)));
        }
    }

    /// The slot of the Session with this Client Identifier, if this shard has it.
    pub(in crate::broker) fn slot_of(&self, client_id: &ClientId) -> Option<usize> {
        let holder = self.shared.directory.holder(client_id).filter(|holder| holder.shard() == self.id)?;
        self.sessions.slot_of(holder.claim())
    }

    /// The Session with this Client Identifier, if this shard has it.
    pub(in crate::broker) fn session_of(&self, client_id: &ClientId) -> Option<&SessionSlot> {
        self.sessions.get(self.slot_of(client_id)?)
    }

    /// A page of the Sessions that `filter` selects, ordered by slot.
    fn clients(&self, PageRequest { from, limit }: PageRequest, filter: &ClientFilter) -> Page<ClientView> {
        let limit = limit.clamp(1, PAGE_MAX);
        let end = self.sessions.slots_end();
        let mut slot = usize::try_from(from).unwrap_or(usize::MAX).min(end);
        // The number of slots that are vacant or not selected is unbounded by the limit of the page.
        let last = end.min(slot.saturating_add(SLOTS_PER_PAGE_MAX));
        let (mut entries, mut spent) = (Vec::new(), 0);
        while slot < last && entries.len() < limit && spent < SPENT_MAX {
            // Those that have the messages for other cells are no clients.
            if let Some(entry) = self.sessions.get(slot).filter(|entry| !entry.owner.is_link()) {
                spent += cost(filter, entry);
                if self.is_selected(filter, entry) {
                    spent += VIEW_COST;
                    entries.push(self.client_view(entry));
                }
            }
            slot += 1;
        }
        Page { entries, next: (slot < end).then_some(slot as u64) }
    }

    fn view_of(&self, client_id: &ClientId) -> Option<Box<ClientView>> {
        self.session_of(client_id).map(|entry| Box::new(self.client_view(entry)))
    }

    fn client_view(&self, entry: &SessionSlot) -> ClientView {
        let (queued_messages, queued_bytes) = entry.session.queued();
        let limits = self.limits.of(entry.subscriber.limits_class());
        let connection = entry.connection.and_then(|id| self.connection_view(id));
        let dropped = DropReason::ALL.into_iter().map(|reason| (reason, entry.incidents.dropped(reason)));
        ClientView {
            client_id: entry.subscriber.client_id.clone(),
            owner: entry.owner.clone(),
            disconnected_at: connection.is_none().then_some(entry.detached_at),
            last_disconnect: Self::last_disconnect(entry),
            connection,
            session_expiry_interval: entry.session_expiry_interval,
            subscriptions: self.subscription_count_of(entry),
            queued_messages,
            queued_bytes,
            queued_messages_max: limits.queued_messages_max,
            queued_bytes_max: limits.queued_bytes_max,
            in_flight_messages: entry.session.in_flight(),
            in_flight_in: entry.session.in_flight_in(),
            is_replaying: !entry.replays.is_empty(),
            dropped: dropped.filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// The number of subscriptions of a Session, those to streams included.
    fn subscription_count_of(&self, entry: &SessionSlot) -> usize {
        self.shared.directory.subscription_count_of(entry.subscriber.key) + stream_subscriptions(entry)
    }

    /// A page of them, those to streams at the end.
    fn subscriptions_of(&self, entry: &SessionSlot, page: PageRequest) -> Page<SubscriptionView> {
        let key = entry.subscriber.key;
        let mut subscriptions = self.shared.directory.subscriptions_of(key, page);
        if entry.incidents.has_streams() && subscriptions.next.is_none() {
            let from = usize::try_from(page.from).unwrap_or(usize::MAX);
            let others = self.shared.directory.subscription_count_of(key);
            let room = page.limit.saturating_sub(subscriptions.entries.len());
            let alone = entry.incidents.streams().into_iter();
            let alone = alone.flat_map(|streams| streams.views(0, &self.shared.stream_board));
            let in_groups = entry.incidents.groups().into_iter().flat_map(|groups| groups.views(0));
            subscriptions.entries.extend(alone.chain(in_groups).skip(from.saturating_sub(others)).take(room));
            let end = from.saturating_add(subscriptions.entries.len());
            subscriptions.next = (end < others + stream_subscriptions(entry)).then_some(end as u64);
        }
        subscriptions
    }

    fn connection_view(&self, id: ConnectionId) -> Option<ConnectionView> {
        let connection = self.connection(id)?;
        let reasons = connection.pause_reasons();
        let pause_reasons = PauseReason::ALL.into_iter().filter(|reason| reasons.contains(*reason));
        Some(ConnectionView {
            id,
            connected_at: connection.identity.connected_at,
            clean_start: connection.identity.clean_start,
            messages: connection.messages(),
            bytes: (0, 0),
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
/// What one page may cost, in tenths of a microsecond: about a millisecond.
const SPENT_MAX: usize = 8_000;
/// What the view of a Session costs.
const VIEW_COST: usize = 10;
