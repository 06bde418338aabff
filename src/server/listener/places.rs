//! Where a listener listens: the addresses that its configured one stands for.

use std::collections::HashSet;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use super::tcp::canonical;
use super::{BoundSocket, Place, TcpOptions};
use crate::config::{ListenAddress, Listener, SocketMode};
use crate::server::log::log_line;

/// The resolved address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) enum Places {
    /// One address, which must be bound.
    One(SocketAddr),
    /// The addresses of a name. Those of a family that this machine doesn't have are left out.
    Name(Vec<SocketAddr>),
    /// All addresses of the machine at this port.
    All(u16),
    /// The path of a Unix socket, and the mode of its file.
    Unix(PathBuf, SocketMode),
    /// The same of UDP.
    Udp(Box<Self>),
}

/// A port of one of the two protocols, whose ports have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::server) enum Port {
    Tcp(u16),
    Udp(u16),
}

/// How an address is bound.
#[derive(Debug, Clone, Copy)]
struct Binding<'a> {
    options: TcpOptions,
    /// The ports at which a listener has IPv4 addresses of its own.
    ipv4_ports: &'a HashSet<Port>,
    is_datagram: bool,
}

impl Places {
    /// Resolves the name in the listener's address, if there is one.
    pub(in crate::server) fn resolve(listener: &Listener) -> io::Result<Self> {
        let places = Self::resolve_address(listener)?;
        Ok(if listener.transport.is_datagram() { Self::Udp(Box::new(places)) } else { places })
    }

    fn resolve_address(listener: &Listener) -> io::Result<Self> {
        Ok(match &listener.address {
            ListenAddress::Ip(address) => Self::One(canonical(*address)),
            ListenAddress::Port(port) => Self::All(*port),
            ListenAddress::Unix(path) => Self::Unix(path.clone(), listener.socket_mode.unwrap_or_default()),
            ListenAddress::Name { name, port } => {
                let mut addresses = Vec::new();
                for address in (name.as_str(), *port).to_socket_addrs()?.map(canonical) {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                match addresses.as_slice() {
                    [] => return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
                    [address] => Self::One(*address),
                    _ => Self::Name(addresses),
                }
            }
        })
    }

    /// The ports at which it has an IPv4 address of its own.
    pub(in crate::server) fn ipv4_ports(&self) -> Vec<Port> {
        match self {
            Self::Udp(places) => places.ipv4_addresses().map(|address| Port::Udp(address.port())).collect(),
            Self::One(_) | Self::Name(_) | Self::All(_) | Self::Unix(..) => {
                self.ipv4_addresses().map(|address| Port::Tcp(address.port())).collect()
            }
        }
    }

    fn ipv4_addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        let addresses = match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Name(addresses) => addresses,
            Self::All(_) | Self::Unix(..) | Self::Udp(_) => &[],
        };
        addresses.iter().filter(|address| address.is_ipv4())
    }

    /// Whether a socket that listens there is one of them. `any_port`: port 0 stands for every port.
    pub(in crate::server) fn contain(&self, place: &Place, any_port: bool) -> bool {
        let is_port = |wanted: u16, port: u16| wanted == port || (wanted == 0 && any_port);
        match (self, place) {
            (Self::One(wanted), Place::Tcp(address)) => {
                wanted.ip() == address.ip() && is_port(wanted.port(), address.port())
            }
            (Self::Name(wanted), Place::Tcp(address)) => {
                wanted.iter().any(|wanted| wanted.ip() == address.ip() && is_port(wanted.port(), address.port()))
            }
            (Self::All(port), Place::Tcp(address)) => address.ip().is_unspecified() && is_port(*port, address.port()),
            (Self::Unix(wanted, _), Place::Unix(path)) => {
                wanted == path
                    || wanted.canonicalize().is_ok_and(|wanted| path.canonicalize().is_ok_and(|path| wanted == path))
            }
            (Self::Udp(places), Place::Udp(address)) => places.contain(&Place::Tcp(*address), any_port),
            (Self::One(_) | Self::Name(_) | Self::All(_), Place::Unix(_) | Place::Udp(_))
            | (Self::Unix(..), Place::Tcp(_) | Place::Udp(_))
            | (Self::Udp(_), Place::Tcp(_) | Place::Unix(_)) => false,
        }
    }

    /// Whether they are of the same kind as this place: TCP, UDP or a Unix socket.
    pub(in crate::server) const fn are_like(&self, place: &Place) -> bool {
        match place {
            Place::Tcp(_) => !matches!(self, Self::Unix(..) | Self::Udp(_)),
            Place::Udp(_) => matches!(self, Self::Udp(_)),
            Place::Unix(_) => matches!(self, Self::Unix(..)),
        }
    }

    /// Listens at all of them. `[::]` takes IPv4 too, unless `ipv4_ports` has its port: then another listener has IPv4 addresses there.
    pub(in crate::server) fn bind(
        &self,
        options: TcpOptions,
        ipv4_ports: &HashSet<Port>,
    ) -> io::Result<Vec<BoundSocket>> {
        self.bind_as(Binding { options, ipv4_ports, is_datagram: false })
    }

    fn bind_as(&self, binding: Binding<'_>) -> io::Result<Vec<BoundSocket>> {
        let bind = |address| binding.bind(address);
        match self {
            Self::Udp(places) => places.bind_as(Binding { is_datagram: true, ..binding }),
            Self::One(address) => Ok(vec![bind(*address)?]),
            Self::Unix(path, mode) => Ok(vec![BoundSocket::bind_unix(path, *mode)?]),
            Self::All(port) => match bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port)) {
                Err(error) if is_without_family(&error) => {
                    Ok(vec![bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port))?])
                }
                result => Ok(vec![result?]),
            },
            Self::Name(addresses) => {
                let (mut bound, mut missing) = (Vec::new(), None);
                for address in addresses {
                    match bind(*address) {
                        Ok(socket) => bound.push(socket),
                        Err(error) if is_without_family(&error) => {
                            log_skipped(address, &error);
                            missing = Some(error);
                        }
                        Err(error) => return Err(at(*address, &error)),
                    }
                }
                missing.filter(|_| bound.is_empty()).map_or(Ok(bound), Err)
            }
        }
    }
}

impl Binding<'_> {
    fn bind(self, address: SocketAddr) -> io::Result<BoundSocket> {
        let Self { options, ipv4_ports, is_datagram } = self;
        let port = if is_datagram { Port::Udp(address.port()) } else { Port::Tcp(address.port()) };
        let is_all = address.ip() == Ipv6Addr::UNSPECIFIED;
        let takes_ipv4 = is_all && (address.port() == 0 || !ipv4_ports.contains(&port));
        if is_all && !takes_ipv4 {
            log_line!(
                AddressIpv6Only { address = tracing::field::display(address) },
                "{address} is for IPv6 only: another listener has an IPv4 address at this port"
            );
        }
        let bound = match is_datagram {
            true => BoundSocket::bind_udp(address, takes_ipv4),
            false => BoundSocket::bind(address, options, takes_ipv4),
        };
        bound.map_err(|error| match takes_ipv4 {
            true => io::Error::new(error.kind(), format!("{error} (for IPv6 or IPv4: [::] takes both)")),
            false => error,
        })
    }
}

/// Logs that an address is left out.
pub(in crate::server) fn log_skipped(address: &impl Display, error: &io::Error) {
    log_line!(
        AddressSkipped { address = tracing::field::display(address), reason = tracing::field::display(error) },
        "not listening at {address}, which this machine doesn't have: {error}"
    );
}

/// Whether this machine has no such address, as without IPv6.
pub(in crate::server) fn is_without_family(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_ADDRESS_FAMILY)
}

fn at(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{address}: {error}"))
}

/// EAFNOSUPPORT, for which std has no kind.
const NO_ADDRESS_FAMILY: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    const OPTIONS: TcpOptions = TcpOptions { user_timeout: Duration::from_secs(20) };

    fn resolve(address: &str) -> io::Result<Places> {
        Places::resolve(&Listener::new(address.parse().unwrap()))
    }

    fn places(address: &str) -> Places {
        resolve(address).unwrap()
    }

    fn addresses(sockets: &[BoundSocket]) -> Vec<SocketAddr> {
        sockets.iter().map(|socket| socket.address().unwrap()).collect()
    }

    fn bind_all(texts: &[&str]) -> io::Result<Vec<BoundSocket>> {
        let places: Vec<Places> = texts.iter().map(|text| places(text)).collect();
        let ipv4_ports = places.iter().flat_map(Places::ipv4_ports).collect();
        let bound: io::Result<Vec<Vec<BoundSocket>>> =
            places.iter().map(|places| places.bind(OPTIONS, &ipv4_ports)).collect();
        Ok(bound?.into_iter().flatten().collect())
    }

    /// A port that was free.
    fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind("[::]:0").unwrap();
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn all_addresses_of_ipv6_and_a_port_alone_take_ipv4_too() {
        for text in ["[::]:0", ":0", "0"] {
            let bound = places(text).bind(OPTIONS, &HashSet::new()).unwrap();
            let [address] = addresses(&bound)[..] else { panic!("{bound:?}") };
            assert!(address.ip().is_unspecified());
            TcpStream::connect(("127.0.0.1", address.port())).unwrap();
            TcpStream::connect(("::1", address.port())).unwrap();
        }
    }

    #[test]
    fn ipv4_and_ipv6_listeners_share_a_port_in_any_order() {
        for pair in [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"], ["127.0.0.1", "[::]"], ["localhost", "0.0.0.0"]] {
            let port = free_port();
            let [first, second] = pair.map(|host| format!("{host}:{port}"));
            let bound = bind_all(&[&first, &second]);
            if pair[0] == "localhost" {
                // Both are for 127.0.0.1.
                assert_eq!(bound.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            } else {
                assert_eq!(bound.unwrap().len(), 2, "{pair:?}");
            }
        }
    }

    #[test]
    fn ports_of_udp_are_not_those_of_tcp() {
        let udp = |address: &str| {
            let mut listener = Listener::new(address.parse().unwrap());
            listener.transport = crate::config::Transport::Quic;
            Places::resolve(&listener).unwrap()
        };
        let port = free_port();
        let all = [udp(&format!("[::]:{port}")), places(&format!("0.0.0.0:{port}")), places(&format!("[::]:{port}"))];
        let ipv4_ports: HashSet<Port> = all.iter().flat_map(Places::ipv4_ports).collect();
        assert_eq!(ipv4_ports, HashSet::from([Port::Tcp(port)]));
        let bound = all.each_ref().map(|places| places.bind(OPTIONS, &ipv4_ports).unwrap().remove(0));
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let BoundSocket::Udp(udp_socket, _) = &bound[0] else { panic!("{bound:?}") };
        sender.send_to(b"x", ("127.0.0.1", port)).unwrap();
        udp_socket.set_nonblocking(false).unwrap();
        assert_eq!(udp_socket.recv(&mut [0; 9]).unwrap(), 1, "[::] of UDP takes IPv4 too");
        let place = Place::Udp(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
        assert!(all[0].contain(&place, false) && all[0].are_like(&place));
        assert!(!all[2].contain(&place, false) && !all[2].are_like(&place));
    }

    #[test]
    fn a_name_stands_for_all_its_addresses() {
        let bound = places("localhost:0").bind(OPTIONS, &HashSet::new()).unwrap();
        assert!(!bound.is_empty());
        for address in addresses(&bound) {
            assert!(address.ip().is_loopback(), "{address}");
            TcpStream::connect(address).unwrap();
        }
        let resolved = ("localhost", 0).to_socket_addrs().unwrap().map(|address| address.ip()).collect::<HashSet<_>>();
        assert_eq!(addresses(&bound).iter().map(SocketAddr::ip).collect::<HashSet<_>>(), resolved);
        assert!(resolve("no-such-host.invalid:1883").is_err());
    }

    #[test]
    fn an_ipv4_mapped_address_is_that_of_ipv4() {
        assert_eq!(places("[::ffff:127.0.0.1]:1883"), places("127.0.0.1:1883"));
    }

    #[test]
    fn a_scope_is_the_name_or_the_number_of_an_interface() {
        let interfaces = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        // Address, number, prefix, scope (20 is link-local), flags, name.
        let local =
            interfaces.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|words| words[3] == "20");
        if let Some(words) = local {
            let octets = u128::from_str_radix(words[0], 16).unwrap();
            let (ip, number) = (Ipv6Addr::from(octets), u32::from_str_radix(words[1], 16).unwrap());
            for scope in [words[5].to_owned(), number.to_string()] {
                let bound = places(&format!("[{ip}%{scope}]:0")).bind(OPTIONS, &HashSet::new()).unwrap();
                let [SocketAddr::V6(address)] = addresses(&bound)[..] else { panic!("{bound:?}") };
                assert_eq!((*address.ip(), address.scope_id()), (ip, number));
            }
        }
        assert!(resolve("[fe80::1%no-such-interface]:1883").is_err());
    }
}
