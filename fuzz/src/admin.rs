use std::fs::{self, DirBuilder};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use oncemq::admin::fuzzing::handles;
use oncemq::admin::{AdminListener, SOCKET, TokenFile};
use oncemq::config::{Admin, Role};

/// Any bytes to the admin listener are answered with HTTP or with the end of the connection, and the listener goes on: over TCP without a
/// token, as a viewer, and over the Unix socket. A request without the role for a change changes nothing.
pub(crate) fn admin(input: &[u8]) {
    let listener = listener();
    let of_nobody = exchange(&mut listener.connect(), input);
    let as_viewer = exchange(&mut listener.connect(), &with_token(input, &listener.viewer));
    let mut local = UnixStream::connect(listener.data.join(SOCKET)).expect("the socket accepts");
    local.set_read_timeout(Some(PATIENCE)).expect("a timeout above 0");
    let of_operator = exchange(&mut local, input);
    for answer in [&of_nobody, &as_viewer, &of_operator] {
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(answer));
    }
    if is_of_api(input) {
        assert!(!is_success(&of_nobody), "{}", String::from_utf8_lossy(&of_nobody));
        assert!(!is_change(input) || !is_success(&as_viewer), "{}", String::from_utf8_lossy(&as_viewer));
    }
    let mut stream = listener.connect();
    stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the listener reads");
    let mut health = Vec::new();
    let _ = stream.read_to_end(&mut health);
    assert!(health.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&health));
}

/// The request with the header of a token behind its first line.
fn with_token(input: &[u8], token: &str) -> Vec<u8> {
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else { return input.to_vec() };
    let (line, rest) = input.split_at(end);
    [line, format!("\r\nAuthorization: Bearer {token}").as_bytes(), rest].concat()
}

/// Whether the first line asks for a path of the API.
fn is_of_api(input: &[u8]) -> bool {
    input.split(|byte| *byte == b' ').nth(1).is_some_and(|path| path.starts_with(b"/api/v1"))
}

/// Whether the method is one that changes something. To explain a rule changes nothing.
fn is_change(input: &[u8]) -> bool {
    let reads: [&[u8]; 3] = [b"GET ", b"HEAD ", b"POST /api/v1/acl/explain"];
    // The parser of HTTP skips empty lines before the first.
    !reads.iter().any(|read| input.trim_ascii_start().starts_with(read))
}

fn is_success(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 2") || answer.starts_with(b"HTTP/1.0 2")
}

/// A connection whose sending side can be closed.
trait Stream: Read + Write {
    fn end(&self);
}

impl Stream for TcpStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Stream for UnixStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// Sends the request and the end. The listener then need not answer.
fn exchange(stream: &mut impl Stream, request: &[u8]) -> Vec<u8> {
    // The broker may close before it has read everything.
    let _ = stream.write_all(request);
    stream.end();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

struct Listener {
    admin: AdminListener,
    data: PathBuf,
    viewer: String,
}

impl Listener {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.admin.address()).expect("the listener accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above 0");
        stream
    }
}

fn listener() -> &'static Listener {
    static LISTENER: OnceLock<Listener> = OnceLock::new();
    LISTENER.get_or_init(|| {
        remove_left();
        let data = std::env::temp_dir().join(format!("{DIRECTORY}{}", std::process::id()));
        let _ = fs::remove_dir_all(&data);
        DirBuilder::new().mode(0o700).create(&data).expect("a new directory");
        let viewer = TokenFile::new(&data).create("viewer-of-the-target", Role::Viewer).expect("a new token");
        let settings = Admin { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Admin::default() };
        let mut handles = handles();
        handles.data = data.clone();
        let admin = AdminListener::start(&settings, handles).expect("a free port");
        Listener { admin, data, viewer }
    })
}

/// Removes the directories of processes that have ended: a static value is not dropped at the end.
fn remove_left() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix(DIRECTORY).is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The data directory in that of temporary files, without the process id.
const DIRECTORY: &str = "oncemq-fuzz-admin-";
const PATIENCE: Duration = Duration::from_secs(20);
