//! Requests to the admin interface of a broker: over its Unix socket, or over HTTP.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use httparse::{EMPTY_HEADER, Status};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::tls_client::server_name;

/// The admin interface of a broker.
#[derive(Debug)]
pub(crate) struct AdminClient {
    place: Place,
    /// The secret of a bearer token.
    token: Option<String>,
}

/// Where it is.
#[derive(Debug)]
enum Place {
    /// A socket file, whose mode says who may connect.
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        tls: Option<Arc<ClientConfig>>,
    },
}

/// What follows an error: most often the broker doesn't run, or runs with another configuration.
pub(crate) const HINT: &str = "the broker's admin listener must be reachable; --admin sets its address";

impl AdminClient {
    /// The listener at the configured address; at loopback, if that is the unspecified address.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
        };
        Self { place: Place::Tcp { host: ip.to_string(), port: address.port(), tls: None }, token: None }
    }

    /// The socket file of a broker on this machine.
    pub(crate) const fn unix(path: PathBuf) -> Self {
        Self { place: Place::Unix(path), token: None }
    }

    /// A broker at a host, with TLS or without.
    pub(crate) const fn at(host: String, port: u16, tls: Option<Arc<ClientConfig>>, token: Option<String>) -> Self {
        Self { place: Place::Tcp { host, port, tls }, token }
    }

    /// The socket file, if it is one.
    pub(crate) const fn socket(&self) -> Option<&PathBuf> {
        match &self.place {
            Place::Unix(path) => Some(path),
            Place::Tcp { .. } => None,
        }
    }

    /// The URL of a path, for error messages.
    pub(crate) fn url(&self, path: &str) -> String {
        match &self.place {
            Place::Unix(socket) => format!("{}:{path}", socket.display()),
            Place::Tcp { tls: None, .. } => format!("http://{}{path}", self.authority()),
            Place::Tcp { tls: Some(_), .. } => format!("https://{}{path}", self.authority()),
        }
    }

    /// Sends a request and returns the status code and the body. `headers` end with a line break each.
    pub(crate) fn request(&self, method_and_path: &str, headers: &str, body: &str) -> io::Result<(u16, String)> {
        let in_words = |error: io::Error| {
            // What the operating system says of a time-out is "Resource temporarily unavailable".
            let is_time_out = error.kind() == io::ErrorKind::WouldBlock;
            if is_time_out { io::Error::new(io::ErrorKind::TimedOut, "no answer in time") } else { error }
        };
        read_answer(self.send(method_and_path, headers, body)?, Vec::new()).map_err(in_words)
    }

    /// Sends a request whose response is a stream of lines.
    pub(crate) fn stream(&self, method_and_path: &str) -> io::Result<Streamed> {
        let mut stream = self.send(method_and_path, "", "")?;
        let mut answer = Vec::new();
        loop {
            let mut headers = [EMPTY_HEADER; HEADERS_MAX];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&answer).map_err(|_| invalid("the answer is not HTTP"))?;
            if let (Status::Complete(length), code) = (parsed, response.code) {
                let is_chunked = response.headers.iter().any(|header| {
                    header.name.eq_ignore_ascii_case("transfer-encoding")
                        && header.value.eq_ignore_ascii_case(b"chunked")
                });
                if code != Some(200) || !is_chunked {
                    let (code, text) = read_answer(stream, answer)?;
                    return Ok(Streamed::Refused(code, text));
                }
                answer.drain(..length);
                return Ok(Streamed::Lines(Lines { stream, unread: answer, text: VecDeque::new() }));
            }
            if answer.len() > HEAD_BYTES_MAX {
                return Err(invalid("the answer is too large"));
            }
            if read_some(&mut *stream, &mut answer)? == 0 {
                return Err(invalid("the answer is cut off"));
            }
        }
    }

    /// Sends a request. The response follows.
    fn send(&self, method_and_path: &str, headers: &str, body: &str) -> io::Result<Box<dyn Stream>> {
        let (authority, length) = (self.authority(), body.len());
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method_and_path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nContent-Length: {length}\r\n\
             {token}{headers}\r\n"
        );
        let mut stream = self.connect()?;
        stream.write_all(format!("{head}{body}").as_bytes())?;
        stream.flush()?;
        Ok(stream)
    }

    fn authority(&self) -> String {
        match &self.place {
            Place::Unix(_) => "localhost".to_owned(),
            Place::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp { host, port, .. } => format!("{host}:{port}"),
        }
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let (host, port, tls) = match &self.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
                stream.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
                return Ok(Box::new(stream));
            }
            Place::Tcp { host, port, tls } => (host.as_str(), *port, tls),
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (host, port).to_socket_addrs()? {
            let stream = match TcpStream::connect_timeout(&address, RESPONSE_TIMEOUT) {
                Ok(stream) => stream,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
            stream.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
            let Some(config) = tls else { return Ok(Box::new(stream)) };
            let connection = ClientConnection::new(Arc::clone(config), server_name(host)?).map_err(io::Error::other)?;
            return Ok(Box::new(StreamOwned::new(connection, stream)));
        }
        Err(last)
    }
}

/// The answer to a request for a stream of lines.
#[derive(Debug)]
pub(crate) enum Streamed {
    Lines(Lines),
    /// Another status code, and the body.
    Refused(u16, String),
}

/// A body that arrives in chunks.
pub(crate) struct Lines {
    stream: Box<dyn Stream>,
    /// What was read and is part of no whole chunk.
    unread: Vec<u8>,
    /// The contents of chunks that are part of no whole line.
    text: VecDeque<u8>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl Lines {
    /// Waits for the next line; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line = self.text.drain(..=end).take(end).collect();
                return String::from_utf8(line).map(Some).map_err(|_| invalid("the answer is not text"));
            }
            match first_chunk(&self.unread)? {
                Some((0, _)) => return Ok(None),
                Some((length, chunk)) => {
                    self.text.extend(chunk);
                    self.unread.drain(..length);
                }
                None if self.unread.len() > CHUNK_BYTES_MAX || self.text.len() > CHUNK_BYTES_MAX => {
                    return Err(invalid("the answer is too large"));
                }
                None => {
                    if read_some(&mut *self.stream, &mut self.unread)? == 0 {
                        return Err(invalid("the broker has closed the connection"));
                    }
                }
            }
        }
    }
}

/// Reads what there is, at least a byte unless the stream has ended.
fn read_some(stream: &mut dyn Stream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; 16_384];
    let length = stream.read(&mut buffer)?;
    bytes.extend(buffer.iter().take(length));
    Ok(length)
}

/// Reads a whole response, of which there is a part.
fn read_answer(stream: Box<dyn Stream>, mut answer: Vec<u8>) -> io::Result<(u16, String)> {
    let read = stream.take(RESPONSE_BYTES_MAX + 1).read_to_end(&mut answer);
    if answer.len() as u64 > RESPONSE_BYTES_MAX {
        return Err(invalid("the answer is too large"));
    }
    match parse(&answer)? {
        Some(answer) => Ok(answer),
        None => Err(read.err().unwrap_or_else(|| invalid("the answer is cut off"))),
    }
}

/// A connection over any transport.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// The status code and the body of a whole response; `None` if a part is missing.
fn parse(answer: &[u8]) -> io::Result<Option<(u16, String)>> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let Status::Complete(length) = response.parse(answer).map_err(|_| invalid("the answer is not HTTP"))? else {
        return Ok(None);
    };
    let code = response.code.ok_or_else(|| invalid("the answer is not HTTP"))?;
    let header = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let body = answer.get(length..).unwrap_or_default();
    let body = if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        unchunked(body)?
    } else if let Some(length) = header("content-length") {
        let length: usize = length.trim().parse().map_err(|_| invalid("Content-Length is not a number"))?;
        body.get(..length).map(<[u8]>::to_vec)
    } else {
        Some(body.to_vec())
    };
    let Some(body) = body else { return Ok(None) };
    let text = String::from_utf8(body).map_err(|_| invalid("the answer is not text"))?;
    Ok(Some((code, text.trim().to_owned())))
}

/// The body without its chunks; `None` if the last one is missing.
fn unchunked(mut rest: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        match first_chunk(rest)? {
            None => return Ok(None),
            Some((0, _)) => return Ok(Some(body)),
            Some((length, chunk)) => {
                body.extend_from_slice(chunk);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
}

/// The first chunk, and its length with what surrounds it, which is 0 for the last chunk; `None` if a part is missing.
fn first_chunk(bytes: &[u8]) -> io::Result<Option<(usize, &[u8])>> {
    let wrong = || invalid("a chunk is not valid");
    let Status::Complete((start, size)) = httparse::parse_chunk_size(bytes).map_err(|_| wrong())? else {
        return Ok(None);
    };
    if size == 0 {
        return Ok(Some((0, &[])));
    }
    let size = usize::try_from(size).map_err(|_| wrong())?;
    let end = start.checked_add(size).ok_or_else(wrong)?;
    let Some(chunk) = bytes.get(start..end) else { return Ok(None) };
    let behind = bytes.get(end..).unwrap_or_default();
    match behind {
        [b'\r', b'\n', ..] => Ok(Some((end + 2, chunk))),
        [] | [_] => Ok(None),
        [_, _, ..] => Err(wrong()),
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

/// A part of a path or of a query in which every byte but letters and digits is percent-encoded.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Longer than the ten seconds within which the admin interface answers.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// A page has 1,000 entries; the largest has topics and filters of 64 KiB.
const RESPONSE_BYTES_MAX: u64 = 256 * 1_024 * 1_024;
const HEADERS_MAX: usize = 64;
/// Of the status line and the headers of a stream.
const HEAD_BYTES_MAX: usize = 65_536;
/// Of a line or a chunk of a stream. The broker sends at most a few MiB at once.
const CHUNK_BYTES_MAX: usize = 16 * 1_024 * 1_024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(answer: &str) -> io::Result<Option<(u16, String)>> {
        parse(answer.as_bytes())
    }

    #[test]
    fn a_body_ends_with_its_length_its_last_chunk_or_the_connection() {
        let body = |answer: &str| text(answer).unwrap();
        assert_eq!(body("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"), Some((200, "abc".to_owned())));
        assert_eq!(body("HTTP/1.1 204 No Content\r\n\r\n"), Some((204, String::new())));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(body(chunked), Some((200, "abcde".to_owned())));
        for cut in 0..chunked.len() - 4 {
            assert_eq!(text(&chunked[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"), None);
        assert!(text("SSH-2.0-x\r\n").is_err());
        assert!(text("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n").is_err());
    }

    #[test]
    fn lines_arrive_in_chunks_of_any_size() {
        struct Bytewise(io::Cursor<Vec<u8>>, usize);
        impl Read for Bytewise {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = buffer.len().min(self.1);
                self.0.read(&mut buffer[..length])
            }
        }
        impl Write for Bytewise {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                unreachable!()
            }
            fn flush(&mut self) -> io::Result<()> {
                unreachable!()
            }
        }
        let body = b"4\r\nab\nc\r\n3\r\nd\n\n\r\n0\r\n\r\n";
        for size in 1..body.len() {
            let stream = Box::new(Bytewise(io::Cursor::new(body.to_vec()), size));
            let mut lines = Lines { stream, unread: Vec::new(), text: VecDeque::new() };
            for expected in [Some("ab"), Some("cd"), Some(""), None] {
                assert_eq!(lines.next().unwrap().as_deref(), expected, "{size}");
            }
        }
        let stream = Box::new(Bytewise(io::Cursor::new(b"4\r\nab\nc\r\n".to_vec()), 3));
        let mut lines = Lines { stream, unread: Vec::new(), text: VecDeque::new() };
        assert_eq!(lines.next().unwrap().as_deref(), Some("ab"));
        assert!(lines.next().is_err(), "the last chunk is missing");
    }

    #[test]
    fn every_byte_but_letters_and_digits_is_encoded() {
        assert_eq!(percent_encoded("pump/7 %é.Z"), "pump%2F7%20%25%C3%A9%2EZ");
    }

    proptest! {
        #[test]
        fn no_answer_causes_a_panic(bytes: Vec<u8>, chunks: Vec<u8>) {
            let _ = parse(&bytes);
            let _ = parse(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &chunks].concat());
        }
    }
}
