//! One nonblocking connection, of either side.

use std::io::ErrorKind;

use anyhow::{Result, bail};

use crate::packet::Frame;
use crate::transport::Stream;

/// A socket with what is half read and what is not yet written.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// The start of a packet whose rest has not come.
    incomplete: Vec<u8>,
    /// What is to be written; what already is stays until all is.
    pub(crate) output: Vec<u8>,
    written: usize,
    /// Whether its owner has noted that it is to be flushed.
    pub(crate) dirty: bool,
}

impl Connection {
    /// A connection on which nothing was said.
    pub(crate) const fn new(stream: Stream) -> Self {
        Self { stream, incomplete: Vec::new(), output: Vec::new(), written: 0, dirty: false }
    }

    /// How many bytes wait for the peer, those of the transport itself counted as one.
    pub(crate) fn backlog(&self) -> usize {
        self.output.len() - self.written + usize::from(self.stream.wants_write())
    }

    /// Reads until nothing is left, as an edge-triggered poll wants it, and hands over every frame with the output.
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

    /// Writes what the socket takes.
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

/// One read takes what a busy peer put into a socket buffer.
pub(crate) const SCRATCH_LEN: usize = 256 * 1_024;
/// So that a burst leaves no memory behind in thousands of connections.
const OUTPUT_KEPT: usize = 1 << 20;
