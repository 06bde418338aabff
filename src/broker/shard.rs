use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::quality::RandomState;
use slab::Slab;

use crate::broker::action::Action;
use crate::broker::connection::state::{Connection, Phase};
use crate::broker::counters::Counters;
use crate::broker::directory::claim::{Claim, Claimant};
use crate::broker::directory::message::{ShardMessage, ShardMessageKind};
use crate::broker::directory::state::Shared;
use crate::broker::event::{Event, StoreRoom};
use crate::broker::ids::ConnectionId;
use crate::broker::persistence::fetch::PendingDeadLetters;
use crate::broker::persistence::pipeline::Outstanding;
use crate::broker::persistence::record::Record;
use crate::broker::publish::delivery::SequencedDelivery;
use crate::broker::publish::route_cache::Routes;
use crate::broker::retained::state::Retained;
use crate::broker::sessions::slot::SessionSlot;
use crate::broker::sessions::table::PendingClaim;
use crate::broker::settings::{QueueOverflow, Settings};
use crate::broker::timers::{Due, Timer, Timers};
use crate::codec::ClientPacket;
use crate::routing::{Access, SessionKey, ShardId, Subscriber};
use crate::session::{self, Ticket};
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
    /// By slot, as the caller numbers them.
    pub(super) connections: Vec<Option<Connection>>,
    pub(super) sessions: Slab<SessionSlot>,
    /// The slot of each Session.
    pub(super) by_claim: HashMap<Claim, u32, RandomState>,
    pub(super) claims: HashMap<Claim, PendingClaim, RandomState>,
    /// QoS 1 and 2 messages for Sessions that are on their way here.
    pub(super) early: HashMap<SessionKey, Vec<(Arc<Subscriber>, SequencedDelivery)>, RandomState>,
    /// Sessions that were claimed while records of theirs were not stable.
    pub(super) leaving: Vec<(Ticket, Claim, Claimant)>,
    /// Dropped messages that are fetched to become dead letters.
    pub(super) dead: HashMap<SessionKey, PendingDeadLetters, RandomState>,
    pub(super) timers: Timers,
    pub(super) last_ticket: Ticket,
    pub(super) stable: Ticket,
    /// Messages that go to their receivers when their record is stable.
    pub(super) outstanding: VecDeque<Outstanding>,
    /// Sessions with responses that wait for a ticket.
    pub(super) waiting: VecDeque<(Ticket, SessionKey, usize)>,
    pub(super) routes: Routes,
    pub(super) counters: Counters,
    /// What assigned Client Identifiers begin with behind the prefix: random, and how many there were.
    pub(super) identifier_seed: u64,
    pub(super) identifiers: u64,
    /// QoS 1 and 2 messages that were given an identity.
    pub(super) messages: u64,
    pub(super) started: Option<Timestamp>,
    pub(super) sys_published: Timestamp,
    pub(super) retained: Retained,
    pub(super) store_room: StoreRoom,
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
            connections: Vec::new(),
            sessions: Slab::new(),
            by_claim: HashMap::default(),
            claims: HashMap::default(),
            early: HashMap::default(),
            leaving: Vec::new(),
            dead: HashMap::default(),
            timers: Timers::default(),
            last_ticket: Ticket::default(),
            stable: Ticket::default(),
            outstanding: VecDeque::new(),
            waiting: VecDeque::new(),
            routes: Routes::default(),
            counters: Counters::default(),
            identifier_seed,
            identifiers: 0,
            messages: 0,
            started: None,
            sys_published: Timestamp::default(),
            store_room: StoreRoom::Some,
            retained: Retained::new(id),
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
        self.retained.begin_event(&self.shared);
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
            Event::StoreRoom(room) => self.store_room = room,
            Event::ShuttingDown => self.on_shutting_down(turn),
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
        self.last_ticket.0 - self.stable.0
    }

    fn on_packet(&mut self, id: ConnectionId, packet: ClientPacket, turn: &mut Turn<'_>) {
        self.counters.received(packet.packet_type());
        let Some(connection) = self.connection_mut(id) else { return };
        connection.last_packet = turn.now;
        match &connection.phase {
            Phase::Connected(slot) => {
                let slot = *slot;
                self.drive_known(slot, session::Event::Packet(packet), turn);
                self.look_after(slot, turn);
            }
            Phase::AwaitingConnect => self.on_first_packet(id, packet, turn),
            Phase::AwaitingAuth(_) => self.on_auth_answer(id, packet, turn),
            // The connection is paused in these phases: the caller has made a mistake, and the client pays for it.
            Phase::Authenticating(_) | Phase::Claiming => self.break_off(id, "packet before CONNACK", turn),
        }
    }

    fn on_persisted(&mut self, ticket: Ticket, turn: &mut Turn<'_>) {
        self.stable = self.stable.max(ticket);
        self.shared.set_stable(self.id, self.stable);
        while self.outstanding.front().is_some_and(|next| next.ticket <= self.stable) {
            if let Some(next) = self.outstanding.pop_front() {
                self.deliver_outstanding(next, turn);
            }
        }
        while self.waiting.front().is_some_and(|(ticket, ..)| *ticket <= self.stable) {
            let Some((ticket, key, slot)) = self.waiting.pop_front() else { break };
            if self.session(slot, key).is_some() {
                self.drive(slot, session::Event::Persisted(ticket), turn);
                self.replay(slot, turn);
                self.hold_for_store(slot, turn);
            }
        }
        self.surrender_stable(turn);
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
            ShardMessageKind::HoldUp(connection) => self.hold(connection, turn),
            ShardMessageKind::LetGo(connection) => self.let_go(connection, turn),
        }
    }

    fn on_deadline_passed(&mut self, turn: &mut Turn<'_>) {
        let mut has_replays = false;
        while let Some(due) = self.timers.pop(turn.now) {
            match due {
                Due::Connection(slot) => self.on_connection_due(slot, turn),
                Due::Session(slot) => self.on_session_due(slot as usize, turn),
                Due::Timer(Timer::Slow(id)) => self.on_grace_over(id, turn),
                Due::Timer(Timer::Blocked(id)) => self.on_retry(id, turn),
                Due::Timer(Timer::Replays) => has_replays = true,
                Due::Timer(Timer::Tick) => self.on_tick(turn),
            }
        }
        if has_replays {
            self.resume_replays(turn);
        }
    }

    fn on_tick(&mut self, turn: &mut Turn<'_>) {
        self.shared.publish_counters(self.id, self.counters);
        self.routes.sweep(&self.shared);
        if self.id == ShardId(0) {
            self.expire_retained(turn);
            self.expire_deduplication(turn);
            self.publish_sys_topics(turn);
        }
        self.timers.set(turn.now + TICK, Timer::Tick);
    }

    /// Gives a record to the store.
    pub(super) fn persist(&mut self, record: Record, turn: &mut Turn<'_>) -> Ticket {
        self.last_ticket.0 += 1;
        turn.actions.push(Action::Persist { ticket: self.last_ticket, record: Box::new(record) });
        self.last_ticket
    }

    /// Gives a record of the Session in `slot` to the store if the Session is durable, for a response that waits for it.
    pub(super) fn persist_for(
        &mut self,
        slot: usize,
        record: impl FnOnce(SessionKey) -> Record,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let ticket = self.persist_unawaited(slot, record, turn)?;
        self.wait_for(slot, ticket);
        Some(ticket)
    }

    /// The same, if nothing waits for it.
    pub(super) fn persist_unawaited(
        &mut self,
        slot: usize,
        record: impl FnOnce(SessionKey) -> Record,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let key = self.sessions.get(slot).filter(|entry| entry.is_durable())?.subscriber.key;
        let ticket = self.persist(record(key), turn);
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.last_ticket = ticket;
        }
        Some(ticket)
    }

    /// A message of the Session in `slot` is done with. Its record is no reason to wait with anything, not even with moving the Session.
    pub(super) fn persist_done(&mut self, slot: usize, sequence: u64, turn: &mut Turn<'_>) {
        if let Some(entry) = self.sessions.get(slot).filter(|entry| entry.is_durable()) {
            let key = entry.subscriber.key;
            self.persist(Record::Done { key, sequence }, turn);
        }
    }

    /// The Session in `slot` is told when `ticket`, the last one given, is stable.
    pub(super) fn wait_for(&mut self, slot: usize, ticket: Ticket) {
        if let Some(entry) = self.sessions.get_mut(slot) {
            entry.last_ticket = ticket;
            self.waiting.push_back((ticket, entry.subscriber.key, slot));
        }
    }

    pub(super) fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(id.slot as usize)?.as_ref().filter(|connection| connection.id == id)
    }

    pub(super) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot as usize)?.as_mut().filter(|connection| connection.id == id)
    }

    /// The Session in `slot`, if it is still the one with this key.
    pub(super) fn session(&self, slot: usize, key: SessionKey) -> Option<&SessionSlot> {
        self.sessions.get(slot).filter(|entry| entry.subscriber.key == key)
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
