use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port that nothing listens to on loopback (IPv4 or IPv6), below the ports that the system gives to connections and to those that
/// bind port 0. So it is still free when a broker starts, or starts again. No two calls within a process return the same.
#[expect(clippy::panic, reason = "a test cannot go on without a port")]
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        // Concurrent processes begin at different ports.
        let number = std::process::id().wrapping_mul(137).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let Ok(port) = u16::try_from(FIRST_PORT + number % PORTS) else { continue };
        if is_free(port) {
            return port;
        }
    }
    panic!("no port is free");
}

/// An address of IPv4 loopback with a free port: [`free_port`].
pub fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

fn is_free(port: u16) -> bool {
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && (!has_ipv6 || TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok())
}

const FIRST_PORT: u32 = 10_000;
const PORTS: u32 = 20_000;
