//! What the two processes of a hand-over tell each other: lines of JSON. A `Socket` has a descriptor.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};

/// A message. The two processes may be of different versions, so a version adds fields and changes none; for anything else it raises
/// [`PROTOCOL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum Message {
    /// The new process asks for the sockets.
    TakeOver {
        protocol: u32,
        process: u32,
    },
    /// One listening socket, whose descriptor comes with this message.
    Socket {
        /// The name of its listener.
        listener: String,
        /// Whether the file of a Unix socket is removed at the end.
        removes_file: bool,
    },
    /// The end of the sockets.
    Sockets {
        count: usize,
        process: u32,
    },
    /// The running broker does not hand over.
    Refused {
        reason: String,
    },
    Go,
    Released,
    Ready,
}

/// The version of the protocol.
pub(in crate::server) const PROTOCOL: u32 = 1;

impl Message {
    fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        if line.len() > LINE_MAX { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(line) }
    }

    /// Sends it on a connected Unix socket with room for it, and a descriptor with it.
    pub(super) fn send(&self, to: impl AsFd, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let line = self.line()?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(descriptor) = &descriptor {
            control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
        }
        let sent = sendmsg(to, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?;
        if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// Received bytes, of which whole lines are taken as messages.
#[derive(Debug, Default)]
pub(super) struct Received(Vec<u8>);

impl Received {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next message, if all of it is there.
    pub(super) fn take(&mut self) -> io::Result<Option<Message>> {
        let Some(end) = self.0.iter().position(|byte| *byte == b'\n') else {
            return if self.0.len() > LINE_MAX { Err(unexpected()) } else { Ok(None) };
        };
        let line: Vec<u8> = self.0.drain(..=end).collect();
        serde_json::from_slice(&line).map(Some).map_err(|_| unexpected())
    }
}

/// The other process does not follow the protocol.
pub(super) fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other process does not speak this protocol")
}

/// The longest line, in bytes. The name of a listener is the longest part.
const LINE_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_order() {
        let (from, mut to) = UnixStream::pair().unwrap();
        let messages = [
            Message::TakeOver { protocol: PROTOCOL, process: 7 },
            Message::Socket { listener: "a name\nwith \"everything\"".to_owned(), removes_file: true },
            Message::Go,
        ];
        for message in &messages {
            message.send(&from, None).unwrap();
        }
        drop(from);
        let mut bytes = Vec::new();
        to.read_to_end(&mut bytes).unwrap();
        let (mut received, mut found) = (Received::default(), Vec::new());
        for byte in bytes {
            received.add(&[byte]);
            found.extend(received.take().unwrap());
        }
        assert_eq!(found, messages);
    }

    #[test]
    fn a_later_version_may_add_fields() {
        let mut received = Received::default();
        received.add(b"{\"take_over\":{\"protocol\":1,\"process\":3,\"colour\":\"blue\"}}\n");
        assert_eq!(received.take().unwrap(), Some(Message::TakeOver { protocol: 1, process: 3 }));
    }

    #[test]
    fn a_line_that_is_too_long_is_an_error() {
        let mut received = Received::default();
        received.add(&[b'x'; LINE_MAX]);
        assert!(received.take().unwrap().is_none());
        received.add(b"xx");
        received.take().unwrap_err();
        let listener = "x".repeat(LINE_MAX);
        let (from, _to) = UnixStream::pair().unwrap();
        Message::Socket { listener, removes_file: false }.send(&from, None).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_bytes_are_messages_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut received = Received::default();
            received.add(&bytes);
            while let Ok(Some(_)) = received.take() {}
        }
    }
}
