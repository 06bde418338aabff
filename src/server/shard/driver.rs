mod tasks;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;

pub(in crate::server) use tasks::Farewell;

use crate::auth;
use crate::broker::{Action, AuthenticationRequest, ConnectionId, Event, RecoveredSession, Shard, Shared};
use crate::codec::{ServerPacket, encode};
use crate::routing::{Access, SessionKey, ShardId};
use crate::server::authentication;
use crate::server::clock::{Clock, Reading};
use crate::server::connection::outgoing::BufferPool;
use crate::server::connection::publish_encoder::PublishEncoder;
use crate::server::listener::Accepted;
use crate::server::report::Reporter;
use crate::server::shard::connections::{Connections, Entry};
use crate::server::shard::mailbox::{Mail, Mailbox};
use crate::server::shard::post::Post;
use crate::server::shard::queries::{PendingQueries, Question};
use crate::server::store::thread::StoreThread;
use crate::server::traffic::Traffic;
use crate::timestamp::Timestamp;

/// A shard with everything that carries out its actions. It belongs to one thread, and the tasks there borrow it in turns.
#[derive(Debug)]
pub(in crate::server) struct Driver {
    id: ShardId,
    clock: Clock,
    write_timeout: Duration,
    shard: Shard,
    actions: Vec<Action>,
    answers: VecDeque<Event>,
    store: StoreThread,
    authentication: Arc<auth::Pool>,
    mailboxes: Arc<[Mailbox]>,
    post: Post,
    reporter: Reporter,
    encoder: PublishEncoder,
    pool: BufferPool,
    /// What the tasks of this thread read into, one after the other.
    pub(in crate::server) scratch: BytesMut,
    /// Those that the tasks serve.
    pub(in crate::server) connections: Connections,
    traffic: Traffic,
    shared: Arc<Shared>,
    /// The bytes of the traffic that the shards were told of: received and sent.
    told: (u64, u64),
    reading: Reading,
    current: Option<ConnectionId>,
    /// Whether others have something to send because of the current turn.
    has_given: bool,
    backlogged: Vec<ConnectionId>,
    /// Those whose access is to be asked again after a reload of the access rules.
    renewals: Vec<ConnectionId>,
    /// Those that were paused when they were looked at last, or since.
    paused: Vec<ConnectionId>,
    samples: u32,
    queries: PendingQueries,
    timer: Timer,
    tasks: usize,
    shutting_down: bool,
}

/// When the task that tells the shard the time runs next.
#[derive(Debug, Default)]
struct Timer {
    armed: Option<Timestamp>,
    waker: Option<Waker>,
}

/// What a [`Driver`] is made of.
#[derive(Debug)]
pub(in crate::server) struct Parts {
    /// The number of the shard.
    pub(in crate::server) id: ShardId,
    /// The rules.
    pub(in crate::server) shard: Shard,
    /// The time.
    pub(in crate::server) clock: Clock,
    /// How long a transport may take nothing.
    pub(in crate::server) write_timeout: Duration,
    /// Who may connect.
    pub(in crate::server) authentication: Arc<auth::Pool>,
    /// Those of all shards, by number.
    pub(in crate::server) mailboxes: Arc<[Mailbox]>,
    /// What the shards share.
    pub(in crate::server) shared: Arc<Shared>,
    /// The shard's own way to the store.
    pub(in crate::server) store: StoreThread,
    /// Sessions of the last run, and what their clients may do.
    pub(in crate::server) restored: Vec<(RecoveredSession, Arc<Access>)>,
    /// What the last run left of no Session.
    pub(in crate::server) orphans: Vec<SessionKey>,
}

impl Driver {
    pub(in crate::server) fn new(parts: Parts) -> Self {
        let mut driver = Self {
            id: parts.id,
            clock: parts.clock,
            write_timeout: parts.write_timeout,
            shard: parts.shard,
            actions: Vec::new(),
            answers: VecDeque::new(),
            store: parts.store,
            authentication: parts.authentication,
            post: Post::new(parts.id, Arc::clone(&parts.mailboxes)),
            mailboxes: parts.mailboxes,
            reporter: Reporter::default(),
            encoder: PublishEncoder::default(),
            pool: BufferPool::default(),
            scratch: BytesMut::new(),
            connections: Connections::default(),
            traffic: Traffic::default(),
            shared: parts.shared,
            told: (0, 0),
            reading: parts.clock.read(),
            current: None,
            has_given: false,
            backlogged: Vec::new(),
            renewals: Vec::new(),
            paused: Vec::new(),
            samples: 0,
            queries: PendingQueries::default(),
            timer: Timer::default(),
            tasks: 0,
            shutting_down: false,
        };
        driver.restore(parts.restored, parts.orphans);
        driver
    }

    /// Takes over what the last run left, before the first connection.
    fn restore(&mut self, sessions: Vec<(RecoveredSession, Arc<Access>)>, orphans: Vec<SessionKey>) {
        let mut actions = std::mem::take(&mut self.actions);
        for (session, access) in sessions {
            self.shard.restore(self.reading.now, session, access, &mut actions);
            for action in actions.drain(..) {
                self.perform(action);
            }
        }
        self.shard.end_orphans(orphans, &mut actions);
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.store.end_turn();
        self.actions = actions;
    }

    /// Takes the time for all that follows until [`end_turn`](Self::end_turn).
    pub(in crate::server) fn begin_turn(&mut self) {
        self.reading = self.clock.read();
        if let Some(room) = self.store.take_room() {
            self.handle(Event::StoreRoom(room));
        }
        if let Some(congested) = self.store.take_congestion() {
            self.handle(Event::StoreCongestion(congested));
        }
    }

    /// Begins the turn of a connection's task: it writes by itself what it is given meanwhile.
    pub(in crate::server) fn begin_turn_of(&mut self, id: ConnectionId, waker: &Waker) {
        self.begin_turn();
        self.current = Some(id);
        self.has_given = false;
        if let Some(entry) = self.connections.get_mut(id) {
            entry.woken = false;
            entry.waker.get_or_insert_with(|| waker.clone());
        }
    }

    /// Delivers what was collected for others.
    pub(in crate::server) fn end_turn(&mut self) {
        self.current = None;
        self.encoder.forget();
        loop {
            self.store.end_turn();
            let full = self.post.deliver();
            if full.is_empty() {
                break;
            }
            for shard in full {
                self.handle(Event::ShardCongestion { shard, congested: true });
            }
        }
        let deadline = self.shard.deadline();
        if let Some(deadline) = deadline
            && self.timer.armed.is_none_or(|armed| deadline < armed)
            && let Some(waker) = &self.timer.waker
        {
            waker.wake_by_ref();
        }
    }

    /// Applies an event, and the answers to it that are there at once.
    #[inline(always)]
    pub(in crate::server) fn handle(&mut self, event: Event) {
        self.apply(event);
        if self.store.has_stable() || !self.answers.is_empty() {
            self.apply_answers();
        }
    }

    /// Applies the answers that are there at once.
    fn apply_answers(&mut self) {
        while let Some(answer) = self.store.take_stable().map(Event::Persisted).or_else(|| self.answers.pop_front()) {
            self.apply(answer);
        }
    }

    /// What another thread has sent. A connection that was accepted is given back: it needs a task.
    pub(in crate::server) fn on_mail(&mut self, mail: Mail) -> Option<Accepted> {
        match mail {
            Mail::Accepted(accepted) => return Some(*accepted).filter(|_| !self.shutting_down),
            Mail::Forwarded(message) => self.handle(Event::Forwarded(message)),
            Mail::Authenticated { connection, answer } => self.on_authenticated(connection, *answer),
            Mail::Persisted(ticket) => self.handle(Event::Persisted(ticket)),
            Mail::Fetched(fetched) => self.handle(Event::Fetched(fetched)),
            Mail::AccessReloaded => self.renew_access(),
            Mail::Query(question) => {
                let Question { query, asking } = *question;
                let id = self.queries.add(asking);
                self.handle(Event::Query(id, Box::new(query)));
            }
            Mail::ShuttingDown => {
                self.shutting_down = true;
                self.handle(Event::ShuttingDown);
            }
        }
        None
    }

    #[inline(always)]
    fn apply(&mut self, event: Event) {
        let mut actions = std::mem::take(&mut self.actions);
        self.shard.handle(self.reading.now, event, &mut actions);
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.actions = actions;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Send { connection, packet } => self.send(connection, packet),
            Action::Close { connection } => self.with_woken(connection, |entry| entry.closing = true),
            Action::Pause { connection } => self.pause(connection),
            Action::Resume { connection } => self.with_woken(connection, |entry| entry.paused = false),
            Action::Authenticate { connection, request } => self.authenticate(connection, *request),
            Action::Persist { ticket, record } => self.store.persist(ticket, &record),
            Action::Fetch(fetch) => self.store.fetch(*fetch, &self.mailboxes),
            Action::Forward { shard, message } => self.post.add(shard, message),
            Action::Answer(id, answer) => self.queries.answer(id, *answer),
            Action::Report(report) => self.reporter.report(&report, self.reading.now),
        }
    }

    /// Encodes a packet behind what its connection has to send.
    fn send(&mut self, connection: ConnectionId, packet: ServerPacket) {
        let Some(entry) = self.connections.get_mut(connection) else { return };
        if entry.outgoing.is_empty() {
            entry.progress = self.reading.now;
            self.samples = self.samples.wrapping_add(1);
            entry.filled = self.samples.is_multiple_of(SAMPLED_ONE_OF).then_some(self.reading.elapsed);
        }
        if let ServerPacket::Publish(publish) = packet {
            self.encoder.append(publish, entry.version, &mut entry.outgoing, &mut self.pool);
        } else {
            encode(&packet, entry.version, entry.outgoing.tail(&mut self.pool));
        }
        if self.current != Some(connection) {
            self.has_given = true;
            entry.wake();
        }
    }

    /// Whether the current turn gave others something to send.
    pub(in crate::server) const fn has_given(&self) -> bool {
        self.has_given
    }

    fn pause(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.paused = true;
            if !std::mem::replace(&mut entry.listed_as_paused, true) {
                self.paused.push(connection);
            }
        }
    }

    /// Changes what a connection's task goes by, and lets it run.
    fn with_woken(&mut self, connection: ConnectionId, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.connections.get_mut(connection) {
            change(entry);
            if self.current != Some(connection) {
                entry.wake();
            }
        }
    }

    fn authenticate(&mut self, connection: ConnectionId, request: AuthenticationRequest) {
        if let Some(peer) = self.shard.peer(connection) {
            self.ask_provider(connection, authentication::request(peer, request));
        }
    }

    /// Asks at once if no provider blocks. Otherwise the answer comes by the mailbox, and the rules read nothing from the connection
    /// meanwhile.
    fn ask_provider(&mut self, connection: ConnectionId, request: auth::Request) {
        let (mailboxes, shard) = (Arc::clone(&self.mailboxes), usize::from(self.id.0));
        let respond = move |answer| {
            if let Some(mailbox) = mailboxes.get(shard) {
                mailbox.put(Mail::Authenticated { connection, answer: Box::new(answer) });
            }
        };
        if let Some(verdict) = self.authentication.ask(request, respond) {
            self.answers.push_back(Event::Authenticated { connection, outcome: authentication::outcome(verdict) });
        }
    }

    /// An answer that was overtaken by a reload is asked again, so that no client is accepted by rules that are not in force.
    fn on_authenticated(&mut self, connection: ConnectionId, answer: auth::Answer) {
        match self.authentication.current(answer) {
            Ok(verdict) => {
                self.handle(Event::Authenticated { connection, outcome: authentication::outcome(verdict) });
            }
            Err(request) if self.connections.get_mut(connection).is_some() => {
                self.ask_provider(connection, *request);
                self.apply_answers();
            }
            Err(_) => {}
        }
    }
}

/// Reading the clock once more for every flush would cost more than it tells.
const SAMPLED_ONE_OF: u32 = 64;
