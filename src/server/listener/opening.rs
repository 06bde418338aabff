//! The opening handshake of a WebSocket: reads the request, and answers it or says why not.
//!
//! It is read here, because the library answers nothing but WebSocket requests, and health checks and browsers send others.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response, create_response};
use tokio_tungstenite::tungstenite::http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use tokio_tungstenite::tungstenite::http::{HeaderValue, Method, StatusCode};

use super::foreign::{self, Expected, Foreign};
use super::forwarded::{self, Via};
use super::shut_down::shut_down;
use super::web_origin::{self, Site};
use crate::config::{Listener, WebSocketSubprotocol};

/// Why no WebSocket was opened.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum OpeningError {
    /// The connection ended before its first byte.
    #[error("closed before a request")]
    Silent,
    /// The client speaks another protocol.
    #[error("{0}")]
    Foreign(Foreign),
    /// The request was answered with an error.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A request that was answered with an error.
#[derive(Debug)]
pub(in crate::server) struct Refused {
    status: StatusCode,
    reason: String,
    /// Method and target; `None` if the request could not be read.
    request: Option<(Method, String)>,
    /// The offered subprotocols.
    offered: String,
    /// The Origin that was refused.
    origin: Option<Box<str>>,
    /// Whether it was a plain HTTP request, such as that of a health check.
    pub(in crate::server) is_probe: bool,
}

/// A request that was accepted.
#[derive(Debug)]
pub(super) struct Opening {
    /// The target of the request.
    pub(super) path: String,
    /// The chosen subprotocol.
    pub(super) subprotocol: Option<&'static str>,
    /// The website that the page is from.
    pub(super) site: Site,
    /// The proxies that forwarded the request.
    pub(super) via: Via,
    /// Bytes after the request.
    pub(super) rest: BytesMut,
}

/// A request for MQTT, and its response.
#[derive(Debug)]
struct Answer {
    response: Response,
    path: String,
    subprotocol: Option<&'static str>,
    site: Site,
    via: Via,
}

/// Reads and answers the request, which came from the address `peer`.
pub(super) async fn open<S>(stream: &mut S, listener: &Listener, peer: Option<IpAddr>) -> Result<Opening, OpeningError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = BytesMut::with_capacity(READ_SIZE);
    let refused = match read_head(stream, &mut bytes, listener).await? {
        Some(length) => {
            let head = bytes.split_to(length);
            match parse(&head).and_then(|request| answer(listener, peer, &request)) {
                Ok(Answer { response, path, subprotocol, site, via }) => {
                    stream.write_all(&accepted(&response)).await?;
                    stream.flush().await?;
                    return Ok(Opening { path, subprotocol, site, via, rest: bytes });
                }
                Err(refused) => refused,
            }
        }
        None => Refused::unread(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the header exceeds 16 KiB".to_owned()),
    };
    refuse(stream, &refused).await;
    Err(OpeningError::Refused(Box::new(refused)))
}

/// Reads until the header is complete, and returns its length; `None` if it is too large.
async fn read_head<S>(stream: &mut S, bytes: &mut BytesMut, listener: &Listener) -> Result<Option<usize>, OpeningError>
where
    S: AsyncRead + Unpin,
{
    loop {
        let searched = bytes.len().saturating_sub(2);
        match stream.read_buf(bytes).await {
            Ok(0) if bytes.is_empty() => return Err(OpeningError::Silent),
            Err(error) if bytes.is_empty() && foreign::is_peer_gone(&error) => return Err(OpeningError::Silent),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            result => result?,
        };
        if let Some(foreign) = Foreign::recognize(bytes, Expected::Http, listener.transport) {
            return Err(OpeningError::Foreign(foreign));
        }
        // What doesn't begin like a request is answered at once.
        if !bytes.first().is_some_and(u8::is_ascii_graphic) {
            return Ok(Some(bytes.len()));
        }
        if let Some(end) = head_end(bytes.get(searched..).unwrap_or_default()) {
            return Ok(Some(searched + end));
        }
        if bytes.len() >= HEAD_MAX {
            return Ok(None);
        }
        bytes.reserve(READ_SIZE);
    }
}

/// The end of the empty line in `bytes`; lines may end with LF alone, as those of a probe by hand.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index + 1);
    ends.find_map(|end| match bytes.get(end..)? {
        [b'\n', ..] => Some(end + 1),
        [b'\r', b'\n', ..] => Some(end + 2),
        _ => None,
    })
}

/// Parses a complete header.
fn parse(head: &[u8]) -> Result<Request, Refused> {
    let malformed = |reason: &str| Refused::unread(StatusCode::BAD_REQUEST, format!("not an HTTP request: {reason}"));
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(malformed("incomplete")),
        Err(httparse::Error::TooManyHeaders) => {
            let reason = format!("more than {HEADERS_MAX} headers");
            return Err(Refused::unread(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason));
        }
        Err(error) => return Err(malformed(&error.to_string())),
    }
    let mut request = Request::new(());
    let method = parsed.method.unwrap_or_default();
    *request.method_mut() = method.parse().map_err(|_| malformed("method"))?;
    *request.uri_mut() = parsed.path.unwrap_or_default().parse().map_err(|_| malformed("target"))?;
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| malformed("header name"))?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| malformed("header value"))?;
        request.headers_mut().append(name, value);
    }
    if parsed.version == Some(0) {
        *request.version_mut() = tokio_tungstenite::tungstenite::http::Version::HTTP_10;
    }
    Ok(request)
}

/// The response to a request for MQTT.
fn answer(listener: &Listener, peer: Option<IpAddr>, request: &Request) -> Result<Answer, Refused> {
    let refused = |status, reason: String| Refused::of(request, status, reason);
    let headers = request.headers();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(refused(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here".to_owned()));
    }
    if !headers.contains_key(UPGRADE) {
        let is_probe = !headers.contains_key(SEC_WEBSOCKET_KEY);
        let reason = if is_probe {
            "a plain HTTP request"
        } else {
            "no Upgrade header: a proxy in between must pass on Upgrade and Connection"
        };
        return Err(Refused { is_probe, ..refused(StatusCode::UPGRADE_REQUIRED, reason.to_owned()) });
    }
    if !listener.accepts_websocket_path(request.uri().path()) {
        let accepted = listener.websocket_path.as_deref().unwrap_or("/, /mqtt or /ws");
        return Err(refused(StatusCode::NOT_FOUND, format!("the path must be {accepted}")));
    }
    let site = web_origin::check(listener, headers).map_err(|origin| Refused {
        origin: Some(origin.into()),
        ..refused(StatusCode::FORBIDDEN, "pages of this origin are not accepted (see websocket_origins)".to_owned())
    })?;
    let via = forwarded::via(&listener.trusted_proxies, peer, headers)
        .map_err(|error| refused(StatusCode::BAD_REQUEST, error.to_string()))?;
    let subprotocol = subprotocol(listener, request)?;
    let mut response = create_response(request).map_err(|error| {
        let is_other_version = headers.get(SEC_WEBSOCKET_VERSION).is_some_and(|version| version != "13");
        let status = if is_other_version { StatusCode::UPGRADE_REQUIRED } else { StatusCode::BAD_REQUEST };
        refused(status, error.to_string())
    })?;
    if let Some(name) = subprotocol {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name)); // [MQTT-6.0.0-4]
    }
    Ok(Answer { response, path: request.uri().path().to_owned(), subprotocol, site, via })
}

/// The head of a response that opens a WebSocket.
fn accepted(response: &Response) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        head.extend_from_slice(spelled(name).as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The name of a header as the standards spell it, which small clients expect: `Sec-WebSocket-Accept`.
fn spelled(name: &HeaderName) -> String {
    let word = |word: &str| match word.split_at_checked(1) {
        Some(_) if word == "websocket" => "WebSocket".to_owned(),
        Some((first, rest)) => format!("{}{rest}", first.to_ascii_uppercase()),
        None => String::new(),
    };
    name.as_str().split('-').map(word).collect::<Vec<_>>().join("-")
}

/// The first offered subprotocol that stands for MQTT. [MQTT-6.0.0-3]
fn subprotocol(listener: &Listener, request: &Request) -> Result<Option<&'static str>, Refused> {
    let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    let names = offers.iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(','));
    let mut names = names.map(str::trim).filter(|name| !name.is_empty()).peekable();
    if names.peek().is_none() && listener.websocket_subprotocol == WebSocketSubprotocol::Optional {
        return Ok(None);
    }
    let offers_none = names.peek().is_none();
    let chosen = names.find_map(|name| SUBPROTOCOLS.into_iter().find(|known| *known == name));
    if chosen.is_some() {
        return Ok(chosen);
    }
    let reason = if offers_none {
        "the client must offer the WebSocket subprotocol mqtt (see websocket_subprotocol)"
    } else {
        "the client must offer the WebSocket subprotocol mqtt"
    };
    Err(Refused::of(request, StatusCode::BAD_REQUEST, reason.to_owned()))
}

/// Answers with an error, and reads until the client closes: see [`shut_down`].
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, refused: &Refused) {
    let finish = async {
        stream.write_all(&refused.response()).await?;
        shut_down(stream, UNREAD_READS_MAX).await
    };
    // The connection ends in any case.
    let _ = timeout(CLOSE_TIMEOUT, finish).await;
}

impl Refused {
    fn unread(status: StatusCode, reason: String) -> Self {
        Self { status, reason, request: None, offered: String::new(), origin: None, is_probe: false }
    }

    fn of(request: &Request, status: StatusCode, reason: String) -> Self {
        let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let offered = offers.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(", ");
        let request = Some((request.method().clone(), request.uri().path().to_owned()));
        Self { status, reason, request, offered, origin: None, is_probe: false }
    }

    /// The whole response, with one line of text.
    fn response(&self) -> Vec<u8> {
        let text = match self.status {
            StatusCode::UPGRADE_REQUIRED => {
                "This is an MQTT broker: open a WebSocket with the subprotocol mqtt.\n".to_owned()
            }
            _ => format!("This is an MQTT broker: {}.\n", self.reason),
        };
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        let mut header = |name: HeaderName, value: &str| head.push_str(&format!("{}: {value}\r\n", spelled(&name)));
        match self.status {
            StatusCode::UPGRADE_REQUIRED => {
                header(UPGRADE, "websocket");
                header(CONNECTION, "upgrade, close");
                header(SEC_WEBSOCKET_VERSION, "13");
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                header(ALLOW, "GET, HEAD");
                header(CONNECTION, "close");
            }
            _ => header(CONNECTION, "close"),
        }
        header(CONTENT_TYPE, "text/plain; charset=utf-8");
        header(CONTENT_LENGTH, &text.len().to_string());
        head.push_str("\r\n");
        if self.request.as_ref().is_none_or(|(method, _)| method != Method::HEAD) {
            head.push_str(&text);
        }
        head.into_bytes()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((method, path)) = &self.request {
            write!(formatter, "{method} {:?}, ", shortened(path))?;
            match self.offered.as_str() {
                "" => formatter.write_str("no subprotocol, ")?,
                offered => write!(formatter, "subprotocol {:?}, ", shortened(offered))?,
            }
        }
        if let Some(origin) = &self.origin {
            write!(formatter, "origin {:?}, ", shortened(origin))?;
        }
        write!(formatter, "answered {}: {}", self.status.as_u16(), self.reason)
    }
}

/// At most the first [`SHOWN_MAX`] characters.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(SHOWN_MAX).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// The subprotocols that stand for MQTT: `mqtt` is that of the standard; mqtt.js and Paho offer `mqttv3.1` for MQTT 3.1.
const SUBPROTOCOLS: [&str; 4] = ["mqtt", "mqttv3.1", "mqttv3.1.1", "mqttv5"];
/// Maximum size of a request's header in bytes: cookies and tokens of a browser fit.
const HEAD_MAX: usize = 16 * 1024;
/// Maximum number of headers of a request.
const HEADERS_MAX: usize = 100;
/// Bytes of buffer per read; most requests fit.
const READ_SIZE: usize = 1024;
/// Characters of a client's text in a log line.
const SHOWN_MAX: usize = 100;
/// How long the client may take to close the connection after an error.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of reads of 1 KiB in that time.
const UNREAD_READS_MAX: usize = 64;
