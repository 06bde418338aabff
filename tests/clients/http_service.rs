//! An HTTP service that judges clients, or gives out keys, as a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A service on a port of its own, which answers every request in a thread of its own. Its threads end with the test process.
pub(crate) struct HttpService {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    answer: Mutex<Reply>,
    asked: Mutex<Vec<Asked>>,
    open: AtomicUsize,
    open_most: AtomicUsize,
}

/// Makes the answer to a request.
type Reply = Arc<dyn Fn(&Asked) -> Response + Send + Sync>;

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The first line and the headers.
    pub(crate) head: String,
    /// The body, if it is JSON.
    pub(crate) body: Value,
    /// The body as it came.
    pub(crate) bytes: Vec<u8>,
}

impl Asked {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.body[name].as_str().unwrap_or_default()
    }
}

/// What the service does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Response {
    /// A status and a body.
    Json(u16, String),
    /// These headers and this body, with status 302.
    Redirect(String),
    /// These bytes, and then the connection is closed.
    Bytes(Vec<u8>),
    /// A head, and then a byte of the body now and then, for ever.
    Trickle,
    /// A body without end.
    Endless,
    /// Nothing, while the connection stays open.
    Silence,
    /// Silence for a while, and then this.
    Late(Duration, Box<Response>),
}

impl Response {
    pub(crate) fn ok(body: &str) -> Self {
        Self::Json(200, body.to_owned())
    }

    pub(crate) fn allow() -> Self {
        Self::ok(r#"{"result":"allow"}"#)
    }

    pub(crate) fn deny() -> Self {
        Self::ok(r#"{"result":"deny"}"#)
    }

    pub(crate) fn ignore() -> Self {
        Self::ok(r#"{"result":"ignore"}"#)
    }
}

impl HttpService {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer)
    }

    pub(crate) fn start_with(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Asked) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            answer: Mutex::new(Arc::new(answer)),
            asked: Mutex::default(),
            open: AtomicUsize::new(0),
            open_most: AtomicUsize::new(0),
        });
        let of_thread = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, tls) = (Arc::clone(&of_thread), tls.clone());
                let open = state.open.fetch_add(1, Ordering::Relaxed) + 1;
                state.open_most.fetch_max(open, Ordering::Relaxed);
                thread::spawn(move || {
                    // The broker may close at any point.
                    let _ = match tls {
                        None => serve(&state, stream),
                        Some(config) => serve(&state, StreamOwned::new(ServerConnection::new(config).unwrap(), stream)),
                    };
                    state.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers the next requests in another way.
    pub(crate) fn answer(&self, answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) {
        *self.state.answer.lock().unwrap() = Arc::new(answer);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// The connections that are open now, and the most that ever were.
    pub(crate) fn open(&self) -> (usize, usize) {
        (self.state.open.load(Ordering::Relaxed), self.state.open_most.load(Ordering::Relaxed))
    }
}

/// Answers the requests of one connection.
fn serve(state: &State, stream: impl Read + Write) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body)?;
        let asked = Asked { head, body: serde_json::from_slice(&body).unwrap_or_default(), bytes: body };
        let answer = Arc::clone(&*state.answer.lock().unwrap_or_else(PoisonError::into_inner));
        state.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        if !respond(stream.get_mut(), answer(&asked))? {
            return Ok(());
        }
    }
}

/// Returns whether the connection stays open.
fn respond(stream: &mut (impl Read + Write), response: Response) -> std::io::Result<bool> {
    match response {
        Response::Json(status, body) => {
            let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            write!(stream, "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\n{length}\r\n{body}")?;
            stream.flush()?;
            Ok(true)
        }
        Response::Redirect(location) => {
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")?;
            stream.flush()?;
            Ok(true)
        }
        Response::Bytes(bytes) => {
            stream.write_all(&bytes)?;
            stream.flush()?;
            Ok(false)
        }
        Response::Trickle => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{{")?;
            loop {
                stream.flush()?;
                thread::sleep(Duration::from_millis(50));
                stream.write_all(b" ")?;
            }
        }
        Response::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "1000\r\n{}\r\n", " ".repeat(0x1000))?;
            }
        }
        Response::Silence => {
            stream.read_to_end(&mut Vec::new())?;
            Ok(false)
        }
        Response::Late(pause, response) => {
            thread::sleep(pause);
            respond(stream, *response)
        }
    }
}

/// A port at which connections are accepted and never read.
pub(crate) fn deaf() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap(), listener)
}

/// Whether something listens at this address.
pub(crate) fn is_up(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}
