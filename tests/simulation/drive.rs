//! Drives the shards: passes events to them and performs their actions.

use oncemq::broker::{
    Action, AuthenticationOutcome, ConnectionId, Durability, Event, Fetch, Record, Report, ShardMessage, Ticket,
};
use oncemq::codec::{ReasonCode, ServerPacket, encode};
use oncemq::store::Level;
use oncemq::store::sim::Loss;

use crate::network::server_packet;
use crate::strangers::verified;
use crate::world::{Step, World};

impl World {
    /// Passes an event to a shard and performs its actions in order.
    pub(crate) fn handle(&mut self, shard: usize, event: Event) {
        self.notice_room(shard);
        let mut actions = Vec::new();
        let time = self.time();
        self.shards[shard].shard.handle(time, event, &mut actions);
        self.perform_all(shard, &mut actions);
        self.schedule_deadline(shard);
        self.check_queues(shard);
    }

    pub(crate) fn perform_all(&mut self, shard: usize, actions: &mut Vec<Action>) {
        for action in actions.drain(..) {
            self.perform(shard, action);
        }
    }

    pub(crate) fn schedule_deadline(&mut self, shard: usize) {
        let side = &self.shards[shard];
        let deadline = side.shard.deadline().map(|at| self.when(at).max(self.now));
        if let Some(at) = deadline.filter(|_| deadline != side.deadline) {
            self.shards[shard].deadline = deadline;
            self.schedule_at(at, Step::Deadline(shard));
        }
    }

    fn perform(&mut self, shard: usize, action: Action) {
        match action {
            Action::Send { connection, packet } => self.with_open(shard, connection, "Send", |world, number| {
                world.on_send(number, &packet);
            }),
            // The simulated disk answers in time.
            Action::Reset { .. } => unreachable!("the disk did not answer"),
            Action::Close { connection } => self.with_open(shard, connection, "Close", |world, number| {
                let client = world.connections[number].client;
                world.trace.note(world.now, Some(client), || format!("    broker closes {number}"));
                world.close(number);
            }),
            Action::Pause { connection } => self.with_open(shard, connection, "Pause", |world, number| {
                if std::mem::replace(&mut world.connections[number].broker.paused, true) {
                    world.fail(None, "paused twice".to_owned());
                }
            }),
            Action::Resume { connection } => self.with_open(shard, connection, "Resume", |world, number| {
                if !std::mem::replace(&mut world.connections[number].broker.paused, false) {
                    world.fail(None, "resumed without being paused".to_owned());
                }
                world.checker.taps[number].last_read = world.now;
                let delay = world.delay(2);
                world.schedule(delay, Step::Pump(number));
            }),
            Action::Authenticate { connection, .. } => {
                self.with_open(shard, connection, "Authenticate", |world, number| {
                    if !world.connections[number].broker.paused {
                        world.fail(None, "authentication of a connection that is not paused".to_owned());
                    }
                    let delay = world.delay(30);
                    let client = &mut world.clients[world.connections[number].client];
                    let at = client.in_turn(world.now + delay);
                    world.schedule_at(at, Step::Authenticated(number));
                });
            }
            Action::Persist { ticket, record } => {
                let side = &mut self.shards[shard];
                assert_eq!(ticket.0, side.last_ticket.0 + 1, "tickets are numbered one by one");
                side.last_ticket = ticket;
                self.trace.note(self.now, None, || format!("shard {shard} persists {} {record:?}", ticket.0));
                self.checker.on_record(shard, ticket, &record);
                let unawaited = if self.mix.rules.is_empty() { Level::PowerLoss } else { Level::Crash };
                self.log.now = self.now;
                self.log.append(shard, ticket, &record, unawaited);
                self.sync_soon();
            }
            Action::ReadStream(request) => self.read_stream_later(shard, request),
            Action::PersistTogether { ticket, durability, records } => {
                self.persist_together(shard, ticket, durability, &records);
            }
            Action::PrepareDelayed(_) => unreachable!("no client delays a message"),
            Action::Fetch(fetch) => {
                self.trace.note(self.now, None, || format!("shard {shard} fetches {fetch:?}"));
                let delay = self.delay(self.mix.read_delay);
                self.schedule(delay, Step::Read(shard, *fetch));
            }
            Action::Forward { shard: to, message } => {
                let to = usize::from(to.0);
                assert_ne!(shard, to, "a shard forwards to itself");
                self.trace.note(self.now, None, || format!("shard {shard} to {to}: {message:?}"));
                let delay = self.delay(self.mix.forward_delay);
                let side = &mut self.shards[shard];
                side.channels[to] = side.channels[to].max(self.now + delay);
                let at = side.channels[to];
                self.schedule_at(at, Step::Forwarded(to, message));
            }
            Action::Answer(id, answer) => self.on_answer(id, &answer),
            Action::Sampled(_) | Action::Hurry => {}
            Action::Report(report) => self.on_report(&report),
        }
    }

    /// Appends the records of a batch.
    fn persist_together(&mut self, shard: usize, ticket: Ticket, durability: Durability, records: &[Record]) {
        let side = &mut self.shards[shard];
        assert_eq!(ticket.0, side.last_ticket.0 + 1, "tickets are numbered one by one");
        side.last_ticket = ticket;
        self.trace.note(self.now, None, || format!("shard {shard} persists {} {records:?}", ticket.0));
        records.iter().for_each(|record| self.checker.on_record(shard, ticket, record));
        self.log.now = self.now;
        self.log.append_together(shard, ticket, records, durability);
        self.sync_soon();
    }

    /// Actions must name open connections only.
    fn with_open(&mut self, shard: usize, id: ConnectionId, action: &str, perform: impl FnOnce(&mut Self, usize)) {
        let number = self.connections.iter().rposition(|connection| connection.shard == shard && connection.id == id);
        match number.filter(|number| self.connections[*number].is_open()) {
            Some(number) => perform(self, number),
            None => self.fail(None, format!("{action} for a connection that is not open")),
        }
    }

    fn on_send(&mut self, number: usize, packet: &ServerPacket) {
        let connection = &self.connections[number];
        let (client, version) = (connection.client, connection.version);
        self.trace.note(self.now, Some(client), || format!("    broker sends {}", server_packet(packet)));
        self.tap_sent(number, packet);
        let output = &mut self.connections[number].broker.output;
        let before = output.len();
        encode(packet, version, output);
        let length = output.len() - before;
        let maximum = self.checker.taps[number].maximum_packet_size;
        if maximum.is_some_and(|maximum| length > maximum) {
            self.fail(Some(client), format!("{length} bytes in one packet, above its Maximum Packet Size"));
        }
        self.check_unsent(number);
        self.flush_soon(number);
    }

    /// The clients violate no rule, so reports of protocol errors are faults.
    fn on_report(&mut self, report: &Report) {
        let client = |label: &oncemq::broker::ClientLabel| {
            let number = label.client_id.as_ref().and_then(|id| id.as_str().strip_prefix('c')?.parse().ok());
            number.filter(|number: &usize| *number < self.clients.len())
        };
        self.trace.note(self.now, None, || format!("report {report:?}"));
        match report {
            Report::Connected { .. } | Report::Silent { .. } => {}
            Report::Disconnected { client: label, reason_code, cause, .. } => {
                let fine = matches!(
                    *reason_code,
                    ReasonCode::NormalDisconnection
                        | ReasonCode::DisconnectWithWillMessage
                        | ReasonCode::SessionTakenOver
                        | ReasonCode::KeepAliveTimeout
                        | ReasonCode::AdministrativeAction
                        | ReasonCode::UnspecifiedError
                );
                let client = client(label);
                if let Some(client) = client {
                    self.checker.presence.reason(client, *reason_code);
                    if *reason_code == ReasonCode::KeepAliveTimeout {
                        self.check_keep_alive(client);
                    }
                }
                if !fine {
                    self.fail(client, format!("disconnected with {reason_code:?}: {cause}"));
                }
            }
            Report::Refused { client: label, reason_code, cause } => {
                let fine = ["end of stream", "connection reset", "session taken over before CONNACK"];
                let client = client(label);
                if !fine.contains(&&**cause) {
                    self.fail(client, format!("refused with {reason_code:?}: {cause}"));
                }
            }
            Report::Denied { client: label, packet, topic, .. } => {
                let client = client(label);
                self.fail(client, format!("denied {packet} {topic}"));
            }
            Report::Unreadable { client: label, sequence, cause } => {
                let client = client(label);
                self.fail(client, format!("message {sequence} can't be read: {cause}"));
            }
            Report::Dropping { .. } | Report::Lost { .. } => {}
            Report::OwnerChanged { client: label, previous, owner, .. } => {
                let client = client(label);
                self.fail(client, format!("the Session of {previous} belongs to {owner}"));
            }
            // Nobody asks for details.
            Report::Published { .. }
            | Report::Subscribed { .. }
            | Report::Unsubscribed { .. }
            | Report::Session { .. }
            | Report::Will { .. } => self.fail(None, format!("a detail was reported: {report:?}")),
        }
    }

    pub(crate) fn on_authenticated(&mut self, number: usize) {
        let connection = &self.connections[number];
        if !connection.is_open() {
            return;
        }
        let (id, shard) = (connection.id, connection.shard);
        let access = self.access_of(connection.client);
        let verified_user = Some(verified(&format!("user of c{}", connection.client)));
        let outcome = AuthenticationOutcome::Granted {
            access,
            user: None,
            verified_user,
            expires_at: None,
            authentication_data: None,
        };
        self.intrude(number);
        self.handle(shard, Event::Authenticated { connection: id, outcome });
        self.intrude(number);
    }

    pub(crate) fn sync_soon(&mut self) {
        if !std::mem::replace(&mut self.syncing, true) {
            let delay = self.delay(2);
            self.schedule(delay, Step::Sync);
        }
    }

    pub(crate) fn on_sync(&mut self) {
        let delay = self.delay(self.mix.sync_delay);
        self.schedule(delay, Step::Commit);
    }

    /// All records appended to the store become stable. The shards are notified one after another.
    pub(crate) fn on_commit(&mut self) {
        self.syncing = false;
        let survives = self.mix.loss == Loss::Process || self.log.next_commit_syncs();
        self.checker.on_commit(self.now, survives);
        for (shard, ticket) in self.log.commit() {
            self.trace.note(self.now, None, || format!("shard {shard} is stable up to {ticket}"));
            let delay = self.delay(self.mix.sync_delay);
            let side = &mut self.shards[shard];
            side.notified_until = side.notified_until.max(self.now + delay);
            let at = side.notified_until;
            self.schedule_at(at, Step::Synced(shard, Ticket(ticket)));
        }
        self.keep_soon();
        self.announce_room();
    }

    pub(crate) fn on_synced(&mut self, shard: usize, ticket: Ticket) {
        self.shards[shard].stable = ticket;
        self.trace.note(self.now, None, || format!("shard {shard} is notified of {}", ticket.0));
        self.handle(shard, Event::Persisted(ticket));
    }

    pub(crate) fn on_forwarded(&mut self, shard: usize, message: ShardMessage) {
        self.handle(shard, Event::Forwarded(message));
    }

    /// Reads the messages now; the shard receives them later.
    pub(crate) fn on_read_store(&mut self, shard: usize, fetch: Fetch) {
        let fetched = self.log.read(fetch);
        self.trace.note(self.now, None, || format!("the store read {fetched:?}"));
        let delay = self.delay(self.mix.read_delay);
        self.schedule(delay, Step::Fetched(shard, fetched));
    }

    pub(crate) fn on_deadline(&mut self, shard: usize) {
        let side = &mut self.shards[shard];
        if side.deadline != Some(self.now) {
            return;
        }
        side.deadline = None;
        if self.shards[shard].shard.deadline().is_some_and(|at| at <= self.time()) {
            self.handle(shard, Event::DeadlinePassed);
        }
    }
}
