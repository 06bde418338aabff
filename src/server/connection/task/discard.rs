//! The unread input of a connection whose client has closed, and whose pause has lasted too long: its packets are discarded, but for a
//! DISCONNECT, without which its Will would be published.

use std::task::{Context, Poll};

use super::{Connection, End, TURN_BYTES, Turn};
use crate::broker::Event;
use crate::codec::ClientPacket;
use crate::server::shard::driver::Driver;

impl Connection {
    /// Discards input until a DISCONNECT or the end of the stream. What the operating system has buffered bounds it; one call reads
    /// [`TURN_BYTES`].
    pub(super) fn discard(&mut self, driver: &mut Driver, cx: &mut Context<'_>) -> Result<Turn, End> {
        driver.set_discarding(self.id, true);
        let mut read = 0;
        while read < TURN_BYTES {
            let mut bytes = match self.input.poll_next(&mut self.stream, &mut driver.read_buffers, cx) {
                Poll::Pending => return Ok(Turn::Waiting),
                Poll::Ready(Ok(chunk)) if chunk.read > 0 || !chunk.bytes.is_empty() => {
                    read += chunk.read.max(chunk.bytes.len());
                    driver.received(self.id, chunk.read);
                    chunk.bytes
                }
                Poll::Ready(Ok(_) | Err(_)) => return Err(self.give_up(driver)),
            };
            loop {
                let length = bytes.len();
                match self.decoder.decode(&mut bytes) {
                    Ok(Some(packet @ ClientPacket::Disconnect(_))) => {
                        driver.trace_received(self.id, &packet, length - bytes.len());
                        driver.set_disconnect_received(self.id);
                        driver.handle(Event::Packet { connection: self.id, packet });
                        driver.set_discarding(self.id, false);
                        return Ok(Turn::Unfinished);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return Err(self.give_up(driver)),
                }
            }
            self.input.keep_partial(bytes, &driver.read_buffers);
            driver.hold_input(self.id, self.input.held());
        }
        Ok(Turn::Unfinished)
    }

    /// Ends the connection without a DISCONNECT.
    fn give_up(&self, driver: &mut Driver) -> End {
        driver.handle(Event::PeerClosed { connection: self.id });
        match driver.connections.get_mut(self.id) {
            Some(entry) if entry.closing => End::Close,
            // Its pause has ended meanwhile.
            Some(_) | None => End::Broken("closed by the client while paused".into()),
        }
    }
}
