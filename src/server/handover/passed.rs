//! Sockets that another process has opened, and to which listeners they belong.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use crate::config::{self, Config, ListenAddress, SocketMode};
use crate::server::error::ServerError;
use crate::server::listener::{BoundSocket, Https, Place, Places, SocketFile, TcpOptions, canonical, place_of};
use crate::server::log::log_line;

/// Listening sockets that another process has opened.
#[derive(Debug)]
pub struct PassedSockets {
    origin: Origin,
    /// Whether there was one, or a broker that could have passed some.
    is_passed: bool,
    sockets: Vec<PassedSocket>,
}

/// Passed sockets for the admin listener.
#[derive(Debug, Default)]
pub struct AdminSockets {
    /// It listens at the configured address.
    pub(crate) tcp: Option<TcpListener>,
    /// `admin.sock` in the data directory.
    pub(crate) unix: Option<(UnixListener, SocketFile)>,
}

impl AdminSockets {
    /// Reads the certificates of an admin listener that is required, and opens its socket unless one was passed. A process that takes over
    /// does this before the running broker stops serving, since it can't start without.
    ///
    /// # Errors
    /// One of these is not possible.
    pub(in crate::server) fn require(&mut self, admin: &config::Admin) -> Result<(), ServerError> {
        if !(admin.enabled && admin.required) {
            return Ok(());
        }
        let failed = |source| {
            let address = ListenAddress::Ip(admin.address);
            ServerError::Listen { listener: ADMIN.to_owned(), address, source }
        };
        admin.tls().map(Https::load).transpose().map_err(|error| failed(io::Error::other(error)))?;
        if self.tcp.is_none() {
            self.tcp = Some(TcpListener::bind(admin.address).map_err(failed)?);
        }
        Ok(())
    }
}

/// Where passed sockets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Origin {
    /// The units of systemd say which sockets the broker has. One that no listener uses is an error: its clients would wait for ever.
    Systemd,
    /// A broker with another configuration may have listeners that this one doesn't have.
    Broker,
}

#[derive(Debug)]
struct PassedSocket {
    name: String,
    place: Place,
    removes_file: bool,
    socket: OwnedFd,
}

impl Default for PassedSockets {
    fn default() -> Self {
        Self::new(Origin::Broker)
    }
}

impl PassedSockets {
    pub(in crate::server) const fn new(origin: Origin) -> Self {
        Self { origin, is_passed: false, sockets: Vec::new() }
    }

    /// What is left of a broker that has ended before it passed its sockets.
    pub(in crate::server) const fn of_ended_broker() -> Self {
        Self { origin: Origin::Broker, is_passed: true, sockets: Vec::new() }
    }

    /// Adds a socket with the name that the other process gives it.
    ///
    /// # Errors
    /// It is not a listening socket that a listener can use.
    pub(in crate::server) fn add(&mut self, name: String, socket: OwnedFd, removes_file: bool) -> io::Result<()> {
        let place = place_of(&socket)?;
        self.is_passed = true;
        self.sockets.push(PassedSocket { name, place, removes_file, socket });
        Ok(())
    }

    pub(in crate::server) const fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Takes the sockets of a listener with this name. A socket of systemd belongs to the listener with its name (`FileDescriptorName=`).
    /// Without such a listener, and in a hand-over, the address decides; if the configured port is 0, the name too.
    pub(in crate::server) fn take(
        &mut self,
        name: &str,
        places: &Places,
        options: TcpOptions,
    ) -> io::Result<Vec<BoundSocket>> {
        let by_name = self.origin == Origin::Systemd;
        let is_of = |passed: &mut PassedSocket| {
            let has_name = passed.name == name;
            has_name && by_name && places.are_like(&passed.place) || places.contain(&passed.place, has_name)
        };
        let mut adopted = Vec::new();
        for PassedSocket { place, removes_file, socket, .. } in self.sockets.extract_if(.., is_of) {
            let from = match self.origin {
                Origin::Systemd => "systemd",
                Origin::Broker => "the running broker",
            };
            log_line!(
                SocketPassed { listener = name, address = %described(&place), from },
                "listener {name} gets its socket at {} from {from}",
                described(&place)
            );
            adopted.push(BoundSocket::adopt(socket, options, removes_file)?);
        }
        Ok(adopted)
    }

    /// Takes the sockets of the admin listener.
    ///
    /// # Errors
    /// One can't be made nonblocking.
    pub(in crate::server) fn take_admin(&mut self, config: &Config) -> io::Result<AdminSockets> {
        let (admin, mut sockets) = (&config.admin, AdminSockets::default());
        if admin.enabled {
            let places = Places::One(canonical(admin.address));
            sockets.tcp = self.take_one(&places).map(|passed| TcpListener::from(passed.socket));
        }
        if admin.socket {
            let places = Places::Unix(config.server.data.join(ADMIN_SOCKET), SocketMode::default());
            sockets.unix =
                self.take_one(&places).and_then(|PassedSocket { place, removes_file, socket, .. }| match place {
                    Place::Unix(path) => Some((UnixListener::from(socket), SocketFile::of(path, removes_file))),
                    Place::Tcp(_) | Place::Udp(_) => None,
                });
        }
        sockets.tcp.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        sockets.unix.iter().try_for_each(|(socket, _)| socket.set_nonblocking(true))?;
        Ok(sockets)
    }

    fn take_one(&mut self, places: &Places) -> Option<PassedSocket> {
        let is_it = |passed: &PassedSocket| places.contain(&passed.place, passed.name == ADMIN);
        let at = self.sockets.iter().position(is_it)?;
        Some(self.sockets.swap_remove(at))
    }

    /// Whether a broker has passed them, which may not have unlocked the store yet, and whose clients connect to this process.
    pub(in crate::server) fn are_of_a_broker(&self) -> bool {
        self.origin == Origin::Broker && self.is_passed
    }

    /// Ends the passing. Sockets that are left belong to no listener.
    ///
    /// # Errors
    /// One of systemd is left.
    pub(in crate::server) fn finish(self) -> Result<(), ServerError> {
        for PassedSocket { name, place, .. } in self.sockets {
            let address = described(&place);
            if self.origin == Origin::Systemd {
                return Err(ServerError::SocketUnused { name, address });
            }
            log_line!(
                SocketUnused { listener = &*name, address = &*address },
                "no listener is at {address} any more: the socket of the running broker is closed"
            );
        }
        Ok(())
    }
}

/// The name under which the sockets of the admin listener are passed.
pub(super) const ADMIN: &str = "admin";
/// The name of the Unix socket of the admin listener in the data directory.
pub const ADMIN_SOCKET: &str = "admin.sock";

fn described(place: &Place) -> String {
    match place {
        Place::Tcp(address) | Place::Udp(address) => address.to_string(),
        Place::Unix(path) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::config::Listener;

    const OPTIONS: TcpOptions = TcpOptions { user_timeout: Duration::from_secs(20) };

    fn tcp(address: &str) -> (OwnedFd, SocketAddr) {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        (listener.into(), address)
    }

    fn places(address: &str) -> Places {
        Places::resolve(&Listener::new(address.parse().unwrap())).unwrap()
    }

    fn taken(passed: &mut PassedSockets, name: &str, address: &str) -> usize {
        passed.take(name, &places(address), OPTIONS).unwrap().len()
    }

    #[test]
    fn a_socket_of_systemd_belongs_to_the_listener_with_its_name_or_its_address() {
        let mut passed = PassedSockets::new(Origin::Systemd);
        let (first, address) = tcp("127.0.0.1:0");
        let (second, _) = tcp("127.0.0.1:0");
        passed.add("oncemq.socket".to_owned(), first, false).unwrap();
        passed.add("secure".to_owned(), second, false).unwrap();
        assert_eq!(taken(&mut passed, "other", "127.0.0.1:1"), 0);
        assert_eq!(taken(&mut passed, "secure", "0.0.0.0:8883"), 1, "by its name, wherever it listens");
        assert_eq!(taken(&mut passed, "plain", &address.to_string()), 1, "by its address");
        passed.finish().unwrap();
    }

    #[test]
    fn a_socket_of_systemd_that_no_listener_uses_is_an_error_and_one_of_a_broker_is_not() {
        for (origin, is_error) in [(Origin::Systemd, true), (Origin::Broker, false)] {
            let mut passed = PassedSockets::new(origin);
            passed.add("left".to_owned(), tcp("127.0.0.1:0").0, false).unwrap();
            assert_eq!(passed.finish().is_err(), is_error);
        }
    }

    #[test]
    fn in_a_hand_over_the_address_decides_and_for_port_0_the_name_too() {
        let mut passed = PassedSockets::new(Origin::Broker);
        passed.add("plain".to_owned(), tcp("127.0.0.1:0").0, false).unwrap();
        assert_eq!(
            taken(&mut passed, "plain", "127.0.0.1:1"),
            0,
            "the listener has another address in the new configuration"
        );
        assert_eq!(taken(&mut passed, "other", "127.0.0.1:0"), 0);
        assert_eq!(taken(&mut passed, "plain", "0.0.0.0:0"), 0);
        assert_eq!(taken(&mut passed, "plain", "127.0.0.1:0"), 1);
        let (socket, address) = tcp("0.0.0.0:0");
        passed.add("all".to_owned(), socket, false).unwrap();
        assert_eq!(taken(&mut passed, "renamed", &address.port().to_string()), 1, "a port alone is every address");
    }

    #[cfg(feature = "quic")]
    #[test]
    fn a_udp_socket_belongs_to_a_listener_for_quic_alone() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let mut passed = PassedSockets::new(Origin::Systemd);
        passed.add("quic".to_owned(), socket.into(), false).unwrap();
        assert_eq!(taken(&mut passed, "quic", &address), 0, "TCP at the same address, and of the same name");
        let mut listener = Listener::new(address.parse().unwrap());
        listener.transport = crate::config::Transport::Quic;
        let adopted = passed.take("other", &Places::resolve(&listener).unwrap(), OPTIONS).unwrap();
        assert_eq!(adopted.len(), 1);
        passed.finish().unwrap();
    }

    #[test]
    fn a_unix_socket_belongs_to_the_listener_with_its_path_and_keeps_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mqtt.sock");
        let mut passed = PassedSockets::new(Origin::Systemd);
        passed.add("oncemq.socket".to_owned(), UnixListener::bind(&path).unwrap().into(), false).unwrap();
        assert_eq!(taken(&mut passed, "oncemq.socket", "127.0.0.1:1"), 0, "a name does not make it TCP");
        let adopted = passed.take("unix", &places(&format!("unix:{}", path.display())), OPTIONS).unwrap();
        assert_eq!(adopted.len(), 1);
        drop(adopted);
        assert!(path.exists());
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let mut passed = PassedSockets::new(Origin::Systemd);
        let add = |passed: &mut PassedSockets, socket: OwnedFd| passed.add("x".to_owned(), socket, false).unwrap_err();
        add(&mut passed, std::os::unix::net::UnixDatagram::unbound().unwrap().into());
        add(&mut passed, std::fs::File::open("/dev/null").unwrap().into());
        let (socket, address) = tcp("127.0.0.1:0");
        let error = add(&mut passed, std::net::TcpStream::connect(address).unwrap().into());
        assert!(error.to_string().contains("Accept=no"), "{error}");
        drop(socket);
    }
}
