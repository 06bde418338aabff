use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use oncemq::admin::PROCESS_HEADER;
use oncemq::config::Admin;

/// Requests a backup from the running broker and waits for it. Returns its directory, or why there is none.
pub(super) fn send(admin: &Admin, process: &str) -> Result<PathBuf, String> {
    let address = connect_address(admin.address);
    let hint = "the broker's admin listener must be reachable; --admin sets its address";
    let fail = |error: io::Error| format!("http://{address}/backup: {error} ({hint})");
    let (mut code, mut text) =
        request(address, &format!("POST /backup HTTP/1.1\r\n{PROCESS_HEADER}: {process}\r\n")).map_err(fail)?;
    loop {
        match (code, text.split_once(' ')) {
            (202 | 200, None) if text == "running" => thread::sleep(POLL_INTERVAL),
            (202 | 200, Some(("done", directory))) => return Ok(PathBuf::from(directory)),
            (202 | 200, Some(("failed", cause))) => return Err(cause.to_owned()),
            _ => return Err(format!("http://{address}/backup answered {code}: {text} ({hint})")),
        }
        (code, text) = request(address, "GET /backup HTTP/1.1\r\n").map_err(fail)?;
    }
}

/// Sends a request and returns the status code and the body.
fn request(address: SocketAddr, head: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, RESPONSE_TIMEOUT)?;
    stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
    write!(stream, "{head}Host: {address}\r\nContent-Length: 0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(RESPONSE_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((code, text.trim().to_owned()))
}

/// The loopback address for a listener at the unspecified address.
fn connect_address(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Between two requests for the state of the backup.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Longer than the ten seconds within which the admin listener answers.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// More than a path and a few headers need.
const RESPONSE_BYTES_MAX: u64 = 64 * 1024;
