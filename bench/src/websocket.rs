//! The client side of a WebSocket that carries MQTT: an upgrade, then binary frames.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

/// A socket with the state of the upgrade and of the frames.
#[derive(Debug)]
pub(crate) struct WebSocket<S = TcpStream> {
    socket: S,
    upgraded: bool,
    /// Received bytes; those before `taken` are consumed.
    incoming: Vec<u8>,
    taken: usize,
    /// Remaining payload bytes of the current data frame.
    frame_rest: usize,
    outgoing: Vec<u8>,
    written: usize,
}

/// The header of a frame from the server.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    opcode: u8,
    payload_len: usize,
    header_len: usize,
}

impl<S: Read + Write> WebSocket<S> {
    /// Wraps a connected socket. The first flush sends the upgrade request.
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            upgraded: false,
            incoming: Vec::new(),
            taken: 0,
            frame_rest: 0,
            outgoing: REQUEST.as_bytes().to_vec(),
            written: 0,
        }
    }

    /// The socket, for the poll.
    pub(crate) const fn socket(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Whether output is pending.
    pub(crate) const fn wants_write(&self) -> bool {
        self.written < self.outgoing.len()
    }

    /// Sends bytes as one frame. Fails with `WouldBlock` while a frame is pending or the upgrade isn't complete.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if !self.upgraded {
            return Err(ErrorKind::WouldBlock.into());
        }
        let bytes = bytes.get(..FRAME_MAX).unwrap_or(bytes);
        encode_header(&mut self.outgoing, bytes.len());
        self.outgoing.extend_from_slice(bytes);
        match self.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(bytes.len()),
            flushed => flushed.map(|()| bytes.len()),
        }
    }

    /// Writes pending output.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.outgoing.get(self.written..).filter(|rest| !rest.is_empty()) {
            self.written += self.socket.write(rest)?;
        }
        self.written = 0;
        self.outgoing.clear();
        self.outgoing.shrink_to(OUTGOING_KEPT);
        Ok(())
    }

    /// Fills the buffer with the payloads of received frames.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let filled = self.unwrap(buffer)?;
            if filled > 0 {
                return Ok(filled);
            }
            self.incoming.drain(..self.taken);
            self.taken = 0;
            let mut chunk = [0; CHUNK_LEN];
            match self.socket.read(&mut chunk)? {
                0 => return Ok(0),
                read => self.incoming.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            }
        }
    }

    /// Copies payloads from the received bytes. Returns 0 if more are needed.
    fn unwrap(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.upgraded && !self.upgrade()? {
            return Ok(0);
        }
        let mut filled = 0;
        loop {
            let rest = self.incoming.get(self.taken..).unwrap_or_default();
            let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) else { return Ok(filled) };
            if self.frame_rest > 0 {
                let len = self.frame_rest.min(rest.len()).min(free.len());
                let (Some(from), Some(to)) = (rest.get(..len), free.get_mut(..len)) else { return Ok(filled) };
                to.copy_from_slice(from);
                self.taken += len;
                self.frame_rest -= len;
                filled += len;
                if len == 0 {
                    return Ok(filled);
                }
                continue;
            }
            let Some(header) = decode_header(rest)? else { return Ok(filled) };
            match header.opcode {
                CONTINUATION | BINARY => {
                    self.taken += header.header_len;
                    self.frame_rest = header.payload_len;
                }
                // A ping requests a pong, but none of the compared brokers requires it.
                PING | PONG if rest.len() >= header.header_len + header.payload_len => {
                    self.taken += header.header_len + header.payload_len;
                }
                PING | PONG => return Ok(filled),
                CLOSE => return Err(ErrorKind::ConnectionAborted.into()),
                _ => return Err(invalid("the broker sent a frame that is not binary")),
            }
        }
    }

    /// Whether the upgrade is complete.
    fn upgrade(&mut self) -> io::Result<bool> {
        let Some(end) = self.incoming.windows(END.len()).position(|window| window == END) else { return Ok(false) };
        if !self.incoming.starts_with(b"HTTP/1.1 101") {
            return Err(invalid("the broker refused the WebSocket"));
        }
        self.taken = end + END.len();
        self.upgraded = true;
        Ok(true)
    }
}

/// Appends the header of a final binary frame. Its mask is zero, which spares the generator, but not the broker, the
/// masking.
fn encode_header(output: &mut Vec<u8>, payload_len: usize) {
    output.push(0x80 | BINARY);
    if let Ok(short) = u8::try_from(payload_len)
        && short < 126
    {
        output.push(MASKED | short);
    } else if let Ok(medium) = u16::try_from(payload_len) {
        output.push(MASKED | 126);
        output.extend_from_slice(&medium.to_be_bytes());
    } else {
        output.push(MASKED | 127);
        output.extend_from_slice(&(payload_len as u64).to_be_bytes());
    }
    output.extend_from_slice(&[0; 4]);
}

/// The header at the start of `bytes`, if it is complete.
fn decode_header(bytes: &[u8]) -> io::Result<Option<Header>> {
    let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
    if second & MASKED != 0 {
        return Err(invalid("the broker sent a masked frame"));
    }
    let (payload_len, header_len) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(len) => (usize::from(u16::from_be_bytes(*len)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(len) => (usize::try_from(u64::from_be_bytes(*len)).map_err(io::Error::other)?, 10),
            None => return Ok(None),
        },
        short => (usize::from(short), 2),
    };
    Ok(Some(Header { opcode: first & 0x0F, payload_len, header_len }))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// The key is the example of RFC 6455; it need not be random, because no proxy caches the response.
const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const END: &[u8] = b"\r\n\r\n";
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Maximum frame payload in bytes.
const FRAME_MAX: usize = 64 * 1_024;
const CHUNK_LEN: usize = 64 * 1_024;
/// Larger buffers are freed after use.
const OUTGOING_KEPT: usize = 2 * FRAME_MAX;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A socket that returns its chunks one by one.
    #[derive(Debug, Default)]
    struct Wire {
        chunks: VecDeque<Vec<u8>>,
        written: Vec<u8>,
    }

    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(chunk) = self.chunks.pop_front() else { return Err(ErrorKind::WouldBlock.into()) };
            buffer[..chunk.len()].copy_from_slice(&chunk);
            Ok(chunk.len())
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn read_to_end(socket: &mut WebSocket<Wire>, buffer_len: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let mut buffer = vec![0; buffer_len];
        loop {
            match socket.read(&mut buffer) {
                Ok(read) => all.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(all),
                Err(error) => return Err(error),
            }
        }
    }

    const AGREED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

    #[test]
    fn payloads_are_reassembled_from_any_fragments() {
        let mut bytes = AGREED.to_vec();
        bytes.extend_from_slice(b"\x82\x03abc\x89\x02hi\x02\x02de\x80\x01f\x82\x7E\x00\x80");
        bytes.extend_from_slice(&[b'x'; 128]);
        for (cut, buffer_len) in [(1, 1), (7, 1_000), (1_000, 3), (1_000, 1_000)] {
            let chunks = bytes.chunks(cut).map(<[u8]>::to_vec).collect();
            let mut socket = WebSocket::new(Wire { chunks, written: Vec::new() });
            let read = read_to_end(&mut socket, buffer_len).unwrap();
            assert_eq!(read, [b"abcdef".as_slice(), &[b'x'; 128]].concat(), "cut at {cut}");
        }
    }

    #[test]
    fn nothing_is_sent_before_the_upgrade_and_then_masked_frames() {
        let mut socket = WebSocket::new(Wire::default());
        assert_eq!(socket.write(b"ab").unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(socket.socket.written.starts_with(b"GET /mqtt "));
        socket.socket.written.clear();
        socket.socket.chunks.push_back(AGREED.to_vec());
        read_to_end(&mut socket, 10).unwrap();
        assert_eq!(socket.write(b"ab").unwrap(), 2);
        assert_eq!(socket.socket.written, b"\x82\x82\0\0\0\0ab");
        assert!(!socket.wants_write());
    }

    #[test]
    fn lengths_have_three_encodings() {
        let header = |len| {
            let mut bytes = Vec::new();
            encode_header(&mut bytes, len);
            bytes
        };
        assert_eq!(header(125)[..2], [0x82, 0xFD]);
        assert_eq!(header(126)[..4], [0x82, 0xFE, 0, 126]);
        assert_eq!(header(65_536)[..10], [0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0]);
        let decoded = decode_header(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]).unwrap().unwrap();
        assert_eq!(decoded, Header { opcode: BINARY, payload_len: 65_536, header_len: 10 });
    }

    #[test]
    fn a_refusal_a_close_and_a_masked_frame_are_errors() {
        for bytes in [
            b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec(),
            [AGREED, b"\x88\x00"].concat(),
            [AGREED, b"\x82\x81\0\0\0\0a"].concat(),
            [AGREED, b"\x81\x01a"].concat(),
        ] {
            let mut socket = WebSocket::new(Wire { chunks: [bytes].into(), written: Vec::new() });
            assert!(read_to_end(&mut socket, 100).is_err());
        }
    }
}
