mod discard;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::io::AsyncWrite;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::broker::{ConnectionId, Event, Peer};
use crate::codec::{ClientPacket, Decoder};
use crate::server::connection::input::Input;
use crate::server::connection::outgoing::Outgoing;
use crate::server::listener::{Expected, Foreign, Stream, is_peer_gone, shut_down};
use crate::server::memory::INPUT_SPARED;
use crate::server::shard::driver::{ClosedConnection, Driver};

/// A Network Connection: its transport and its undecoded input.
///
/// One polled loop, without a channel or a second task: it writes queued output, reads once, decodes and handles the packets, and repeats
/// until there is nothing to do or its share of the thread's time is used up.
pub(in crate::server) struct Connection {
    id: ConnectionId,
    stream: Stream,
    decoder: Decoder,
    input: Input,
}

/// Why a connection ends.
pub(in crate::server) enum End {
    /// The broker closed it: queued output is written first.
    Close,
    /// The transport was closed or failed, for this cause.
    Broken(ByteString),
    /// The peer closed it before it sent anything.
    Silent(ByteString),
}

impl End {
    /// The end of a stream, for this cause.
    fn of_stream(has_received: bool, cause: ByteString) -> Self {
        if has_received { Self::Broken(cause) } else { Self::Silent(cause) }
    }
}

impl Connection {
    /// Starts a connection that waits for CONNECT. `None` if the shard has no slot for it.
    pub(in crate::server) fn open(driver: &RefCell<Driver>, stream: Stream, peer: Box<Peer>) -> Option<Self> {
        let decoder = match peer.link {
            Some(_) => Decoder::of_cell(),
            None => Decoder::new(peer.maximum_packet_size),
        };
        let id = driver.borrow_mut().open(peer)?;
        Some(Self { id, stream, decoder, input: Input::default() })
    }

    /// The same, with these bytes before those of its transport.
    pub(in crate::server) fn after(mut self, read: Bytes) -> Self {
        self.input.keep_undecoded(read);
        self
    }

    /// Its identifier.
    pub(in crate::server) const fn id(&self) -> ConnectionId {
        self.id
    }

    /// Runs one turn. Returns the end of the connection.
    pub(in crate::server) fn poll(&mut self, driver: &RefCell<Driver>, cx: &mut Context<'_>) -> Poll<End> {
        let driver = &mut *driver.borrow_mut();
        driver.begin_turn_of(self.id, cx.waker());
        let turn = self.turn(driver, cx);
        driver.end_turn();
        match turn {
            Ok(Turn::Waiting) => Poll::Pending,
            Ok(Turn::Unfinished) => {
                driver.set_woken(self.id);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ok(Turn::TimeOver) => {
                driver.set_woken(self.id);
                // Wakes the task after the tasks that are scheduled, and after those whose sockets are ready now.
                let after_others = pin!(yield_now()).poll(cx);
                debug_assert!(after_others.is_pending());
                Poll::Pending
            }
            Err(end) => Poll::Ready(end),
        }
    }

    /// Ends the connection. Returns a future that writes the remaining output and closes the transport, if that is necessary.
    ///
    /// The future is boxed because it is larger than [`Connection`].
    pub(in crate::server) fn finish(
        self,
        driver: &Rc<RefCell<Driver>>,
        end: End,
    ) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
        let mut entered = driver.borrow_mut();
        match end {
            End::Close => {}
            End::Broken(cause) => {
                entered.closed(self.id, cause);
                return None;
            }
            End::Silent(cause) => {
                entered.closed_silently(self.id, cause);
                return None;
            }
        }
        let ClosedConnection { unsent, disconnect_received } = entered.take_closed(self.id);
        // After DISCONNECT the client sends nothing, so there is no unread input that would make the operating system reset the
        // connection and discard sent bytes. [MQTT-3.14.4-1]
        if disconnect_received && unsent.is_empty() && self.stream.is_plain() {
            entered.task_ended();
            return None;
        }
        let close_timeout = entered.close_timeout();
        let driver = Rc::clone(driver);
        Some(Box::pin(async move {
            let sent = close(self.stream, unsent, close_timeout).await;
            driver.borrow_mut().sent(sent);
            driver.borrow_mut().task_ended();
        }))
    }

    /// Writes and reads until there is nothing to do, [`TURN_BYTES`] are transferred, or the time of a turn is used up.
    fn turn(&mut self, driver: &mut Driver, cx: &mut Context<'_>) -> Result<Turn, End> {
        let mut read = 0;
        loop {
            let written = match self.write(driver, cx) {
                Ok(written) => written,
                Err(end) => return Err(self.drain(driver, cx, end)),
            };
            let Some(entry) = driver.connections.get_mut(self.id) else {
                return Err(End::Broken("connection removed".into()));
            };
            if entry.resetting {
                self.stream.reset_when_dropped();
                return Err(End::Broken("the disk did not answer".into()));
            }
            if entry.timed_out {
                return Err(End::Broken("write timeout".into()));
            }
            if entry.closing {
                return Err(End::Close);
            }
            if entry.verifies {
                driver.verify(self.id, &self.stream);
                continue;
            }
            if read >= TURN_BYTES || written == Turn::Unfinished {
                return Ok(if driver.has_waiting_receivers() { Turn::TimeOver } else { Turn::Unfinished });
            }
            if entry.discarding {
                return self.discard(driver, cx);
            }
            if entry.is_reading_stopped() || self.decoder.has_failed() {
                if driver.take_peer_check(self.id) && self.stream.is_read_closed(cx) {
                    if driver.gives_up(self.id) {
                        return self.discard(driver, cx);
                    }
                    driver.handle(Event::PeerClosed { connection: self.id });
                    continue;
                }
                return Ok(Turn::Waiting);
            }
            let held = entry.input_held;
            if held >= INPUT_SPARED && driver.refuses_input(held) {
                driver.handle(Event::InputRefused { connection: self.id });
                continue;
            }
            let has_received = self.has_received();
            let chunk = match self.input.poll_next(&mut self.stream, &mut driver.read_buffers, cx) {
                Poll::Pending => return Ok(Turn::Waiting),
                Poll::Ready(Ok(chunk)) => chunk,
                Poll::Ready(Err(error)) => {
                    return Err(End::of_stream(has_received || !is_peer_gone(&error), cause(&error)));
                }
            };
            if chunk.read == 0 && chunk.bytes.is_empty() {
                return Err(End::of_stream(has_received, ByteString::from_static("end of stream")));
            }
            read += chunk.read.max(chunk.bytes.len());
            driver.received(self.id, chunk.read);
            let decoded = self.decode(driver, chunk.bytes);
            driver.hold_input(self.id, self.input.held());
            if decoded == Turn::TimeOver {
                return Ok(Turn::TimeOver);
            }
            // The receivers of this chunk write first; its acknowledgements leave in one write at the start of the next turn.
            if driver.has_sent_to_others() && driver.has_outgoing(self.id) {
                return Ok(Turn::Unfinished);
            }
        }
    }

    /// Whether the client has sent anything.
    fn has_received(&self) -> bool {
        self.decoder.has_connected() || self.decoder.has_failed() || !self.input.is_empty()
    }

    /// Handles what the client sent before it closed without reading: its last messages, and the DISCONNECT without which its Will is published.
    /// Ends at [`DRAINED_MAX`] bytes, or when the connection is paused. `end`: why nothing more can be written.
    fn drain(&mut self, driver: &mut Driver, cx: &mut Context<'_>, end: End) -> End {
        let mut read = 0;
        while read < DRAINED_MAX {
            match driver.connections.get_mut(self.id) {
                Some(entry) if entry.closing => return End::Close,
                Some(entry) if !entry.is_reading_stopped() && !self.decoder.has_failed() => {}
                Some(_) | None => return end,
            }
            let Poll::Ready(Ok(chunk)) = self.input.poll_next(&mut self.stream, &mut driver.read_buffers, cx) else {
                return end;
            };
            if chunk.read == 0 && chunk.bytes.is_empty() {
                return end;
            }
            read += chunk.read.max(chunk.bytes.len());
            driver.received(self.id, chunk.read);
            self.decode(driver, chunk.bytes);
        }
        end
    }

    /// Decodes and handles the packets in `bytes`, until the connection is paused or closed, or the time of the turn is used up: then the rest
    /// is kept for the next turn.
    fn decode(&mut self, driver: &mut Driver, mut bytes: Bytes) -> Turn {
        let mut packets = 0;
        let mut queued = driver.packets_queued();
        loop {
            if driver.connections.get_mut(self.id).is_none_or(|entry| entry.is_reading_stopped()) {
                self.input.keep_undecoded(bytes);
                return Turn::Waiting;
            }
            if packets >= PACKETS_PER_LOOK || driver.packets_queued() - queued >= QUEUED_PER_LOOK {
                driver.watch_memory();
                if driver.is_turn_over() && !bytes.is_empty() {
                    self.input.keep_undecoded(bytes);
                    return Turn::TimeOver;
                }
                (packets, queued) = (0, driver.packets_queued());
            }
            packets += 1;
            let length = bytes.len();
            match self.decoder.decode(&mut bytes) {
                Ok(Some(mut packet)) => {
                    driver.trace_received(self.id, &packet, length - bytes.len());
                    match &mut packet {
                        ClientPacket::Connect(_) => driver.set_version(self.id, self.decoder.version()),
                        ClientPacket::Disconnect(_) => driver.set_disconnect_received(self.id),
                        // They may have many filters.
                        ClientPacket::Subscribe(_) | ClientPacket::Unsubscribe(_) => packets = PACKETS_PER_LOOK,
                        ClientPacket::Publish(publish) => driver.sample_publish(self.id, publish),
                        ClientPacket::Puback(_)
                        | ClientPacket::Pubrec(_)
                        | ClientPacket::Pubrel(_)
                        | ClientPacket::Pubcomp(_)
                        | ClientPacket::Pingreq
                        | ClientPacket::Auth(_) => {}
                    }
                    driver.handle(Event::Packet { connection: self.id, packet });
                }
                Ok(None) => {
                    self.input.keep_partial(bytes, &driver.read_buffers);
                    return Turn::Waiting;
                }
                Err(error) => {
                    if !self.decoder.has_connected()
                        && let Some(foreign) = Foreign::recognize(&bytes, Expected::Mqtt, self.stream.transport())
                    {
                        driver.handle(Event::NotMqtt { connection: self.id, cause: foreign.to_string().into() });
                        return Turn::Waiting;
                    }
                    let answer = self.decoder.answer_terms(&bytes);
                    driver.set_version(self.id, answer.map(|terms| terms.version));
                    driver.handle(Event::Undecodable { connection: self.id, error, answer });
                    return Turn::Waiting;
                }
            }
        }
    }

    /// Writes queued output until the transport accepts no more, or [`TURN_BYTES`] are written.
    fn write(&mut self, driver: &mut Driver, cx: &mut Context<'_>) -> Result<Turn, End> {
        let mut written = 0;
        while let Some(entry) = driver.connections.get_mut(self.id)
            && !entry.outgoing.is_empty()
        {
            if written >= TURN_BYTES {
                return Ok(Turn::Unfinished);
            }
            match entry.outgoing.poll_write(&mut self.stream, cx) {
                Poll::Pending => {
                    driver.backlogged(self.id);
                    return Ok(Turn::Waiting);
                }
                Poll::Ready(Ok(bytes)) => {
                    written += bytes;
                    driver.flushed(self.id, bytes);
                }
                Poll::Ready(Err(error)) => return Err(End::Broken(cause(&error))),
            }
        }
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(End::Broken(cause(&error))),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(Turn::Waiting),
        }
    }
}

/// The result of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing to do until a wake-up.
    Waiting,
    /// More to do, after the tasks that are scheduled have run.
    Unfinished,
    /// The same, but its time is used up or receivers write in slices: other connections whose sockets are ready come first.
    TimeOver,
}

/// Writes the remaining output, shuts down the sending side, and reads until the client closes (see [`shut_down`]), for at most `limit` in
/// all. Returns the number of bytes written.
async fn close(mut stream: Stream, mut unsent: Outgoing, limit: Duration) -> usize {
    let bytes = unsent.len();
    let finish = async {
        while !unsent.is_empty() {
            poll_fn(|cx| unsent.poll_write(&mut stream, cx)).await?;
        }
        shut_down(&mut stream, UNREAD_READS_MAX).await
    };
    // The connection ends in any case, so a timeout or an error has no further effect.
    let _ = timeout(limit, finish).await;
    if stream.transport().is_datagram() {
        // Its end is sent by another task, which must run before the thread ends.
        drop(stream);
        yield_now().await;
    }
    bytes - unsent.len()
}

/// A short description of an error, for the log.
fn cause(error: &io::Error) -> ByteString {
    let cause = CAUSES.iter().find(|(kind, _)| *kind == error.kind());
    cause.map_or_else(|| error.to_string().into(), |(_, words)| ByteString::from_static(words))
}

/// The descriptions of common errors.
const CAUSES: [(io::ErrorKind, &str); 5] = [
    (io::ErrorKind::ConnectionReset, "connection reset"),
    (io::ErrorKind::ConnectionAborted, "connection aborted"),
    (io::ErrorKind::BrokenPipe, "broken pipe"),
    (io::ErrorKind::UnexpectedEof, "end of stream"),
    (io::ErrorKind::TimedOut, "no answer from the network"),
];
/// Bytes that a connection reads or writes in one turn before other tasks run.
const TURN_BYTES: usize = 64 * 1024;
/// Packets that are handled between two looks at the clock, unless they are SUBSCRIBE or UNSUBSCRIBE.
const PACKETS_PER_LOOK: u32 = 32;
/// Packets that they queue for clients between two looks: about ten milliseconds.
const QUEUED_PER_LOOK: u64 = 32_768;
/// Bytes that are still read from a connection that cannot be written to.
const DRAINED_MAX: usize = 1024 * 1024;
/// Maximum number of reads of 1 KiB while waiting for the client to close.
const UNREAD_READS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
