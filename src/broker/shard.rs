use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;

use crate::broker::action::Action;
use crate::broker::connection::packet_effect::PacketEffect;
use crate::broker::connection::pause::PauseReason;
use crate::broker::connection::state::{Connection, Phase};
use crate::broker::connection::table::Connections;
use crate::broker::connection::waiting::{FlowControl, GoOn};
use crate::broker::counters::Counters;
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::directory::state::Shared;
use crate::broker::event::{Event, StoreRoom};
use crate::broker::ids::ConnectionId;
use crate::broker::persistence::fetch::PendingDeadLetters;
use crate::broker::persistence::pipeline::CommitPipeline;
use crate::broker::publish::route_cache::RouteCache;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::sessions::table::SessionTable;
use crate::broker::settings::{QueueOverflow, Settings};
use crate::broker::timers::{Due, Timer, Timers};
use crate::codec::ClientPacket;
use crate::routing::{Access, SessionKey, ShardId};
use crate::session;
use crate::timestamp::Timestamp;

/// A complete single-threaded broker that owns the Sessions of its own connections.
///
/// Events go in through [`handle`](Self::handle) with the time the caller read; what the caller must do comes out as
/// [`Action`]s, in order, to be done before the next event.
#[derive(Debug)]
pub struct Shard {
    pub(super) id: ShardId,
    pub(super) settings: Arc<Settings>,
    pub(super) limits: Arc<session::Limits>,
    /// Whether room in the queues of Sessions is counted.
    pub(super) counts_room: bool,
    pub(super) shared: Arc<Shared>,
    /// What nobody may do: the access of a connection before it is granted any.
    pub(super) no_access: Arc<Access>,
    pub(super) connections: Connections,
    pub(super) sessions: SessionTable,
    /// Dropped messages that are fetched to become dead letters.
    pub(super) dead: HashMap<SessionKey, PendingDeadLetters, RandomState>,
    pub(super) timers: Timers,
    /// Which records are stable, and what waits for those that are not.
    pub(super) pipeline: CommitPipeline,
    pub(super) routes: RouteCache,
    pub(super) counters: Counters,
    /// What assigned Client Identifiers begin with behind the prefix: random, and how many there were.
    pub(super) identifier_seed: u64,
    pub(super) identifiers: u64,
    /// QoS 1 and 2 messages that were given an identity.
    pub(super) messages: u64,
    pub(super) started: Option<Timestamp>,
    pub(super) sys_published: Timestamp,
    /// Whether the event changed what is retained.
    pub(super) retained_open: bool,
    pub(super) store_room: StoreRoom,
    pub(super) flow: FlowControl,
    pub(super) shutting_down: bool,
    /// Empty vectors, kept for their allocation.
    pub(super) spare: Vec<Vec<session::Action>>,
}

impl Shard {
    /// An empty shard. `identifier_seed` is random: assigned Client Identifiers must not be guessed.
    pub fn new(id: ShardId, settings: Arc<Settings>, shared: Arc<Shared>, identifier_seed: u64) -> Self {
        let limits = session::Limits {
            maximum_qos: settings.maximum_qos,
            retain_available: settings.retain_available,
            receive_maximum: settings.receive_maximum.get(),
            validate_payload_format: settings.validate_payload_format,
            queued_messages_max: settings.queued_messages_max,
            queued_bytes_max: settings.queued_bytes_max,
            drops_oldest: settings.queue_overflow == QueueOverflow::DropOldest,
            queue_head: settings.queue_head.unwrap_or_default(),
            keeps_dropped: settings.dead_letter_topic.is_some(),
        };
        // A dead letter must not push out another message, which would become a dead letter in its turn.
        let counts_room = settings.queue_overflow != QueueOverflow::DropOldest || settings.dead_letter_topic.is_some();
        Self {
            id,
            settings,
            limits: Arc::new(limits),
            counts_room,
            shared,
            no_access: Arc::new(Access::new(Vec::new())),
            connections: Connections::default(),
            sessions: SessionTable::new(id),
            dead: HashMap::default(),
            timers: Timers::default(),
            pipeline: CommitPipeline::default(),
            routes: RouteCache::default(),
            counters: Counters::default(),
            identifier_seed,
            identifiers: 0,
            messages: 0,
            started: None,
            sys_published: Timestamp::default(),
            store_room: StoreRoom::Some,
            flow: FlowControl::default(),
            retained_open: false,
            shutting_down: false,
            spare: Vec::new(),
        }
    }

    /// Applies `event` at `now` and appends what the caller must do to `actions`.
    #[inline(always)]
    pub fn handle(&mut self, now: Timestamp, event: Event, actions: &mut Vec<Action>) {
        if self.started.is_none() {
            self.started = Some(now);
            self.timers.set(now, Timer::Tick);
        }
        if std::mem::take(&mut self.retained_open) {
            self.shared.retained_order.logged(self.id); // what the last event led to is done
        }
        let turn = &mut Turn { now, actions };
        match event {
            Event::Opened { connection, peer } => self.on_opened(connection, *peer, turn),
            Event::Packet { connection, packet } => self.on_packet(connection, packet, turn),
            Event::Undecodable { connection, error, connect_version } => {
                self.on_undecodable(connection, error, connect_version, turn);
            }
            Event::Flushed { connection, remaining } => self.on_flushed(connection, remaining, turn),
            Event::Closed { connection, cause } => self.on_closed(connection, cause, turn),
            Event::Authenticated { connection, outcome } => self.on_authenticated(connection, outcome, turn),
            Event::Persisted(ticket) => self.on_persisted(ticket, turn),
            Event::Fetched(fetched) => self.on_fetched(*fetched, turn),
            Event::Forwarded(message) => self.on_forwarded(message, turn),
            Event::DeadlinePassed => self.on_deadline_passed(turn),
            Event::AccessChanged { connection, access } => self.on_access_changed(connection, &access),
            Event::StoreRoom(room) => self.on_store_room(room),
            Event::StoreCongestion(congested) => self.flow.set_store_congested(congested),
            Event::ShardCongestion { shard, congested } => self.flow.set_full(shard, congested),
            Event::PeerClosed { connection } => self.on_peer_closed(connection, turn),
            Event::ShuttingDown => self.on_shutting_down(turn),
        }
        if !self.flow.is_quiet() {
            self.after_event(turn);
        }
    }

    /// When [`Event::DeadlinePassed`] is due, if ever: it may be another time after each event.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// What it has counted.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Tickets of records that are not stable yet, as far as this shard knows.
    pub fn unstable(&self) -> u64 {
        self.pipeline.unstable()
    }

    fn on_packet(&mut self, id: ConnectionId, packet: ClientPacket, turn: &mut Turn<'_>) {
        self.counters.received(packet.packet_type());
        let Some(connection) = self.connection_mut(id) else { return };
        connection.heard(turn.now);
        match &connection.phase {
            Phase::Connected(slot) => {
                let slot = *slot;
                let (effect, before) = (PacketEffect::of(&packet), self.pipeline.last());
                self.drive_known(slot, session::Event::Packet(packet), turn);
                self.after_packet(slot, effect, before, turn);
            }
            Phase::AwaitingConnect => self.on_first_packet(id, packet, turn),
            Phase::AwaitingAuth(_) => self.on_auth_answer(id, packet, turn),
            // The connection is paused in these phases: the caller has made a mistake, and the client pays for it.
            Phase::Authenticating(_) | Phase::Claiming => self.break_off(id, "packet before CONNACK", turn),
        }
    }

    fn on_forwarded(&mut self, ShardMessage(message): ShardMessage, turn: &mut Turn<'_>) {
        match message {
            ShardMessageKind::Deliver { to, sequenced, origin } => {
                self.on_delivery_forwarded(&to, sequenced, origin, turn)
            }
            ShardMessageKind::DeliverGroup(group) => self.on_group_forwarded(*group, turn),
            ShardMessageKind::Claimed { prior, claimant } => self.on_claimed(prior, claimant, turn),
            ShardMessageKind::Surrendered { claim, session } => self.on_surrendered(claim, session, turn),
            ShardMessageKind::DroppedNewest { to } => self.on_dropped_newest(&to, turn),
            ShardMessageKind::Pause(connection) => self.pause(connection, PauseReason::SlowReceiver, turn),
            ShardMessageKind::Resume(connection) => self.resume(connection, PauseReason::SlowReceiver, turn),
            ShardMessageKind::RoomFreed { to, publisher } => self.flow.is_ready(publisher, GoOn::Retry(Some(to))),
        }
    }

    fn on_deadline_passed(&mut self, turn: &mut Turn<'_>) {
        while let Some(due) = self.timers.pop(turn.now) {
            match due {
                Due::Connection(slot) => self.on_connection_due(slot, turn),
                Due::Session(slot) => self.on_session_due(slot as usize, turn),
                Due::Timer(Timer::Slow(id)) => self.on_grace_over(id, turn),
                Due::Timer(Timer::Deduplication(id)) => self.retry_repeat(id, turn),
                Due::Timer(Timer::GoOn) => {} // they do after each event
                Due::Timer(Timer::Tick) => self.on_tick(turn),
            }
        }
    }

    fn on_tick(&mut self, turn: &mut Turn<'_>) {
        self.shared.publish_counters(self.id, self.counters);
        self.flow.retry_shares();
        if self.id == ShardId(0) {
            self.expire_retained(turn);
            self.expire_deduplication(turn);
            self.publish_sys_topics(turn);
        }
        self.timers.set(turn.now + TICK, Timer::Tick);
    }

    pub(super) fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(id)
    }

    pub(super) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id)
    }

    /// The Session in `slot`, if it is still the one with this key.
    pub(super) fn session(&self, slot: usize, key: SessionKey) -> Option<&SessionSlot> {
        self.sessions.with_key(slot, key)
    }
}

/// The event that is being handled: when, and what it leads to.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub(super) now: Timestamp,
    pub(super) actions: &'a mut Vec<Action>,
}

/// How often the counters are passed on and expired retained messages removed.
const TICK: std::time::Duration = std::time::Duration::from_secs(1);
