//! A nonblocking connection, of a client or of the relay.

use std::io::ErrorKind;

use anyhow::{Result, bail};

use crate::packet::Frame;
use crate::transport::Stream;

/// A socket with its incomplete input and its unsent output.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// The beginning of a packet that hasn't arrived completely.
    incomplete: Vec<u8>,
    /// Bytes to write; written bytes are removed when all are written.
    pub(crate) output: Vec<u8>,
    written: usize,
    /// Whether the connection is in its owner's list of connections to flush.
    pub(crate) dirty: bool,
    /// Whether the peer may close it.
    pub(crate) may_end: bool,
}

impl Connection {
    /// A new connection without input or output.
    pub(crate) const fn new(stream: Stream) -> Self {
        Self { stream, incomplete: Vec::new(), output: Vec::new(), written: 0, dirty: false, may_end: false }
    }

    /// The number of unsent bytes; the transport's own output counts as one.
    pub(crate) fn backlog(&self) -> usize {
        self.output.len() - self.written + usize::from(self.stream.wants_write())
    }

    /// Reads until the socket would block, as an edge-triggered poll requires, and passes every frame and the output to
    /// a callback.
    pub(crate) fn read_all(
        &mut self,
        scratch: &mut [u8],
        mut on_frame: impl FnMut(Frame<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        loop {
            let kept = self.incomplete.len();
            let Some((start, free)) = scratch.split_at_mut_checked(kept).filter(|(_, free)| !free.is_empty()) else {
                bail!("the peer sent a packet of more than {kept} bytes");
            };
            start.copy_from_slice(&self.incomplete);
            let free_len = free.len();
            let read = match self.stream.read(free) {
                Ok(0) => bail!("the peer closed the connection"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let mut rest = scratch.get(..kept + read).unwrap_or_default();
            while let Some(frame) = Frame::split(rest)? {
                on_frame(frame, &mut self.output)?;
                rest = rest.get(frame.bytes.len()..).unwrap_or_default();
            }
            self.incomplete.clear();
            self.incomplete.extend_from_slice(rest);
            if read < free_len && self.stream.is_drained_by_short_read() {
                return Ok(());
            }
        }
    }

    /// Writes until the socket would block.
    pub(crate) fn flush(&mut self) -> Result<()> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        self.written = 0;
        self.output.clear();
        self.output.shrink_to(OUTPUT_KEPT);
        Ok(())
    }
}

/// About the size of a full socket buffer, so one read empties it.
pub(crate) const SCRATCH_LEN: usize = 256 * 1_024;
/// Larger buffers are freed after use, so that a burst doesn't leave memory in thousands of connections.
const OUTPUT_KEPT: usize = 1 << 20;
