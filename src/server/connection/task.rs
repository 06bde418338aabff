use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::broker::{ConnectionId, Event, Peer};
use crate::codec::{ClientPacket, Decoder};
use crate::server::connection::input::Input;
use crate::server::connection::outgoing::Outgoing;
use crate::server::listener::Stream;
use crate::server::shard::driver::{Driver, Farewell};

/// A Network Connection: its transport, and what was read from it and isn't decoded.
///
/// It is one loop that is polled, without a channel or another task: it writes what waits, reads once, has everything decoded
/// and handled, and lets the others run.
pub(in crate::server) struct Connection {
    id: ConnectionId,
    stream: Stream,
    decoder: Decoder,
    input: Input,
}

/// How it ends.
pub(in crate::server) enum End {
    /// The rules want it so: what waits is sent first.
    Close,
    /// The transport did.
    Broken(ByteString),
}

impl Connection {
    /// A connection whose first packet is awaited.
    pub(in crate::server) fn open(driver: &RefCell<Driver>, stream: Stream, peer: Box<Peer>) -> Option<Self> {
        let decoder = Decoder::new(peer.maximum_packet_size);
        let id = driver.borrow_mut().open(peer)?;
        Some(Self { id, stream, decoder, input: Input::default() })
    }

    /// Does what can be done at once, and says when it is over.
    pub(in crate::server) fn poll(&mut self, driver: &RefCell<Driver>, cx: &mut Context<'_>) -> Poll<End> {
        let driver = &mut *driver.borrow_mut();
        driver.begin_turn_of(self.id, cx.waker());
        let turn = self.turn(driver, cx);
        driver.end_turn();
        match turn {
            Ok(Turn::Waiting) => Poll::Pending,
            Ok(Turn::Unfinished) => {
                driver.wake_later(self.id, cx.waker());
                Poll::Pending
            }
            Err(end) => Poll::Ready(end),
        }
    }

    /// Says goodbye, if it is for us to say.
    ///
    /// Boxed: it is larger than what a connection needs for all its life before.
    pub(in crate::server) fn finish(
        self,
        driver: &Rc<RefCell<Driver>>,
        end: End,
    ) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
        let mut entered = driver.borrow_mut();
        if let End::Broken(cause) = end {
            entered.closed(self.id, cause);
            return None;
        }
        let Farewell { last, is_said } = entered.take_last(self.id);
        // Whoever said DISCONNECT sends no more, so that the end can't overtake what was sent before. [MQTT-3.14.4-1]
        if is_said && last.is_empty() && self.stream.is_plain() {
            entered.task_ended();
            return None;
        }
        let close_timeout = entered.close_timeout();
        let driver = Rc::clone(driver);
        Some(Box::pin(async move {
            let sent = close(self.stream, last, close_timeout).await;
            driver.borrow_mut().sent(sent);
            driver.borrow_mut().task_ended();
        }))
    }

    /// Writes and reads until there is nothing to do, or it is the turn of the others.
    fn turn(&mut self, driver: &mut Driver, cx: &mut Context<'_>) -> Result<Turn, End> {
        let mut read = 0;
        loop {
            let written = self.write(driver, cx)?;
            let Some(entry) = driver.connections.get_mut(self.id) else { return Err(End::Broken("gone".into())) };
            if entry.timed_out {
                return Err(End::Broken("write timeout".into()));
            }
            if entry.closing {
                return Err(End::Close);
            }
            if read >= TURN_BYTES || written == Turn::Unfinished {
                return Ok(Turn::Unfinished);
            }
            if entry.is_held() || self.decoder.has_failed() {
                if driver.looks_at_peer(self.id) && self.stream.is_read_closed(cx) {
                    driver.handle(Event::PeerClosed { connection: self.id });
                    continue;
                }
                return Ok(Turn::Waiting);
            }
            let chunk = match self.input.poll_next(&mut self.stream, &mut driver.scratch, cx) {
                Poll::Pending => return Ok(Turn::Waiting),
                Poll::Ready(Ok(chunk)) => chunk,
                Poll::Ready(Err(error)) => return Err(End::Broken(cause(&error))),
            };
            if chunk.read == 0 && chunk.bytes.is_empty() {
                return Err(End::Broken(ByteString::from_static("end of stream")));
            }
            read += chunk.read.max(chunk.bytes.len());
            driver.received(chunk.read);
            self.decode(driver, chunk.bytes);
            // Receivers first: a publisher that gets its messages back one by one and its acknowledgements at once goes on with all of them.
            if driver.has_given() && driver.has_outgoing(self.id) {
                return Ok(Turn::Unfinished);
            }
        }
    }

    /// Has every packet in `bytes` handled, until the connection is paused.
    fn decode(&mut self, driver: &mut Driver, mut bytes: Bytes) {
        loop {
            if driver.connections.get_mut(self.id).is_none_or(|entry| entry.is_held()) {
                self.input.hold(bytes);
                return;
            }
            match self.decoder.decode(&mut bytes) {
                Ok(Some(packet)) => {
                    if let ClientPacket::Connect(_) = packet {
                        driver.set_version(self.id, self.decoder.version());
                    }
                    if let ClientPacket::Disconnect(_) = packet {
                        driver.client_said_goodbye(self.id);
                    }
                    driver.handle(Event::Packet { connection: self.id, packet });
                }
                Ok(None) => {
                    self.input.keep_partial(bytes);
                    return;
                }
                Err(error) => {
                    let connect_version = self.decoder.version().filter(|_| !self.decoder.has_connected());
                    driver.set_version(self.id, connect_version);
                    driver.handle(Event::Undecodable { connection: self.id, error, connect_version });
                    return;
                }
            }
        }
    }

    /// Gives the transport what it takes.
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

/// How a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There is nothing to do until something happens.
    Waiting,
    /// There is more, after the others.
    Unfinished,
}

/// Sends the last bytes, says that they are the last, and waits a little for the other side to have them: closing with unread input
/// would make the operating system throw them away at both ends.
async fn close(mut stream: Stream, mut last: Outgoing, limit: Duration) -> usize {
    let bytes = last.len();
    let finish = async {
        while !last.is_empty() {
            poll_fn(|cx| last.poll_write(&mut stream, cx)).await?;
        }
        stream.flush().await?;
        stream.shutdown().await?;
        let mut unread = [0; 1024];
        for _ in 0..UNREAD_READS_MAX {
            if stream.read(&mut unread).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // Whoever doesn't take the last bytes in time, or is gone already, does without.
    let _ = timeout(limit, finish).await;
    bytes - last.len()
}

/// In a word or two.
fn cause(error: &io::Error) -> ByteString {
    let cause = CAUSES.iter().find(|(kind, _)| *kind == error.kind());
    cause.map_or_else(|| error.to_string().into(), |(_, words)| ByteString::from_static(words))
}

/// The usual ones.
const CAUSES: [(io::ErrorKind, &str); 5] = [
    (io::ErrorKind::ConnectionReset, "connection reset"),
    (io::ErrorKind::ConnectionAborted, "connection aborted"),
    (io::ErrorKind::BrokenPipe, "broken pipe"),
    (io::ErrorKind::UnexpectedEof, "end of stream"),
    (io::ErrorKind::TimedOut, "no answer from the network"),
];
/// What one connection may read or write before the others run.
const TURN_BYTES: usize = 64 * 1024;
/// A megabyte: who sends more after the end hasn't noticed it.
const UNREAD_READS_MAX: usize = 1024;

#[cfg(test)]
mod tests;
