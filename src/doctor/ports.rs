//! Ports: free, or held by whom.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use oncemq::config::{Config, ListenAddress};
use socket2::{Domain, Protocol, Socket, Type};

use super::finding::Findings;
use super::running::Running;

pub(super) fn examine(config: &Config, running: &Running, findings: &mut Findings) {
    let is_default = config.has_default_listeners();
    for listener in &config.listeners {
        let addresses = match &listener.address {
            ListenAddress::Ip(address) => vec![*address],
            ListenAddress::Port(port) => vec![SocketAddr::new(any(), *port)],
            ListenAddress::Name { name, port } => match (name.as_str(), *port).to_socket_addrs() {
                Ok(addresses) => addresses.collect(),
                Err(error) => {
                    findings.error(
                        SUBJECT,
                        format!("{}: {error}", listener.address),
                        "mend the name of the listener, or the name service",
                    );
                    continue;
                }
            },
            ListenAddress::Unix(_) => continue,
        };
        for address in addresses {
            port(address, is_default, running, findings);
        }
    }
    if config.admin.enabled {
        port(config.admin.address, !config.admin.required, running, findings);
    }
}

/// Looks at one address. `is_optional`: the broker starts without it if the machine does not have it.
fn port(address: SocketAddr, is_optional: bool, running: &Running, findings: &mut Findings) {
    // The system chooses it.
    if address.port() == 0 {
        return;
    }
    let error = match bind(address) {
        Ok(()) => return findings.ok(SUBJECT, format!("{address} is free")),
        Err(error) => error,
    };
    let text = format!("{address}: {error}");
    if error.kind() == io::ErrorKind::AddrInUse {
        in_use(address, running, findings);
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        let mend = "use a port above 1023, or allow it: AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit";
        findings.error(SUBJECT, text, mend);
    } else if is_optional {
        // Such as [::1] on a machine without IPv6.
        findings.note(SUBJECT, text, "the broker listens at its other addresses");
    } else {
        findings.error(SUBJECT, text, "name an address that this machine has: ip address");
    }
}

/// All addresses; of IPv4 only, if the machine has no other.
fn any() -> IpAddr {
    let ip = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if bind(SocketAddr::new(ip, 0)).is_ok() { ip } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) }
}

/// Takes the address for a moment. It does not listen, so no client notices it.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn in_use(address: SocketAddr, running: &Running, findings: &mut Findings) {
    let holders = holders(address.port());
    let is_ours = |holder: &Holder| Some(holder.process) == running.process();
    match holders.iter().find(|holder| is_ours(holder)).or(holders.first()) {
        Some(holder) if is_ours(holder) => {
            findings.ok(SUBJECT, format!("{address} is held by the running broker (process {})", holder.process));
        }
        Some(Holder { process, name }) => {
            let text = format!("{address} is held by {name} (process {process})");
            let mend = format!("end it (systemctl stop {name}, kill {process}), or use another port (--listen)");
            findings.error(SUBJECT, text, &mend);
        }
        None if running.process().is_some() => {
            findings.note(SUBJECT, format!("{address} is in use, by the running broker or another process"), WHO);
        }
        None => findings.error(SUBJECT, format!("{address} is in use by a process of another user"), WHO),
    }
}

/// A process that listens.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    process: i32,
    name: String,
}

/// The processes that listen at a TCP port, as far as this user may see them.
fn holders(port: u16) -> Vec<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|path| fs::read_to_string(path).ok());
    let sockets: Vec<String> = tables.flat_map(|table| listening(&table, port)).collect();
    let mut found = Vec::new();
    if sockets.is_empty() {
        return found;
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let files = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        let targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        if targets
            .into_iter()
            .any(|target| target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target)))
        {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim().to_owned();
            found.push(Holder { process, name });
        }
    }
    found
}

/// The names of the sockets of a table that listen at a port, as the links of descriptors have them.
fn listening(table: &str, port: u16) -> Vec<String> {
    let rows = table.lines().skip(1).filter_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let number = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        (number == port && *state == LISTEN).then(|| format!("socket:[{inode}]"))
    });
    rows.collect()
}

const SUBJECT: &str = "ports";
const WHO: &str = "sudo ss -ltnp shows who holds it";
/// TCP_LISTEN in the tables of the kernel.
const LISTEN: &str = "0A";

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_holder_of_a_port_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(cfg!(not(target_os = "linux")) || holders(address.port()).iter().any(|holder| holder.process == own));
        drop(listener);
        bind(address).unwrap();
    }

    #[test]
    fn a_table_of_the_kernel_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1 x\n   \
                     1: 0100007F:075B 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 78 1 x\n";
        assert_eq!(listening(table, 1883), ["socket:[77]"]);
        assert_eq!(listening(table, 1884), [""; 0]);
        assert_eq!(listening("head\nx\n0: 1 2", 1883), [""; 0]);
    }
}
