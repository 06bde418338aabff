use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::time::Duration;

use oncemq::admin::AdminListener;
use oncemq::admin::fuzzing::handles;
use oncemq::config::Admin;

/// Any bytes to the admin listener are answered with HTTP or with the end of the connection, and the listener goes on.
pub(crate) fn admin(input: &[u8]) {
    let address = address();
    let answer = exchange(address, input, IsLast::Yes);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
    let health = exchange(address, b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n", IsLast::No);
    assert!(health.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&health));
}

/// Whether the client closes its sending side behind the request. The listener then need not answer.
#[derive(PartialEq, Eq)]
enum IsLast {
    Yes,
    No,
}

fn exchange(address: SocketAddr, request: &[u8], is_last: IsLast) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the listener accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout above 0");
    // The broker may close before it has read everything.
    let _ = stream.write_all(request);
    if is_last == IsLast::Yes {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn address() -> SocketAddr {
    static LISTENER: OnceLock<AdminListener> = OnceLock::new();
    let start = || {
        let settings = Admin { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Admin::default() };
        AdminListener::start(&settings, handles()).expect("a free port")
    };
    LISTENER.get_or_init(start).address()
}
