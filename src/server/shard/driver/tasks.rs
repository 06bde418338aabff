//! What the tasks of the shard's thread ask of its [`Driver`].

use std::task::Waker;
use std::time::{Duration, Instant};

use super::Driver;
use crate::broker::{ConnectionId, Event, Peer};
use crate::codec::ProtocolVersion;
use crate::server::connection::outgoing::Outgoing;
use crate::server::status::ShardSnapshot;
use crate::server::traffic::Traffic;
use crate::timestamp::Timestamp;

/// How a connection ends that the rules are done with.
pub(in crate::server) struct Farewell {
    /// What it has still to send.
    pub(in crate::server) last: Outgoing,
    /// Whether its client said DISCONNECT.
    pub(in crate::server) is_said: bool,
}

impl Driver {
    /// A new connection, whose first packet is awaited.
    pub(in crate::server) fn open(&mut self, peer: Box<Peer>) -> Option<ConnectionId> {
        self.begin_turn();
        let connection = self.connections.open(self.reading.now)?;
        self.tasks += 1;
        self.traffic.connections_opened += 1;
        self.handle(Event::Opened { connection, peer });
        self.end_turn();
        Some(connection)
    }

    /// Its transport ended.
    pub(in crate::server) fn closed(&mut self, connection: ConnectionId, cause: bytestring::ByteString) {
        self.begin_turn();
        self.handle(Event::Closed { connection, cause });
        self.end_turn();
        self.connections.close(connection);
        self.task_ended();
    }

    /// The rules are done with it: what is still to be done. Its task is not counted out before it [ended](Self::task_ended).
    pub(in crate::server) fn take_last(&mut self, connection: ConnectionId) -> Farewell {
        let entry = self.connections.close(connection);
        let is_said = entry.as_ref().is_some_and(|entry| entry.said_goodbye);
        Farewell { last: entry.map(|entry| entry.outgoing).unwrap_or_default(), is_said }
    }

    /// DISCONNECT came.
    pub(in crate::server) fn client_said_goodbye(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.said_goodbye = true;
        }
    }

    /// A connection's task is done.
    pub(in crate::server) fn task_ended(&mut self) {
        self.tasks -= 1;
        self.traffic.connections_closed += 1;
        if self.shutting_down
            && let Some(mailbox) = self.mailboxes.get(usize::from(self.id.0))
        {
            mailbox.notify();
        }
    }

    /// A connection ended before its first packet could be awaited.
    pub(in crate::server) fn handshake_failed(&mut self) -> Timestamp {
        self.traffic.handshakes_failed += 1;
        self.clock.read().now
    }

    /// From its CONNECT on, packets to it are encoded in the version that it named.
    pub(in crate::server) fn set_version(&mut self, connection: ConnectionId, version: Option<ProtocolVersion>) {
        if let (Some(entry), Some(version)) = (self.connections.get_mut(connection), version) {
            entry.version = version;
        }
    }

    /// Whether something waits for its transport.
    pub(in crate::server) fn has_outgoing(&mut self, connection: ConnectionId) -> bool {
        self.connections.get_mut(connection).is_some_and(|entry| !entry.outgoing.is_empty())
    }

    /// Its task goes on after the others had their turn.
    pub(in crate::server) fn wake_later(&mut self, connection: ConnectionId, waker: &Waker) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.woken = true;
        }
        waker.wake_by_ref();
    }

    /// Tells the rules what has changed around this shard: other shards have room again, or the store has.
    pub(in crate::server) fn look_around(&mut self) {
        let relieved = self.post.take_relieved();
        if relieved.is_empty() && !self.store.has_news() {
            return;
        }
        self.begin_turn();
        for shard in relieved {
            self.handle(Event::ShardCongestion { shard, congested: false });
        }
        self.end_turn();
    }

    /// Whether its task is to look at the peer of a paused connection, once.
    pub(in crate::server) fn looks_at_peer(&mut self, connection: ConnectionId) -> bool {
        self.connections
            .get_mut(connection)
            .is_some_and(|entry| std::mem::take(&mut entry.looks_at_peer) && entry.paused)
    }

    /// A read brought `bytes`.
    pub(in crate::server) fn received(&mut self, bytes: usize) {
        self.traffic.bytes_received += bytes as u64;
        self.traffic.reads += u64::from(bytes > 0);
    }

    /// The transport took `bytes`.
    pub(in crate::server) fn flushed(&mut self, connection: ConnectionId, bytes: usize) {
        self.sent(bytes);
        let Some(entry) = self.connections.get_mut(connection) else { return };
        entry.progress = self.reading.now;
        if let Some(filled) = entry.filled.take() {
            let latency = self.clock.read().elapsed.saturating_sub(filled);
            self.traffic.publish_to_deliver.record(latency);
        }
        let remaining = entry.outgoing.len();
        if remaining == 0 {
            entry.outgoing.release(&mut self.pool);
        }
        self.handle(Event::Flushed { connection, remaining });
    }

    /// The transport took `bytes` of a connection that the rules are done with.
    pub(in crate::server) fn sent(&mut self, bytes: usize) {
        self.traffic.bytes_sent += bytes as u64;
        self.traffic.writes += 1;
    }

    /// The transport didn't take all.
    pub(in crate::server) fn backlogged(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(connection)
            && !std::mem::replace(&mut entry.backlogged, true)
        {
            self.backlogged.push(connection);
        }
    }

    /// Ends those whose transport took nothing for the write timeout, and has an eye on those that are paused: called once a second.
    pub(in crate::server) fn sweep(&mut self) {
        self.begin_turn();
        let mut backlogged = std::mem::take(&mut self.backlogged);
        backlogged.retain(|&connection| self.is_still_backlogged(connection));
        self.backlogged = backlogged;
        let mut paused = std::mem::take(&mut self.paused);
        paused.retain(|&connection| self.is_still_paused(connection));
        self.paused.append(&mut paused);
        let Traffic { bytes_received, bytes_sent, .. } = self.traffic;
        let (received, sent) = std::mem::replace(&mut self.told, (bytes_received, bytes_sent));
        self.shared.add_traffic(bytes_received - received, bytes_sent - sent);
        self.end_turn();
    }

    /// Whether a connection that was paused still is: then its task looks whether its peer is still there.
    fn is_still_paused(&mut self, connection: ConnectionId) -> bool {
        let Some(entry) = self.connections.get_mut(connection) else { return false };
        entry.listed_as_paused = entry.paused;
        if entry.paused {
            entry.looks_at_peer = true;
            entry.wake();
        }
        entry.paused
    }

    fn is_still_backlogged(&mut self, connection: ConnectionId) -> bool {
        let Some(entry) = self.connections.get_mut(connection) else { return false };
        if entry.outgoing.is_empty() {
            entry.backlogged = false;
            return false;
        }
        if self.reading.now.since(entry.progress) >= self.write_timeout {
            entry.timed_out = true;
            entry.wake();
            self.traffic.write_timeouts += 1;
            return false;
        }
        true
    }

    /// Tells the shard the time if it wants to know it, and says when it wants to know it next.
    pub(in crate::server) fn poll_deadline(&mut self, waker: &Waker) -> Option<Instant> {
        self.timer.waker = Some(waker.clone());
        // While this runs nobody has to wake it.
        self.timer.armed = Some(Timestamp::default());
        self.begin_turn();
        if self.shard.deadline().is_some_and(|deadline| deadline <= self.reading.now) {
            self.handle(Event::DeadlinePassed);
        }
        self.end_turn();
        self.timer.armed = self.shard.deadline();
        self.timer.armed.map(|deadline| self.clock.instant_of(deadline))
    }

    /// How long the last bytes of a connection may take.
    pub(in crate::server) fn close_timeout(&self) -> Duration {
        self.write_timeout.min(CLOSE_TIMEOUT_MAX)
    }

    /// Whether it stops and every client has heard it.
    pub(in crate::server) fn is_drained(&self) -> bool {
        self.shutting_down && self.tasks == 0
    }

    /// What it has counted.
    pub(in crate::server) fn snapshot(&self) -> ShardSnapshot {
        ShardSnapshot { counters: *self.shard.counters(), traffic: self.traffic, published: self.reading.now }
    }

    /// The access rules were reloaded: asks again what every client may do, a part of them in each [turn](Self::renew_some_access).
    pub(super) fn renew_access(&mut self) {
        self.renewals = self.connections.ids();
    }

    /// Whether it is still to be asked what some clients may do.
    pub(in crate::server) fn has_renewals(&self) -> bool {
        !self.renewals.is_empty()
    }

    /// Asks again what the next few clients may do.
    pub(in crate::server) fn renew_some_access(&mut self) {
        self.begin_turn();
        for _ in 0..RENEWALS_PER_TURN {
            let Some(connection) = self.renewals.pop() else { break };
            let Some((client_id, verified_user)) = self.shard.identity(connection) else { continue };
            let access = self.authentication.access(client_id, verified_user);
            self.handle(Event::AccessChanged { connection, access });
        }
        self.end_turn();
    }
}

/// Clients whose access is renewed in one turn after a reload.
const RENEWALS_PER_TURN: usize = 64;
/// Longer than a farewell takes on a bad network, shorter than anyone waits for a stop.
const CLOSE_TIMEOUT_MAX: Duration = Duration::from_secs(2);
