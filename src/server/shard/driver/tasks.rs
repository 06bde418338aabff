//! The methods of [`Driver`] for the tasks of its thread.

use std::task::Waker;
use std::time::{Duration, Instant};

use super::Driver;
use crate::broker::{ConnectionId, Detail, Event, Peer, Report};
use crate::codec::{ClientPacket, ProtocolVersion};
use crate::routing::ShardId;
use crate::server::connection::outgoing::Outgoing;
use crate::server::listener::ClientCertificates;
use crate::server::report;
use crate::server::shard::connections::Entry;
use crate::server::shard::mailbox::Mailbox;
use crate::server::shard::trace::TraceChange;
use crate::server::status::ShardSnapshot;
use crate::server::traffic::Traffic;
use crate::timestamp::Timestamp;

/// What a task needs to end a connection that the broker has closed.
pub(in crate::server) struct ClosedConnection {
    /// Output to write before the end.
    pub(in crate::server) unsent: Outgoing,
    /// Whether DISCONNECT was received.
    pub(in crate::server) disconnect_received: bool,
}

impl Driver {
    /// Adds a connection. `None` if there is no slot for it.
    pub(in crate::server) fn open(&mut self, peer: Box<Peer>) -> Option<ConnectionId> {
        self.begin_turn();
        let connection = self.connections.open(self.reading)?;
        self.tasks += 1;
        self.traffic.connections_opened += 1;
        if peer.link.is_some() {
            self.set_version(connection, Some(ProtocolVersion::V5)); // there is no CONNECT
        }
        self.handle(Event::Opened { connection, peer });
        self.end_turn();
        Some(connection)
    }

    /// Ends a connection whose transport was closed or failed.
    pub(in crate::server) fn closed(&mut self, connection: ConnectionId, cause: bytestring::ByteString) {
        self.begin_turn();
        self.handle(Event::Closed { connection, cause });
        self.end_turn();
        self.forget(connection);
        self.tracer.ended(connection);
        self.task_ended();
    }

    /// Ends a connection whose peer closed it before it sent anything, as a health check does.
    pub(in crate::server) fn closed_silently(&mut self, connection: ConnectionId, cause: bytestring::ByteString) {
        self.traffic.probes += 1;
        self.begin_turn();
        self.handle(Event::ClosedSilently { connection, cause });
        self.end_turn();
        self.forget(connection);
        self.task_ended();
    }

    /// Removes a connection that the broker has closed. Its task calls [`task_ended`](Self::task_ended) when it has written the rest.
    pub(in crate::server) fn take_closed(&mut self, connection: ConnectionId) -> ClosedConnection {
        let entry = self.forget(connection);
        self.tracer.ended(connection);
        let disconnect_received = entry.as_ref().is_some_and(|entry| entry.disconnect_received);
        ClosedConnection { unsent: entry.map(|entry| entry.outgoing).unwrap_or_default(), disconnect_received }
    }

    /// Removes a connection and cancels the check of its password.
    fn forget(&mut self, connection: ConnectionId) -> Option<Entry> {
        self.logins.remove(&connection);
        self.own.remove(&connection);
        let entry = self.connections.close(connection)?;
        if entry.input_held > 0 {
            self.memory.change_input(entry.input_held, 0);
        }
        Some(entry)
    }

    /// Changes the details that the log wants.
    pub(super) fn set_detail(&mut self, detail: Detail) {
        let detail = self.tracer.set_log(detail);
        self.handle(Event::DetailChanged(Box::new(detail)));
    }

    /// Changes the traces that run.
    pub(super) fn set_traces(&mut self, change: TraceChange) {
        let TraceChange { running, known } = change;
        let detail = self.tracer.set_traces(running);
        self.handle(Event::DetailChanged(Box::new(detail)));
        drop(known);
    }

    /// Writes a report to the log, and to the traces that want it.
    pub(super) fn write_report(&self, report: &Report) {
        if self.tracer.logs(report) {
            report::write(report, self.reading.now);
        }
        self.tracer.report(report, self.reading.now);
    }

    /// Writes a line about a received packet of `bytes` bytes, if the log or a trace wants it.
    #[inline]
    pub(in crate::server) fn trace_received(&mut self, connection: ConnectionId, packet: &ClientPacket, bytes: usize) {
        if self.tracer.is_on() {
            self.tracer.received(connection, || self.shard.label(connection), (packet, bytes), self.reading.now);
        }
    }

    /// Records that DISCONNECT was received.
    pub(in crate::server) fn set_disconnect_received(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.disconnect_received = true;
        }
    }

    /// Sets whether the task of a connection discards its unread input.
    pub(in crate::server) fn set_discarding(&mut self, connection: ConnectionId, discarding: bool) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.discarding = discarding;
        }
    }

    /// Counts the end of a connection's task. During shutdown, it wakes the mailbox task, which ends after the last one.
    pub(in crate::server) fn task_ended(&mut self) {
        self.tasks -= 1;
        self.traffic.connections_closed += 1;
        if self.shutting_down
            && let Some(mailbox) = self.mailboxes.get(usize::from(self.id.0))
        {
            mailbox.notify();
        }
    }

    /// Counts a connection of a health check that ended in its handshake.
    pub(in crate::server) fn probed(&mut self) {
        self.traffic.probes += 1;
    }

    /// Counts a connection that ended in its handshake. Returns the current time.
    pub(in crate::server) fn handshake_failed(&mut self) -> Timestamp {
        self.traffic.handshakes_failed += 1;
        self.clock.read().now
    }

    /// Sets the protocol version of packets to the connection; `None` leaves it unchanged.
    pub(in crate::server) fn set_version(&mut self, connection: ConnectionId, version: Option<ProtocolVersion>) {
        if let (Some(entry), Some(version)) = (self.connections.get_mut(connection), version) {
            entry.version = version;
        }
    }

    /// Whether the connection has unsent output.
    pub(in crate::server) fn has_outgoing(&mut self, connection: ConnectionId) -> bool {
        self.connections.get_mut(connection).is_some_and(|entry| !entry.outgoing.is_empty())
    }

    /// Notes that the connection's task is scheduled.
    pub(in crate::server) fn set_woken(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.woken = true;
        }
    }

    /// Whether receivers of a turn write in slices.
    pub(in crate::server) fn has_waiting_receivers(&self) -> bool {
        !self.flush_queue.is_empty()
    }

    /// Wakes the next receivers whose output waits in the [`FlushQueue`](super::FlushQueue). Returns whether there were any; if not, calls
    /// `waker` when there are.
    pub(in crate::server) fn flush_some(&mut self, waker: &Waker) -> bool {
        let Some(mut slice) = self.flush_queue.next_slice(self.packets_queued, waker) else { return false };
        while slice > 0
            && let Some(id) = self.flush_queue.pop()
        {
            if let Some(entry) = self.connections.get_mut(id) {
                entry.in_flush_queue = false;
                slice -= u64::from(!entry.outgoing.is_empty() && entry.wake());
            }
        }
        true
    }

    /// Passes changes to the shard: the mailboxes of other shards have room again, or the store's congestion or free space changed.
    pub(in crate::server) fn update_congestion(&mut self) {
        let with_room = self.outbox.take_with_room();
        if with_room.is_empty() && !self.store.has_changed() {
            return;
        }
        self.begin_turn();
        for shard in with_room {
            self.handle(Event::ShardCongestion { shard, congested: false });
        }
        self.end_turn();
    }

    /// Takes the request of the last sweep to check whether the peer of a paused connection has closed.
    pub(in crate::server) fn take_peer_check(&mut self, connection: ConnectionId) -> bool {
        self.connections.get_mut(connection).is_some_and(|entry| std::mem::take(&mut entry.checks_peer) && entry.paused)
    }

    /// Whether a connection whose peer has closed ends, although its input was not read to the end.
    pub(in crate::server) fn gives_up(&self, connection: ConnectionId) -> bool {
        self.shard.gives_up(connection, self.reading.now)
    }

    /// Counts a read of `bytes` bytes.
    pub(in crate::server) fn received(&mut self, connection: ConnectionId, bytes: usize) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.bytes_received += bytes as u64;
        }
        self.traffic.bytes_received += bytes as u64;
        self.traffic.reads += u64::from(bytes > 0);
        self.watch_memory();
        if bytes > 0 && self.shard.limits_bytes() {
            self.handle(Event::Received { connection, bytes });
        }
    }

    /// The packets that were queued for any connection since the start.
    pub(in crate::server) const fn packets_queued(&self) -> u64 {
        self.packets_queued
    }

    /// Whether the current turn has taken [`TURN_MAX`], or [`FAN_OUT_TURN_MAX`].
    pub(in crate::server) fn is_turn_over(&self) -> bool {
        let maximum = if self.sent_to_others { FAN_OUT_TURN_MAX } else { TURN_MAX };
        self.clock.read().elapsed.saturating_sub(self.reading.elapsed) >= maximum
    }

    /// Handles a write of `bytes` bytes to the transport: frees an empty buffer, and reports the rest to the broker.
    pub(in crate::server) fn flushed(&mut self, connection: ConnectionId, bytes: usize) {
        self.sent(bytes);
        let Some(entry) = self.connections.get_mut(connection) else { return };
        entry.progress = self.reading.now;
        entry.bytes_sent += bytes as u64;
        if let Some(samples) = &mut entry.samples
            && samples.written(entry.bytes_sent, &mut self.traffic.latencies, || self.clock.read().elapsed)
        {
            entry.samples = None;
        }
        let remaining = entry.outgoing.len();
        if remaining == 0 {
            entry.outgoing.release(&mut self.pool);
        }
        self.handle(Event::Flushed { connection, remaining });
    }

    /// Counts a write of `bytes` bytes.
    pub(in crate::server) fn sent(&mut self, bytes: usize) {
        self.traffic.bytes_sent += bytes as u64;
        self.traffic.writes += 1;
    }

    /// Adds a connection whose transport didn't accept all its output to the ones checked for the write timeout.
    pub(in crate::server) fn backlogged(&mut self, connection: ConnectionId) {
        if let Some(entry) = self.connections.get_mut(connection)
            && !std::mem::replace(&mut entry.backlogged, true)
        {
            self.backlogged.push(connection);
        }
    }

    /// The shard did not run for a while: clients get their times again, in which to send and to take bytes.
    #[cold]
    pub(in crate::server) fn on_stall(&mut self) {
        for connection in &self.backlogged {
            if let Some(entry) = self.connections.get_mut(*connection) {
                entry.progress = self.reading.now;
            }
        }
        self.handle(Event::Stalled);
    }

    /// Ends connections whose transport accepted no bytes during the write timeout, requests checks of the peers of paused connections,
    /// publishes the traffic, and handles a deadline that passed while the machine was suspended: the timer task sleeps by a clock that
    /// stood still meanwhile. Called once a second.
    pub(in crate::server) fn sweep(&mut self) {
        self.begin_turn();
        if self.shard.deadline().is_some_and(|deadline| deadline <= self.reading.now) {
            self.handle(Event::DeadlinePassed);
        }
        let mut backlogged = std::mem::take(&mut self.backlogged);
        backlogged.retain(|&connection| self.is_still_backlogged(connection));
        self.backlogged = backlogged;
        let mut paused = std::mem::take(&mut self.paused);
        paused.retain(|&connection| self.is_still_paused(connection));
        self.paused.append(&mut paused);
        let Traffic { bytes_received, bytes_sent, .. } = self.traffic;
        let (received, sent) = std::mem::replace(&mut self.published_bytes, (bytes_received, bytes_sent));
        self.sweep_memory();
        self.shared.add_traffic(bytes_received - received, bytes_sent - sent);
        if self.id == ShardId(0) {
            self.store.publish_streams(&self.shared, &self.mailboxes);
        }
        self.end_turn();
    }

    /// Whether a connection is still paused. If so, requests a check of its peer.
    fn is_still_paused(&mut self, connection: ConnectionId) -> bool {
        let Some(entry) = self.connections.get_mut(connection) else { return false };
        entry.listed_as_paused = entry.paused;
        if entry.paused {
            entry.checks_peer = true;
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

    /// Handles a deadline of the shard that has passed. Returns the next one.
    pub(in crate::server) fn poll_deadline(&mut self, waker: &Waker) -> Option<Instant> {
        self.timer.waker = Some(waker.clone());
        // The lowest time: `end_turn` doesn't wake the timer task while it runs.
        self.timer.armed = Some(Timestamp::default());
        self.begin_turn();
        if self.shard.deadline().is_some_and(|deadline| deadline <= self.reading.now) {
            self.handle(Event::DeadlinePassed);
        }
        self.end_turn();
        self.timer.armed = self.shard.deadline();
        self.timer.armed.map(|deadline| self.clock.instant_of(deadline))
    }

    /// How long the end of a connection may take after the broker has closed it.
    pub(in crate::server) fn close_timeout(&self) -> Duration {
        self.write_timeout.min(CLOSE_TIMEOUT_MAX)
    }

    /// Whether the broker is stopping.
    pub(in crate::server) const fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    /// Says that all clients are disconnected, after the turn that has done it.
    pub(in crate::server) fn tell_detached(&mut self) {
        if let Some(detached) = self.detached.take() {
            // The channel has room for every shard.
            let _ = detached.try_send(());
        }
    }

    /// Whether the broker is stopping and all connections of this shard have ended, or need not be waited for.
    pub(in crate::server) fn is_drained(&self) -> bool {
        self.shutting_down && self.tasks == 0 || self.ended
    }

    /// The current counters. `busy`: how long the thread was not idle.
    pub(in crate::server) fn snapshot(&self, busy: Duration) -> ShardSnapshot {
        ShardSnapshot {
            counters: *self.shard.counters(),
            traffic: self.traffic,
            outcomes: self.shard.outcomes().clone(),
            busy,
            mail_waiting: self.mailboxes.get(usize::from(self.id.0)).map_or(0, Mailbox::weight),
            published: self.reading.now,
        }
    }

    /// Notes the certificates that the client of a connection has presented.
    pub(in crate::server) fn set_certificates(
        &mut self,
        connection: ConnectionId,
        certificates: Box<ClientCertificates>,
    ) {
        if let Some(entry) = self.connections.get_mut(connection) {
            entry.proof.get_or_insert_default().certificates = Some(certificates);
        }
    }
}

/// The time of one turn of a connection, as far as its packets can be divided. It bounds what one client adds to the latency of the others,
/// whatever its packets cost.
const TURN_MAX: Duration = Duration::from_millis(1);
/// The same for a turn that queues output for other connections. Each turn writes once to each receiver, so a shorter one costs a publisher
/// with many receivers more system calls: at 1 ms, a fan-out at QoS 0 needed two thirds more CPU.
const FAN_OUT_TURN_MAX: Duration = Duration::from_millis(10);
/// Maximum time for the last bytes of a closed connection: several round trips on a slow network.
const CLOSE_TIMEOUT_MAX: Duration = Duration::from_secs(2);
