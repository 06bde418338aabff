//! Three machines with networks and disks of their own, for brokers and servers of NATS as docs/CLUSTER.md sets them up: with TLS and a password.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nats_servers::{Place, Setup};

use crate::clocks::Clocks;
use crate::disks::Disk;
use crate::namespaces::Namespaces;
use crate::network::{MACHINES, Net, Network};

/// What a test needs of the operating system besides processes.
pub(crate) struct Machines {
    machines: Rc<[Namespaces]>,
    pub(crate) network: Network,
    /// What brokers take for the time.
    pub(crate) clocks: Clocks,
    /// Of each machine: the disk of its broker, and that of its server of NATS.
    disks: Vec<[Disk; 2]>,
    /// Of certificates and passwords.
    directory: PathBuf,
}

impl Machines {
    /// Makes them, with their files in this directory. `None`: the system does not permit it.
    pub(crate) fn new(directory: &Path) -> Option<Self> {
        let make = || {
            let machines: Rc<[Namespaces]> =
                (0..MACHINES).map(|_| Namespaces::new()).collect::<Result<Vec<_>, _>>()?.into();
            let network = Network::new(Rc::clone(&machines))?;
            let clocks = Clocks::new(directory, MACHINES);
            let disk = |number: usize, name: &str| Disk::new(directory, name, (&machines, number));
            let disks = (0..MACHINES).map(|number| Ok([disk(number, "log")?, disk(number, "nats")?]));
            let disks = disks.collect::<Result<_, String>>()?;
            Ok::<_, String>(Self { machines, network, clocks, disks, directory: directory.to_owned() })
        };
        match make() {
            Ok(machines) => {
                machines.certify();
                Some(machines)
            }
            Err(reason) => {
                eprintln!("SKIPPED: network namespaces and mounts need root and are not permitted: {reason}");
                None
            }
        }
    }

    /// An authority, and a certificate for the servers.
    fn certify(&self) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        fs::write(self.path("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = rcgen::Issuer::new(authority, key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names: Vec<String> = (0..MACHINES).map(|number| Net::Nats.address(number).to_string()).collect();
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        fs::write(self.path("server.pem"), certificate.pem()).unwrap();
        fs::write(self.path("server.key"), key.serialize_pem()).unwrap();
        fs::write(self.path("password"), PASSWORD).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// How servers of NATS are set up on them.
    pub(crate) fn setup(&self) -> Setup {
        let place = |machine| Place {
            address: Net::Nats.address(machine),
            routes: Net::Routes.address(machine),
            monitor: Net::Clients.address(machine),
            command: self.machines[machine].command(),
        };
        let [certificate, key] = ["server.pem", "server.key"].map(|name| self.path(name));
        Setup {
            servers: MACHINES,
            more: format!(
                "tls {{ cert_file: {certificate:?}, key_file: {key:?} }}\nauthorization {{ user: oncemq, password: {PASSWORD} }}"
            ),
            directories: self.disks.iter().map(|[_, nats]| nats.path().to_owned()).collect(),
            places: (0..MACHINES).map(place).collect(),
            ..Setup::default()
        }
    }

    /// What a node needs in `[cluster]` to be let in by them.
    pub(crate) fn access(&self) -> String {
        let [ca, password] = ["ca.pem", "password"].map(|name| self.path(name));
        format!("ca = {ca:?}\nuser_name = \"oncemq\"\npassword_file = {password:?}\n")
    }

    /// Where clients reach a machine.
    pub(crate) fn address(&self, machine: usize) -> IpAddr {
        Net::Clients.address(machine)
    }

    /// The disk of a machine's broker, and that of its server of NATS.
    pub(crate) fn disks(&self, machine: usize) -> &[Disk; 2] {
        &self.disks[machine]
    }
}

const PASSWORD: &str = "sesam";
