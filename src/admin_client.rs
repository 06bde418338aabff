//! Requests to the admin listener of the running broker.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// The admin listener of a broker on this machine.
#[derive(Debug)]
pub(crate) struct AdminClient {
    place: Place,
}

/// Where it is.
#[derive(Debug)]
enum Place {
    Tcp(SocketAddr),
    /// A socket file, whose mode says who may connect.
    Unix(PathBuf),
}

/// A connection.
trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

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
        Self { place: Place::Tcp(SocketAddr::new(ip, address.port())) }
    }

    /// The socket file of a broker on this machine.
    pub(crate) const fn unix(path: PathBuf) -> Self {
        Self { place: Place::Unix(path) }
    }

    /// The URL of a path, for error messages.
    pub(crate) fn url(&self, path: &str) -> String {
        match &self.place {
            Place::Tcp(address) => format!("http://{address}{path}"),
            Place::Unix(socket) => format!("{}:{path}", socket.display()),
        }
    }

    /// Sends a request and returns the status code and the body. `headers` end with a line break each.
    pub(crate) fn request(&self, method_and_path: &str, headers: &str, body: &str) -> io::Result<(u16, String)> {
        let (mut stream, address): (Box<dyn Stream>, String) = match &self.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, RESPONSE_TIMEOUT)?;
                stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
                (Box::new(stream), address.to_string())
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
                (Box::new(stream), "localhost".to_owned())
            }
        };
        let length = body.len();
        let head =
            format!("{method_and_path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{headers}\r\n");
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = String::new();
        stream.take(RESPONSE_BYTES_MAX).read_to_string(&mut answer)?;
        let not_http = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
        let (head, text) = answer.split_once("\r\n\r\n").ok_or_else(not_http)?;
        let code = head.strip_prefix("HTTP/1.").and_then(|head| head.split(' ').nth(1)?.parse().ok());
        Ok((code.ok_or_else(not_http)?, text.trim().to_owned()))
    }
}

/// Longer than the ten seconds within which the admin listener answers.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// More than a path and a few headers need.
const RESPONSE_BYTES_MAX: u64 = 64 * 1024;
