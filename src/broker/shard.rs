use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::action::Action;
use crate::broker::cells::Links;
use crate::broker::client_events::ClientEvents;
use crate::broker::connection::backlog::PauseBudget;
use crate::broker::connection::packet_effect::PacketEffect;
use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::rate::Rates;
use crate::broker::connection::state::{Connection, Phase};
use crate::broker::connection::table::Connections;
use crate::broker::connection::waiting::{FlowControl, ReadyTask};
use crate::broker::counters::Counters;
use crate::broker::delayed::schedule::Schedule;
use crate::broker::detail::Detail;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::directory::state::Shared;
use crate::broker::event::{Event, StoreRoom};
use crate::broker::filter_request::FilterRequest;
use crate::broker::history::History;
use crate::broker::ids::{ConnectionId, IdentifierSource};
use crate::broker::journey::Journeys;
use crate::broker::lifecycle::Lifecycle;
use crate::broker::limit_table::LimitTable;
use crate::broker::load::Load;
use crate::broker::memory_level::MemoryLevel;
use crate::broker::operator::outcomes::Outcomes;
use crate::broker::operator::state::Operator;
use crate::broker::persistence::group::RecordGroup;
use crate::broker::persistence::pipeline::CommitPipeline;
use crate::broker::publish::pending_dead_letters::PendingDeadLetters;
use crate::broker::publish::queue_room::QueueRoom;
use crate::broker::publish::route_cache::Routes;
use crate::broker::publish::sampler::Sampler;
use crate::broker::query::{Answer, QueryId, QueuedView};
use crate::broker::retained::state::Retained;
use crate::broker::sessions::endings::Endings;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::sessions::table::SessionTable;
use crate::broker::settings::Settings;
use crate::broker::streams::state::Streams;
use crate::broker::timers::{Due, Timer, Timers};
use crate::codec::ClientPacket;
use crate::routing::{Access, SessionKey, ShardId, ShareViews};
use crate::session::{self, Ticket};
use crate::timestamp::Timestamp;

/// A single-threaded broker that owns the Sessions of its connections.
///
/// The caller passes events and the current time to [`handle`](Self::handle), which returns [`Action`]s. The caller performs them in
/// order before the next event.
#[derive(Debug)]
pub struct Shard {
    pub(super) id: ShardId,
    pub(super) settings: Arc<Settings>,
    /// The state that all shards share.
    pub(super) shared: Arc<Shared>,
    pub(super) lifecycle: Lifecycle,
    /// Averages for the `$SYS` topics; on the first shard only.
    pub(super) load: Load,
    pub(super) timers: Timers,
    pub(super) counters: Counters,
    /// The details that are reported.
    pub(super) detail: Detail,
    /// The number of receivers of the last accepted message.
    pub(super) receivers: usize,
    /// Generates Client Identifiers and message identities.
    pub(super) identifiers: IdentifierSource,

    pub(super) connections: Connections,
    pub(super) flow: FlowControl,
    /// The time for which all receivers of the shard together may pause their publishers.
    pub(super) pause_budget: PauseBudget,
    /// What clients with a rate limit have sent.
    pub(super) rates: Rates,
    /// The access rules of a connection before authentication: everything is denied.
    pub(super) no_access: Arc<Access>,

    pub(super) sessions: SessionTable,
    pub(super) endings: Endings,
    /// The limits of Sessions.
    pub(super) limits: LimitTable,
    /// Empty vectors whose allocations are reused.
    pub(super) spare: Vec<Vec<session::Action>>,

    /// `None` while a message is being accepted.
    pub(super) routes: Option<Box<Routes>>,
    pub(super) share_views: ShareViews,
    pub(super) queue_room: QueueRoom,
    pub(super) dead_letters: PendingDeadLetters,
    pub(super) retained: Retained,
    /// Subscriptions to streams.
    pub(super) streams: Streams,
    /// To other cells.
    pub(super) links: Links,
    pub(super) schedule: Schedule,
    /// Kept dead letters whose records are not stable yet, in the order of their tickets.
    pub(super) unstable_letters: VecDeque<(Ticket, u64)>,
    /// The limit for which the last delayed message was refused.
    pub(super) delayed_limit: &'static str,
    /// SUBSCRIBE and UNSUBSCRIBE packets of which a part is handled, at most one of each connection, which is paused.
    pub(super) filter_requests: VecDeque<FilterRequest>,

    /// The tickets of records, and the messages and answers that wait for their commit.
    pub(super) pipeline: CommitPipeline,
    /// The records of the batch that is being accepted.
    pub(super) group: Option<Box<RecordGroup>>,
    pub(super) store_room: StoreRoom,
    /// The queries that are answered when their ticket is stable. The caller of [`Event::Query`] bounds their number.
    pub(super) awaited: Vec<(Ticket, QueryId, Answer)>,
    /// The queries that are answered when the store has been read. Their number is bounded as well.
    pub(super) queue_views: Vec<(QueryId, Vec<QueuedView>)>,
    /// What happened to the clients lately.
    pub(super) history: History,
    /// What happened to the messages lately.
    pub(super) journeys: Journeys,
    /// Chooses the messages of which traces are made.
    pub(super) sampler: Sampler,
    pub(super) operator: Operator,
    pub(super) client_events: ClientEvents,

    pub(super) memory: MemoryLevel,
    /// `outgoing_bytes_max`, or less while memory is short.
    pub(super) outgoing_bytes_max: usize,
    /// See [`queued_total`](Self::queued_total).
    pub(super) queued_total: u64,
}

impl Shard {
    /// A shard without connections and Sessions. `identifier_seed` must be random, so that assigned Client Identifiers cannot be guessed.
    pub fn new(id: ShardId, settings: Arc<Settings>, shared: Arc<Shared>, identifier_seed: [u8; 32]) -> Self {
        Self {
            id,
            lifecycle: Lifecycle::default(),
            load: Load::default(),
            timers: Timers::default(),
            counters: Counters::default(),
            detail: Detail::default(),
            receivers: 0,
            identifiers: IdentifierSource::new(id, identifier_seed, shared.run),
            connections: Connections::default(),
            flow: FlowControl::default(),
            pause_budget: PauseBudget::default(),
            rates: Rates::default(),
            no_access: Arc::new(Access::new(Vec::new())),
            sessions: SessionTable::new(id),
            endings: Endings::default(),
            limits: LimitTable::new(&settings, |limits| limits),
            spare: Vec::new(),
            routes: Some(Box::default()),
            share_views: ShareViews::default(),
            queue_room: QueueRoom::new(&settings),
            dead_letters: PendingDeadLetters::default(),
            retained: Retained::new(id, shared.cell.is_some()),
            streams: Streams::default(),
            links: Links::default(),
            schedule: Schedule::default(),
            unstable_letters: VecDeque::new(),
            delayed_limit: "",
            filter_requests: VecDeque::new(),
            pipeline: CommitPipeline::default(),
            group: None,
            store_room: StoreRoom::Some,
            awaited: Vec::new(),
            queue_views: Vec::new(),
            history: History::default(),
            journeys: Journeys::new(id, shared.run, shared.share_of(settings.journey_steps_max)),
            sampler: Sampler::new(shared.run ^ u64::from(id.0) << 32),
            operator: Operator::default(),
            client_events: ClientEvents::default(),
            memory: MemoryLevel::Normal,
            outgoing_bytes_max: settings.outgoing_bytes_max,
            queued_total: 0,
            settings,
            shared,
        }
    }

    /// Handles `event` at the time `now`, and appends the resulting actions to `actions`.
    #[inline(always)]
    pub fn handle(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) {
        if self.lifecycle.begin(now) {
            self.timers.set(now, Timer::Tick);
        }
        self.retained.begin_event(&self.shared);
        let turn = &mut Turn { now, actions };
        match event {
            Event::Opened { connection, peer } => self.on_opened(connection, *peer, turn),
            Event::Packet { connection, packet } => self.on_packet(connection, packet, turn),
            Event::Undecodable { connection, error, answer } => self.on_undecodable(connection, error, answer, turn),
            Event::Received { connection, bytes } => self.on_received(connection, bytes, turn),
            Event::NotMqtt { connection, cause } => self.on_not_mqtt(connection, cause, turn),
            Event::Flushed { connection, remaining } => self.on_flushed(connection, remaining, turn),
            Event::Closed { connection, cause } => self.on_closed(connection, cause, turn),
            Event::ClosedSilently { connection, cause } => self.on_closed_silently(connection, cause, turn),
            Event::Authenticated { connection, outcome } => self.on_authenticated(connection, outcome, turn),
            Event::Persisted(ticket) => self.on_persisted(ticket, turn),
            Event::Fetched(fetched) => self.on_fetched(*fetched, turn),
            Event::StreamRead(chunk) => self.on_stream_read(*chunk, turn),
            Event::StreamAdvanced(stream) => self.on_stream_advanced(stream, turn),
            Event::DelayedPrepared(batch) => self.on_delayed_prepared(*batch, turn),
            Event::Forwarded(message) => self.on_forwarded(message, turn),
            Event::Stalled => self.connections.forgive_silence(turn.now),
            Event::DeadlinePassed => self.on_deadline_passed(turn),
            Event::AccessChanged { connection, access } => self.on_access_changed(connection, &access, turn),
            Event::AwayAccessChanged { slot, access } => self.on_away_access_changed(slot, &access, turn),
            Event::Revoked { connection, access, revocation } => {
                self.on_revoked(connection, &access, revocation, turn);
            }
            Event::Memory(level) => self.on_memory(level, turn),
            Event::InputRefused { connection } => self.end_for_memory(connection, turn),
            Event::StoreRoom(room) => self.on_store_room(room),
            Event::StoreCongestion(congested) => self.flow.set_store_congested(congested),
            Event::ShardCongestion { shard, congested } => self.flow.set_full(shard, congested),
            Event::PeerClosed { connection } => self.on_peer_closed(connection, turn),
            Event::SettingsChanged(settings) => self.on_settings_changed(settings, turn),
            Event::ListenerRemoved { connection } => self.on_listener_removed(connection, turn),
            Event::DetailChanged(detail) => self.set_detail(*detail),
            Event::Query(id, query) => self.on_query(id, &query, turn),
            Event::ShuttingDown => self.on_shutting_down(turn),
            Event::Farewell(farewell) => self.on_farewell(farewell, turn),
        }
        if !self.flow.is_quiet() {
            self.after_event(turn);
        }
    }

    /// When [`Event::DeadlinePassed`] is due; `None`: never. Each event may change it.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timers.next().map(|due| due.max(self.links.held_until))
    }

    /// The counters and gauges of this shard.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts of refused packets and ended connections.
    pub const fn outcomes(&self) -> &Outcomes {
        &self.operator.outcomes
    }

    /// The number of records that are not stable yet.
    pub fn unstable(&self) -> u64 {
        self.pipeline.unstable()
    }

    fn on_packet(&mut self, id: ConnectionId, packet: ClientPacket, turn: &mut Turn<'_>) {
        self.counters.received(packet.packet_type());
        let Some(connection) = self.connection_mut(id) else { return };
        connection.on_packet(turn.now);
        let is_publish = matches!(packet, ClientPacket::Publish(_));
        connection.count_received(is_publish);
        let is_limited = is_publish && connection.has_message_rate();
        match &connection.phase {
            Phase::Connected(slot) => {
                let slot = *slot;
                let (effect, before) = (PacketEffect::of(&packet), self.pipeline.last());
                self.drive_inlined(slot, session::Event::Packet(packet), turn);
                self.after_packet(slot, effect, before, turn);
                if is_limited {
                    self.count_message(id, turn);
                }
            }
            Phase::AwaitingConnect => self.on_first_packet(id, packet, turn),
            Phase::AwaitingAuth(_) => self.on_auth_answer(id, packet, turn),
            Phase::Control => self.on_control(id, packet, turn),
            // The connection is paused in these phases, so the caller should not have read a packet.
            Phase::Authenticating(_) | Phase::Claiming => self.break_off(id, "packet before CONNACK", turn),
        }
    }

    fn on_forwarded(&mut self, ShardMessage(message): ShardMessage, turn: &mut Turn<'_>) {
        match message {
            ShardMessageKind::Deliver { to, sequenced, origin } => {
                self.on_delivery_forwarded(&to, sequenced, origin, turn)
            }
            ShardMessageKind::DeliverRun(run) => {
                let origin = run.origin();
                let (to, copies) = run.into_copies();
                for sequenced in copies {
                    self.on_delivery_forwarded(&to, sequenced, origin, turn);
                }
            }
            ShardMessageKind::DeliverGroup(group) => self.on_group_forwarded(*group, turn),
            ShardMessageKind::Claimed { prior, claimant } => self.on_claimed(prior, claimant, turn),
            ShardMessageKind::Surrendered { claim, session } => {
                self.on_surrendered(claim, session, Ticket::default(), turn);
            }
            ShardMessageKind::DroppedNewest { to, slot } => self.on_dropped_newest(to, slot, turn),
            ShardMessageKind::Pause(connection) => self.pause(connection, PauseReason::SlowReceiver, turn),
            ShardMessageKind::Resume(connection) => self.resume(connection, PauseReason::SlowReceiver, turn),
            ShardMessageKind::RoomFreed { to, publisher } => {
                self.flow.push_ready(publisher, ReadyTask::Retry(Some(to)))
            }
            ShardMessageKind::StreamsReady(places) => self.on_streams_ready(places, turn),
            ShardMessageKind::InterestChanged => self.announce_interest(turn),
            ShardMessageKind::InterestNoted => {
                if let Some(cell) = self.shared.cell.clone() {
                    self.answer_noted(&cell, turn);
                }
            }
            ShardMessageKind::PermitsToSend => self.send_own_permits(turn),
            ShardMessageKind::PermitKnown(connection) => self.flow.push_ready(connection, ReadyTask::Retry(None)),
            ShardMessageKind::CellsReceived => {
                if let Some(cell) = self.shared.cell.clone() {
                    self.release_owed(&cell, turn);
                }
            }
        }
    }

    fn on_deadline_passed(&mut self, turn: &mut Turn<'_>) {
        if !self.shared.knows_cells() {
            // A Will or a delayed message would not get to them.
            self.links.held_until = turn.now + CELLS_PAUSE;
            return;
        }
        let (mut has_replays, mut has_filters) = (false, false);
        while let Some(due) = self.timers.pop(turn.now) {
            match due {
                Due::Connection(slot) => self.on_connection_due(slot, turn),
                Due::Session(slot) => self.on_session_due(slot as usize, turn),
                Due::Timer(Timer::PauseEnds(id)) => self.on_pause_ends(id, turn),
                Due::Timer(Timer::NextSlice(id)) => self.end_congestion(id, turn),
                Due::Timer(Timer::Deduplication(id)) => self.retry_repeat(id, turn),
                Due::Timer(Timer::ExpireQueue(slot, key)) => self.expire_queue(slot, key, turn),
                Due::Timer(Timer::RateAllows(id)) => self.on_rate_allows(id, turn),
                Due::Timer(Timer::ReadyTasks) => {} // `after_event` runs them
                Due::Timer(Timer::Redelivery(slot, key)) => self.on_redelivery_due(slot, key, turn),
                Due::Timer(Timer::Delayed) => self.on_delayed_due(turn),
                Due::Timer(Timer::Streams) => self.resume_streams(turn),
                Due::Timer(Timer::StreamRetry(slot, key)) => self.retry_streams(slot, key, turn),
                Due::Timer(Timer::Groups) => self.save_groups(turn),
                Due::Timer(Timer::GroupRefused(number)) => self.send_refused_again(number, turn),
                Due::Timer(Timer::Replays) => has_replays = true,
                Due::Timer(Timer::Filters) => has_filters = true,
                Due::Timer(Timer::ClientEvents) => self.publish_client_events(turn),
                Due::Timer(Timer::Tick) => self.on_tick(turn),
            }
        }
        if has_replays {
            self.resume_replays(turn);
        }
        if has_filters {
            self.resume_filters(turn);
        }
    }

    fn on_tick(&mut self, turn: &mut Turn<'_>) {
        self.shared.publish_counters(self.id, self.counters);
        if let Some(routes) = &mut self.routes {
            routes.sweep(&self.shared);
        }
        self.share_views.clear();
        self.flow.retry_shares();
        self.sweep_endings(turn);
        self.journeys.sweep(turn.now);
        while let Some(connection) = self.pipeline.next_overdue_close(turn.now) {
            turn.actions.push(Action::Reset { connection });
        }
        if self.id == ShardId(0) {
            self.expire_retained(turn);
            self.expire_deduplication(turn);
            self.expire_dead_letters(turn);
            self.expire_receipts(turn);
            self.publish_sys_topics(turn);
        }
        self.publish_receipts(turn);
        self.announce_interest(turn);
        self.timers.set(turn.now + TICK, Timer::Tick);
    }

    pub(super) fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(id)
    }

    pub(super) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id)
    }

    /// The Session in `slot`, if it has this key.
    pub(super) fn session(&self, slot: usize, key: SessionKey) -> Option<&SessionSlot> {
        self.sessions.with_key(slot, key)
    }
}

/// The time of the event that is being handled, and the list of its actions.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) now: Timestamp,
    pub(super) actions: &'a mut Vec<Action>,
}

/// How often it is looked whether the other cells are known, while something is due.
const CELLS_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
/// The interval at which a shard publishes its counters and removes expired entries.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);
