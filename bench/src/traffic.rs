//! Drives the connections of a run: connects, subscribes, publishes and waits.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::clock;
use crate::flow::{Counts, Flow, Role};
use crate::packet::{self, QoS, Retain, SessionKind};
use crate::placement::{Cells, Seat};
use crate::plan::{Pace, Plan};
use crate::scenario::Target;
use crate::swarm::Swarm;

/// A run: its sockets and its flow.
#[derive(Debug)]
pub(crate) struct Traffic {
    swarm: Swarm,
    cells: Option<Cells>,
    pub(crate) flow: Flow,
    pub(crate) plan: Plan,
    /// The role of each connection.
    roles: Vec<Role>,
    /// The connection of each publisher.
    publishers: Vec<usize>,
    client_ids: usize,
    /// When the last packet was received.
    pub(crate) last_packet: Instant,
}

/// When publishing stops.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Deadline(Instant),
    Sent,
}

/// Why waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    Done,
    /// No packet arrived for a while.
    Silent,
    /// Packets were still arriving at the time limit.
    Unfinished,
}

/// A client to connect.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) role: Role,
    pub(crate) session: SessionKind,
    /// Set if the session must be found again.
    pub(crate) client_id: Option<String>,
}

impl Client {
    /// A client whose session ends with its connection.
    pub(crate) const fn clean(role: Role) -> Self {
        Self { role, session: SessionKind::Clean, client_id: None }
    }
}

impl Traffic {
    /// A run without connections.
    pub(crate) fn new(target: &Target, plan: Plan) -> Result<Self> {
        let broker = target.endpoint.clone();
        Ok(Self {
            cells: target.cells.clone(),
            swarm: Swarm::new(broker, plan.protocol, plan.packet_len_max(), send_buffer(plan.pace))?,
            flow: Flow::new(&plan)?,
            plan,
            roles: Vec::new(),
            publishers: Vec::new(),
            client_ids: 0,
            last_packet: clock::now(),
        })
    }

    /// Connects the clients, a few at a time, waits for all CONNACKs, and returns the connections.
    pub(crate) fn connect(&mut self, clients: &[Client]) -> Result<Vec<usize>> {
        let before = self.flow.counts.connected;
        let mut connections = Vec::with_capacity(clients.len());
        for (index, client) in clients.iter().enumerate() {
            let generated = || format!("bench-{:08x}-{}", self.plan.run, self.client_ids);
            let client_id = client.client_id.clone().unwrap_or_else(generated);
            self.client_ids += 1;
            let seat = self.cells.as_ref().map(|cells| cells.seat(client.role, &client_id)).transpose()?;
            let (client_id, address) = match seat {
                Some(Seat { client_id, address }) => (client_id, Some(address)),
                None => (client_id, None),
            };
            let connection = self.swarm.open(address)?;
            connections.push(connection);
            self.roles.push(client.role);
            if matches!(client.role, Role::Publisher(_)) {
                self.publishers.push(connection);
            }
            packet::encode_connect(self.swarm.output(connection)?, &client_id, client.session, self.plan.protocol);
            let greeted_at_least = before + (index + 1).saturating_sub(UNANSWERED_MAX);
            self.wait("a CONNACK", |counts| counts.connected >= greeted_at_least)?;
        }
        self.wait("a CONNACK", |counts| counts.connected >= before + clients.len())?;
        Ok(connections)
    }

    /// Connects all receivers and returns their connections.
    pub(crate) fn connect_receivers(&mut self) -> Result<Vec<usize>> {
        let receivers = self.plan.receivers.iter().enumerate();
        let clients: Vec<_> = receivers.map(|(number, plan)| self.receiver(number, plan.session)).collect();
        self.connect(&clients)
    }

    /// Connects all receivers and subscribes them.
    pub(crate) fn connect_subscribers(&mut self) -> Result<Vec<usize>> {
        let connections = self.connect_receivers()?;
        for (receiver, connection) in connections.iter().enumerate() {
            self.subscribe(receiver, *connection)?;
        }
        Ok(connections)
    }

    /// Disconnects the receivers and ends their durable sessions.
    pub(crate) fn forget_sessions(&mut self, connections: &[usize]) -> Result<()> {
        for connection in connections {
            self.disconnect(*connection)?;
        }
        let durable = self.plan.receivers.iter().enumerate().filter(|(_, plan)| plan.session == SessionKind::Durable);
        let clean: Vec<_> = durable.map(|(number, _)| self.receiver(number, SessionKind::Clean)).collect();
        for connection in self.connect(&clean)? {
            self.disconnect(connection)?;
        }
        Ok(())
    }

    fn receiver(&self, number: usize, session: SessionKind) -> Client {
        let client_id = format!("bench-{:08x}-receiver-{number}", self.plan.run);
        Client { role: Role::Receiver(number), session, client_id: Some(client_id) }
    }

    /// Connects all publishers.
    pub(crate) fn connect_publishers(&mut self) -> Result<()> {
        let clients: Vec<_> =
            (0..self.plan.publishers.len()).map(|publisher| Client::clean(Role::Publisher(publisher))).collect();
        self.connect(&clients)?;
        Ok(())
    }

    /// Subscribes a receiver to its filters.
    pub(crate) fn subscribe(&mut self, receiver: usize, connection: usize) -> Result<()> {
        let Some(receiver) = self.plan.receivers.get(receiver) else { return Ok(()) };
        let subscribed = self.flow.counts.subscribed + receiver.filters.len();
        for (packet_id, filters) in (1..).zip(receiver.filters.chunks(FILTERS_PER_SUBSCRIBE)) {
            let output = self.swarm.output(connection)?;
            packet::encode_subscribe(output, packet_id, filters, receiver.qos, self.plan.protocol);
        }
        self.wait("a SUBACK", |counts| counts.subscribed >= subscribed)
    }

    /// Sends DISCONNECT and closes the connection.
    pub(crate) fn disconnect(&mut self, connection: usize) -> Result<()> {
        packet::encode_disconnect(self.swarm.output(connection)?);
        self.swarm.close(connection)
    }

    /// From now on, the broker may close the connection.
    pub(crate) fn let_end(&mut self, connection: usize) {
        self.swarm.let_end(connection);
    }

    /// Publishes at the plan's pace. Fails if the broker stops responding.
    pub(crate) fn publish(&mut self, until: Until) -> Result<()> {
        self.last_packet = clock::now();
        self.flow.touch_all();
        loop {
            let patience = match self.plan.pace {
                Pace::Unbounded => self.publish_writable()?,
                Pace::Scheduled { interval_ns } => self.keep_schedule(interval_ns)?,
                Pace::EachDelivered | Pace::AllDelivered | Pace::Acknowledged => self.refill()?,
            };
            self.turn(patience)?;
            let now = clock::now();
            let over = match until {
                Until::Deadline(deadline) => now >= deadline,
                Until::Sent => self.flow.remaining == 0,
            };
            if over {
                self.flow.remaining = 0;
                return Ok(());
            }
            if now - self.last_packet > STALL {
                return Ok(());
            }
        }
    }

    /// Handles packets without publishing until `done`, or until none arrived for a while, or until the time limit.
    pub(crate) fn settle(&mut self, done: impl Fn(&Counts) -> bool) -> Result<Settled> {
        let started = clock::now();
        self.last_packet = started;
        self.swarm.flush()?;
        while !done(&self.flow.counts) {
            self.turn(TURN)?;
            let now = clock::now();
            if now - self.last_packet > STALL {
                return Ok(Settled::Silent);
            }
            if now - started > SETTLE_MAX {
                return Ok(Settled::Unfinished);
            }
        }
        self.swarm.flush()?;
        Ok(Settled::Done)
    }

    /// Handles pending events once. Fails if a connection was closed.
    pub(crate) fn poll_once(&mut self) -> Result<()> {
        self.turn(Duration::ZERO)
    }

    /// Deletes the retained messages of the run's topics.
    pub(crate) fn clear_retained(&mut self) -> Result<()> {
        let Some(&connection) = self.publishers.first() else { return Ok(()) };
        for stream in &self.plan.streams {
            let protocol = self.plan.protocol;
            let properties = packet::no_properties(protocol);
            let publish = packet::publish_head(&stream.topic, QoS::AtMostOnce, Retain::Keep, 0, properties);
            let output = self.swarm.output(connection)?;
            output.extend_from_slice(&publish);
            output.extend_from_slice(properties);
        }
        self.swarm.flush()?;
        let started = clock::now();
        while self.swarm.backlog(connection) > 0 && clock::now() - started < STALL {
            self.turn(TURN)?;
        }
        Ok(())
    }

    /// Lets every publisher with space in its window send. Returns how long to wait for packets.
    fn refill(&mut self) -> Result<Duration> {
        while let Some(publisher) = self.flow.next_touched() {
            if let Some(&connection) = self.publishers.get(publisher) {
                self.flow.publish(publisher, self.swarm.output(connection)?)?;
            }
        }
        Ok(TURN)
    }

    /// Sends messages that are due. Returns the time until the next one is.
    fn keep_schedule(&mut self, interval_ns: u64) -> Result<Duration> {
        while let Some(publisher) = self.flow.next_due() {
            let connection = *self.publishers.get(publisher).context("a publisher without a connection")?;
            self.flow.publish_due(interval_ns, self.swarm.output(connection)?)?;
        }
        Ok(self.flow.until_due().map_or(TURN, |due| due.min(TURN)))
    }

    /// Lets every publisher send whose socket is writable. Returns how long to wait for packets: not at all if there was one.
    fn publish_writable(&mut self) -> Result<Duration> {
        let mut patience = TURN;
        for (publisher, &connection) in self.publishers.iter().enumerate() {
            if self.swarm.backlog(connection) == 0 {
                self.flow.publish(publisher, self.swarm.output(connection)?)?;
                patience = Duration::ZERO;
            }
        }
        Ok(patience)
    }

    fn turn(&mut self, timeout: Duration) -> Result<()> {
        self.swarm.flush()?;
        let before = self.flow.counts.packets;
        self.flow.on_read(None);
        self.swarm.turn(timeout, |connection, packet, output| {
            self.flow.on_read(Some(connection));
            let role = self.roles.get(connection).copied().unwrap_or(Role::Bystander);
            self.flow.on_packet(role, packet, output)
        })?;
        if self.flow.counts.packets > before {
            self.last_packet = clock::now();
        }
        Ok(())
    }

    fn wait(&mut self, what: &str, done: impl Fn(&Counts) -> bool) -> Result<()> {
        match self.settle(done)? {
            Settled::Done => Ok(()),
            Settled::Silent | Settled::Unfinished => {
                bail!("no progress for {} s while waiting for {what}", STALL.as_secs())
            }
        }
    }
}

/// The send buffer of a connection in bytes, if nothing else bounds the publisher's output.
fn send_buffer(pace: Pace) -> Option<usize> {
    (pace == Pace::Unbounded).then_some(FLOOD_SEND_BUFFER)
}

/// Small, so that a flood queues in the broker instead of the kernel, and ends soon after its publishers stop.
const FLOOD_SEND_BUFFER: usize = 32 * 1_024;
/// Connections that wait for their CONNACK: fewer than the shortest listen backlog of the compared brokers.
const UNANSWERED_MAX: usize = 64;
const FILTERS_PER_SUBSCRIBE: usize = 100;
/// How long a poll waits for packets, so that deadlines are met.
const TURN: Duration = Duration::from_millis(10);
/// A broker that sends nothing for this long is considered finished.
const STALL: Duration = Duration::from_secs(3);
/// The time limit for a broker to deliver what it accepted.
const SETTLE_MAX: Duration = Duration::from_secs(30);
