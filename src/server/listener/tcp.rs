use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Socket options of the connections of a listener.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Options {
    /// TCP_USER_TIMEOUT: how long sent bytes, and probes of a silent connection, may stay unacknowledged.
    pub(in crate::server) user_timeout: Duration,
}

impl Options {
    /// Those for a broker with this `limits.write_timeout`.
    pub(in crate::server) fn new(write_timeout: Duration) -> Self {
        Self { user_timeout: write_timeout.max(SILENCE_MAX) }
    }
}

/// Listens at `address`. Connections inherit the options from the listening socket. `takes_ipv4`: for `[::]`, whether connections over
/// IPv4 are accepted too; their addresses are IPv4-mapped.
pub(super) fn bind(address: SocketAddr, options: Options, takes_ipv4: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Not left to the operating system, whose default an administrator can change.
        socket.set_only_v6(!takes_ipv4)?;
    }
    // Without it a restart could not bind while old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    set_options(&socket, options)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sets the options that connections inherit from their listening socket.
pub(super) fn set_options(socket: &Socket, options: Options) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(options.user_timeout))?;
    Ok(())
}

/// An IPv4-mapped address as the IPv4 address that it stands for.
pub(in crate::server) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Large enough for a fleet that reconnects within a second; the operating system lowers it to its own maximum.
const BACKLOG: i32 = 65_535;
/// Detects peers that vanish without FIN or RST while their Keep Alive is off, and keeps the mappings of address translators.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(120);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// After so long without an answer a connection has ended: ten probes are lost then. With TCP_USER_TIMEOUT, Linux takes no notice of the number
/// of probes, but ends a connection at the first probe without an answer that finds it silent for longer than that. A smaller value would end
/// the connection of a client that has nothing to say for two minutes because of one lost packet.
const SILENCE_MAX: Duration = KEEPALIVE_IDLE.saturating_add(Duration::from_secs(10 * KEEPALIVE_INTERVAL.as_secs()));

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: Options = Options { user_timeout: Duration::from_secs(20) };

    #[test]
    fn a_silent_connection_outlives_lost_probes() {
        for write_timeout in [1, 30, 3_600].map(Duration::from_secs) {
            let listener = bind("127.0.0.1:0".parse().unwrap(), Options::new(write_timeout), false).unwrap();
            let socket = socket2::SockRef::from(&listener);
            let user_timeout = socket.tcp_user_timeout().unwrap().unwrap();
            let probes = 8 * socket.tcp_keepalive_interval().unwrap();
            assert!(user_timeout >= socket.tcp_keepalive_time().unwrap() + probes && user_timeout >= write_timeout);
        }
    }

    #[test]
    fn an_address_in_use_is_an_error_and_both_families_can_share_a_port() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), OPTIONS, false).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = bind(SocketAddr::new("127.0.0.1".parse().unwrap(), port), OPTIONS, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        if let Err(error) = bind(SocketAddr::new("::1".parse().unwrap(), port), OPTIONS, false) {
            assert_ne!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn connections_inherit_their_options() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), OPTIONS, false).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert!(socket2::SockRef::from(&stream).keepalive().unwrap());
        assert_eq!(socket2::SockRef::from(&stream).tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert!(stream.nodelay().unwrap());
    }
}
